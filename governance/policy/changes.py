"""What a comparison of two policies says to people, in words of one language: values for a page or a terminal.

For: ``sekisho legal diff``. Not for: comparing (compare.py), the words of terms and facts (words.py), laying out
(evidence/policy_pages.py).

    changes(comparison, old, new, "ja") -> what becomes allowed and forbidden, by one example each; a row a clause
    marked(old_text, new_text)          -> pieces of a text, each the same, added or removed

An example is a whole study that one version permits and the other denies; the facts that make the difference are
marked, and the clause that denies it says why in the same words as a denial does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..language import LANGUAGES, Language
from .always_clauses import ALWAYS
from .compare import ClauseChange, Comparison, FieldChange, Verdict, Witness
from .decide import ClauseResult, decide
from .escape import quantities
from .explain import denials
from .grant_clauses import GRANTS
from .policy import Policy, Provision
from .request import Request
from .sides import Sides
from .words import Phrase, allowed, catalogue, fact_name, fact_value, field_name, listed, word

Mark = Literal["same", "added", "removed"]
# Words of one script at a time: Japanese writes no spaces, and a change of one word must not mark the whole sentence.
WORDS = re.compile(
    r"\s+|[A-Za-z0-9]+(?:[.,:-][0-9A-Za-z]+)*|[\u3041-\u309f]+|[\u30a1-\u30ff]+|[\u3400-\u9fff々]+|.", re.S
)
GIST = ("action", "purpose", "method", "stage", "cohort.sites", "budget.run_epsilon")
# Vocabularies of the terms outside the clauses.
HEADER_LABELS = {
    "parties.controller.country": "countries", "parties.processors.country": "countries",
    "dataset.categories": "data_categories",
}  # fmt: skip
COUNTED_UP = ("version", "supersedes")
SIGNS = {Verdict.SAME: "=", Verdict.NARROWER: "−", Verdict.WIDER: "+", Verdict.INCOMPARABLE: "±"}


@dataclass(frozen=True)
class Piece:
    """A part of a text, and whether both versions have it."""

    text: str
    mark: Mark = "same"


@dataclass(frozen=True)
class FactLine:
    """One fact of an example; ``decides`` if the other version denies the example because of it."""

    fact: str
    name: str
    value: str
    decides: bool


@dataclass(frozen=True)
class Reason:
    """Which clause of the other version denies an example, and why."""

    clause: str
    grant: bool
    name: str
    sentence: str


@dataclass(frozen=True)
class Example:
    """A study that one version permits and the other denies."""

    facts: tuple[FactLine, ...]
    reasons: tuple[Reason, ...]

    @property
    def deciding(self) -> tuple[FactLine, ...]:
        """The facts that make the difference."""
        return tuple(fact for fact in self.facts if fact.decides)

    @property
    def gist(self) -> tuple[FactLine, ...]:
        """The facts by which people tell one study from another."""
        return tuple(line for fact in GIST if (line := self.get(fact)) is not None)

    def get(self, fact: str) -> FactLine | None:
        """One of the facts."""
        return next((one for one in self.facts if one.fact == fact), None)


@dataclass(frozen=True)
class FieldRow:
    """One field in both versions; ``verdict`` is None where nothing is enforced."""

    name: str
    old: tuple[Piece, ...]
    new: tuple[Piece, ...]
    verdict: Verdict | None


@dataclass(frozen=True)
class ProseRow:
    """What people wrote, both versions in one text, in one language."""

    language: Language
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class ClauseRow:
    """One clause or grant: how it is cited, what it is called, what became of it."""

    id: str
    name: str
    state: Literal["kept", "added", "removed"]
    verdict: Verdict
    fields: tuple[FieldRow, ...]
    recorded: tuple[FieldRow, ...]
    prose: tuple[ProseRow, ...]

    @property
    def changed(self) -> bool:
        """Whether anything at all differs."""
        return self.state != "kept" or bool(self.fields or self.recorded or self.prose)

    @property
    def wording(self) -> str:
        """The key of what is odd about the wording: one language alone changed, or the fields without a word."""
        if self.state != "kept":
            return ""
        if self.fields and not self.prose:
            return "prose-none"
        return "prose-one" if len(self.prose) == 1 else ""


@dataclass(frozen=True)
class Changes:
    """Everything that a page shows of a comparison."""

    allowed: Example | None
    forbidden: Example | None
    clauses: tuple[ClauseRow, ...]
    header: tuple[FieldRow, ...]
    headings: int  # changes of the head, those left out by which every version differs from the one before
    renamed: bool  # the policy or its data set; signing and deciding refuse a later version under another name

    @property
    def others(self) -> int:
        """How many changes the verdict does not judge: recorded fields, the head, clauses with other words."""
        return self.headings + sum(len(row.recorded) + bool(row.prose) for row in self.clauses)

    @property
    def changed(self) -> tuple[ClauseRow, ...]:
        """The clauses that differ, recorded fields and prose included."""
        return tuple(row for row in self.clauses if row.changed)

    @property
    def unchanged(self) -> tuple[ClauseRow, ...]:
        """The clauses that are alike to the letter."""
        return tuple(row for row in self.clauses if not row.changed)


def changes(comparison: Comparison, old: Policy, new: Policy, language: Language) -> Changes:
    """The comparison of ``old`` and ``new`` in one language."""
    return Changes(
        allowed=_example(comparison.allowed, old, new, language),
        forbidden=_example(comparison.forbidden, new, old, language),
        clauses=tuple(_clause(change, old, new, language) for change in comparison.clauses),
        header=tuple(_recorded_row("header", change, HEADER_LABELS, language) for change in comparison.header),
        headings=sum(change.field not in COUNTED_UP for change in comparison.header),
        renamed=(old.id, old.dataset.id) != (new.id, new.dataset.id),
    )


def verdict_words(comparison: Comparison, found: Changes, say: Sides) -> str:
    """The verdict; that nothing enforced differs is not to be read as that nothing differs."""
    if comparison.verdict is Verdict.SAME and found.others:
        return say("is.same-but", number=found.others)
    return say(f"is.{comparison.verdict}")


def header_words(found: Changes, say: Sides) -> str:
    """What stands above the changes that are not judged, and whether the system minds any of them."""
    return say("header-held" if found.renamed else "header-free")


def marked(old: str, new: str) -> tuple[Piece, ...]:
    """Both texts in one, word by word: what the old one had stands before what the new one has in its place."""
    before, after = WORDS.findall(old), WORDS.findall(new)
    pieces: list[Piece] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(Piece("".join(before[a:b])))
            continue
        if b > a:
            pieces.append(Piece("".join(before[a:b]), "removed"))
        if d > c:
            pieces.append(Piece("".join(after[c:d]), "added"))
    return tuple(pieces)


def _example(witness: Witness | None, denier: Policy, permitter: Policy, language: Language) -> Example | None:
    if witness is None:
        return None
    given = witness.request.facts
    decided = decide(denier, witness.other_request)
    deciding = set(_deciding(decided.failed, denier, witness.request))
    provisions = (one for side in (permitter, denier) for one in (*side.always, *side.grants))
    # What follows from a policy's own numbers is not shown: the quantities behind it are.
    order = dict.fromkeys(held.fact for one in provisions for held in quantities(one.held))
    names = [fact for fact in order if fact in given]
    missing = word("none", language)
    lines = [(n, fact_value(n, given[n].value, language)) for n in names]
    lines += [(n, missing) for n in sorted(deciding - set(names))]
    reasons = (
        Reason(one.clause, one.type in GRANTS, one.name[language], one.reason[language])
        for one in denials(denier, decided)
    )
    facts = (FactLine(name, fact_name(name, language), value, name in deciding) for name, value in lines)
    return Example(tuple(facts), tuple(reasons))


def _deciding(failed: Sequence[ClauseResult], denier: Policy, request: Request) -> Iterator[str]:
    """The facts behind failed results: of what is worked out, those quantities that are out of range."""
    for result in failed:
        provision = _provision(denier, result.clause)
        held = next(one for one in provision.held if one.field == result.field) if provision else None
        for one in held.measured if held else ():
            fact = request.get(one.fact)
            if fact is None or not one.allowed.contains(fact.value):
                yield one.fact
        if held is None or not held.measured:
            yield result.fact


def _clause(change: ClauseChange, old: Policy, new: Policy, language: Language) -> ClauseRow:
    before, after = _provision(old, change.old_id), _provision(new, change.new_id)
    declared = ALWAYS.get(change.type) or GRANTS[change.type]
    fields = (_field_row(change.type, one, before, after, language) for one in change.fields if one.verdict is not None)
    recorded = (_recorded_row(change.type, one, declared.labels, language) for one in change.fields if not one.verdict)
    ids = [one for one in (change.old_id, change.new_id) if one is not None]
    return ClauseRow(
        id=" → ".join(dict.fromkeys(ids)),
        name=catalogue()[f"clauses.{change.type}.name"][language],
        state="added" if before is None else "removed" if after is None else "kept",
        verdict=change.verdict,
        fields=tuple(fields),
        recorded=tuple(recorded),
        prose=tuple(_prose(before, after, language)),
    )


def _provision(policy: Policy, name: str | None) -> Provision | None:
    return next((one for one in (*policy.always, *policy.grants) if one.id == name), None)


def _prose(before: Provision | None, after: Provision | None, language: Language) -> Iterator[ProseRow]:
    """Every language whose text differs, the reader's first: a change in the other one alone must not go unseen."""
    for shown in sorted(LANGUAGES, key=lambda one: one != language):
        old = before.clause.text[shown].strip() if before else ""
        new = after.clause.text[shown].strip() if after else ""
        if old != new:
            yield ProseRow(shown, marked(old, new))


