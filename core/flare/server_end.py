"""The relay's end at the coordinator's machine: from the coordinator's socket to sites that ask, and back.

It runs in the process that FLARE's server starts for the job (controller.py) and knows nothing of FLARE. It holds what
is outstanding while the coordinator is connected, and forgets it with the connection: the coordinator posts again.

An answer counts only from the site that was asked, under a key that only that site was told. More than ``HELD_BYTES``
of answers are not taken from sites before the coordinator has read some.

Order of calls: ``ServerEnd(path)`` → ``answer`` each request of a site, from any thread → ``close`` once it ``ended``.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from ..engines.pipe import HELLO, Kind, Pipe, connect
from ..engines.pipe import Head as Frame
from .pieces import (
    ASK,
    FETCH,
    GONE,
    HAND,
    LONG_POLL_SECONDS,
    NOTHING,
    PIECE_BYTES,
    SENT,
    TAKEN,
    WAIT,
    Head,
    Malformed,
    pack,
    unpack,
)

RETRY_SECONDS = 0.5  # between attempts to reach the coordinator's process, which may be about to start
SILENT_SECONDS = 30.0  # an idle site asks every five; one that is silent for so long is out of reach
LONGEST_MESSAGE = 2 * 1024**3  # as relayed.py and door.py allow
HELD_BYTES = 512 * 1024**2  # of answers that the coordinator has not read; one answer is taken however long it is
LONG_POLLS = 32  # FLARE answers requests with 64 threads: the others are for pieces


@dataclass(eq=False)
class Post:
    """One outstanding message: for whom, under which ticket of which connection, and what has come of its answer."""

    pipe: Pipe
    ticket: int
    site: str
    message: bytes
    answer: bytearray | None = None
    length: int = 0


class ServerEnd:
    """Between one coordinator's socket and any number of sites that ask."""

    def __init__(self, path: Path) -> None:
        self.ended = threading.Event()
        self._path = path
        self._changed = threading.Condition()
        self._pipe: Pipe | None = None
        self._posts: dict[str, Post] = {}
        self._seen: dict[str, tuple[float, bool]] = {}
        self._polls = 0
        self._replies: deque[tuple[Pipe, int, bytearray | None]] = deque()
        threading.Thread(target=self._run, name="from the coordinator", daemon=True).start()
        threading.Thread(target=self._send, name="to the coordinator", daemon=True).start()

    def close(self) -> None:
        """Hang up; from any thread, and twice."""
        self.ended.set()
        with self._changed:
            pipe, self._pipe = self._pipe, None
            self._changed.notify_all()
        if pipe is not None:
            pipe.close()

    # -- sites -----------------------------------------------------------------------------------------------------

    def answer(self, site: str, request: bytes | memoryview) -> bytes:
        """What ``site`` is told. It is FLARE's word that ``site`` asks; malformed requests are told nothing."""
        try:
            head, piece = unpack(request)
        except Malformed:
            return pack(Head(NOTHING))
        if head.says == ASK:
            return self._asked(site, head)
        with self._changed:
            post = self._posts.get(head.key)
            if post is None or post.site != site:
                return pack(Head(GONE, key=head.key))
            if head.says == FETCH:
                return self._piece(head.key, post, head.at)
            if head.says == HAND:
                return self._handed(head, post, piece)
        return pack(Head(NOTHING))

    def _asked(self, site: str, head: Head) -> bytes:
        until = time.monotonic() + LONG_POLL_SECONDS
        with self._changed:
            mine = self._seen[site] = time.monotonic(), head.open
            self._changed.notify_all()  # who is in reach may be news
            while head.open and self._seen[site] is mine and not self.ended.is_set():  # else it has asked again since
                for key, post in self._posts.items():
                    if post.site == site and key not in head.working:
                        return self._piece(key, post, 0)
                if self._polls >= LONG_POLLS or time.monotonic() > until:
                    break
                self._polls += 1
                self._changed.wait(until - time.monotonic())
                self._polls -= 1
        return pack(Head(NOTHING))

    def _piece(self, key: str, post: Post, at: int) -> bytes:
        piece = memoryview(post.message)[at : at + PIECE_BYTES]
        return pack(Head(SENT, key=key, at=at, length=len(post.message)), piece)

    def _handed(self, head: Head, post: Post, piece: memoryview) -> bytes:
        if head.length < 0 or head.length > LONGEST_MESSAGE:  # none, or none that anybody would read
            del self._posts[head.key]
            return self._reply(post, None, head)
        if post.answer is None:
            others = [other.length for other in self._posts.values() if other.answer is not None]
            held = sum(others) + sum(len(data or b"") for _, _, data in self._replies)
            if held and held + head.length > HELD_BYTES:
                return pack(Head(WAIT, key=head.key))
            post.answer, post.length = bytearray(), head.length
        if head.at == len(post.answer) and len(piece) <= post.length - head.at:  # else it is one that has come already
            post.answer += piece
        if len(post.answer) < post.length:
            return pack(Head(TAKEN, key=head.key, at=len(post.answer)))
        del self._posts[head.key]
        return self._reply(post, post.answer, head)

    def _reply(self, post: Post, answer: bytearray | None, head: Head) -> bytes:
        self._replies.append((post.pipe, post.ticket, answer))
        self._changed.notify_all()
        return pack(Head(TAKEN, key=head.key, at=max(0, head.length)))

    # -- the coordinator -------------------------------------------------------------------------------------------

    def _run(self) -> None:
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
                    self._take(pipe, frame)
            pipe.close()
            with self._changed:
                self._pipe = None
                self._posts.clear()
                self._replies.clear()

    def _take(self, pipe: Pipe, frame: Frame) -> None:
        body = pipe.body(frame, LONGEST_MESSAGE)
        with self._changed:
            if frame.kind is Kind.END:
                self.ended.set()
            elif frame.kind is Kind.POST:
                # the site is told a key that nobody else can know: a number would be another message's tomorrow
                self._posts[secrets.token_hex(16)] = Post(pipe, frame.ticket, frame.name, body)
            elif frame.kind is Kind.CANCEL:
                for key in [key for key, post in self._posts.items() if post.ticket == frame.ticket]:
                    del self._posts[key]
            self._changed.notify_all()

    def _send(self) -> None:
        told: tuple[Pipe | None, tuple[str, ...]] = (None, ())
        while not self.ended.is_set():
            with self._changed:
                self._changed.wait_for(lambda: bool(self._replies) or self.ended.is_set(), RETRY_SECONDS)
                pipe, reached = self._pipe, self._reached()
                reply = self._replies.popleft() if self._replies else None
            with contextlib.suppress(OSError):  # whoever posted is gone, and will post again
                if pipe is not None and told != (pipe, reached):
                    pipe.send(Kind.SITES, body="\n".join(reached).encode("ascii"))
                    told = pipe, reached
                if reply is not None:
                    to, ticket, data = reply
                    if data is None:
                        to.send(Kind.NOTHING, ticket=ticket)
                    else:
                        to.send(Kind.REPLY, ticket=ticket, body=data)
            reply = None

    def _reached(self) -> tuple[str, ...]:
        now = time.monotonic()
        heard = self._seen.items()
        return tuple(sorted(site for site, (seen, is_open) in heard if is_open and now - seen < SILENT_SECONDS))
