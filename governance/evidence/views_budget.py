"""How much privacy each maker's data has spent, for which purpose, and who allowed it; and how that came about.

For: the first table of the overview, and the one of every reservation and settlement. Not for: computing a cost: each
site wrote into its own log what its ledger counted, and these views say that and nothing else.

    budget(material) -> one row a maker        spending(material) -> one row an entry
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ..language import Text
from ..log.entries import EntryType
from .material import Logged, Material
from .views_table import Cell, Pointer, Row, Table, lines
from .views_words import (
    allowed_by,
    approving,
    cell,
    columns,
    figure,
    moment,
    number,
    paper_pointers,
    party,
    same,
    term,
    text,
    title,
)

BUDGET = (EntryType.BUDGET_RESERVED, EntryType.BUDGET_SETTLED)


@dataclass(frozen=True)
class Spent:
    """What a maker's log says that its data set has spent over its life, when, of how much."""

    maker: str
    at: datetime
    run: str
    epsilon: Decimal
    limit: Decimal | None
    logged: Logged


def history(material: Material, maker: str) -> tuple[Spent, ...]:
    """Every figure that the maker's own log holds, in the log's order; nobody else's word counts."""
    found = []
    for one in sorted(of_budget(material, maker), key=lambda one: one.index):
        epsilon = number(one.entry.data.get("spent"))
        if epsilon is not None:
            limit = number(one.entry.data.get("lifetime"))
            found.append(Spent(maker, one.entry.at, one.entry.refs.get("run", ""), epsilon, limit, one))
    return tuple(found)


def settled(material: Material, maker: str) -> tuple[Spent, ...]:
    """The figures as they stood after each run: its settlement, or its reservation where it has none."""
    last: dict[str, Spent] = {}
    for one in history(material, maker):
        last.pop(one.run, None)
        last[one.run] = one
    return tuple(last.values())


def of_budget(material: Material, maker: str) -> tuple[Logged, ...]:
    """A maker's own entries about its budget."""
    return tuple(one for kind in BUDGET for one in material.by_type[str(kind)] if one.party == maker)


def budget(material: Material) -> Table:
    """One row a maker: purpose, study, epsilon spent of how much, and who allowed it."""
    rows = []
    for maker in material.makers:
        spent = settled(material, maker)
        policy, study = material.policies[maker], material.study
        limit = spent[-1].limit if spent else number(policy.clause("privacy_budget").at("lifetime", "epsilon"))
        people = allowed_by(material, maker)
        rows.append(Row((
            party(material, maker),
            Cell(str(spent[-1].epsilon), same(str(spent[-1].epsilon))) if spent else _nothing(material, maker),
            Cell("" if limit is None else str(limit), same("–" if limit is None else str(limit))),
            Cell(str(study.at("purpose") or ""), _purpose(material)),
            lines(approving(people)) if people else cell("allowed-none", ""),
            Cell(str(study.at("id") or ""), title(material)),
            Cell(str(policy.at("dataset", "id") or ""), policy.text("dataset", "title") or text("not-stated")),
        ), (
            *Pointer.to(*(one.logged for one in spent)),
            *paper_pointers(material, policy)[:1],
            *(Pointer("", one.line, one.paper + ".dsse.json") for one in people),
        )))  # fmt: skip
    return Table("budget", columns("maker", "spent#", "limit#", "purpose", "allowed", "study", "dataset"), tuple(rows))


def spending(material: Material) -> Table:
    """One row for each time that a maker's log says something about its budget."""
    rows = []
    for one in material.of(*BUDGET):
        data, run = one.entry.data, one.entry.refs.get("run", "")
        reserved = one.entry.type == EntryType.BUDGET_RESERVED
        epsilon = data.get("epsilon") or (_certified(material, run, one.party) if reserved else "")
        rows.append(Row((
            moment(one.entry.at),
            party(material, one.party),
            Cell(run, same(run)),
            cell("budget.reserved" if reserved else "budget.settled", one.entry.type),
            figure(epsilon),
            figure(data.get("delta")),
            Cell(str(data.get("steps", "")), same(str(data.get("steps", "–")))),
            figure(data.get("spent")),
            figure(data.get("lifetime")),
        ), Pointer.to(one)))  # fmt: skip
    names = ("at", "maker", "run", "event", "run_epsilon#", "delta#", "steps#", "spent#", "limit#")
    return Table("spending", columns(*names), tuple(rows))


def _certified(material: Material, run: str, maker: str) -> object:
    statement = material.statement_of(run)
    sites = statement.predicate.get("sites") if statement else None
    for site in sites if isinstance(sites, list) else ():
        if isinstance(site, dict) and site.get("id") == maker:
            return site.get("epsilon")
    return ""


def _purpose(material: Material) -> Text:
    purpose = material.study.at("purpose")
    return term("purposes", purpose) if isinstance(purpose, str) else text("not-stated")


def _nothing(material: Material, maker: str) -> Cell:
    if of_budget(material, maker) or material.selection:
        return cell("spent-unknown", "")     # an older log has no figure, and a selection may leave it out
    return Cell("0", same("0"))
