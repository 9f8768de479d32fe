"""Terms, facts and what a field allows, in words of one language.

For: explain.py, and what people read of a policy or a comparison (reading.py, changes.py). Not for: which of them are
shown (those files decide), the words of a clause as a whole (explain.py), laying out (evidence/page.py).

    term("US", "countries", "ja")                a term of a vocabulary, with its label
    fact_name("cohort.sites", "en"), fact_value("purpose", value, "en")
    allowed(held.allowed, held.vocabulary, "en") -> Phrase(lead, terms), so that two phrases can be held together

Works from the declarations of the clause types and from texts/facts.toml; knows no clause type by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from ..language import Catalogue, Language
from ..vocabulary import known, label
from .always_clauses import ALWAYS
from .clause import Held
from .grant_clauses import GRANTS
from .lattice import Constraint, Interval, Level, Requires, Truth, Window, Within, write
from .request import SOURCES

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


@cache
def catalogue() -> Catalogue:
    """The texts of this house."""
    return Catalogue.load(__name__.removesuffix(".policy.words"), "texts")


def word(key: str, language: Language) -> str:
    """One of the small words: none, yes, no, separator."""
    return catalogue()[f"clauses.words.{key}"][language]


def term(name: str, vocabulary: str | None, language: Language) -> str:
    """A term with its label, as ``label (term)``; what is no term of the vocabulary is repeated as it is."""
    if vocabulary is None or not known(vocabulary, name):
        return name
    words = label(vocabulary, name)[language]
    if words.lower() == name.lower():
        return words
    return catalogue().render("clauses.words.term", language, label=words, term=name)


def cited(clause: str, language: Language) -> str:
    """A clause by its number, as people cite it; a grant, whose id is no number, by its id."""
    return catalogue().render("clauses.words.clause", language, id=clause) if clause[:1].isdecimal() else clause


def plain(parts: Iterable[str], vocabulary: str | None, language: Language) -> str:
    """Labels in a row, without the terms behind them; for an overview, never where a term must be told exactly."""
    if vocabulary is None:
        return joined(parts, language)
    return joined((label(vocabulary, part)[language] if known(vocabulary, part) else part for part in parts), language)


def listed(parts: Iterable[str], vocabulary: str | None, language: Language) -> str:
    """Terms in a row; a word for none."""
    return joined((term(part, vocabulary, language) for part in parts), language)


def joined(parts: Iterable[str], language: Language) -> str:
    """Words in a row, as the language separates them; a word for none."""
    return word("separator", language).join(parts) or word("none", language)


def source_words(source: str | None, language: Language) -> str:
    """Who vouches for a fact."""
    if source is None:
        return word("none", language)
    # A source that is not one of ours may be any text: it is quoted, not looked up.
    return label("sources", source)[language] if source in SOURCES else repr(source[:40])


def moment(when: datetime, language: Language) -> str:
    """A time with its zone, as a contract writes it; to the second where the second could decide."""
    zone = "UTC" if when.utcoffset() == timedelta(0) else f"UTC{when.isoformat()[-6:]}"
    exact = bool(when.second or when.microsecond)
    if language == "ja":
        second = f"{when:%S}秒" if exact else ""
        return f"{when.year}年{when.month}月{when.day}日{when.hour}時{when.minute:02d}分{second}（{zone}）"
    return f"{when.day} {MONTHS[when.month - 1]} {when.year}, {when:%H:%M}{f':{when:%S}' if exact else ''} ({zone})"


@cache
def _vocabularies() -> Mapping[str, str]:
    """Fact -> the vocabulary of its terms, by the declarations of the clause types."""
    declared = (*ALWAYS.values(), *GRANTS.values())
    return {field.fact: one.labels[field.name] for one in declared for field in one.fields if field.name in one.labels}


def fact_name(fact: str, language: Language) -> str:
    """What a fact is about; of a family, such as the approvals of each role, with its member."""
    family, _, member = fact.rpartition(".")
    if f"facts.{fact}" not in catalogue() and f"facts.{family}.member" in catalogue():
        shown = term(member, _vocabularies().get(f"{family}.*"), language)
        return catalogue().render(f"facts.{family}.member", language, member=shown)
    return catalogue()[f"facts.{fact}"][language] if f"facts.{fact}" in catalogue() else fact


def fact_value(fact: str, value: Any, language: Language) -> str:
    """A fact's value in words."""
    if isinstance(value, bool):
        return word("yes" if value else "no", language)
    if isinstance(value, datetime):
        return moment(value, language) if value.tzinfo else write(value)
    if isinstance(value, frozenset | set):
        return listed(sorted(str(item) for item in value), _vocabularies().get(fact), language)
    return term(write(value), _vocabularies().get(fact), language)


@dataclass(frozen=True)
class Phrase:
    """What a field allows: the words before, and the terms, each with the sign by which it is told from others."""

    lead: str
    terms: tuple[tuple[str, str], ...] = ()

    def text(self, language: Language) -> str:
        """The phrase in one piece."""
        return self.lead + joined((words for _, words in self.terms), language) if self.terms else self.lead


def allowed(constraint: Constraint, vocabulary: str | None, language: Language) -> Phrase:  # noqa: PLR0911  one a class
    """What a constraint allows, in words."""
    terms = tuple((part, term(part, vocabulary, language)) for part in constraint.parts())
    if isinstance(constraint, Truth):
        return Phrase(_said("either" if len(terms) > 1 else f"{next(iter(constraint.parts()), 'nothing')}", language))
    if isinstance(constraint, Interval):
        return Phrase(_ends("low", constraint.low, "high", constraint.high, language))
    if isinstance(constraint, Window):
        start, until = constraint.start, constraint.until
        return Phrase(_ends("start", start, "until", until, language))
    if isinstance(constraint, Level):
        return Phrase(_said("level", language, least=terms[0][1]))
    if not terms:
        return Phrase(_said("nothing", language))
    if isinstance(constraint, Requires):
        return Phrase(_said("all", language), terms)
    if isinstance(constraint, Within):
        return Phrase(_said("within", language), terms)
    return Phrase(_said("one", language) if len(terms) > 1 else "", terms)


def requirement(fact: str, constraint: Constraint, language: Language) -> str:
    """A yes or a no that must hold, as a demand; empty where both will do, or where more than that is allowed."""
    key = f"facts.required.{fact}.{constraint.text()}"
    return catalogue()[key][language] if isinstance(constraint, Truth) and key in catalogue() else ""


def field_name(type_name: str, held: Held, language: Language) -> str:
    """What a field is about: the name of its fact, unless two fields of the clause speak of one fact."""
    own = f"fields.{type_name}.{held.field}"
    return catalogue()[own][language] if own in catalogue() else fact_name(held.fact, language)


def _ends(
    low_key: str, low: Decimal | int | datetime | None, high_key: str, high: Decimal | int | datetime | None,
    language: Language,
) -> str:
    ends = [
        _said(key, language, end=moment(end, language) if isinstance(end, datetime) else write(end))
        for key, end in ((low_key, low), (high_key, high))
        if end is not None
    ]
    return word("separator", language).join(ends) or _said("any", language)


def _said(key: str, language: Language, **values: str) -> str:
    return catalogue().render(f"facts.allowed.{key}", language, **values)
