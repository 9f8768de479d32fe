"""What it costs a site that every party's log is witnessed in every step: bytes on the wire, and processor time.

    python benchmarks/witnessing.py [--json FILE] [--sites 5 95] [--steps 5] [--entries 2000]

One site's part of a step: it checks the coordinator's log in the step message and in the readies, and every other
site's log in its ready; keeps them, cosigned, in one transaction; and shows its own. Beside it stands what the same
step costs it anyway: reading and verifying the same messages. Logs have ``--entries`` entries when the run begins, and
each grows by eight a step. Only the processor's time is given: a shared machine's wall clock says nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from sekisho.core.messages import Readies, Ready, SignedMessage, Step, sign_message
from sekisho.core.parties import log_origin
from sekisho.core.watching import Others, OwnLog, Post
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.entries import Entry
from sekisho.governance.log.shown import Said
from sekisho.governance.log.witness import Witness
from sekisho.governance.signing.keys import SigningKey, demo_key
from sekisho.governance.signing.roster import Roster

STUDY, RUN, COORDINATOR = "study", "probe-0123456789abcdef", "coordinator"
ENTRIES_A_STEP = 8
SUM = "sha256:" + "ab" * 32
AT = datetime(2026, 11, 29, tzinfo=UTC)


@dataclass
class Party:
    """One party: its key, its log, and what it shows of it."""

    name: str
    key: SigningKey
    log: AuditLog
    own: OwnLog

    def work(self, count: int) -> int:
        """Log so many entries; the number of the first."""
        entry = Entry(type="control.told", party=self.name, at=AT, refs={"run": RUN, "message": SUM})
        return self.log.append_all([entry] * count)


def opened(name: str, folder: Path, stack: ExitStack, entries: int) -> Party:
    """A party whose log has ``entries`` entries."""
    key = demo_key(name)
    log = stack.enter_context(AuditLog.open(folder / f"{name}.sqlite", origin=log_origin(STUDY, name), key=key))
    party = Party(name, key, log, OwnLog(log, key.public))
    party.work(entries)
    return party


def measured(sites: int, steps: int, entries: int) -> dict[str, Any]:
    """Medians over ``steps`` steps of one site among ``sites``."""
    names = [f"site-{number:02}" for number in range(sites)]
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        parties = {name: opened(name, Path(home), stack, entries) for name in (COORDINATOR, *names)}
        me = names[0]
        keys = {name: SimpleNamespace(key=party.key.public) for name, party in parties.items()}
        roster = SimpleNamespace(coordinator=SimpleNamespace(id=COORDINATOR), party=keys.__getitem__)
        witness = Witness(Path(home) / "witness.sqlite")
        stack.callback(witness.close)
        others = Others(
            Post(
                party=me,
                study=STUDY,
                roster=cast(Roster, roster),
                key=parties[me].key,
                witness=witness,
                folder=Path(home) / "misbehaviour",
                clock=lambda: AT,
                record=lambda kind, refs, data: None,
            )
        )
        rows = [one_step(number, names, parties, others) for number in range(1, steps + 1)][1:]
    return {"sites": sites, **{name: statistics.median(row[name] for row in rows) for name in rows[0]}}


def one_step(number: int, names: list[str], parties: dict[str, Party], others: Others) -> dict[str, float]:
    """One step as site 0 hears it; bytes and milliseconds."""
    coordinator, me = parties[COORDINATOR], names[0]
    cohort = tuple(names)
    last = number - 1
    if last:
        done = Entry(
            type="step.abandoned", party=COORDINATOR, at=AT, refs={"run": RUN},
            data={"step": last, "cohort": len(names)},
        )  # fmt: skip
        coordinator.own.did(coordinator.log.append(done))
    shown = coordinator.own.show(COORDINATOR, seen={}, answers=None)
    body = Step(step=number, cohort=cohort, previous="none" if number == 1 else "abandoned")
    step = sign_message(body, study=STUDY, run=RUN, sender=COORDINATOR, key=coordinator.key, log=shown)
    readies: dict[str, SignedMessage] = {}
    showing = 0.0
    for name in names:
        party = parties[name]
        party.work(ENTRIES_A_STEP)
        began = time.process_time()
        own = party.own.show(name, seen={COORDINATOR: shown.note}, answers=step.digest)
        if name == me:
            showing = time.process_time() - began
        party.own.came_round()
        ready = Ready(step=number, transcript="ab" * 32, consent="hmac-sha256:" + "cd" * 32)
        readies[name] = sign_message(ready, study=STUDY, run=RUN, sender=name, key=party.key, log=own)
    again = coordinator.own.show(COORDINATOR, seen={}, answers=None)
    wires = {f"ready:{name}": ready.to_bytes() for name, ready in readies.items()}
    round_ = sign_message(
        Readies(step=number, cohort=cohort), study=STUDY, run=RUN, sender=COORDINATOR, key=coordinator.key,
        parts=wires, log=again,
    )  # fmt: skip
    # what the step costs anyway: every message is read and its signature checked
    began = time.process_time()
    for wire, sender in ((step.to_bytes(), COORDINATOR), (round_.to_bytes(), COORDINATOR)):
        SignedMessage.from_bytes(wire).verify(parties[sender].key.public)
    for name in names:
        SignedMessage.from_bytes(wires[f"ready:{name}"]).verify(parties[name].key.public)
    reading = time.process_time() - began
    # what witnessing adds, as site/witnessing.py does it: the readies are read once more before they are heard
    began = time.process_time()
    others.hear(Said.of(step.header_bytes, step.signature))
    others.settle()
    others.hear(Said.of(round_.header_bytes, round_.signature))
    for name in names[1:]:
        received = SignedMessage.from_bytes(wires[f"ready:{name}"])
        received.verify(parties[name].key.public)
        heard = others.hear(Said.of(received.header_bytes, received.signature))
        assert heard is not None
        others.compare_views(COORDINATOR, shown.note, heard.seen.get(COORDINATOR), told_by=name)
    others.settle()
    witnessing = time.process_time() - began
    return {
        "ready_bytes": len(wires[f"ready:{me}"]),
        "ready_log_bytes": _log_bytes(readies[me]),
        "step_log_bytes": _log_bytes(step),
        "readies_bytes": len(round_.to_bytes()),
        "reading_ms": reading * 1000,
        "witnessing_ms": (witnessing + showing) * 1000,
    }


def _log_bytes(message: SignedMessage) -> int:
    log = message.header.log
    return 0 if log is None else len(log.model_dump_json())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sites", type=int, nargs="+", default=[5, 95])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--entries", type=int, default=2000)
    given = parser.parse_args()
    rows = [measured(sites, given.steps, given.entries) for sites in given.sites]
    print(f"{'sites':>6} {'ready, bytes':>13} {'of it log':>10} {'step: log':>10} {'readies':>9} "
          f"{'read, CPU ms':>13} {'witness, CPU ms':>16} {'ratio':>6}")  # fmt: skip
    for row in rows:
        print(f"{row['sites']:>6} {row['ready_bytes']:>13.0f} {row['ready_log_bytes']:>10.0f} "
              f"{row['step_log_bytes']:>10.0f} {row['readies_bytes']:>9.0f} {row['reading_ms']:>13.2f} "
              f"{row['witnessing_ms']:>16.2f} {row['witnessing_ms'] / row['reading_ms']:>6.2f}")  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps({"entries": given.entries, "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
