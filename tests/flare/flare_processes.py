"""NVIDIA FLARE on this machine for tests: a server, a client for each site, and the job that is the pipe.

Kits are made as a federation makes them: requests and bundles signed with roster keys. Sites' doors and the
coordinator's channel are in the test's process; FLARE's are processes, each in a group that is killed at the end.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from sekisho.core.engines.door import SiteDoor
from sekisho.core.engines.relayed import RelayedChannel
from sekisho.core.flare.jobs import JobKeeper
from sekisho.core.flare.kits import (
    Command,
    client_command,
    coordinator_kit,
    issue,
    server_command,
    site_kit,
    site_request,
)

from ..governance import roster_chain

STUDY = "study-of-tests"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class FlareProcesses:
    """A context: kits for ``sites`` below ``folder``, and the processes that a test starts."""

    def __init__(self, folder: Path, sites: Sequence[str]) -> None:
        self.folder = folder
        self.sites = tuple(sites)
        self.port = free_port()
        self.roster = roster_chain.roster(sites=sites)
        self.now = datetime.now(UTC)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.doors: dict[str, SiteDoor] = {}
        self.told: list[tuple[str, str]] = []
        self.channel: RelayedChannel
        self.keeper: JobKeeper | None = None
        self.state("coordinator").mkdir(mode=0o700, parents=True, exist_ok=True)
        coordinator_kit(self.kit("coordinator"), host="localhost", port=self.port, now=self.now)
        for site in sites:
            self.enrol(site)

    def state(self, party: str) -> Path:
        return self.folder / party / "state"

    def kit(self, party: str) -> Path:
        return self.state(party) / "flare"

    def socket(self, party: str) -> Path:
        return self.state(party) / "engine.sock"

    def enrol(self, site: str) -> None:
        self.state(site).mkdir(mode=0o700, parents=True)
        asked = site_request(self.kit(site), study=STUDY, site=site, key=roster_chain.key(site))
        told = issue(
            self.kit("coordinator"),
            asked,
            study=STUDY,
            roster=self.roster,
            key=roster_chain.key("hub"),  # as the roster calls it
            now=self.now,
        )
        site_kit(self.kit(site), told, study=STUDY, site=site, roster=self.roster, now=self.now)

    def command(self, party: str) -> Command:
        if party == "coordinator":
            return server_command(self.kit(party), socket=self.socket(party))
        return client_command(self.kit(party), site=party, socket=self.socket(party))

    def start(self, party: str, *, module: str = "") -> None:
        """``module``: of FLARE's, in place of what our command starts."""
        command = self.command(party)
        argv = [*command.argv[:3], module, *command.argv[4:]] if module else command.argv
        with (self.folder / f"{party}.out").open("ab") as out:
            self.running[party] = subprocess.Popen(
                argv, env=dict(command.env), cwd=command.cwd, stdout=out, stderr=out, start_new_session=True
            )

    def kill(self, party: str) -> None:
        """SIGKILL to the party's process of FLARE's, and to none of ours."""
        process = self.running.pop(party)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def kill_job(self, party: str) -> None:
        """SIGKILL to the process that FLARE's started for the job, alone."""
        for pid in self.job_processes(party):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def job_processes(self, party: str) -> list[int]:
        """Ids of the party's job processes: those whose command line names its kit and FLARE's job module."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                    if str(self.kit(party).absolute()) in " ".join(words) and any(
                        word.endswith(("site_job", "worker_process", "runner_process")) for word in words
                    ):
                        found.append(int(entry.name))
        return found

    def said(self, party: str) -> str:
        """What the party's processes of FLARE's wrote to standard output."""
        path = self.folder / f"{party}.out"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def open_channel(self, **options: Any) -> RelayedChannel:
        self.channel = RelayedChannel(self.socket("coordinator"), self.sites, **options)
        return self.channel

    def open_door(self, site: str, end: Any) -> SiteDoor:
        door = SiteDoor(self.socket(site), end, told=lambda error: self.told.append((site, error.code)))
        threading.Thread(target=door.serve, daemon=True).start()
        self.doors[site] = door
        return door

    def keep_job(self) -> None:
        """From here on the pipe is laid, and laid anew where it breaks."""
        lines = (self.folder / "keeper.out").open("a", encoding="utf-8")
        self.keeper = JobKeeper(
            self.kit("coordinator"),
            self.channel,
            sites=self.sites,
            told=lambda line: print(line, file=lines, flush=True),
        )
        self.keeper.__enter__()

    def __enter__(self) -> FlareProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.keeper is not None:
            self.keeper.__exit__(None, None, None)
        for party in list(self.running):
            self.kill(party)
        for party in ("coordinator", *self.sites):
            self.kill_job(party)
        for door in self.doors.values():
            door.stop()
        if hasattr(self, "channel"):
            self.channel.close()
