"""Tables, forms and entries -> self-contained HTML pages in one language, linked to each other by relative names.

For: views.py. Not for: what the tables say, or CSV and JSON (views_table.py). A page has no script and loads nothing;
everything that is not a chart of ours is escaped by the template.

    Pages(material, tables, forms, scope).render("index", "en") -> HTML text; .names are all pages, the overview first
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any

from ..language import LANGUAGES, Language, Text
from ..log.entries import EntryType
from ..policy.words import catalogue
from . import views_budget
from .charts import Bar, Svg, Track, bars, timeline
from .material import Logged, Material
from .page import Page
from .selection import EVERYTHING, Scope
from .views_acts import REFUSING
from .views_facts import facts
from .views_law import Form
from .views_papers import Fact
from .views_table import LINE, Cell, Column, Pointer, Row, Table
from .views_words import day, named, same, text, title

INDEX, ENTRIES = "index", "entries"
TEMPLATE = "evidence.html"
COMMAND = "python verify.py evidence.zip --root "
BEGAN, FINISHED, RELEASED, REFUSED = range(4)
KIND_OF = {
    str(EntryType.STUDY_OFFERED): BEGAN, str(EntryType.BUDGET_RESERVED): BEGAN, str(EntryType.RUN_FINISHED): FINISHED,
    str(EntryType.RELEASE_PUBLISHED): RELEASED,
    **{str(kind): REFUSED for kind in REFUSING if kind is not EntryType.VALIDATION_OPENED},
}  # fmt: skip


@dataclass(frozen=True)
class Section:
    """One part of a page in one language; the template shows what is not empty, in this order."""

    heading: str = ""
    text: Sequence[str] = ()
    table: Mapping[str, Any] | None = None
    empty: str = ""
    facts: Sequence[Mapping[str, Any]] = ()
    left: str = ""
    notices: Sequence[str] = ()
    command: str = ""
    after: Sequence[str] = ()
    code: str = ""
    figures: Sequence[Mapping[str, str | Svg]] = ()
    links: Sequence[Mapping[str, Any]] = ()
    entries: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True)
class PageView:
    """A page in one language."""

    name: str
    title: str
    lead: Sequence[str]
    sections: Sequence[Section] = field(default_factory=tuple)


class Pages:
    """All pages of one bundle."""

    def __init__(
        self, material: Material, tables: Sequence[Table], forms: Sequence[Form], scope: Scope = EVERYTHING
    ) -> None:
        self._material, self._scope = material, scope
        self._budget, *rest = tables
        self._tables = {table.name: table for table in rest}
        self._forms = {form.id: form for form in forms}
        self._page = Page(catalogue(), prefix="evidence_pages.")

    @property
    def names(self) -> tuple[str, ...]:
        """Every page by name."""
        return (INDEX, *self._tables, ENTRIES, *self._forms)

    @cached_property
    def _facts(self) -> Mapping[str, tuple[Fact, ...]]:
        return facts(self._material)

    def form_tables(self) -> tuple[Table, ...]:
        """The forms as tables, for CSV and JSON: one row a fact; a row without a fact is one for people to fill."""
        return tuple(_form_table(form, self._facts) for form in self._forms.values())

    def render(self, name: str, language: Language) -> str:
        """One page."""
        if name == INDEX:
            view = self._index(language)
        elif name == ENTRIES:
            view = self._entries(language)
        elif name in self._tables:
            table = self._tables[name]
            # "everything" and "nothing" on a page of its own are only said of what was selected
            view = PageView(name, _say(f"{name}.title", language), [_say(f"{name}.lead", language)],
                            [Section(notices=self._selection(language)), _table_section(table, language)])
        else:
            view = self._form(self._forms[name], language)
        other = next(one for one in LANGUAGES if one != language)
        kicker = _say("kicker", language, study=title(self._material))
        return self._page.render_in(language, TEMPLATE, page=view, other=other, kicker=kicker)

    # -- the overview --------------------------------------------------------------------------------------------------

    def _index(self, language: Language) -> PageView:
        sections = [
            _table_section(self._budget, language),
            Section(notices=[*self._selection(language), self._apart(language)]),
            Section(figures=self._figures(language)),
            Section(
                heading=_say("check.heading", language), text=[_say("check.what", language)],
                command=COMMAND + _say("check.given", language), after=[_say("check.then", language)],
                code=self._material.roster.fingerprint,
            ),
            Section(heading=_say("views", language), links=[
                {**_link(INDEX, _say("index.title", language), _say("index.said", language), True),
                 "file": self._budget.name},
                *(_link(name, _say(f"{name}.title", language), _say(f"{name}.said", language), name in self._tables)
                  for name in (*self._tables, ENTRIES)),
            ]),
            Section(heading=_say("law.heading", language), links=[
                _link(form.id, form.title[language], form.instrument[language], True) for form in self._forms.values()
            ]),
        ]  # fmt: skip
        return PageView(INDEX, _say("index.title", language), [_say("index.lead", language)], sections)

    def _apart(self, language: Language) -> str:
        return _say("demo" if self._material.roster.demo else "apart", language)

    def _selection(self, language: Language) -> list[str]:
        """That this is a selection, and of what; nothing where everything is here."""
        if self._scope.whole and not self._material.selection:
            return []
        if self._scope.whole:
            return [_say("selection", language)]
        said = self._scope.written()
        what = _say(f"scope-{self._scope.kind}", language, **{
            name: value for name, value in (
                ("of", self._scope.of), ("since", said.get("from", "")), ("until", said.get("until", ""))) if value})
        return [f"{_say('selection', language)} {what}"]

    def _figures(self, language: Language) -> list[Mapping[str, str | Svg]]:
        rows = []
        for maker in self._material.makers:
            spent = views_budget.settled(self._material, maker)
            limit = spent[-1].limit if spent else None
            if limit is None or limit <= 0:
                continue
            levels = [0.0, *(float(one.epsilon / limit) for one in spent)]
            parts = tuple(max(0.0, after - before) for before, after in pairwise(levels))
            said = _say("index.of", language, spent=str(spent[-1].epsilon), limit=str(limit))
            rows.append(Bar(named(self._material, maker)[language], parts, said))
        found: list[Mapping[str, str | Svg]] = []
        if rows:
            caption = _say("index.chart", language)
            drawn = bars(caption, rows, maximum=1.0, limit=_say("index.all", language))
            found.append({"caption": caption, "svg": drawn})
        tracks = self._tracks(language)
        if tracks:
            caption = _say("index.timeline", language)
            moments = [one.entry.at for one in self._material.entries]
            kinds = [_say(f"index.{name}", language) for name in ("began", "finished", "released", "refused")]
            ends = (day(min(moments)), day(max(moments)))
            found.append({"caption": caption, "svg": timeline(caption, tracks, kinds=kinds, ends=ends)})
        return found

    def _tracks(self, language: Language) -> list[Track]:
        entries = self._material.entries
        if not entries:
            return []
        first, last = min(one.entry.at for one in entries), max(one.entry.at for one in entries)
        marks: dict[str, list[tuple[float, int]]] = {one.party: [] for one in entries}
        for one in entries:
            if one.entry.type in KIND_OF:
                marks[one.party].append((_place(one.entry.at, first, last), KIND_OF[one.entry.type]))
        return [
            Track(named(self._material, party)[language], tuple(dict.fromkeys(found)))
            for party, found in sorted(marks.items())
        ]

    # -- the other pages -----------------------------------------------------------------------------------------------

    def _entries(self, language: Language) -> PageView:
        cited = {pointer.anchor for pointer in self._cited() if pointer.anchor}
        member = "logs/{}.selected.jsonl" if self._material.selection else "logs/{}.jsonl"
        shown = [_entry(one, member, language) for one in self._material.entries if f"{one.party}-{one.index}" in cited]
        section = Section(entries=shown) if shown else Section(empty=_say("none", language))
        return PageView(ENTRIES, _say("entries.title", language), [_say("entries.lead", language)],
                        [Section(notices=self._selection(language)), section])

    def _cited(self) -> Iterable[Pointer]:
        for table in (self._budget, *self._tables.values()):
            for row in table.rows:
                yield from row.pointers
        for found in self._facts.values():
            for fact in found:
                yield from fact.pointers

    def _form(self, form: Form, language: Language) -> PageView:
        lead = [
            form.instrument[language],
            _say("law.version", language, version=form.version, source=form.source, day=form.consulted),
        ]
        # a form is printed and filed alone: what the overview says of the whole bundle must stand on it, too
        notices = [_say("law.notice", language), *self._selection(language), self._apart(language)]
        sections = [Section(notices=notices)]
        for item in form.field:
            shown = [fact for name in item.facts for fact in self._facts[name]]
            left = _say("law.left", language, words=item.left) if item.left else ""
            sections.append(Section(
                heading=f"{item.article[language]}  {item.heading[language]}",
                facts=[{"text": fact.text[language], "pointers": _grouped(fact.pointers)} for fact in shown],
                empty="" if shown else _say("law.nothing", language),
                left=left,
            ))  # fmt: skip
        return PageView(form.id, form.title[language], lead, sections)


def _table_section(table: Table, language: Language) -> Section:
    if not table.rows:
        return Section(empty=_say("none", language))
    columns = [{"title": column.title[language], "number": column.number} for column in table.columns]
    rows = [
        {"cells": [{"lines": cell[language].split(LINE), "column": column}
                   for cell, column in zip(row.cells, table.columns, strict=True)],
         "pointers": _grouped(row.pointers)}
        for row in table.rows
    ]  # fmt: skip
    return Section(table={"columns": columns, "rows": rows, "entries": text("column.entries")[language]})


def _grouped(pointers: Iterable[Pointer]) -> list[dict[str, Any]]:
    """A line for each party: its name once, then every entry by number."""
    groups: dict[str, list[Pointer]] = {}
    for one in dict.fromkeys(pointers):
        groups.setdefault(one.party or one.member, []).append(one)
    return [
        {"name": name, "places": [
            {"anchor": one.anchor, "text": f"#{one.index}" if one.anchor else f":{one.index}"} for one in found]}
        for name, found in groups.items()
    ]  # fmt: skip


def _entry(one: Logged, member: str, language: Language) -> Mapping[str, str]:
    where = _say("entries.at", language, index=str(one.index), member=member.format(one.party))
    return {"anchor": f"{one.party}-{one.index}", "name": f"{one.party} #{one.index}", "where": where,
            "bytes": one.entry.to_bytes().decode("ascii")}


def _form_table(form: Form, known: Mapping[str, tuple[Fact, ...]]) -> Table:
    names = ("article", "heading", "fact", "left")
    columns = tuple(Column(name, Text.model_validate(catalogue()[f"evidence_pages.law.column.{name}"].model_dump()))
                    for name in names)
    rows = []
    for item in form.field:
        article, heading = Cell(item.article.en, item.article), Cell(item.heading.en, item.heading)
        left = Cell(item.left.en, item.left) if item.left else Cell("", same("–"))
        found = [fact for name in item.facts for fact in known[name]]
        rows += [Row((article, heading, Cell(fact.text.en, fact.text), left), fact.pointers) for fact in found]
        if not found:
            rows.append(Row((article, heading, Cell("", same("–")), left), ()))
    return Table(form.id, columns, tuple(rows))


def _link(name: str, words: str, said: str, table: bool) -> Mapping[str, Any]:
    return {"name": name, "file": name, "title": words, "said": said, "table": table}


def _say(key: str, language: Language, **values: str | Text) -> str:
    said = {name: value[language] if isinstance(value, Text) else value for name, value in values.items()}
    return catalogue().render(f"evidence_pages.{key}", language, **said)


def _place(at: datetime, first: datetime, last: datetime) -> float:
    span = (last - first).total_seconds()
    return (at - first).total_seconds() / span if span > 0 else 0.5
