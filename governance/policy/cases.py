"""Requests that a policy must permit and must refuse, written beside it by whoever writes the policy; read and run.

For: `sekisho legal test`. Not for: deciding (decide.py), printing (core/cli/templates.py).

    read_cases(data, name, policy) -> Cases -> run_cases(policy, cases) -> Trial(.outcomes, .uncovered, .agrees)

A file of cases, all fields required:

    schema: sekisho-cases/1
    policy: id of the policy that they are about
    base: {fact: value, ...}             # one whole request; each fact comes from the source that the policy demands
    cases:
      - name: {en, ja}
        change: {fact: value}            # or {fact: null}: not known; {fact: {value: , source: }}: another vouches
        expect: permit                   # or {refuse: [{clause: "6", code: COHORT_TOO_SMALL}]}: these and no others

A value is written as its clause writes what it allows: whole numbers plainly, exact ones and times in quotes, sets as
lists, terms of the vocabulary. Where several grants refuse, the one that comes nearest is meant (decide.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field as Bounds
from pydantic import TypeAdapter, ValidationError

from ..canonical import canonical_bytes
from ..document import Document, Path, read_document, validate_model
from ..fields import DocumentModel, Exact, Identifier, Moment
from ..language import Text
from ..vocabulary import refuse_unknown
from ..wording import said, telling
from .clause import Held
from .decide import ACTION, FACT_CODES, Decision, decide
from .lattice import Interval, Requires, Truth, Window, Within
from .policy import Policy
from .request import SOURCES, Fact, Request

SCHEMA = "sekisho-cases/1"
MAX_CASES = 500  # a careful policy has 50
PERMIT = "permit"
_EXAMPLE = 'write permit, or {refuse: [{clause: "6", code: COHORT_TOO_SMALL}]}'


class _Refusal(DocumentModel):
    clause: Identifier
    code: Annotated[str, Bounds(pattern=r"^[A-Z][A-Z_]{2,60}$")]


class _Refuse(DocumentModel):
    refuse: Annotated[tuple[_Refusal, ...], Bounds(min_length=1, max_length=100)]


class _Case(DocumentModel):
    name: Text
    change: Mapping[str, Any]
    expect: Any


class _File(DocumentModel):
    schema_: Literal["sekisho-cases/1"] = Bounds(alias="schema")
    policy: Identifier
    base: Mapping[str, Any]
    cases: Annotated[tuple[_Case, ...], Bounds(min_length=1, max_length=MAX_CASES)]


Failure = tuple[str, str]  # clause id and code


@dataclass(frozen=True)
class Case:
    """One request and what is expected: ``refused`` is empty where it must be permitted."""

    name: Text
    line: int
    request: Request
    refused: frozenset[Failure]


@dataclass(frozen=True)
class Cases:
    """All cases of one file, in its order."""

    policy: str
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Outcome:
    """What the policy said to one case."""

    case: Case
    decision: Decision

    @property
    def refused(self) -> frozenset[Failure]:
        """Clause and code of everything that did not hold; empty exactly if permitted."""
        return frozenset((result.clause, str(result.code)) for result in self.decision.failed)

    @property
    def agrees(self) -> bool:
        """Whether exactly what was expected came out."""
        return self.refused == self.case.refused


@dataclass(frozen=True)
class Trial:
    """All outcomes, and which constraints (clause.field) no expected refusal touches."""

    outcomes: tuple[Outcome, ...]
    uncovered: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether every case came out as expected; what is uncovered is a remark, not a disagreement."""
        return all(outcome.agrees for outcome in self.outcomes)


def read_cases(data: bytes, name: str, policy: Policy) -> Cases:
    """Read a file of cases for ``policy``; BadDocumentError with line and column for whatever does not fit it."""
    document = read_document(data, name=name)
    file = validate_model(document, _File)
    if file.policy != policy.id:
        document.refuse(
            "OTHER_POLICY",
            f"these cases are about the policy {file.policy}, and the policy is {policy.id}",
            "write the policy's id here, or name the cases that belong to it (--cases)",
            ("policy",),
        )
    held = {one.fact: one for provision in (*policy.always, *policy.grants) for one in provision.held}
    base = _facts(document, ("base",), file.base, held)
    cases = []
    for index, case in enumerate(file.cases):
        path: Path = ("cases", index)
        facts = {**base, **_facts(document, (*path, "change"), case.change, held)}
        request = Request({name: fact for name, fact in facts.items() if fact is not None})
        expected = _expected(document, (*path, "expect"), case.expect, policy)
        cases.append(Case(case.name, document.place(path)[0], request, expected))
    return Cases(file.policy, tuple(cases))


