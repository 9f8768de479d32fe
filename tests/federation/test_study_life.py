"""Legal and IT at the roster's thresholds, always, also where policies ask for less; and the states of a study."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sekisho.core.errors import CoreError
from sekisho.core.paperwork.standing import standing
from sekisho.core.site.publish import publish
from sekisho.core.site.state import RunState
from sekisho.core.site.stops import list_max_age
from sekisho.governance.errors import GovernanceError
from sekisho.governance.signing.envelope import Statement, read_envelopes, sign_statement, write_envelopes
from sekisho.governance.signing.keys import demo_key
from sekisho.governance.signing.stop import read_list, read_orders
from sekisho.governance.signing.stop_list import list_state

from . import study_folder
from .books import entries, open_federation
from .study_folder import SITES, change


def life(study: Path) -> str:
    return standing(study, now=datetime.now(UTC)).state


def want_two_of_it(study: Path) -> None:
    """A roster in which two of IT sign, and policies that forgot to ask the study for the second one."""
    second = (
        f'  - {{pseudonym: it-2, roles: [it], keys: ["{demo_key("it-2").public.to_text()}"], '
        f"acts_for: [{', '.join(SITES)}], demo: true}}\nroles:"
    )
    change(study / "roster.yaml", "roles: {legal: 1, it: 1", "roles: {legal: 1, it: 2")
    change(study / "roster.yaml", "\nroles:", f"\n{second}")
    study_folder.sign(study)
    for name in ("study.yaml", *(f"sites/{site}/policy.yaml" for site in SITES)):
        sign_too(study / name)


def sign_too(path: Path) -> None:
    """The second of IT says what the first one said."""
    beside = path.with_name(path.name + ".dsse.json")
    envelopes = read_envelopes(beside.read_bytes(), name=beside.name)
    second = sign_statement(Statement.from_bytes(envelopes[1].payload), [demo_key("it-2")])
    beside.write_bytes(write_envelopes([*envelopes, second]))


def take_back(study: Path) -> None:
    """The signature of the second of IT, of the study alone."""
    path = study / "study.yaml.dsse.json"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))


def refusals(study: Path) -> set[str]:
    federation = open_federation(study)
    try:
        return {error.code for error in federation.preflight("probe")[1].values()}
    finally:
        federation.close()


def test_a_policy_that_asks_for_less_still_lets_no_data_be_touched_without_everybody(study: Path) -> None:
    want_two_of_it(study)
    take_back(study)
    assert refusals(study) == {"STUDY_NOT_APPROVED"}
    assert life(study) == "reviewing"
    sign_too(study / "study.yaml")
    assert refusals(study) == set()


def test_a_study_goes_through_its_life(study: Path) -> None:
    approvals = (study / "study.yaml.dsse.json").read_bytes()
    (study / "study.yaml.dsse.json").write_bytes(approvals.splitlines(keepends=True)[0])
    assert life(study) == "reviewing"
    (study / "study.yaml.dsse.json").write_bytes(approvals)
    assert life(study) == "approved"
    federation = open_federation(study)
    try:
        federation.run("probe")
        assert life(study) == "finished"
        publisher = federation.sites[SITES[0]]
        publish(publisher, study.parent / "adapter")
        assert life(study) == "released"
        # once: what was released is not released again by accident
        with pytest.raises((CoreError, GovernanceError)) as caught:
            publish(publisher, study.parent / "again")
        assert caught.value.code == "STUDY_STATE" and not (study.parent / "again").exists()
        federation.run("probe")  # another run of the same study may follow
        assert life(study) == "finished"
    finally:
        federation.close()
    change(study / "study.yaml", 'target: "0.60"', 'target: "0.61"')
    assert life(study) == "reviewing"


def test_approvals_taken_back_before_the_release_keep_the_adapter_in(study: Path) -> None:
    want_two_of_it(study)
    federation = open_federation(study)
    try:
        federation.run("probe")
        take_back(study)
        site = federation.sites[SITES[0]]
        with pytest.raises((CoreError, GovernanceError)) as caught:
            publish(site, study.parent / "adapter")
        assert caught.value.code == "STUDY_NOT_APPROVED" and not (study.parent / "adapter").exists()
        assert entries(federation, SITES[0], "decision.refuse")[-1]["data"] == {"codes": ["STUDY_NOT_APPROVED"]}
        assert isinstance(site.state, RunState)
    finally:
        federation.close()


def test_the_coordinator_keeps_the_list_of_stops_fresh_while_it_runs(study: Path) -> None:
    """On a clock that goes on by minutes at every look, a run outlasts any single list."""
    begun = now = datetime.now(UTC)

    def clock() -> datetime:
        nonlocal now
        now += timedelta(minutes=4)
        return now

    federation = open_federation(study, clock=clock)
    try:
        now += timedelta(hours=25)  # between opening and the run nobody signs
        federation.run("probe")
        allowed = timedelta(hours=list_max_age(federation.sites[SITES[0]].folder.policy))
        assert now - begun - timedelta(hours=25) > allowed
        folder = study / "stops"
        listed = list_state(federation.roster, read_list(folder), read_orders(folder), now=now)
        assert listed.issued is not None and now - listed.issued < allowed
    finally:
        federation.close()
