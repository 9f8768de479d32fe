"""A study with a past: two runs, and everybody's state in between; shared by tests of what is put back or denied."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.errors import CoreError
from sekisho.core.pilot.federation import Federation

from . import study_folder
from .books import entries, open_federation

VICTIM = "hana"
OTHERS = tuple(site for site in study_folder.SITES if site != VICTIM)


@dataclass(frozen=True)
class History:
    """A study after two runs; the sites' folders as they were after the first, and as they went on from there alone."""

    study: Path
    after_first: Path
    elsewhere: Path

    @classmethod
    def make(cls, home: Path) -> History:
        study = study_folder.build(home / "study", steps=1, allowance=0)
        run(study)
        shutil.copytree(study, home / "elsewhere")
        shutil.copytree(study / "sites", home / "after-first")
        run(study)
        run(home / "elsewhere")  # with clones of everybody: nobody there could know
        return cls(study, home / "after-first", home / "elsewhere" / "sites")

    def copied(self, home: Path) -> History:
        shutil.copytree(self.study, home / "study")
        return History(home / "study", self.after_first, self.elsewhere)


def run(study: Path, **more: Any) -> None:
    federation = open_federation(study, **more)
    try:
        federation.run("probe")
    finally:
        federation.close()


def state(study: Path, site: str = VICTIM) -> Path:
    return study / "sites" / site / "state"


def put(source: Path, target: Path) -> None:
    """Replace a folder by a copy of another."""
    shutil.rmtree(target)
    shutil.copytree(source, target)


def put_ledger(source: Path, target: Path) -> None:
    """Replace the ledger alone, with what belongs to its file."""
    for suffix in ("", "-wal", "-shm"):
        (target / f"ledger.sqlite{suffix}").unlink(missing_ok=True)
        if (source / f"ledger.sqlite{suffix}").exists():
            shutil.copy(source / f"ledger.sqlite{suffix}", target)


def ended(federation: Federation) -> dict[str, str]:
    """The code with which each site ended its last run."""
    return {site: entries(federation, site, "run.stopped")[-1]["data"]["code"] for site in federation.sites}


def attempt(study: Path, wrap: Callable[[EmbeddedChannel], Any] | None = None) -> dict[str, str]:
    """One run that must not come to a step: why each site ended it; what nobody started is given back."""
    federation = open_federation(study, wrap)
    try:
        spent = {name: site.folder.ledger.balance().spent_max for name, site in federation.sites.items()}
        started = {name: len(entries(federation, name, "step.started")) for name in federation.sites}
        with pytest.raises(CoreError):
            federation.run("probe")
        assert started == {name: len(entries(federation, name, "step.started")) for name in federation.sites}
        assert spent == {name: site.folder.ledger.balance().spent_max for name, site in federation.sites.items()}
        return ended(federation)
    finally:
        federation.close()


def problem(study: Path) -> str:
    """The code for which the victim could not even be opened; all others could."""
    federation = open_federation(study)
    try:
        assert list(federation.problems) == [VICTIM], federation.problems
        return federation.problems[VICTIM].code
    finally:
        federation.close()
