"""A site's service: it answers through its door as the site does, follows a run up, ends cleanly, says how it is."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sekisho.core.engines.pipe import Kind
from sekisho.core.errors import CheckFailedError, Refused
from sekisho.core.messages import SignedMessage, Stop, sign_message
from sekisho.core.parties import state_folder
from sekisho.core.pilot.federation import Federation
from sekisho.core.site.status import STALE_SECONDS, check_healthy, read_status, status_lines
from sekisho.core.training.task import TextProbe
from sekisho.governance.signing.keys import demo_key

from . import study_folder
from .books import open_federation
from .command import codes_logged, ledger_of, log_of
from .service import PATIENCE, Service, ThroughTheDoor, wait_until

OWN = "ame"  # the lowest id: whoever has it publishes
SITES = ("ame", "hana", "kaze")


class Together:
    """A federation in this process, but for one site, which is behind its service's door."""

    def __init__(self, study: Path) -> None:
        self.study = study
        channels: list[ThroughTheDoor] = []

        def wrap(inner: object) -> ThroughTheDoor:
            channels.append(ThroughTheDoor(inner))  # type: ignore[arg-type]
            return channels[0]

        self.federation: Federation = open_federation(study, wrap)
        self.channel = channels[0]
        self.federation.sites.pop(OWN).folder.close()
        self.channel.inner._sites.pop(OWN)
        self.service = Service(study, OWN).start()
        self.channel.reach(self.service)

    def close(self) -> None:
        self.service.end()
        self.federation.close()

    def status(self) -> dict[str, Any]:
        return read_status(self.study, OWN, now=datetime.now(UTC))


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_folder.build(tmp_path_factory.mktemp("service") / "study", steps=2, sites=SITES)


@pytest.fixture
def together(signed: Path, tmp_path: Path) -> Iterator[Together]:
    made = Together(Path(shutil.copytree(signed, tmp_path / "study")))
    yield made
    made.close()


def test_a_site_behind_its_door_runs_publishes_reports_and_ends_as_one_in_the_process(together: Together) -> None:
    result = together.federation.run("probe", run="probe-one")
    assert result.state.completed == 2 and result.state_macs_agree
    state = state_folder(together.study, OWN)
    # what follows a run: the release by the lowest id, its own head, its own report, all within its own folder
    wait_until((state / "reports" / "probe-one.html").exists)
    wait_until(lambda: together.status()["doing"] == "idle")
    assert (state / "releases" / "probe-one" / "release.dsse.json").exists()
    assert {"run.finished", "release.published", "personal.asked"} <= {
        entry["type"] for entry in log_of(together.study, OWN)
    }
    assert ledger_of(together.study, OWN)[0].state == "closed"
    told = together.status()
    assert (told["run"], told["steps"], told["last_message"]) == ("probe-one", 5, "probe-one: finished 2")
    assert told["healthy"] and told["relay"] and told["client"] == "none"
    assert stat.S_IMODE((state / "status.json").stat().st_mode) == 0o600
    # nothing of people or records is in what it says
    shown = json.dumps(told) + "\n".join([*together.service.lines, *status_lines(told)])
    assert not [planted for planted in (f"{OWN}-c0", "lovely", "awful", "item") if planted in shown]
    # a second run is another one, with what the first left behind
    assert together.federation.run("probe", run="probe-two").state.completed == 2
    # and at the end it says that it has ended
    together.service.end()
    assert (together.service.outcome, together.service.error) == ("ended", None)
    found = together.status()
    assert found["doing"] == "ended" and not found["healthy"]
    with pytest.raises(CheckFailedError) as caught:
        check_healthy(found)
    assert caught.value.code == "SERVICE_NOT_RUNNING"
    assert not (state / "engine.sock").exists()
    # the next process finds the last run, and does none of what followed it again
    kinds = [entry["type"] for entry in log_of(together.study, OWN)]
    again = Service(together.study, OWN).start()
    wait_until(lambda: together.status()["doing"] == "idle" and together.status()["run"] == "probe-two")
    again.end()
    later = [entry["type"] for entry in log_of(together.study, OWN)]
    assert later.count("release.published") == kinds.count("release.published") == 2
    assert later.count("personal.asked") == kinds.count("personal.asked") == 2


