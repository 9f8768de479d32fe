"""A policy and a decision in words: what the machine will enforce, and why it said no, in both languages.

Not for: deciding (decide.py), laying out pages (evidence/page.py). Works from the declarations and the texts; knows no
clause type by name.

    explain(policy, "ja") -> lines to print                    explanations(policy) -> one value per provision
    denials(policy, decision) -> one value per failed constraint, with reason and nearest fix

The prose of a policy is what people wrote; the explanation is what the typed fields make the machine do. Both are
shown beside each other, so that a difference can be seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from ..language import LANGUAGES, Language, Text
from ..quoting import quoted
from .clause import Held
from .decide import FACT_CODES, ClauseResult, Decision
from .policy import Policy, Provision
from .words import catalogue, joined, listed, source_words, term, word


@dataclass(frozen=True)
class Explanation:
    """One clause or grant: its name, what its authors wrote, what is enforced, and what is only recorded."""

    id: str
    type: str
    name: Text
    prose: Text
    enforced: Text
    recorded: Text | None


@dataclass(frozen=True)
class Denial:
    """Why one constraint of one clause does not hold, and what would change that.

    ``source`` says who vouches for what was observed; of a missing fact, who would have to.
    """

    code: str
    clause: str
    type: str
    field: str
    fact: str
    name: Text
    reason: Text
    fix: Text
    source: Text


def explain(policy: Policy, language: Language) -> list[str]:
    """Lines for a terminal: per provision its number and name, the prose, and what the system will enforce."""
    grants = {provision.id for provision in policy.grants}
    lines: list[str] = []
    for one in explanations(policy):
        key = "clauses.words.grant" if one.id in grants else "clauses.words.enforced"
        lines.append(f"{one.id}. {one.name[language]}")
        lines += [f"   {line}" for line in quoted(one.prose[language])]
        lines.append("   " + catalogue().render(key, language, text=one.enforced[language]))
        if one.recorded is not None:
            lines.append("   " + catalogue().render("clauses.words.recorded", language, text=one.recorded[language]))
    return lines


def explanations(policy: Policy) -> tuple[Explanation, ...]:
    """One explanation per clause and grant, in the order of the file."""
    return tuple(_explanation(provision) for provision in (*policy.always, *policy.grants))


def denials(policy: Policy, decision: Decision) -> tuple[Denial, ...]:
    """One denial per failed constraint, in the order of the decision; empty exactly if it permits."""
    provisions = {provision.id: provision for provision in (*policy.always, *policy.grants)}
    return tuple(_denial(provisions[result.clause], result) for result in decision.failed)


def name_of(clause_type: str) -> Text:
    """What people call a clause type."""
    return catalogue()[f"clauses.{clause_type}.name"]


def _explanation(provision: Provision) -> Explanation:
    base = f"clauses.{provision.type}"
    values = {language: _values_of(provision, language) for language in LANGUAGES}
    recorded = _both(f"{base}.recorded", values) if provision.declared.recorded else None
    return Explanation(
        id=provision.id,
        type=provision.type,
        name=name_of(provision.type),
        prose=provision.clause.text,
        enforced=_both(f"{base}.enforce", values),
        recorded=recorded,
    )


def _denial(provision: Provision, result: ClauseResult) -> Denial:
    held = next(one for one in provision.held if one.field == result.field)
    code = str(result.code)
    values = {language: _values_of_denial(held, result, language) for language in LANGUAGES}
    return Denial(
        code=code,
        clause=result.clause,
        type=result.type,
        field=result.field,
        fact=result.fact,
        name=name_of(provision.type),
        reason=_both(f"clauses.codes.{code}.reason", values),
        fix=_both(f"clauses.codes.{code}.fix", values),
        source=Text(**{language: source_words(result.source or held.source, language) for language in LANGUAGES}),
    )


def _both(key: str, values: Mapping[Language, Mapping[str, str]]) -> Text:
    return Text(
        en=catalogue().render(key, "en", **values["en"]),
        ja=catalogue().render(key, "ja", **values["ja"]),
    )


def _values_of_denial(held: Held, result: ClauseResult, language: Language) -> dict[str, str]:
    observed = result.observed or ""
    values = {
        "fact": result.fact,
        "observed": observed or word("none", language),
        "source": source_words(result.source, language),
        "required": source_words(held.source, language),
        "allowed": listed(held.allowed.parts(), held.vocabulary, language),
        "offending": observed,
        "member": term(held.member, held.vocabulary, language),
    }
    if result.code not in FACT_CODES:
        values["observed"] = listed(observed.split(", ") if observed else (), held.vocabulary, language)
        values["offending"] = listed(result.offending, held.vocabulary, language)
    return values


def _values_of(provision: Provision, language: Language) -> dict[str, str]:
    """Every field of the clause by name, dots written as underscores, in words."""
    return {
        path.replace(".", "_"): _in_words(value, provision.declared.labels.get(path), language)
        for path, value in _leaves(provision.clause, "")
    }


def _leaves(model: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        path = prefix + (field.alias or name)
        if isinstance(value, Text):
            continue
        if isinstance(value, BaseModel):
            yield from _leaves(value, path + ".")
        else:
            yield path, value


def _in_words(value: Any, vocabulary: str | None, language: Language) -> str:  # noqa: PLR0911  one return a type
    if isinstance(value, bool):
        return word("yes" if value else "no", language)
    if isinstance(value, datetime):
        # a second that is not shown could still be the one that decides
        return value.isoformat(sep=" ", timespec="auto" if value.second or value.microsecond else "minutes")
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return joined((f"{term(key, vocabulary, language)}: {value[key]}" for key in sorted(value)), language)
    if isinstance(value, frozenset):
        return listed(tuple(sorted(value)), vocabulary, language)
    if isinstance(value, tuple):
        return joined((_entry(item) for item in value), language)
    return term(str(value), vocabulary, language)


def _entry(item: Any) -> str:
    return " ".join(str(value) for _, value in _leaves(item, "")) if isinstance(item, BaseModel) else str(item)
