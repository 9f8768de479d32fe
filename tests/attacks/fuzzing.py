"""A small coverage-guided fuzzer: mutate, run under a line tracer, keep what reached new lines, count how each ended.

The order of two lines counts, too: an input that takes a known line after another one than before is new. Everything
follows from one seed, so a failure comes back. Each input has a deadline and a bound on the memory that it may take.
"""

from __future__ import annotations

import signal
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import FrameType, ModuleType
from typing import Any, Generic, TypeVar

from sekisho.core.errors import CoreError
from sekisho.governance.errors import GovernanceError
from sekisho.privacy.errors import PrivacyError

CODED = (CoreError, GovernanceError, PrivacyError)
DEADLINE_SECONDS = 50.0  # an input takes a millisecond; a machine may be busy

Input = TypeVar("Input")
Edge = tuple[str, int, int]


class Hang(BaseException):
    """An input was still being read at its deadline. Not an Exception, so that nothing on the way swallows it."""


@dataclass
class Reached:
    """Which lines of which modules were run, each with the line before it in the same call."""

    files: frozenset[str]
    edges: set[Edge] = field(default_factory=set)
    new: int = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        self.new = 0
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    @property
    def lines(self) -> int:
        return len({(file, line) for file, _, line in self.edges})

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        file = frame.f_code.co_filename
        if file not in self.files:
            return None
        last = frame.f_lineno

        def step(inner: FrameType, what: str, value: Any) -> Callable[..., Any]:
            nonlocal last
            edge = (file, last, inner.f_lineno)
            if edge not in self.edges:
                self.edges.add(edge)
                self.new += 1
            last = inner.f_lineno
            return step

        return step


@dataclass
class Report(Generic[Input]):
    """How all inputs ended: refused by which code, or accepted; how far they reached; the largest memory peak."""

    ended: Counter[str] = field(default_factory=Counter)
    corpus: list[Input] = field(default_factory=list)
    lines: int = 0
    edges: int = 0
    peak: int = 0

    @property
    def codes(self) -> set[str]:
        return set(self.ended) - {"accepted"}

    def __str__(self) -> str:
        ended = ", ".join(f"{name} {count}" for name, count in self.ended.most_common())
        return f"{sum(self.ended.values())} inputs, {self.lines} lines, {self.edges} edges, peak {self.peak}: {ended}"


def fuzz(
    seeds: Sequence[Input],
    mutate: Callable[[Input, Random, Sequence[Input]], Input],
    read: Callable[[Input], None],
    *,
    modules: Sequence[ModuleType],
    inputs: int,
    seed: int,
) -> Report[Input]:
    """Run ``read`` on ``inputs`` mutations of the corpus that begins with ``seeds``.

    ``read`` returns where it accepts, having asserted that what it accepted means exactly what it says; it raises a
    coded error where it refuses. Anything else that it raises, and a hang, ends the whole.
    """
    random = Random(seed)
    reached = Reached(frozenset(str(module.__file__) for module in modules))
    report: Report[Input] = Report(corpus=list(seeds))
    for one in seeds:
        with reached.watching():
            read(one)  # every seed is honest
    tracemalloc.start()
    try:
        for _ in range(inputs):
            begin = report.corpus if random.random() < 0.5 else seeds  # what is honest but for one thing gets furthest
            candidate = mutate(random.choice(begin), random, report.corpus)
            report.ended[_outcome(candidate, read, reached)] += 1
            report.peak = max(report.peak, _peak())
            if reached.new:
                report.corpus.append(candidate)
    finally:
        tracemalloc.stop()
    report.lines, report.edges = reached.lines, len(reached.edges)
    return report


def _outcome(candidate: Input, read: Callable[[Input], None], reached: Reached) -> str:
    tracemalloc.reset_peak()
    _peak.base = tracemalloc.get_traced_memory()[0]  # type: ignore[attr-defined]  # kept beside its only reader
    try:
        with reached.watching(), deadline():
            read(candidate)
    except CODED as refusal:
        return refusal.code
    return "accepted"


def _peak() -> int:
    return tracemalloc.get_traced_memory()[1] - _peak.base  # type: ignore[attr-defined, no-any-return]  # see _outcome


@contextmanager
def deadline(seconds: float = DEADLINE_SECONDS) -> Iterator[None]:
    """Raise ``Hang`` when the block takes longer; where there are no alarms, it takes as long as it takes."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


INTERESTING = (0, 1, 2, 0x0F, 0x10, 0x7F, 0x80, 0xF0, 0xFE, 0xFF)


def mutated_bytes(data: bytes, random: Random, others: Sequence[bytes] = ()) -> bytes:
    """One to four of: flip a bit, set a byte or a run, cut, insert, repeat a piece, splice with another input."""
    piece = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        place = random.randrange(len(piece) + 1)
        match random.randrange(9):
            case 0 if place < len(piece):
                piece[place] ^= 1 << random.randrange(8)
            case 1 if place < len(piece):
                piece[place] = random.choice(INTERESTING)
            case 2 if place < len(piece):
                piece[place] = random.randrange(256)
            case 3:
                length = random.choice((8, 15, 16, 64))
                piece[place : place + length] = bytes([random.choice((0, 255))]) * min(length, len(piece) - place)
            case 4:
                del piece[place : place + random.choice((1, 1, 8, 64, 200))]
            case 5:
                piece[place:place] = random.randbytes(random.choice((1, 1, 8, 64, 200)))
            case 6:
                length = random.choice((1, 8, 15, 64))
                start = random.randrange(len(piece) + 1)
                copied = piece[start : start + length]
                if random.random() < 0.5:
                    piece[place:place] = copied
                else:
                    piece[place : place + len(copied)] = copied
            case 7 if others:
                other = random.choice(others)
                cut = random.randrange(min(len(piece), len(other)) + 1)
                piece[cut:] = other[cut:]
            case 8:
                start = random.randrange(min(len(piece), 12) + 1)  # headers are short, and decide most
                piece[start : start + 1] = bytes([random.randrange(256)])
    return bytes(piece)


VALUES: tuple[object, ...] = (
    None, True, False, 0, 1, 2, 3, -1, 1 << 31, 1 << 53, 1 << 64, "", "0", "ame", "yuki", "zz", "../x", "00" * 32,
    "sha256:" + "0" * 64, "x" * 300, [], ["ame"], {}, {"a": 1},
)  # fmt: skip


def mutated_json(value: Any, random: Random) -> Any:
    """A copy of a JSON value with one field or item, at any depth, replaced, removed, added or repeated."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        copy = dict(value)
        name = random.choice(sorted(copy))
        match random.randrange(8):
            case 0:
                del copy[name]
            case 1:
                copy[random.choice(("extra", "kind", "step", "parts"))] = random.choice(VALUES)
            case 2:
                copy[name] = copy[random.choice(sorted(copy))]
            case _:
                copy[name] = mutated_json(copy[name], random)
        return copy
    if isinstance(value, list) and value and random.random() < 0.85:
        items = list(value)
        place = random.randrange(len(items))
        match random.randrange(4):
            case 0:
                del items[place]
            case 1:
                items.insert(place, items[place])
            case _:
                items[place] = mutated_json(items[place], random)
        return items
    if isinstance(value, str) and value and random.random() < 0.5:
        place = random.randrange(len(value))
        return value[:place] + random.choice("0123456789abcdefAZ:/\u3042") + value[place + 1 :]
    if isinstance(value, int) and not isinstance(value, bool) and random.random() < 0.5:
        return value + random.choice((-1, 1, 2, 1 << 20))
    return random.choice(VALUES)
