"""Where a site keeps what: paths alone, in its folder beside the study. Nothing is opened or made here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..parties import state_folder


@dataclass
class Places:
    """The places of ``site`` in ``study_folder``."""

    site: str
    study_folder: Path

    @property
    def state(self) -> Path:
        """What the site keeps to itself: ledger, log, registers, runs."""
        return state_folder(self.study_folder, self.site)

    @property
    def records(self) -> Path:
        """The file of its records."""
        return self.study_folder / "sites" / self.site / "records.jsonl.gz"

    @property
    def runs(self) -> Path:
        """Where it keeps the state of its runs."""
        return self.state / "runs"

    @property
    def releases(self) -> Path:
        """Where it keeps the adapters that it released, one folder a run."""
        return self.state / "releases"

    @property
    def candidates(self) -> Path:
        """Where it keeps adapters whose release is not approved yet, one folder a run."""
        return self.state / "candidates"

    @property
    def personal(self) -> Path:
        """Where it keeps the heads of its own; nothing from here is ever sent."""
        return self.state / "personal"
