"""What of one run outlives the coordinator's process, beside its state: the message that was asked last, and the sum.

For: ``<run>.asked``, written before the message is first posted, so that whatever happens the very same bytes are
posted again; and ``<run>.sum``, written before anything says that there is a sum. Not for: cohort and outcomes
(state.py), or what follows from all this when a process comes back (resuming.py).

Both are one line of JSON and then bytes. A message that brings the sum names it in its line instead of holding it once
more: of 25 MB a step, 25 MB are written. One sum is enough: as it is made, the last message asked is the readies, and
what the sum before was for has been heard by everybody.

Order of calls: ``keep`` each message → ``keep_sum`` when there is one; ``asked`` and ``sum_of`` in the next process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...governance.canonical import digest_bytes
from ..errors import BadInputError, ProtocolError
from ..messages import SignedMessage
from ..parties import replace_file

SUM = "sum"
CLOSED = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True)
class Asked:
    """The message that was asked last, and in which phase; not verified. ``papers``: digest of those sites have."""

    phase: str
    message: SignedMessage
    papers: str


class _AskedLine(BaseModel):
    """``head``: how many bytes behind the line come before the payload; ``sum``: whose parts begin the payload."""

    model_config = CLOSED
    phase: str
    papers: str
    head: int = Field(ge=0)
    sum: str


class _SumLine(BaseModel):
    """``parts``: each one's name, length and digest."""

    model_config = CLOSED
    of: str
    parts: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True)
class _Kept:
    """Which sum lies there: ``of`` what, how long all its parts are together, and the digest of the sum itself."""

    of: str
    length: int
    total: str


class RunFiles:
    """The two files of ``run`` in ``folder``."""

    def __init__(self, folder: Path, run: str) -> None:
        self._asked = folder / f"{run}.asked"
        self._sum = folder / f"{run}.sum"
        self._kept: _Kept | None = None

    def keep(self, message: SignedMessage, phase: str, papers: str) -> None:
        """Write down what is about to be asked. Raises ``BadInputError`` STATE_UNWRITABLE."""
        kept, head = self._brought(message), message.detached()
        line = _AskedLine(phase=phase, papers=papers, head=len(head), sum=kept.of if kept else "")
        rest = memoryview(message.payload)[kept.length if kept else 0 :]
        write_durably(self._asked, [_written(line), memoryview(head), rest])

    def keep_sum(self, of: str, parts: Mapping[str, bytes], total: str) -> None:
        """Write down the sum ``of`` a step or count, as it will be forwarded; ``total``: its digest. As ``keep``."""
        digests = {name: total if name == SUM else digest_bytes(data) for name, data in parts.items()}
        line = _SumLine(of=of, parts=tuple((name, len(data), digests[name]) for name, data in parts.items()))
        write_durably(self._sum, [_written(line), *(memoryview(data) for data in parts.values())])
        self._kept = _Kept(of, sum(map(len, parts.values())), total)

    def asked(self) -> Asked | None:
        """What was asked last; None where nothing was. Raises ``BadInputError`` RUN_UNREADABLE."""
        found = self._wire()
        if found is None:
            return None
        try:
            return Asked(found[0].phase, SignedMessage.from_bytes(found[1]), found[0].papers)
        except ProtocolError:
            raise unreadable(self._asked.name) from None

    def wire(self) -> bytes:
        """The bytes of what was asked last. Raises as ``asked``."""
        found = self._wire()
        if found is None:
            raise unreadable(self._asked.name)
        return found[1]

    def sum_of(self, of: str, total: str) -> dict[str, bytes] | None:
        """The parts of the sum ``of`` a step or count, whose digest is ``total``; None where another one lies there.

        Raises:
            BadInputError: RUN_UNREADABLE.
        """
        found = _read(self._sum, _SumLine)
        if found is None or found[0].of != of:
            return None
        parts, start = {}, 0
        for name, length, digest in found[0].parts:
            parts[name] = bytes(found[1][start : start + length])
            start += length
            if digest_bytes(parts[name]) != digest or (name == SUM and digest != total):
                raise unreadable(self._sum.name)
        if start != len(found[1]) or SUM not in parts:
            raise unreadable(self._sum.name)
        self._kept = _Kept(of, start, total)
        return parts

    def drop(self) -> None:
        """Nothing is asked again: the run has ended."""
        self._asked.unlink(missing_ok=True)
        self._sum.unlink(missing_ok=True)

    def _brought(self, message: SignedMessage) -> _Kept | None:
        """The sum that the message brings: its payload begins with that sum's parts, as far as the sum itself."""
        length = 0
        for part in message.header.parts:
            length += part.length
            if part.name == SUM and self._kept and (length, part.digest) == (self._kept.length, self._kept.total):
                return self._kept
        return None

    def _wire(self) -> tuple[_AskedLine, bytes] | None:
        found = _read(self._asked, _AskedLine)
        if found is None:
            return None
        line, rest = found
        brought = memoryview(b"")
        if line.sum:
            summed = _read(self._sum, _SumLine)
            if summed is None or summed[0].of != line.sum:
                raise unreadable(self._sum.name)
            brought = summed[1]
        return line, b"".join((rest[: line.head], brought, rest[line.head :]))


def write_durably(path: Path, data: bytes | Sequence[memoryview]) -> None:
    """Replace a private file, atomically; it is there after a loss of power. Raises ``BadInputError``."""
    replace_file(path, data)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the name as well as the bytes
    finally:
        os.close(descriptor)


def unreadable(name: str) -> BadInputError:
    """What the coordinator has written down of a run is not what it wrote."""
    return BadInputError(
        "RUN_UNREADABLE",
        f"{name}, which says where the run stands, is damaged or of another release",
        hint="stop the run at all sites by its name; what was started stays charged",
    )


_Line = TypeVar("_Line", _AskedLine, _SumLine)


def _written(line: BaseModel) -> memoryview:
    return memoryview(line.model_dump_json().encode("ascii") + b"\n")


def _read(path: Path, form: type[_Line]) -> tuple[_Line, memoryview] | None:
    """The line and what stands behind it; None where there is no such file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError:
        raise unreadable(path.name) from None
    end = data.find(b"\n")
    try:
        return form.model_validate_json(data[: max(end, 0)]), memoryview(data)[end + 1 :]
    except ValidationError:
        raise unreadable(path.name) from None
