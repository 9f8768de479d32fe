"""A site in a process of its own, killed by SIGKILL and started again: nothing is closed, flushed or handled.

Every cut there is stands in test_site_resumes.py, in one process; here are those after which most would go wrong.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sekisho.core.engines.channel import Reply
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.pilot.evidence import export_evidence
from sekisho.governance.evidence import verifier
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.entries import Entry
from sekisho.governance.signing.keys import demo_key

from . import study_folder
from .books import Spent, books, open_federation
from .command import environment
from .outages import THREE, VICTIM, reopened

HERE = Path(__file__).parent
STEPS = 2
# write, and the step of the message in which it is the last thing that the process ever did
KILLS = (
    ("ledger:start", 1),        # charged; nothing trained
    ("ledger:disclose", 1),     # sealed; not logged, not sent
    ("file:.opening", 2),       # a sum is about to be opened
    ("file:.arrays", 2),        # opened and applied; the state not yet kept
    ("ledger:disclose", 2),
    ("file:.json", 2),          # the very end of the run is kept; nothing closed, nothing answered
)  # fmt: skip


class Child:
    """The site's process."""

    def __init__(self, study: Path, write: str, step: int) -> None:
        words = [sys.executable, str(HERE / "site_process.py"), str(study), VICTIM, write, str(step)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()
        )

    def ask(self, message: bytes) -> bytes | None:
        """The answer; None where the process was killed instead."""
        there, back = self._process.stdin, self._process.stdout
        assert there is not None and back is not None
        there.write(struct.pack("<I", len(message)) + message)
        there.flush()
        header = back.read(4)
        if not header:
            assert self._process.wait() == -9
            return None
        return back.read(struct.unpack("<I", header)[0])

    def end(self) -> None:
        """No more messages."""
        self._process.communicate()


class Apart:
    """``VICTIM`` is asked over a pipe, all others in this process; after a kill the same bytes once more."""

    def __init__(self, embedded: EmbeddedChannel, study: Path) -> None:
        self._embedded = embedded
        self._study = study
        self._kills = [*KILLS, ("-", 0)]
        self._child: Child | None = None
        self._replies: list[Reply] = []
        self.killed: list[tuple[str, int]] = []

    def sites(self) -> tuple[str, ...]:
        return self._embedded.sites()

    def post(self, site: str, message: bytes, ttl: float) -> int:
        if site != VICTIM:
            return self._embedded.post(site, message, ttl)
        answer = None
        while answer is None:
            if self._child is None:
                self._child = Child(self._study, *self._kills[0])
            answer = self._child.ask(message)
            if answer is None:
                self.killed.append(self._kills.pop(0))
                self._child = None
        self._replies.append(Reply(1_000_000 + len(message) + len(self.killed), VICTIM, answer or None))
        return self._replies[-1].ticket

    def poll(self) -> tuple[Reply, ...]:
        return (self._replies.pop(0),) if self._replies else self._embedded.poll()

    def end(self) -> None:
        if self._child is not None:
            self._child.end()


@pytest.mark.proof
def test_a_site_that_is_killed_again_and_again_ends_its_run_with_all_others(tmp_path: Path) -> None:
    study = study_folder.build(tmp_path / "study", steps=STEPS, allowance=1, sites=THREE)
    made: list[Apart] = []

    def wrap(embedded: EmbeddedChannel) -> Any:
        made.append(Apart(embedded, study))
        return made[0]

    federation = open_federation(study, wrap)
    federation.sites[VICTIM].folder.close()  # its state is the other process's
    try:
        result = federation.run("probe", run="killed")
        made[0].end()
        assert made[0].killed == [*KILLS]
        assert result.state_macs_agree and result.state.completed == STEPS and result.state.abandoned == 0
        reopened(federation, study, VICTIM)
        assert books(federation) == dict.fromkeys(THREE, Spent(STEPS, STEPS, "closed", STEPS))
    finally:
        federation.close()
    assert not [*(study / "sites" / VICTIM / "state" / "runs").glob("*.keys")]
    with AuditLog.open(
        study / "sites" / VICTIM / "state" / "log.sqlite", origin=f"sekisho.example/small-study/{VICTIM}",
        key=demo_key(VICTIM),
    ) as log:  # fmt: skip
        entries = [*map(Entry.from_bytes, log.entries())]
        log.fsck()
    for kind in ("step.started", "step.disclosed", "step.opened"):
        assert [entry.data["step"] for entry in entries if entry.type == kind] == [1, 2], kind
    assert sum(entry.type == "run.finished" for entry in entries) == 1
    bundle = export_evidence(study, tmp_path / "evidence.zip")
    assert verifier.verify((tmp_path / "evidence.zip").read_bytes(), bundle.root).name == "verified"
