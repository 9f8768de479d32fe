"""Frames over a Unix socket: all that passes between a process of ours and NVIDIA FLARE's beside it.

At each end stand two processes of one user on one machine: ours, which holds data, keys or state, and FLARE's, which
holds nothing. Ours listens in a folder that is closed to everybody else; FLARE's connects. What a frame carries is
opaque here: messages are signed above.

    frame = kind, uint8 | ticket, uint64 | name length, uint16 | body length, uint64 | name | body     (little endian)

Not here: who sends which frame when (relayed.py, door.py, and the two classes in flare/), and any other kind of
socket: this is the one file outside flare/ that opens one, and tests/test_architecture.py holds it to AF_UNIX.

Order of calls: ``PipeServer(path)``, ``accept`` at ours; ``connect(path)`` at FLARE's; then ``send``, and ``head`` with
``body`` or ``skip`` after each.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from ..errors import BadInputError

HEAD = struct.Struct("<BQHQ")
PEER = struct.Struct("3i")  # struct ucred of unix(7): process, user, group
LONGEST_NAME = 64  # a site's id, as messages.py bounds it
LONGEST_PATH = 100  # sun_path of unix(7) has 108 bytes, of other systems 104
BACKLOG = 4  # one relay, and the one that takes its place
# The other process has the whole body in memory, or reads into its memory: one that stalls has stopped.
STALL_SECONDS = 60.0
SKIP_BYTES = 64 * 1024
HELLO = b"sekisho-relay-1"  # what a relay says first; changes when frames change


class Kind(IntEnum):
    """What a frame is. To a door: HELLO, POST. From it: REPLY, NOTHING, END. At the coordinator's socket: all."""

    HELLO = 1  # relay: which protocol (body)
    POST = 2  # ours: give this message (body) to this site (name)
    REPLY = 3  # a site's answer (body) to this ticket
    NOTHING = 4  # this ticket's site did not deliver
    SITES = 5  # relay: who can be reached now (body: ids, one a line)
    CANCEL = 6  # ours: nobody waits for this ticket any more
    END = 7  # ours: do not come back, the run is over or another relay has taken your place


@dataclass(frozen=True)
class Head:
    """A frame before its body, which ``length`` bytes are still in the socket."""

    kind: Kind
    ticket: int
    name: str
    length: int


class Pipe:
    """One connection. ``send`` may be called from several threads, ``head``, ``body`` and ``skip`` from one."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()

    def send(self, kind: Kind, *, ticket: int = 0, name: str = "", body: bytes | bytearray | memoryview = b"") -> None:
        """One frame, whole. Raises ``OSError`` when the other end is gone."""
        called = name.encode("ascii")
        with self._sending:
            try:
                self._socket.sendall(HEAD.pack(kind, ticket, len(called), len(body)) + called)
                if body:
                    self._socket.sendall(body)
            except OSError:
                self.close()  # half a frame may have gone: nothing can follow it
                raise

    def head(self) -> Head | None:
        """The next frame's head, or None where the other end has closed. Waits as long as it takes.

        Raises ``ConnectionError`` for what is no frame; nothing else can be read then.
        """
        try:
            data = self._take(HEAD.size)
        except ConnectionResetError:  # it closed, and had not read all that it was sent
            return None
        if not data:
            return None
        if len(data) < HEAD.size:
            raise ConnectionError("the other end left in the middle of a frame")
        kind, ticket, called, length = HEAD.unpack(data)
        if kind not in set(Kind) or called > LONGEST_NAME:
            raise ConnectionError("what came is no frame")
        with self._in_time():
            name = self._whole(called)
        if not name.isascii():
            raise ConnectionError("what came is no frame")
        return Head(Kind(kind), ticket, name.decode("ascii"), length)

    def greets(self) -> bool:
        """Whether who has connected says first that it speaks this protocol. Raises ``ConnectionError``."""
        head = self.head()
        return head is not None and head.kind is Kind.HELLO and self.body(head, len(HELLO)) == HELLO

    def body(self, head: Head, longest: int) -> bytes:
        """The body of ``head``. Raises ``ConnectionError``, and reads nothing, where it is longer than ``longest``."""
        if head.length > longest:
            raise ConnectionError(f"a frame of {head.length} bytes where {longest} are allowed")
        with self._in_time():
            return self._whole(head.length)

    def skip(self, head: Head) -> None:
        """Read the body of ``head`` and keep none of it."""
        left = head.length
        with self._in_time():
            while left:
                left -= len(self._whole(min(left, SKIP_BYTES)))

    def dismiss(self) -> None:
        """Tell the other end not to come back, and close; in a thread of its own, because it may not be reading."""

        def last_word() -> None:
            with contextlib.suppress(OSError):
                self.send(Kind.END)
            self.close()

        threading.Thread(target=last_word, name="dismissed relay", daemon=True).start()

    def close(self) -> None:
        """Wakes whoever reads or sends here; may be called from any thread, and twice."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _whole(self, length: int) -> bytes:
        data = self._take(length) if length else b""
        if len(data) < length:
            raise ConnectionError("the other end left in the middle of a frame")
        return data

    def _take(self, length: int) -> bytes:
        """``length`` bytes in one object, which is not copied; fewer where the other end has closed or stalls."""
        data = self._socket.recv(length, socket.MSG_WAITALL)
        while data and len(data) < length:  # a signal cut it short
            more = self._socket.recv(length - len(data), socket.MSG_WAITALL)
            if not more:
                break
            data += more
        return data

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        self._wait(STALL_SECONDS)
        try:
            yield
        except BlockingIOError:
            raise ConnectionError("the other end stopped in the middle of a frame") from None
        finally:
            with contextlib.suppress(OSError):
                self._wait(0.0)

    def _wait(self, seconds: float) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(seconds))


