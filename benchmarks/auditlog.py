"""What a party's log costs: appending, proving, opening, recomputing, verifying elsewhere; and how that grows.

    python benchmarks/auditlog.py [--entries 1000000] [--json FILE] [--svg FILE] [--folder DIR] [--peers DIR]
    python benchmarks/auditlog.py --entries 10000000 --growth   # only the table of sizes

Entries are as a site writes most of them (``decision.permit``: two digests and a run, 308 bytes). Beside ours stands,
in the same run, on the same disk: a plain SQLite table of the same bodies under the same settings, which has no tree,
no proof and no check; and ``pymerkle`` (a Merkle log on SQLite; GPL, so never a dependency; install it into a folder of
its own with ``pip install --target DIR pymerkle`` and give ``--peers DIR``). Its SQLite settings are its own; it
commits with a rollback journal and synchronous=FULL. Ratios are of processor seconds, for machines that are shared; the
wall's seconds stand beside them, because flushing waits and does not work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sekisho.governance.evidence.charts import Series, lines
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.entries import Entry
from sekisho.governance.log.merkle import leaf_hash, verify_consistency, verify_inclusion
from sekisho.governance.signing.keys import SigningKey

ENTRIES, BATCH = 1_000_000, 1000
SINGLES, THREADS = 2000, 8
PROOFS, PEER_PROOFS = 1000, 3
KEY = SigningKey.from_seed(b"b" * 32)
ORIGIN = "sekisho.example/benchmark/kohi"
BEGAN = datetime(2026, 11, 20, tzinfo=UTC)
RUN = "probe-bb3f3d16be264b46"
POLICY = "sha256:" + "92b1b0b4" * 8
TARGETS = {"inclusion proof": 0.002, "verify.py over the bundle": 60.0}   # seconds; issue 8
STYLE = ("<style>text{font:11px sans-serif}.hair{stroke:#999}.line{fill:none;stroke:#234;stroke-width:1.5}"
         ".dashed{stroke-dasharray:6 3}.dotted{stroke-dasharray:2 3}.dot,.mark{fill:#234}</style>")

T = TypeVar("T")
Row = dict[str, Any]


def entry(number: int) -> Entry:
    decision = "sha256:" + hashlib.sha256(number.to_bytes(8, "big")).hexdigest()
    at = BEGAN + timedelta(milliseconds=37 * number)
    return Entry("decision.permit", "kohi", at, {"decision": decision, "policy": POLICY, "run": RUN}, {"codes": []})


def batches(first: int, end: int, size: int = BATCH) -> Iterator[list[Entry]]:
    for start in range(first, end, size):
        yield [entry(number) for number in range(start, min(start + size, end))]


def timed(act: Callable[[], T]) -> tuple[float, float, T]:
    """Wall seconds, processor seconds, and what came of it."""
    began, worked = time.perf_counter(), time.process_time()
    found = act()
    return time.perf_counter() - began, time.process_time() - worked, found


def each(acts: Sequence[Callable[[], object]]) -> Row:
    """Median and worst, in the wall's seconds and in the processor's."""
    found = [timed(act)[:2] for act in acts]
    walls, cpus = zip(*found, strict=True)
    return {"median": statistics.median(walls), "worst": max(walls),
            "cpu_median": statistics.median(cpus), "cpu_worst": max(cpus)}


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class PlainLog:
    """The same bodies in a table, under the same settings."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON;"
            "CREATE TABLE entries (i INTEGER PRIMARY KEY, body BLOB NOT NULL)"
        )

    def append_all(self, bodies: Sequence[bytes]) -> None:
        with self.lock:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany("INSERT INTO entries (body) VALUES (?)", ((body,) for body in bodies))
            self.connection.execute("COMMIT")


def filled(append: Callable[[list[Entry]], object], first: int, end: int) -> tuple[float, float]:
    """Wall and processor seconds of appending alone: making the entries is not counted."""
    wall = cpu = 0.0
    for batch in batches(first, end):
        one = timed(lambda batch=batch: append(batch))
        wall, cpu = wall + one[0], cpu + one[1]
    return wall, cpu


def rate(wall: float, cpu: float, count: int) -> Row:
    return {"per_second": round(count / wall), "cpu_each": cpu / count}


def shared(append: Callable[[int], object], count: int) -> tuple[float, float]:
    """``THREADS`` threads, each waiting for its own append before the next."""
    def work(part: int) -> None:
        for number in range(part, count, THREADS):
            append(number)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(THREADS)]

    def run() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return timed(run)[:2]


