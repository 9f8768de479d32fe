"""The list of stops: somebody's fresh, signed word on which stop orders there are, so that silence is noticed.

For: telling how old the newest list is, and whether it names an order that does not lie here. Not for: the orders
themselves (``stop``), how old a list may be (a policy's clause), or when to write a new one (the coordinator).

Order of calls: ``stop_list_statement(roster, orders, known=..., issued=...)`` is signed by the coordinator or a person;
a site calls ``list_state(roster, data, orders, now=...)``; whoever signs the next list, ``check_may_follow`` as well;
a site that was brought one, ``takes_place``.

Without a list, whoever withholds a stop order is not noticed. With one, a list must be signed anew all the time, and
whoever signs a list that leaves an order out has signed the evidence against itself. A site's own key never counts
here: a site cannot vouch to itself that nothing is being kept from it.

Source of the model: The Update Framework, the timestamp role (freeze attack).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..errors import BadDocumentError, BadSignatureError, Refused
from .envelope import PREDICATES, Statement, Subject, read_envelopes, read_time, verify_envelope, write_time
from .keys import PublicKey
from .roster import PartyKind, Roster
from .stop import LIST, MAX_ORDERS, Orders, order_digests

SECONDS_AN_HOUR = 3600
# Two clocks that are kept differ by less. Without it a site a second behind would never take a list that was signed as
# it was sent, and a run longer than a list may be old would end there.
AHEAD = timedelta(minutes=5)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_FIELDS = {"issued", "orders", "roster"}


@dataclass(frozen=True)
class ListState:
    """How old the newest list is, in hours rounded up, None without one; ``code`` says why the list is itself a stop.

    ``code`` is empty, or STOP_LIST_UNREADABLE, STOP_ORDER_MISSING (a list names an order that is not here), or
    ROSTER_OUT_OF_DATE (a list was signed under a later roster). ``issued`` is the newest list's time.
    """

    age_hours: int | None
    code: str = ""
    issued: datetime | None = None
    orders: frozenset[str] = frozenset()

    @property
    def stopped(self) -> bool:
        """Whether the list says, or hides, that everything stands still."""
        return bool(self.code)


NO_LIST = ListState(None)


@dataclass(frozen=True)
class _List:
    issued: datetime
    orders: frozenset[str]
    roster_version: int
    roster_fingerprint: str


def stop_list_statement(roster: Roster, orders: Orders, *, known: Set[str], issued: datetime) -> Statement:
    """What is signed: every order that lies in ``orders``, and those of ``known`` (digests that a list named before).

    An order that a list has named is never left out again, for then it could vanish between two lists.
    """
    return Statement(
        (Subject("roster.yaml", roster.fingerprint),),
        PREDICATES["stop-list"],
        {
            "issued": write_time(issued),
            "orders": sorted(order_digests(orders) | known),
            "roster": {"version": roster.version, "fingerprint": roster.fingerprint},
        },
    )


def list_state(roster: Roster, data: bytes | None, orders: Orders, *, now: datetime) -> ListState:
    """What the file of lists says; ``data`` is None where no file lies. Nothing is raised: doubt is a stop."""
    if data is None:
        return NO_LIST
    # 1. The file can be read, and every list in it that somebody known has signed.
    try:
        lists = _signed_lists(roster, data)
    except (BadDocumentError, BadSignatureError):
        return ListState(None, "STOP_LIST_UNREADABLE")
    named = frozenset(order for one in lists for order in one.orders)
    # 2. Nobody works under a later roster than ours: a coordinator could go on serving the old one.
    if any(one.roster_version > roster.version for one in lists):
        return ListState(None, "ROSTER_OUT_OF_DATE", orders=named)
    # 3. The newest that is not dated in the future; one under another roster of our version is none.
    past = [one for one in lists if one.issued <= now + AHEAD and _under(one, roster)]
    newest = max(past, key=lambda one: one.issued, default=None)
    age = max(0, math.ceil((now - newest.issued).total_seconds() / SECONDS_AN_HOUR)) if newest else None
    issued = newest.issued if newest else None
    # 4. Every order that any of them names lies here: what was known to exist must not vanish.
    code = "STOP_ORDER_MISSING" if named - order_digests(orders) else ""
    return ListState(age, code, issued, named)


def check_may_follow(state: ListState) -> None:
    """Return if a new list may take the place of the one in this state: it must not cover up what that one says.

    Raises:
        Refused: ROSTER_OUT_OF_DATE, STOP_LIST_UNREADABLE.
    """
    if state.code == "ROSTER_OUT_OF_DATE":
        raise Refused(
            state.code, "a list of stops was signed under a later roster than the one here; none is signed under this",
            "fetch the latest roster with its signatures from your partners",
        )
    if state.code == "STOP_LIST_UNREADABLE":
        raise Refused(
            state.code, f"stops/{LIST} cannot be read: which orders it named is unknown, and no other takes its place",
            "fetch it again from your partners; remove it only when all that it may have named lies in stops",
        )


def takes_place(roster: Roster, offered: bytes, lying: ListState, *, now: datetime) -> bool:
    """Whether a list that was brought takes the place of the one in state ``lying``: it is in force, and newer.

    An older one is none of anybody's business: a message that was under way for long brings it in all honesty.

    Raises:
        Refused: STOP_LIST_FORGED, STOP_ORDER_WITHHELD (it is newer, and leaves out what was named before),
            STOP_LIST_AHEAD (there is none but one of the future), and the codes of ``check_may_follow``.
    """
    # 1. A list that somebody known has signed, under no later roster than ours.
    try:
        lists = _signed_lists(roster, offered)
    except (BadDocumentError, BadSignatureError):
        lists = []
    if not lists:
        raise Refused("STOP_LIST_FORGED", "a message brings a list of stops that nobody of the roster has signed", "")
    check_may_follow(list_state(roster, offered, (), now=now))
    # 2. In force now, and newer than what lies here.
    issued = max((one.issued for one in lists if one.issued <= now + AHEAD and _under(one, roster)), default=None)
    if issued is None and lying.issued is None and any(_under(one, roster) for one in lists):
        raise Refused(
            "STOP_LIST_AHEAD", "the list of stops that a message brings was signed in the future, as this clock has it",
            "compare this machine's clock with the coordinator's, and set the wrong one right",
        )
    if issued is None or (lying.issued is not None and issued <= lying.issued):
        return False
    # 3. It covers nothing up.
    check_may_follow(lying)
    if lying.orders - {order for one in lists for order in one.orders}:
        raise Refused(
            "STOP_ORDER_WITHHELD", "a new list of stops leaves out an order that an earlier one named",
            "whoever signed both has signed the evidence of it; show both to the others",
        )
    return True


def _signed_lists(roster: Roster, data: bytes) -> list[_List]:
    keys = _signers(roster)
    lists = []
    for envelope in read_envelopes(data, name=LIST):
        try:
            statement, _ = verify_envelope(envelope, keys)
        except BadSignatureError as error:
            if error.code == "SIGNATURE_MISSING":
                continue  # of somebody whom this roster does not list: no list, and no evidence of anything
            raise
        lists.append(_read(statement))
    return lists


def _signers(roster: Roster) -> Mapping[str, PublicKey]:
    """The keys that count: the coordinator's and people's, never a site's."""
    coordinator = [party.key for party in roster.parties if party.kind is PartyKind.COORDINATOR]
    return {key.key_id: key for key in (*coordinator, *(key for person in roster.people for key in person.keys))}


def _under(one: _List, roster: Roster) -> bool:
    return one.roster_version < roster.version or one.roster_fingerprint == roster.fingerprint


def _read(statement: Statement) -> _List:
    predicate: Mapping[str, Any] = statement.predicate
    under, orders = predicate.get("roster"), predicate.get("orders")
    if statement.predicate_type != PREDICATES["stop-list"] or set(predicate) != _FIELDS:
        raise _malformed()
    if not isinstance(under, dict) or set(under) != {"version", "fingerprint"} or type(under["version"]) is not int:
        raise _malformed()
    if not isinstance(orders, list) or len(orders) > MAX_ORDERS:
        raise _malformed()
    if not all(isinstance(order, str) and _DIGEST.fullmatch(order) for order in orders):
        raise _malformed()
    issued = read_time(predicate["issued"])
    return _List(issued, frozenset(orders), under["version"], str(under["fingerprint"]))


def _malformed() -> BadSignatureError:
    return BadSignatureError("STOP_LIST_MALFORMED", "a list of stops does not have its form", "have it signed anew")
