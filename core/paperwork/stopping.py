"""Restarts and the list of stops, as people see and sign them in the ``stops`` folder of a study.

For: ``sekisho legal resume`` and ``stops``. Not for: honouring a stop, which each site does for itself before
every step (site/papers.py), or the rules of what counts (governance/signing/stop.py).

Order of calls: ``open_desk(folder)`` -> ``check_signer``; then ``standing_order`` -> ``sign_restart``, or
``sign_list``. Ordering a stop is in ordering.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.canonical import digest_bytes
from ...governance.errors import GovernanceError
from ...governance.signing.envelope import Envelope, sign_statement, write_envelopes
from ...governance.signing.roster import Person, Roster
from ...governance.signing.signer import Signer
from ...governance.signing.stop import (
    LIST,
    Lacking,
    Orders,
    Stop,
    UnusableOrder,
    read_list,
    read_orders,
    read_stop_orders,
    restart_lacking,
    restart_statement,
    restart_thresholds,
    restarted,
)
from ...governance.signing.stop_list import ListState, check_may_follow, list_state, stop_list_statement
from ..errors import BadInputError, CoreError, Refused
from ..parties import READABLE, write_whole
from ..site.papers import earlier_rosters, read_file, read_policy, read_study, with_former
from ..site.stops import STOPS, restart_roles_of
from ..study import Study
from .paper import ROSTER

SHORT = 16  # hexadecimal digits by which an order is shown and named; its file is called so too


@dataclass(frozen=True)
class Order:
    """A stop order as it stands: who has signed its restart, and whose signatures are missing."""

    stop: Stop
    restarted_by: tuple[tuple[str, str], ...]
    lacking: Lacking

    @property
    def short(self) -> str:
        """The name by which people call it."""
        return short(self.stop.order)


@dataclass(frozen=True)
class Desk:
    """What lies in the folder of stops. ``study`` is None where study.yaml cannot be read.

    ``unusable`` is the code and file of an order that cannot be read or that nobody of the roster signed.
    """

    folder: Path
    roster: Roster
    study: Study | None
    files: Orders
    orders: tuple[Order, ...]
    unusable: tuple[str, str] | None
    listed: ListState

    @property
    def standing(self) -> tuple[Order, ...]:
        """The orders that nobody has lifted."""
        return tuple(order for order in self.orders if order.lacking)


def short(digest: str) -> str:
    """The first digits of a digest."""
    return digest.removeprefix("sha256:")[:SHORT]


def open_desk(study_folder: Path, *, now: datetime) -> Desk:
    """Read orders, restarts and list. Raises only where roster.yaml cannot be read: whose word would it be?"""
    roster = _known_people(study_folder, Roster.parse(read_file(study_folder / ROSTER), ROSTER))
    study = study_here(study_folder)
    folder = study_folder / STOPS
    files = read_orders(folder)
    listed = list_state(roster, read_list(folder), files, now=now)
    try:
        stops, others = read_stop_orders(roster, files)
    except UnusableOrder as unusable:
        return Desk(folder, roster, study, files, (), (unusable.code, unusable.file), listed)
    required = restart_thresholds(roster, _restart_by(study_folder, roster))
    orders = []
    for stop in sorted(stops, key=lambda one: one.issued):
        counted = restarted(roster, stop, others, now=now)
        orders.append(Order(stop, counted.people, restart_lacking(roster, stop, counted, required)))
    return Desk(folder, roster, study, files, tuple(orders), None, listed)


def check_signer(roster: Roster, *, person: str, role: str) -> Person:
    """The person of the roster who may sign in the role; in any, where it is empty. Needs no key.

    Raises:
        Refused: PERSON_UNKNOWN, ROLE_NOT_HELD.
    """
    found = next((one for one in roster.people if one.pseudonym == person), None)
    if found is None:
        raise Refused(
            "PERSON_UNKNOWN",
            f"the roster lists no person '{person[:40]}'",
            f"it lists {', '.join(one.pseudonym for one in roster.people)}",
        )
    if role and role not in found.roles:
        raise role_not_held(person, role, found.roles)
    return found


def role_not_held(person: str, role: str, held: Sequence[str]) -> Refused:
    """The refusal of somebody who signs in a role that is not theirs."""
    return Refused(
        "ROLE_NOT_HELD",
        f"'{person}' does not hold the role '{role[:40]}'",
        f"by the roster '{person}' signs as {', '.join(held) or 'nothing'}",
    )


def check_key(roster: Roster, person: Person, key: Signer) -> None:
    """Return if ``key`` is this person's. Raises ``Refused`` DEMO_KEY_REFUSED, KEY_NOT_IN_ROSTER."""
    if key.demo and not roster.demo:
        raise Refused("DEMO_KEY_REFUSED", "a demo key signs under a demo roster only", "make a key of your own")
    if key.public not in person.keys:
        raise Refused(
            "KEY_NOT_IN_ROSTER",
            f"this key is not one that the roster lists for '{person.pseudonym}'",
            "use the key whose public half the roster holds",
        )


