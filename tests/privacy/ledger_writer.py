"""Writers of a ledger that a test kills, forked from a process that has imported everything: each starts at once.

A request is one line of JSON on standard input: path, cap, run, visible, early. The answers are two lines: the writer's
process id, and, once it is gone, the number of the signal that ended it (0: it ended by itself, which it never should).

A writer opens (or creates) the ledger, reserves and goes through steps for ever. What an outsider may have seen it
appends to ``visible``, unbuffered: "s" and the step once started, "d" and the step once disclosed. One that is
``early`` shows a step before it is marked: the mistake that the kill loop must find.
"""

from __future__ import annotations

import json
import os
import sys
from decimal import Decimal
from pathlib import Path

from sekisho.privacy.accounting.ledger import Ledger
from sekisho.privacy.budget import Adjacency, Budget, Unit

BUDGET = Budget(Decimal(6), Decimal("0.00001"), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)
KEY = bytes(range(32))
SUBJECTS = [bytes([letter]) * 32 for letter in b"abc"]
STEPS = 100_000


def opened(path: Path, cap: int) -> Ledger:
    return Ledger.open(path, dataset="reviews", budget=BUDGET, order=5, cap=cap, key=KEY)


def sealed_bytes(run: str, step: int) -> bytes:
    return f"{run}/{step}".encode() * 50


def write(path: Path, cap: int, run: str, visible: str, *, early: bool) -> None:
    ledger = opened(path, cap)
    ledger.reserve(run, step_cost=1, steps=STEPS, subjects=SUBJECTS)
    seen = os.open(visible, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for step in range(1, STEPS + 1):
        if early:
            os.write(seen, b"s %d\n" % step)
        ledger.start(run, step)
        if not early:
            os.write(seen, b"s %d\n" % step)
        ledger.disclose(run, step, sealed_bytes(run, step))
        os.write(seen, b"d %d\n" % step)
        if step % 3 == 0:
            ledger.settle(run, step)


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                write(Path(request["path"]), request["cap"], request["run"], request["visible"], early=request["early"])
            finally:
                os._exit(1)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, flush=True)


if __name__ == "__main__":
    main()
