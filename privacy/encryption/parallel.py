"""Blocks shared out among worker processes: the bindings of SEAL hold Python's lock, so threads bring nothing.

For: ``keys/encrypt.py`` and ``keys/decrypt.py``, which call this and never ``bfv`` itself.
Not for: deciding what is encrypted or opened, or keeping workers: they live as long as one call.
Order of calls: ``encrypt_words`` or ``open_words``; small vectors stay in this process.

A worker is a fresh interpreter (``worker.py``), not a fork: a fork of a process with threads may hang, and one
of a process with a generator may repeat its randomness. It gets the step's 64-byte key seed through its
standard input, so the key touches no disk and no list of arguments, and draws its own randomness from the
operating system. It ends when its input does, also when this process is killed.

Memory: beyond input and output, ``PIECE_BLOCKS`` blocks a worker, and the worker's own interpreter (about
55 MB, half of it shared).
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Final

import numpy as np

from ..errors import BadParametersError, PrivacyError
from . import bfv
from .bfv import Progress, SeededKey
from .ciphertext import Words
from .exchange import ENCRYPT, OPEN, Pipe
from .presets import SEED_BYTES, Preset

PIECE_BLOCKS: Final = 64  # blocks handed to a worker at a time (2 MB): small beside a vector, large beside a message
# Polynomials of 0.16 ms each that every worker must have to do: half a second, so that its start (0.2 s of CPU)
# is repaid twice over. With less work, everything stays in this process.
WORTH_A_WORKER: Final = 3000
POLYNOMIALS_TO_ENCRYPT: Final = 5  # what encrypting a block costs, in expansions of one seed (benchmarks)
POLYNOMIALS_TO_DECRYPT: Final = 3  # the same for a block's decryption, besides one expansion a site
STALL_SECONDS: Final = 120.0  # no piece takes longer than 7 s, even with 127 sites; a loaded machine gets patience
END_SECONDS: Final = 5.0  # for a worker to end by itself, so that it can clear what it holds

__all__ = ["Progress", "encrypt_words", "open_words"]


def nothing_shown(done: int, total: int) -> None:
    """A progress that shows nothing."""


def encrypt_words(
    words: Words,
    preset: Preset,
    key: SeededKey,
    *,
    workers: int | None = None,
    progress: Progress = nothing_shown,
) -> tuple[Words, bytes]:
    """``bfv.encrypt_words`` by ``workers`` processes; None: as many as cores and work make worth while.

    ``progress(done, total)`` counts blocks. Raises BadParametersError (WORKER_LOST, WORKER_STALLED, and what
    ``bfv`` raises).
    """
    blocks = -(-words.size // preset.degree)
    workers = _workers(workers, blocks, POLYNOMIALS_TO_ENCRYPT)
    if workers == 1:
        return bfv.encrypt_words(words, preset, key, progress)
    c0, seeds = np.empty(words.size, np.uint64), bytearray(SEED_BYTES * blocks)

    def encrypt(first: int, last: int, hand: _Hand) -> None:
        part = slice(first * preset.degree, min(last * preset.degree, words.size))
        hand.pipe.ask(ENCRYPT, words[part])
        hand.pipe.receive(c0[part], memoryview(seeds)[first * SEED_BYTES : last * SEED_BYTES])

    _share(encrypt, blocks, preset, key, workers, progress)
    return c0, bytes(seeds)


def open_words(
    c0_sum: Words,
    seed_lists: Sequence[bytes],
    preset: Preset,
    key: SeededKey,
    *,
    workers: int | None = None,
    progress: Progress = nothing_shown,
) -> Words:
    """``bfv.open_words`` by ``workers`` processes; arguments and errors as in ``encrypt_words``."""
    blocks = -(-c0_sum.size // preset.degree)
    workers = _workers(workers, blocks, len(seed_lists) + POLYNOMIALS_TO_DECRYPT)
    if workers == 1:
        return bfv.open_words(c0_sum, seed_lists, preset, key, progress)
    opened = np.empty(c0_sum.size, np.uint64)

    def open_piece(first: int, last: int, hand: _Hand) -> None:
        part = slice(first * preset.degree, min(last * preset.degree, c0_sum.size))
        seeds = [one[first * SEED_BYTES : last * SEED_BYTES] for one in seed_lists]
        hand.pipe.ask(OPEN, c0_sum[part], seeds)
        hand.pipe.receive(opened[part])

    _share(open_piece, blocks, preset, key, workers, progress)
    return opened


def cores() -> int:
    """Processor cores that this process may use; a container's quota of time is not seen."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _workers(wanted: int | None, blocks: int, polynomials: int) -> int:
    if wanted is None:
        started = cores() if sys.executable else 1  # a program that Python is embedded in may not name one
        wanted = min(started, blocks * polynomials // WORTH_A_WORKER)
    return max(1, min(wanted, blocks))


def _places() -> str:
    """Where a worker looks for modules: where this process does, but never in the current folder, which is "" here.

    A name with the separator in it would be read as two, and the second may lead anywhere.
    """
    return os.pathsep.join(place for place in sys.path if isinstance(place, str) and place and os.pathsep not in place)


class _Hand:
    """One worker process and the pipe to it."""

    def __init__(self, preset: Preset, key: SeededKey) -> None:
        try:
            self.process = subprocess.Popen(  # noqa: S603  this interpreter, and a module of this package
                [sys.executable, "-P", "-m", f"{__package__}.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": _places()},
            )
        except OSError as error:
            raise _lost() from error
        assert self.process.stdin is not None and self.process.stdout is not None
        self.pipe = Pipe(self.process.stdout, self.process.stdin)
        with contextlib.suppress(OSError):  # one that is gone already is found out with its first piece
            self.pipe.introduce(preset, key.seed)

    def stop(self) -> None:
        """Make it end now; its answers, if any are awaited, end too."""
        self.process.terminate()
        self._wait()

    def close(self) -> None:
        """Let it end, and let go of the pipe."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self._wait()
        self.process.stdout.close()

    def _wait(self) -> None:
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _share(
    work: Callable[[int, int, _Hand], None],
    blocks: int,
    preset: Preset,
    key: SeededKey,
    workers: int,
    progress: Progress,
) -> None:
    """Have ``work(first, last, hand)`` done for all ranges of blocks, each by whichever worker is free."""
    size = max(1, min(PIECE_BLOCKS, blocks // workers))
    ranges = [(first, min(first + size, blocks)) for first in range(0, blocks, size)]
    hands: list[_Hand] = []
    free: queue.SimpleQueue[_Hand] = queue.SimpleQueue()
    try:
        for _ in range(workers):
            hands.append(_Hand(preset, key))
            free.put(hands[-1])
        with ThreadPoolExecutor(workers) as threads:
            pending = {threads.submit(partial(_one, work, free, first, last)) for first, last in ranges}
            try:
                _gather(pending, blocks, progress)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                for hand in hands:
                    hand.stop()  # so that threads which wait for it return, too
                raise
    finally:
        for hand in hands:
            hand.close()


def _one(
    work: Callable[[int, int, _Hand], None], free: queue.SimpleQueue[_Hand], first: int, last: int
) -> int:
    hand = free.get()
    try:
        work(first, last, hand)
    except (OSError, EOFError) as error:
        raise _lost() from error
    finally:
        free.put(hand)
    return last - first


def _gather(pending: set[Future[int]], blocks: int, progress: Progress) -> None:
    done = 0
    while pending:
        ended, pending = wait(pending, timeout=STALL_SECONDS, return_when=FIRST_COMPLETED)
        if not ended:
            raise BadParametersError(
                "WORKER_STALLED", f"no worker process finished a piece within {STALL_SECONDS:g} seconds"
            )
        for future in ended:
            done += future.result()
            progress(done, blocks)


def _lost() -> PrivacyError:
    return BadParametersError(
        "WORKER_LOST",
        "a worker process that encrypts or opens ended before its work did",
        "see whether memory ran out or somebody ended it; nothing that it held has left",
    )
