"""A maker that dies in the middle: its step stays failed, its charge stays, the others go on or stop by name.

Faults enter at the engine's own interface (``channels.Dying``). The study has three steps and an allowance of one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from sekisho.core.coordinator.coordinator import RunResult
from sekisho.core.engines.channel import Reply
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.errors import Refused
from sekisho.core.messages import SignedMessage, Stopped
from sekisho.core.pilot.federation import Federation
from sekisho.governance.signing.keys import demo_key

from ..attacks.hostile import resigned
from . import study_folder
from .books import Spent, books, entries, open_federation, spent, steps_of
from .channels import Dying, Recording
from .study_folder import SITES

STEPS, ALLOWANCE = 3, 1
RESERVED = STEPS + ALLOWANCE
DEAD = "mori"
LEFT = tuple(site for site in SITES if site != DEAD)

Dies = Callable[[str, str, int], bool]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_folder.build(tmp_path_factory.mktemp("drop") / "study", steps=STEPS, allowance=ALLOWANCE)


@pytest.fixture
def study(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "study"))


@dataclass
class Run:
    """One run with a dying site: what came of it, and every site's books whenever a step had ended."""

    federation: Federation
    channel: Dying
    books_after: list[dict[str, Spent]] = field(default_factory=list)
    result: RunResult | None = None
    refused: Refused | None = None
    closed: bool = False

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.federation.close()

    def steps_posted_to(self, site: str) -> list[int]:
        bodies = [SignedMessage.from_bytes(data).body for name, data in self.channel.posted if name == site]
        return [getattr(body, "step", 0) for body in bodies if body.kind == "step"]

    def outcomes(self) -> list[tuple[int, str, tuple[str, ...]]]:
        assert self.result is not None
        return [(outcome.step, outcome.status, outcome.missing) for outcome in self.result.state.outcomes]


Runner = Callable[..., Run]


@pytest.fixture
def run_with(study: Path) -> Iterator[Runner]:
    runs: list[Run] = []

    def go(dies: Dies, *, after: bool = False) -> Run:
        channels: list[Dying] = []

        def wrap(channel: EmbeddedChannel) -> Dying:
            channels.append(Dying(channel, dies=dies, after=after))
            return channels[0]

        def noted(stage: str, done: int, total: int) -> None:
            if stage == "steps":
                run.books_after.append(books(federation))

        federation = open_federation(study, wrap, progress=noted)
        run = Run(federation, channels[0])
        runs.append(run)
        try:
            run.result = federation.run("probe")
        except Refused as refused:
            run.refused = refused
        return run

    yield go
    for run in runs:
        run.close()


def at(kind: str, step: int, *sites: str) -> Dies:
    """Dies when this message of this step would reach it."""
    return lambda site, its_kind, its_step: site in (sites or (DEAD,)) and (its_kind, its_step) == (kind, step)


def ends_with_four(run: Run) -> RunResult:
    """All that holds of every run that lost one site in step 2 and went on."""
    assert run.result is not None, run.refused
    # the step was abandoned; step numbers only rise; the plan was fulfilled by one more step
    assert run.outcomes() == [(1, "summed", ()), (2, "abandoned", (DEAD,)), (3, "summed", ()), (4, "summed", ())]
    assert run.result.state.cohort == LEFT
    for site in LEFT:
        assert steps_of(run.federation, site, "step.opened") == [1, 3, 4]
        assert steps_of(run.federation, site, "step.abandoned") == [2]
    (abandoned,) = entries(run.federation, "coordinator", "step.abandoned")
    assert abandoned["data"] == {"step": 2, "missing": [DEAD], "cohort": len(LEFT)}
    # the four hold one adapter, and it is one
    assert run.result.state_macs_agree
    states = [run.federation.sites[site].state for site in LEFT]
    vectors = [state.optimizer.vector for state in states if state is not None]
    assert len(vectors) == len(LEFT) and all(np.array_equal(vectors[0], vector) for vector in vectors)
    assert vectors[0].any()
    # from step 3 on each added the larger share of noise that a cohort of four needs
    plan = run.result.plan
    assert plan.share_variance(4) > plan.share_variance(5)
    for site in LEFT:
        for entry in entries(run.federation, site, "step.disclosed"):
            step, cohort = entry["data"]["step"], 5 if entry["data"]["step"] <= 2 else 4
            assert entry["refs"]["event"] == plan.event(cohort, step).digest()
    # nobody asked the dead site again, and no frame of its own was in a later sum
    assert max(run.steps_posted_to(DEAD)) == 2
    for outcome in run.result.state.outcomes[2:]:
        assert DEAD not in outcome.cohort
    return run.result


