"""Emergency stop: one person of the roster stops everything; starting again needs the roster's thresholds.

For: telling from the orders that lie in a site's stop folder whether it may go on. Not for: looking often
enough (the caller asks before each step and each opening), or stopping a process that is already running.

Order of calls: ``read_orders(folder)`` -> ``stop_state(roster, orders, subjects=..., now=...)``.

A stop names what it stops by digest: a study, or the roster for all studies. A restart is an approval of
that very stop order, issued after it, by the thresholds of legal and it; so an old restart cannot be replayed
against a new stop, and at equal times the stop wins. A stop never expires and holds under an expired roster.
A file that cannot be read, or that nobody known has signed, is a stop: it may come from someone whom a newer
roster lists.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..canonical import digest_bytes
from ..errors import BadDocumentError, BadSignatureError
from .approvals import approval_statement, approvals
from .envelope import (
    PREDICATES,
    Envelope,
    Statement,
    Subject,
    read_envelopes,
    read_time,
    verify_envelope,
    write_time,
)
from .roster import REQUIRED_ROLES, Roster

STOP = "stop"
MAX_ORDER_BYTES = 2**20
MAX_ORDERS = 1000
REASONS = frozenset(
    {
        "INCIDENT", "LEGAL_ORDER", "POLICY_CHANGED", "CONSENT_ISSUE", "KEY_COMPROMISED", "QUALITY", "DRILL",
        "OTHER",
    }
)

Orders = Sequence[tuple[str, bytes | None]]
"""File names with their bytes; None for a file that could not be read."""


@dataclass(frozen=True)
class StopState:
    """Whether to stand still, and why: ``code`` is empty, or STOPPED, STOP_UNREADABLE, STOP_UNVERIFIED."""

    stopped: bool
    since: datetime | None = None
    role: str | None = None
    code: str = ""
    file: str = ""


@dataclass(frozen=True)
class _Stop:
    file: str
    order: str
    digests: frozenset[str]
    role: str
    issued: datetime


def stop_statement(*, role: str, subjects: Sequence[Subject], reason: str, issued: datetime) -> Statement:
    """What a person signs to stop ``subjects`` (a study file, or the roster for everything).

    Raises:
        BadSignatureError: STOP_MALFORMED (a reason that is not one of the codes: free text reaches logs).
    """
    if reason not in REASONS:
        raise BadSignatureError("STOP_MALFORMED", "a stop's reason is not a known code", "use one of REASONS")
    return Statement(
        tuple(subjects),
        PREDICATES["stop"],
        {"decision": STOP, "role": role, "reason": reason, "issued": write_time(issued)},
    )


def restart_statement(
    roster: Roster, stop: Envelope, *, role: str, issued: datetime, expires: datetime
) -> Statement:
    """What a person signs to lift exactly this stop order."""
    return approval_statement(
        roster,
        role=role,
        subjects=(Subject("stop-order", digest_bytes(stop.payload)),),
        predicate_type=PREDICATES["stop"],
        issued=issued,
        expires=expires,
    )


def read_orders(folder: Path) -> Orders:
    """The files of a stop folder, by name; a folder that does not exist holds no order."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError:
        return [(folder.name, None)]
    if len(names) > MAX_ORDERS:
        return [(folder.name, None)]
    return [(name, _read(folder / name)) for name in names]


def stop_state(roster: Roster, orders: Orders, *, subjects: Set[str], now: datetime) -> StopState:
    """Whether any order stops what ``subjects`` name; the roster's fingerprint is always among them."""
    affected = subjects | {roster.fingerprint}
    stops: list[_Stop] = []
    others: list[Envelope] = []
    for name, data in orders:
        # 1. Every file can be read.
        try:
            envelopes = read_envelopes(data, name=name) if data is not None else ()
        except BadDocumentError:
            envelopes = ()
        if not envelopes:
            return StopState(True, code="STOP_UNREADABLE", file=name)
        # 2. Somebody known signed every order in it.
        for envelope in envelopes:
            try:
                stop = _as_stop(roster, envelope, name)
            except BadSignatureError:
                return StopState(True, code="STOP_UNVERIFIED", file=name)
            if stop is None:
                others.append(envelope)
            elif stop.digests & affected:
                stops.append(stop)
    # 3. The newest stop that nobody has lifted.
    standing = [stop for stop in stops if not _lifted(roster, stop, others, now)]
    if not standing:
        return StopState(False)
    newest = max(standing, key=lambda stop: stop.issued)
    return StopState(True, newest.issued, newest.role, "STOPPED", newest.file)


def _as_stop(roster: Roster, envelope: Envelope, name: str) -> _Stop | None:
    """The stop order in an envelope; nothing where a known person signed something else (a restart)."""
    keys = {key.key_id: key for person in roster.people for key in person.keys}
    statement, signers = verify_envelope(envelope, keys)
    predicate = statement.predicate
    if statement.predicate_type != PREDICATES["stop"] or predicate.get("decision") != STOP:
        return None
    people = [roster.person_of(key_id) for key_id in sorted(signers)]
    held = {role for person in people if person is not None for role in person.roles}
    # A role that the signer does not hold is not shown, but the stop counts: first stop, then argue.
    role = str(predicate.get("role")) if predicate.get("role") in held else "unknown"
    order = digest_bytes(envelope.payload)
    return _Stop(name, order, statement.digests, role, read_time(predicate.get("issued")))


def _lifted(roster: Roster, stop: _Stop, envelopes: Sequence[Envelope], now: datetime) -> bool:
    restart = approvals(
        roster,
        envelopes,
        subjects=frozenset({stop.order}),
        predicate_type=PREDICATES["stop"],
        now=now,
        requester=None,
        after=stop.issued,
    )
    return restart.reaches({role: roster.roles.get(role, 1) for role in REQUIRED_ROLES})


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ORDER_BYTES + 1)
    except OSError:
        return None
    return data if len(data) <= MAX_ORDER_BYTES else None
