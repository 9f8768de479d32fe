"""Blocks of steps are judged on people who never train: what is worse is rolled back, at every site, to the bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from sekisho.core.coordinator import coordinator as coordinating
from sekisho.core.data.held_out import is_held_out
from sekisho.core.errors import CoreError, Refused
from sekisho.core.pilot.federation import Federation
from sekisho.core.pilot.protections import protections_held
from sekisho.core.site.remedy import Desk, withdraw
from sekisho.core.site.site import Site
from sekisho.core.site.state import RunState
from sekisho.privacy.accounting.accountant import filter_epsilon

from . import validated
from .books import entries, open_federation
from .channels import Recording
from .poisoner import Lie, backwards, garbage, turn
from .same_chance import same_chance
from .study_folder import SITES, change, sign

HOSTILE = "kaze"
EVERY, STEPS, ALLOWANCE = 3, 6, 4
SEED = 1


@pytest.fixture(autouse=True)
def always_the_same() -> Iterator[None]:
    """What is asserted are verdicts, and now and then noise rejects an honest block."""
    with same_chance(SEED):
        yield


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return validated.build(
        tmp_path_factory.mktemp("validated") / "study",
        every=EVERY, steps=STEPS, allowance=ALLOWANCE, held_out="0.5", subjects=200, declared=200,
        momentum="0.2",  # so that three steps can turn what three have learnt
    )  # fmt: skip


@pytest.fixture
def study(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "study"))


@pytest.fixture
def federation(study: Path) -> Iterator[Federation]:
    opened = open_federation(study)
    yield opened
    opened.close()


def states(federation: Federation) -> list[RunState]:
    found = [site.state for site in federation.sites.values()]
    assert all(state is not None for state in found)
    return [state for state in found if state is not None]


def verdicts(federation: Federation) -> list[bool]:
    """What one site's log says of each count; every site's says the same."""
    told = [[entry["data"] for entry in entries(federation, site, "validation.opened")] for site in SITES]
    assert all(one == told[0] for one in told)
    return [data["accepted"] for data in told[0]]


def test_an_honest_run_is_counted_and_everybody_agrees(study: Path) -> None:
    recorded: list[Recording] = []

    def wrap(channel):  # type: ignore[no-untyped-def]  # a test's closure
        recorded.append(Recording(channel))
        return recorded[0]

    federation = open_federation(study, wrap)
    try:
        assert not federation.preflight("probe")[1]
        result = federation.run("probe")
        held = protections_held(federation, result)
        assert all(held.values()), held
        first, *others = states(federation)
        assert first.completed == STEPS and all(first.validations == other.validations for other in others)
        # of the start, and after each block
        assert [part.after_step for part in first.validations if part.accepted] == [0, 3, 6]
        assert {state.optimizer.digest() for state in states(federation)} == {first.optimizer.digest()}
        for site in federation.sites.values():
            rows = {row.run: row for row in site.folder.ledger.balance().runs}
            assert len(rows) == 2 and {row.state for row in rows.values()} == {"closed"}
            counts = next(row for name, row in rows.items() if "/" in name)
            assert counts.started == counts.disclosed == len(first.validations)
            assert site.folder.runs_of_stage() == 1
        # the coordinator is told one word a count, and what it keeps holds neither counts nor shares
        told = entries(federation, "coordinator", "validation.opened")
        assert {name for entry in told for name in entry["data"]} == {"count", "step", "cohort", "verdict"}
        (path,) = (study / "coordinator" / "state" / "runs").iterdir()
        kept = json.loads(path.read_bytes())
        assert "cells" in json.dumps(kept.pop("offer"))  # what is counted is public, how many there are is not
        assert "right" not in json.dumps(kept) and "cells" not in json.dumps(kept)
    finally:
        federation.close()
    kinds = recorded[0].kinds_received()
    assert set(kinds) == {"join", "kem", "secret", "keyed", "ready", "frame", "judged", "finished"}


def test_who_is_held_out_never_trains_and_is_so_for_good(tmp_path: Path) -> None:
    federation = open_federation(
        # so many that the noise of a count does not hide a class: then nothing is accepted, however often it is tried
        validated.build(tmp_path / "study", every=1, steps=1, allowance=1, least="0.0", subjects=120, declared=120)
    )
    try:
        _nobody_is_on_both_sides(federation)
    finally:
        federation.close()


def _nobody_is_on_both_sides(federation: Federation) -> None:
    trained: dict[str, set[str]] = {}
    counted: dict[str, set[str]] = {}
    load = Site._load

    def noted(site, tools, subjects):  # type: ignore[no-untyped-def]  # what every record passes
        found = load(site, tools, subjects)
        rows = trained if subjects == tools.admitted else counted
        rows.setdefault(site.folder.site, set()).update(found.rows_of)
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Site, "_load", noted)
        federation.run("probe", run="first")
        once = {site: set(people) for site, people in counted.items()}
        federation.run("probe", run="second")
    assert once == counted and set(trained) == set(counted) == set(SITES)
    for name, site in federation.sites.items():
        key, settings = site.folder.subject_key, site.folder.study.validation
        assert settings is not None and not trained[name] & counted[name]
        assert trained[name] | counted[name] == set(site.folder.dataset().subjects)
        assert all(is_held_out(person, key, settings.held_out) for person in counted[name])
        # each pays for one of the two, at every site and in every run
        balance = site.folder.ledger.balance()
        assert {balance.spent_max, balance.spent_min} == {balance.spent_by_runs, balance.spent_beside}
        assert balance.spent_by_all_runs == balance.spent_max < balance.spent_by_runs + balance.spent_beside
        assert site.folder.runs_of_stage() == 2


def reasons(federation: Federation) -> list[list[str]]:
    """What one site's log gives as reasons at each count."""
    return [entry["data"]["reasons"] for entry in entries(federation, SITES[0], "validation.opened")]


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        pytest.param(backwards(0.9), "far", id="large"),
        pytest.param(garbage, "spoilt", id="out-of-bounds", marks=pytest.mark.proof),
    ],
)
def test_a_poisoned_block_is_rolled_back_to_the_bit_and_the_run_goes_on(
    lie: Lie, reason: str, federation: Federation
) -> None:
    kept: list[tuple[str, str]] = []
    roll_back = RunState.roll_back

    def noted(state: RunState) -> None:
        poisoned, accepted = state.optimizer, state.accepted
        roll_back(state)
        assert accepted is not None and accepted.completed == EVERY
        for name in ("vector", "velocity", "reference"):
            assert np.array_equal(getattr(state.optimizer, name), getattr(accepted.optimizer, name))
        kept.append((poisoned.digest(), state.optimizer.digest()))

    turn(federation, HOSTILE, lie, range(4, 7))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RunState, "roll_back", noted)
        result = federation.run("probe")
    assert verdicts(federation) == [True, True, False, True]
    assert [reason in told for told in reasons(federation)] == [False, False, True, False]
    # all five went back, from one state to one other
    assert len(kept) == len(SITES) and len(set(kept)) == 1
    for state in states(federation):
        assert [part.outcome for part in state.history] == [
            *["completed"] * EVERY, *["rolled-back"] * EVERY, *["completed"] * EVERY
        ]  # fmt: skip
        # numbers and charges only go forward
        assert [part.step for part in state.history] == list(range(1, STEPS + EVERY + 1))
        assert state.completed == state.optimizer.updates == STEPS
    rows = {row.run: row for row in federation.sites["ame"].folder.ledger.balance().runs}
    assert rows[result.run].started == STEPS + EVERY
    assert (result.state.completed, result.state.rejected) == (STEPS, 1)
    held = protections_held(federation, result)
    assert all(held.values()), held