def appending(folder: Path, peer: Any) -> Row:
    """One durable append at a time; and many threads, each waiting for its own."""
    made = [entry(number) for number in range(SINGLES)]
    bodies = [one.to_bytes() for one in made]
    wall, cpu, _ = timed(lambda: [entry(number) for number in range(SINGLES)])
    rows: Row = {"making an entry": rate(wall, cpu, SINGLES)}
    ours, plain = AuditLog.open(folder / "singles.sqlite", origin=ORIGIN, key=KEY), PlainLog(folder / "plain1.sqlite")
    rows["single durable"] = rate(*timed(lambda: [ours.append(one) for one in made])[:2], SINGLES)
    rows["single durable, plain SQLite"] = rate(*timed(lambda: [plain.append_all([b]) for b in bodies])[:2], SINGLES)
    rows[f"from {THREADS} threads"] = rate(*shared(lambda n: ours.append(made[n]), SINGLES), SINGLES)
    rows[f"from {THREADS} threads, plain SQLite"] = rate(
        *shared(lambda n: plain.append_all([bodies[n]]), SINGLES), SINGLES)
    if ours.fsck().entries != 2 * SINGLES:
        raise SystemExit("entries are missing")
    if peer is not None:
        tree = peer.SqliteTree(str(folder / "peer1.sqlite"))
        few = SINGLES // 10
        rows["single durable, pymerkle"] = rate(*timed(lambda: [tree.append_entry(b) for b in bodies[:few]])[:2], few)
    return rows


def growth(folder: Path, log: AuditLog, sizes: Sequence[int]) -> tuple[AuditLog, list[Row]]:
    """Fill the log to each size in turn, and look at it there."""
    path, found = folder / "log.sqlite", []
    pick = random.Random(8)
    for size in sizes:
        before = log.size
        wall, cpu = filled(log.append_all, before, size)
        note = log.checkpoint()
        root = log.root()
        wanted = [pick.randrange(size) for _ in range(PROOFS)]
        inclusion = each([lambda i=index, here=log: here.inclusion(i) for index in wanted])
        for index in wanted[:20]:
            verify_inclusion(index, size, leaf_hash(entry(index).to_bytes()), log.inclusion(index), root)
        consistency = each([lambda old=index + 1, here=log: here.consistency(old) for index in wanted])
        for index in wanted[:20]:
            verify_consistency(index + 1, size, log.consistency(index + 1), log.root(index + 1), root)
        log.close()
        opening = timed(lambda: AuditLog.open(path, origin=ORIGIN, key=KEY))
        log = opening[2]
        fsck = timed(log.fsck)
        found.append({
            "entries": size, "append": rate(wall, cpu, size - before), "inclusion proof": inclusion,
            "consistency proof": consistency, "opening": {"wall": opening[0], "cpu": opening[1]},
            "fsck": {"wall": fsck[0], "cpu": fsck[1]}, "bytes_per_entry": round(path.stat().st_size / size, 1),
            "peak_mib": peak_mib(), "head_bytes": len(note),
        })
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    return log, found


def bulk_peers(folder: Path, entries: int, peer: Any) -> Row:
    """The same bodies in batches, without a tree; and in somebody else's tree."""
    plain = PlainLog(folder / "plain.sqlite")
    wall, cpu = filled(lambda batch: plain.append_all([one.to_bytes() for one in batch]), 0, entries)
    plain.connection.close()
    size = (folder / "plain.sqlite").stat().st_size
    rows: Row = {"plain SQLite": {"append": rate(wall, cpu, entries), "bytes_per_entry": round(size / entries, 1)}}
    if peer is None:
        return rows
    path = folder / "peer.sqlite"
    tree = peer.SqliteTree(str(path))
    wall, cpu = filled(lambda batch: tree.append_entries([one.to_bytes() for one in batch]), 0, entries)
    pick = random.Random(8)
    wanted = [pick.randrange(entries) + 1 for _ in range(PEER_PROOFS)]
    rows["pymerkle"] = {
        "append": rate(wall, cpu, entries), "bytes_per_entry": round(path.stat().st_size / entries, 1),
        "first root": dict(zip(("wall", "cpu"), timed(tree.get_state), strict=False)),
        "inclusion proof": each([lambda i=index: tree.prove_inclusion(i) for index in wanted]),
        "consistency proof": each([lambda i=index: tree.prove_consistency(i) for index in wanted]),
    }
    return rows


