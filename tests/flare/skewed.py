"""A clock that is wrong for some processes and right for all others: libfaketime, loaded before anything else.

It answers for the system when a process asks what time it is, and says when files were written as that clock has it;
what runs by a stopwatch (timeouts) is left alone. It comes with the Python package `libfaketime`, or LIBFAKETIME in the
environment names the library. Releases before 0.9.11, Debian 12's among them, break `time.sleep` of today's Python or
hang in its locks; so it is tried before it is used. Nothing of the product knows of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

NAMED = "LIBFAKETIME"
PLACES = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/lib64/faketime", "/usr/local/lib/faketime")
LIBRARY = "libfaketime.so.1"
IN_PACKAGE = Path("vendor/libfaketime/src") / LIBRARY
CLOCK = ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC")
# One wait by each way that a process here waits; a library that is too old fails the first or never ends the second.
TRIED = "import threading, time; time.sleep(0.1); threading.Event().wait(0.1); print(time.time())"


def clock(hours: int, library: Path | None = None) -> dict[str, str]:
    """The environment of a process whose clock is so many hours ahead, or behind where it is less than none."""
    return dict(zip(CLOCK, (str(library or found()), f"{hours:+d}h", "1"), strict=True))


def found() -> Path:
    """The library. Raises ``LookupError``, which says why, where there is none that works."""
    candidates = list(_candidates())
    for path in candidates:
        if _works(path):
            return path
    raise LookupError(f"libfaketime does not work here: {candidates[0]}" if candidates else "there is no libfaketime")


def believes_it(processes: Iterable[int]) -> bool:
    """Whether each of these processes has loaded it, so that none of them knows better."""
    return all(LIBRARY in Path(f"/proc/{process}/maps").read_text("utf-8", "replace") for process in processes)


def _candidates() -> Iterable[Path]:
    if NAMED in os.environ:
        yield Path(os.environ[NAMED])
        return
    package = find_spec("libfaketime")
    if package is not None and package.origin:
        yield Path(package.origin).parent / IN_PACKAGE
    for place in PLACES:
        yield from sorted(Path("/").glob(f"{place.lstrip('/')}/{LIBRARY}"))


def _works(path: Path) -> bool:
    try:
        done = subprocess.run(
            [sys.executable, "-c", TRIED], env={**os.environ, **clock(1, path)}, capture_output=True, text=True,
            check=True, timeout=20,
        )  # fmt: skip
        return float(done.stdout) > Path("/proc/self").stat().st_ctime + 1800
    except (subprocess.SubprocessError, ValueError):
        return False