def test_a_persistent_attacker_ends_the_run_by_name_and_the_accepted_state_stays(federation: Federation) -> None:
    turn(federation, HOSTILE, backwards(0.9), range(4, 99))
    with pytest.raises(Refused) as refused:
        federation.run("probe", run="attacked")
    assert refused.value.code == "VALIDATION_REJECTED"
    assert verdicts(federation) == [True, True, False, False]
    for site in federation.sites.values():
        state = site.state
        assert state is not None and state.finished
        assert state.completed == EVERY == state.optimizer.updates
        assert np.any(state.optimizer.vector != 0)
        # durable, too
        document = json.loads((site.folder.runs / "attacked.json").read_text("utf-8"))
        arrays = np.fromfile(site.folder.runs / document["arrays"], "<f8").reshape(3, -1)
        assert np.array_equal(arrays[0], state.optimizer.vector)
        assert np.array_equal(arrays[1], state.optimizer.velocity)
        assert {row.state for row in site.folder.ledger.balance().runs} == {"closed"}
    assert len({state.optimizer.digest() for state in states(federation)}) == 1


def test_a_coordinator_that_goes_on_after_too_many_rejections_goes_on_alone(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinating, "early_end", lambda *given: None)
    turn(federation, HOSTILE, garbage, range(1, 99))
    with pytest.raises(CoreError):
        federation.run("probe", run="attacked")
    assert verdicts(federation) == [True, False, False]
    for site in federation.sites.values():
        row = next(row for row in site.folder.ledger.balance().runs if row.run == "attacked")
        assert row.started == 2 * EVERY < row.steps  # the study allows for one rejected block, and steps are left


def test_who_withdraws_is_told_no_less_than_the_counts_cost_them(tmp_path: Path) -> None:
    study = validated.build(tmp_path / "study", steps=2, allowance=1, subjects=120, declared=120)
    change(study / "study.yaml", 'probe: {epsilon: "3.0"', 'probe: {epsilon: "1.0"')
    sign(study)
    federation = open_federation(study)
    federation.run("probe", run="dear")
    folder = federation.sites[SITES[0]].folder
    person, balance, delta = folder.dataset().subjects[0], folder.ledger.balance(), folder.budget.delta
    federation.close()
    desk = Desk.open(study, SITES[0])
    try:
        found = withdraw(desk, person, at=datetime.now(UTC))
    finally:
        desk.close()
    assert balance.spent_beside > balance.spent_by_runs  # counting costs more than training here
    assert float(found.epsilon) >= filter_epsilon(balance.spent_max, balance.order, delta)


def test_a_policy_that_does_not_let_counts_out_refuses_before_a_record_is_read(tmp_path: Path) -> None:
    study = validated.build(tmp_path / "study", policies=False)
    federation = open_federation(study)
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("sekisho.core.site.folder.SiteFolder.dataset", lambda folder: pytest.fail("read"))
            _, refused = federation.preflight("probe")
        assert {error.code for error in refused.values()} == {"ARTEFACT_NOT_ALLOWED"} and set(refused) == set(SITES)
    finally:
        federation.close()
