"""How a ledger is stored: tables that only go forward, and a chain in which every transition is
authenticated together with all transitions before it.

For: the ledger's head, its history, and noticing that rows were changed behind its back.
Not for: deciding a transition (``ledger.py``), or noticing that all of it was put back to an earlier day:
whoever holds a later head notices that.

Order of calls, inside the ledger's transaction: ``append`` for every transition; at opening ``verify``,
``replay``, ``check_tables``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LedgerError

NOBODY = hashlib.sha256(b"").hexdigest()  # a reservation that admitted nobody: it has no row of subjects
BUSY_SECONDS = 30.0  # how long a second process waits for the first

STARTED, DISCLOSED, SETTLED = 1, 2, 3  # states of a step; they only rise

FINGERPRINT_BYTES = 32  # of a subject; a run's lie in order, one behind the other, as one value

TABLES_FORMAT = 2  # 1 had a row for every subject of every run

SCHEMA = """
create table if not exists life(
  one integer primary key check(one = 1), dataset text not null, renyi_order integer not null,
  unit text not null, adjacency text not null, epsilon text not null, delta text not null,
  cap integer not null check(cap >= 0));
create table if not exists run(
  run text primary key, step_cost integer not null check(step_cost > 0), steps integer not null,
  charged integer not null, last_step integer not null, started integer not null, disclosed integer not null,
  state text not null check(state in ('open', 'closed')),
  check(0 <= disclosed and disclosed <= started and started <= charged and charged <= steps)) without rowid;
create table if not exists admitted(
  run text primary key references run, subjects blob not null
  check(length(subjects) > 0 and length(subjects) % 32 = 0)) without rowid;
create table if not exists step(
  run text not null references run, step integer not null, state integer not null, sealed blob,
  primary key(run, step), check(state in (1, 2, 3) and (state = 2) = (sealed is not null))) without rowid;

create trigger if not exists run_forward before update on run
  when new.run <> old.run or new.step_cost <> old.step_cost or new.steps <> old.steps or old.state = 'closed'
    or new.started < old.started or new.last_step < old.last_step or new.disclosed < old.disclosed
    or (new.charged <> old.charged and (new.state <> 'closed' or new.charged <> old.started))
  begin select raise(abort, 'illegal transition'); end;
create trigger if not exists step_forward before update on step
  when new.run <> old.run or new.step <> old.step or new.state <= old.state
  begin select raise(abort, 'illegal transition'); end;
create trigger if not exists admitted_fixed before update on admitted
  begin select raise(abort, 'append-only'); end;
create trigger if not exists life_fixed before update on life
  when new.dataset <> old.dataset or new.renyi_order <> old.renyi_order
    or new.unit <> old.unit or new.adjacency <> old.adjacency
  begin select raise(abort, 'fixed for life'); end;
create trigger if not exists run_kept before delete on run begin select raise(abort, 'append-only'); end;
create trigger if not exists step_kept before delete on step begin select raise(abort, 'append-only'); end;
create trigger if not exists admitted_kept before delete on admitted
  begin select raise(abort, 'append-only'); end;
create trigger if not exists life_kept before delete on life begin select raise(abort, 'append-only'); end;

create table if not exists journal(entry integer primary key, body text not null, mac blob not null);
create trigger if not exists journal_kept before delete on journal
  begin select raise(abort, 'append-only'); end;
create trigger if not exists journal_fixed before update on journal
  begin select raise(abort, 'append-only'); end;
"""

_GENESIS = b"sekisho/ledger/genesis/v1".ljust(32, b"\0")


@dataclass(frozen=True)
class LedgerHead:
    """How many entries there are and the MAC of the last: what a frame header carries."""

    entries: int
    mac: str


@dataclass
class RunHistory:
    """What the entries say about one run."""

    step_cost: int
    steps: int
    charged: int
    admitted: str
    last_step: int = 0
    started: int = 0
    disclosed: int = 0
    state: str = "open"
    step_states: dict[int, tuple[int, str | None]] = field(
        default_factory=dict
    )  # state, digest of kept bytes


@dataclass
class History:
    """What the entries say altogether; the tables must say the same."""

    life: dict[str, Any]
    runs: dict[str, RunHistory]


class Journal:
    """Append to and verify the chain; the caller holds the transaction."""

    def __init__(self, db: sqlite3.Connection, key: bytes) -> None:
        self._db = db
        self._key = key

    def append(self, kind: str, **values: str | int) -> None:
        """One more entry."""
        body = json.dumps({"kind": kind, **values}, sort_keys=True, separators=(",", ":"))
        entries, mac = self._last()
        row = (entries + 1, body, self._mac(mac, body))
        self._db.execute("insert into journal values (?, ?, ?)", row)

    def head(self) -> LedgerHead:
        """The newest entry's number and MAC."""
        entries, mac = self._last()
        return LedgerHead(entries, mac.hex())

    def head_at(self, entries: int) -> str | None:
        """The MAC (hex) that the head had when it was at ``entries``; ``None`` if it never was."""
        if entries == 0:
            return _GENESIS.hex()
        row = self._db.execute("select mac from journal where entry = ?", (entries,)).fetchone()
        return None if row is None else bytes(row[0]).hex()

    def verify(self) -> list[dict[str, Any]]:
        """All entries, oldest first, if the chain holds.

        Raises:
            LedgerError: ``LEDGER_DAMAGED``.
        """
        bodies, mac = [], _GENESIS
        for number, (entry, body, stored) in enumerate(
            self._db.execute(
                "select entry, cast(body as text), cast(mac as blob) from journal order by entry"
            ),
            start=1,
        ):
            mac = self._mac(mac, body)
            if entry != number or not hmac.compare_digest(mac, stored):
                raise damaged("the ledger's chain is broken, or it belongs to another key")
            bodies.append(json.loads(body))
        return bodies

    def _last(self) -> tuple[int, bytes]:
        row = self._db.execute("select entry, mac from journal order by entry desc limit 1").fetchone()
        return (0, _GENESIS) if row is None else (row[0], bytes(row[1]))

    def _mac(self, before: bytes, body: str) -> bytes:
        return hmac.digest(self._key, before + body.encode("utf-8"), "sha256")


