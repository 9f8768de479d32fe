"""A site's durable files, written as a site writes them, by a process that may be stopped at any moment.

    python tests/faults/log_writer.py FOLDER ATTEMPT [short]

It says what it is about to do ("try ..."), and again once that is durable ("done ..."), each in one system call; what
the product refuses ends it with "refused CODE". Everything after a "done" must survive whatever happens then.
"""

from __future__ import annotations

import os
import sys
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
REFUSED = 3


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


def main() -> int:
    try:
        work(Path(sys.argv[1]), int(sys.argv[2]), "short" in sys.argv[3:])
    except GovernanceError as error:
        say(f"refused {error.code}")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
