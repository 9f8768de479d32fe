"""Channels around the embedded channel: record, drop, kill, tamper; and one that replays what was recorded.

Faults enter at the engine's own interface.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sekisho.core.engines.channel import Reply
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.messages import SIGNATURE_BYTES, Body, SignedMessage


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


@dataclass
class Losing(Recording):
    """``loses(site, kind, step)`` says which replies get lost on their way; ``lost`` are those, as they were sent."""

    loses: Callable[[str, str, int], bool] = lambda site, kind, step: False
    lost: list[tuple[str, bytes]] = field(default_factory=list)

    def poll(self) -> tuple[Reply, ...]:
        return tuple(self._on_its_way(reply) for reply in self.inner.poll())

    def _on_its_way(self, reply: Reply) -> Reply:
        if reply.data is None:
            return reply
        body = body_of(reply.data)
        if self.loses(reply.site, body.kind, getattr(body, "step", 0)):
            self.lost.append((reply.site, reply.data))
            return Reply(reply.ticket, reply.site, None)
        self.received.append((reply.site, reply.data))
        return reply


@dataclass
class Replaying:
    """No sites at all: what ``answers`` holds for (site, kind asked, step) is answered, one reply a poll.

    Several answers to one question are given in turn, and the last for good; none is a site that does not deliver.
    ``order`` says in which order sites answer what they were asked together. Each reply is a copy of its own, as one
    from a network is.
    """

    answers: Mapping[tuple[str, str, int], Sequence[bytes | None]]
    order: Callable[[str], object] = lambda site: site
    heard: Callable[[str], None] = lambda kind: None
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    waiting: list[tuple[int, tuple[str, str, int]]] = field(default_factory=list)

    def sites(self) -> tuple[str, ...]:
        return tuple(sorted({site for site, _, _ in self.answers}))

    def post(self, site: str, message: bytes, ttl: float) -> int:
        body = body_of(message)
        self.heard(body.kind)
        question = (site, body.kind, getattr(body, "step", 0))
        self.asked.append(question)
        self.waiting.append((len(self.asked), question))
        return len(self.asked)

    def poll(self) -> tuple[Reply, ...]:
        if not self.waiting:
            return ()
        ticket, question = min(self.waiting, key=lambda waits: (self.order(waits[1][0]), waits[0]))
        self.waiting.remove((ticket, question))
        known = self.answers.get(question, (None,))
        before = self.asked[: ticket - 1].count(question)
        answer = known[min(before, len(known) - 1)]
        return (Reply(ticket, question[0], None if answer is None else bytes(memoryview(answer))),)


def body_of(message: bytes) -> Body:
    """What a message says, of its header alone: no part is read or copied."""
    header = 8 + int.from_bytes(message[4:8], "little") + SIGNATURE_BYTES
    return SignedMessage.from_bytes(message[:header], detached=True, once=True).body
