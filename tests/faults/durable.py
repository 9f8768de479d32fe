"""What a writer said was durable, and whether a folder still holds it: the judge of every fault that is tried."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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


def run_writer(
    folder: Path, attempt: int, *words: str, under: Sequence[str] = (), before: Callable[[], None] | None = None
) -> tuple[int, list[str]]:
    """How a writer ended, and the whole lines that it said. It may be killed; it may never end in a traceback."""
    writer = [sys.executable, str(Path(__file__).with_name("log_writer.py")), str(folder), str(attempt), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".namespace"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*under, *writer], capture_output=True, text=True, timeout=SECONDS, check=False, env=environment,
        preexec_fn=before,
    )
    assert done.returncode in {0, REFUSED, -9}, done.stderr
    return done.returncode, [line for line in done.stdout.splitlines(keepends=False) if line]


def nearly_full_log(folder: Path) -> Durable:
    """A log that was left without being closed, and whose next commits move its write-ahead log into the file."""
    made = folder / "made"
    made.mkdir(parents=True)
    durable = Durable()
    with AuditLog.open(made / LOG, origin=ORIGIN, key=KEY) as log:
        while (made / f"{LOG}-wal").stat().st_size < 970 * 4120:      # SQLite moves it at 1000 pages
            first = log.size
            log.append_all([entry(number, BY_JUDGE) for number in range(first, first + 60)])
        durable.bodies = list(log.entries())
        for name in (LOG, f"{LOG}-wal"):
            shutil.copy(made / name, folder / name)
    shutil.rmtree(made)
    return durable
