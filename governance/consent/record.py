"""What a register keeps of one person's consent: events under a pseudonym, shaped as ISO/IEC TS 27560 records.

For: the values that importers make and the vault keeps; their one written form, which is what is sealed and digested.
Not for: keeping (``vault.py``), judging (``consent.py``), or names, mail addresses and record content: a subject is a
     pseudonym here, and no field has room for an address or for free text.

A TS 27560 record is a header (record, notice, purposes, lawful basis, categories of data) with a list of events. Here
every event carries its header, if it has one, so that a record can never be half there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from ..errors import BadDocumentError
from ..vocabulary import terms

# No "@" and no blank: neither a mail address nor a full name fits.
SUBJECT_PATTERN = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
SCOPE_PATTERN = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
NOTICE_PATTERN = re.compile(r"[A-Za-z0-9._:/-]{1,200}")    # an id of the notice shown, never its text
RECORD_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")    # a UUID, RFC 9562
VERSION_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,32}")
DIGEST_PATTERN = re.compile(r"sha256:[0-9a-f]{64}")
LANGUAGE_PATTERN = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})?")    # BCP 47, language and one subtag
MAX_TERMS = 16           # purposes or categories of one record; a notice that asks for more asks for everything
# Fields of a header that are lists; the others are text.
TERM_LISTS = frozenset({"purposes", "data_categories"})
HEADER_FIELDS = (
    "record_id", "purposes", "lawful_basis", "notice_version", "notice_digest", "notice_language", "data_categories",
)  # fmt: skip


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def microseconds(time: datetime) -> int:
    """An aware time as an exact integer, microseconds since 1970 UTC: what a database can compare without loss."""
    return (time - EPOCH) // MICROSECOND


def moment(count: int) -> datetime:
    """The time of ``microseconds``, in UTC. Raises ValueError for one that no datetime has."""
    try:
        return EPOCH + count * MICROSECOND
    except OverflowError as error:
        raise ValueError("no time") from error


class EventKind(StrEnum):
    """The consent states of ISO/IEC TS 27560 that a register receives; *expired* follows from ``expires``."""

    GRANTED = "granted"
    WITHDRAWN = "withdrawn"
    OBJECTED = "objected"


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """What TS 27560 says of a record beside its events; each field may be absent ("" or ()).

    ``lawful_basis``, ``purposes`` and ``data_categories`` are terms of the vocabularies of these names
    (policies/terms); ``notice_digest`` is of the bytes of the notice that was shown. Raises BadDocumentError.
    """

    record_id: str = ""
    purposes: tuple[str, ...] = ()
    lawful_basis: str = ""
    notice_version: str = ""
    notice_digest: str = ""
    notice_language: str = ""
    data_categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for pattern, value, code, sentence in (
            (RECORD_PATTERN, self.record_id, "CONSENT_BAD_RECORD_ID", "the record's id is not a UUID"),
            (VERSION_PATTERN, self.notice_version, "CONSENT_BAD_NOTICE", "the notice's version is not an id"),
            (DIGEST_PATTERN, self.notice_digest, "CONSENT_BAD_NOTICE", "the notice's digest is not a SHA-256"),
            (LANGUAGE_PATTERN, self.notice_language, "CONSENT_BAD_NOTICE", "the notice's language is not BCP 47"),
        ):
            if value and not pattern.fullmatch(value):
                raise BadDocumentError(code, sentence)
        if self.lawful_basis and self.lawful_basis not in terms("bases"):
            raise BadDocumentError("CONSENT_BAD_BASIS", "the lawful basis is not in policies/terms/bases.toml")
        for kind, code, values in (
            ("purposes", "CONSENT_BAD_PURPOSE", self.purposes),
            ("data_categories", "CONSENT_BAD_CATEGORY", self.data_categories),
        ):
            if len(values) > MAX_TERMS or len(set(values)) != len(values):
                raise BadDocumentError(code, f"the {kind} are too many, or one stands there twice")
            if any(value not in terms(kind) for value in values):
                raise BadDocumentError(code, f"one of the {kind} is not in policies/terms/{kind}.toml")

    def written(self) -> dict[str, Any]:
        """The fields that are there, as JSON values."""
        given = {name: getattr(self, name) for name in HEADER_FIELDS}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value}

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> RecordHeader:
        """The header of ``fields``, lists as lists of text. Raises BadDocumentError."""
        values: dict[str, Any] = {}
        for name, value in fields.items():
            values[name] = _terms(value) if name in TERM_LISTS else value
            if name not in HEADER_FIELDS or (name not in TERM_LISTS and not isinstance(value, str)):
                raise BadDocumentError("CONSENT_ROW_FIELDS", "the row has missing or unknown fields")
        return cls(**values)


def _terms(value: object) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(term, str) for term in value):
        raise BadDocumentError("CONSENT_ROW_FIELDS", "a list of terms is not a list of text")
    return tuple(value)


NO_HEADER = RecordHeader()


@dataclass(frozen=True, slots=True)
class ConsentEvent:
    """One event of one pseudonymous subject, with the header of its TS 27560 record where the site has one.

    ``scope`` is what was asked (for instance ``fl-training/2026-11``); ``at`` and ``expires`` are aware
    times; ``expires`` None means that the consent has no end. Raises BadDocumentError, one code a field.
    """

    subject: str
    scope: str
    kind: EventKind
    at: datetime
    expires: datetime | None
    notice: str
    header: RecordHeader = NO_HEADER

    def __post_init__(self) -> None:
        if not SUBJECT_PATTERN.fullmatch(self.subject):
            raise BadDocumentError("CONSENT_BAD_SUBJECT", "the subject is not a pseudonymous id")
        if not SCOPE_PATTERN.fullmatch(self.scope):
            raise BadDocumentError("CONSENT_BAD_SCOPE", "the scope is not an id")
        if not NOTICE_PATTERN.fullmatch(self.notice):
            raise BadDocumentError("CONSENT_BAD_NOTICE", "the notice is not an id")
        if self.at.tzinfo is None or (self.expires is not None and self.expires.tzinfo is None):
            raise BadDocumentError("CONSENT_BAD_TIME", "a time has no zone")
        if self.expires is not None and (self.kind is not EventKind.GRANTED or self.expires <= self.at):
            raise BadDocumentError("CONSENT_BAD_EXPIRY", "only a grant expires, and only after it was given")

    def written(self) -> bytes:
        """The one written form of this event: equal events have equal bytes, and ``read_event`` gives them back.

        Fields a line each, times in microseconds since 1970 UTC: no field can hold a line break.
        """
        end = "" if self.expires is None else str(microseconds(self.expires))
        lines = [self.subject, self.scope, self.kind.value, str(microseconds(self.at)), end, self.notice]
        if self.header is not NO_HEADER and (header := self.header.written()):
            lines.append(json.dumps(header, separators=(",", ":"), sort_keys=True))
        return "\n".join(lines).encode("ascii")


def read_event(written: bytes) -> ConsentEvent:
    """The event of ``ConsentEvent.written``, validated again. Raises ValueError or BadDocumentError."""
    subject, scope, kind, at, expires, notice, *more = written.decode("ascii").split("\n")
    header = RecordHeader.read(json.loads(more[0])) if more else NO_HEADER
    end = moment(int(expires)) if expires else None
    return ConsentEvent(subject, scope, EventKind(kind), moment(int(at)), end, notice, header)
