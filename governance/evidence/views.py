"""What people and other systems read of a bundle: pages, tables and events, made from its other members alone.

What it is for: answering "who spent how much privacy for what, and who allowed it", and everything else that a
compliance officer, a regulator or a SIEM asks, with every answer pointing at the log entry that it rests on. What it is
NOT for: proof. A view is a rendering by whoever exported; the verifier holds its digest and nothing else about it, and
``sekisho compliance views`` makes it again from the verified members.

Order of calls: ``view_members(members, scope)`` with the bundle's other members -> ``{name: bytes}``. No clock, no
disk but the texts of the product: the same members give the same bytes.

    views/<language>/<name>.html   index first; one page a table, a form or list of entries
    views/<language>/<name>.csv    the same tables for a spreadsheet        views/<name>.json   for programs
    views/ocsf.jsonl               one event a line, for a SIEM
"""

from __future__ import annotations

from collections.abc import Mapping

from ..language import LANGUAGES
from . import views_acts, views_budget, views_request
from .material import Material
from .ocsf import ocsf_lines
from .selection import EVERYTHING, Scope
from .views_law import forms
from .views_pages import Pages
from .views_table import Table
from .views_words import text

FOLDER = "views/"


def view_members(members: Mapping[str, bytes], scope: Scope = EVERYTHING) -> dict[str, bytes]:
    """The members below views/ of a bundle of ``scope`` that holds ``members``; views among these are not read.

    Raises what ``Material.read`` raises.
    """
    material = Material.read(members)
    made = tables(material)
    pages = Pages(material, made, forms(), scope)
    found: dict[str, bytes] = {f"{FOLDER}ocsf.jsonl": ocsf_lines(material)}
    for language in LANGUAGES:
        for name in pages.names:
            found[f"{FOLDER}{language}/{name}.html"] = pages.render(name, language).encode("utf-8")
    for table in (*made, *pages.form_tables()):
        found[f"{FOLDER}{table.name}.json"] = table.to_json()
        for language in LANGUAGES:
            found[f"{FOLDER}{language}/{table.name}.csv"] = table.to_csv(language, entries=text("column.entries"))
    return dict(sorted(found.items()))


def tables(material: Material) -> tuple[Table, ...]:
    """Every table; the first is the one that the overview opens with."""
    return (
        views_budget.budget(material),
        *((views_request.request(material),) if material.request else ()),
        views_budget.spending(material),
        views_acts.approvals(material),
        views_acts.runs(material),
        views_acts.refusals(material),
        views_acts.releases(material),
        views_acts.consent(material),
        views_acts.disputes(material),
        views_acts.journal(material),
    )
