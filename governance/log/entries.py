"""What a log may say: enumerated entry types, and values that cannot carry free text.

For: one entry of a party's log as a frozen value and as its canonical bytes. Not for: details about people,
which stay in the erasable vault; a log is not erased on request, so what must be erasable must never get in.

Order of calls: ``Entry(...)`` refuses what may not be logged; ``AuditLog.append`` stores ``to_bytes``;
``Entry.from_bytes`` reads it back as strictly.

A value is a whole number, a yes or no, a digest, a code in capitals, or a short identifier; or a list of
these. An identifier can still be somebody's: entries name parties, studies, runs and pseudonyms, never
records or subjects.

Sources: RFC 8785 (bytes); C2SP tlog-tiles (65,535 bytes an entry).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from ..errors import BrokenLogError, GovernanceError, Refused
from ..signing.envelope import read_time, write_time

ENTRY_VERSION = 1
MAX_ENTRY_BYTES = 65_535     # tlog-tiles writes an entry's length in 16 bits
MAX_FIELDS = 32
MAX_LIST = 128               # 127 sites and the coordinator fit
MAX_INTEGER = 2**53 - 1      # what RFC 8785 can write exactly

Value = str | int | bool | list[str | int | bool]

_FIELD = re.compile(r"[a-z][a-z0-9_]{0,39}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_IDENTIFIER = re.compile(r"[a-z0-9._:/-]{1,80}")


class EntryType(StrEnum):
    """Everything that a log can record; a new type is a new version of this list."""

    LOG_OPENED = "log.opened"
    LOG_WITNESSED = "log.witnessed"
    LOG_CONTRADICTED = "log.contradicted"
    LOG_RETIRED = "log.retired"
    POLICY_LOADED = "policy.loaded"
    ROSTER_ACCEPTED = "roster.accepted"
    STUDY_OFFERED = "study.offered"
    STOP_HONOURED = "stop.honoured"
    CONSENT_SNAPSHOT = "consent.snapshot"
    DECISION_PERMIT = "decision.permit"
    DECISION_REFUSE = "decision.refuse"
    BUDGET_RESERVED = "budget.reserved"
    BUDGET_SETTLED = "budget.settled"
    LEDGER_DISPUTED = "ledger.disputed"
    RUN_JOINED = "run.joined"
    RUN_STOPPED = "run.stopped"
    RUN_FINISHED = "run.finished"
    RUN_RESUMED = "run.resumed"
    STEP_STARTED = "step.started"
    STEP_DISCLOSED = "step.disclosed"
    COUNTS_DISCLOSED = "counts.disclosed"
    STEP_POSTED = "step.posted"
    STEP_SUMMED = "step.summed"
    STEP_OPENED = "step.opened"
    STEP_ABANDONED = "step.abandoned"
    CONTROL_TOLD = "control.told"
    RELEASE_PUBLISHED = "release.published"
    PERSONAL_ASKED = "personal.asked"
    CONSENT_IMPORTED = "consent.imported"
    CONSENT_WITHDRAWN = "consent.withdrawn"
    CONSENT_ERASED = "consent.erased"
    REMEDY_DUE = "remedy.due"
    REMEDY_DONE = "remedy.done"
    VALIDATION_OPENED = "validation.opened"
    BLOCK_ROLLED_BACK = "block.rolled-back"
    RELEASE_REFUSED = "release.refused"
    RELEASE_REVOKED = "release.revoked"
    ADAPTER_USED = "adapter.used"


ENTRY_TYPES = frozenset(str(kind) for kind in EntryType)


@dataclass(frozen=True)
class Entry:
    """One entry. ``at`` is the writer's claim of the time; ``refs`` point at things, ``data`` measures them.

    Raises:
        Refused: ENTRY_TYPE_UNKNOWN, ENTRY_NOT_LOGGABLE (a field that could carry free text), ENTRY_TOO_LARGE.
    """

    type: str
    party: str
    at: datetime
    refs: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Value] = field(default_factory=dict)
    _body: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.type, str) or self.type not in ENTRY_TYPES:
            raise Refused("ENTRY_TYPE_UNKNOWN", "a log entry has an unknown type", "use one of EntryType")
        if not isinstance(self.party, str) or not _IDENTIFIER.fullmatch(self.party):
            raise _not_loggable("party")
        if not isinstance(self.at, datetime) or self.at.tzinfo is None:
            raise _not_loggable("at")
        for fields in (self.refs, self.data):
            if len(fields) > MAX_FIELDS:
                raise Refused("ENTRY_TOO_LARGE", "a log entry has too many fields", "split it")
            for name in fields:
                if not isinstance(name, str) or not _FIELD.fullmatch(name):
                    raise _not_loggable("a field whose name is not plain")
        for name, reference in self.refs.items():
            if not isinstance(reference, str) or not _is_plain(reference):
                raise _not_loggable(name)
        for name, value in self.data.items():
            if not _is_loggable(value):
                raise _not_loggable(name)
        # Copied and written now, so that what was checked is what will be logged.
        object.__setattr__(self, "refs", MappingProxyType(dict(self.refs)))
        object.__setattr__(self, "data", MappingProxyType({k: _copy(v) for k, v in self.data.items()}))
        object.__setattr__(self, "_body", self._written())
        if len(self._body) > MAX_ENTRY_BYTES:
            raise Refused("ENTRY_TOO_LARGE", "a log entry is larger than 65,535 bytes", "split it")

    def to_bytes(self) -> bytes:
        """The RFC 8785 bytes: the leaf of the Merkle tree."""
        return self._body

    def _written(self) -> bytes:
        # Every name and value is ASCII that needs no escape, or a whole number; for these the standard library's
        # compact sorted JSON is the RFC 8785 form, eight times as fast. A test holds it to canonical.py.
        value = {
            "v": ENTRY_VERSION,
            "type": self.type,
            "party": self.party,
            "at": write_time(self.at),
            "refs": dict(self.refs),
            "data": dict(self.data),
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")

    @classmethod
    def from_bytes(cls, data: bytes) -> Entry:
        """Read an entry; only bytes that ``to_bytes`` could have written are accepted.

        Raises:
            BrokenLogError: ENTRY_MALFORMED.
        """
        try:
            value = json.loads(data.decode("utf-8"))
            entry = cls(value["type"], value["party"], read_time(value["at"]), value["refs"], value["data"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, GovernanceError) as error:
            raise _malformed() from error
        if entry.to_bytes() != data:
            raise _malformed()
        return entry


def _is_plain(text: str) -> bool:
    """A digest, a code or an identifier: no spaces, no at sign, no script but ASCII."""
    return bool(_DIGEST.fullmatch(text) or _CODE.fullmatch(text) or _IDENTIFIER.fullmatch(text))


def _is_loggable(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= MAX_LIST and all(
            not isinstance(item, list) and _is_loggable(item) for item in value
        )
    if isinstance(value, int):  # bool is an int
        return abs(value) <= MAX_INTEGER
    return isinstance(value, str) and _is_plain(value)


def _copy(value: Value) -> Value:
    return list(value) if isinstance(value, list) else value


def _not_loggable(name: str) -> Refused:
    return Refused(
        "ENTRY_NOT_LOGGABLE", f"a log entry's {name} could carry free text or personal data",
        "log a number, a digest, a code in capitals or an identifier, and keep the rest in the vault",
    )


def _malformed() -> BrokenLogError:
    return BrokenLogError("ENTRY_MALFORMED", "a log holds bytes that no entry has", "run fsck on it")
