"""A site's durable files, written as a site writes them, by a process that may be stopped at any moment.

    python tests/faults/log_writer.py      and then, a line a writer: FOLDER ATTEMPT OUT [short] [traced] [limit=BYTES]

Each line forks one, so that hundreds need not start Python (durable.py asks for them). It says what it is about to do
("try ..."), and again once that is durable ("done ..."), each in one system call; what the product refuses ends it with
"refused CODE". Everything after a "done" must survive whatever happens then.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sekisho.governance.consent.record import ConsentEvent, EventKind
from sekisho.governance.consent.vault import Vault
from sekisho.governance.errors import GovernanceError
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.entries import Entry
from sekisho.governance.log.witness import Witness
from sekisho.governance.signing.keys import SigningKey

LOG, WITNESS, VAULT = "log.sqlite", "witness.sqlite", "consent.sqlite"
AT = datetime(2026, 12, 1, tzinfo=UTC)
KEY = SigningKey.from_seed(b"k" * 32)
ORIGIN = "sekisho.example/food-quality-2026/kohi"
REFUSED, DEFECT = 3, 70
PR_SET_PTRACER, ANYBODY = 0x59616D61, ctypes.c_ulong(-1)      # prctl(2): without it only an ancestor may trace


def entry(number: int, attempt: int) -> Entry:
    """What this attempt writes as entry ``number``: no other attempt writes the same."""
    at = AT + timedelta(seconds=number)
    return Entry("step.started", "kohi", at, {"run": f"run-{attempt}"}, {"step": number, "attempt": attempt})


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def append(log: AuditLog, attempt: int, count: int) -> None:
    first = log.size
    say(f"try entries {first} {count}")
    log.append_all([entry(number, attempt) for number in range(first, first + count)])
    say(f"done entries {first} {count}")


def sign(log: AuditLog) -> None:
    log.checkpoint()
    say(f"done head {log.size} {log.root().hex()}")


def witness(log: AuditLog, witness: Witness) -> None:
    last = witness.last(ORIGIN)
    proof = log.consistency(last.size) if last else ()
    head = witness.check_and_persist(ORIGIN, log.checkpoint(), proof, KEY.public)
    say(f"done witnessed {head.size} -")


def consent(vault: Vault, attempt: int, number: int) -> None:
    subject = f"site-a{attempt:04d}n{number:04d}"
    vault.record([ConsentEvent(subject, "fl-training/2026-11", EventKind.GRANTED, AT, None, "notice-1")])
    say(f"done subject {subject} -")


def work(folder: Path, attempt: int, short: bool) -> None:
    with AuditLog.open(folder / LOG, origin=ORIGIN, key=KEY) as log:
        try:
            append(log, attempt, 1)
            append(log, attempt, 7)
            sign(log)
            if not short:
                everything(folder, attempt, log)
        except GovernanceError as error:
            if error.code == "LOG_UNWRITABLE":
                goes_on_refusing(log, attempt)
            raise


def everything(folder: Path, attempt: int, log: AuditLog) -> None:
    seen, vault = Witness(folder / WITNESS), Vault.open(folder / VAULT)
    for number in range(3):
        append(log, attempt, 1)
        witness(log, seen)
        consent(vault, attempt, number)
        append(log, attempt, 40)
    sign(log)
    vault.close()
    seen.close()


def goes_on_refusing(log: AuditLog, attempt: int) -> None:
    try:
        log.append(entry(log.size, attempt))
    except GovernanceError:
        return
    say("wrong: a log whose last commit failed was written again")


def write(folder: Path, attempt: int, out: str, words: list[str]) -> int:
    """The whole life of one writer; its exit status."""
    os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
    for word in words:
        if word.startswith("limit="):
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(word.removeprefix("limit=")), resource.RLIM_INFINITY))
    if "traced" in words:
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANYBODY, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)      # until whoever traces it is there
    try:
        work(folder, attempt, "short" in words)
    except GovernanceError as error:
        say(f"refused {error.code}")
        return REFUSED
    return 0


def main() -> None:
    for line in sys.stdin:
        folder, attempt, out, *words = line.split()
        child = os.fork()
        if child == 0:
            status = DEFECT
            try:
                status = write(Path(folder), int(attempt), out, words)
            except BaseException:  # noqa: BLE001  the outermost boundary of a forked process
                traceback.print_exc()
            finally:
                os._exit(status)
        if "traced" in words:
            os.waitpid(child, os.WUNTRACED)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
