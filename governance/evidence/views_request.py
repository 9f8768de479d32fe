"""What one person is told who asked a site for their data: the same as subject/request.json, for people to read.

For: the first view after the overview in a bundle of that scope. Not for: saying who the person is: the pseudonym
stands in subject/request.json alone, so that a page that is printed or sent on names nobody.

    request(material) -> a row for each event of consent, each run that reached the person, each withdrawal in the log
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ..language import Text
from .material import REQUEST, Material, as_words
from .views_table import Cell, Pointer, Row, Table, lines
from .views_words import cell, columns, moment, same, short, term, text

KINDS = ("granted", "withdrawn", "objected")


def request(material: Material) -> Table:
    """Everything that the answer holds, in its order."""
    said = material.request
    rows = (
        *(_consent(one) for one in _each(said, "consent")),
        *(_run(material, str(said.get("site", "")), one) for one in _each(said, "runs")),
        *(_withdrawal(material, str(said.get("site", "")), one) for one in _each(said, "withdrawals")),
    )
    return Table("request", columns("at", "event", "run", "adapter", "told"), rows)


def _consent(one: Mapping[str, Any]) -> Row:
    kind = _word(one, "kind")
    told = [Cell(_word(one, name), text(f"request.{name}", value=_word(one, name)))
            # the notice of a withdrawal is none that anybody was shown, but how the register calls it
            for name in (("scope", "notice", "expires") if kind == "granted" else ("scope",)) if _word(one, name)]
    event = cell(f"request.{kind}", kind) if kind in KINDS else Cell(kind, same(kind))
    return Row((_time(one, "at"), event, _none(), _none(), lines(told)), (Pointer("", 1, REQUEST),))


def _run(material: Material, site: str, one: Mapping[str, Any]) -> Row:
    run, adapter = _word(one, "run"), _word(one, "adapter")
    told = [Cell(word, text("request.recipient", value=term("recipients", word))) for word in as_words(
        one.get("recipients"))]
    if _word(one, "epsilon"):
        told.append(Cell(_word(one, "epsilon"), text("request.epsilon", value=_word(one, "epsilon"),
                                                     delta=_word(one, "delta") or "–")))
    held = {logged.index for logged in material.entries if logged.party == site}
    found = [n for n in one.get("entries") or () if isinstance(n, int) and n in held]
    where = tuple(Pointer(site, n) for n in sorted({min(found), max(found)})) if found else (Pointer("", 1, REQUEST),)
    made = short(adapter) if adapter else _none()
    return Row((_time(one, "joined"), cell("request.run", "run"), Cell(run, same(run)), made, lines(told)), where)


def _withdrawal(material: Material, site: str, one: Mapping[str, Any]) -> Row:
    found = [logged for logged in material.entries if (logged.party, logged.index) == (site, one.get("index"))]
    at = moment(found[0].entry.at) if found else _none()
    return Row((at, cell("request.logged", "logged"), _none(), _none(), lines([])),
               Pointer.to(*found) or (Pointer("", 1, REQUEST),))


def _each(said: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    found = said.get(name)
    return (one for one in (found if isinstance(found, list) else ()) if isinstance(one, Mapping))


def _word(one: Mapping[str, Any], name: str) -> str:
    found = one.get(name)
    return found if isinstance(found, str) else ""


def _time(one: Mapping[str, Any], name: str) -> Cell:
    found = _word(one, name)
    try:
        at = datetime.fromisoformat(found)
        return moment(at) if at.tzinfo else Cell(found, same(found))
    except (ValueError, OverflowError):
        return Cell(found, same(found))   # the verifier does not judge the form of these times: shown as it is written


def _none() -> Cell:
    return Cell("", Text(en="–", ja="–"))
