"""The words of the views: texts, terms, codes and times in both languages, as cells.

For: views_budget.py, views_acts.py, views_facts.py, views_pages.py. Not for: which rows there are.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from string import Formatter

from ..language import LANGUAGES, Text
from ..policy.words import catalogue
from ..quoting import one_line
from ..signing.envelope import write_time
from ..vocabulary import known, label
from .material import BASE_MODEL, STUDY, Approval, Logged, Material, Paper
from .views_table import Cell, Column, Pointer

PREFIX = "evidence."
CODES = ("evidence_codes.{}", "clauses.codes.{}.reason", "release.{}.reason", "refusals.{}.reason")
NOT_LOGGED = "[…]"      # in place of a figure that a code's sentence has and the log has not
SHORT_DIGEST = 12       # hexadecimal digits of a digest that people see; JSON has all 64


def text(key: str, **values: str | Text) -> Text:
    """The text under ``key`` in both languages, with its values put in."""
    said = {
        language: catalogue().render(
            PREFIX + key, language,
            **{name: value[language] if isinstance(value, Text) else value for name, value in values.items()},
        )
        for language in LANGUAGES
    }  # fmt: skip
    return Text(en=said["en"], ja=said["ja"])


def cell(key: str, value: str | None = None, **values: str | Text) -> Cell:
    """A cell that says the text under ``key``; ``value`` is what programs read, else the key."""
    return Cell(key if value is None else value, text(key, **values))


def of_type(kind: str) -> Cell:
    """The type of a log entry in words."""
    key = f"evidence_types.{kind}"
    return Cell(kind, catalogue()[key] if key in catalogue() else same(kind))


def told(kind: str) -> Cell:
    """What a type of entry that bears no code says by itself."""
    key = f"{PREFIX}told.{kind}"
    return Cell("", catalogue()[key] if key in catalogue() else text("no-code"))


def misbehaviour(kind: str) -> Cell:
    """What a portable proof accuses of, and who checks it."""
    key = f"{PREFIX}misbehaviour.{kind}"
    what = catalogue()[key] if key in catalogue() else same(kind)
    return Cell(kind, text("misbehaviour-said", what=what))


def columns(*names: str) -> tuple[Column, ...]:
    """Columns by name, titled from the catalogue; a name that ends in # is of figures."""
    plain = ((name.rstrip("#"), name.endswith("#")) for name in names)
    return tuple(Column(name, text(f"column.{name}"), number) for name, number in plain)


def term(vocabulary: str, name: str) -> Text:
    """A term's label in both languages; what is no term is repeated as it is."""
    return label(vocabulary, name) if known(vocabulary, name) else same(name)


def terms(vocabulary: str, names: tuple[str, ...]) -> Text:
    """Several terms, one after another; "not stated" for none."""
    if not names:
        return text("not-stated")
    found = [term(vocabulary, name) for name in names]
    return Text(en=", ".join(one.en for one in found), ja="、".join(one.ja for one in found))


def same(words: str) -> Text:
    """The same words in both languages."""
    shown = one_line(words).strip() or "–"
    return Text(en=shown, ja=shown)


def party(material: Material, name: str) -> Cell:
    """A party, by its name in the roster and its identifier."""
    if not name:
        return Cell("", same("–"))
    named = material.name_of(name)
    if one_line(named.en) == name == one_line(named.ja):
        return Cell(name, same(name))
    return Cell(name, text("party", name=named, id=name))


def named(material: Material, name: str) -> Text:
    """A party as text."""
    shown = party(material, name)
    return Text(en=shown["en"], ja=shown["ja"])


def moment(at: datetime) -> Cell:
    """A time in UTC to the second; programs read it whole."""
    shown = at.astimezone(UTC)
    return Cell(write_time(shown), same(f"{shown:%Y-%m-%d %H:%M:%S}Z"))


def day(at: datetime) -> str:
    """A day in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d}"


def short(digest: str) -> Cell:
    """A digest: people see its beginning."""
    kind, found, digits = digest.partition(":")
    if not found or len(digits) <= SHORT_DIGEST:
        return Cell(digest, same(digest))
    return Cell(digest, same(f"{kind}:{digits[:SHORT_DIGEST]}…"))


def figure(value: object) -> Cell:
    """A decimal that an entry or a paper holds as text; a dash for anything else."""
    return Cell(str(value), same(str(value))) if number(value) is not None else Cell("", same("–"))


def number(value: object) -> Decimal | None:
    """The finite decimal that a text is, or None."""
    try:
        found = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() else None


def code(name: str) -> Text:
    """The sentence of a refusal's code in both languages, without the figures of the case, which no log holds."""
    for pattern in CODES:
        key = pattern.format(name)
        if key in catalogue():
            said = {language: _without_values(catalogue()[key][language]) for language in LANGUAGES}
            return Text(en=said["en"], ja=said["ja"])
    return text("unknown-code")


def spoken(word: str) -> Text:
    """A reason, an outcome or a code that an entry holds as one word; what has no words is repeated as it is."""
    key = f"{PREFIX}said.{word}"
    if key in catalogue():
        return catalogue()[key]
    return code(word) if word.isupper() and "_" in word else same(word)


def _without_values(template: str) -> str:
    parts = Formatter().parse(template)
    return "".join(words + (NOT_LOGGED if field is not None else "") for words, field, _, _ in parts)


def words_of(logged: Logged, *names: str) -> tuple[str, ...]:
    """What an entry's data hold under these names, as words."""
    found: list[str] = []
    for name in names:
        value = logged.entry.data.get(name)
        if value is not None and value != "":
            found += [str(one) for one in (value if isinstance(value, list) else [value])]
    return tuple(found)


def paper_pointers(material: Material, paper: Paper) -> tuple[Pointer, ...]:
    """Where parties took a paper up, by their logs; the paper's own first line where no log names it."""
    return Pointer.to(*material.about(paper.digest)) or (Pointer("", 1, paper.member),)


def title(material: Material) -> Text:
    """The study's title; its identifier where it has none."""
    return material.study.text("title") or same(str(material.study.at("id") or "–"))


def allowed_by(material: Material, site: str) -> tuple[Approval, ...]:
    """The approvals under which a site took part: of the study and of its policy, each person's last word in a role."""
    papers = {material.study.member, material.policies[site].member}
    last: dict[tuple[str, str, str], Approval] = {}
    for one in sorted(material.approvals, key=lambda one: (one.issued, one.line)):
        if one.paper in papers:
            last[(one.paper, one.person, one.role)] = one
    counting = (one for one in last.values() if one.counts)
    return tuple(sorted(counting, key=lambda one: (one.paper, one.role, one.person)))


def approving(people: tuple[Approval, ...]) -> tuple[Cell, ...]:
    """Approvals in a line for each paper and day: of what, in which roles, by whom (pseudonyms), when."""
    groups: dict[tuple[str, str], list[Approval]] = {}
    for one in people:
        groups.setdefault((one.paper, day(one.issued)), []).append(one)
    return tuple(_allowed(paper, when, ones) for (paper, when), ones in groups.items())


def _allowed(paper: str, when: str, ones: list[Approval]) -> Cell:
    kind = "study" if paper == STUDY else "base-model" if paper == BASE_MODEL else "policy"
    signed = [text("allowed-person", role=term("roles", one.role), person=one.person) for one in ones]
    people = Text(en=", ".join(one.en for one in signed), ja="、".join(one.ja for one in signed))
    value = f"{paper} {when} " + ", ".join(f"{one.role} {one.person}" for one in ones)
    return Cell(value, text("allowed", paper=text(f"paper.{kind}"), people=people, day=when))
