"""What the ledger has answered is on disk: the database waits for the disk at every commit, and says so."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from sekisho.privacy.accounting.ledger import Ledger
from sekisho.privacy.budget import Adjacency, Budget, Unit

FULL = 2  # SQLite's number for it: sync at every commit; "normal" may lose the last ones of a write-ahead log


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    budget = Budget(Decimal(6), Decimal("0.00001"), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)
    ledger = Ledger.open(tmp_path / "ledger", dataset="d", budget=budget, order=5, cap=1000, key=bytes(32))
    try:
        (synchronous,) = ledger._db.execute("pragma synchronous").fetchone()
        assert synchronous >= FULL
    finally:
        ledger.shut()