def test_a_maker_dead_before_its_ready_costs_nobody_the_step(run_with: Runner) -> None:
    run = run_with(at("step", 2))
    # at that moment: nobody had seen all readies, so nobody had started step 2 or touched data for it
    assert run.books_after[1] == {site: Spent(1, 1, "open", RESERVED) for site in SITES}
    ends_with_four(run)
    # in the end: three steps were started and disclosed, the never-started one was given back
    assert {site: books(run.federation)[site] for site in LEFT} == {site: Spent(3, 3, "closed", 3) for site in LEFT}
    for site in LEFT:
        assert steps_of(run.federation, site, "step.started") == [1, 3, 4]


def test_a_maker_whose_ready_is_lost_costs_nobody_the_step(run_with: Runner) -> None:
    run = run_with(at("step", 2), after=True)
    ends_with_four(run)
    assert run.books_after[1] == {site: Spent(1, 1, "open", RESERVED) for site in SITES}


def test_a_maker_dead_after_its_ready_costs_the_others_the_step(run_with: Runner) -> None:
    run = run_with(at("readies", 2))
    ends_with_four(run)
    # the four had started, trained and sealed step 2: nothing of that comes back
    assert run.books_after[1] == {
        site: Spent(1, 1, "open", RESERVED) if site == DEAD else Spent(2, 2, "open", RESERVED) for site in SITES
    }
    assert {site: books(run.federation)[site] for site in LEFT} == {site: Spent(4, 4, "closed", 4) for site in LEFT}


def test_a_maker_whose_frame_is_lost_pays_for_it_like_the_others(run_with: Runner) -> None:
    run = run_with(at("readies", 2), after=True)
    ends_with_four(run)
    assert run.books_after[1] == {site: Spent(2, 2, "open", RESERVED) for site in SITES}
    assert {site: books(run.federation)[site] for site in LEFT} == {site: Spent(4, 4, "closed", 4) for site in LEFT}
    assert books(run.federation)[DEAD] == Spent(2, 2, "open", RESERVED)  # unknown is spent until it opens again


def test_a_maker_dead_at_the_first_step_leaves_a_run_of_four(run_with: Runner) -> None:
    run = run_with(at("readies", 1))
    assert run.outcomes() == [(1, "abandoned", (DEAD,)), (2, "summed", ()), (3, "summed", ()), (4, "summed", ())]
    assert run.result is not None and run.result.state_macs_agree
    assert books(run.federation)[DEAD] == Spent(0, 0, "open", RESERVED)


def test_a_maker_dead_at_the_last_message_takes_nothing_from_the_others(run_with: Runner) -> None:
    run = run_with(at("finish", 3))
    assert run.result is not None and run.result.state.completed == STEPS and run.result.state.abandoned == 0
    assert {site: books(run.federation)[site] for site in LEFT} == {site: Spent(3, 3, "closed", 3) for site in LEFT}


@pytest.mark.parametrize("missing", ["join", "cohort", "kems", "secrets"])
def test_a_maker_missing_before_the_first_step_starts_no_run(run_with: Runner, missing: str) -> None:
    message = "offer" if missing == "join" else missing
    run = run_with(at(message, 0))
    assert run.refused is not None and run.refused.code == "SITE_MISSING" and DEAD in str(run.refused)
    everybody = books(run.federation)
    assert all(everybody[site] == Spent(0, 0, "closed", 0) for site in LEFT)
    assert everybody[DEAD].started == 0
    assert not any(entries(run.federation, site, "step.started") for site in SITES)


def test_too_few_left_stops_the_run_and_names_the_studys_minimum(run_with: Runner) -> None:
    run = run_with(at("readies", 2, "hana", "mori", "yuki"))
    assert run.refused is not None
    assert (run.refused.code, run.refused.clause) == ("COHORT_TOO_SMALL", "study/minimum_sites")
    # two sites are left; each was told, closed the run, and got back what was never started
    everybody = books(run.federation)
    assert everybody["ame"] == everybody["kaze"] == Spent(2, 2, "closed", 2)
    assert everybody["hana"] == Spent(1, 1, "open", RESERVED)
    (stopped,) = entries(run.federation, "coordinator", "run.stopped")
    assert stopped["data"] == {"code": "COHORT_TOO_SMALL", "completed": 1}
    # nobody was asked for a third step
    assert max(run.steps_posted_to("ame")) == 2


