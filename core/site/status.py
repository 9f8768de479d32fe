"""What a site's service says of itself: one small document in its state folder, for people, watchdogs and containers.

For: ``StatusFile`` (the service writes), ``read_status`` (whoever asks). Not for: anything about people or records, or
anything that another party may see: it holds states, codes, numbers of steps and the budget of all runs together.

It is written again every few seconds; one that is older than ``STALE_SECONDS`` is of a service that has ended or hangs.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...governance.signing.envelope import read_time, write_time
from ..errors import BadInputError, CheckFailedError, CoreError
from ..parties import replace_file, state_folder

STATUS = "status.json"
BEAT_SECONDS = 5.0
STALE_SECONDS = 60.0  # twelve beats: a disk may be slow, a process that writes none in a minute does not live


@dataclass(frozen=True)
class Status:
    """``doing`` is one of: starting, idle, in-run, working, publishing, ended, refused. Times are RFC 3339."""

    site: str
    study: str
    process: int
    began: str
    at: str = ""
    doing: str = "starting"
    since: str = ""
    run: str = ""
    method: str = ""
    step: int = 0
    steps: int = 0
    last_message: str = ""
    last_message_at: str = ""
    relay: bool = False           # whether a process of the engine is connected to this one now
    client: str = "none"          # of the engine's client: none (others supervise it), running, waiting
    client_restarts: int = 0
    last_code: str = ""           # of the last refusal or fault
    last_code_at: str = ""
    log_entries: int = 0
    budget: Mapping[str, str] | None = None

    def now(self, doing: str, at: str, **changes: Any) -> Status:
        """This status with ``changes``; ``since`` moves where what is being done changes."""
        since = self.since if doing == self.doing and self.since else at
        return replace(self, doing=doing, since=since, **changes)


class StatusFile:
    """Writes ``status.json`` of one site."""

    def __init__(self, study_folder: Path, site: str) -> None:
        self._path = state_folder(study_folder, site) / STATUS
        self._writing = threading.Lock()  # the site's thread and the beat: one draft at a time

    def write(self, status: Status) -> bool:
        """Write it with the time of now; whether that was possible. A full disk ends no run by this file."""
        document = asdict(replace(status, at=write_time(datetime.now(UTC))))
        try:
            with self._writing:
                replace_file(self._path, json.dumps(document, ensure_ascii=False, sort_keys=True).encode("utf-8"))
        except CoreError:
            return False
        return True


def read_status(study_folder: Path, site: str, *, now: datetime) -> dict[str, Any]:
    """The document, with ``healthy`` and its age in seconds.

    Raises ``CheckFailedError`` SERVICE_NOT_RUNNING where there is none, ``BadInputError`` STATUS_UNREADABLE.
    """
    path = state_folder(study_folder, site) / STATUS
    try:
        document = json.loads(path.read_text("utf-8"))
        age = (now - read_time(document["at"])).total_seconds()
        doing = str(document["doing"])
    except FileNotFoundError:
        raise CheckFailedError(
            "SERVICE_NOT_RUNNING",
            f"the service of '{site}' has not run here yet",
            hint=f"start it: sekisho site serve {site} --study {study_folder}",
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInputError(
            "STATUS_UNREADABLE", f"{STATUS} of '{site}' cannot be read", hint="the service writes it anew as it runs"
        ) from None
    return {**document, "age_seconds": round(age, 1), "healthy": age <= STALE_SECONDS and doing not in ENDED}


ENDED = frozenset({"ended", "refused"})


def check_healthy(found: Mapping[str, Any]) -> None:
    """Return if the service lives. Raises ``CheckFailedError`` SERVICE_NOT_RUNNING."""
    if found["healthy"]:
        return
    why = f"it {found['doing']} at {found['at']}" if found["doing"] in ENDED else f"it was last seen at {found['at']}"
    if found["last_code"]:
        why += f", and the last refusal or fault was {found['last_code']}"
    raise CheckFailedError(
        "SERVICE_NOT_RUNNING",
        f"the service of '{found['site']}' does not run: {why}",
        hint="see the service's own log for the reason, then start it again; nothing is lost by that",
    )


def status_lines(found: Mapping[str, Any]) -> tuple[str, ...]:
    """The document in sentences."""
    run = f", run {found['run']}" if found["run"] else ""
    step = f", step {found['step']} of {found['steps']}" if found["step"] else ""
    client = {"none": "not supervised here", "running": "running", "waiting": "waits to be started again"}
    budget = found["budget"] or {}
    lines = [
        f"{found['site']}: {found['doing']} since {found['since'] or found['began']}{run}{step}",
        f"  process {found['process']}, seen {found['age_seconds']} s ago; relay connected: "
        f"{'yes' if found['relay'] else 'no'}; engine's client: {client.get(found['client'], found['client'])}, "
        f"restarted {found['client_restarts']} times",
        f"  last message: {found['last_message'] or 'none'} {found['last_message_at']}".rstrip(),
        f"  log: {found['log_entries']} entries",
    ]
    if budget:
        lines.append(f"  budget: epsilon {budget['spent']} of {budget['lifetime']} counted for all runs together")
    if found["last_code"]:
        lines.append(f"  last refusal or fault: {found['last_code']} at {found['last_code_at']}")
    return tuple(lines)
