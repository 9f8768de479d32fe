"""Which runs a person's data reached at this site, in a store of its own that can forget the person.

For: answering a withdrawal with every run and adapter that the person was in, and until which step; remembering which
adapters wait for a remedy; keeping log entries that a process at work in this state will write; noticing that the
consent register was put back (departures.py). Not for: who may be used (the consent register), what was spent (the
ledger, which forgets nobody), or anything that leaves the site.

A person is a keyed fingerprint here, under the key of the ledger's rows, so the file names nobody. Whoever was admitted
to a run counts as reached from its first step on, sampled or not: what is said of a person is never too little. That
somebody left stays under the fingerprint when they are erased: an old register must not bring them back.

Order of calls, in a run: ``admit`` at the join → ``stay`` at every step, before data are touched → ``finish`` →
``released``. For a person: ``of`` and ``open_case``, later ``erase``. For remedies: ``due`` → ``done``.
Log entries: ``leave_entries`` → ``take_entries`` by whoever holds the log.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.consent.withdrawal import Case, Reason
from ...governance.log.entries import Entry
from ...governance.signing.envelope import read_time, write_time
from ..errors import BadInputError, Refused

BUSY_SECONDS = 10.0  # a withdrawal waits that long for a run that is writing, as the consent register does
NAME = "reach.sqlite"

SCHEMA = """
CREATE TABLE IF NOT EXISTS run (
    run TEXT PRIMARY KEY, method TEXT NOT NULL, epsilon TEXT NOT NULL, delta TEXT NOT NULL, joined TEXT NOT NULL,
    adapter TEXT NOT NULL DEFAULT '', recipients TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE IF NOT EXISTS reached (
    subject BLOB NOT NULL, run TEXT NOT NULL, gone_at INTEGER,   -- the first step without this person; NULL: none
    PRIMARY KEY (subject, run)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS case_file (
    name TEXT PRIMARY KEY, subject BLOB NOT NULL, key BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS departure (
    name TEXT PRIMARY KEY, subject BLOB NOT NULL, until TEXT NOT NULL, reason TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS remedy (
    run TEXT PRIMARY KEY, since TEXT NOT NULL, outcome TEXT NOT NULL DEFAULT '', successor TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE IF NOT EXISTS waiting (sequence INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;
"""
_RUN = "run, method, epsilon, delta, joined, adapter, recipients"


@dataclass(frozen=True)
class RunReach:
    """One run of this site. ``epsilon``, ``delta``: its certificate, as decimals. ``joined``: RFC 3339.

    ``adapter``: digest of what came of it, "" while there is nothing. ``recipients``: whom it was released to; empty
    where it was not. ``gone_at``: the first step without the person who was asked about; None where nobody was, or
    where they stayed.
    """

    run: str
    method: str
    epsilon: str
    delta: str
    joined: str
    adapter: str = ""
    recipients: tuple[str, ...] = ()
    gone_at: int | None = None

    @property
    def released(self) -> bool:
        """Whether somebody received the adapter."""
        return bool(self.recipients)


@dataclass(frozen=True)
class Remedy:
    """An adapter that a withdrawal asks something about. ``outcome`` is "" while it is due."""

    run: str
    since: str
    outcome: str
    successor: str


@dataclass(frozen=True)
class Departure:
    """One withdrawal, objection or erasure by the drawn name of its case. ``mark``: whose, as a fingerprint.

    ``until``: what was consented to up to then (aware) counts no more.
    """

    name: str
    mark: bytes
    until: datetime
    reason: Reason


class Reach:
    """The store of one site. ``mark`` turns a pseudonym into its fingerprint (32 bytes).

    Raises ``BadInputError`` REACH_UNUSABLE when the file cannot be read or written; a run must not go on then.
    """

    def __init__(self, connection: sqlite3.Connection, mark: Callable[[str], bytes]) -> None:
        self._connection = connection
        self.mark = mark

    @classmethod
    def open(cls, state: Path, mark: Callable[[str], bytes]) -> Reach:
        """Open or create the store in a site's ``state`` folder (mode 0600). Several processes may hold it."""
        with _usable():
            os.close(os.open(state / NAME, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(
                state / NAME, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            for setting in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
                connection.execute(f"PRAGMA {setting}")
            connection.executescript(SCHEMA)
        return cls(connection, mark)

    def close(self) -> None:
        """Close the file; the store is not used again afterwards."""
        self._connection.close()

    # -- in a run --------------------------------------------------------------------------------------------------

    def admit(self, run: RunReach, subjects: Collection[str]) -> None:
        """Remember whom ``run`` admitted, before it touches any data."""
        marks = sorted(map(self.mark, subjects))  # in the order of the table: a million rows take seconds, not minutes
        with self._writing() as db:
            db.execute(
                f"INSERT INTO run ({_RUN}) VALUES (?, ?, ?, ?, ?, '', '')",  # noqa: S608  a constant
                (run.run, run.method, run.epsilon, run.delta, run.joined),
            )
            db.executemany("INSERT INTO reached VALUES (?, ?, NULL)", ((mark, run.run) for mark in marks))

    def stay(self, run: str, step: int, admitted: Sequence[str], eligible: Collection[str]) -> tuple[str, ...]:
        """Who of ``eligible`` takes part in ``step``; durable for those who do not. Who left before stays away.

        Subjects may leave during a run, never enter: somebody who consents again waits for the next run.
        """
        here = set(eligible)
        away = {self.mark(subject): subject for subject in admitted if subject not in here}
        with self._writing() as db:
            query = "SELECT subject FROM reached WHERE run = ? AND gone_at IS NOT NULL"
            gone = {bytes(mark) for (mark,) in db.execute(query, (run,))}
            db.executemany(
                "UPDATE reached SET gone_at = ? WHERE subject = ? AND run = ?",
                [(step, mark, run) for mark in away.keys() - gone],
            )
        if gone <= away.keys():
            return tuple(eligible)
        return tuple(subject for subject in eligible if self.mark(subject) not in gone)

    def left(self, run: str) -> dict[int, int]:
        """How many people left ``run`` at which step: from that step on none of their records was touched."""
        query = "SELECT gone_at, COUNT(*) FROM reached WHERE run = ? AND gone_at IS NOT NULL GROUP BY 1 ORDER BY 1"
        with _usable():
            return {int(step): int(count) for step, count in self._connection.execute(query, (run,))}

    def gone(self, run: str) -> frozenset[bytes]:
        """Fingerprints of those who left ``run``: for a process that goes on with it."""
        query = "SELECT subject FROM reached WHERE run = ? AND gone_at IS NOT NULL"
        with _usable():
            return frozenset(bytes(mark) for (mark,) in self._connection.execute(query, (run,)))

    def finish(self, run: str, adapter: str) -> None:
        """The digest of the adapter that came of ``run``."""
        with self._writing() as db:
            db.execute("UPDATE run SET adapter = ? WHERE run = ?", (adapter, run))

    def released(self, run: str, recipients: Sequence[str]) -> None:
        """Whom the adapter of ``run`` was released to."""
        with self._writing() as db:
            db.execute("UPDATE run SET recipients = ? WHERE run = ?", (json.dumps(sorted(recipients)), run))

    # -- a person --------------------------------------------------------------------------------------------------

    def of(self, subject: str) -> tuple[RunReach, ...]:
        """Every run that the subject's data may have reached, in the order of joining.

        A run whose first step came after they had gone is none of them.
        """
        query = (
            f"SELECT {_RUN}, gone_at FROM reached JOIN run USING (run) "  # noqa: S608  a constant
            "WHERE subject = ? AND (gone_at IS NULL OR gone_at > 1) ORDER BY joined, run"
        )
        with _usable():
            return tuple(_run(row) for row in self._connection.execute(query, (self.mark(subject),)))

    def run(self, run: str) -> RunReach | None:
        """One run, if this site joined it."""
        with _usable():
            query = f"SELECT {_RUN}, NULL FROM run WHERE run = ?"  # noqa: S608  a constant
            row = self._connection.execute(query, (run,)).fetchone()
        return None if row is None else _run(row)

    def open_case(self, paper: str, subject: str, case: Case, *, until: datetime) -> None:
        """A paper about the subject, by its file's name, the key of what the log says of it, and what is over by it."""
        mark = self.mark(subject)
        with self._writing() as db:
            db.execute("INSERT INTO case_file VALUES (?, ?, ?)", (paper, mark, case.key))
            db.execute(
                "INSERT INTO departure VALUES (?, ?, ?, ?)", (case.name, mark, write_time(until), str(case.reason))
            )

    def departures(self) -> tuple[Departure, ...]:
        """Everybody who ever left, erased or not."""
        with _usable():
            rows = self._connection.execute("SELECT name, subject, until, reason FROM departure").fetchall()
        return tuple(Departure(name, bytes(mark), read_time(until), Reason(why)) for name, mark, until, why in rows)

    def cases(self, subject: str) -> tuple[str, ...]:
        """The papers about the subject."""
        query = "SELECT name FROM case_file WHERE subject = ? ORDER BY name"
        with _usable():
            return tuple(name for (name,) in self._connection.execute(query, (self.mark(subject),)))

    def case_keys(self, subject: str) -> tuple[tuple[str, bytes], ...]:
        """Each case of the subject by its drawn name, and the key of what the log says of it."""
        query = "SELECT name, key FROM case_file WHERE subject = ? ORDER BY name"
        with _usable():
            rows = self._connection.execute(query, (self.mark(subject),)).fetchall()
        return tuple((Path(name).stem, bytes(key)) for name, key in rows)

    def erase(self, subject: str) -> int:
        """Forget a person: rows, cases and the keys of what the log says of them; how many rows went.

        Raises:
            Refused: ERASURE_UNFINISHED when another process still reads the old journal.
        """
        mark = self.mark(subject)
        with self._writing() as db:
            erased = db.execute("DELETE FROM reached WHERE subject = ?", (mark,)).rowcount
            erased += db.execute("DELETE FROM case_file WHERE subject = ?", (mark,)).rowcount
        with _usable():
            (busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise Refused(
                "ERASURE_UNFINISHED",
                "the rows are erased, but an old journal still holds them",
                hint="end other processes that work in this site's state, and erase again",
            )
        return int(erased)

    # -- remedies --------------------------------------------------------------------------------------------------

    def owe(self, run: str, at: str) -> bool:
        """``at`` (RFC 3339) a withdrawal asks for a remedy of ``run``.

        False where one is due already: each is noted once, so that nobody counts people.
        """
        with self._writing() as db:
            due = db.execute("SELECT 1 FROM remedy WHERE run = ? AND outcome = ''", (run,)).fetchone()
            if due is None:
                db.execute("INSERT OR REPLACE INTO remedy VALUES (?, ?, '', '')", (run, at))
        return due is None

    def settle(self, run: str, outcome: str, successor: str = "") -> None:
        """A remedy was carried out; ``successor`` is the adapter that took the old one's place."""
        with self._writing() as db:
            db.execute("UPDATE remedy SET outcome = ?, successor = ? WHERE run = ?", (outcome, successor, run))

    def remedies(self) -> tuple[Remedy, ...]:
        """All that were ever due, the oldest first."""
        with _usable():
            rows = self._connection.execute("SELECT run, since, outcome, successor FROM remedy ORDER BY since, run")
            return tuple(Remedy(*row) for row in rows)

    # -- the log ---------------------------------------------------------------------------------------------------

    def leave_entries(self, entries: Sequence[Entry]) -> None:
        """Keep entries for the log, which one process at a time may write; they name nobody."""
        with self._writing() as db:
            db.executemany("INSERT INTO waiting (entry) VALUES (?)", [(entry.to_bytes(),) for entry in entries])

    def take_entries(self, append: Callable[[Entry], object]) -> int:
        """Hand waiting entries to the log, in order; an entry leaves when it is durable there."""
        with _usable():
            rows = self._connection.execute("SELECT sequence, entry FROM waiting ORDER BY sequence").fetchall()
        for sequence, body in rows:
            append(Entry.from_bytes(bytes(body)))
            with self._writing() as db:
                db.execute("DELETE FROM waiting WHERE sequence = ?", (sequence,))
        return len(rows)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with _usable():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def _run(row: tuple[str, str, str, str, str, str, str, int | None]) -> RunReach:
    run, method, epsilon, delta, joined, adapter, recipients, gone_at = row
    named = tuple(json.loads(recipients)) if recipients else ()
    return RunReach(run, method, epsilon, delta, joined, adapter, named, gone_at)


@contextmanager
def _usable() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise BadInputError(
            "REACH_UNUSABLE",
            "the record of which runs a person was in can be neither read nor written",
            hint="check the site's state folder and its disk; without it a withdrawal could not say what it reaches",
        ) from error
