"""How long a site's consent register takes with a million people in it.

    python benchmarks/consent.py [--people 1000000] [--json FILE] [--folder DIR]

Beside each stands what somebody would write without the register's promises: a plain SQLite table of clear rows filled
by ``executemany`` from the same file (WAL, synchronous=FULL, one transaction), a dictionary in memory that is asked who
has a valid grant, one durable INSERT, one durable DELETE. What ours does more: every row is checked against a closed
form, sealed under its subject's own key and added to a commitment; an erasure rewrites that commitment and searches the
raw file for what was erased. Processor seconds stand beside the wall's, for a machine that is shared; ratios are of
processor seconds. Memory is the peak of this process (VmHWM), of which the benchmark's own lists are a part.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sekisho.governance.consent.consent import ConsentRegister

PEOPLE = 1_000_000
WITHDRAWALS = 50
ERASURES = 5
ADMITTED = 1_000  # people of one step, of a million in the register
SCOPE = "fl-training/2026-11"
NOW = datetime(2026, 11, 20, tzinfo=UTC)
BEGAN = datetime(2026, 4, 1, tzinfo=UTC)
TARGETS = {"eligibility of all": 5.0, "withdrawal": 0.010}  # seconds; issue 7
MIB = 2**20

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """One row of the table: seconds, wall and processor, and the processor's of the plain way."""

    name: str
    wall: float
    cpu: float
    plain: float

    def told(self) -> dict[str, Any]:
        ratio = round(self.cpu / self.plain, 2) if self.plain else None
        target = TARGETS.get(self.name)
        return {"wall": self.wall, "cpu": self.cpu, "plain_cpu": self.plain, "ratio": ratio, "target_wall": target}


def timed(act: Callable[[], T]) -> tuple[float, float, T]:
    """Wall seconds, processor seconds, and what came of it."""
    began, worked = time.perf_counter(), time.process_time()
    found = act()
    return time.perf_counter() - began, time.process_time() - worked, found


def median_of(acts: list[Callable[[], object]]) -> tuple[float, float]:
    """Median wall and processor seconds."""
    found = [timed(act)[:2] for act in acts]
    return statistics.median(wall for wall, _ in found), statistics.median(cpu for _, cpu in found)


def write_file(path: Path, people: int) -> None:
    """One grant a person; every tenth has expired, every twentieth withdrew."""
    with path.open("w", encoding="ascii") as file:
        for number in range(people):
            subject, at = f"site-c{number:07d}", (BEGAN + timedelta(minutes=number % 10_000)).isoformat()
            end = '"2026-06-01T00:00:00+00:00"' if number % 10 == 0 else '"2099-12-31T00:00:00+00:00"'
            begins, ends = f'{{"subject": "{subject}", "scope": "{SCOPE}"', '"notice": "n-2026"}\n'
            file.write(f'{begins}, "event": "granted", "at": "{at}", "expires": {end}, {ends}')
            if number % 20 == 7:
                later = "2026-08-01T00:00:00+00:00"
                file.write(f'{begins}, "event": "withdrawn", "at": "{later}", "expires": null, {ends}')


def plain_import(path: Path, base: Path) -> sqlite3.Connection:
    """The same rows in a table, unchecked and in the clear."""
    connection = sqlite3.connect(base, isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE event (subject TEXT, scope TEXT, kind TEXT, at TEXT, expires TEXT, notice TEXT)"
    )
    names = ("subject", "scope", "event", "at", "expires", "notice")
    with path.open("rb") as file:
        connection.execute("BEGIN")
        rows = (json.loads(line) for line in file)
        values = (tuple(row[name] for name in names) for row in rows)
        connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", values)
        connection.execute("CREATE INDEX event_of ON event (subject)")
        connection.execute("COMMIT")
    return connection


def plain_eligible(connection: sqlite3.Connection, asked: list[str]) -> list[str]:
    """A scan into a dictionary, then one question each; only the last row of a subject counts."""
    rows = connection.execute("SELECT subject, kind, expires FROM event ORDER BY rowid")
    last, now = {subject: (kind, expires) for subject, kind, expires in rows}, NOW.isoformat()
    never = ("", None)
    found = ((name, *last.get(name, never)) for name in asked)
    return [name for name, kind, expires in found if kind == "granted" and (expires is None or expires > now)]


