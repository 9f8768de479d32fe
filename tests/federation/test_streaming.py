"""What the coordinator holds does not grow with the sites, and what a wire does to a frame costs nobody anything.

A run with real sites is recorded; then a coordinator in a process without sites hears the same replies again, changed
where a test changes them. So what is allocated while it runs (tracemalloc, numpy's arrays included) is its own.
"""

from __future__ import annotations

import gc
import itertools
import json
import random
import shutil
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.core.coordinator import rounds
from sekisho.core.coordinator.collecting import LONGEST_REPLY
from sekisho.core.coordinator.coordinator import Coordinator, RunResult
from sekisho.core.coordinator.stop_list import KNOWN, StopListKeeper
from sekisho.core.coordinator.summing import StepSum
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.errors import Refused
from sekisho.core.messages import Frame, SignedMessage
from sekisho.core.pilot.federation import Federation, utc_now
from sekisho.core.study import Study
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.signing.keys import demo_key
from sekisho.governance.signing.roster import Roster
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.encryption.frame import ciphertext_length
from sekisho.privacy.encryption.presets import PRESETS, SEED_BYTES

from ..attacks.hostile import resigned
from . import study_folder
from .books import Spent, books, entries, open_federation
from .channels import Losing, Recording, Replaying
from .study_folder import HashedFeatures

DIMENSION = 100_000
FEW, MANY = 3, 12
DECLARED = 360  # subjects, over all sites: so the plan packs alike with few sites and with many
RUN, METHOD = "streamed", "probe"
READIES = "readies"
# What is forwarded of a site is held apart, in the message that forwards it, and on the wire.
TIMES_HELD = 3
# Of a site's header and ready, parsed and listed, as Python's objects; about 7 KB, however long the vector is.
OBJECTS = 12 * 1024

Answers = Mapping[tuple[str, str, int], Sequence[bytes | None]]


class WideFeatures(HashedFeatures):
    """A vector that is large beside everything that is kept of a site."""

    width = DIMENSION - 1

    def _row(self, text: str) -> NDArray[np.float64]:
        narrow = HashedFeatures()._row(text)
        return np.append(narrow, np.zeros(self.width - narrow.size))


@dataclass(frozen=True)
class Recorded:
    """A run of one step with real sites, as the coordinator heard it."""

    study: Study
    roster: Roster
    plan: Plan
    answers: Answers

    @property
    def sites(self) -> tuple[str, ...]:
        return tuple(sorted(self.study.sites))

    def frame(self, site: str) -> bytes:
        (sent,) = self.answers[site, READIES, 1]
        assert sent is not None
        return sent

    def with_frames(self, frames: Mapping[str, Sequence[bytes | None]]) -> dict[tuple[str, str, int], Any]:
        """The same replies, but for these frames."""
        return {**self.answers, **{(site, READIES, 1): changed for site, changed in frames.items()}}


@dataclass(frozen=True)
class Heard:
    """What a coordinator made of replies: result or refusal, how its first step ended, and its peak in the steps."""

    result: RunResult | None
    refused: Refused | None
    outcome: dict[str, Any]
    asked: list[tuple[str, str, int]]
    peak: int


def record(home: Path, count: int) -> Recorded:
    names = [f"site{number:02d}" for number in range(count)]
    folder = study_folder.build(
        home / "study", steps=1, allowance=1, sites=names, subjects=1, declared=DECLARED // count
    )
    channels: list[Recording] = []

    def wrap(channel: EmbeddedChannel) -> Recording:
        channels.append(Recording(channel))
        return channels[0]

    federation = open_federation(folder, wrap, features=WideFeatures())
    try:
        assert federation.run(METHOD, run=RUN).state_macs_agree
        plan = federation.plan(METHOD)
    finally:
        federation.close()
    answers: dict[tuple[str, str, int], list[bytes | None]] = {}
    for (site, asked), (answerer, answer) in zip(channels[0].posted, channels[0].received, strict=True):
        assert site == answerer
        body = SignedMessage.from_bytes(asked).body
        answers.setdefault((site, body.kind, getattr(body, "step", 0)), []).append(answer)
    return Recorded(federation.study, federation.roster, plan, answers)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("few"), FEW)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("many"), MANY)


Replay = Callable[..., Heard]


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    numbers = itertools.count()

    def go(
        recorded: Recorded, answers: Answers | None = None, *, order: Callable[[str], object] = lambda site: site
    ) -> Heard:
        home = tmp_path / str(next(numbers))
        home.mkdir()

        def heard(kind: str) -> None:
            if kind == "step":
                tracemalloc.reset_peak()

        channel = Replaying(recorded.answers if answers is None else answers, order=order, heard=heard)
        return _heard(recorded, channel, home)

    return go