def replay(bodies: Iterable[dict[str, Any]]) -> History:
    """What the tables must hold after these entries.

    Raises:
        LedgerError: ``LEDGER_DAMAGED`` for entries that do not follow from each other.
    """
    history = History(life={}, runs={})
    try:
        for body in bodies:
            _apply(history, body)
    except (KeyError, ValueError) as error:
        raise damaged("the ledger's entries do not follow from each other") from error
    return history


def _apply(history: History, body: dict[str, Any]) -> None:
    match body["kind"]:
        case "opened" | "budget":
            history.life |= {name: value for name, value in body.items() if name != "kind"}
        case "reserved":
            history.runs[body["run"]] = RunHistory(
                step_cost=body["step_cost"],
                steps=body["steps"],
                charged=body["steps"],
                admitted=body["admitted"],
            )
        case "started":
            run = history.runs[body["run"]]
            run.started += 1
            run.last_step = body["step"]
            run.step_states[body["step"]] = (STARTED, None)
        case "disclosed":
            run = history.runs[body["run"]]
            run.disclosed += 1
            run.step_states[body["step"]] = (DISCLOSED, body["sealed"])
        case "settled":
            history.runs[body["run"]].step_states[body["step"]] = (SETTLED, None)
        case "closed":
            run = history.runs[body["run"]]
            run.charged, run.state = run.started, "closed"
            run.step_states = dict.fromkeys(run.step_states, (SETTLED, None))
        case other:
            raise ValueError(other)


def connect(path: Path) -> sqlite3.Connection:
    """A connection whose commits are on disk when they return, with tables that only go forward.

    Raises:
        LedgerError: ``LEDGER_FORMAT``, ``LEDGER_DAMAGED``, ``LEDGER_UNWRITABLE``.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise refusal(error) from error
    try:
        _make_tables(db)
    except sqlite3.Error as error:
        db.close()
        raise refusal(error) from error
    except LedgerError:
        db.close()
        raise
    return db


def _make_tables(db: sqlite3.Connection) -> None:
    """As they are made by this version; those of another are left alone."""
    # One statement, one state of the file: another process may be making its tables just now.
    tables, written = db.execute(
        "select (select count(*) from sqlite_master), user_version from pragma_user_version"
    ).fetchone()
    if tables and written != TABLES_FORMAT:
        raise LedgerError(
            "LEDGER_FORMAT",
            "this ledger was written by another version, whose tables this one does not know",
            "use the version that wrote it; a new ledger would forget what was spent",
        )
    for setting in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
        db.execute(f"pragma {setting}")
    db.executescript(f"begin immediate; {SCHEMA} pragma user_version = {TABLES_FORMAT}; commit;")


def check_tables(db: sqlite3.Connection, history: History) -> None:
    """The tables say what the authenticated entries say.

    Raises:
        LedgerError: ``LEDGER_DAMAGED``.
    """
    names = ("dataset", "order", "unit", "adjacency", "epsilon", "delta", "cap")
    life = [tuple(history.life[name] for name in names)] if history.life else []
    runs = {
        (name, run.step_cost, run.steps, run.charged, run.last_step, run.started, run.disclosed, run.state)
        for name, run in history.runs.items()
    }
    steps = {
        (name, step, *state) for name, run in history.runs.items() for step, state in run.step_states.items()
    }
    stored_life = db.execute("select dataset, renyi_order, unit, adjacency, epsilon, delta, cap from life")
    stored_runs = db.execute(
        "select run, step_cost, steps, charged, last_step, started, disclosed, state from run"
    )
    stored_steps = {
        (run, step, state, None if sealed is None else hashlib.sha256(sealed).hexdigest())
        for run, step, state, sealed in db.execute("select run, step, state, cast(sealed as blob) from step")
    }
    if list(stored_life) != life or set(stored_runs) != runs or stored_steps != steps:
        raise damaged("the ledger's tables do not say what its entries say")
    stored_admitted = {
        run: hashlib.sha256(subjects).hexdigest()
        for run, subjects in db.execute("select run, cast(subjects as blob) from admitted")
    }
    if stored_admitted != {name: run.admitted for name, run in history.runs.items() if run.admitted != NOBODY}:
        raise damaged("the ledger's subjects are not those that its entries admitted")


def damaged(sentence: str) -> LedgerError:
    """``LEDGER_DAMAGED`` with the hint that belongs to it."""
    return LedgerError(
        "LEDGER_DAMAGED",
        sentence,
        "nothing is trained with it; restore the newest copy, never an older one, and tell the others",
    )


def refusal(error: Exception) -> LedgerError:
    """What a failing disk or a damaged file means: ``LEDGER_DAMAGED`` or ``LEDGER_UNWRITABLE``. Fail
    closed."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged("the ledger's file is not a ledger any more")
    return LedgerError(
        "LEDGER_UNWRITABLE",
        "the privacy ledger cannot be written, so nothing may be disclosed",
        "check free space and permissions of this site's state folder",
    )
