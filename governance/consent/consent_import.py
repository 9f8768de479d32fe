"""Bring a site's consent file into the vault: every row or none, and of each bad row where it is and why.

For: reading a file of any length, a line at a time, plain or gzip.
Not for: what a row means (``rows.py``, ``fhir.py``).

Order of calls: ``import_file``, which ``ConsentRegister.import_file`` is.

A file with one bad row is refused whole, because the bad row may be the withdrawal; it is still read to its end, so
that all bad rows are listed. Everything happens in one transaction of the vault: a process that is killed in the middle
leaves the register as it was. A file that was imported before, byte for byte, is recognised by its digest. Row content
never reaches a message: a refused row is a file name, a line number and a code.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import BadDocumentError
from .record import ConsentEvent
from .rows import RowFormat
from .vault import Vault

Progress = Callable[[str, int, int], None]      # stage, done, total
PER_CENT = 100
LINES_BETWEEN = 5000     # lines between two looks at how far the file has been read
PIECE = 2**20            # bytes digested at a time


def silent(_stage: str, _done: int, _total: int) -> None:
    """For who watches nothing."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """Where a row stands and why it was refused; ``line`` counts from 1. Holds nothing of the row itself."""

    file: str
    line: int
    code: str


@dataclass(frozen=True)
class ImportReport:
    """What an import did: ``recorded`` new events, ``known`` that were there already, ``refused`` rows.

    ``erased`` rows belong to subjects who were erased since, and are not taken. ``good`` rows could be read. With a
    refused row, and in a dry run, nothing was recorded.
    """

    recorded: int
    known: int
    refused: tuple[RefusedRow, ...]
    erased: int = 0
    good: int = 0


def import_file(
    vault: Vault, path: Path, form: RowFormat, *, progress: Progress = silent, dry_run: bool = False
) -> ImportReport:
    """Record every row of ``path``, or none. ``progress`` is told per cent of the file.

    Raises BadDocumentError CONSENT_FILE_UNREADABLE if the file is missing or is no gzip file though so named, and what
    the vault raises.
    """
    if dry_run:
        good, refused = 0, []
        for row in read_rows(path, form, progress):
            if isinstance(row, RefusedRow):
                refused.append(row)
            else:
                good += 1
        return ImportReport(0, 0, tuple(refused), good=good)
    # 1. the same file again: nothing to read
    digest = file_digest(path, form)
    known = vault.imported(digest)
    if known is not None:
        return ImportReport(0, known, (), good=known)
    # 2. all rows in one transaction; after the first bad one only to list the others
    good, refused = 0, []
    with vault.recording() as recording:
        for row in read_rows(path, form, progress):
            if isinstance(row, RefusedRow):
                refused.append(row)
                continue
            good += 1
            if not refused:
                recording.add(row)
        # 3. a file that changed while it was read is none that could be known again
        if refused:
            recording.abandoned = True
        elif file_digest(path, form) == digest:
            recording.remember_file(digest)
    if refused:
        return ImportReport(0, 0, tuple(refused), good=good)
    return ImportReport(recording.recorded, recording.known, (), recording.erased, good)


def read_rows(path: Path, form: RowFormat, progress: Progress = silent) -> Iterator[ConsentEvent | RefusedRow]:
    """Every row of a file, in its order. Raises BadDocumentError CONSENT_FILE_UNREADABLE."""
    for number, found in form.rows(_lines(path, form.longest_line, progress)):
        yield RefusedRow(path.name, number, found) if isinstance(found, str) else found


def file_digest(path: Path, form: RowFormat) -> bytes:
    """SHA-256 of how a file is read and of its bytes."""
    digest = hashlib.sha256(form.name.encode() + b"\0")
    with _readable(path), path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.digest()


def _lines(path: Path, longest: int, progress: Progress) -> Iterator[bytes]:
    """The lines, without their ends; one that is too long is cut, and longer than ``longest`` still."""
    stage = f"{path.name}, per cent"
    with _readable(path), path.open("rb") as file:
        size = path.stat().st_size
        # a gzip file's position is that of the file below, so both are told in the same measure
        stream: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
        number = 0
        while line := stream.readline(longest + 2):
            if not line.endswith(b"\n"):
                _pass_over(stream, longest)
            if number % LINES_BETWEEN == 0:
                progress(stage, min(PER_CENT - 1, file.tell() * PER_CENT // max(size, 1)), PER_CENT)
            number += 1
            yield line.removesuffix(b"\n")
        progress(stage, PER_CENT, PER_CENT)


def _pass_over(stream: Any, longest: int) -> None:
    while (rest := stream.readline(longest + 2)) and not rest.endswith(b"\n"):
        pass


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise BadDocumentError(
            "CONSENT_FILE_UNREADABLE",
            "the consent file cannot be read",
            "check the path; a site's own lies beside its policy: is this that site's machine, and its study's folder?",
            file=path.name,
        ) from error
