"""The coordinator's durable state of one run: cohort, steps, outcomes by digest. It holds nothing secret to lose.

One file per run, ``coordinator/state/runs/<run>.json``, replaced atomically after every step.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Outcome:
    """How one step ended; ``total`` is the digest of the forwarded sum, empty when abandoned."""

    step: int
    status: Literal["summed", "abandoned"]
    cohort: tuple[str, ...]
    missing: tuple[str, ...] = ()
    total: str = ""


@dataclass
class CoordinatorState:
    """Where the coordinator stands in one run."""

    run: str
    method: str
    cohort: tuple[str, ...]
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def completed(self) -> int:
        """Steps whose sum was forwarded."""
        return sum(outcome.status == "summed" for outcome in self.outcomes)

    @property
    def abandoned(self) -> int:
        """Steps that failed and stay failed."""
        return sum(outcome.status == "abandoned" for outcome in self.outcomes)

    def save(self, folder: Path) -> None:
        """Write atomically. Raises ``OSError``."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{self.run}.json"
        partial = path.with_suffix(".part")
        with open(partial, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