def _field_row(
    type_name: str, change: FieldChange, before: Provision | None, after: Provision | None, language: Language
) -> FieldRow:
    sides = [
        next((held for held in quantities(side.held) if held.field == change.field), None) if side else None
        for side in (before, after)
    ]
    name = next((field_name(type_name, held, language) for held in sides if held is not None), change.field)
    old, new = (None if one is None else allowed(one.allowed, one.vocabulary, language) for one in sides)
    return FieldRow(name, _pieces(old, new, "removed", language), _pieces(new, old, "added", language), change.verdict)


def _recorded_row(type_name: str, change: FieldChange, labels: Mapping[str, str], language: Language) -> FieldRow:
    path = re.sub(r"\.\d+", "", change.field)
    own = f"fields.{type_name}.{path}"
    name = catalogue()[own][language] if own in catalogue() else path
    vocabulary = labels.get(path)
    old, new = (
        None if side is None else listed(side.split(", "), vocabulary, language) if vocabulary else side
        for side in (change.old, change.new)
    )
    if old is None or new is None:
        absent = _said("absent", language)
        return FieldRow(name, (Piece(old or absent),), (Piece(new or absent),), None)
    pieces = marked(old, new)
    return FieldRow(
        name,
        tuple(piece for piece in pieces if piece.mark != "added"),
        tuple(piece for piece in pieces if piece.mark != "removed"),
        None,
    )


def _pieces(own: Phrase | None, other: Phrase | None, mark: Mark, language: Language) -> tuple[Piece, ...]:
    """A phrase with the terms marked that the other side lacks; what has no terms is marked as a whole."""
    if own is None:
        return (Piece(_said("absent", language)),)
    if other is None or not own.terms:
        return (Piece(own.text(language), "same" if other is None or own == other else mark),)
    theirs = {key for key, _ in other.terms}
    pieces = [Piece(own.lead)] if own.lead else []
    for place, (key, words) in enumerate(own.terms):
        if place:
            pieces.append(Piece(word("separator", language)))
        pieces.append(Piece(words, "same" if key in theirs else mark))
    return tuple(pieces)


def _said(key: str, language: Language) -> str:
    return catalogue()[f"reading.comparison.{key}"][language]