def _heard(recorded: Recorded, channel: Replaying, home: Path) -> Heard:
    key = demo_key("coordinator")
    keeper = StopListKeeper(
        home / "stops", roster=recorded.roster, key=key, clock=utc_now, allowed=(), memory=home / KNOWN
    )
    with AuditLog.open(home / "log", origin="test/coordinator", key=key) as log:
        coordinator = Coordinator(
            channel,
            study=recorded.study,
            roster=recorded.roster,
            key=key,
            log=log,
            clock=utc_now,
            runs=home / "runs",
            stops=keeper,
        )
        result = refused = None
        gc.collect()
        tracemalloc.start()
        try:
            result = coordinator.run(RUN, coordinator.offer(METHOD, recorded.plan), recorded.plan)
        except Refused as error:
            refused = error
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    state = json.loads((home / "runs" / f"{RUN}.json").read_bytes())
    return Heard(result, refused, state["outcomes"][0], channel.asked, peak)


def allowed(recorded: Recorded) -> int:
    """What one site more may cost: its seeds, and what is fixed."""
    return TIMES_HELD * SEED_BYTES * PRESETS[recorded.plan.preset].blocks(DIMENSION) + OBJECTS


# -- memory ------------------------------------------------------------------------------------------------------------


def growth(replay: Replay, few: Recorded, many: Recorded) -> int:
    """By how many bytes the peak is higher with more sites, of two runs that went well."""
    low, high = replay(few), replay(many)
    assert low.result is not None and high.result is not None
    return high.peak - low.peak


def test_the_coordinators_memory_does_not_grow_by_more_than_seeds_and_headers(
    replay: Replay, few: Recorded, many: Recorded
) -> None:
    assert few.plan.preset == many.plan.preset
    assert allowed(many) < len(many.frame(many.sites[0])) / 20
    assert growth(replay, few, many) <= (MANY - FEW) * allowed(many)


