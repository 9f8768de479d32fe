"""A comparison of two policies in lines for a terminal.

For: ``sekisho legal diff``. Not for: comparing (governance/policy/compare.py), what is said
(governance/policy/changes.py), the page of it (governance/evidence/policy_pages.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...governance.language import Language
from ...governance.policy.changes import SIGNS, Changes, ClauseRow, Example, FactLine, FieldRow, Piece, changes
from ...governance.policy.compare import Comparison, Verdict
from ...governance.policy.policy import Policy
from ...governance.policy.words import catalogue

INDENT = "  "
MARKS = {"same": ("", ""), "removed": ("[-", "-]"), "added": ("{+", "+}")}  # as version control marks words


def difference(comparison: Comparison, old: Policy, new: Policy, language: Language) -> list[str]:
    """The verdict, what becomes allowed, what becomes forbidden, clause by clause, and what is not judged."""
    found = changes(comparison, old, new, language)
    names = new.id if new.id == old.id else _say("meta", language, old=old.id, new=new.id)
    verdict = f"{SIGNS[comparison.verdict]} {_say(f'is.{comparison.verdict}', language)}"
    return [
        f"{names}, {_say('versions', language, old=old.version, new=new.version)}: {verdict}",
        _say(f"sentence.{comparison.verdict}", language),
        "",
        *_example(found.allowed, "allowed", "denied-by-old", language),
        "",
        *_example(found.forbidden, "forbidden", "denied-by-new", language),
        "",
        *_clauses(found, language),
        "",
        *_not_judged(found, language),
        *_whole(found, language),
    ]


def _example(example: Example | None, key: str, reasons: str, language: Language) -> Iterator[str]:
    yield _say(key, language)
    if example is None:
        yield INDENT + _say(f"{key}-none", language)
        return
    yield INDENT + _say(f"{key}-lead", language)
    decided = {fact.fact for fact in example.deciding}
    for fact in (*(one for one in example.gist if one.fact not in decided), *example.deciding):
        yield INDENT + _fact(fact, language)
    yield INDENT + _say(reasons, language)
    for reason in example.reasons:
        cited = _say("grant-cited" if reason.grant else "clause-cited", language, id=reason.clause, name=reason.name)
        yield INDENT * 2 + _say("gist", language, name=cited, value=reason.sentence)


def _whole(found: Changes, language: Language) -> Iterator[str]:
    """Every fact of the examples, last: a reader who trusts the first lines need not go through them."""
    for key, example in (("example-allowed", found.allowed), ("example-forbidden", found.forbidden)):
        if example is not None:
            yield ""
            yield _say("gist", language, name=_say("whole", language), value=_say(key, language))
            yield from (INDENT + _fact(fact, language) for fact in example.facts)


def _fact(fact: FactLine, language: Language) -> str:
    return f"{'*' if fact.decides else ' '} {_say('gist', language, name=fact.name, value=fact.value)}"


def _clauses(found: Changes, language: Language) -> Iterator[str]:
    yield _say("clauses", language)
    if not found.changed:
        yield INDENT + _say("clauses-same", language)
    for row in found.changed:
        state = "" if row.state == "kept" else f" ({_say(row.state, language)})"
        yield f"{INDENT}{_effect(row.verdict, language)}  {row.id}. {row.name}{state}"
        for field in row.fields:
            yield INDENT * 3 + _field(field, row, language)
        for prose in row.prose:
            text = _plain(prose.pieces)
            yield INDENT * 3 + _say("gist", language, name=_say(f"prose-{prose.language}", language), value=text)


def _field(field: FieldRow, row: ClauseRow, language: Language) -> str:
    if row.state != "kept" or field.verdict is None:
        value = _plain(field.new if row.state == "added" else field.old)
        return _say("gist", language, name=field.name, value=value)
    sides = f"{_unmarked(field.old)} → {_unmarked(field.new)}"
    return f"{_say('gist', language, name=field.name, value=sides)}  {_effect(field.verdict, language)}"


def _not_judged(found: Changes, language: Language) -> Iterator[str]:
    yield _say("header", language)
    rows = [(_say("heading", language), field) for field in found.header]
    rows += [(f"{row.id}. {row.name}", field) for row in found.changed for field in row.recorded]
    if not rows:
        yield INDENT + _say("header-none", language)
    for place, field in rows:
        sides = f"{_unmarked(field.old)} → {_unmarked(field.new)}"
        yield f"{INDENT}{place}, {_say('gist', language, name=field.name, value=sides)}"


def _effect(verdict: Verdict, language: Language) -> str:
    return f"{SIGNS[verdict]} {_say(f'is.{verdict}', language)}"


def _plain(pieces: Sequence[Piece]) -> str:
    return "".join(f"{MARKS[one.mark][0]}{one.text}{MARKS[one.mark][1]}" for one in pieces)


def _unmarked(pieces: Sequence[Piece]) -> str:
    return "".join(one.text for one in pieces)


def _say(key: str, language: Language, **values: object) -> str:
    texts = {name: str(value) for name, value in values.items()}
    return catalogue().render(f"reading.comparison.{key}", language, **texts)
