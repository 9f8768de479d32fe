"""Between the processes of scale.py: a note and a message each way, and what a process held at most.

For: scale_coordinator.py and scale_site.py. Not for: trust; messages are signed above this, as above any engine.

Nothing is copied that an engine need not copy: a message is read into the one bytes object that is handed on.
"""

from __future__ import annotations

import json
import os
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

LENGTHS = struct.Struct("<QQ")  # of the note, of the message
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"  # what Linux takes there for: the peak begins anew at what is held now (proc(5))
LOOK_SECONDS = 0.05
WORKER = b"encryption.worker"  # as it stands in a worker's command line (privacy/encryption/parallel.py)


class Wire:
    """One end. A message is bytes, or None where there is none."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink

    def send(self, note: dict[str, Any], message: bytes | None = None) -> None:
        """Hand both over."""
        head = json.dumps({**note, "empty": message is None}).encode("utf-8")
        for piece in (LENGTHS.pack(len(head), len(message or b"")), head, message or b""):
            self._sink.write(piece)
        self._sink.flush()

    def receive(self) -> tuple[dict[str, Any], bytes | None]:
        """Wait for the next. Raises EOFError when the other end is gone."""
        lengths = self._source.read(LENGTHS.size)
        if len(lengths) < LENGTHS.size:
            raise EOFError("the other process has ended")
        note_length, length = LENGTHS.unpack(lengths)
        note = json.loads(self._source.read(note_length))
        message = self._source.read(length)
        return note, None if note.pop("empty") else message


def peak_bytes() -> int:
    """The most memory that this process has held since ``forget_peak``: resident, as Linux counts it."""
    return _status("VmHWM")


def resident_bytes() -> int:
    """What it holds now."""
    return _status("VmRSS")


def forget_peak() -> None:
    """The peak begins anew at what is held now."""
    CLEAR.write_text(FORGET_PEAK)


def cpu_seconds() -> float:
    """Of this process and of its workers that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Workers:
    """The most that all worker processes of this one held together, looked at every 50 ms; shared pages count twice.

    A worker counts once it is one: until it has loaded its program, what it holds is its parent's memory.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Workers:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.peak = max(self.peak, sum(map(_resident_of, _children())))


def _children() -> set[int]:
    found: set[int] = set()
    for listed in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(map(int, listed.read_text().split()))
        except OSError:
            continue  # a thread that has just ended
    return found


def _resident_of(process: int) -> int:
    place = Path(f"/proc/{process}")
    try:
        is_worker = WORKER in (place / "cmdline").read_bytes()
        return _status("VmRSS", place / "status") if is_worker else 0
    except (OSError, LookupError):
        return 0  # ended since


def _status(name: str, path: Path = STATUS) -> int:
    for line in path.read_text("ascii", "replace").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"{path} does not tell {name}")
