"""Parties as on machines of their own: a folder each with what is theirs, and processes of the real command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MAIN = "from sekisho.core.cli.cli import main; main()"
RELAY = ROOT / "tests" / "core" / "small_relay.py"
PATIENCE = 600.0  # seconds for what takes a few: two busy cores, and each process loads torch


def apart(study: Path, folder: Path, sites: Sequence[str], *, coordinator: str = "coordinator") -> dict[str, Path]:
    """One folder a party below ``folder``: the papers of all, and only its own records, consents, policy and key."""
    found = {}
    for party in (*sites, coordinator):
        home = folder / party
        shutil.copytree(study, home, ignore=shutil.ignore_patterns("state", "stops", "out", "enrolment"))
        for other in sites:
            if other != party:
                shutil.rmtree(home / "sites" / other)
        for key in (home / "keys").iterdir():
            if key.name.split(".")[0] != party:
                key.unlink()
        found[party] = home
    return found


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / ".namespace"), "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **more}


class Machines:
    """Processes that are ended, whatever happens, with everything that they started."""

    def __init__(self, homes: dict[str, Path]) -> None:
        self.homes = homes
        self.networks: dict[str, Sequence[str]] = {}  # by party: what runs a program in a network of its own
        self.closing = ExitStack()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self,
        name: str,
        *words: str | Path,
        program: Sequence[str] = ("-c", MAIN),
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.Popen[bytes]:
        """``more``: of the environment of this process."""
        party = name.split("/", maxsplit=1)[0]
        log = (self.homes[party] / f"{name.replace('/', '-')}.log").open("ab")
        process = subprocess.Popen(
            [*self.networks.get(party, ()), sys.executable, *program, *map(str, words)], stdout=log, stderr=log,
            env=environment(**more), start_new_session=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        log.close()
        self.processes[name] = process
        self.closing.callback(end, process)
        return process

    def sekisho(
        self, *words: str | Path, more: Mapping[str, str] = MappingProxyType({}), seconds: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """The command, to its end, which must come within ``seconds``."""
        return subprocess.run(
            [sys.executable, "-c", MAIN, *map(str, words)], capture_output=True, text=True, check=False,
            timeout=seconds, env=environment(**more), stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def serve(self, site: str, *more: str) -> subprocess.Popen[bytes]:
        return self.start(site, "site", "serve", site, "--study", self.homes[site], *more)

    def relay(self, sites: Sequence[str]) -> subprocess.Popen[bytes]:
        doors = [f"{site}={self.homes[site] / 'sites' / site / 'state' / 'engine.sock'}" for site in sites]
        socket = self.homes["coordinator"] / "coordinator" / "state" / "engine.sock"
        return self.start("coordinator/relay", socket, *doors, program=(str(RELAY),))

    def enrol(self, sites: Sequence[str], port: int, *, host: str = "localhost") -> None:
        """FLARE's kits, as the guide has it: requests and bundles go from folder to folder."""
        home = self.homes["coordinator"]
        self._done("coordinator", "enrol", "--host", host, "--port", str(port), "--study", home)
        for site in sites:
            own = self.homes[site]
            self._done("site", "enrol", site, "--study", own)
            request = shutil.copy(own / "enrolment" / f"{site}.request", home / "enrolment")
            self._done("coordinator", "admit", request, "--study", home)
            bundle = home / "enrolment" / f"{site}.bundle"
            self._done("site", "enrol", site, "--study", own, "--bundle", bundle)

    def _done(self, *words: str | Path) -> None:
        done = self.sekisho(*words)
        assert done.returncode == 0, done.stderr

    def status(self, site: str) -> dict[str, Any]:
        done = self.sekisho("site", "status", site, "--study", self.homes[site], "--json")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def log(self, name: str) -> str:
        home = self.homes[name.split("/", maxsplit=1)[0]]
        return (home / f"{name.replace('/', '-')}.log").read_text("utf-8", "replace")

    def close(self) -> None:
        self.closing.close()


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and whatever is left of its group."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            return
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            continue


def wait_until(true: Callable[[], Any], what: str, seconds: float = PATIENCE) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.2)
