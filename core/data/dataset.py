"""A site's records, read strictly and grouped by subject; and the public test set, read the same way.

For: ``records.jsonl.gz`` and ``test.jsonl.gz``, or the same without ``.gz``: one JSON object a line.
Not for: consent and budgets (eligible.py and the ledger decide who of ``subjects`` is used), features, training.

Order of calls: ``Dataset.load(path, labels=...)`` at a site; ``TestSet.load(path, labels=..., digest=...)`` anywhere.

A refusal names file and line and never shows what stands there: messages travel further than records may.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError

MOST_BYTES = 1 << 30  # of text, unpacked: a gzip file of a few megabytes can unpack to terabytes
LONGEST_TEXT = 100_000  # characters; the base model reads the first hundred or so words of them
LONGEST_NAME = 200  # characters of an id or a subject
GROUP = re.compile(r"[a-z0-9-]{0,40}")

RECORD_FIELDS = frozenset({"id", "subject", "text", "label"})
TEST_FIELDS = frozenset({"id", "text", "label"})
# May stand in a row and is not read: what the text is about, in the example and in many exports.
IGNORED_FIELDS = frozenset({"product", "group"})


@dataclass(frozen=True)
class Record:
    """One text of one subject. Its ``repr`` shows nothing, so that no message can show it by accident."""

    id: str
    subject: str
    text: str
    label: str

    def __repr__(self) -> str:
        return "Record(...)"

    @property
    def digest(self) -> str:
        """SHA-256 of the JSON list of its fields in ASCII; it names the record, so it never leaves the site."""
        text = json.dumps([self.id, self.subject, self.label, self.text], separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A site's records by subject: subjects in order of their id, each one's records in order of theirs.

    The order of the file decides nothing, so that no record's place depends on another's.
    """

    records: Mapping[str, tuple[Record, ...]]

    @property
    def subjects(self) -> tuple[str, ...]:
        """Every subject, in order of id."""
        return tuple(self.records)

    def __len__(self) -> int:
        return sum(map(len, self.records.values()))

    def __repr__(self) -> str:
        return "Dataset(...)"

    @classmethod
    def load(cls, path: Path, *, labels: Sequence[str]) -> Dataset:
        """Read a site's records.

        Raises:
            BadInputError: RECORDS_UNREADABLE, RECORDS_TOO_LARGE, RECORDS_NOT_UTF8, RECORDS_NOT_JSON, RECORDS_FIELDS,
                RECORDS_VALUE, RECORDS_LABEL, RECORDS_DUPLICATE_ID, RECORDS_EMPTY.
        """
        rows = [
            Record(row["id"], row["subject"], row["text"], row["label"])
            for row in _rows(path, _read(path), RECORD_FIELDS, labels)
        ]
        grouped: dict[str, list[Record]] = {}
        for record in sorted(rows, key=lambda record: (record.subject, record.id)):
            grouped.setdefault(record.subject, []).append(record)
        return cls(MappingProxyType({subject: tuple(records) for subject, records in grouped.items()}))


@dataclass(frozen=True)
class TestSet:
    """The public records that every site evaluates on, in the order of the file."""

    __test__ = False  # not a test case, whatever its name says

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    digest: str
    groups: tuple[str, ...] = ()  # what each record is about, "" where it does not say; a report tells results apart

    def positive(self, label: str) -> NDArray[np.bool_]:
        """bool [n]: which records carry ``label``."""
        return np.array([own == label for own in self.labels], dtype=np.bool_)

    @classmethod
    def load(cls, path: Path, *, labels: Sequence[str], digest: str | None = None) -> TestSet:
        """Read the test set; ``digest`` ("sha256:...", over the file's bytes) is the one that the study names.

        Raises:
            BadInputError: TEST_SET_DIFFERS when the file is another one, and the codes of ``Dataset.load``.
        """
        data = _read(path)
        found = "sha256:" + hashlib.sha256(data).hexdigest()
        if digest is not None and found != digest:
            raise BadInputError(
                "TEST_SET_DIFFERS",
                f"{path.name} is not the test set that the study names",
                f"the study's test_set.digest must be {found}, or the file replaced",
            )
        rows = list(_rows(path, data, TEST_FIELDS, labels))
        return cls(
            tuple(row["text"] for row in rows),
            tuple(row["label"] for row in rows),
            found,
            tuple(_group(path, line, row) for line, row in enumerate(rows, start=1)),
        )