class PipeServer:
    """The listening end: a socket that only this user can reach, in a folder that only this user can enter."""

    def __init__(self, path: Path) -> None:
        # 1. the folder is ours and closed
        _check_private(path.parent)
        # 2. nobody listens there; what a killed process left is removed
        if _somebody_listens(path):
            raise BadInputError(
                "PIPE_TAKEN", f"another process listens at {path}", hint="it may be this very service, running already"
            )
        path.unlink(missing_ok=True)
        # 3. only then it is made
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _short(path) as address:
            self._socket.bind(address)
        path.chmod(0o600)
        self._socket.listen(BACKLOG)

    def accept(self) -> Pipe | None:
        """The next process of this user that connects; others are hung up on. None once this end is closed."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return None
            if _same_user(connection):
                # ours waits for no relay that reads nothing; a relay waits for ours, which reads when it can
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(STALL_SECONDS))
                return Pipe(connection)
            connection.close()

    def close(self) -> None:
        """Nobody can connect any more, and whoever waits in ``accept`` returns."""
        if self._socket.fileno() < 0:
            return  # by now another may listen at the same path
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def connect(path: Path) -> Pipe:
    """A relay's end. Raises ``OSError`` where nobody listens, or where who listens is another user."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as address:
            connection.connect(address)
        if not _same_user(connection):
            raise PermissionError(f"who listens at {path} is another user")
    except OSError:
        connection.close()
        raise
    return Pipe(connection)


def _timeval(seconds: float) -> bytes:
    """For SO_RCVTIMEO and SO_SNDTIMEO: in the kernel, because Python's own timeout makes MSG_WAITALL not wait."""
    return struct.pack("ll", int(seconds), 0)


def _check_private(folder: Path) -> None:
    try:
        found = folder.stat()
    except OSError:
        raise BadInputError("PIPE_FOLDER", f"there is no folder {folder} for the socket") from None
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise BadInputError(
            "PIPE_FOLDER_OPEN", f"the folder {folder} is open to others", hint=f"chmod 700 {folder}, as its owner"
        )


def _somebody_listens(path: Path) -> bool:
    try:
        connect(path).close()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _same_user(connection: socket.socket) -> bool:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
    _, user, _ = PEER.unpack(credentials)
    return bool(user == os.geteuid())


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """``path`` as an address: where it is too long for one, by way of its folder's descriptor (Linux)."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
