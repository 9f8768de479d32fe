"""What a base model's own files say of the data it was trained on, question by question, and nothing beyond it.

For: ``read_list`` (sentence-transformers' ``data_config.json``), ``read_card`` (a model card of Hugging Face:
front matter and sections), ``shown_by`` (both -> a status for each of the record's questions). Not for: whether a file
may be there (files.py), what legal knows beside it (base-model.yaml), words (core/texts/intake.toml).

Order of calls: ``shown_by(read_card(text), read_list(document))`` -> ``Shown`` -> ``.level``.

A list that answers for every source is *declared*, for some of them *partial*. Prose is never judged: a section that
speaks of a question makes it *partial*, whatever it says, and legal reads it; a section that holds the template's
"[More Information Needed]" says nothing. What is not found is *undisclosed*. *not-applicable* is for people to say.
Bad input never fails here: what cannot be read was not said.
Sources: the model card's template and metadata, https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from ...governance.characters import first_fault
from ...governance.provenance.disclosure import DisclosureLevel, level_of
from ...governance.quoting import one_line

Status = Literal["declared", "partial", "undisclosed", "not-applicable"]

CARD_FILE = "README.md"
LIST_FILE = "data_config.json"  # sentence-transformers' list of training sources

MOST_NAMED = 6  # groups of sources, sections and data sets named in one answer
LONGEST_NAME = 80  # characters of a name that is repeated in an answer
MOST_LINES = 10**15  # of one source; more is no number of lines
MOST_ITEMS = 1000  # of one list in a card

# How model cards write licences (lower case) and how SPDX does; what is not listed is not asserted.
SPDX: Mapping[str, str] = MappingProxyType(
    {
        "apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-3-clause": "BSD-3-Clause", "cc0-1.0": "CC0-1.0",
        "cc-by-4.0": "CC-BY-4.0", "cc-by-sa-4.0": "CC-BY-SA-4.0", "cc-by-nc-4.0": "CC-BY-NC-4.0",
    }
)  # fmt: skip
NO_ASSERTION = "NOASSERTION"  # SPDX's own word

# Under which names an entry of the list may answer a question beyond name and lines.
ENTRY_FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "source_licences": ("license", "licence", "licenses", "licences"),
        "collection_period": ("collected", "collection_period", "period"),
        "personal_data": ("personal_data", "contains_personal_data"),
        "opt_outs": ("opt_out", "opt_outs"),
    }
)
# Titles of a card's sections that speak of a question; of a part of it only, hence never more than "partial".
SECTIONS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "sources": re.compile(r"training data|data ?sources|datasets?\b|学習データ|訓練データ|データセット", re.I),
        "source_licences": re.compile(
            r"(data|sources?).{0,20}licen[cs]|licen[cs].{0,20}(data|sources?)|データ.{0,8}ライセンス", re.I
        ),
        "collection_period": re.compile(
            r"collection period|data freshness|(knowledge|data|training).{0,3}cut-?off|収集(期間|時期)", re.I
        ),
        "personal_data": re.compile(r"personal (and sensitive )?(data|information)|privacy|個人(情報|データ)", re.I),
        "opt_outs": re.compile(r"opt(ed)?[ -]?outs?|robots\.txt|takedown|removal request|オプトアウト|削除依頼", re.I),
        "use": re.compile(r"intended use|out-of-scope|limitation|\bbias|\brisks?\b|利用目的|制限|用途", re.I),
    }
)
_HEADING = re.compile(r"^#{1,6}[ \t]+(.*?)[ \t#]*$")
_FIELD = re.compile(r"^([A-Za-z_][\w-]*):[ \t]*(.*?)[ \t]*$")
_YEAR = re.compile(r"(?<!\d)(?:19[89]\d|20[0-4]\d)(?!\d)")
_NOTHING_SAID = re.compile(r"\[?more information needed\]?|<!--.*?-->|\b(tbd|n/a|todo)\b", re.I | re.S)


@dataclass(frozen=True)
class Listed:
    """One entry of the list: its name (may be empty), its lines (None where not said), and which fields it fills."""

    name: str
    lines: int | None
    said: frozenset[str]


@dataclass(frozen=True)
class Card:
    """A model card: licence as it writes it, named data sets, titles of the sections that say something."""

    licence: str
    datasets: tuple[str, ...]
    sections: tuple[str, ...]
    asks_acceptance: bool
    text: str

    @property
    def spdx(self) -> str:
        """The licence as SPDX writes it, or ``NOASSERTION``."""
        return SPDX.get(self.licence.lower(), NO_ASSERTION)

    def about(self, question: str) -> tuple[str, ...]:
        """The titles of the sections that speak of a question."""
        return tuple(title for title in self.sections if SECTIONS[question].search(title))


@dataclass(frozen=True)
class Finding:
    """What the files show to one question. ``reason`` names the sentence in the catalogue, ``values`` fill it."""

    status: Status
    reason: str
    values: Mapping[str, str]
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """The findings by question, in the record's order, and what they rest on."""

    findings: Mapping[str, Finding]
    listed: tuple[Listed, ...]
    card: Card

    @property
    def level(self) -> DisclosureLevel:
        """The highest level that the findings bear; legal's record may claim more with the provider's answers."""
        return level_of({question: finding.status for question, finding in self.findings.items()}, None)

    @property
    def sources(self) -> int:
        """How many sources are listed by name."""
        return len({source.name for source in self.listed if source.name})


