"""One organisation that takes part as two sites: whoever holds two shares of a sum subtracts both.

Its sites count once towards the study's minimum and each towards T (DESIGN 5), at the papers, before a step is charged,
and among the signers of what is opened.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sekisho.core.errors import CoreError
from sekisho.core.messages import SignedMessage
from sekisho.core.pilot.federation import Federation
from sekisho.core.site import step
from sekisho.governance.signing.roster import Roster

from ..federation import study_folder
from ..federation.books import Spent, open_federation
from ..federation.study_folder import SITES
from .hostile import Attack, attack

TWIN = ("controller: yuki-owner", "controller: mori-owner")  # mori and yuki are one organisation


@pytest.fixture
def with_twins(study: Path) -> Path:
    """Five sites of four organisations; four of each are wanted, and one site may fail."""
    study_folder.change(study / "roster.yaml", *TWIN)
    study_folder.change(study / "study.yaml", "minimum_sites: 3", "minimum_sites: 4")
    study_folder.change(study / "study.yaml", "observers: 1", "observers: 2")
    study_folder.change(study / "study.yaml", "on_drop: stop", "on_drop: continue")
    study_folder.sign(study)
    return study


def ame_is_gone(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
    # from step 2 on: four sites are left, behind which stand three organisations
    late = message.body.kind in {"step", "readies"} and getattr(message.body, "step", 0) >= 2
    return b"nothing that could be answered" if site == "ame" and late else None


def count_sites(patch: pytest.MonkeyPatch) -> None:
    """Take the protection away: every site is an organisation of its own."""
    patch.setattr(Roster, "distinct_controllers", lambda roster, sites: len(set(sites)))


def test_one_controller_as_two_sites_is_not_charged_for_a_step_among_too_few(with_twins: Path) -> None:
    with attack(with_twins, ame_is_gone) as ongoing:
        assert ongoing.refused is not None
        assert (ongoing.refused.code, ongoing.refused.clause) == ("CONTROLLERS_TOO_FEW", "study/minimum_sites")
        assert ongoing.started() == {site: [1] for site in SITES}
        assert ongoing.frames() == len(SITES)
        assert all(ongoing.books()[site] == Spent(1, 1, "closed", 1) for site in SITES if site != "ame")


@pytest.mark.proof
def test_control_counted_by_sites_the_run_goes_on(with_twins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count_sites(monkeypatch)
    with attack(with_twins, ame_is_gone) as ongoing:
        assert ongoing.result is not None and ongoing.result.state.cohort == SITES[1:]


def test_one_controller_as_two_signers_is_counted_once_at_the_opening(
    with_twins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sites that seal for anybody, as a changed program would: whoever opens still counts who signed.
    monkeypatch.setattr(step, "check_controllers", lambda cohort, tools: None)
    with attack(with_twins, ame_is_gone) as ongoing:
        assert {ongoing.code_at(site) for site in SITES[1:]} == {"CONTROLLERS_TOO_FEW"}
        # step 3 was sealed by the four and opened by nobody
        assert ongoing.started() == {site: [1] if site == "ame" else [1, 3] for site in SITES}
        assert ongoing.result is None


def refusals(study: Path) -> set[str]:
    federation: Federation = open_federation(study)
    try:
        _, refused = federation.preflight("probe")
        problems: dict[str, CoreError] = {**federation.problems, **refused}
        return {error.code for error in problems.values()}
    finally:
        federation.close()


def test_a_study_of_fewer_organisations_than_its_minimum_begins_nowhere(with_twins: Path, tmp_path: Path) -> None:
    study_folder.change(with_twins / "study.yaml", "minimum_sites: 4", "minimum_sites: 5")
    study_folder.sign_study(with_twins)
    independent = Path(shutil.copytree(with_twins, tmp_path / "independent"))
    assert refusals(with_twins) == {"CONTROLLERS_TOO_FEW"}
    study_folder.change(independent / "roster.yaml", *reversed(TWIN))  # control: an owner of its own
    study_folder.sign(independent)
    assert refusals(independent) == set()
