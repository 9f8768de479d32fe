"""What a careful colleague would point out in a policy that is valid and still may not be what its authors want.

Not for: refusing anything (policy.py refuses a file, decide.py a request); a remark is a remark, "error" says that the
policy cannot do what it seems to be for.

    lint(policy, now=now) -> Remarks, the gravest first: .code .clause .field .level .text (in both languages)

Rules that hold of every clause are here; those of single clause types are in lint_rules.py, in one table. Each code has
its level there and its words in texts/lint.toml. The clock is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from re import split
from typing import Any, Literal

from ..language import Catalogue, Text
from .combine import combine
from .decide import ACTION
from .escape import escape_clause
from .lint_rules import RULES, Finding, of_the_actions
from .policy import Policy, Provision
from .prose import only_in_one_language, only_in_prose

Level = Literal["error", "warning", "note"]

LEVELS: dict[Level, tuple[str, ...]] = {
    # The policy cannot be used, or not lawfully, as it stands.
    "error": (
        "EXPIRED", "PERMITS_NOTHING", "GRANT_PERMITS_NOTHING", "SPECIAL_WITHOUT_BASIS", "TRAIN_CANNOT_LEAVE",
        "RELEASE_CANNOT_LEAVE",
    ),
    # Probably not meant, or weaker than people will believe.
    "warning": (
        "EXPIRES_SOON", "STOP_LIST_OLD", "CONSENT_BASIS_UNUSED", "SPECIAL_WITHOUT_CONSENT", "SPECIAL_NOT_DECLARED",
        "DESTINATION_LACKS_PARTY", "MEASURE_LACKING", "FEW_HONEST", "UNIT_RECORD", "EPSILON_LARGE", "DELTA_LARGE",
        "LIFETIME_BEYOND_SITES", "UNDISCLOSED_MODELS", "REQUESTER_APPROVES", "NO_EVIDENCE_KEPT",
        "RELEASE_WITHOUT_TRAIN", "GRANT_VACUOUS", "PROSE_NUMBER", "LANGUAGES_DIFFER", "SUPERSEDES_MISSING",
    ),
    # Worth a second look.
    "note": (
        "NOT_YET_VALID", "VALID_FOR_LONG", "CONSENT_WITHOUT_BASIS", "LEAVES_UNUSED", "SINGLE_RUN", "WITHDRAWAL_KEEPS",
        "TRAIN_WITHOUT_RELEASE", "CLAUSES_OUT_OF_ORDER", "SUPERSEDES_FIRST",
    ),
}  # fmt: skip
LEVEL_OF: dict[str, Level] = {code: level for level, codes in LEVELS.items() for code in codes}


@dataclass(frozen=True)
class Remark:
    """One thing to look at again; ``clause`` and ``field`` are None where it concerns the whole policy or clause."""

    code: str
    clause: str | None
    field: str | None
    level: Level
    text: Text

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {**vars(self), "text": self.text.model_dump()}


def lint(policy: Policy, *, now: datetime) -> tuple[Remark, ...]:
    """Everything worth pointing out, gravest first, then in the order of the file; ``now`` with its zone."""
    found = [_remark(finding, None) for finding in _of_the_whole(policy)]
    for provision in (*policy.always, *policy.grants):
        of_its_type = RULES.get(provision.type)
        findings = [*_of_any(provision), *(of_its_type(policy, provision.clause, now) if of_its_type else ())]
        found += [_remark(finding, provision.id) for finding in findings]
    found += [_remark(finding, clause) for clause, finding in _of_grants(policy)]
    return tuple(sorted(found, key=lambda one: list(LEVELS).index(one.level)))


def _remark(finding: Finding, clause: str | None) -> Remark:
    key = f"lint.{finding.code}"
    values = {"clause": clause or "", **finding.values}
    text = Text(en=_texts().render(key, "en", **values), ja=_texts().render(key, "ja", **values))
    return Remark(finding.code, clause, finding.field, LEVEL_OF[finding.code], text)


@cache
def _texts() -> Catalogue:
    return Catalogue.load(__name__.removesuffix(".policy.lint"), "texts")


def _of_the_whole(policy: Policy) -> Iterator[Finding]:
    if combine({"": policy}).conflicts:
        yield Finding("PERMITS_NOTHING")
    if policy.version > 1 and policy.header.supersedes is None:
        yield Finding("SUPERSEDES_MISSING", "supersedes", {"version": str(policy.version)})
    if policy.version == 1 and policy.header.supersedes is not None:
        yield Finding("SUPERSEDES_FIRST", "supersedes")
    yield from of_the_actions(policy)
    for provisions in (policy.always, policy.grants):
        ids = [provision.id for provision in provisions]
        if ids != sorted(ids, key=_as_counted):
            yield Finding("CLAUSES_OUT_OF_ORDER", None, {"ids": ", ".join(ids)})


def _as_counted(clause_id: str) -> list[tuple[bool, int, str]]:
    """Sorts 2 before 10, and 2a after 2."""
    parts = (part for part in split(r"(\d+)", clause_id) if part)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _of_any(provision: Provision) -> Iterator[Finding]:
    told = only_in_prose(provision.clause)
    if told:
        yield Finding("PROSE_NUMBER", "text", {"numbers": ", ".join(format(number, "f") for number in told)})
    lacking = only_in_one_language(provision.clause.text)
    if lacking:
        yield Finding("LANGUAGES_DIFFER", "text", {"numbers": ", ".join(format(number, "f") for number in lacking)})


def _of_grants(policy: Policy) -> Iterator[tuple[str, Finding]]:
    for place, grant in enumerate(policy.grants):
        if escape_clause(grant, ()) is None:
            yield grant.id, Finding("GRANT_PERMITS_NOTHING")
            continue
        within = [other for other in policy.grants if other.id != grant.id and escape_clause(grant, (other,)) is None]
        # Of two that say the same, the later one is the vacuous one.
        more = [one for one in within if one in policy.grants[:place] or escape_clause(one, (grant,)) is not None]
        if more:
            yield grant.id, Finding("GRANT_VACUOUS", ACTION, {"other": more[0].id})
