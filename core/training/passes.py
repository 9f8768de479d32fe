"""Passes of a fixed shape: whoever shares a pass with a record must not change the record's numbers by a bit.

For: ``groups`` (who shares a pass), ``attention_bias`` (what a record may see), ``workers`` (one pass per core, each
on one thread), ``fill`` (all passes of a call), ``place_matters`` (is it true on this machine?). Not for: what a pass
computes (prefix.py, lora.py, causal.py).

Every pass is ``ROWS`` records at one of three public lengths, filled with constants where records run short, and runs
on one thread: what a kernel computes for a record then cannot depend on its neighbours' number or length, or on the
number of cores. That it does not depend on the record's place either is tried out. (The usual layout, sorted and padded
to the longest, changed the gradients of 3 in 47 neighbours in float32.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from .features import BUCKETS, ROWS, Progress, nothing_shown
from .going_on import never_stops

MOST_CORES = 8  # a pass at the longest length holds some 100 MB while it runs backward

Item = TypeVar("Item")
Bench = TypeVar("Bench")


def groups(lengths: Sequence[int], size: int) -> Iterator[tuple[int, list[int]]]:
    """(public length, places of at most ``size`` records that fit it), longest first: the last pass is a short one."""
    for length in reversed(BUCKETS):
        fitting = [place for place, own in enumerate(lengths) if bucket(own) == length]
        for start in range(0, len(fitting), size):
            yield length, fitting[start : start + size]


def bucket(tokens: int) -> int:
    """The public length at which a record of so many tokens is computed, wherever it stands."""
    return next(length for length in BUCKETS if tokens <= length)


def attention_bias(lengths: Sequence[int], rows: int, length: int) -> torch.Tensor:
    """float32 [rows, 1, 1, length]: 0 at a record's tokens, the lowest number at fillings. Places without a record have
    one constant token.

    Given as it stands, always: from a plain mask transformers makes none at all where every record of the pass is of
    full length, and so takes another path for the same record beside other neighbours.
    """
    bias = torch.full((rows, 1, 1, length), torch.finfo(torch.float32).min)
    bias[:, :, :, 0] = 0.0
    for row, own in enumerate(lengths):
        bias[row, :, :, :own] = 0.0
    return bias


def cores() -> int:
    """Cores that are used: those this process may use, or fewer, since each has a pass in memory."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(own, MOST_CORES)


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """One worker per core, each on one thread; the process's own number of threads is left as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def fill(
    found: NDArray[np.float64],
    lengths: Sequence[int],
    size: int,
    benches: Sequence[Bench],
    run: Callable[[Bench, list[int], int], NDArray[np.float64]],
    progress: Progress = nothing_shown,
    check: Callable[[], None] = never_stops,
) -> None:
    """Every row of ``found``: ``run(bench, places, length)`` computes those of one pass, on a bench that is free.

    ``lengths`` are the records' own, ``benches`` the models that may compute at the same time; ``progress`` is told
    (done, total) records. ``check`` is asked before every pass; what it raises ends the call with the passes at work.
    """
    free: SimpleQueue[Bench] = SimpleQueue()
    for bench in benches:
        free.put(bench)

    def one(group: list[int], length: int) -> NDArray[np.float64]:
        check()
        bench = free.get()
        try:
            return run(bench, group, length)
        finally:
            free.put(bench)

    with workers() as pool:
        waiting = {pool.submit(one, group, length): group for length, group in groups(lengths, size)}
        done = 0
        progress(done, len(lengths))
        for future in as_completed(waiting):
            group = waiting.pop(future)
            found[group] = future.result()
            done += len(group)
            progress(done, len(lengths))


def place_matters(
    run: Callable[[Sequence[Item], int], Sequence[NDArray[np.float32]]], made: Callable[[int], Item]
) -> bool:
    """Whether a record gets other bits at another place of a pass or beside other neighbours, on this machine.

    ``run(items, length)`` computes a pass and gives one array for each item; ``made(n)`` makes an item of n tokens.
    Kernels choose their path by shape, not by value, and the shapes are these three.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for length in BUCKETS:
            probe = made(length - 3)
            others = [made(2 + (7 * place) % (length - 2)) for place in range(ROWS)]
            expected = run([probe], length)[0].tobytes()
            for probed in (range(ROWS), range(0, ROWS, 2), range(1, ROWS, 2)):
                found = run([probe if place in probed else others[place] for place in range(ROWS)], length)
                if any(found[place].tobytes() != expected for place in probed):
                    return True
    finally:
        torch.set_num_threads(before)
    return False
