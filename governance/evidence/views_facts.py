"""What the evidence shows, fact by fact, for the forms that regulators ask for.

For: views_law.py, whose forms name these facts field by field. Not for: legal conclusions, or what the bundle does not
hold: such a fact is an empty list, and the form says so.

    facts(material) -> {"purposes": (Fact(text, pointers), ...), ...}; FACTS are all names that a form may use
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..language import Text
from ..log.entries import EntryType
from . import views_acts, views_budget
from .material import Material, as_words
from .views_papers import PAPER_FACTS, Fact, Facts, granted_recipients
from .views_table import LINE, Pointer, Table
from .views_words import day, named, short, terms, text, words_of


def facts(material: Material) -> Mapping[str, Facts]:
    """Every fact by name."""
    return {name: make(material) for name, make in FACTS.items()}


def _sizes(material: Material) -> Facts:
    found = []
    for one in material.statements:
        sites = one.predicate.get("sites")
        for site in sites if isinstance(sites, list) else ():
            if isinstance(site, dict) and as_words(site.get("subjects")):
                found.append(Fact(text("fact.size", maker=named(material, str(site.get("id"))), run=one.run,
                                       size=as_words(site["subjects"])[0]), (Pointer("", 1, one.member),)))
    return tuple(found)


def _recipients(material: Material) -> Facts:
    return (*granted_recipients(material), *_released(material))


def _released(material: Material) -> Facts:
    found = []
    for one in material.of(EntryType.RELEASE_PUBLISHED):
        to = words_of(one, "recipients")
        found.append(Fact(text("fact.released", day=day(one.entry.at), by=named(material, one.party),
                               adapter=short(one.entry.refs.get("adapter", "–"))["en"],
                               run=one.entry.refs.get("run", "–"),
                               to=_to(material, to)), Pointer.to(one)))
    for one in material.of(EntryType.RELEASE_REVOKED):
        found.append(Fact(text("fact.revoked", day=day(one.entry.at), by=named(material, one.party),
                               adapter=short(one.entry.refs.get("adapter", "–"))["en"]), Pointer.to(one)))
    return tuple(found)


def _to(material: Material, recipients: tuple[str, ...]) -> Text:
    """The recipients; the participants by name, since a record of provision asks who they are."""
    said = terms("recipients", recipients)
    if "participants" not in recipients:
        return said
    sites = [named(material, one.id) for one in material.roster.sites]
    return Text(en=f"{said.en} (by the roster: {', '.join(one.en for one in sites)})",
                ja=f"{said.ja}（名簿によれば{'、'.join(one.ja for one in sites)}）")


def _uses(material: Material) -> Facts:
    return tuple(
        Fact(text("fact.used", day=day(one.entry.at), by=named(material, one.party),
                  adapter=short(one.entry.refs.get("adapter", "–"))["en"],
                  use=terms("downstream_uses", words_of(one, "use"))), Pointer.to(one))
        for one in material.of(EntryType.ADAPTER_USED)
    )  # fmt: skip


def _left_site(material: Material) -> Facts:
    """For each site and run: how many times its own masked share went into a sum, and of how many sites."""
    groups: dict[tuple[str, str], list[tuple[int, Pointer]]] = {}
    for one in material.of(EntryType.STEP_DISCLOSED, EntryType.COUNTS_DISCLOSED):
        cohort = one.entry.data.get("cohort")
        key = (one.entry.refs.get("run", "–"), one.party)
        groups.setdefault(key, []).append((cohort if isinstance(cohort, int) else 0, Pointer.to(one)[0]))
    return tuple(
        Fact(text("fact.left", maker=named(material, maker), run=run, steps=str(len(ones)),
                  cohort=str(min(size for size, _ in ones))), (ones[0][1], ones[-1][1]) if len(ones) > 1
             else (ones[0][1],))
        for (run, maker), ones in sorted(groups.items())
    )  # fmt: skip


def _spent(material: Material) -> Facts:
    found = []
    for maker in material.makers:
        figures = views_budget.settled(material, maker)
        if figures:
            last = figures[-1]
            found.append(Fact(text("fact.spent", maker=named(material, maker), spent=str(last.epsilon),
                                   limit="–" if last.limit is None else str(last.limit), day=day(last.at)),
                              Pointer.to(last.logged)))
    return tuple(found)


def _from(table: Callable[[Material], Table], key: str, *names: str) -> Callable[[Material], Facts]:
    """Each row of a table as a sentence of its columns."""
    def make(material: Material) -> Facts:
        made = table(material)
        at = [[column.name for column in made.columns].index(name) for name in names]
        return tuple(
            Fact(_ended(text(key, **{name: Text(en=row.cells[i]["en"].replace(LINE, ", "), ja=row.cells[i][
                "ja"].replace(LINE, "、")) for name, i in zip(names, at, strict=True)})), row.pointers)
            for row in made.rows
        )  # fmt: skip

    return make


def _ended(said: Text) -> Text:
    """A sentence without the dash of a last cell that was empty."""
    return Text(en=said.en.removesuffix(" –"), ja=said.ja.removesuffix(" –"))


def _versions(material: Material) -> Facts:
    found = []
    for one in material.of(EntryType.POLICY_LOADED, EntryType.ROSTER_ACCEPTED):
        version = one.entry.data.get("version")
        found.append(Fact(text(f"fact.{one.entry.type}", party=named(material, one.party), day=day(one.entry.at),
                               version=str(version)), Pointer.to(one)))
    return tuple(found)


def _logs(material: Material) -> Facts:
    found = []
    for name in sorted({one.party for one in material.entries}):
        own = [one for one in material.entries if one.party == name]
        found.append(Fact(text("fact.log", party=named(material, name), count=str(len(own)),
                               first=day(own[0].entry.at), last=day(own[-1].entry.at)), Pointer.to(own[0], own[-1])))
    return tuple(found)


FACTS: Mapping[str, Callable[[Material], Facts]] = {
    **PAPER_FACTS,
    "sizes": _sizes,
    "recipients": _recipients,
    "released": _released,
    "uses": _uses,
    "left-site": _left_site,
    "spent": _spent,
    "runs": _from(views_acts.runs, "fact.run", "at", "run", "sites", "completed", "ended"),
    "refusals": _from(views_acts.refusals, "fact.refusal", "at", "party", "run", "event", "sentence"),
    "consent": _from(views_acts.consent, "fact.consent", "at", "party", "event", "said"),
    "disputes": _from(views_acts.disputes, "fact.dispute", "at", "party", "event", "other", "sentence"),
    "versions": _versions,
    "logs": _logs,
}
