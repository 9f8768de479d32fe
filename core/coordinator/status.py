"""What the coordinator is doing now, in a small file for whoever looks on: ``coordinator/state/status.json``.

For: ``sekisho coordinator status`` and whoever supervises the process. Not for: going on after a kill (state.py,
keeping.py): this file may be seconds old, or lost. Nothing in it is secret: names of sites are not, and counts of
answers and bytes are all that the coordinator sees anyway.

Order of calls: ``StatusFile(...)`` → ``begins`` → the coordinator calls ``stands`` and ``heard``; ``read_status``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ...governance.signing.envelope import write_time
from ..parties import replace_file
from .collecting import Traffic
from .state import CoordinatorState

STATUS = "status.json"
AT_MOST_EVERY = 1.0  # seconds: a person looks no faster, and a step of the pilot takes less


@dataclass(frozen=True)
class Status:
    """``phase``: the kind of message that was asked last; ``heard`` of ``asked`` sites have answered it.

    ``progressed``: when anything last came or was done. ``ended``: as in ``CoordinatorState``.
    """

    run: str = ""
    method: str = ""
    phase: str = ""
    completed: int = 0
    steps: int = 0
    abandoned: int = 0
    cohort: int = 0
    heard: int = 0
    asked: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    progressed: str = ""
    ended: str = ""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)


_READER = TypeAdapter(Status)


class StatusFile:
    """Keeps ``path`` up to date, replaced atomically, at most once a second; the last word always gets there."""

    def __init__(self, path: Path, *, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._clock = clock
        self._now = Status()
        self._written = -AT_MOST_EVERY

    def begins(self, run: str, method: str, steps: int) -> None:
        """A run is asked for or gone on with: no state says so before sites have answered. Raises as ``stands``."""
        self._tell(replace(self._now, run=run, method=method, steps=steps), at_once=True)

    def stands(self, state: CoordinatorState) -> None:
        """The run got somewhere. Raises ``BadInputError`` STATE_UNWRITABLE."""
        plan = state.offer.get("plan")
        steps = plan.get("steps") if isinstance(plan, dict) else 0
        self._tell(
            replace(
                self._now,
                run=state.run,
                method=state.method,
                completed=state.completed,
                steps=steps if isinstance(steps, int) else 0,
                abandoned=state.abandoned,
                cohort=len(state.cohort),
                ended=state.ended,
            ),
            at_once=bool(state.ended),
        )

    def heard(self, phase: str, heard: int, asked: int, traffic: Traffic) -> None:
        """So many of so many sites have answered what is asked in this phase. Raises as ``stands``."""
        told = replace(
            self._now, phase=phase, heard=heard, asked=asked, bytes_up=traffic.up, bytes_down=traffic.down
        )
        if told != self._now:
            self._tell(told)

    def _tell(self, status: Status, *, at_once: bool = False) -> None:
        self._now = replace(status, progressed=write_time(self._clock()))
        if at_once or time.monotonic() - self._written >= AT_MOST_EVERY:
            replace_file(self._path, json.dumps(asdict(self._now)).encode("ascii"))
            self._written = time.monotonic()


def read_status(state_folder: Path) -> Status | None:
    """What the coordinator said last; None where it has said nothing that can be read."""
    try:
        return _READER.validate_json((state_folder / STATUS).read_bytes())
    except (OSError, ValidationError):
        return None