def test_too_few_left_for_one_sites_policy_stops_the_run_and_names_its_clause(study: Path, run_with: Runner) -> None:
    study_folder.change(study / "sites" / "hana" / "policy.yaml", "min_sites: 3", "min_sites: 4")
    study_folder.sign_policy(study, "hana")
    run = run_with(at("step", 2, "mori", "yuki"))
    assert run.refused is not None
    # the study would go on with three; hana's clause 6 would not
    assert (run.refused.code, run.refused.site, run.refused.clause) == ("COHORT_TOO_SMALL", "hana", "6")
    assert all(books(run.federation)[site] == Spent(1, 1, "closed", 1) for site in ("ame", "hana", "kaze"))
    (refusal,) = entries(run.federation, "hana", "decision.refuse")
    assert refusal["data"] == {"codes": ["COHORT_TOO_SMALL"]}


def test_a_study_that_stops_on_a_drop_stops_at_the_first(study: Path, run_with: Runner) -> None:
    study_folder.change(study / "study.yaml", "on_drop: continue", "on_drop: stop")
    study_folder.sign_study(study)
    run = run_with(at("step", 2))
    assert run.refused is not None and run.refused.code == "SITE_DROPPED" and DEAD in str(run.refused)
    assert all(books(run.federation)[site] == Spent(1, 1, "closed", 1) for site in LEFT)


def test_more_failed_steps_than_the_allowance_end_the_run(run_with: Runner) -> None:
    def one_a_step(site: str, kind: str, step: int) -> bool:
        return kind == "readies" and (site, step) in {("mori", 2), ("yuki", 3)}

    run = run_with(one_a_step)
    assert run.refused is not None and run.refused.code == "ALLOWANCE_SPENT"
    # four steps were paid for; two of them opened, and there is no fifth
    left = ("ame", "hana", "kaze")
    assert all(books(run.federation)[site] == Spent(4, 4, "closed", 4) for site in left)
    assert all(steps_of(run.federation, site, "step.started") == [1, 2, 3, 4] for site in left)


def one_bit_changed(answer: SignedMessage) -> bytes:
    data = answer.to_bytes()
    return data[:-1] + bytes([data[-1] ^ 1])


def of_another_run(answer: SignedMessage) -> bytes:
    return resigned(answer, run="another", key=demo_key(DEAD))


def in_another_name(answer: SignedMessage) -> bytes:
    return resigned(answer, sender="hana", key=demo_key(DEAD))


def of_another_kind(answer: SignedMessage) -> bytes:
    return resigned(answer, body=Stopped(), key=demo_key(DEAD))


def with_a_digest_that_does_not_fit(answer: SignedMessage) -> bytes:
    return resigned(answer, body={"c0": "sha256:" + "0" * 64}, key=demo_key(DEAD))


def without_a_ciphertext(answer: SignedMessage) -> bytes:
    return resigned(answer, parts={"frame": None}, key=demo_key(DEAD))


def of_another_step(answer: SignedMessage) -> bytes:
    return resigned(answer, body={"step": 2}, key=demo_key(DEAD))


def nothing_at_all(answer: SignedMessage) -> bytes:
    return b""


NONSENSE = (
    one_bit_changed, of_another_run, in_another_name, of_another_kind, with_a_digest_that_does_not_fit,
    without_a_ciphertext, of_another_step, nothing_at_all,
)  # fmt: skip


@pytest.mark.parametrize("nonsense", NONSENSE, ids=lambda nonsense: nonsense.__name__)
def test_a_site_that_answers_nonsense_did_not_deliver(study: Path, nonsense: Callable[[SignedMessage], bytes]) -> None:
    class Garbled(Dying):
        def poll(self):  # type: ignore[no-untyped-def]  # as Dying
            return tuple(spoiled(reply) if reply.site == DEAD else reply for reply in super().poll())

    def spoiled(reply: Reply) -> Reply:
        answer = None if reply.data is None else SignedMessage.from_bytes(reply.data)
        if answer is None or answer.body.kind != "frame":
            return reply
        return Reply(reply.ticket, reply.site, nonsense(answer))

    federation = open_federation(study, Garbled)
    try:
        result = federation.run("probe")
    finally:
        federation.close()
    first = result.state.outcomes[0]
    assert (first.status, first.missing) == ("abandoned", (DEAD,))
    assert result.state.cohort == LEFT and result.state_macs_agree and result.state.completed == STEPS