def largest_groups(listed: Iterable[Listed], most: int = MOST_NAMED) -> tuple[tuple[str, int, int], ...]:
    """The largest groups of listed sources by lines: (name, files, lines); a group is what stands before a slash."""
    groups: dict[str, tuple[int, int]] = {}
    for source in listed:
        name = source.name.split("/")[0][:LONGEST_NAME]
        files, lines = groups.get(name, (0, 0))
        groups[name] = files + 1, lines + (source.lines or 0)
    ordered = sorted(((name, *numbers) for name, numbers in groups.items() if name), key=lambda one: (-one[2], one[0]))
    return tuple(ordered[:most])


def read_list(document: Any) -> tuple[Listed, ...]:
    """The entries of a parsed ``data_config.json``; none where it is not a list of tables."""
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
        return ()
    return tuple(_entry(entry) for entry in document)


def clean(text: str) -> str:
    """A name from a foreign file as a document of ours may quote it: on one line, without a letter that imitates."""
    line = unicodedata.normalize("NFC", one_line(text)).strip()
    if first_fault(line) is None:
        return line
    return "".join(letter if letter.isascii() else "\ufffd" for letter in line)


def _entry(entry: Mapping[str, Any]) -> Listed:
    name, lines = entry.get("name"), entry.get("lines")
    return Listed(
        clean(name) if isinstance(name, str) else "",
        lines if type(lines) is int and 0 <= lines <= MOST_LINES else None,
        frozenset(key for key, value in entry.items() if value not in (None, "", [], {})),
    )


def read_card(text: str) -> Card:
    """A model card; one without front matter has no fields, and an empty text says nothing."""
    fields, body = _front_matter(text)
    return Card(
        licence=next(iter(fields.get("license", ())), ""),
        datasets=tuple(dict.fromkeys(fields.get("datasets", ()))),
        sections=tuple(_sections(body)),
        asks_acceptance=any(name.startswith("extra_gated") for name in fields),
        text=text,
    )


def shown_by(card: Card, listed: tuple[Listed, ...]) -> Shown:
    """Both files together, question by question."""
    findings = {"sources": _sources(card, listed), "sizes": _sizes(card, listed)}
    for question in ENTRY_FIELDS:
        findings[question] = _other(question, card, listed)
    return Shown(MappingProxyType(findings), listed, card)


def _sources(card: Card, listed: tuple[Listed, ...]) -> Finding:
    names = {source.name for source in listed if source.name}
    if names:
        groups = ", ".join(name for name, _, _ in largest_groups(listed))
        if all(source.name for source in listed):
            return Finding("declared", "listed", {"number": str(len(names)), "groups": groups}, (LIST_FILE,))
        values = {"named": str(len(names)), "number": str(len(listed)), "groups": groups}
        return Finding("partial", "some-named", values, (LIST_FILE,))
    if card.datasets:
        values = {"number": str(len(card.datasets)), "names": _named(card.datasets)}
        return Finding("partial", "datasets", values, (CARD_FILE,))
    return _spoken("sources", card)


