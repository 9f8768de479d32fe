"""Emergency stop: one person of the roster stops everything; starting again needs the roster's thresholds.

For: telling from the orders that lie in a site's stop folder whether it may go on. Not for: looking often
enough (the caller asks before each step and each opening), stopping a process that is already running, or whether
an order is being withheld (``stop_list``).

Order of calls: ``read_orders(folder)`` -> ``stop_state(roster, orders, subjects=..., now=...)``.

A stop names what it stops by digest: a study, or the roster for all studies; and by its scope, the study's id or
``*``, so that an amended study or the next roster does not slip out from under it. A restart is an approval of that
very stop order, issued after it, by the thresholds of legal, of it and of every role that the site's own policy
names; so an old restart cannot be replayed against a new stop, and at equal times the stop wins. A stop by somebody who
acts for sites is lifted only if somebody who acts for one of them signs too: no company lifts another's stop. A stop
never expires and holds under an expired roster. A file that cannot be read, or that nobody known has signed, is a stop:
it may come from someone whom a newer roster lists.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..canonical import digest_bytes
from ..errors import BadDocumentError, BadSignatureError
from .approvals import Approved, approval_statement, approvals
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
from .roster import REQUIRED_ROLES, Person, Roster

STOP = "stop"
EVERYTHING = "*"   # the scope of a stop for all studies; no study can have this id
LIST = "list.dsse.json"   # the list of stops lies among the orders (stop_list); everything else there is one
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
class Stop:
    """One verified order: its file, its own digest, what it stops, and who ordered it in which role, when, why.

    ``sites`` are the groups of sites of which one each must sign the restart: those for which its people act.
    """

    file: str
    order: str
    digests: frozenset[str]
    scope: str
    role: str
    person: str
    reason: str
    issued: datetime
    sites: tuple[frozenset[str], ...] = ()

    def affects(self, subjects: Set[str], study: str) -> bool:
        """Whether it stops what these digests name, or the study of this id."""
        return bool(self.digests & subjects) or self.scope == EVERYTHING or bool(study and self.scope == study)


@dataclass(frozen=True)
class Lacking:
    """What a restart lacks: signatures in ``roles``, and for each group in ``sites`` of somebody acting for one."""

    roles: tuple[str, ...]
    sites: tuple[frozenset[str], ...]

    def __bool__(self) -> bool:
        return bool(self.roles or self.sites)


def stop_statement(
    *, role: str, subjects: Sequence[Subject], reason: str, issued: datetime, scope: str = "", person: str = ""
) -> Statement:
    """What a person signs to stop ``subjects`` (a study file, or the roster for everything).

    ``person`` is that person's pseudonym: were it only in the signature, somebody of another company could sign these
    very words instead, and lift them. ``scope`` is the study's id or ``EVERYTHING``; empty where the digests alone say
    what is meant.

    Raises:
        BadSignatureError: STOP_MALFORMED (a reason that is not one of the codes: free text reaches logs).
    """
    if reason not in REASONS:
        raise BadSignatureError("STOP_MALFORMED", "a stop's reason is not a known code", "use one of REASONS")
    said = {"decision": STOP, "role": role, "reason": reason, "issued": write_time(issued)}
    more = {name: value for name, value in (("scope", scope), ("person", person)) if value}
    return Statement(tuple(subjects), PREDICATES["stop"], said | more)


def restart_statement(roster: Roster, order: str, *, role: str, issued: datetime, expires: datetime) -> Statement:
    """What a person signs to lift exactly the stop order of this digest (``Stop.order``)."""
    return approval_statement(
        roster,
        role=role,
        subjects=(Subject("stop-order", order),),
        predicate_type=PREDICATES["stop"],
        issued=issued,
        expires=expires,
    )


def read_orders(folder: Path) -> Orders:
    """The files of a stop folder, by name; a folder that does not exist holds no order."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.name != LIST)
    except FileNotFoundError:
        return []
    except OSError:
        return [(folder.name, None)]
    if len(names) > MAX_ORDERS:
        return [(folder.name, None)]
    return [(name, _read(folder / name)) for name in names]


def read_list(folder: Path) -> bytes | None:
    """The file of the lists of stops beside the orders; None where there is none, nothing where it cannot be read."""
    path = folder / LIST
    return (_read(path) or b"") if path.exists() or path.is_symlink() else None


def order_digests(orders: Orders) -> frozenset[str]:
    """The digests of everything in the folder that could be a stop order; whose it is, is not asked."""
    found = set()
    for name, data in orders:
        try:
            envelopes = read_envelopes(data, name=name) if data is not None else ()
        except BadDocumentError:
            continue
        found |= {digest_bytes(envelope.payload) for envelope in envelopes if _says_stop(envelope)}
    return frozenset(found)


def stop_state(
    roster: Roster,
    orders: Orders,
    *,
    subjects: Set[str],
    now: datetime,
    study: str = "",
    restart_by: Set[str] = frozenset(),
) -> StopState:
    """Whether any order stops what ``subjects`` name; the roster's fingerprint is always among them.

    ``study`` is the study's id, which an order may name too; ``restart_by`` are the roles that the site's own policy
    wants, beside legal and it, before a stop is lifted.
    """
    affected = subjects | {roster.fingerprint}
    # 1. Every file can be read, and somebody known signed every order in it.
    try:
        stops, others = read_stop_orders(roster, orders)
    except UnusableOrder as unusable:
        return StopState(True, code=unusable.code, file=unusable.file)
    # 2. The newest stop that nobody has lifted.
    required = restart_thresholds(roster, restart_by)
    standing = [
        stop
        for stop in stops
        if stop.affects(affected, study)
        and restart_lacking(roster, stop, restarted(roster, stop, others, now=now), required)
    ]
    if not standing:
        return StopState(False)
    newest = max(standing, key=lambda stop: stop.issued)
    return StopState(True, newest.issued, newest.role, "STOPPED", newest.file)


