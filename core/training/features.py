"""Texts -> rows of numbers by the frozen base model; a row depends on its own text and on nothing else, to the bit.

For: ``Features(base_model).of(texts)``, float64 [n, width], each row mean-pooled and of length one.
Not for: which records may be used (the caller hands in eligible ones only) and storing rows: they are as personal as
the texts, stay in memory and are never written.

Why so strict: removing a person must not move anybody else's vector (review_protocol.md, section 2: in float32 a
neighbour in the same batch did). So every forward pass has one of three public shapes, always full (short of texts, it
is filled with a constant), and runs on one thread: what a kernel computes for a row then cannot depend on its
neighbours or on the machine's number of cores. That it does not depend on the row's place either is a property of the
installed kernels; it is tried out on this machine before the first text, and where it fails, each text goes alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..data.intake import BaseModelFacts
from .going_on import never_stops

if TYPE_CHECKING:
    from .model import Encoder

LONGEST = 128  # tokens; what MiniLM's authors trained on, 3 of 4 reviews are shorter, and 256 costs twice the time
BUCKETS = (32, 64, LONGEST)  # public lengths; a fourth at 96 saves nothing that can be measured
ROWS = 8  # texts in a pass; 16 is no faster on a CPU, 1 is twice as slow on two cores

Progress = Callable[[int, int], None]


def nothing_shown(done: int, total: int) -> None:
    """A progress that shows nothing."""


class Features:
    """The frozen base model as a function of one text. Shared by all sites of a process; loads on first use."""

    def __init__(
        self,
        base_model: BaseModelFacts,
        *,
        progress: Progress = nothing_shown,
        check: Callable[[], None] = never_stops,
    ) -> None:
        self._base_model = base_model
        self._progress = progress
        self._check = check  # before every pass (going_on.py)
        self._encoder: Encoder | None = None
        self._rows = 0  # not tried out yet

    @property
    def width(self) -> int:
        """Numbers in a row, known without loading the model."""
        return self._base_model.width

    def of(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """float64 [len(texts), width], row i of text i, Euclidean norm 1. Reports progress as (done, total)."""
        rows = np.empty((len(texts), self.width), dtype=np.float64)
        if not texts:
            return rows
        # torch is imported here: whoever only asks for the width does not wait for it
        import torch

        encoder = self.encoder()
        threads_before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            if self._rows == 0:
                self._rows = ROWS if rows_independent(encoder) else 1
            self._fill(encoder, texts, rows)
        finally:
            torch.set_num_threads(threads_before)
        return rows

    def encoder(self) -> Encoder:
        """The base model itself, loaded at the first use and shared."""
        from .model import Encoder

        if self._encoder is None:
            self._encoder = Encoder.load(self._base_model)
        return self._encoder

    def _fill(self, encoder: Encoder, texts: Sequence[str], rows: NDArray[np.float64]) -> None:
        tokens = encoder.tokens(texts, longest=LONGEST)
        done = 0
        self._progress(done, len(texts))
        with _workers() as pool:
            waiting = {
                pool.submit(self._one, encoder, [tokens[i] for i in group], length): group
                for length, group in _groups(tokens, self._rows)
            }
            for future in as_completed(waiting):
                group = waiting[future]
                rows[group] = future.result()
                done += len(group)
                self._progress(done, len(texts))

    def _one(self, encoder: Encoder, group: Sequence[Sequence[int]], length: int) -> NDArray[np.float64]:
        self._check()
        return _encode(encoder, group, length, self._rows)


def rows_independent(encoder: Encoder) -> bool:
    """Whether a text's row has the same bits at every place of a pass and beside other neighbours, on this machine.

    Kernels choose their path by shape, not by value, and the shapes are these three. So one text is tried at all places
    of each: everywhere at once, then at every other place, beside texts of other lengths.
    """
    spoken = encoder.tokens(["the quick brown fox jumps over the lazy dog " * 40], longest=LONGEST)[0]
    for length in BUCKETS:
        probe = spoken[: length - 3]
        others = [spoken[: 2 + (7 * place) % (length - 2)] for place in range(ROWS)]
        expected = _encode(encoder, [probe], length, ROWS)[0]
        for probed in (range(ROWS), range(0, ROWS, 2), range(1, ROWS, 2)):
            group = [probe if place in probed else others[place] for place in range(ROWS)]
            if not (_encode(encoder, group, length, ROWS)[list(probed)] == expected).all():
                return False
    return True


def _groups(tokens: Sequence[Sequence[int]], size: int) -> Iterator[tuple[int, list[int]]]:
    """(length, indices of at most ``size`` texts that fit it), longest first so that the last pass is a short one."""
    for length in reversed(BUCKETS):
        fitting = [i for i, ids in enumerate(tokens) if _bucket(len(ids)) == length]
        for start in range(0, len(fitting), size):
            yield length, fitting[start : start + size]


def _bucket(count: int) -> int:
    return next(length for length in BUCKETS if count <= length)


def _encode(encoder: Encoder, group: Sequence[Sequence[int]], length: int, size: int) -> NDArray[np.float64]:
    """Rows of at most ``size`` texts, in a pass of exactly ``size`` x ``length`` tokens."""
    ids = np.zeros((size, length), dtype=np.int64)
    mask = np.zeros((size, length), dtype=np.int64)
    mask[:, 0] = 1  # places without a text hold one constant token
    for row, text in enumerate(group):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    pooled = encoder.pooled(ids, mask)[: len(group)].astype(np.float64)
    norms = np.sqrt((pooled * pooled).sum(axis=1, keepdims=True))
    unit: NDArray[np.float64] = pooled / norms
    return unit


def _workers() -> ThreadPoolExecutor:
    # Kernels release the interpreter's lock: one single-threaded pass per core is the fastest on a busy machine, too.
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))
