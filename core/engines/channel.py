"""The channel between coordinator and sites.

The coordinator sees ``sites / post / poll``; a site implements ``handle``. Messages are signed above this line: an
engine is transport, not trust. A site's answer must be ``Sealed``; a channel refuses to carry anything else.

Not here: waiting, retrying and deciding what a missing reply means (coordinator/), and any key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..errors import ProtocolError
from ..gate.sealed import Sealed


@dataclass(frozen=True)
class Reply:
    """What came back for one post. ``data`` is the wire form of one ``Sealed``; None when the site did not deliver.

    ``site`` is whom the engine asked; the signature inside ``data`` decides who answered.
    """

    ticket: int
    site: str
    data: bytes | None


class Channel(Protocol):
    """What the coordinator may do. Implementations: ``embedded.py``, and ``relayed.py`` (FLARE or another relay)."""

    def sites(self) -> tuple[str, ...]:
        """Ids of the sites that can be reached now. What was posted to another waits for it in the engine."""

    def post(self, site: str, message: bytes, ttl: float) -> int:
        """Send one signed message; returns a ticket. ``ttl`` in seconds: later answers are lost."""

    def poll(self) -> tuple[Reply, ...]:
        """Replies that have arrived since the last poll; each ticket is answered at most once.

        At most one of them carries data, however many have arrived: what a poll returns is all that the coordinator
        holds of replies. An engine that receives from a network bounds what it takes in before it has all of it.
        """


class SiteEnd(Protocol):
    """What a site implements: one message in, one ``Sealed`` out."""

    def handle(self, message: bytes) -> Sealed:
        """Answer one message. Raises a coded error when the site cannot answer; the engine then reports no data."""


def carry(answer: object) -> bytes:
    """The bytes of ``answer`` if, and only if, it is a ``Sealed``; every engine calls this at the site's edge."""
    if type(answer) is not Sealed:
        raise ProtocolError("NOT_SEALED", f"an engine carries Sealed and nothing else, not {type(answer).__name__}")
    return answer.to_bytes()