def test_a_stop_that_comes_inside_a_step_is_heard_through_the_door(
    together: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The door hands it over while the step is at work, and answers it after; nothing was sealed."""
    real, batches = TextProbe.gradients, []
    stop = sign_message(
        Stop(code="STOPPED_BY_OPERATOR"), study="small-study", run="probe-one", sender="coordinator",
        key=demo_key("coordinator"),
    ).to_bytes()  # fmt: skip
    told = iter([True])

    def gradients(task: TextProbe, rows: object, labels: object, vector: object) -> object:
        site = together.service.real
        if site is not None and site.state is not None and site.state.step_started and not site.state.step_sealed:
            batches.append(1)
            if next(told, False):
                together.channel.pipe.send(Kind.POST, ticket=1, body=stop)
                wait_until(lambda: site._tasks.going_on._stopped[0] == "probe-one")
        return real(task, rows, labels, vector)

    monkeypatch.setattr("sekisho.core.training.training.GRADIENT_BYTES", 8)
    monkeypatch.setattr(TextProbe, "gradients", gradients)
    with pytest.raises(Refused) as caught:
        together.federation.run("probe", run="probe-one")  # one is missing, and two are too few
    assert caught.value.code == "COHORT_TOO_SMALL"
    assert len(batches) == 1
    assert "STOPPED_BY_COORDINATOR" in codes_logged(together.study, OWN)
    if not together.channel.others:
        together.channel.others.append(together.channel.take()[1])
    answer = together.channel.others[0]
    assert answer is not None and SignedMessage.from_bytes(answer).body.kind == "stopped"


def test_told_to_end_inside_a_step_it_ends_and_answers_nothing(
    together: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No word that it did not deliver: the same message is answered by the next process."""
    real, ended = TextProbe.gradients, iter([True])

    def gradients(task: TextProbe, rows: object, labels: object, vector: object) -> object:
        site = together.service.real
        trains = site is not None and site.state is not None and site.state.step_started
        if trains and not site.state.step_sealed and next(ended, False):
            together.service.agent.end()
            wait_until(lambda: site._tasks.going_on._ending)
        return real(task, rows, labels, vector)

    monkeypatch.setattr("sekisho.core.training.training.GRADIENT_BYTES", 8)
    monkeypatch.setattr(TextProbe, "gradients", gradients)
    with pytest.raises((OSError, Refused)):  # it hangs up
        together.federation.run("probe", run="probe-one")
    assert together.channel.undelivered == []
    together.service.end()
    assert together.service.outcome == "ended" and together.service.error is None
    (books,) = ledger_of(together.study, OWN)
    assert (books.started, books.state) == (1, "open")
    assert not codes_logged(together.study, OWN) - {"ORPHAN_CLOSED"}


def test_people_who_order_a_stop_are_heard_inside_a_step(together: Together, monkeypatch: pytest.MonkeyPatch) -> None:
    real, told = TextProbe.gradients, iter([True])
    batches: list[int] = []

    def gradients(task: TextProbe, rows: object, labels: object, vector: object) -> object:
        site = together.service.real
        if site is not None and site.state is not None and site.state.step_started and not site.state.step_sealed:
            batches.append(1)
            if next(told, False):
                (together.study / "stops").mkdir(exist_ok=True)
                # whatever cannot be read there is a stop
                (together.study / "stops" / f"{'0' * 64}.dsse.json").write_text("{}", "utf-8")
                wait_until(lambda: site._tasks.going_on._stopped[0])
        return real(task, rows, labels, vector)

    monkeypatch.setattr("sekisho.core.training.training.GRADIENT_BYTES", 8)
    monkeypatch.setattr("sekisho.core.site.agent.BEAT_SECONDS", 0.05)
    monkeypatch.setattr(TextProbe, "gradients", gradients)
    with pytest.raises(Exception, match=OWN):
        together.federation.run("probe", run="probe-one")
    assert len(batches) == 1
    assert "STOPPED" in codes_logged(together.study, OWN)


def test_between_runs_it_logs_what_the_engine_refused_and_hears_of_new_papers(
    together: Together, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sekisho.core.engines.door.QUIET_SECONDS", 0.05)
    together.service.refused.append("JOB_WITH_CODE")
    wait_until(lambda: "JOB_WITH_CODE" in codes_logged(together.study, OWN))
    wait_until(lambda: together.status()["last_code"] == "JOB_WITH_CODE")
    # papers that changed are opened anew, by the same process
    os.utime(together.study / "sites" / OWN / "policy.yaml", ns=(1, 1))
    together.service.thread.join(PATIENCE)
    assert (together.service.outcome, together.service.error) == ("papers", None)
    # and what it last said is not taken for life for ever, nor is silence
    later = datetime.now(UTC) + timedelta(seconds=STALE_SECONDS + 30)
    assert not read_status(together.study, OWN, now=later)["healthy"]
    with pytest.raises(CheckFailedError):
        read_status(tmp_path, OWN, now=later)


def test_a_service_that_hangs_is_not_healthy() -> None:
    hangs = {"site": OWN, "healthy": False, "doing": "working", "at": "2026-11-30T00:00:00+00:00", "last_code": ""}
    with pytest.raises(CheckFailedError, match="last seen") as caught:
        check_healthy(hangs)
    assert caught.value.code == "SERVICE_NOT_RUNNING"
