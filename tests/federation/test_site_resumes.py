"""A site that is killed goes on with its run, and answers the same message with the same bytes.

Kills come between any two durable writes of a message, some of them by a signal to a process (test_site_processes.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from . import study_folder
from .books import Spent, books
from .outages import THREE, VICTIM, Cuts, hall, kept, steps, told

STEPS = 2


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_folder.build(tmp_path_factory.mktemp("resumes") / "study", steps=STEPS, allowance=1, sites=THREE)


@pytest.fixture
def study(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "study"))


def after_agreement(kind: str, write: str, times: int) -> bool:
    return kind in {"step", "readies", "count", "judge", "finish", "open after finish"}


def test_killed_after_every_write_of_every_message_it_ends_as_if_it_never_was(study: Path) -> None:
    cuts = Cuts(study, after_agreement)
    with cuts.installed(), hall(study, before=cuts.before, opens=cuts.opens) as (federation, channel):
        result = federation.run("probe", run="killed")
        assert channel.failures == []
        assert result.state_macs_agree and result.state.completed == STEPS and result.state.abandoned == 0
        assert {site: books(federation)[site] for site in THREE} == dict.fromkeys(
            THREE, Spent(STEPS, STEPS, "closed", STEPS)
        )
        folder = federation.sites[VICTIM].folder
        for kind in ("step.started", "step.disclosed", "step.opened"):
            assert steps(folder, kind) == [1, 2], kind
        assert len(told(folder, "run.finished")) == 1 and not told(folder, "run.stopped")
        print(cuts.seen, len(cuts.seen))
    assert kept(study) == {".json", ".arrays", ".begun", ".opening"}
