"""What passes between a process and its worker: the key's seed once, then pieces of words and their answers.

For: ``parallel.py`` and ``worker.py``, two ends of a pair of pipes on one machine and of one build.
Not for: anything from another machine; there is no version and no check beyond lengths.
Order of calls: ``introduce`` / ``meet`` once, then per piece ``ask`` / ``next_piece`` and ``answer`` or ``refuse``
/ ``receive``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Final

import numpy as np

from ..errors import BadParametersError
from .ciphertext import Words
from .presets import PRESETS, SEED_BYTES, Preset

ENCRYPT: Final = 1
OPEN: Final = 2
_DONE: Final = 0
_REFUSED: Final = 1
_PIECE: Final = struct.Struct("<BII")  # kind, words, seed lists
_ANSWER: Final = struct.Struct("<BI")  # done or refused, bytes of what follows


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What a worker is asked: ``words`` uint64[n] to encrypt, or to open with each site's ``seeds``."""

    kind: int
    words: Words
    seeds: tuple[bytes, ...]


class Pipe:
    """One end. Raises OSError or EOFError when the other is gone."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self._source = source
        self._sink = sink

    def introduce(self, preset: Preset, seed: bytearray) -> None:
        """Tell a new worker preset and key."""
        name = preset.name.encode()
        self._sink.write(bytes([len(name)]) + name)
        self._sink.write(seed)
        self._sink.flush()

    def meet(self) -> tuple[Preset, bytearray]:
        """What ``introduce`` said; whoever takes the seed overwrites it."""
        (length,) = self._exactly(1)
        name = self._exactly(length).decode()
        return PRESETS[name], self._exactly(SEED_BYTES)

    def ask(self, kind: int, words: Words, seeds: Sequence[bytes] = ()) -> None:
        """Send one piece of work."""
        self._sink.write(_PIECE.pack(kind, words.size, len(seeds)))
        self._sink.write(np.ascontiguousarray(words).data.cast("B"))
        for one in seeds:
            self._sink.write(one)
        self._sink.flush()

    def next_piece(self, degree: int) -> Piece | None:
        """The next piece of work, or None when no more will come."""
        try:
            kind, count, sites = _PIECE.unpack(self._exactly(_PIECE.size))
        except EOFError:
            return None
        words = np.frombuffer(self._exactly(8 * count), np.uint64)
        length = SEED_BYTES * -(-count // degree)
        return Piece(kind, words, tuple(bytes(self._exactly(length)) for _ in range(sites)))

    def answer(self, words: Words, seeds: bytes = b"") -> None:
        """Send what came of a piece."""
        self._sink.write(_ANSWER.pack(_DONE, 8 * words.size + len(seeds)))
        self._sink.write(np.ascontiguousarray(words).data.cast("B"))
        self._sink.write(seeds)
        self._sink.flush()

    def refuse(self, code: str, sentence: str, hint: str) -> None:
        """Send a coded refusal instead."""
        told = json.dumps([code, sentence, hint]).encode()
        self._sink.write(_ANSWER.pack(_REFUSED, len(told)) + told)
        self._sink.flush()

    def receive(self, words: Words, seeds: memoryview | None = None) -> None:
        """Read an answer into place; a refusal is raised as the BadParametersError that the worker met."""
        status, length = _ANSWER.unpack(self._exactly(_ANSWER.size))
        if status == _REFUSED:
            code, sentence, hint = json.loads(self._exactly(length))
            raise BadParametersError(code, sentence, hint)
        if length != 8 * words.size + (0 if seeds is None else len(seeds)):
            raise EOFError
        self._fill(words.data.cast("B"))
        if seeds is not None:
            self._fill(seeds)

    def _exactly(self, count: int) -> bytearray:
        data = bytearray(count)
        self._fill(memoryview(data))
        return data

    def _fill(self, place: memoryview) -> None:
        while place:
            count = self._source.readinto(place)  # type: ignore[attr-defined]  # binary pipes have it, IO does not
            if not count:
                raise EOFError
            place = place[count:]
