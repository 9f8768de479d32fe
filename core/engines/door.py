"""A site's end of a relay: one Unix socket in the site's folder, and one message in work at a time.

Messages come from a relay (flare/executor.py; a small one in the tests), which holds nothing and knows nothing of
what they say. Work is done in the thread that calls ``serve``; reading goes on meanwhile, because a stop must be heard
while a step is trained.

* The message that is in work, once more: whoever brought it waits for the same answer. It is not worked on twice.
* Another message meanwhile: the site is told of it at once (``interrupt``), which ends its work or does nothing, and it
  waits for its turn. A site whose end knows no ``interrupt`` is busy, and so is one with ``WAITING`` messages waiting.

Not here: what a message means and who signed it (site/), answering a message that was answered already with the same
bytes (site/), and starting FLARE.

Order of calls: ``SiteDoor(path, end)`` → ``serve`` → ``stop`` from another thread or a signal's handler.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Protocol, runtime_checkable

from ...governance.errors import GovernanceError
from ...privacy.errors import PrivacyError
from ..errors import CoreError, ProtocolError
from .channel import SiteEnd, carry
from .pipe import Kind, Pipe, PipeServer

WAITING = 2  # one stop behind the message in work, and one more; each is as long as a sum
# Longer than a sum of 100 million parameters in ciphertext halves with what every site said beside it.
LONGEST_MESSAGE = 2 * 1024**3
QUIET_SECONDS = 5.0  # without a message, before ``between`` is called again
CONNECTIONS = 4  # one relay, and those of jobs that are being ended; each may have one message on its way

Told = Callable[[CoreError | GovernanceError | PrivacyError], None]


@runtime_checkable
class Interruptible(Protocol):
    """A site's end that can be told of a message while it works on another."""

    def interrupt(self, message: bytes) -> None:
        """End the work in hand if ``message`` is a reason to; never raises, and returns at once. Any thread."""


@dataclass(eq=False)
class Asked:
    """One message, and who waits for its answer: pipes, each with its own ticket."""

    digest: bytes
    message: bytes
    waiting: list[tuple[Pipe, int]] = field(default_factory=list)


class SiteDoor:
    """Serves ``end`` at ``path`` to relays of this user."""

    def __init__(
        self, path: Path, end: SiteEnd, *, told: Told = lambda error: None, longest: int = LONGEST_MESSAGE
    ) -> None:
        """``told`` hears why a message was not answered: for the person at this site, never for the coordinator."""
        self._end = end
        self._told = told
        self._longest = longest
        self._changed = threading.Condition()
        self._in_work: Asked | None = None
        self._queue: list[Asked] = []
        self._pipes: set[Pipe] = set()
        self._stopped = False
        self._server = PipeServer(path)
        threading.Thread(target=self._accept, name="relays", daemon=True).start()

    def serve(self, between: Callable[[], None] = lambda: None) -> None:
        """Work on messages, in this thread, until ``stop``. What ``end`` raises beyond coded errors ends it.

        ``between`` is called in this thread after each answer has gone, and every few seconds while nothing comes.
        """
        try:
            while not self._stopped:
                asked = self._next()
                if asked is not None:
                    self._answer(asked)
                    del asked  # a message may be as long as a sum
                between()
        finally:
            self.stop()

    def stop(self) -> None:
        """Let the work in hand end, take no more, and close. From any thread, and twice."""
        self._server.close()
        with self._changed:
            self._stopped = True
            pipes = [] if self._in_work is not None else list(self._pipes)
            self._changed.notify_all()
        for pipe in pipes:
            pipe.close()

    def connected(self) -> bool:
        """Whether a relay is connected."""
        with self._changed:
            return bool(self._pipes)

    def busy(self) -> bool:
        """Whether a message is in work."""
        with self._changed:
            return self._in_work is not None

    # -- work ------------------------------------------------------------------------------------------------------

    def _next(self) -> Asked | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or bool(self._queue), QUIET_SECONDS)
            if self._stopped or not self._queue:
                return None
            self._in_work = self._queue.pop(0)
            return self._in_work

    def _answer(self, asked: Asked) -> None:
        answer: bytes | None = None
        try:
            answer = carry(self._end.handle(asked.message))
        except (CoreError, GovernanceError, PrivacyError) as error:
            self._told(error)
        finally:
            with self._changed:
                self._in_work = None
                waiting, asked.waiting = asked.waiting, []
        for pipe, ticket in waiting:
            _reply(pipe, ticket, answer)

    # -- relays ----------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while (pipe := self._server.accept()) is not None:
            with self._changed:
                full = self._stopped or len(self._pipes) >= CONNECTIONS
                if not full:
                    self._pipes.add(pipe)
            if full:
                pipe.close()
            else:
                threading.Thread(target=self._serve, args=(pipe,), name="relay", daemon=True).start()

    def _serve(self, pipe: Pipe) -> None:
        try:
            if not pipe.greets():
                return
            with self._changed:
                before = self._pipes - {pipe}
            for other in before:  # the newest stays: of two that both came back, neither would
                other.dismiss()
            while (head := pipe.head()) is not None:
                if head.kind is Kind.POST:
                    self._take(pipe, head.ticket, pipe.body(head, self._longest))
                else:
                    pipe.skip(head)
        except OSError:
            pass  # the relay is gone; whoever is behind it asks again
        finally:
            pipe.close()
            with self._changed:
                self._pipes.discard(pipe)

    def _take(self, pipe: Pipe, ticket: int, message: bytes) -> None:
        digest = sha256(message).digest()
        with self._changed:
            at_work = self._in_work
            known = [asked for asked in (at_work, *self._queue) if asked is not None and asked.digest == digest]
            if known:
                known[0].waiting.append((pipe, ticket))
                return
            knows = isinstance(self._end, Interruptible)
            idle = at_work is None and not self._queue
            room = idle or (knows and len(self._queue) < WAITING)
            if room and not self._stopped:
                self._queue.append(Asked(digest, message, [(pipe, ticket)]))
                self._changed.notify_all()
        if at_work is not None and isinstance(self._end, Interruptible):
            self._end.interrupt(message)
        if not room:
            self._told(ProtocolError("SITE_BUSY", "a message came while another was in work, and has no place to wait"))
            _reply(pipe, ticket, None)


def _reply(pipe: Pipe, ticket: int, answer: bytes | None) -> None:
    try:
        if answer is None:
            pipe.send(Kind.NOTHING, ticket=ticket)
        else:
            pipe.send(Kind.REPLY, ticket=ticket, body=answer)
    except OSError:
        pass  # nobody waits there any more; the same message will be asked again, and answered the same
