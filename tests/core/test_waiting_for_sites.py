"""How long the coordinator waits, for whom, and what it says of itself meanwhile; sites here are scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sekisho.core.coordinator import collecting, status, waiting
from sekisho.core.coordinator.collecting import Collector, Traffic
from sekisho.core.coordinator.keeping import RunFiles
from sekisho.core.coordinator.state import CoordinatorState
from sekisho.core.coordinator.status import AT_MOST_EVERY, STATUS, Status, StatusFile, read_status
from sekisho.core.coordinator.waiting import Patience
from sekisho.core.coordinator.witnessing import CoordinatorWatch
from sekisho.core.engines.channel import Reply
from sekisho.core.errors import ProtocolError, Refused
from sekisho.core.messages import Stop, Stopped, sign_message
from sekisho.governance.signing.keys import demo_key

from ..federation import study_folder

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
SITES = ("ame", "hana", "kaze")
AWAY, SILENT, REFUSES = "away", "silent", "refuses"  # out of reach; at work; there, and cannot answer


class Clock:
    """Seconds pass when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1.0)  # a test of hours need not take a million turns


@dataclass
class Scripted:
    """``says(site, seconds since the beginning)``: what becomes of a post. What is for who is away is kept."""

    clock: Clock
    says: Callable[[str, float], str]
    posts: list[tuple[str, bytes, float]] = field(default_factory=list)
    waiting: dict[int, str] = field(default_factory=dict)

    def sites(self) -> tuple[str, ...]:
        return tuple(site for site in SITES if self.said(site) != AWAY)

    def said(self, site: str) -> str:
        return self.says(site, self.clock.now - 1000.0)

    def post(self, site: str, message: bytes, ttl: float) -> int:
        if site not in SITES:
            raise ProtocolError("SITE_UNKNOWN", "not here")
        self.posts.append((site, message, self.clock.now))
        self.waiting[len(self.posts)] = site
        return len(self.posts)

    def poll(self) -> tuple[Reply, ...]:
        for ticket, site in list(self.waiting.items()):
            if (said := self.said(site)) in (AWAY, SILENT):
                continue
            del self.waiting[ticket]
            return (Reply(ticket, site, None if said == REFUSES else answer(site)),)
        return ()


def answer(site: str) -> bytes:
    return sign_message(Stopped(), study="small-study", run="r", sender=site, key=demo_key(site)).to_bytes()


class Asleep(CoordinatorWatch):
    """Watches nothing: these messages show no log."""

    def __init__(self) -> None: ...

    def settle(self) -> None: ...