def test_a_coordinator_that_kept_frames_would_be_seen(
    replay: Replay, few: Recorded, many: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hoarding(StepSum):
        def add(self, site: str, message: SignedMessage) -> None:
            self.__dict__.setdefault("hoard", []).append(message)
            super().add(site, message)

    monkeypatch.setattr(rounds, "StepSum", Hoarding)
    assert growth(replay, few, many) > 10 * (MANY - FEW) * allowed(many)


def test_a_reply_that_is_too_long_is_not_read_and_costs_no_memory(
    replay: Replay, few: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    villain = few.sites[1]
    honest = replay(few)
    longest = LONGEST_REPLY + ciphertext_length(PRESETS[few.plan.preset], DIMENSION)
    # a message that is well formed and signed, but for its length
    long = resigned(
        SignedMessage.from_bytes(few.frame(villain)), parts={"more": bytes(8 * longest)}, key=demo_key(villain)
    )
    read: list[int] = []
    real = SignedMessage.from_bytes.__func__  # type: ignore[attr-defined]  # a class method's own function

    def noted(cls: type[SignedMessage], data: bytes, **named: bool) -> SignedMessage:
        read.append(len(data))
        return real(cls, data, **named)  # type: ignore[no-any-return]

    monkeypatch.setattr(SignedMessage, "from_bytes", classmethod(noted))
    found = replay(few, few.with_frames({villain: [long]}))
    assert found.outcome["missing"] == [villain]
    assert max(read) <= longest < len(long)
    # the reply itself is the engine's; nothing was made of it
    assert found.peak - len(long) < honest.peak


# -- a wire that loses -------------------------------------------------------------------------------------------------


def lossy(study: Path, times: int) -> tuple[Losing, Federation, RunResult]:
    """A run in which so many of one site's replies with its frame of step 2 get lost."""
    channels: list[Losing] = []

    def loses(site: str, kind: str, step: int) -> bool:
        return (site, kind, step) == ("mori", "frame", 2) and len(channels[0].lost) < times

    def wrap(channel: EmbeddedChannel) -> Losing:
        channels.append(Losing(channel, loses=loses))
        return channels[0]

    federation = open_federation(study, wrap)
    try:
        return channels[0], federation, federation.run(METHOD)
    except BaseException:
        federation.close()
        raise


@pytest.fixture
def short_study(signed_study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed_study, tmp_path / "short"))


def test_a_lost_frame_is_asked_for_once_more_and_the_very_same_bytes_come(short_study: Path) -> None:
    channel, federation, result = lossy(short_study, times=1)
    try:
        ((_, lost),) = channel.lost
        again = [data for site, data in channel.received if site == "mori" and _is_frame(data, 2)]
        assert again == [lost]
        # nothing was lost but time, and nothing was charged or disclosed twice
        steps = result.plan.steps
        assert (result.state.completed, result.state.abandoned) == (steps, 0) and result.state_macs_agree
        assert set(books(federation).values()) == {Spent(steps, steps, "closed", steps)}
        told = [entry["data"]["kind"] for entry in entries(federation, "mori", "control.told")]
        assert told.count("RESENT") == 1
        assert len(entries(federation, "mori", "step.disclosed")) == steps
    finally:
        federation.close()


def test_a_frame_lost_twice_is_a_site_that_is_gone(short_study: Path) -> None:
    channel, federation, result = lossy(short_study, times=2)
    try:
        assert len({data for _, data in channel.lost}) == 1 and len(channel.lost) == 2
        abandoned = [outcome for outcome in result.state.outcomes if outcome.status == "abandoned"]
        assert [(outcome.step, outcome.missing) for outcome in abandoned] == [(2, ("mori",))]
        assert "mori" not in result.state.cohort
        assert books(federation)["mori"].started == books(federation)["mori"].disclosed == 2
    finally:
        federation.close()


def _is_frame(data: bytes, step: int) -> bool:
    body = SignedMessage.from_bytes(data).body
    return isinstance(body, Frame) and body.step == step


# -- sites that are wrong ----------------------------------------------------------------------------------------------


def garbage(recorded: Recorded, site: str) -> dict[str, bytes]:
    """What a site may send in place of its frame, by name; none of it counts as an answer."""
    honest = recorded.frame(site)
    return {
        "no message": b"garbage",
        "nothing": b"",
        "noise of the right length": random.Random(1).randbytes(len(honest)),
        "cut short": honest[:-1],
        "one bit changed": honest[:-1] + bytes([honest[-1] ^ 1]),
        "another's frame": recorded.frame(recorded.sites[0]),
        "another message of its own": recorded.answers[site, "step", 1][0] or b"",
    }


@pytest.mark.parametrize("what", ["no message", "nothing", "noise of the right length", "cut short",
                                  "one bit changed", "another's frame", "another message of its own"])  # fmt: skip
def test_a_site_that_answers_garbage_twice_is_abandoned_by_name(replay: Replay, few: Recorded, what: str) -> None:
    villain = few.sites[1]
    found = replay(few, few.with_frames({villain: [garbage(few, villain)[what]]}))
    assert (found.outcome["status"], found.outcome["missing"]) == ("abandoned", [villain])
    assert found.refused is not None and found.refused.code == "COHORT_TOO_SMALL"
    # it was asked twice, and nobody else was
    asked = [site for site, kind, _ in found.asked if kind == READIES]
    assert sorted(asked) == sorted((*few.sites, villain))


def test_garbage_once_and_then_the_frame_is_a_wire_that_hiccups(replay: Replay, few: Recorded) -> None:
    villain = few.sites[1]
    found = replay(few, few.with_frames({villain: [b"garbage", few.frame(villain)]}))
    assert found.result is not None and found.outcome["status"] == "summed"
    assert found.outcome == replay(few).outcome, "to the bit the sum of the run that was recorded"


def under_another_key(recorded: Recorded, site: str) -> bytes:
    """The site's frame, signed by it, that says it was sealed under a key which nobody else has."""
    return resigned(
        SignedMessage.from_bytes(recorded.frame(site)), body={"key_check": "ab" * 32}, key=demo_key(site)
    )


def orders(recorded: Recorded) -> list[tuple[str, ...]]:
    """Each site comes first, in the middle and last in one of these."""
    sites = recorded.sites
    return [sites[turn:] + sites[:turn] for turn in range(len(sites))]


def blamed(replay: Replay, recorded: Recorded, villains: Sequence[str], order: Sequence[str]) -> tuple[str, ...]:
    changed = {site: [under_another_key(recorded, site)] for site in villains}
    found = replay(recorded, recorded.with_frames(changed), order=order.index)
    assert found.outcome["status"] == "abandoned"
    # what is signed and wrong would come again: nobody is asked twice
    assert sum(kind == READIES for _, kind, _ in found.asked) == len(recorded.sites)
    return tuple(found.outcome["missing"])


def test_who_sealed_under_another_key_is_named_in_whatever_order_frames_arrive(
    replay: Replay, few: Recorded
) -> None:
    for villain in few.sites:
        for order in orders(few):
            assert blamed(replay, few, [villain], order) == (villain,)


def test_of_two_halves_the_same_one_is_named_in_whatever_order_frames_arrive(replay: Replay, many: Recorded) -> None:
    villains = many.sites[::2]
    shuffled = [random.Random(seed).sample(many.sites, MANY) for seed in range(3)]
    assert len({blamed(replay, many, villains, order) for order in shuffled}) == 1


def test_a_coordinator_that_believed_the_first_would_be_seen(
    replay: Replay, few: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FirstIsRight(StepSum):
        def wrong(self) -> tuple[str, ...]:
            first = next((kept.key_check for kept in self._kept.values()), "")
            return tuple(sorted(site for site, kept in self._kept.items() if kept.key_check != first))

    monkeypatch.setattr(rounds, "StepSum", FirstIsRight)
    villain = few.sites[1]
    assert len({blamed(replay, few, [villain], order) for order in orders(few)}) > 1
