"""One short run over real processes of NVIDIA FLARE, to which something happens, and what everybody's books say then.

For: benchmarks/faults.py, whose rows are faults, and the tests of single ones. Every party is processes on its own: the
coordinator, FLARE's server, and at each site our service and FLARE's client; loopback, TLS at both ends. Not for: what
a fault is (the caller makes it happen).

Order of calls: ``prepare`` once → for each run ``FaultyRun(...)`` as a context → ``start`` → ``until_step`` → the
fault, then ``struck`` → ``finish`` → ``found``.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

from sekisho.core.parties import LOG_NAME, log_origin, state_folder
from sekisho.governance.canonical import digest_bytes
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.signing.keys import demo_key

from ..federation import study_folder
from ..federation.command import ledger_of, log_of
from .flare_processes import free_port
from .machines import Machines, apart, wait_until

SITES = ("ame", "hana", "kaze")
VICTIM = "hana"
HUB = "coordinator"
STEPS = 3
AT = 2  # the step in which things happen: one is behind it, and one is to come
PERSON_SECONDS = 0.15  # for each of thirty people, so that training is long enough to be hit in
LONGEST = 900.0
CUTTING = str(Path(__file__).parent / "cut_process.py")


@dataclass(frozen=True)
class Ready:
    """A study in a folder for each party, enrolled with FLARE; ``port`` is the server's."""

    homes: dict[str, Path]
    port: int


@dataclass
class Found:
    """What a run came to. Seconds are of the clock on the wall; ``recovery`` None where nothing was to recover.

    ``next``: how the run after it ended, where there was one; all else is of the first.
    """

    ended: str
    seconds: float
    recovery: float | None
    completed: int
    abandoned: int
    charged: dict[str, int]
    sealed: dict[str, int]
    once: bool
    logs: str
    evidence: str
    next: str = ""
    step_seconds: list[float] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return asdict(self)

    def held(self) -> bool:
        """Whether no step was paid, sealed or opened twice, and the books of all are in order."""
        paid = all(self.sealed[site] <= self.charged[site] <= STEPS for site in SITES)
        in_order = (self.logs, self.evidence) == ("sound", "verified")
        return paid and self.once and in_order and self.next in ("", "finished")


def prepare(folder: Path) -> Ready:
    """Papers, a folder for each party, and FLARE's kits."""
    study = study_folder.build(folder / "study", steps=STEPS, sites=SITES)
    homes, port = apart(study, folder / "homes", SITES), free_port()
    machines = Machines(homes)
    try:
        machines.enrol(SITES, port)
    finally:
        machines.close()
    return Ready(homes, port)


