"""What a writer said was durable, and whether a folder still holds it: the judge of every fault that is tried."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sekisho.governance.consent.vault import Vault
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.witness import Witness

from .log_writer import KEY, LOG, ORIGIN, REFUSED, VAULT, WITNESS, entry

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120
BY_JUDGE = 0                 # the attempt in whose name the judge itself appends
UNWRITABLE = {"LOG_UNWRITABLE", "WITNESS_UNWRITABLE", "VAULT_UNREADABLE", "VAULT_UNWRITABLE"}


@dataclass
class Durable:
    """Everything acknowledged so far; ``pending`` is how many entries the last attempt may have added unsaid."""

    bodies: list[bytes] = field(default_factory=list)
    heads: dict[int, str] = field(default_factory=dict)
    witnessed: int = 0
    subjects: set[str] = field(default_factory=set)
    pending: list[bytes] = field(default_factory=list)

    def hear(self, said: Sequence[str], attempt: int) -> None:
        """Take in what a writer said before it ended."""
        for line in said:
            word, *rest = line.split(" ")
            assert word in {"try", "done", "refused"}, line
            if word == "refused":
                assert rest[0] in UNWRITABLE, line
            elif rest[0] == "entries":
                first, count = int(rest[1]), int(rest[2])
                bodies = [entry(number, attempt).to_bytes() for number in range(first, first + count)]
                assert first == len(self.bodies), "a writer began elsewhere than where the last one ended"
                self.pending = bodies if word == "try" else []
                self.bodies += [] if word == "try" else bodies
            elif rest[0] == "head":
                self.heads[int(rest[1])] = rest[2]
            elif rest[0] == "witnessed":
                self.witnessed = int(rest[1])
            else:
                self.subjects.add(rest[1])

    def judge(self, folder: Path, *, add: bool = True) -> None:
        """All of it is in ``folder``, nothing else is, and (``add``) the log can be written again."""
        with AuditLog.open(folder / LOG, origin=ORIGIN, key=KEY) as log:
            found = list(log.entries())
            assert found[: len(self.bodies)] == self.bodies, "an acknowledged entry was lost"
            assert found[len(self.bodies) :] in ([], self.pending), "a part of a batch, or what nobody appended"
            assert all(log.root(size).hex() == root for size, root in self.heads.items())
            report = log.fsck()
            assert report.entries == len(found) and report.heads >= len(self.heads), "a signed head was lost"
            if add:
                log.append(entry(len(found), BY_JUDGE))
                self.bodies, self.pending = [*found, entry(len(found), BY_JUDGE).to_bytes()], []
        if self.witnessed:
            seen = Witness(folder / WITNESS)
            last = seen.last(ORIGIN)
            assert last is not None and last.size >= self.witnessed and not seen.misbehaviour()
            seen.close()
        if self.subjects:
            vault = Vault.open(folder / VAULT)
            assert {event.subject for event in vault.events()} >= self.subjects, "a consent was lost"
            vault.check()
            vault.close()


class Writers:
    """Writers, one after the other (log_writer.py); each may be killed, none may end in a traceback."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / ".namespace"), "PYTHONDONTWRITEBYTECODE": "1"}
        program = [sys.executable, str(Path(__file__).with_name("log_writer.py"))]
        self._server = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, folder: Path, attempt: int, *words: str, under: Sequence[str] = ()) -> tuple[int, list[str]]:
        """How one ended (minus a signal), and the lines that it said; ``under`` is a strace that is attached to it."""
        out = folder.parent / "said"
        out.unlink(missing_ok=True)
        traced = ["traced"] if under else []
        assert self._server.stdin is not None
        self._server.stdin.write(" ".join([str(folder), str(attempt), str(out), *words, *traced]) + "\n")
        self._server.stdin.flush()
        pid = self._hear()
        tracer = self._trace(pid, under) if under else None
        ended = self._hear()
        if tracer is not None:
            tracer.wait(SECONDS)
        assert ended in {0, REFUSED, -signal.SIGKILL}, f"a writer ended with {ended}"
        return ended, out.read_text("utf-8").splitlines() if out.exists() else []

    def _trace(self, pid: int, under: Sequence[str]) -> subprocess.Popen[bytes]:
        tracer = subprocess.Popen([*under, "-p", str(pid)], stderr=subprocess.DEVNULL)
        while f"\nTracerPid:\t{tracer.pid}\n" not in Path(f"/proc/{pid}/status").read_text("utf-8"):
            if tracer.poll() is not None:
                os.kill(pid, signal.SIGKILL)
                self._hear()
                pytest.skip("this user may not trace processes here")
            time.sleep(0.001)
        os.kill(pid, signal.SIGCONT)
        return tracer

    def _hear(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(SECONDS)


def nearly_full_log(folder: Path) -> Durable:
    """A log that was left without being closed, and whose next commits move its write-ahead log into the file."""
    made = folder / "made"
    made.mkdir(parents=True)
    durable = Durable()
    with AuditLog.open(made / LOG, origin=ORIGIN, key=KEY) as log:
        while (made / f"{LOG}-wal").stat().st_size < 970 * 4120:      # SQLite moves it at 1000 pages
            log.append(entry(log.size, BY_JUDGE))      # one by one: many pages and few entries
        durable.bodies = list(log.entries())
        for name in (LOG, f"{LOG}-wal"):
            shutil.copy(made / name, folder / name)
    shutil.rmtree(made)
    return durable
