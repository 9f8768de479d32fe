"""Which entries of a log a selection holds: rules over what entries say of themselves, without reading or writing any.

For: exporting a run, a period or a model instead of everything. Not for: reading logs (core), proving that an entry is
in one (governance/log), or judging whether a selection is enough; what it left out cannot be seen in it.

Order of calls: `survey` every log once -> `wanted` over all of them -> `selected` of every log, which reads it again.
Nothing here holds a log in memory: a survey grows with the number of runs.

A run is given whole or not at all: one that a period touches is taken with all its entries. With it comes what it rests
on, by type (`BEARING`): policy, roster and register as they stood when it began, stops that were in force, withdrawals
that came in the middle.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from types import MappingProxyType

from ..errors import BadDocumentError, BrokenLogError
from ..log.entries import EntryType
from ..signing.envelope import read_time, write_time


class ScopeKind(StrEnum):
    """What an exporter can set out to give; all but the first are selections."""

    ALL = "all"
    RUN = "run"
    PERIOD = "period"
    MODEL = "model"
    SUBJECT = "subject"


@dataclass(frozen=True)
class Scope:
    """``of``: the run, the digest of the adapter, or the site that a person asked. A period is ``[since, until)``."""

    kind: ScopeKind = ScopeKind.ALL
    of: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        period = self.since is not None and self.until is not None and self.since < self.until
        if bool(self.of) != (self.kind in (ScopeKind.RUN, ScopeKind.MODEL, ScopeKind.SUBJECT)):
            raise BadDocumentError("EVIDENCE_SCOPE", "the scope does not say of what", "name one run, model or site")
        if period != (self.kind is ScopeKind.PERIOD):
            raise BadDocumentError("EVIDENCE_SCOPE", "a period needs its two ends, in order", "give --from and --until")

    @property
    def whole(self) -> bool:
        """Whether every log is given whole."""
        return self.kind is ScopeKind.ALL

    def written(self) -> dict[str, str]:
        """As the signed manifest says it."""
        said = {"kind": str(self.kind)}
        if self.of:
            said["of"] = self.of
        if self.since is not None and self.until is not None:
            said |= {"from": write_time(self.since), "until": write_time(self.until)}
        return said


EVERYTHING = Scope()


class Bearing(Enum):
    """Why an entry belongs to a run."""

    OWN = "it names the run, or what came of it"
    STATE = "the last one before the run began says how things stood then; and so does each one during it"
    ORDER = "it stands until it is lifted: every one before the end of the run"
    EVENT = "it bears on the run if it falls into it"


BEARING: Mapping[EntryType, Bearing] = MappingProxyType({
    EntryType.LOG_OPENED: Bearing.STATE,
    EntryType.LOG_WITNESSED: Bearing.EVENT,
    EntryType.LOG_CONTRADICTED: Bearing.EVENT,
    EntryType.LOG_RETIRED: Bearing.STATE,
    EntryType.POLICY_LOADED: Bearing.STATE,
    EntryType.ROSTER_ACCEPTED: Bearing.STATE,
    EntryType.STUDY_OFFERED: Bearing.OWN,
    EntryType.STOP_HONOURED: Bearing.ORDER,
    EntryType.CONSENT_SNAPSHOT: Bearing.OWN,
    EntryType.DECISION_PERMIT: Bearing.OWN,
    EntryType.DECISION_REFUSE: Bearing.OWN,
    EntryType.BUDGET_RESERVED: Bearing.OWN,
    EntryType.BUDGET_SETTLED: Bearing.OWN,
    EntryType.LEDGER_DISPUTED: Bearing.OWN,
    EntryType.RUN_JOINED: Bearing.OWN,
    EntryType.RUN_STOPPED: Bearing.OWN,
    EntryType.RUN_FINISHED: Bearing.OWN,
    EntryType.RUN_RESUMED: Bearing.OWN,
    EntryType.STEP_STARTED: Bearing.OWN,
    EntryType.STEP_DISCLOSED: Bearing.OWN,
    EntryType.COUNTS_DISCLOSED: Bearing.OWN,
    EntryType.STEP_POSTED: Bearing.OWN,
    EntryType.STEP_SUMMED: Bearing.OWN,
    EntryType.STEP_OPENED: Bearing.OWN,
    EntryType.STEP_ABANDONED: Bearing.OWN,
    EntryType.CONTROL_TOLD: Bearing.OWN,
    EntryType.RELEASE_PUBLISHED: Bearing.OWN,
    EntryType.PERSONAL_ASKED: Bearing.OWN,
    EntryType.CONSENT_IMPORTED: Bearing.STATE,
    EntryType.CONSENT_WITHDRAWN: Bearing.EVENT,
    EntryType.CONSENT_ERASED: Bearing.EVENT,
    EntryType.REMEDY_DUE: Bearing.OWN,
    EntryType.REMEDY_DONE: Bearing.OWN,
    EntryType.VALIDATION_OPENED: Bearing.OWN,
    EntryType.BLOCK_ROLLED_BACK: Bearing.OWN,
    EntryType.RELEASE_REFUSED: Bearing.OWN,
    EntryType.RELEASE_REVOKED: Bearing.OWN,
    EntryType.ADAPTER_USED: Bearing.OWN,
})
# What a log says of a run long after it ended: these do not make the run's time longer.
AFTERWARDS = frozenset({
    EntryType.REMEDY_DUE, EntryType.REMEDY_DONE, EntryType.RELEASE_REVOKED, EntryType.ADAPTER_USED,
    EntryType.RELEASE_PUBLISHED, EntryType.RELEASE_REFUSED,
})


@dataclass(frozen=True)
class Row:
    """What the rules read of an entry: its number, type and time, the run and the adapters that it names."""

    index: int
    type: EntryType
    at: str
    run: str
    adapters: tuple[str, ...]

    @classmethod
    def read(cls, index: int, body: bytes) -> Row:
        """From an entry's bytes as they lie in a log. Raises BrokenLogError ENTRY_MALFORMED."""
        try:
            entry = json.loads(body)
            refs = entry["refs"]
            adapters = tuple(refs[name] for name in ("adapter", "successor") if name in refs)
            return cls(index, EntryType(entry["type"]), entry["at"], refs.get("run", ""), adapters)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BrokenLogError(
                "ENTRY_MALFORMED", "a log holds bytes that no entry has", "run fsck on it"
            ) from error

    def within(self, scope: Scope) -> bool:
        """Whether the entry's own time falls into the period."""
        if scope.since is None or scope.until is None:
            return False
        return scope.since <= read_time(self.at) < scope.until