def plain_write(connection: sqlite3.Connection, statement: str, values: tuple[str, ...]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(statement, values)
    connection.execute("COMMIT")


def peak() -> int:
    """Peak resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // MIB


def measure(folder: Path, people: int) -> tuple[list[Line], dict[str, Any]]:
    """Every row of the table, and what is no time."""
    path = folder / "consent.jsonl"
    write_file(path, people)
    register = ConsentRegister.open(folder / "register.sqlite")
    stages: list[int] = []
    before = peak()
    wall, cpu, report = timed(lambda: register.import_file(path, progress=lambda _s, done, _t: stages.append(done)))
    facts: dict[str, Any] = {
        "people": people,
        "events": report.recorded,
        "progress_calls": len(stages),
        "import_peak_mib": peak() - before,
        "register_mib": (folder / "register.sqlite").stat().st_size // MIB,
        "file_mib": path.stat().st_size // MIB,
    }
    _, plain, connection = timed(lambda: plain_import(path, folder / "plain.sqlite"))
    lines = [Line("import", wall, cpu, plain)]
    wall, cpu, _ = timed(lambda: register.import_file(path))
    lines.append(Line("the same file again", wall, cpu, 0.0))

    asked = [f"site-c{number:07d}" for number in range(people)]
    before = peak()
    wall, cpu, found = timed(lambda: register.eligible(asked, SCOPE, NOW))
    facts["eligible"], facts["eligibility_peak_mib"] = len(found.eligible), peak() - before
    _, plain, plainly = timed(lambda: plain_eligible(connection, asked))
    if list(found.eligible) != plainly:
        raise SystemExit("the two ways differ in who is eligible")
    lines.append(Line("eligibility of all", wall, cpu, plain))

    few = asked[:: max(people // ADMITTED, 1)]
    wall, cpu, _ = timed(lambda: register.eligible(few, SCOPE, NOW))
    lines.append(Line(f"eligibility of {len(few)}, as at a step", wall, cpu, 0.0))
    wall, cpu, _ = timed(lambda: register.anybody(SCOPE, NOW))
    lines.append(Line("whether anybody may be used", wall, cpu, 0.0))
    wall, cpu, _ = timed(register.snapshot_digest)
    lines.append(Line("commitment at a step", wall, cpu, 0.0))

    insert = "INSERT INTO event VALUES (?, ?, 'withdrawn', '2026-11-20', NULL, 'w')"
    chosen = list(found.eligible[:: max(len(found.eligible) // WITHDRAWALS, 1)])[:WITHDRAWALS]
    wall, cpu = median_of([lambda s=name: register.withdraw(s, NOW) for name in chosen])
    _, plain = median_of([lambda s=name: plain_write(connection, insert, (s, SCOPE)) for name in chosen])
    lines.append(Line("withdrawal", wall, cpu, plain))

    gone = chosen[:ERASURES]
    wall, cpu = median_of([lambda s=name: register.erase(s, NOW) for name in gone])
    _, plain = median_of(
        [lambda s=name: plain_write(connection, "DELETE FROM event WHERE subject = ?", (s,)) for name in gone]
    )
    lines.append(Line("erasure", wall, cpu, plain))
    wall, cpu, _ = timed(register.check)
    lines.append(Line("every event read again and checked", wall, cpu, 0.0))
    register.close()
    connection.close()
    return lines, facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help="where the disk to be measured is; a temporary folder otherwise")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        lines, facts = measure(Path(folder), arguments.people)
    print(f"{'':40} {'wall s':>10} {'cpu s':>10} {'plain cpu':>10} {'ratio':>7}")
    for line in lines:
        told = line.told()
        ratio = "" if told["ratio"] is None else f"{told['ratio']:.2f}"
        print(f"{line.name:40} {line.wall:10.4f} {line.cpu:10.4f} {line.plain:10.4f} {ratio:>7}")
    print(json.dumps(facts))
    if arguments.json:
        document = {"cores": os.cpu_count(), "facts": facts, "rows": {line.name: line.told() for line in lines}}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
