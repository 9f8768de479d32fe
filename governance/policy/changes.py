"""What a comparison of two policies says to people, in words of one language: values for a page or a terminal.

For: ``sekisho legal diff``. Not for: comparing (compare.py), the words of terms and facts (words.py), laying out
(evidence/policy_pages.py).

    changes(comparison, old, new, "ja") -> Changes: what becomes allowed and forbidden, by one example each; a row a clause
    marked(old_text, new_text)          -> pieces of a text, each the same, added or removed

An example is a whole study that one version permits and the other denies; the facts that make the difference are
marked, and the clause that denies it says why in the same words as a denial does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..language import LANGUAGES, Language
from .compare import ClauseChange, Comparison, FieldChange, Verdict, Witness
from .decide import decide
from .explain import denials
from .grant_clauses import GRANTS
from .policy import Policy, Provision
from .words import Phrase, allowed, catalogue, fact_name, fact_value, field_name, word

Mark = Literal["same", "added", "removed"]
# Words of one script at a time: Japanese writes no spaces, and a change of one word must not mark the whole sentence.
WORDS = re.compile(r"\s+|[A-Za-z0-9]+(?:[.,:-][0-9A-Za-z]+)*|[\u3041-\u309f]+|[\u30a1-\u30ff]+|[\u3400-\u9fff々]+|.", re.S)
SIGNS = {Verdict.SAME: "=", Verdict.NARROWER: "−", Verdict.WIDER: "+", Verdict.INCOMPARABLE: "±"}


@dataclass(frozen=True)
class Piece:
    """A part of a text, and whether both versions have it."""

    text: str
    mark: Mark = "same"


@dataclass(frozen=True)
class FactLine:
    """One fact of an example; ``decides`` if the other version denies the example because of it."""

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
    """A study that one version permits and the other denies; ``reasons`` are those of the nearest grant and all clauses."""

    facts: tuple[FactLine, ...]
    reasons: tuple[Reason, ...]

    @property
    def deciding(self) -> tuple[FactLine, ...]:
        """The facts that make the difference."""
        return tuple(fact for fact in self.facts if fact.decides)


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
        return self.state != "kept" or self.verdict is not Verdict.SAME or bool(self.fields or self.recorded or self.prose)


@dataclass(frozen=True)
class Changes:
    """Everything that a page shows of a comparison."""

    allowed: Example | None
    forbidden: Example | None
    clauses: tuple[ClauseRow, ...]
    header: tuple[FieldRow, ...]

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
        header=tuple(_recorded_row("header", change, language) for change in comparison.header),
    )


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
    decided = decide(denier, witness.request)
    deciding = {result.fact for result in decided.failed}
    order = [held.fact for provision in (*permitter.always, *permitter.grants) for held in provision.held]
    given = witness.request.facts
    names = [*dict.fromkeys(fact for fact in order if fact in given), *sorted(set(given) - set(order))]
    facts = (FactLine(fact_name(n, language), fact_value(n, given[n].value, language), n in deciding) for n in names)
    absent = (FactLine(fact_name(n, language), word("none", language), True) for n in sorted(deciding - set(given)))
    reasons = (
        Reason(one.clause, one.type in GRANTS, one.name[language], one.reason[language])
        for one in denials(denier, decided)
    )
    return Example((*facts, *absent), tuple(reasons))


def _clause(change: ClauseChange, old: Policy, new: Policy, language: Language) -> ClauseRow:
    before, after = _provision(old, change.old_id), _provision(new, change.new_id)
    fields, recorded = [], []
    for field in change.fields:
        if field.verdict is None:
            recorded.append(_recorded_row(change.type, field, language))
        else:
            fields.append(_field_row(change.type, field, before, after, language))
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
        next((held for held in side.held if held.field == change.field), None) if side else None
        for side in (before, after)
    ]
    name = next((field_name(type_name, held, language) for held in sides if held is not None), change.field)
    old, new = (
        Phrase(written or _said("absent", language)) if held is None else
        allowed(held.allowed, held.vocabulary, language)
        for held, written in zip(sides, (change.old, change.new), strict=True)
    )  # fmt: skip
    return FieldRow(name, _pieces(old, new, "removed", language), _pieces(new, old, "added", language), change.verdict)


def _recorded_row(type_name: str, change: FieldChange, language: Language) -> FieldRow:
    own = f"fields.{type_name}.{change.field}"
    name = catalogue()[own][language] if own in catalogue() else change.field
    old, new = (value if value is not None else _said("absent", language) for value in (change.old, change.new))
    pieces = marked(old, new)
    return FieldRow(
        name,
        tuple(piece for piece in pieces if piece.mark != "added"),
        tuple(piece for piece in pieces if piece.mark != "removed"),
        None,
    )


def _pieces(own: Phrase, other: Phrase, mark: Mark, language: Language) -> tuple[Piece, ...]:
    """A phrase with the terms marked that the other side lacks; what has no terms is marked as a whole."""
    if not own.terms:
        return (Piece(own.lead, "same" if own == other else mark),)
    theirs = {key for key, _ in other.terms}
    pieces = [Piece(own.lead)] if own.lead else []
    for place, (key, words) in enumerate(own.terms):
        if place:
            pieces.append(Piece(word("separator", language)))
        pieces.append(Piece(words, "same" if key in theirs else mark))
    return tuple(pieces)


def _said(key: str, language: Language) -> str:
    return catalogue()[f"reading.comparison.{key}"][language]


def plain_text(pieces: Sequence[Piece]) -> str:
    """Pieces for a terminal: [-removed-] and {+added+}."""
    signs = {"same": ("", ""), "removed": ("[-", "-]"), "added": ("{+", "+}")}
    return "".join(f"{signs[one.mark][0]}{one.text}{signs[one.mark][1]}" for one in pieces)
