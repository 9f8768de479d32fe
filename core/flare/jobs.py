"""Keeps one job of NVIDIA FLARE running, which is the pipe, as long as the coordinator's process wants it.

A new job is submitted where there is none, and where a site's client is connected to the server and not in the job: it
was started later, or its process for the job was killed. Nothing is lost with a job: what is outstanding is posted
again by the channel. A job that an earlier process of the coordinator has left is taken over.

FLARE's administrator runs in a process of its own (desk.py, started by name): none of FLARE is loaded here.

Order of calls: ``JobKeeper(folder, channel, sites=...)`` as a context around ``Coordinator.run``.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from ..engines.relayed import RelayedChannel
from ..parties import make_private_folder
from .kits import no_kit, started_with
from .pipe_job import job_files
from .policies import ADMIN

LOOK_SECONDS = 3.0  # between two looks at the server
GATHER_SECONDS = 30.0  # the first job waits so long for sites that are not connected yet; later ones are in a next job
SETTLE_SECONDS = 60.0  # a job's processes start in ten on a quiet machine; before this nobody is missed in it
DEAF_LOOKS = 3  # a relay that was there comes back within a second where its process lives
PATIENCE_SECONDS = 120.0  # for one answer of the desk, which logs in first
JOB = "sekisho-pipe"


@dataclass(frozen=True)
class PipeState:
    """What FLARE's server said last: the job (empty: none), who is connected, who is in the job; the last trouble."""

    job: str = ""
    clients: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()
    trouble: str = ""


class JobKeeper:
    """A context in which a job runs as long as ``channel`` is open."""

    def __init__(
        self,
        folder: Path,
        channel: RelayedChannel,
        *,
        sites: Iterable[str],
        told: Callable[[str], None] = lambda line: None,
    ) -> None:
        """``folder``: coordinator/state/flare. ``told`` hears a line whenever something changes, for people."""
        self._folder = folder
        self._channel = channel
        self._sites = tuple(sorted(sites))
        self._told = told
        self._over = threading.Event()
        self._state = PipeState()
        self._since = time.monotonic()  # the job was submitted, or the first client seen
        self._settled = False  # every client has been in this job, or has had the time for it
        self._missed: dict[str, float] = {}  # who is not, and when FLARE's server had last heard it then
        self._carried = False  # a relay of this job has been connected to our socket
        self._deaf = 0  # looks in a row at which none was
        self._desk: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._keep, name="FLARE's job", daemon=True)
        if not (folder / "admin" / "startup" / "fed_admin.json").exists():
            raise no_kit("server")

    def state(self) -> PipeState:
        """As last seen, some seconds ago."""
        return self._state

    def __enter__(self) -> JobKeeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the job: what is left of FLARE at the sites are their clients, which wait."""
        self._over.set()
        self._thread.join(PATIENCE_SECONDS)
        if self._state.job:
            self._ask("abort", job=self._state.job)
        self._close()

    # -- the job ---------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._over.is_set():
            self._look()
            self._over.wait(LOOK_SECONDS)

    def _look(self) -> None:
        # 1. what is there; a server that is being started again is no reason to do anything else
        before, found = self._state, self._ask("look")
        if found is None:
            return
        joined: dict[str, list[str]] = found["jobs"]
        heard: dict[str, float] = {site: at for site, at in found["clients"].items() if site in self._sites}
        job = before.job or (next(iter(joined), "") if self._channel.connected() else "")
        self._state = PipeState(job, tuple(sorted(heard)), tuple(sorted(joined.get(job, ()))))
        if self._state.clients != before.clients:
            away = [site for site in self._sites if site not in heard]
            waited = f"; not connected: {', '.join(away)} (do their services run?)" if away else ""
            self._told(f"connected: {', '.join(heard) or 'nobody'}{waited}")
        if not before.clients:
            self._since = time.monotonic()
        # 2. whether the job is what it should be
        why = self._amiss(heard) if job else ""
        if why:
            self._told(f"the pipe is laid anew: {why}")
            self._ask("abort", job=job)
            self._submit()
        elif not job and heard and (set(heard) == set(self._sites) or self._waited() > GATHER_SECONDS):
            self._submit()

    def _waited(self) -> float:
        return time.monotonic() - self._since

    def _amiss(self, heard: dict[str, float]) -> str:
        """Why another job is needed; empty where it is not. ``heard``: when FLARE's server last heard each client."""
        apart = {site: at for site, at in heard.items() if site not in self._state.joined}
        self._settled = self._settled or not apart or self._waited() > SETTLE_SECONDS
        # a client that was killed is known to the server for a while: only one that is heard again is there
        missed = {site: self._missed.get(site, at) for site, at in apart.items()}
        self._missed = missed if self._settled else {}
        back = sorted(site for site, at in apart.items() if at > self._missed.get(site, at))
        if back:
            return f"{', '.join(back)} connected and not in the job"
        # the server's end may be about to start: on a busy machine one that is ended for that would never be there
        connected = self._channel.connected()
        self._carried = self._carried or connected
        self._deaf = 0 if connected else self._deaf + 1
        due = self._carried or self._waited() > SETTLE_SECONDS
        return "the server's end of it is gone" if due and self._deaf >= DEAF_LOOKS else ""

    def _submit(self) -> None:
        folder = self._folder / "admin" / "job"
        for path, value in job_files(self._sites, JOB).items():
            make_private_folder((folder / path).parent)
            (folder / path).write_text(json.dumps(value), encoding="utf-8")
        found = self._ask("submit", folder=str(folder.absolute()))
        job = "" if found is None else str(found["job"])
        self._since, self._settled, self._missed = time.monotonic(), False, {}
        self._carried, self._deaf = False, 0
        self._state = replace(self._state, job=job, joined=())
        if job:
            self._told(f"job {job} submitted")

    # -- the desk --------------------------------------------------------------------------------------------------

    def _ask(self, do: str, **more: str) -> dict[str, Any] | None:
        """The desk's answer; None where FLARE's server cannot be asked now."""
        try:
            desk = self._open()
            assert desk.stdin is not None and desk.stdout is not None
            watch = threading.Timer(PATIENCE_SECONDS, desk.kill)
            watch.start()
            desk.stdin.write(json.dumps({"do": do, **more}) + "\n")
            desk.stdin.flush()
            line = desk.stdout.readline()
            watch.cancel()
            found: dict[str, Any] = json.loads(line) if line else {"trouble": "the administrator's process ended"}
        except OSError as error:
            found = {"trouble": str(error)}
        if "trouble" not in found:
            return found
        if found["trouble"] != self._state.trouble:
            self._told(f"NVIDIA FLARE's server cannot be asked, and is asked again: {found['trouble']}")
            if not self._state.clients:
                self._told("`sekisho coordinator serve` must run here; what it says is in flare.log")
        self._state = replace(self._state, trouble=found["trouble"])
        return None

    def _open(self) -> subprocess.Popen[str]:
        if self._desk is None or self._desk.poll() is not None:
            self._close()
            module = f"{__package__}.desk"
            kit = (self._folder / "admin").absolute()
            with (kit / "log.txt").open("a", encoding="utf-8") as log:
                self._desk = subprocess.Popen(  # noqa: S603  this interpreter, and words of our own
                    [sys.executable, "-m", module, str(kit), ADMIN],
                    env=started_with(),
                    cwd=kit,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
        return self._desk

    def _close(self) -> None:
        desk, self._desk = self._desk, None
        if desk is None:
            return
        for stream in (desk.stdin, desk.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        desk.kill()
        desk.wait()
