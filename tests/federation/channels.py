"""Channels around the embedded channel: record, drop, kill, tamper. Faults enter at the engine's own interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sekisho.core.engines.channel import Reply
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.messages import SignedMessage


@dataclass
class Recording:
    """Passes everything and keeps it: ``posted`` is what the coordinator sent, ``received`` what it got."""

    inner: EmbeddedChannel
    posted: list[tuple[str, bytes]] = field(default_factory=list)
    received: list[tuple[str, bytes]] = field(default_factory=list)

    def sites(self) -> tuple[str, ...]:
        return self.inner.sites()

    def post(self, site: str, message: bytes, ttl: float) -> int:
        self.posted.append((site, message))
        return self.inner.post(site, message, ttl)

    def poll(self) -> tuple[Reply, ...]:
        replies = self.inner.poll()
        self.received.extend((reply.site, reply.data) for reply in replies if reply.data is not None)
        return replies

    def kinds_received(self) -> list[str]:
        """Kinds of all messages that left sites, in order."""
        return [SignedMessage.from_bytes(data).body.kind for _, data in self.received]


@dataclass
class Dying(Recording):
    """``dies(site, kind, step)`` says at which message a site is gone: it never answers again.

    ``after`` kills it after its own work instead of before, as a machine does that loses its network.
    """

    dies: Callable[[str, str, int], bool] = lambda site, kind, step: False
    after: bool = False
    dead: set[str] = field(default_factory=set)
    lost: dict[int, str] = field(default_factory=dict)
    tickets: int = 1_000_000

    def post(self, site: str, message: bytes, ttl: float) -> int:
        body = SignedMessage.from_bytes(message).body
        if site not in self.dead and self.dies(site, body.kind, getattr(body, "step", 0)):
            self.dead.add(site)
            if self.after:
                ticket = super().post(site, message, ttl)
                self.lost[ticket] = site
                return ticket
        if site in self.dead:
            self.posted.append((site, message))
            self.tickets += 1
            self.lost[self.tickets] = site
            return self.tickets
        return super().post(site, message, ttl)

    def poll(self) -> tuple[Reply, ...]:
        answered = {reply.ticket: reply for reply in super().poll()}
        for ticket, site in list(self.lost.items()):
            answered[ticket] = Reply(ticket, site, None)
            del self.lost[ticket]
        return tuple(answered.values())


@dataclass
class Tampering(Recording):
    """``change(site, message)`` may replace what the coordinator sends to a site."""

    change: Callable[[str, SignedMessage, bytes], bytes] = lambda site, message, data: data

    def post(self, site: str, message: bytes, ttl: float) -> int:
        return super().post(site, self.change(site, SignedMessage.from_bytes(message), message), ttl)
