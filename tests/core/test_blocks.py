"""Blocks of steps as the coordinator and a site keep them: numbers only go forward, and going back is to the bit."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sekisho.core.conditions import ValidationSettings
from sekisho.core.coordinator.endings import early_end
from sekisho.core.coordinator.state import CoordinatorState, CountOutcome, Outcome
from sekisho.core.data.held_out import divide, is_held_out
from sekisho.core.errors import ProtocolError
from sekisho.core.planning import DOMAIN
from sekisho.core.site.blocks import count_is_due
from sekisho.core.site.state import RunState, Transcript
from sekisho.core.site.step import _keep_accepted as keep_accepted
from sekisho.core.training.optimizer import OptimizerState
from sekisho.governance.provenance.provenance import StepPart
from sekisho.privacy.accounting.subjects import SubjectKey
from sekisho.privacy.keys.runkeys import JoinKeys
from sekisho.privacy.mechanism.judged import JudgedCounts
from sekisho.privacy.mechanism.opened import OpenedCounts

COHORT = ("ame", "hana", "kaze")
COUNTS = JudgedCounts(OpenedCounts(DOMAIN, (5.0, 2.0, 3.0, 14.0, 2.0, 4.0), 1.0), True)
SETTINGS = ValidationSettings(
    every=3, held_out="0.2", epsilon="1", delta="0.00001", least="0.5", rejections=1  # type: ignore[arg-type]
)


def optimizer(updates: int) -> OptimizerState:
    rng = np.random.default_rng(updates)
    return OptimizerState(rng.normal(size=4), rng.normal(size=4), rng.normal(size=4), updates)


def state_of(run: str = "r") -> RunState:
    return RunState(
        run=run,
        transcript=Transcript(run, "sha256:" + "0" * 64, bytes(32), bytes(32)),
        optimizer=optimizer(0),
        cohort=COHORT,
        join_keys=JoinKeys.generate(),
        started=datetime(2026, 11, 29, tzinfo=UTC),
    )


def move(state: RunState, steps: int) -> None:
    for _ in range(steps):
        state.step += 1
        state.completed += 1
        state.optimizer = replace(optimizer(100 + state.step), updates=state.optimizer.updates + 1)
        state.history.append(
            StepPart(step=state.step, cohort=COHORT, outcome="completed", sum="sha256:" + "1" * 64)
        )


def test_a_count_is_never_at_the_transcript_of_a_step() -> None:
    here = state_of().transcript
    assert here.at(1, COHORT, "00") != here.at_count(1, COHORT, "00")
    # and a count that is over moves the chain: the same view of the steps alone is another transcript
    later = here.after_count(1, "accepted", (), "sha256:" + "2" * 64)
    assert later.at(1, COHORT, "00") != here.at(1, COHORT, "00")
    assert here.after_count(1, "rejected", (), "sha256:" + "2" * 64).running != later.running
    with pytest.raises(ProtocolError):
        later.at_count(1, COHORT, "00")


def test_going_back_is_to_the_bit_in_memory_and_on_disk(tmp_path: Path) -> None:
    state = state_of()
    with pytest.raises(ProtocolError):
        state.roll_back()
    state.accept(COUNTS, None)
    move(state, 3)
    state.accept(COUNTS, None)
    kept = state.optimizer
    state.save(tmp_path)
    for _ in range(3):  # as often as it takes: no arrays of a rolled-back state are taken for those of another
        move(state, 3)
        state.save(tmp_path)
        assert len(list(tmp_path.glob("*.arrays"))) == 2
        state.roll_back()
        assert state.optimizer is kept and state.completed == 3
        state.save(tmp_path)
        document = json.loads((tmp_path / "r.json").read_text("utf-8"))
        for name in (document["arrays"], document["accepted"]["arrays"]):
            assert (tmp_path / name).read_bytes() == b"".join(kept.array_bytes())
        assert document["digest"] == document["accepted"]["digest"] == kept.digest()
    assert [part.outcome for part in state.history] == ["completed"] * 3 + ["rolled-back"] * 9
    assert state.step == 12
    # nor where nothing was written between going back and coming as far again
    move(state, 3)
    state.save(tmp_path)
    state.roll_back()
    move(state, 3)
    state.save(tmp_path)
    document = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert (tmp_path / document["arrays"]).read_bytes() == b"".join(state.optimizer.array_bytes())


def test_a_site_knows_by_itself_when_a_count_is_due() -> None:
    state = state_of()
    due = {"every": 3, "steps": 7}
    assert count_is_due(state, **due, summed=False)  # of the start
    state.accept(COUNTS, None)
    for summed, steps, expected in ((False, 0, False), (False, 2, False), (True, 0, True), (False, 1, True)):
        move(state, steps)
        assert count_is_due(state, **due, summed=summed) is expected
    state.accept(COUNTS, None)
    move(state, 3)
    state.accept(COUNTS, None)
    assert not count_is_due(state, **due, summed=False)
    assert count_is_due(state, **due, summed=True)  # the last step, in a block that is not whole


def run_of(*blocks: str, every: int = 3) -> CoordinatorState:
    state = CoordinatorState("r", "probe", COHORT, counts=[CountOutcome(1, 0, "accepted", COHORT)])
    for verdict in blocks:
        for _ in range(every):
            state.outcomes.append(Outcome(state.step + 1, "summed", COHORT))
        state.judged(CountOutcome(len(state.counts) + 1, state.step, verdict, COHORT))  # type: ignore[arg-type]
    return state


def test_a_rejected_block_is_counted_against_the_allowance() -> None:
    state = run_of("accepted", "rejected")
    assert (state.completed, state.accepted, state.step, state.rejected) == (3, 3, 6, 1)
    counts = SimpleNamespace(total_steps=9)
    enough, short = (SimpleNamespace(steps=6, allowance=extra, total_steps=6 + extra) for extra in (3, 2))
    assert early_end(state, enough, counts, SETTINGS) is None  # type: ignore[arg-type]  # two figures of a plan
    ended = early_end(state, short, counts, SETTINGS)  # type: ignore[arg-type]
    assert ended is not None and ended.code == "ALLOWANCE_SPENT"


def test_more_rejections_than_the_study_has_end_the_run_and_so_do_counts_that_are_used_up() -> None:
    plan = SimpleNamespace(steps=6, allowance=30, total_steps=36)
    ended = early_end(run_of("accepted", "rejected", "rejected"), plan, SimpleNamespace(total_steps=9), SETTINGS)  # type: ignore[arg-type]
    assert ended is not None and ended.code == "VALIDATION_REJECTED"
    lost = run_of("accepted", "lost")
    assert early_end(lost, plan, SimpleNamespace(total_steps=4), SETTINGS) is None  # type: ignore[arg-type]
    ended = early_end(lost, plan, SimpleNamespace(total_steps=3), SETTINGS)  # type: ignore[arg-type]
    assert ended is not None and ended.code == "VALIDATION_LOST"


def test_who_is_held_out_depends_on_a_person_and_the_sites_key_alone() -> None:
    people = [f"person-{number}" for number in range(4000)]
    key, other = SubjectKey(bytes(32)), SubjectKey(bytes([1] * 32))
    share = Decimal("0.15")
    trained, held_out = divide(people, key, share)
    assert not set(trained) & set(held_out) and sorted([*trained, *held_out]) == sorted(people)
    # taking anybody away moves nobody else
    assert divide(people[1::2], key, share)[1] == tuple(one for one in people[1::2] if one in set(held_out))
    assert divide(people, other, share)[1] != held_out
    # who is held out for a smaller share is so for a larger one: nobody changes sides when a study asks for more
    assert set(held_out) < set(divide(people, key, Decimal("0.3"))[1])
    assert abs(len(held_out) - 600) < 7 * np.sqrt(4000 * 0.15 * 0.85)
    assert all(is_held_out(one, key, share) for one in held_out)


def test_a_step_that_moved_nothing_is_of_no_result_when_the_run_ends_before_it_is_judged() -> None:
    """Its sum was outside the bound: the state stands where it was accepted, and the step is named all the same."""
    state, told = state_of(), []
    move(state, 3)
    state.accept(COUNTS, None)
    state.step, state.completed, state.spoilt = state.step + 1, state.completed + 1, True
    state.history.append(StepPart(step=state.step, cohort=COHORT, outcome="completed", sum="sha256:" + "1" * 64))
    keep_accepted(state, SimpleNamespace(record=lambda kind, **more: told.append(kind)))  # type: ignore[arg-type]
    assert [part.outcome for part in state.history] == ["completed"] * 3 + ["rolled-back"]
    assert (state.completed, state.spoilt, told) == (3, False, ["block.rolled-back"])