def _group(path: Path, number: int, row: Mapping[str, str]) -> str:
    group = row.get("group", "")
    if not isinstance(group, str) or not GROUP.fullmatch(group):
        _refuse(
            "RECORDS_VALUE",
            f"{path.name}: the group of test record {number} is not a short name",
            "write small letters, digits and hyphens, or leave the field out",
        )
    return group


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(
            "RECORDS_UNREADABLE",
            f"{path.name} cannot be read ({error.strerror})",
            "records are one JSON object a line, in records.jsonl.gz or without .gz",
        ) from None


def _rows(path: Path, data: bytes, fields: frozenset[str], labels: Sequence[str]) -> Iterator[dict[str, str]]:
    """Checked rows; every fault is refused at its line."""
    seen: set[str] = set()
    for line, row in _objects(path, data):
        where = f"{path.name}:{line}"
        present = frozenset(row)
        if not fields <= present or not present <= fields | RECORD_FIELDS | IGNORED_FIELDS:
            _refuse(
                "RECORDS_FIELDS",
                f"{where}: the row lacks a field or has one that is not known",
                f"a row has {', '.join(sorted(fields))}; {', '.join(sorted(IGNORED_FIELDS))} may stand beside them",
            )
        if not all(_is_text(row[field]) for field in fields):
            _refuse("RECORDS_VALUE", f"{where}: a field is empty or not text", "every field of a row is text")
        if len(row["text"]) > LONGEST_TEXT or any(len(row[field]) > LONGEST_NAME for field in fields - {"text"}):
            _refuse(
                "RECORDS_VALUE",
                f"{where}: a field is longer than a record's may be",
                f"a text has at most {LONGEST_TEXT} characters, every other field {LONGEST_NAME}",
            )
        if row["label"] not in labels:
            _refuse(
                "RECORDS_LABEL",
                f"{where}: the label is not one of the study's",
                f"the study knows {', '.join(labels)}",
            )
        if row["id"] in seen:
            _refuse(
                "RECORDS_DUPLICATE_ID",
                f"{where}: the row's id was used before",
                "give every record its own id",
            )
        seen.add(row["id"])
        yield row
    if not seen:
        _refuse("RECORDS_EMPTY", f"{path.name} holds no record", "a site without records cannot take part")


def _objects(path: Path, data: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    for line, raw in enumerate(_unpacked(path, data).split(b"\n"), start=1):
        if not raw.strip():
            continue
        where = f"{path.name}:{line}"
        try:
            row = json.loads(raw.decode("utf-8"), object_pairs_hook=_object)
        except UnicodeDecodeError:
            _refuse("RECORDS_NOT_UTF8", f"{where}: the line is not UTF-8 text", "save the file as UTF-8")
        except (ValueError, RecursionError):
            _refuse(
                "RECORDS_NOT_JSON",
                f"{where}: the line is not one JSON object",
                "write one object with distinct fields on one line; the line is not shown, since it may hold data",
            )
        if not isinstance(row, dict):
            _refuse(
                "RECORDS_NOT_JSON",
                f"{where}: the line is not one JSON object",
                "write one object on one line",
            )
        yield line, row


def _unpacked(path: Path, data: bytes) -> bytes:
    if not path.name.endswith(".gz"):
        if len(data) > MOST_BYTES:
            _too_large(path)
        return data
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    parts: list[bytes] = []
    size = 0
    try:
        # gzip members may follow one another; each is unpacked no further than what is left.
        while data:
            parts.append(unpacker.decompress(data, MOST_BYTES - size + 1))
            size += len(parts[-1])
            if size > MOST_BYTES:
                _too_large(path)
            if not unpacker.eof:
                raise EOFError
            data = unpacker.unused_data
            unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    except (zlib.error, EOFError):
        _refuse("RECORDS_UNREADABLE", f"{path.name} is not a whole gzip file", "pack it again, or restore it")
    return b"".join(parts)


def _is_text(value: object) -> bool:
    # JSON can spell half of a surrogate pair, which no tokenizer takes.
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= sign <= "\udfff" for sign in value)


def _too_large(path: Path) -> NoReturn:
    _refuse(
        "RECORDS_TOO_LARGE",
        f"{path.name} holds more than {MOST_BYTES >> 20} MiB of text",
        "split the data set",
    )


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError
    return row


def _refuse(code: str, sentence: str, hint: str) -> NoReturn:
    # Without a cause: the cause's message would show the line.
    raise BadInputError(code, sentence, hint) from None
