"""YAML 1.2 read strictly: what a lawyer sees in the file is what the machine sees; every refusal has a place.

Not for: what the fields mean (each document's own model), signatures (signing/envelope.py), data files.

    read_document(data, name=...) -> Document -> validate_model(document, Model) -> Model

Refused, each under its own code with line and column: anchors, aliases, tags, merge keys, directives,
duplicate keys, several documents, unquoted fractions, text that a comment cuts off, hidden or reordering characters,
text that is not UTF-8 or not NFC, other programs' files, more than 256 KiB, 20 levels or 20,000 values. ``NO`` is text
(YAML 1.2), not false. The words for people stand in wording.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StreamMark, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from .canonical import canonical_bytes
from .characters import first_fault
from .errors import BadDocumentError
from .fields import Digest, DocumentModel, Exact, Identifier, Moment
from .plaintext import first_byte_fault
from .wording import said, syntax, telling, unquoted

# A document's model takes its field types from here, too.
__all__ = [
    "Digest", "Document", "DocumentModel", "Exact", "Identifier", "Moment", "Path", "Place", "read_document",
    "validate_model",
]  # fmt: skip

PAPERS = 64  # parsed documents that are remembered: those of a study with some twenty sites
MAX_BYTES = 256 * 1024  # a long policy in two languages has 20 KiB
MAX_DEPTH = 20  # our documents need 6
MAX_VALUES = 20_000  # a large roster has 1,000; bounds the time to read a hostile file
MAX_WHOLE_NUMBER = 2**53 - 1  # beyond it RFC 8785 has no exact form

Path = tuple[str | int, ...]
Place = tuple[int, int]  # line and column, from 1

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_LIKE_NUMBER = re.compile(
    r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|0[xo][0-9A-Fa-f]+"
)


@dataclass(frozen=True)
class Document:
    """A parsed file: its bytes, its plain value, and where in the file each part stands."""

    name: str
    data: bytes
    value: Any
    _values: dict[Path, Place]
    _keys: dict[Path, Place]

    def place(self, path: Path) -> Place:
        """Line and column of the value at ``path``, or of the nearest value around it that exists."""
        while path not in self._values and path:
            path = path[:-1]
        return self._values.get(path, (1, 1))

    def key_place(self, path: Path) -> Place:
        """Line and column of the field's name itself."""
        return self._keys.get(path) or self.place(path)

    def at(self, path: Path) -> Any:
        """The value at ``path``; raises KeyError or IndexError if there is none."""
        value: Any = self.value
        for part in path:
            value = value[part]
        return value

    def refuse(self, code: str, sentence: str, hint: str, path: Path = (), *, key: bool = False) -> NoReturn:
        """Raise BadDocumentError at the place of ``path``."""
        line, column = self.key_place(path) if key else self.place(path)
        raise BadDocumentError(code, sentence, hint, file=self.name, line=line, column=column)


def read_document(data: bytes, *, name: str) -> Document:
    """Parse one YAML 1.2 document; BadDocumentError with line and column for anything it may not contain."""
    read = _read(data, name)
    return replace(read, value=deepcopy(read.value))


# Every decision reads its papers from the disk again, so that a change is seen; the same bytes are parsed once.
@lru_cache(maxsize=PAPERS)
def _read(data: bytes, name: str) -> Document:
    return _Reader(name).read(data)


