"""Keeps one job of NVIDIA FLARE running: the pipe. Runs FLARE's admin client in a process of its own.

Order of calls: ``JobKeeper(folder, ...)`` as a context around ``Coordinator.run``; nothing else is asked of anybody. A
new job is submitted when there is none, or when a site's client is connected to the server and not in the job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..engines.relayed import RelayedChannel


@dataclass(frozen=True)
class PipeState:
    """What FLARE's server says: the job that runs (empty: none) and the clients that are connected."""

    job: str = ""
    clients: tuple[str, ...] = ()
    said: str = ""  # the last trouble, for people


class JobKeeper:
    """A context in which a job runs as long as ``channel`` is open."""

    def __init__(self, folder: Path, channel: RelayedChannel, *, sites: tuple[str, ...],
                 told: Callable[[str], None] = lambda line: None) -> None:
        """``folder``: coordinator/state/flare. ``told`` hears one line for each thing that happens, for people."""
        raise NotImplementedError

    def state(self) -> PipeState:
        """As last seen, a few seconds ago at most."""
        raise NotImplementedError

    def __enter__(self) -> JobKeeper:
        raise NotImplementedError

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Abort the job: no process of FLARE's is left at the sites but their clients, which wait."""
        raise NotImplementedError
