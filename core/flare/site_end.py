"""The relay's end at a site: asks the server's end for messages, and takes them to the site's door and answers back.

It runs in the process that FLARE's client starts for the job (executor.py) and knows nothing of FLARE. It goes on
asking while a message is in work, so that a stop arrives; and it tells the server whether the site's own process can be
reached. What it holds it can lose: it asks anew, is told the same messages, and the door answers the same.

Order of calls: ``SiteEnd(path, ask)`` → ``ended`` is set, when another relay has taken this one's place → ``close``.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from ..engines.pipe import HELLO, Kind, Pipe, connect
from .pieces import (
    ASK,
    FETCH,
    GONE,
    HAND,
    LONG_POLL_SECONDS,
    PIECE_BYTES,
    REPLY_SECONDS,
    SENT,
    TAKEN,
    Head,
    Malformed,
    pack,
    unpack,
)

RETRY_SECONDS = 0.5  # after a request that was not answered, or answered with "wait", and between knocks at the door
LONGEST_MESSAGE = 2 * 1024**3  # as relayed.py and door.py allow

Ask = Callable[[bytes, float], bytes | memoryview | None]


class SiteEnd:
    """Between one site's door and a server that is asked."""

    def __init__(self, path: Path, ask: Ask) -> None:
        """``ask(request, seconds)`` is the server's answer, or None where there was none in that time."""
        self.ended = threading.Event()
        self._path = path
        self._ask = ask
        self._changed = threading.Condition()
        self._pipe: Pipe | None = None
        self._next_ticket = 1
        self._working: dict[int, str] = {}  # ticket at the door -> key
        self._answers: dict[str, bytes | None] = {}  # what has not been handed over
        for run, name in ((self._knock, "from the door"), (self._fetch, "from the server"), (self._hand, "to it")):
            threading.Thread(target=run, name=name, daemon=True).start()

    def close(self) -> None:
        """Hang up; from any thread, and twice."""
        self.ended.set()
        with self._changed:
            pipe, self._pipe = self._pipe, None
            self._changed.notify_all()
        if pipe is not None:
            pipe.close()

    # -- the door --------------------------------------------------------------------------------------------------

    def _knock(self) -> None:
        while not self.ended.is_set():
            try:
                pipe = connect(self._path)
            except OSError:
                self.ended.wait(RETRY_SECONDS)
                continue
            with contextlib.suppress(OSError):
                pipe.send(Kind.HELLO, body=HELLO)
                with self._changed:
                    self._pipe = pipe
                    self._changed.notify_all()
                while not self.ended.is_set() and (frame := pipe.head()) is not None:
                    body = pipe.body(frame, LONGEST_MESSAGE)
                    if frame.kind is Kind.END:
                        self.ended.set()
                    elif frame.kind in (Kind.REPLY, Kind.NOTHING):
                        self._answered(frame.ticket, body if frame.kind is Kind.REPLY else None)
            pipe.close()
            with self._changed:
                self._pipe = None
                self._working.clear()  # the site's process is gone; it is asked again when it is back
                self._changed.notify_all()
            self._say(Head(ASK))  # said at once: the other question may be waiting for something to ask

    def _answered(self, ticket: int, body: bytes | None) -> None:
        with self._changed:
            key = self._working.pop(ticket, None)
            if key is not None:
                self._answers[key] = body
                self._changed.notify_all()

    # -- the server ------------------------------------------------------------------------------------------------

    def _fetch(self) -> None:
        while not self.ended.is_set():
            with self._changed:
                pipe = self._pipe
                working = (*self._working.values(), *self._answers)
            said = self._say(Head(ASK, open=pipe is not None, working=working), LONG_POLL_SECONDS)
            if said is not None and pipe is not None and said[0].says == SENT:
                self._bring(pipe, *said)
            elif said is None or pipe is None:
                self.ended.wait(RETRY_SECONDS)

    def _bring(self, pipe: Pipe, head: Head, piece: memoryview) -> None:
        message = bytearray(piece)
        while len(message) < head.length and head.length <= LONGEST_MESSAGE and not self.ended.is_set():
            said = self._say(Head(FETCH, key=head.key, at=len(message)))
            if said is None:
                self.ended.wait(RETRY_SECONDS)
            elif said[0].says != SENT or not said[1]:
                return  # nobody waits for it any more
            elif said[0].at == len(message):
                message += said[1]
        if len(message) != head.length:
            return
        with self._changed:
            ticket = self._next_ticket
            self._next_ticket += 1
            if self._pipe is pipe:
                self._working[ticket] = head.key
        with contextlib.suppress(OSError):
            pipe.send(Kind.POST, ticket=ticket, body=message)

    def _hand(self) -> None:
        while not self.ended.is_set():
            with self._changed:
                self._changed.wait_for(lambda: bool(self._answers) or self.ended.is_set())
                if self.ended.is_set():
                    return
                key, answer = next(iter(self._answers.items()))
            if self._handed(key, answer):
                with self._changed:
                    del self._answers[key]

    def _handed(self, key: str, answer: bytes | None) -> bool:
        """Piece after piece until all has arrived, or nobody waits for it; False where it is to be tried anew."""
        length, at, whole = (-1 if answer is None else len(answer)), 0, memoryview(answer or b"")
        while not self.ended.is_set():
            said = self._say(Head(HAND, key=key, at=at, length=length), piece=whole[at : at + PIECE_BYTES])
            if said is not None and (said[0].says == GONE or (said[0].says == TAKEN and said[0].at >= max(0, length))):
                return True
            if said is not None and said[0].says == TAKEN:
                at = said[0].at
            else:
                self.ended.wait(RETRY_SECONDS)
        return False

    def _say(self, head: Head, more: float = 0.0, piece: bytes | memoryview = b"") -> tuple[Head, memoryview] | None:
        answer = self._ask(pack(head, piece), more + REPLY_SECONDS)
        try:
            return None if answer is None else unpack(answer)
        except Malformed:
            return None
