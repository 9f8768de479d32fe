"""The coordinator's durable state of one run: cohort, steps, outcomes by digest. It holds nothing secret to lose.

One file per run, ``coordinator/state/runs/<run>.json``, replaced atomically after every step.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..errors import ProtocolError


@dataclass(frozen=True)
class Outcome:
    """How one step ended; ``total`` is the digest of the forwarded sum, empty when abandoned."""

    step: int
    status: Literal["summed", "abandoned", "rolled-back"]
    cohort: tuple[str, ...]
    missing: tuple[str, ...] = ()
    total: str = ""


@dataclass(frozen=True)
class Pending:
    """The outcome of the step before, which the sites have not heard yet; none after a count, which brought it."""

    outcome: Outcome | None = None
    parts: dict[str, bytes] = field(default_factory=dict)

    @property
    def previous(self) -> Literal["none", "summed", "abandoned"]:
        """As messages have it."""
        if self.outcome is None:
            return "none"
        return "summed" if self.outcome.status == "summed" else "abandoned"

    @property
    def signers(self) -> tuple[str, ...]:
        """Whose shares are in the sum."""
        return self.outcome.cohort if self.outcome is not None and self.previous == "summed" else ()


@dataclass(frozen=True)
class CountOutcome:
    """How one count ended, made after ``step``: as the sites signed it, or "lost" where it fell."""

    number: int
    step: int
    verdict: Literal["accepted", "rejected", "lost"]
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
    counts: list[CountOutcome] = field(default_factory=list)

    @classmethod
    def begin(cls, folder: Path, *, run: str, method: str, cohort: tuple[str, ...]) -> CoordinatorState:
        """A run that begins now, and is written down before anything is signed in its name.

        Its messages are numbered from 1 on: two runs of one name would be two orders, and look like a lie.

        Raises:
            ProtocolError: RUN_TWICE. OSError.
        """
        if (folder / f"{run}.json").exists():
            raise ProtocolError("RUN_TWICE", f"a run '{run}' was begun here before; each has a name of its own")
        state = cls(run, method, cohort)
        state.save(folder)
        return state

    @property
    def completed(self) -> int:
        """Steps whose sum was forwarded, and which were not rolled back."""
        return sum(outcome.status == "summed" for outcome in self.outcomes)

    @property
    def abandoned(self) -> int:
        """Steps that failed and stay failed."""
        return sum(outcome.status == "abandoned" for outcome in self.outcomes)

    @property
    def rejected(self) -> int:
        """Blocks that were rolled back."""
        return sum(count.verdict == "rejected" for count in self.counts)

    def count_is_due(self, *, every: int, steps: int) -> bool:
        """As each site sees it (site/blocks.py): of the start, after a whole block, and after the last step."""
        if self.last_accepted is None:
            return True
        fresh = self.completed - self.accepted
        return fresh >= every or (self.completed >= steps and fresh > 0)

    @property
    def step(self) -> int:
        """The number of the last step; 0 before the first."""
        return self.outcomes[-1].step if self.outcomes else 0

    @property
    def last_accepted(self) -> int | None:
        """The step after which a count last accepted the state; None before the first count."""
        return next((one.step for one in reversed(self.counts) if one.verdict == "accepted"), None)

    @property
    def accepted(self) -> int:
        """Completed steps that a count accepted."""
        last = self.last_accepted or 0
        return sum(outcome.status == "summed" and outcome.step <= last for outcome in self.outcomes)

    def judged(self, count: CountOutcome) -> None:
        """Note a count; a rejected one takes every step since the last accepted one with it."""
        self.counts.append(count)
        if count.verdict == "rejected":
            kept = self.last_accepted or 0
            self.outcomes = [
                replace(one, status="rolled-back") if one.status == "summed" and one.step > kept else one
                for one in self.outcomes
            ]

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