def standing_order(desk: Desk, name: str) -> Order:
    """The order that nobody has lifted and whose digest begins with ``name``; without a name, the only one.

    Raises:
        Refused: STOP_UNREADABLE, STOP_UNVERIFIED (nothing is lifted then), STOP_NONE, STOP_UNNAMED.
    """
    if desk.unusable is not None:
        code, file = desk.unusable
        raise Refused(
            code, f"{STOPS}/{file} cannot be read as an order of somebody in the roster, which is itself a stop",
            "find out whose it is; remove it only when it is known to be nobody's",
        )
    found = [order for order in desk.standing if order.stop.order.removeprefix("sha256:").startswith(name)]
    if not found:
        raise Refused("STOP_NONE", "no standing stop order has this name", "`sekisho legal stops` shows them")
    if len(found) > 1:
        raise Refused(
            "STOP_UNNAMED", f"{len(found)} stop orders are in force",
            f"name one: {', '.join(order.short for order in found)}",
        )
    return found[0]


def sign_restart(desk: Desk, order: Order, *, person: Person, role: str, key: Signer, now: datetime) -> None:
    """Sign, as one of those who must, that this order is lifted; holds until the roster ends.

    Raises:
        Refused: DEMO_KEY_REFUSED, KEY_NOT_IN_ROSTER, ALREADY_SIGNED, RESTART_NOT_COUNTED. BadInputError:
            STOPS_UNWRITABLE.
    """
    check_key(desk.roster, person, key)
    if any(pseudonym == person.pseudonym for pseudonym, _ in order.restarted_by):
        raise Refused("ALREADY_SIGNED", f"'{person.pseudonym}' has signed this restart", "others sign in their roles")
    statement = restart_statement(desk.roster, order.stop.order, role=role, issued=now, expires=desk.roster.expires)
    envelope = sign_statement(statement, [key])
    _, others = read_stop_orders(desk.roster, desk.files)
    counted = restarted(desk.roster, order.stop, [*others, envelope], now=now)
    if (person.pseudonym, role) not in counted.people:
        reasons = sorted({one.code for one in counted.ignored if one.key_id == key.public.key_id})
        raise Refused(
            "RESTART_NOT_COUNTED",
            f"the signature would not count ({', '.join(reasons) or 'unknown'}); nothing was written",
            "a clock that is behind the stop, or an earlier no of the same person, stands in its way",
        )
    put(desk.folder, f"{order.short}.resume", envelope)


def sign_list(desk: Desk, *, person: Person, key: Signer, now: datetime) -> None:
    """Sign a list of the orders that lie here now and of all that a list has named before.

    Raises:
        Refused: DEMO_KEY_REFUSED, KEY_NOT_IN_ROSTER, ROSTER_OUT_OF_DATE, STOP_LIST_UNREADABLE. BadInputError:
            STOPS_UNWRITABLE.
    """
    check_key(desk.roster, person, key)
    check_may_follow(desk.listed)
    statement = stop_list_statement(desk.roster, desk.files, known=desk.listed.orders, issued=now)
    _write(desk.folder, LIST, sign_statement(statement, [key]))


def _known_people(study_folder: Path, roster: Roster) -> Roster:
    try:
        return with_former(roster, earlier_rosters(study_folder, roster))
    except (CoreError, GovernanceError):
        return roster  # a broken earlier version must not stand in the way of a stop


def study_here(study_folder: Path) -> Study | None:
    """The study as written, if it can be read."""
    try:
        return read_study(study_folder)
    except (CoreError, GovernanceError):
        return None


def _restart_by(study_folder: Path, roster: Roster) -> frozenset[str]:
    """What any site's policy demands; one that cannot be read permits nothing anyway."""
    roles: frozenset[str] = frozenset()
    for site in roster.sites:
        try:
            roles |= restart_roles_of(read_policy(study_folder, site.id))
        except (CoreError, GovernanceError):
            continue
    return roles


def put(folder: Path, name: str, envelope: Envelope) -> str:
    """Write what was signed into the folder of stops, under ``name`` and its digest, which is given."""
    digest = digest_bytes(envelope.payload)
    _write(folder, f"{name}.{short(digest)}.dsse.json", envelope)
    return digest


def _write(folder: Path, name: str, envelope: Envelope) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, write_envelopes([envelope]), READABLE, draft_in=folder.parent)
    except OSError as error:
        raise BadInputError(
            "STOPS_UNWRITABLE", f"{STOPS}/{name} cannot be written ({error.strerror}); nothing was signed",
            "free some space and let this user write there; until then, tell every site by telephone",
        ) from None