class FaultyRun:
    """A context: everything that a run started is ended with it.

    ``clocks``: of the environment of a site's processes. ``cuts``: at which write a party's first process kills itself
    (cut_process.py). ``disk``: where a site's folder lies, if elsewhere.
    """

    def __init__(
        self,
        ready: Ready,
        folder: Path,
        *,
        clocks: Mapping[str, Mapping[str, str]] | None = None,
        cuts: Mapping[str, str] | None = None,
        disk: Mapping[str, Path] | None = None,
    ) -> None:
        self.folder, self.ready = folder, ready
        homes = {}
        for party, home in ready.homes.items():
            homes[party] = (disk or {}).get(party, folder / party)
            shutil.copytree(home, homes[party], dirs_exist_ok=True)
        self.machines = Machines(homes)
        self._clocks, self._cuts = dict(clocks or {}), dict(cuts or {})
        self._began = self._struck = 0.0
        self._summed = 0
        self._recovery: float | None = None
        self._later: list[threading.Timer] = []
        self._next = False

    # -- processes -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Everybody, as their machines start them, and the coordinator's command."""
        self._began = time.monotonic()
        home = self.machines.homes[HUB]
        self.machines.start(f"{HUB}/server", HUB, "serve", "--study", home)
        for site in SITES:
            self.serve(site)
        self.conduct()

    def serve(self, site: str) -> None:
        """The site's service; only the first one is cut."""
        words = ("site", self._cuts.pop(site, "-"), str(PERSON_SECONDS), site, "--study", str(self.home(site)))
        self.machines.start(site, program=(CUTTING, *words), more=self._clocks.get(site, {}))

    def conduct(self) -> None:
        """The coordinator's command: begins the run, or goes on with it."""
        words = (HUB, self._cuts.pop(HUB, "-"), HUB, "run", "probe", "--study", str(self.home(HUB)))
        self.machines.start(HUB, program=(CUTTING, *words))

    def kill(self, name: str) -> None:
        """SIGKILL to a process of ours, and to nothing that it started."""
        self.machines.processes[name].kill()
        self.gone(name)

    def gone(self, name: str) -> None:
        """Wait until a process of ours was killed, by us or by itself."""
        assert self.machines.processes[name].wait(LONGEST) == -signal.SIGKILL

    def kill_flare(self, party: str) -> None:
        """SIGKILL to the process of FLARE's that a party keeps running."""
        os.kill(int((self.state(party) / "flare.pid").read_text("ascii")), signal.SIGKILL)

    def processes_of(self, party: str) -> list[int]:
        """Every process that works in the party's folder."""
        return _processes(str(self.home(party)))

    # -- where it stands -------------------------------------------------------------------------------------------

    def home(self, party: str) -> Path:
        return self.machines.homes[party]

    def state(self, party: str) -> Path:
        return state_folder(self.home(party), party, coordinator=party == HUB)

    def times(self, party: str, kind: str) -> int:
        """How many entries of ``kind`` are in a party's log; none while it is being made."""
        with suppress(sqlite3.OperationalError):
            return sum(entry["type"] == kind for entry in log_of(self.home(party), party))
        return 0

    def over(self) -> bool:
        """Whether the coordinator's command has ended by itself."""
        return self.machines.processes[HUB].poll() is not None

    def until_step(self, number: int = AT, site: str = VICTIM) -> None:
        """Wait until the site trains in this step; or the run has ended."""
        wait_until(lambda: self.times(site, "step.started") >= number or self.over(), "the step did not start", LONGEST)
        time.sleep(1.0)

    def struck(self) -> None:
        """Now it has happened."""
        self._struck, self._summed = time.monotonic(), self.times(HUB, "step.summed")

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """``act`` in so many seconds, whatever the run does meanwhile; the books are read after it."""
        self._later.append(threading.Timer(seconds, act))
        self._later[-1].start()

    def then_another(self) -> None:
        """After this run another, with the victim's service started anew: who broke down takes part again."""
        self._next = True

    def recovered(self) -> None:
        """Wait until the next step is summed, or the run has ended: how long after ``struck``."""
        wait_until(lambda: self.times(HUB, "step.summed") > self._summed or self.over(), "nothing came", LONGEST)
        self._recovery = time.monotonic() - self._struck

    def finish(self) -> float:
        """Wait until the coordinator's command has ended; seconds since the start of everything."""
        if self._struck and self._recovery is None:
            self.recovered()
        self.machines.processes[HUB].wait(LONGEST)
        seconds = time.monotonic() - self._began
        for timer in self._later:
            timer.join()
        if self._next:
            self.machines.processes[VICTIM].terminate()
            self.machines.processes[VICTIM].wait(LONGEST)
            self.serve(VICTIM)
            self.conduct()
            self.machines.processes[HUB].wait(LONGEST)
        if self.ended() == "finished":
            for site in SITES:  # what follows a run is done by each by itself
                reports = self.state(site) / "reports"
                wait_until(lambda reports=reports: list(reports.glob("*.html")), f"{site} made no report", LONGEST)
        for name in (*SITES, f"{HUB}/server"):
            self.machines.processes[name].terminate()
        for name in (*SITES, f"{HUB}/server"):
            self.machines.processes[name].wait(LONGEST)
        return seconds

    # -- what the books say ----------------------------------------------------------------------------------------

    def endings(self) -> list[str]:
        """Of each run ``finished``, or the code by which it was stopped, as the coordinator has it."""
        ends = [entry for entry in log_of(self.home(HUB), HUB) if entry["type"] in ("run.finished", "run.stopped")]
        return [str(entry["data"].get("code", "finished")) for entry in ends]

    def ended(self) -> str:
        """How the last run ended."""
        return next(reversed(self.endings()), "open")

    def found(self, seconds: float, **notes: Any) -> Found:
        """Everybody's ledger and log, and the evidence that they put together."""
        entries = {party: log_of(self.home(party), party) for party in (*SITES, HUB)}
        run = next(entry["refs"]["run"] for entry in entries[HUB] if "run" in entry["refs"])
        ends = [*self.endings(), "open"]
        for party, its in entries.items():
            entries[party] = [entry for entry in its if entry["refs"].get("run") == run]
        books = {site: ledger_of(self.home(site), site) for site in SITES}
        summed = [entry for entry in entries[HUB] if entry["type"] == "step.summed"]
        at = [datetime.fromisoformat(entry["at"]) for entry in summed]
        return Found(
            ended=ends[0],
            next=ends[1] if self._next else "",
            seconds=round(seconds, 1),
            recovery=None if self._recovery is None else round(self._recovery, 1),
            completed=len(summed),
            abandoned=len(_steps(entries[HUB], "step.abandoned")),
            charged={site: sum(row.charged for row in books[site] if row.run == run) for site in SITES},
            sealed={site: len(_steps(entries[site], "step.disclosed")) for site in SITES},
            once=all(
                len(set(done)) == len(done)
                for party in entries
                for kind in ("step.started", "step.disclosed", "step.opened", "step.summed")
                for done in [_steps(entries[party], kind)]
            ),
            logs=self._logs(),
            evidence=self._evidence(),
            step_seconds=[round((two - one).total_seconds(), 1) for one, two in pairwise(at)],
            notes=notes,
        )

    def _logs(self) -> str:
        study = "small-study"
        for party in (*SITES, HUB):
            path = self.state(party) / LOG_NAME
            with AuditLog.open(path, origin=log_origin(study, party), key=demo_key(party)) as log:
                log.fsck()  # raises where anything is amiss
        return "sound"

    def _evidence(self) -> str:
        parts = []
        for party in (*SITES, HUB):
            part = self.folder / f"{party}.zip"
            words = ("compliance", "export", self.home(party), "--own", "--out", part)
            done = self.machines.sekisho(*words, more=self._clocks.get(party, {}))
            if done.returncode:
                return f"not exported by {party}: {done.stderr[-300:]}"
            parts.append(part)
        hub, whole = self.home(HUB), self.folder / "evidence.zip"
        released = next(iter((self.state(SITES[0]) / "releases").glob("*")), None)
        also = ("--provenance", released) if released is not None else ()
        done = self.machines.sekisho("compliance", "gather", *parts, "--study", hub, "--out", whole, *also)
        if done.returncode:
            return f"not gathered: {done.stderr[-300:]}"
        root = digest_bytes((hub / "roster.yaml").read_bytes())
        done = self.machines.sekisho("compliance", "verify", whole, "--root", root)
        return "verified" if done.returncode == 0 else f"not verified: {done.stdout[-300:]}"

    def __enter__(self) -> FaultyRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for timer in self._later:
            timer.cancel()
        self.machines.close()
        for party in (*SITES, HUB):  # FLARE's are in groups of their own
            for process in self.processes_of(party):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


def _steps(entries: list[dict[str, Any]], kind: str) -> list[int]:
    return [entry["data"]["step"] for entry in entries if entry["type"] == kind]


def _processes(folder: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                if any(word == folder or f"{folder}/" in word for word in words):
                    found.append(int(entry.name))
    return found
