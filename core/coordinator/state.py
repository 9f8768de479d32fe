"""The coordinator's durable state of one run: cohort, steps, outcomes by digest. It holds nothing secret to lose.

One file per run, ``coordinator/state/runs/<run>.json``, replaced atomically before the log says what it says: so the
log lacks one entry at most, which ``resume`` writes then. Not here: what was asked, and the sums (keeping.py).

Order of calls: ``begin``, then ``save`` after each change; ``load`` when the run goes on in another process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ..errors import BadInputError, ProtocolError
from ..parties import make_private_folder
from .keeping import unreadable, write_durably

RUN_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")  # as messages have it (bodies.py): it names no other folder
FINISHED = "finished"
CLOSED = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class Outcome:
    """How one step ended; ``total`` is the digest of the forwarded sum, empty when abandoned."""

    step: int
    status: Literal["summed", "abandoned", "rolled-back"]
    cohort: tuple[str, ...]
    missing: tuple[str, ...] = ()
    total: str = ""

    __pydantic_config__ = CLOSED


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

    __pydantic_config__ = CLOSED


@dataclass(frozen=True)
class Judging:
    """A count whose sum is over and whose verdict is not: who ``failed`` it; ``total`` as in ``CountOutcome``."""

    number: int
    step: int
    cohort: tuple[str, ...]
    failed: tuple[str, ...] = ()
    total: str = ""

    __pydantic_config__ = CLOSED


@dataclass
class CoordinatorState:
    """Where the coordinator stands in one run.

    ``offer``: its body, with the plans. ``since``: how long the log was as the run began. ``agreed``: the sites have
    their keys. ``ended``: empty, "finished" (``alike``: all sites then told one state), or the code that stopped it.
    ``traffic``: bytes so far.
    """

    run: str
    method: str
    cohort: tuple[str, ...]
    outcomes: list[Outcome] = field(default_factory=list)
    counts: list[CountOutcome] = field(default_factory=list)
    offer: Mapping[str, object] = field(default_factory=dict)
    since: int = 0
    agreed: bool = False
    judging: Judging | None = None
    ended: str = ""
    alike: bool = False
    traffic: Mapping[str, int] = field(default_factory=dict)

    __pydantic_config__ = CLOSED

    @classmethod
    def begin(
        cls,
        folder: Path,
        *,
        run: str,
        method: str,
        cohort: tuple[str, ...],
        offer: Mapping[str, object],
        since: int,
    ) -> CoordinatorState:
        """A run that begins now, and is written down before anything is signed in its name.

        Its messages are numbered from 1 on: two runs of one name would be two orders, and look like a lie.

        Raises:
            ProtocolError: RUN_TWICE. BadInputError: STATE_UNWRITABLE.
        """
        make_private_folder(folder)
        if (folder / f"{run}.json").exists():
            raise ProtocolError("RUN_TWICE", f"a run '{run}' was begun here before; each has a name of its own")
        state = cls(run, method, cohort, offer=offer, since=since)
        state.save(folder)
        return state

    @classmethod
    def load(cls, folder: Path, run: str) -> CoordinatorState:
        """The state of a run that was begun here.

        Raises:
            BadInputError: RUN_UNKNOWN, RUN_UNREADABLE.
        """
        try:
            if not RUN_NAME.fullmatch(run):
                raise FileNotFoundError
            state = _READER.validate_json((folder / f"{run}.json").read_bytes())
        except FileNotFoundError:
            raise BadInputError(
                "RUN_UNKNOWN", "no run of this name was begun here", hint="`sekisho coordinator status` names the runs"
            ) from None
        except (OSError, ValidationError):
            raise unreadable(f"{run}.json") from None
        if state.run != run or not state.offer:
            raise unreadable(f"{run}.json")
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
        self.judging = None
        if count.verdict == "rejected":
            kept = self.last_accepted or 0
            self.outcomes = [
                replace(one, status="rolled-back") if one.status == "summed" and one.step > kept else one
                for one in self.outcomes
            ]

    @property
    def heard_last(self) -> Outcome | None:
        """The outcome that the next message brings; None before the first step, and after a count, which brought it."""
        last = self.outcomes[-1] if self.outcomes else None
        counted = self.counts[-1].step if self.counts else None
        return None if last is None or counted == last.step else last

    def save(self, folder: Path) -> None:
        """Write atomically and durably. Raises ``BadInputError`` STATE_UNWRITABLE."""
        write_durably(folder / f"{self.run}.json", json.dumps(asdict(self)).encode("ascii"))


_READER = TypeAdapter(CoordinatorState)


def earlier_states(folder: Path) -> tuple[CoordinatorState, ...]:
    """Of every run that was begun here and can be read; one that cannot is ended by itself (``give_up``)."""
    found = []
    for path in sorted(folder.glob("*.json")):
        with suppress(BadInputError):
            found.append(CoordinatorState.load(folder, path.stem))
    return tuple(found)


def open_runs(folder: Path) -> tuple[str, ...]:
    """The runs that were begun here and have not ended, by name; one that was asking and cannot be read is one."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            is_open = not CoordinatorState.load(folder, path.stem).ended
        except BadInputError:
            is_open = path.with_suffix(".asked").exists()
        if is_open:
            found.append(path.stem)
    return tuple(found)