def test_the_dead_sites_open_run_is_closed_when_it_opens_again_and_what_was_started_stays_spent(
    study: Path, run_with: Runner
) -> None:
    run = run_with(at("readies", 2), after=True)
    assert books(run.federation)[DEAD] == Spent(2, 2, "open", RESERVED)
    run.close()
    again = open_federation(study)
    try:
        assert spent(again.sites[DEAD].folder.ledger) == Spent(2, 2, "closed", 2)
        (stopped,) = entries(again, DEAD, "run.stopped")
        assert stopped["data"] == {"code": "ORPHAN_CLOSED"}
        assert run.result is not None and stopped["refs"]["run"] == run.result.run
        # the four had closed theirs: nothing is closed twice
        assert all(not entries(again, site, "run.stopped") for site in LEFT)
    finally:
        again.close()


def test_killed_in_the_middle_a_second_run_is_whole_and_the_first_stays_spent(study: Path) -> None:
    def interrupted(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("steps", 2):
            raise KeyboardInterrupt

    first = open_federation(study, progress=interrupted)
    with pytest.raises(KeyboardInterrupt):
        first.run("probe", run="first")
    first.close()

    second = open_federation(study)
    try:
        result = second.run("probe", run="second")
        assert result.state.completed == STEPS and result.state_macs_agree
        for site in second.sites.values():
            balance = site.folder.ledger.balance()
            rows = {row.run: (row.started, row.disclosed, row.state) for row in balance.runs}
            assert rows == {"first": (2, 2, "closed"), "second": (STEPS, STEPS, "closed")}
            assert balance.spent_max == (2 + STEPS) * balance.runs[0].step_cost
    finally:
        second.close()


@dataclass
class LosesFrames(Recording):
    """Loses, or damages on the way, the first frames that ``DEAD`` sends; the site itself is well."""

    losses: int = 1
    damage: Callable[[SignedMessage], bytes | None] = lambda answer: None
    sealed: list[bytes] = field(default_factory=list)

    def poll(self) -> tuple[Reply, ...]:
        return tuple(self._lose(reply) for reply in super().poll())

    def _lose(self, reply: Reply) -> Reply:
        answer = None if reply.data is None or reply.site != DEAD else SignedMessage.from_bytes(reply.data)
        if answer is None or answer.body.kind != "frame":
            return reply
        self.sealed.append(answer.to_bytes())
        if len(self.sealed) > self.losses:
            return reply
        return Reply(reply.ticket, reply.site, self.damage(answer))


@pytest.mark.parametrize("damage", [lambda answer: None, one_bit_changed], ids=["lost", "damaged"])
def test_a_frame_lost_once_is_sent_again_unchanged_and_nothing_is_charged_twice(
    study: Path, damage: Callable[[SignedMessage], bytes | None]
) -> None:
    channels: list[LosesFrames] = []

    def wrap(channel: EmbeddedChannel) -> LosesFrames:
        channels.append(LosesFrames(channel, damage=damage))
        return channels[0]

    federation = open_federation(study, wrap)
    try:
        result = federation.run("probe")
        assert [(one.step, one.status, one.missing) for one in result.state.outcomes] == [
            (step, "summed", ()) for step in range(1, STEPS + 1)
        ]
        # asked twice for step 1, it sent the very same bytes; it had started and charged the step once
        first, again, *others = channels[0].sealed
        assert first == again and len(others) == STEPS - 1 and first not in others
        assert steps_of(federation, DEAD, "step.started") == list(range(1, STEPS + 1))
        assert books(federation) == {site: Spent(STEPS, STEPS, "closed", STEPS) for site in SITES}
        assert result.state_macs_agree
    finally:
        federation.close()


def test_a_frame_lost_twice_is_not_asked_for_a_third_time(study: Path) -> None:
    channels: list[LosesFrames] = []

    def wrap(channel: EmbeddedChannel) -> LosesFrames:
        channels.append(LosesFrames(channel, losses=2))
        return channels[0]

    federation = open_federation(study, wrap)
    try:
        result = federation.run("probe")
    finally:
        federation.close()
    first = result.state.outcomes[0]
    assert (first.status, first.missing) == ("abandoned", (DEAD,)) and len(channels[0].sealed) == 2
    assert result.state.cohort == LEFT and result.state.completed == STEPS
