"""A comparison of two policies in lines for a terminal.

For: ``sekisho legal diff``. Not for: comparing (governance/policy/compare.py), what is said
(governance/policy/changes.py), the page of it (governance/evidence/policy_pages.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...governance.language import Language
from ...governance.policy.changes import (
    SIGNS,
    Changes,
    ClauseRow,
    Example,
    FactLine,
    FieldRow,
    Piece,
    changes,
    header_words,
    verdict_words,
)  # fmt: skip
from ...governance.policy.compare import Comparison, Verdict
from ...governance.policy.policy import Policy
from ...governance.policy.sides import Sides

INDENT = "  "
MARKS = {"same": ("", ""), "removed": ("[-", "-]"), "added": ("{+", "+}")}  # as version control marks words


def difference(comparison: Comparison, old: Policy, new: Policy, language: Language) -> list[str]:
    """The verdict, what becomes allowed, what becomes forbidden, clause by clause, and what is not judged."""
    found = changes(comparison, old, new, language)
    say = Sides(old, new, language)
    names = new.id if new.id == old.id else say("meta", old=old.id, new=new.id)
    verdict = f"{SIGNS[comparison.verdict]} {verdict_words(comparison, found, say)}"
    return [
        f"{names}, {say('versions', old=old.version, new=new.version)}: {verdict}",
        say(f"sentence.{comparison.verdict}"),
        "",
        *_example(found.allowed, "allowed", "denied-by-old", say),
        "",
        *_example(found.forbidden, "forbidden", "denied-by-new", say),
        "",
        *_clauses(found, say),
        "",
        *_not_judged(found, say),
        *_whole(found, say),
    ]


def _example(example: Example | None, key: str, reasons: str, say: Sides) -> Iterator[str]:
    yield say(key)
    if example is None:
        yield INDENT + say(f"{key}-none")
        return
    yield INDENT + say(f"{key}-lead")
    decided = {fact.fact for fact in example.deciding}
    for fact in (*(one for one in example.gist if one.fact not in decided), *example.deciding):
        yield INDENT + _fact(fact, say)
    yield INDENT + say(reasons)
    for reason in example.reasons:
        cited = say("grant-cited" if reason.grant else "clause-cited", id=reason.clause, name=reason.name)
        yield INDENT * 2 + say("gist", name=cited, value=reason.sentence)


def _whole(found: Changes, say: Sides) -> Iterator[str]:
    """Every fact of the examples, last: a reader who trusts the first lines need not go through them."""
    for key, example in (("example-allowed", found.allowed), ("example-forbidden", found.forbidden)):
        if example is not None:
            yield ""
            yield say("gist", name=say("whole"), value=say(key))
            yield from (INDENT + _fact(fact, say) for fact in example.facts)


def _fact(fact: FactLine, say: Sides) -> str:
    return f"{'*' if fact.decides else ' '} {say('gist', name=fact.name, value=fact.value)}"


def _clauses(found: Changes, say: Sides) -> Iterator[str]:
    yield say("clauses")
    if not found.changed:
        yield INDENT + say("clauses-same")
    for row in found.changed:
        state = "" if row.state == "kept" else f" ({say(row.state)})"
        yield f"{INDENT}{_effect(row.verdict, say)}  {row.id}. {row.name}{state}"
        for field in row.fields:
            yield INDENT * 3 + _field(field, row, say)
        for prose in row.prose:
            text = _plain(prose.pieces)
            yield INDENT * 3 + say("gist", name=say(f"prose-{prose.language}"), value=text)
        if row.wording:
            yield INDENT * 3 + say(row.wording)


def _field(field: FieldRow, row: ClauseRow, say: Sides) -> str:
    if row.state != "kept" or field.verdict is None:
        value = _plain(field.new if row.state == "added" else field.old)
        return say("gist", name=field.name, value=value)
    sides = f"{_unmarked(field.old)} → {_unmarked(field.new)}"
    return f"{say('gist', name=field.name, value=sides)}  {_effect(field.verdict, say)}"


def _not_judged(found: Changes, say: Sides) -> Iterator[str]:
    yield say("header")
    rows = [(say("heading"), field) for field in found.header]
    rows += [(f"{row.id}. {row.name}", field) for row in found.changed for field in row.recorded]
    if not rows:
        yield INDENT + say("header-none")
    else:
        yield INDENT + header_words(found, say)
    for place, field in rows:
        sides = f"{_unmarked(field.old)} → {_unmarked(field.new)}"
        yield f"{INDENT}{place}, {say('gist', name=field.name, value=sides)}"


def _effect(verdict: Verdict, say: Sides) -> str:
    return f"{SIGNS[verdict]} {say(f'is.{verdict}')}"


def _plain(pieces: Sequence[Piece]) -> str:
    return "".join(f"{MARKS[one.mark][0]}{one.text}{MARKS[one.mark][1]}" for one in pieces)


def _unmarked(pieces: Sequence[Piece]) -> str:
    return "".join(one.text for one in pieces)
