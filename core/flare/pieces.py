"""What a site's relay asks of the server's, and what it is told: bytes, which FLARE carries and does not read.

Sites ask, the server answers: nothing has to reach a site from outside. Messages travel in pieces, each asked for or
handed over until it has arrived: a link that breaks costs one piece, a slow one has no deadline for the whole, and no
limit of FLARE's on one message's size is met.

    request or answer = head, one line of JSON | "\\n" | piece

Order of calls: ``pack`` at one end, ``unpack`` at the other. Nothing here is trusted: whose bytes these are is decided
by the signatures in them, at the two processes that FLARE knows nothing of.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

PIECE_BYTES = 4 * 1024**2  # a quarter of a second at 130 Mbit/s, and some tens of requests for a large sum
LONGEST_HEAD = 16 * 1024  # keys of what a site has in work: a few, 32 characters each

# How long a request waits for something to say, in seconds: an idle site asks so often.
LONG_POLL_SECONDS = 5.0
# And how long an answer may be under way beyond that: a piece over one megabit a second takes 34 seconds.
REPLY_SECONDS = 60.0

KEY = re.compile(r"[0-9a-f]{32}")
ASK = "ask"  # site: is there a message beyond those ``working``? ``open``: its own process can be reached
FETCH = "fetch"  # site: the piece of message ``key`` at ``at``
HAND = "hand"  # site: the piece of the answer to ``key`` at ``at``, of ``length`` bytes; -1: there is no answer
SENT = "sent"  # server: the first piece of message ``key`` of ``length`` bytes; or a later one
NOTHING = "nothing"  # server: nobody has anything to say
TAKEN = "taken"  # server: ``at`` bytes of the answer have arrived
WAIT = "wait"  # server: too much is held already; hand it over later
GONE = "gone"  # server: nobody waits for ``key`` (any more)
SAYS = frozenset({ASK, FETCH, HAND, SENT, NOTHING, TAKEN, WAIT, GONE})


FIELDS = {"says": str, "key": str, "at": int, "length": int, "open": bool, "working": list}


class Malformed(ValueError):  # noqa: N818  what was received is no request of this protocol
    """The other end speaks another language; what it says is dropped."""


@dataclass(frozen=True)
class Head:
    """``says``, and what belongs to it; a closed set of fields, checked when read."""

    says: str
    key: str = ""
    at: int = 0
    length: int = 0
    open: bool = False
    working: tuple[str, ...] = ()


def pack(head: Head, piece: bytes | memoryview = b"") -> bytes:
    """The bytes that FLARE carries."""
    return b"".join((json.dumps(asdict(head)).encode("ascii"), b"\n", piece))


def unpack(data: bytes | memoryview) -> tuple[Head, memoryview]:
    """Head and piece, which is a view. Raises ``Malformed``."""
    whole = memoryview(data)
    end = bytes(whole[:LONGEST_HEAD]).find(b"\n")
    if end < 0 or len(whole) - end - 1 > PIECE_BYTES:
        raise Malformed("no head, or a piece that is too long")
    try:
        fields = json.loads(bytes(whole[:end]))
    except ValueError:
        raise Malformed("the head is not JSON") from None
    return _head(fields), whole[end + 1 :]


def _head(fields: object) -> Head:
    if not isinstance(fields, dict) or {name: type(value) for name, value in fields.items()} != FIELDS:
        raise Malformed("the head has other fields")
    head = Head(**{**fields, "working": tuple(fields["working"])})
    keys = (*head.working, head.key) if head.key else head.working
    if head.says not in SAYS or not all(isinstance(key, str) and KEY.fullmatch(key) for key in keys):
        raise Malformed("the head says something else")
    if head.at < 0 or head.length < -1:
        raise Malformed("the head counts below nothing")
    return head