def restart_thresholds(roster: Roster, restart_by: Set[str]) -> dict[str, int]:
    """Who must sign a restart: legal, it, and those of ``restart_by`` in which the roster lets somebody sign.

    A role without a holder cannot be demanded; that the policy wants it all the same is the policy's own refusal.
    """
    held = {role for person in roster.people if person.keys for role in person.roles}
    more = sorted(role for role in restart_by if role in roster.roles and role in held)
    return {role: roster.roles.get(role, 1) for role in dict.fromkeys((*REQUIRED_ROLES, *more))}


def read_stop_orders(roster: Roster, orders: Orders) -> tuple[list[Stop], list[Envelope]]:
    """The stops among ``orders``, and whatever else known people signed there (restarts).

    Raises:
        UnusableOrder: STOP_UNREADABLE, STOP_UNVERIFIED; the caller takes it for a stop.
    """
    stops: list[Stop] = []
    others: list[Envelope] = []
    for name, data in orders:
        try:
            envelopes = read_envelopes(data, name=name) if data is not None else ()
        except BadDocumentError:
            envelopes = ()
        if not envelopes:
            raise UnusableOrder("STOP_UNREADABLE", name)
        for envelope in envelopes:
            try:
                stop = _as_stop(roster, envelope, name)
            except BadSignatureError:
                raise UnusableOrder("STOP_UNVERIFIED", name) from None
            if stop is None:
                others.append(envelope)
            else:
                stops.append(stop)
    return stops, others


def verified_stops(roster: Roster, orders: Orders) -> list[Stop]:
    """The stops that somebody known signed, whatever else lies among ``orders``."""
    found: list[Stop] = []
    for order in orders:
        with contextlib.suppress(UnusableOrder):
            found += read_stop_orders(roster, [order])[0]
    return found


class UnusableOrder(Exception):  # noqa: N818  a reason to stand still, not a fault
    """A file of the stop folder that cannot be read or that nobody known signed; ``code`` says which."""

    def __init__(self, code: str, file: str) -> None:
        super().__init__(code)
        self.code = code
        self.file = file


def _says_stop(envelope: Envelope) -> bool:
    try:
        statement = Statement.from_bytes(envelope.payload)
    except BadSignatureError:
        return False
    return statement.predicate_type == PREDICATES["stop"] and statement.predicate.get("decision") == STOP


def _as_stop(roster: Roster, envelope: Envelope, name: str) -> Stop | None:
    """The stop order in an envelope; nothing where a known person signed something else (a restart)."""
    # Somebody who has left is no stranger: their stop holds, and their restart is not taken for an unknown order.
    known = (*reversed(roster.former), *roster.people)  # the latest version that lists somebody says who they are
    owner = {key.key_id: person for person in known for key in person.keys}
    keys = {key.key_id: key for person in owner.values() for key in person.keys}
    statement, signers = verify_envelope(envelope, keys)
    predicate = statement.predicate
    if statement.predicate_type != PREDICATES["stop"] or predicate.get("decision") != STOP:
        return None
    people = [owner[key_id] for key_id in sorted(signers)]
    named = {person.pseudonym: person for person in known}.get(str(predicate.get("person", "")))
    held = {role for person in people for role in person.roles}
    # A role that the signer does not hold is not shown, but the stop counts: first stop, then argue.
    role = str(predicate.get("role")) if predicate.get("role") in held else "unknown"
    reason = str(predicate.get("reason")) if predicate.get("reason") in REASONS else "OTHER"
    return Stop(
        file=name,
        order=digest_bytes(envelope.payload),
        digests=statement.digests,
        scope=str(predicate.get("scope", "")),
        role=role,
        person=people[0].pseudonym,
        reason=reason,
        issued=read_time(predicate.get("issued")),
        sites=_groups(roster, [*people, named] if named else people),
    )


def _groups(roster: Roster, people: Sequence[Person]) -> tuple[frozenset[str], ...]:
    """The sites, still in the roster, that each of these people acts for; those who act for none ask for nobody."""
    listed = {site.id for site in roster.sites}
    groups = {frozenset(listed.intersection(person.acts_for)) for person in people}
    return tuple(sorted((group for group in groups if group), key=sorted))


def restart_lacking(roster: Roster, stop: Stop, counted: Approved, required: Mapping[str, int]) -> Lacking:
    """What is missing from the restart of exactly this stop that ``counted`` people signed (``restarted``)."""
    signed = {pseudonym for pseudonym, _ in counted.people}
    acting = {site for person in roster.people if person.pseudonym in signed for site in person.acts_for}
    return Lacking(counted.missing(required), tuple(sites for sites in stop.sites if not sites & acting))


def restarted(roster: Roster, stop: Stop, envelopes: Sequence[Envelope], *, now: datetime) -> Approved:
    """Who has signed the restart of exactly this stop, after it; counted as approvals are.

    Nobody could sign after a stop whose clock was ahead, or that was dated so that nobody ever can: until its time has
    come, its digest alone binds the restart.
    """
    return approvals(
        roster,
        envelopes,
        subjects=frozenset({stop.order}),
        predicate_type=PREDICATES["stop"],
        now=now,
        requester=None,
        after=stop.issued if stop.issued <= now else None,
    )


def _read(path: Path) -> bytes | None:
    try:
        # a pipe in the place of an order would keep whoever opens it waiting for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(MAX_ORDER_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return data if len(data) <= MAX_ORDER_BYTES else None