def _sizes(card: Card, listed: tuple[Listed, ...]) -> Finding:
    sized = [source.lines for source in listed if source.lines is not None]
    if not sized:
        return Finding("undisclosed", "unknown", {}, ())
    total = sum(sized)
    values = {"sized": str(len(sized)), "number": str(len(listed)), "total": f"{total:,}"}
    if len(sized) < len(listed):
        return Finding("partial", "some", values, (LIST_FILE,))
    if f"{total:,}" in card.text or re.search(rf"(?<!\d){total}(?!\d)", card.text):
        return Finding("declared", "same-total", values, (LIST_FILE, CARD_FILE))
    return Finding("declared", "all", values, (LIST_FILE,))


def _other(question: str, card: Card, listed: tuple[Listed, ...]) -> Finding:
    answering = [source for source in listed if source.said & set(ENTRY_FIELDS[question])]
    if answering:
        values = {"answered": str(len(answering)), "number": str(len(listed))}
        status: Status = "declared" if len(answering) == len(listed) else "partial"
        return Finding(status, "entries", values, (LIST_FILE,))
    if question == "collection_period":
        years = sorted({year for source in listed for year in _YEAR.findall(source.name)})
        dated = sum(1 for source in listed if _YEAR.search(source.name))
        if dated:
            values = {"dated": str(dated), "number": str(len(listed)), "years": _named(years)}
            return Finding("partial", "years", values, (LIST_FILE,))
    return _spoken(question, card)


def _spoken(question: str, card: Card) -> Finding:
    sections = card.about(question)
    if not sections:
        return Finding("undisclosed", "unknown", {}, ())
    return Finding("partial", "section", {"sections": _named(sections)}, (CARD_FILE,))


def _named(names: Iterable[str]) -> str:
    some = [name[:LONGEST_NAME] for name in names]
    return ", ".join(some[:MOST_NAMED]) + (" …" if len(some) > MOST_NAMED else "")


# -- a card --------------------------------------------------------------------------------------------------------


def _front_matter(text: str) -> tuple[dict[str, list[str]], str]:
    """Fields of the front matter, each a list, and the text behind it. Nested tables are passed over."""
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != "---":
        return {}, text
    end = next((at for at, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None:
        return {}, text
    fields: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in lines[1:end]:
        field = _FIELD.match(line)
        if field:
            current = fields.setdefault(field[1].lower(), [])
            current.extend(_values(field[2]))
        elif current is not None and line.lstrip().startswith("- ") and len(current) < MOST_ITEMS:
            current.extend(_values(line.lstrip()[2:]))
    return fields, "\n".join(lines[end + 1 :])


def _values(written: str) -> list[str]:
    """One value or a list in brackets, without quotation marks and remarks."""
    written = re.sub(r"(^|\s)#.*$", "", written).strip()
    parts = written[1:-1].split(",") if written[:1] == "[" and written[-1:] == "]" else [written]
    bare = (clean(part.strip().strip("\"'")) for part in parts)
    return [part for part in bare if part and part not in ("|", ">", "null", "~")][:MOST_ITEMS]


def _sections(body: str) -> list[str]:
    """The titles, in order, of the sections that say anything below themselves or in a section of their own."""
    titles: list[tuple[int, str]] = []
    said: list[bool] = []
    code = False
    text: list[str] = []

    def close() -> None:
        if titles:
            said.append(bool(_NOTHING_SAID.sub("", "\n".join(text)).strip(" \n\t-*_:.|")))
        text.clear()

    for line in body.splitlines():
        fence = line.lstrip().startswith(("```", "~~~"))
        code = code != fence
        heading = None if code or fence else _HEADING.match(line)
        if heading is None:
            text.append(line)
            continue
        close()
        titles.append((len(line) - len(line.lstrip("#")), clean(heading[1].strip("*_` "))))
    close()
    return [title for at, (_, title) in enumerate(titles) if title and _says(titles, said, at)]


def _says(titles: list[tuple[int, str]], said: list[bool], at: int) -> bool:
    for below in range(at, len(titles)):
        if below > at and titles[below][0] <= titles[at][0]:
            return False
        if said[below]:
            return True
    return False
