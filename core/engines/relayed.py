"""Sites on other machines, by way of a relay: another process of this machine that connects to a Unix socket.

The relay holds nothing that it could lose. Whatever is outstanding stays here, and is posted again, to the byte, when
a relay connects anew: a killed relay, a network that was cut and a job that was started again are one case. A site
answers what it has answered already with the same bytes, so posting again does no harm.

A reply is read from the socket only when ``poll`` asks for one: the relay holds the others. So this process holds one
reply at a time however many sites there are, and one that is too long is never read into memory.

Not here: who the relay is (flare/controller.py; a small one in the tests), what a missing reply means, and any trust in
what comes out of the socket: an answer counts by its signature (coordinator/collecting.py).

Order of calls: ``RelayedChannel(path, sites)`` → ``post`` / ``poll`` / ``sites`` → ``close``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import ProtocolError
from .channel import Reply
from .pipe import Head, Kind, Pipe, PipeServer

# Longer than an answer of 100 million parameters in ciphertext halves (frame.py: about 11 bytes each).
LONGEST_REPLY = 2 * 1024**3
LONGEST_LIST = 16 * 1024  # of sites: 96 ids of 64 characters and a line end each are 6 KiB
ARRIVING_SECONDS = 0.05  # a poll waits so long for a reply whose head has come; one that asks again waits no turn


@dataclass(frozen=True)
class Post:
    """What is outstanding: the very bytes, and until when (monotonic seconds) somebody waits for an answer."""

    site: str
    message: bytes
    deadline: float


class RelayedChannel:
    """``Channel`` over one relay at a time; the newest to connect takes the place of the one before."""

    def __init__(self, path: Path, sites: Iterable[str], *, longest: int = LONGEST_REPLY) -> None:
        """``sites``: who may be posted to. ``longest``: bytes of a reply; a longer one counts as none."""
        self._known = tuple(sorted(sites))
        self._longest = longest
        self._changed = threading.Condition()
        self._outstanding: dict[int, Post] = {}
        self._next_ticket = 1
        self._reached: tuple[str, ...] = ()
        self._nothing: deque[int] = deque()
        self._asking = False  # poll wants a reply, and has let go of the one before
        self._arriving: Pipe | None = None  # who has taken it upon itself to read it
        self._reply: tuple[int, bytes] | None = None
        self._relay: Pipe | None = None
        self._outbox: deque[tuple[Kind, int]] = deque()
        self._server = PipeServer(path)
        threading.Thread(target=self._accept, name="relays", daemon=True).start()

    # -- Channel ---------------------------------------------------------------------------------------------------

    def sites(self) -> tuple[str, ...]:
        """Ids of the sites that the relay reaches now; none while no relay is connected."""
        with self._changed:
            return self._reached

    def connected(self) -> bool:
        """Whether a relay is connected."""
        with self._changed:
            return self._relay is not None

    def post(self, site: str, message: bytes, ttl: float) -> int:
        """Hand one message to the relay, now or when one connects. Raises ``ProtocolError`` for an unknown site."""
        if site not in self._known:
            raise ProtocolError("SITE_UNKNOWN", f"there is no site '{site}' in this engine")
        with self._changed:
            ticket = self._next_ticket
            self._next_ticket += 1
            self._outstanding[ticket] = Post(site, message, time.monotonic() + ttl)
            self._outbox.append((Kind.POST, ticket))
            self._changed.notify_all()
        return ticket

    def poll(self) -> tuple[Reply, ...]:
        """Who did not deliver, and one reply if one has come. The reply before must have been let go of."""
        with self._changed:
            self._asking = self._reply is None and self._arriving is None
            self._changed.notify_all()
            if self._arriving is not None:
                self._changed.wait_for(lambda: self._arriving is None, ARRIVING_SECONDS)
            self._expire()
            replies = [Reply(ticket, self._outstanding.pop(ticket).site, None) for ticket in self._nothing]
            self._nothing.clear()
            if self._reply is not None:
                (ticket, data), self._reply = self._reply, None
                if ticket in self._outstanding:
                    replies.append(Reply(ticket, self._outstanding.pop(ticket).site, data))
            return tuple(replies)

    def settle(self, seconds: float) -> bool:
        """Wait until nothing is outstanding, for at most ``seconds``; whether that is so. Answers are let go of.

        Before ``close``, where something was posted whose answer nobody waits for: a stop is to reach the sites.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.poll()
            with self._changed:
                if not self._outstanding:
                    return True
                self._changed.wait(ARRIVING_SECONDS)
        return False

    def close(self, *, end: bool = False) -> None:
        """Stop listening. ``end``: the relay is told that nothing will be posted again, and need not wait for us."""
        self._server.close()
        with self._changed:
            relay, self._relay = self._relay, None
            self._outbox.clear()
            self._changed.notify_all()
        if relay is not None:
            if end:
                with contextlib.suppress(OSError):  # it is gone already, which is what it was to be told
                    relay.send(Kind.END)
            relay.close()

    # -- the relay -------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while (pipe := self._server.accept()) is not None:
            threading.Thread(target=self._serve, args=(pipe,), name="relay", daemon=True).start()

    def _serve(self, pipe: Pipe) -> None:
        try:
            if not pipe.greets():
                return
            self._take_over(pipe)
            threading.Thread(target=self._send, args=(pipe,), name="to the relay", daemon=True).start()
            while (head := pipe.head()) is not None:
                self._take(pipe, head)
        except OSError:
            pass  # one relay less; what it had is posted to the next
        finally:
            self._let_go(pipe)

    def _take_over(self, pipe: Pipe) -> None:
        with self._changed:
            before, self._relay = self._relay, pipe
            self._reached = ()
            self._outbox = deque((Kind.POST, ticket) for ticket in self._outstanding)
            self._changed.notify_all()
        if before is not None:
            before.dismiss()  # of two that both came back, neither would stay

    def _let_go(self, pipe: Pipe) -> None:
        pipe.close()
        with self._changed:
            if self._relay is pipe:
                self._relay, self._reached = None, ()
                self._changed.notify_all()

    def _send(self, pipe: Pipe) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._relay is not pipe or bool(self._outbox))
                if self._relay is not pipe:
                    return
                kind, ticket = self._outbox.popleft()
                post = self._outstanding.get(ticket)
            try:
                if kind is Kind.CANCEL:
                    pipe.send(Kind.CANCEL, ticket=ticket)
                elif post is not None:
                    pipe.send(Kind.POST, ticket=ticket, name=post.site, body=post.message)
            except OSError:
                self._let_go(pipe)
                return
            del post  # a message is let go of when nobody waits for its answer

    def _take(self, pipe: Pipe, head: Head) -> None:
        if head.kind is Kind.SITES:
            names = pipe.body(head, LONGEST_LIST).decode("ascii", "replace").split("\n")
            with self._changed:
                if self._relay is pipe:
                    self._reached = tuple(site for site in self._known if site in names)
        elif head.kind is Kind.REPLY and self._wanted(pipe, head):
            self._read(pipe, head)
        else:
            pipe.skip(head)
            # a reply that is too long, and one that the relay could not get, are the same: it was not delivered
            if head.kind in (Kind.NOTHING, Kind.REPLY):
                self._without(head.ticket)

    def _wanted(self, pipe: Pipe, head: Head) -> bool:
        """Wait until ``poll`` asks; whether somebody still waits for this one."""
        with self._changed:
            if head.length > self._longest or head.ticket not in self._outstanding:
                return False
            self._changed.wait_for(lambda: self._asking or self._relay is not pipe)
            if self._relay is not pipe:
                raise ConnectionError("another relay has taken this one's place")
            if head.ticket not in self._outstanding:
                return False
            self._asking, self._arriving = False, pipe
            return True

    def _read(self, pipe: Pipe, head: Head) -> None:
        data = None
        try:
            data = pipe.body(head, self._longest)
        finally:
            with self._changed:
                self._arriving = None
                if data is not None:
                    self._reply = (head.ticket, data)
                self._changed.notify_all()

    def _without(self, ticket: int) -> None:
        with self._changed:
            if ticket in self._outstanding and ticket not in self._nothing:
                self._nothing.append(ticket)

    def _expire(self) -> None:
        now = time.monotonic()
        for ticket, post in self._outstanding.items():
            arrived = self._reply is not None and self._reply[0] == ticket
            if now > post.deadline and ticket not in self._nothing and not arrived:
                self._nothing.append(ticket)
                self._outbox.append((Kind.CANCEL, ticket))
        self._changed.notify_all()
