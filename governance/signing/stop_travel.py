"""Stops between machines: what the coordinator's messages bring of them, and what of that a site may lay down.

For: a site whose folder nobody else can write to. Not for: reading or writing folders, deciding whether to stand still
(``stop``, ``stop_list``), or how old a list may be (a policy's clause).

Order of calls: ``travelling`` where the orders lie; ``taken`` at the site, with what lies there; then it writes.

Nothing that is brought can take an order away, change one, or give it another name: orders are only added, under names
that follow from their content, each signed by somebody whom the roster knows. A list takes the place of the one that
lies there only if it is newer and names every order that the earlier one named. So whoever carries them can keep back
what is new, which the age of the list shows, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ..canonical import digest_bytes
from ..errors import BadDocumentError, BadSignatureError, Refused
from .envelope import PREDICATES, Envelope, read_envelopes, verified_keys, verify_envelope, write_envelopes
from .keys import PublicKey
from .roster import Roster
from .stop import LIST, MAX_ORDER_BYTES, MAX_ORDERS, Orders, order_digests
from .stop_list import list_state, takes_place

PREFIX = "stops:"
LIST_PART = f"{PREFIX}list"
MAX_TRAVELLING = 2 * 2**20  # bytes of all orders of a message: two thousand of them as `sekisho` signs them


@dataclass(frozen=True)
class Taken:
    """What a site lays down: new orders by their names, and the list where it takes the place of the one there."""

    orders: Mapping[str, bytes]
    listed: bytes | None = None


def travelling(roster: Roster, listed: bytes | None, orders: Orders) -> dict[str, bytes]:
    """The parts of a message, by name: the list as it lies, and each order that a site would take.

    Stops come before what lifts them. What finds no room is left out: the list names it, and who lacks it stands still.
    """
    keys = _known(roster)
    whole = [data for _, data in orders if data is not None and _is_sound(data, keys)]
    whole.sort(key=lambda data: not order_digests([("", data)]))
    parts, room = {}, MAX_TRAVELLING - len(listed or b"")
    if listed:
        parts[LIST_PART] = listed
    for number, data in enumerate(whole, start=1):
        room -= len(data)
        if room >= 0:
            parts[f"{PREFIX}{number}"] = data
    return parts


def taken(roster: Roster, parts: Mapping[str, bytes], listed: bytes | None, orders: Orders, *, now: datetime) -> Taken:
    """What a site takes of a message's ``parts``, where ``listed`` and ``orders`` lie already.

    Raises:
        Refused: STOPS_TOO_LARGE, STOP_ORDER_FORGED, STOP_LIST_FORGED, STOP_LIST_AHEAD, STOP_ORDER_WITHHELD, and the
            codes of ``check_may_follow``.
    """
    brought = {name: data for name, data in parts.items() if name.startswith(PREFIX) and name != LIST_PART}
    # 1. No more than a site can keep and read.
    if len(brought) > MAX_ORDERS or sum(map(len, parts.values())) > MAX_TRAVELLING:
        raise Refused("STOPS_TOO_LARGE", "a message brings more stop orders than a site takes", "")
    # 2. Each is an order, or what lifts one, signed by people of the roster; only what they signed is kept.
    fresh = _fresh_orders(roster, brought, orders)
    if len(orders) + len(fresh) > MAX_ORDERS:
        raise Refused("STOPS_TOO_LARGE", "there is no room for more stop orders here", "move those of ended studies")
    # 3. The list is somebody's word, newer, and leaves out nothing that it named before.
    offered = parts.get(LIST_PART)
    if offered is None or offered == listed:
        return Taken(fresh)
    lying = list_state(roster, listed, orders, now=now)
    return Taken(fresh, offered if takes_place(roster, offered, lying, now=now) else None)


def _fresh_orders(roster: Roster, brought: Mapping[str, bytes], orders: Orders) -> dict[str, bytes]:
    keys, here = _known(roster), _signed(orders)
    found = {}
    for data in brought.values():
        try:
            envelopes = [_own_form(envelope, keys) for envelope in read_envelopes(data, name=LIST)]
        except (BadDocumentError, BadSignatureError):
            envelopes = []
        if not envelopes or len(data) > MAX_ORDER_BYTES:
            raise Refused("STOP_ORDER_FORGED", "a message brings a stop order that nobody of the roster has signed", "")
        new = [one for one in envelopes if any((one.payload, signed.value) not in here for signed in one.signatures)]
        if new:
            content = write_envelopes(new)
            # a name that nobody could choose; of another order there it is none
            found[f"brought.{digest_bytes(content).removeprefix('sha256:')}.dsse.json"] = content
    return found


def _own_form(envelope: Envelope, keys: Mapping[str, PublicKey]) -> Envelope:
    """With the signatures of known people alone, so that nobody else can make a second order of one."""
    statement, _ = verify_envelope(envelope, keys)
    if statement.predicate_type != PREDICATES["stop"]:
        raise BadSignatureError("STOP_MALFORMED", "this is no stop order", "")
    signed = [
        one for one in envelope.signatures
        if verified_keys(Envelope(envelope.payload_type, envelope.payload, (one,)), keys.values())
    ]  # fmt: skip
    return Envelope(envelope.payload_type, envelope.payload, tuple(signed))


def _is_sound(data: bytes, keys: Mapping[str, PublicKey]) -> bool:
    try:
        return all(_own_form(envelope, keys).signatures for envelope in read_envelopes(data, name=LIST))
    except (BadDocumentError, BadSignatureError):
        return False


def _signed(orders: Orders) -> frozenset[tuple[bytes, bytes]]:
    """Every signature that lies here, with what it is of."""
    found = set()
    for name, data in orders:
        try:
            envelopes = read_envelopes(data, name=name) if data is not None else ()
        except BadDocumentError:
            continue
        found |= {(envelope.payload, signed.value) for envelope in envelopes for signed in envelope.signatures}
    return frozenset(found)


def _known(roster: Roster) -> dict[str, PublicKey]:
    """The keys of people who are in the roster, or were: the stop of somebody who has left holds."""
    return {key.key_id: key for person in (*roster.former, *roster.people) for key in person.keys}