class _Reader:
    """Turns parse events into plain values and places; events still show the aliases and tags to refuse."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.values: dict[Path, Place] = {}
        self.keys: dict[Path, Place] = {}

    def read(self, data: bytes) -> Document:
        text = self.decode(data)
        self.text = text
        self.check_characters(text, (1, 1))
        self.check_directives(text)
        # The parser raises bare ValueErrors for odd escapes, without a place.
        try:
            value = self.parse(YAML(typ="safe", pure=True).parse(text))
        except MarkedYAMLError as error:
            at, opened = (_place(mark) if mark else None for mark in (error.problem_mark, error.context_mark))
            words, place = syntax(str(error.problem or error.context), text, at=at, opened=opened)
            self.refuse(words.code, words.sentence, words.hint, place)
        except (YAMLError, ValueError, OverflowError, RecursionError) as error:
            self.refuse(
                "YAML_SYNTAX", "the file cannot be read",
                "remove backslashes between quotation marks, and see that the marks come in pairs",
                (1, 1), error,
            )
        return Document(self.name, data, value, self.values, self.keys)

    def refuse(self, code: str, sentence: str, hint: str, place: Place, cause: BaseException | None = None) -> NoReturn:
        raise BadDocumentError(code, sentence, hint, file=self.name, line=place[0], column=place[1]) from cause

    def decode(self, data: bytes) -> str:
        if len(data) > MAX_BYTES:
            self.refuse(
                "DOCUMENT_TOO_LARGE",
                f"the file has {len(data)} bytes, more than the {MAX_BYTES} that a document may have",
                "see whether this is the right file, and take out what does not belong in it",
                (1, 1),
            )
        fault = first_byte_fault(data)
        if fault is not None:
            before = data[: fault.index].decode("utf-8")
            self.refuse(fault.code, fault.sentence, fault.hint, _place_in(before, len(before)))
        return data.decode("utf-8")

    def check_characters(self, text: str, start: Place) -> None:
        fault = first_fault(text)
        if fault is not None:
            line, column = _place_in(text, fault.index)
            place = (start[0] + line - 1, column if line > 1 else start[1] + column - 1)
            self.refuse(fault.code, fault.sentence, fault.hint, place)

    def parse(self, events: Iterator[Event]) -> Any:
        next(events)  # the stream's start
        first = next(events)
        if isinstance(first, StreamEndEvent):
            hint = "write the document; comments alone say nothing"
            self.refuse("EMPTY_DOCUMENT", "the file has no content", hint, (1, 1))
        value = self.node(next(events), events, (), 0)
        next(events)  # the document's end
        after = next(events)
        if not isinstance(after, StreamEndEvent):
            self.refuse(
                "SEVERAL_DOCUMENTS",
                "the file holds more than one document",
                "keep one document in a file, and remove the line with --- or ...",
                _place(after.start_mark),
            )
        return value

    def check_directives(self, text: str) -> None:
        directive = re.search(r"^%", text, re.MULTILINE)
        if directive:
            place = _place_in(text, directive.start())
            self.refuse(
                "YAML_DIRECTIVE",
                "a line that begins with % can change how the file is read",
                "remove the line; if it is text, put it in quotes",
                place,
            )

    def node(self, event: Event, events: Iterator[Event], path: Path, depth: int) -> Any:
        place = _place(event.start_mark)
        self.values[path] = place
        if len(self.values) > MAX_VALUES:
            self.refuse("TOO_MANY_VALUES", f"the file has more than {MAX_VALUES} values",
                        "see whether this is the right file, and take out what does not belong in it", place)
        if isinstance(event, AliasEvent):
            self.refuse(
                "YAML_ALIAS",
                "a value that begins with * stands for text elsewhere in the file",
                "write the text out here; if the * is meant as text, put the value in quotes",
                place,
            )
        if getattr(event, "anchor", None):
            self.refuse(
                "YAML_ANCHOR",
                "a value that begins with & names text for use elsewhere in the file",
                "remove the & and its name; if the & is meant as text, put the value in quotes",
                place,
            )
        if getattr(event, "tag", None):
            self.refuse(
                "YAML_TAG",
                "a value that begins with ! changes what kind of value it is",
                "remove the ! and its word; if the ! is meant as text, put the value in quotes",
                place,
            )
        if isinstance(event, ScalarEvent):
            return self.scalar(event, place)
        if depth >= MAX_DEPTH:
            self.refuse(
                "TOO_DEEP",
                f"more than {MAX_DEPTH} levels stand inside one another",
                "take out brackets and indentation that are not needed; a policy needs six levels",
                place,
            )
        if isinstance(event, SequenceStartEvent):
            return self.sequence(events, path, depth)
        if isinstance(event, MappingStartEvent):
            return self.mapping(events, path, depth)
        self.refuse("YAML_SYNTAX", "the file cannot be read here", "check the indentation", place)

    def sequence(self, events: Iterator[Event], path: Path, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(events), SequenceEndEvent):
            items.append(self.node(event, events, (*path, len(items)), depth + 1))
        return items

    def check_not_cut(self, event: ScalarEvent, place: Place) -> None:
        if _swallows(event.value, self.text[event.end_mark.index : event.end_mark.index + 80]):
            self.refuse(
                "COMMENT_IN_TEXT",
                "this text ends before the sign #, with which a comment begins",
                "put the text in quotes; a comment after it goes behind the closing quotation mark",
                place,
            )

    def mapping(self, events: Iterator[Event], path: Path, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(events), MappingEndEvent):
            key, place = self.key(event)
            if key in items:
                self.refuse(
                    "DUPLICATE_KEY",
                    f"the field {key} is given twice in the same block",
                    "keep the one that is meant; if this is a new clause, begin it with a dash (- id: ...)",
                    place,
                )
            self.keys[(*path, key)] = place
            items[key] = self.node(next(events), events, (*path, key), depth + 1)
        return items

    def key(self, event: Event) -> tuple[str, Place]:
        place = _place(event.start_mark)
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            self.node(event, iter(()), (), 0)  # raises the matching refusal
        if isinstance(event, ScalarEvent) and event.value == "<<" and event.style is None:
            self.refuse(
                "YAML_MERGE_KEY", "the sign << copies fields from elsewhere", "write the fields out here", place
            )
        if not isinstance(event, ScalarEvent) or not _KEY.fullmatch(event.value):
            self.refuse(
                "BAD_KEY", "the name of a field is not plain half-width text",
                "use half-width letters, digits and . _ : / - in names, and half-width spaces to indent; "
                "a file of another tool is written anew", place,
            )
        return event.value, place

    def scalar(self, event: ScalarEvent, place: Place) -> Any:
        text: str = event.value
        # Escapes in quotes can bring in what the file's own characters may not.
        self.check_characters(text, place)
        if event.style is not None:
            return text
        self.check_not_cut(event, place)
        if text in ("", "~", "null", "Null", "NULL"):
            return None
        if text in ("true", "True", "TRUE"):
            return True
        if text in ("false", "False", "FALSE"):
            return False
        if _WHOLE.fullmatch(text) and abs(int(text)) <= MAX_WHOLE_NUMBER:
            return int(text)
        if _LIKE_NUMBER.fullmatch(text):
            self.refuse("UNQUOTED_NUMBER", f"the number {text[:40]} is not in quotes", unquoted(text), place)
        return text


def _swallows(text: str, rest: str) -> bool:
    """Whether the comment after an unquoted text may have been meant as a part of it: ``Contract #12``."""
    comment = re.match(r" +#(.?)", rest)
    return comment is not None and (" " in text or comment[1] not in ("", " ", "\n", "\r"))


