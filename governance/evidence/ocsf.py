"""Log entries as OCSF 1.9.0 events for a SIEM: one JSON object a line, in the order of time.

For: views.py. Not for: proof (the logs are), or what is routine in a step: that is much, says that a run goes on, and
views/journal.json counts it. What leaves a site is an event, each time.

    ocsf_lines(material) -> bytes; ROUTINE are the types that are left out

Three classes of the schema are used: Entity Management (3004) where something begins, changes or ends to be; API
Activity (6003) where somebody asked for something and was or was not permitted; Compliance Finding (2003) where
somebody has to look. Source: OCSF schema 1.9.0, events/{iam,application,findings}.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..canonical import canonical_bytes
from ..log.entries import Entry, EntryType
from .material import Logged, Material
from .views_words import code, of_type, words_of

SCHEMA_VERSION = "1.9.0"
PRODUCT = {"name": "Sekisho", "vendor_name": "Sekisho"}
STANDARD = "data-use policy"        # what a finding is held against: the maker's own signed paper
INFORMATIONAL, MEDIUM, HIGH = 1, 3, 4
SUCCESS, FAILURE = 1, 2
FAIL = 3                            # of a compliance check
CREATE, READ, UPDATE, DELETE = 1, 2, 3, 4
NEW = 1                             # activity and status of a finding that is first seen

ROUTINE = frozenset({
    EntryType.STEP_STARTED, EntryType.STEP_OPENED, EntryType.STEP_POSTED, EntryType.STEP_SUMMED,
    EntryType.CONTROL_TOLD, EntryType.CONSENT_SNAPSHOT, EntryType.LOG_WITNESSED, EntryType.DECISION_PERMIT,
})  # fmt: skip


@dataclass(frozen=True)
class _Change:
    activity: int
    entity: str     # the kind of thing that changed


@dataclass(frozen=True)
class _Call:
    activity: int
    succeeded: bool = True


@dataclass(frozen=True)
class _Finding:
    severity: int


Event = _Change | _Call | _Finding

EVENTS: dict[str, Event] = {
    EntryType.LOG_OPENED: _Change(CREATE, "log"),
    EntryType.LOG_RETIRED: _Change(DELETE, "log"),
    EntryType.POLICY_LOADED: _Change(UPDATE, "policy"),
    EntryType.ROSTER_ACCEPTED: _Change(UPDATE, "roster"),
    EntryType.STUDY_OFFERED: _Change(CREATE, "run"),
    EntryType.BUDGET_RESERVED: _Change(UPDATE, "privacy-budget"),
    EntryType.BUDGET_SETTLED: _Change(UPDATE, "privacy-budget"),
    EntryType.RUN_FINISHED: _Change(UPDATE, "run"),
    EntryType.RUN_RESUMED: _Change(UPDATE, "run"),
    EntryType.RELEASE_PUBLISHED: _Change(CREATE, "adapter"),
    EntryType.RELEASE_REVOKED: _Change(DELETE, "adapter"),
    EntryType.REMEDY_DONE: _Change(UPDATE, "adapter"),
    EntryType.CONSENT_IMPORTED: _Change(UPDATE, "consent-register"),
    EntryType.CONSENT_WITHDRAWN: _Change(UPDATE, "consent-register"),
    EntryType.CONSENT_ERASED: _Change(DELETE, "consent-record"),
    EntryType.RUN_JOINED: _Call(CREATE),
    EntryType.STEP_DISCLOSED: _Call(CREATE),
    EntryType.COUNTS_DISCLOSED: _Call(CREATE),
    EntryType.PERSONAL_ASKED: _Call(READ),
    EntryType.ADAPTER_USED: _Call(READ),
    EntryType.DECISION_REFUSE: _Call(CREATE, succeeded=False),
    EntryType.RELEASE_REFUSED: _Call(CREATE, succeeded=False),
    EntryType.VALIDATION_OPENED: _Call(READ),
    EntryType.STOP_HONOURED: _Finding(HIGH),
    EntryType.RUN_STOPPED: _Finding(MEDIUM),
    EntryType.STEP_ABANDONED: _Finding(MEDIUM),
    EntryType.BLOCK_ROLLED_BACK: _Finding(MEDIUM),
    EntryType.LEDGER_DISPUTED: _Finding(HIGH),
    EntryType.LOG_CONTRADICTED: _Finding(HIGH),
    EntryType.REMEDY_DUE: _Finding(MEDIUM),
}
UNNAMED = _Change(UPDATE, "log")    # a type that came later is an event all the same


def ocsf_lines(material: Material) -> bytes:
    """One event a line, each RFC 8785; those of a proof of misbehaviour last, since it has no time of its own."""
    kinds = [kind for kind in EntryType if kind not in ROUTINE]
    last = max((one.entry.at for one in material.entries), default=material.roster.created)
    events = [event(one) for one in material.of(*kinds)]
    events += [_misbehaviour(one.member, str(one.value.get("kind", "")), last) for one in material.misbehaviour]
    return b"".join(canonical_bytes(one) + b"\n" for one in events)


def event(logged: Logged) -> dict[str, Any]:
    """One entry as an event of one of the three classes."""
    entry = logged.entry
    what = EVENTS.get(entry.type, UNNAMED)
    uid = f"{logged.party}/{logged.index}"
    base: dict[str, Any] = {
        "time": _milliseconds(entry.at),
        "message": of_type(entry.type)["en"],
        "metadata": {
            "version": SCHEMA_VERSION, "product": PRODUCT, "log_name": f"{logged.party}.jsonl", "uid": uid,
            "sequence": logged.index, "original_time": entry.at.isoformat(), "event_code": entry.type,
        },
        "unmapped": {"refs": dict(entry.refs), "data": dict(entry.data)},
    }  # fmt: skip
    codes = words_of(logged, "codes", "code")
    if codes:
        base["status_code"] = codes[0]
        base["status_detail"] = "; ".join(code(name).en for name in codes)
    if isinstance(what, _Change):
        return base | _change(entry, what, uid)
    if isinstance(what, _Call):
        return base | _call(entry, what)
    return base | _finding(uid, of_type(entry.type)["en"], what.severity)


def _change(entry: Entry, what: _Change, uid: str) -> dict[str, Any]:
    names = ("adapter", "policy", "roster", "commitment", "snapshot", "run")
    found = next((entry.refs[name] for name in names if name in entry.refs), uid)
    entity: dict[str, Any] = {"type": what.entity, "uid": found, "name": what.entity}
    if "version" in entry.data:
        entity["version"] = str(entry.data["version"])
    return _classed("Identity & Access Management", 3, "Entity Management", 4, what.activity,
                    ("Create", "Read", "Update", "Delete")[what.activity - 1]) | {
        "severity_id": INFORMATIONAL, "status_id": SUCCESS, "actor": _actor(entry), "entity": entity}  # fmt: skip


def _call(entry: Entry, what: _Call) -> dict[str, Any]:
    return _classed("Application Activity", 6, "API Activity", 3, what.activity,
                    ("Create", "Read", "Update", "Delete")[what.activity - 1]) | {
        "severity_id": INFORMATIONAL if what.succeeded else MEDIUM,
        "status_id": SUCCESS if what.succeeded else FAILURE,
        "actor": _actor(entry),
        "api": {"operation": entry.type, "service": {"name": PRODUCT["name"]}},
        "src_endpoint": {"name": entry.party},
    }  # fmt: skip


def _finding(uid: str, words: str, severity: int) -> dict[str, Any]:
    return _classed("Findings", 2, "Compliance Finding", 3, NEW, "Create") | {
        "severity_id": severity,
        "status_id": NEW,
        "finding_info": {"uid": uid, "title": words},
        "compliance": {"standards": [STANDARD], "status_id": FAIL},
    }  # fmt: skip


def _misbehaviour(member: str, kind: str, at: datetime) -> dict[str, Any]:
    return {
        "time": _milliseconds(at), "message": "proof of misbehaviour",
        "metadata": {"version": SCHEMA_VERSION, "product": PRODUCT, "uid": member, "event_code": "misbehaviour"},
        "unmapped": {"member": member, "kind": kind},
    } | _finding(member, "proof of misbehaviour", HIGH)  # fmt: skip


def _classed(category: str, category_uid: int, name: str, number: int, activity: int, words: str) -> dict[str, Any]:
    class_uid = category_uid * 1000 + number
    return {
        "category_uid": category_uid, "category_name": category, "class_uid": class_uid, "class_name": name,
        "activity_id": activity, "activity_name": words, "type_uid": class_uid * 100 + activity,
    }  # fmt: skip


def _actor(entry: Entry) -> dict[str, Any]:
    return {"app_name": PRODUCT["name"], "app_uid": entry.party}


def _milliseconds(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp() * 1000)
