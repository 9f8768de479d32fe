"""A bad network between a site and the server: a proxy on loopback that delays, stalls and cuts what passes.

In user space, so that it needs no right and no module of the kernel's. A lost packet is not lost to TCP: what follows
it waits for it to be sent again, so a loss is a stall.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress
from queue import Queue

CHUNK = 64 * 1024
STALL_SECONDS = 0.4  # a retransmission after two round trips of 200 ms


class SlowLink:
    """Listens on ``port`` and passes everything on to ``to`` on this machine; ``cut`` and ``heal`` while it runs."""

    def __init__(self, to: int, *, delay: float = 0.0, loss: float = 0.0, seed: int = 0) -> None:
        """``delay``: seconds one way. ``loss``: which part of packets of 1448 bytes is lost."""
        self._to = to
        self._delay = delay
        self._loss = loss
        self._random = random.Random(seed)
        self._whole = threading.Event()
        self._whole.set()
        self._open: set[socket.socket] = set()
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Every connection ends, and none is made."""
        self._whole.clear()
        self.cuts += 1
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def heal(self) -> None:
        """Connections are made again."""
        self._whole.set()

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._whole.is_set():
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                near.close()
                continue
            self._open |= {near, far}
            for one, other in ((near, far), (far, near)):
                waiting: Queue[tuple[float, bytes]] = Queue()
                threading.Thread(target=self._read, args=(one, waiting), daemon=True).start()
                threading.Thread(target=self._write, args=(other, waiting), daemon=True).start()

    def _read(self, end: socket.socket, waiting: Queue[tuple[float, bytes]]) -> None:
        data = b"x"
        while data:
            try:
                data = end.recv(CHUNK)
            except OSError:
                data = b""
            lost = self._random.random() < 1 - (1 - self._loss) ** (len(data) / 1448)
            waiting.put((time.monotonic() + self._delay + (STALL_SECONDS if lost else 0.0), data))

    def _write(self, end: socket.socket, waiting: Queue[tuple[float, bytes]]) -> None:
        data = b"x"
        while data:
            due, data = waiting.get()
            time.sleep(max(0.0, due - time.monotonic()))
            with suppress(OSError):
                end.sendall(data) if data else end.shutdown(socket.SHUT_RDWR)
