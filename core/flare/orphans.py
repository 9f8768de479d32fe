"""A job's process ends with the process of FLARE's that started it.

FLARE starts a job's process in a group of its own, and leaves it behind when it is killed itself: the relay in it would
hold on to the coordinator's socket, or a site's door, with nobody behind it.

Order of calls: ``end_with_parent(close)`` when the relay starts.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

LOOK_SECONDS = 1.0
LEFT_BEHIND = 70  # the exit code, EX_SOFTWARE of sysexits(3); nobody is left to read it


def end_with_parent(close: Callable[[], None]) -> None:
    """Once the parent is another, ``close`` and leave at once: FLARE's own way out would wait for who is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        close()
        os._exit(LEFT_BEHIND)

    threading.Thread(target=watch, name="parent", daemon=True).start()
