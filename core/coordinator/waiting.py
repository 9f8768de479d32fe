"""Whose answer to one message is waited for, and until when: long for who works, not so long for who is out of reach.

For: one message that was posted to some sites. Not for: what an answer must be (collecting.py), what a missing one
means (coordinator.py), posting again to a site that comes back, which is the engine's (engines/relayed.py).

Order of calls: ``Waiting(...)`` posts; while it is true: ``take`` each reply, ``look`` when none came.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..engines.channel import Channel, Reply

# A local step may take hours on a small machine, and sites in one process answer one after the other. Who waits sees
# whom it is waiting for (status.py), and can stop the run.
ANSWER_SECONDS = 24 * 3600.0
# A process that starts anew is back within a minute and a machine within some; its site goes on where it was. A step
# that is lost stays charged, and waiting costs time alone: so long enough for somebody to be called and to repair it.
AWAY_SECONDS = 3600.0


@dataclass(frozen=True)
class Patience:
    """How long an answer may take, and how long a site may be out of reach before it did not deliver; in seconds."""

    answer_seconds: float = ANSWER_SECONDS
    away_seconds: float = AWAY_SECONDS


PATIENCE = Patience()


class Waiting:
    """True while somebody's answer is still worth waiting for. Raises ``ProtocolError`` for an unknown site."""

    def __init__(self, channel: Channel, patience: Patience, message: bytes, sites: Sequence[str]) -> None:
        self._channel = channel
        self._away_seconds = patience.away_seconds
        self._deadline = time.monotonic() + patience.answer_seconds
        self._away: dict[str, float] = {}  # since when, of those that cannot be reached now
        self._tickets = {channel.post(site, message, patience.answer_seconds): site for site in sites}

    def __bool__(self) -> bool:
        return bool(self._tickets) and time.monotonic() < self._deadline

    def take(self, reply: Reply) -> str | None:
        """Whose reply this is; None where nobody waits for it any more."""
        return self._tickets.pop(reply.ticket, None)

    def look(self) -> None:
        """Wait no longer for who has been out of reach for too long without a break."""
        now, reached = time.monotonic(), self._channel.sites()
        for ticket, site in list(self._tickets.items()):
            if site in reached:
                self._away.pop(site, None)
            elif now - self._away.setdefault(site, now) >= self._away_seconds:
                del self._tickets[ticket]
