"""A site whose clock is an hour wrong, in every process that it has: FLARE's client, FLARE's job, and ours.

Ahead, its run ends as any other: what expires does so an hour early, and an hour is within what a list of stops may be
old. Behind, it cannot tell whether stops are kept from it, and what has expired would still count: so it refuses, by a
name that speaks of clocks, before anything is charged; and does not once its clock is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..federation.command import codes_logged, ledger_of, log_of
from . import skewed
from .faulty_run import HUB, SITES, STEPS, FaultyRun, Ready, prepare

pytestmark = pytest.mark.proof

WRONG = SITES[0]  # which also publishes: what it releases bears its times


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    try:
        skewed.found()
    except LookupError as absent:
        pytest.skip(str(absent))
    return prepare(tmp_path_factory.mktemp("skewed"))


@pytest.fixture
def wrong(ready: Ready, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FaultyRun]:
    with FaultyRun(ready, tmp_path, clocks={WRONG: skewed.clock(request.param)}) as run:
        run.start()
        run.until_step(1, site=SITES[1])
        processes = run.processes_of(WRONG)
        assert len(processes) >= 2 and skewed.believes_it(processes)
        yield run


@pytest.mark.parametrize("wrong", [1], indirect=True)
def test_a_site_an_hour_ahead_runs_publishes_and_gives_evidence_that_verifies(wrong: FaultyRun) -> None:
    found = wrong.found(wrong.finish())
    assert (found.ended, found.completed, found.abandoned) == ("finished", STEPS, 0)
    assert found.charged == found.sealed == dict.fromkeys(SITES, STEPS)
    assert found.held(), found
    # its log is an hour ahead of the others', and nobody minds
    ahead, right = (log_of(wrong.home(site), site)[-1]["at"] for site in SITES[:2])
    assert ahead > right
    # every report and the release are there
    assert list((wrong.state(WRONG) / "releases").glob("*/provenance.dsse.json"))


@pytest.mark.parametrize("wrong", [-1], indirect=True)
def test_a_site_an_hour_behind_refuses_by_name_before_anything_is_charged(wrong: FaultyRun) -> None:
    found = wrong.found(wrong.finish())
    assert (found.ended, found.completed) == ("STOP_LIST_AHEAD", 0)
    assert codes_logged(wrong.home(WRONG), WRONG) == {"STOP_LIST_AHEAD"}
    assert found.charged == dict.fromkeys(SITES, 0) and ledger_of(wrong.home(WRONG), WRONG) == []
    assert found.once and (found.logs, found.evidence) == ("sound", "verified")
    assert "STOP_LIST_AHEAD" in wrong.machines.log(HUB) + wrong.machines.log(WRONG)