def elsewhere(folder: Path, entries: int) -> Row:
    """A whole bundle whose one log has these entries, verified by the file that travels in it."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "governance"))
    import evidence_example as example

    from sekisho.governance.evidence import verifier
    from sekisho.governance.evidence.bundle import bundle_bytes, log_members

    members = example.members(folder / "example")
    with AuditLog.open(folder / "example" / "kohi.sqlite", origin="sekisho.example/food-quality/kohi",
                       key=example.key("kohi")) as log:
        for batch in batches(0, entries):
            log.append_all(batch)
        members.update(log_members("kohi", log.entries(), log.checkpoint()))
    data = bundle_bytes(members, example.key("hub"))
    root = verifier.digest(members["roster.yaml"])
    wall, cpu, verdict = timed(lambda: verifier.verify(data, root))
    if verdict.name != "verified":
        raise SystemExit(f"the bundle is not verified: {verdict}")
    return {"wall": wall, "cpu": cpu, "bundle_mib": len(data) >> 20, "peak_mib": peak_mib()}


def plotted(found: Sequence[Row]) -> str:
    """Bytes and processor time against the number of entries, tenfold from mark to mark."""
    def place(row: Row) -> float:
        return math.log10(row["entries"] / found[0]["entries"])

    def series(label: str, of: Callable[[Row], float]) -> Series:
        return Series(label, tuple((place(row), of(row)) for row in found))

    ticks = [(place(row), f"10^{math.log10(row['entries']):.3g}") for row in found]
    proof = lines("Proofs against the size of the log", [
        series("inclusion proof, median", lambda row: row["inclusion proof"]["cpu_median"] * 1e3),
        series("consistency proof, median", lambda row: row["consistency proof"]["cpu_median"] * 1e3),
    ], x_label="entries", y_label="ms of processor", x_ticks=ticks)
    cost = lines("Appending and recomputing against the size of the log", [
        series("append in a batch, an entry", lambda row: row["append"]["cpu_each"] * 1e6),
        series("fsck, an entry", lambda row: row["fsck"]["cpu"] / row["entries"] * 1e6),
        series("tens of bytes on disk, an entry", lambda row: row["bytes_per_entry"] / 10),
    ], x_label="entries", y_label="microseconds of processor", x_ticks=ticks)
    placed = [chart.replace("<svg ", f'<svg x="20" y="{y}" width="360" height="300" ', 1)
              for chart, y in ((proof, 10), (cost, 310))]
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 620" width="800">'
            f'{STYLE}<rect width="400" height="620" fill="#fff"/>{"".join(placed)}</svg>\n')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=ENTRIES)
    parser.add_argument("--growth", action="store_true", help="only how the log grows, without the others")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path, help="where to draw the growth")
    parser.add_argument("--draw", type=Path, help="draw --svg from this JSON instead of measuring")
    parser.add_argument("--folder", type=Path, help="where the disk to be measured is; a temporary folder otherwise")
    parser.add_argument("--peers", type=Path, help="where pymerkle was installed")
    given = parser.parse_args()
    document = json.loads(given.draw.read_text("utf-8")) if given.draw else measured(given)
    print(json.dumps(document, indent=1))
    if given.json:
        given.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    if given.svg:
        given.svg.write_text(plotted(document["growth"]), "utf-8")


def measured(given: argparse.Namespace) -> Row:
    if given.peers:
        sys.path.append(str(given.peers))  # last, so that what is installed here stays what it is
    try:
        import pymerkle as peer
    except ImportError:
        peer = None
    document: Row = {"cores": os.cpu_count(), "entry_bytes": len(entry(0).to_bytes()), "targets": TARGETS}
    sizes = [size for size in (1000, 10_000, 100_000, 1_000_000) if size < given.entries] + [given.entries]
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        folder = Path(place)
        log = AuditLog.open(folder / "log.sqlite", origin=ORIGIN, key=KEY)
        log, document["growth"] = growth(folder, log, sizes)
        log.close()
        rest: dict[str, Callable[[], Row]] = {} if given.growth else {
            "appending": lambda: appending(folder, peer),
            "verify.py over the bundle": lambda: elsewhere(folder, given.entries),
            "in bulk, beside": lambda: bulk_peers(folder, given.entries, peer),
        }
        for name, measure in rest.items():
            document[name] = measure()
            print(json.dumps({name: document[name]}), file=sys.stderr, flush=True)
    return document


if __name__ == "__main__":
    main()