def run_cases(policy: Policy, cases: Cases) -> Trial:
    """Hold every case against the policy."""
    outcomes = tuple(Outcome(case, decide(policy, case.request)) for case in cases.cases)
    touched = {
        (result.clause, result.field)
        for outcome in outcomes
        if outcome.case.refused and outcome.agrees
        for result in outcome.decision.failed
    }
    # The action only tells grants apart: another action is another grant's matter.
    constraints = (
        (provision.id, one.field)
        for provision in (*policy.always, *policy.grants)
        for one in provision.held
        if one.field != ACTION
    )
    uncovered = tuple(f"{clause}.{field}" for clause, field in constraints if (clause, field) not in touched)
    return Trial(outcomes, uncovered)


def _expected(document: Document, path: Path, expect: object, policy: Policy) -> frozenset[Failure]:
    if expect == PERMIT:
        return frozenset()
    if not isinstance(expect, dict):
        document.refuse("BAD_VALUE", "what is expected is neither permit nor refuse", _EXAMPLE, path)
    provisions = {one.id: one for one in (*policy.always, *policy.grants)}
    for index, one in enumerate(validate_model(document, _Refuse, path).refuse):
        place: Path = (*path, "refuse", index)
        provision = provisions.get(one.clause)
        if provision is None:
            known = ", ".join(provisions)
            document.refuse("UNKNOWN_CLAUSE", f"the policy has no clause {one.clause}", f"it has {known}",
                            (*place, "clause"))  # fmt: skip
        codes = (*provision.declared.codes, *FACT_CODES)
        if one.code not in codes:
            document.refuse("UNKNOWN_CODE", f"clause {one.clause} never refuses with {one.code}",
                            f"its codes: {', '.join(codes)}", (*place, "code"))  # fmt: skip
    return frozenset((one["clause"], one["code"]) for one in expect["refuse"])


def _facts(
    document: Document, path: Path, written: Mapping[str, Any], held: Mapping[str, Held]
) -> dict[str, Fact | None]:
    found: dict[str, Fact | None] = {}
    for name, value in written.items():
        at: Path = (*path, name)
        if name not in held:
            hint = f"the policy asks for: {', '.join(sorted(held))}"
            document.refuse("UNKNOWN_FACT", f"no clause of the policy asks for {name}", hint, at, key=True)
        found[name] = _fact(document, at, value, held[name])
    return found


def _fact(document: Document, at: Path, value: object, held: Held) -> Fact | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        return Fact(_typed(document, at, value, held), held.source)
    if set(value) != {"value", "source"}:
        document.refuse("BAD_VALUE", "a fact that somebody else vouches for needs its value and its source",
                        "write {value: ..., source: study}", at)  # fmt: skip
    if value["source"] not in SOURCES:
        known = ", ".join(SOURCES)
        document.refuse("UNKNOWN_SOURCE", "nobody vouches for facts under this name", f"known: {known}",
                        (*at, "source"))  # fmt: skip
    return Fact(_typed(document, (*at, "value"), value["value"], held), value["source"])


_WHOLE: TypeAdapter[Any] = TypeAdapter(int)
_EXACT: TypeAdapter[Any] = TypeAdapter(Exact)
_MOMENT: TypeAdapter[Any] = TypeAdapter(Moment)
_TRUTH: TypeAdapter[Any] = TypeAdapter(bool)
_SET: TypeAdapter[Any] = TypeAdapter(frozenset[str])
_TEXT: TypeAdapter[Any] = TypeAdapter(str)


def _kind(held: Held) -> TypeAdapter[Any]:
    """How a fact is written that this constraint is held against."""
    allowed = held.allowed
    if isinstance(allowed, Interval):
        return _WHOLE if allowed.whole else _EXACT
    if isinstance(allowed, Window):
        return _MOMENT
    if isinstance(allowed, Truth):
        return _TRUTH
    return _SET if isinstance(allowed, Within | Requires) else _TEXT


def _typed(document: Document, at: Path, value: object, held: Held) -> object:
    try:
        typed = _kind(held).validate_json(canonical_bytes(value), strict=True)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        words = said(telling(errors)[0], errors)
        document.refuse(words.code, words.sentence, words.hint, at)
    # A case that is refused for a misspelt term tests nothing; a family's vocabulary is that of its members.
    if held.vocabulary is not None and not held.member:
        for index, term in enumerate(value if isinstance(value, list) else [value]):
            refuse_unknown(document, held.vocabulary, str(term), (*at, index) if isinstance(value, list) else at)
    return typed