def _place_in(text: str, index: int) -> Place:
    return (text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def _place(mark: StreamMark) -> Place:
    return (mark.line + 1, mark.column + 1)


_Model = TypeVar("_Model", bound=BaseModel)


def validate_model(document: Document, model: type[_Model], path: Path = ()) -> _Model:
    """The document, or the part at ``path``, as the model; else BadDocumentError at the offending place.

    Validation is strict and runs over the canonical JSON, so that what is signed is what was checked. Codes:
    UNKNOWN_FIELD, MISSING_FIELD, WRONG_TYPE, BAD_VALUE, and those that a model raises as PydanticCustomError.
    """
    try:
        return model.model_validate_json(canonical_bytes(document.at(path)), strict=True)
    except ValidationError as error:
        _refuse_first(document, path, error.errors(include_url=False))


def _refuse_first(document: Document, path: Path, errors: list[ErrorDetails]) -> NoReturn:
    found = [(_resolve(document, (*path, *error["loc"])), error) for error in telling(errors)]
    at, error = min(found, key=lambda pair: document.key_place(pair[0]))
    words = said(error, errors)
    at_key = error["type"] == "extra_forbidden" or error["loc"][-1:] == ("[key]",) or error["input"] is None
    field = error.get("ctx", {}).get("field")  # where two fields contradict each other, one of them is shown
    document.refuse(words.code, words.sentence, words.hint, (*at, field) if field else at, key=at_key)


def _resolve(document: Document, location: Path) -> Path:
    """The part of a validator's location that the document has (it also names alternatives of a union)."""
    path: Path = ()
    value: Any = document.value
    for part in location:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            continue
        path = (*path, part)
    return path