@pytest.fixture(scope="module")
def roster(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return study_folder.read_roster(study_folder.build(tmp_path_factory.mktemp("waiting") / "study"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    ticking = Clock()
    monkeypatch.setattr(collecting, "time", ticking)
    monkeypatch.setattr(waiting, "time", ticking)
    return ticking


@pytest.fixture
def ask(roster: Any, clock: Clock, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    def asked(says: Callable[[str, float], str], patience: Patience, **more: Any) -> tuple[Scripted, Any]:
        channel = Scripted(clock, says)
        collector = Collector(
            channel, study="small-study", sites=SITES, roster=roster, key=demo_key("coordinator"),
            patience=patience, **more,
        )  # fmt: skip
        collector.begin(Asleep(), RunFiles(tmp_path, "r"))
        return channel, collector.gather("r", SITES, Stop(code="DRILL"), Stopped)

    yield asked


MACHINES = Patience(answer_seconds=24 * 3600, away_seconds=900)


def test_a_step_of_hours_does_not_time_out(ask: Callable[..., Any]) -> None:
    def slow(site: str, seconds: float) -> str:
        return "ok" if seconds > 9 * 3600 or site != "hana" else SILENT

    channel, gathered = ask(slow, Patience())
    assert sorted(gathered.messages) == [*SITES] and len(channel.posts) == 3


def test_a_site_that_never_answers_is_missing_once_the_wait_is_over(ask: Callable[..., Any], clock: Clock) -> None:
    _, gathered = ask(lambda site, seconds: SILENT if site == "hana" else "ok", MACHINES)
    assert gathered.missing == ("hana",) and 24 * 3600 <= clock.now - 1000 < 24 * 3600 + 60


def test_a_site_that_was_out_of_reach_and_comes_back_in_time_counts(ask: Callable[..., Any]) -> None:
    def killed(site: str, seconds: float) -> str:
        return AWAY if site == "hana" and seconds < 600 else "ok"

    channel, gathered = ask(killed, MACHINES)
    assert gathered.missing == () and sorted(gathered.messages) == [*SITES]
    assert len(channel.posts) == 3  # the engine has what was posted for it


def test_a_site_that_stays_away_is_missing_after_its_time_and_not_after_a_day(
    ask: Callable[..., Any], clock: Clock
) -> None:
    _, gathered = ask(lambda site, seconds: AWAY if site == "hana" else "ok", MACHINES)
    assert gathered.missing == ("hana",) and 900 <= clock.now - 1000 < 960


def test_a_site_whose_network_comes_and_goes_is_waited_for_anew_each_time(ask: Callable[..., Any]) -> None:
    def flickers(site: str, seconds: float) -> str:
        if site != "hana" or seconds > 7200:
            return "ok"
        return SILENT if seconds % 1000 > 800 else AWAY

    _, gathered = ask(flickers, MACHINES)
    assert gathered.missing == ()


def test_a_site_that_works_for_hours_while_another_is_away_is_waited_for(ask: Callable[..., Any]) -> None:
    def says(site: str, seconds: float) -> str:
        if site == "kaze":
            return "ok" if seconds > 5 * 3600 else SILENT
        return AWAY if site == "hana" else "ok"

    _, gathered = ask(says, MACHINES)
    assert gathered.missing == ("hana",) and sorted(gathered.messages) == ["ame", "kaze"]


def test_a_site_that_is_there_and_cannot_answer_is_missing_at_once(ask: Callable[..., Any], clock: Clock) -> None:
    channel, gathered = ask(lambda site, seconds: REFUSES if site == "hana" else "ok", MACHINES)
    assert gathered.missing == ("hana",) and clock.now - 1000 < 5 and len(channel.posts) == 3


def test_whoever_stops_the_coordinator_does_not_wait_for_sites(ask: Callable[..., Any], clock: Clock) -> None:
    def halted() -> str:
        return "STOPPED_BY_OPERATOR" if clock.now - 1000 > 100 else ""

    with pytest.raises(Refused) as caught:
        ask(lambda site, seconds: SILENT, MACHINES, halted=halted)
    assert caught.value.code == "STOPPED_BY_OPERATOR" and clock.now - 1000 < 105


# -- what it says of itself -------------------------------------------------------------------------------------------


def state() -> CoordinatorState:
    return CoordinatorState("r", "probe", SITES, offer={"plan": {"steps": 60}})


def test_the_status_is_written_once_a_second_at_most_and_its_last_word_always(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(status, "time", clock)
    path, written = tmp_path / STATUS, []
    told, traffic, run = StatusFile(path, clock=lambda: NOW), Traffic(), state()
    told.stands(run)
    for _ in range(1000):
        traffic.up += 7
        told.heard("step", 1, 3, traffic)
        written.append(path.stat().st_mtime_ns)
        clock.now += AT_MOST_EVERY / 10
    assert 90 <= len(set(written)) <= 101
    run.ended = "finished"
    told.stands(run)
    said = read_status(tmp_path)
    assert said is not None and (said.ended, said.bytes_up, said.steps, said.cohort) == ("finished", 7000, 60, 3)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_status_says_where_a_run_is_and_nothing_else(tmp_path: Path) -> None:
    told = StatusFile(tmp_path / STATUS, clock=lambda: NOW)
    told.stands(state())
    assert json.loads((tmp_path / STATUS).read_bytes()) == {
        "run": "r", "method": "probe", "phase": "", "completed": 0, "steps": 60, "abandoned": 0, "cohort": 3,
        "heard": 0, "asked": 0, "bytes_up": 0, "bytes_down": 0, "progressed": "2026-11-29T12:00:00+00:00", "ended": "",
    }  # fmt: skip


def test_a_run_that_no_site_has_answered_yet_has_its_name_in_the_status(tmp_path: Path) -> None:
    """Cut off in its offer, it was waiting under no name, and the command that goes on with it could not be told."""
    told = StatusFile(tmp_path / STATUS, clock=lambda: NOW)
    told.begins("probe-1", "probe", 60)
    told.heard("offer", 0, 3, Traffic())
    said = read_status(tmp_path)
    assert said is not None and (said.run, said.method, said.steps, said.ended) == ("probe-1", "probe", 60, "")


@pytest.mark.parametrize("data", [None, b"", b"{}x", b'{"run": 1}', b'{"more": ""}', b"[]"])
def test_a_status_that_cannot_be_read_is_none(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / STATUS).write_bytes(data)
    assert read_status(tmp_path) is None
    (tmp_path / STATUS).write_bytes(b"{}")
    assert read_status(tmp_path) == Status()