@dataclass
class Survey:
    """One log: between which entries each run happened, which adapters it named, and which runs a period touches."""

    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    adapters: dict[str, set[str]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Wanted:
    """What a scope comes to over all logs."""

    scope: Scope
    runs: frozenset[str]
    adapters: frozenset[str]


def survey(rows: Iterable[Row], scope: Scope) -> Survey:
    """Read one log through."""
    found = Survey()
    for row in rows:
        if not row.run:
            continue
        if row.type not in AFTERWARDS:
            first, _ = found.spans.get(row.run, (row.index, 0))
            found.spans[row.run] = first, row.index
        found.adapters.setdefault(row.run, set()).update(row.adapters[:1])     # not what took its place
        if row.within(scope):
            found.touched.add(row.run)
    return found


def wanted(surveys: Sequence[Survey], scope: Scope, runs: Iterable[str] = ()) -> Wanted:
    """The runs and adapters of the scope; of a subject request ``runs`` are those that reached the person.

    Raises:
        BadDocumentError: EVIDENCE_NOTHING, when no log knows the run or the model.
    """
    chosen = set(runs)
    for one in surveys:
        chosen |= one.touched
        if scope.kind is ScopeKind.RUN and (scope.of in one.spans or scope.of in one.adapters):
            chosen.add(scope.of)
        if scope.kind is ScopeKind.MODEL:
            chosen |= {run for run, adapters in one.adapters.items() if scope.of in adapters}
    if scope.kind in (ScopeKind.RUN, ScopeKind.MODEL) and not chosen:
        raise BadDocumentError("EVIDENCE_NOTHING", f"no log of this study knows this {scope.kind}",
                               "see the names of runs with `sekisho study status`, and give an adapter's own folder")
    adapters = {adapter for one in surveys for run in chosen for adapter in one.adapters.get(run, ())}
    return Wanted(scope, frozenset(chosen), frozenset(adapters))


def selected(rows: Iterable[Row], found: Survey, want: Wanted) -> Iterator[int]:
    """The numbers of the entries that belong to the selection, in order."""
    spans = [found.spans[run] for run in sorted(want.runs) if run in found.spans]
    begins = {first for first, _ in spans}
    end = max((last for _, last in spans), default=-1)
    chosen: set[int] = set()
    opened = False                           # the period has begun in this log
    before: dict[EntryType, int] = {}        # the last entry of each type that says how things stand
    for row in rows:
        bearing = BEARING[row.type]
        own = row.run in want.runs or bool(want.adapters & set(row.adapters)) or row.within(want.scope)
        during = bearing is not Bearing.OWN and any(first <= row.index <= last for first, last in spans)
        if own or during or (bearing is Bearing.ORDER and row.index <= end):
            chosen.add(row.index)
        if row.index in begins or (row.within(want.scope) and not opened):
            chosen |= set(before.values())
            opened = opened or row.within(want.scope)
        if bearing is Bearing.STATE:
            before[row.type] = row.index
    yield from sorted(chosen)
