"""Who approved what; which runs there were; every refusal, stop, release, use, change of consent and dispute.

For: one table a question, each row with the entries that it rests on. Not for: budgets (views_budget.py), or judging:
an entry is what its party said at a time that the party claims.

    approvals, runs, refusals, releases, consent, disputes, journal: (material) -> Table

``journal`` counts every entry of every type, so that nothing in a log is without a place in a view.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..language import Text
from ..log.entries import EntryType
from ..vocabulary import known
from .material import Logged, Material, Misbehaviour
from .views_table import Cell, Pointer, Row, Table, lines
from .views_words import (
    cell,
    code,
    columns,
    misbehaviour,
    moment,
    of_type,
    paper_pointers,
    party,
    same,
    short,
    spoken,
    term,
    text,
    told,
    words_of,
)

REFUSING = (
    EntryType.DECISION_REFUSE, EntryType.RELEASE_REFUSED, EntryType.RUN_STOPPED, EntryType.STOP_HONOURED,
    EntryType.STEP_ABANDONED, EntryType.BLOCK_ROLLED_BACK, EntryType.VALIDATION_OPENED,
)  # fmt: skip
RELEASING = (
    EntryType.RELEASE_PUBLISHED, EntryType.RELEASE_REFUSED, EntryType.RELEASE_REVOKED, EntryType.ADAPTER_USED,
    EntryType.PERSONAL_ASKED,
)  # fmt: skip
# Not the snapshots of each step: under a key of the step on purpose, they show no change (the journal counts them).
CONSENTING = (
    EntryType.CONSENT_IMPORTED, EntryType.CONSENT_WITHDRAWN, EntryType.CONSENT_ERASED, EntryType.REMEDY_DUE,
    EntryType.REMEDY_DONE,
)  # fmt: skip
DISPUTING = (EntryType.LEDGER_DISPUTED, EntryType.LOG_CONTRADICTED)
RUNNING = (
    EntryType.STUDY_OFFERED, EntryType.BUDGET_RESERVED, EntryType.RUN_JOINED, EntryType.RUN_FINISHED,
    EntryType.RUN_STOPPED, EntryType.RELEASE_PUBLISHED,
)  # fmt: skip
STEPPING = (
    EntryType.STEP_DISCLOSED, EntryType.STEP_SUMMED, EntryType.STEP_ABANDONED, EntryType.STEP_OPENED,
)  # fmt: skip


def approvals(material: Material) -> Table:
    """Every signature that holds: who, in which role, what was said about which paper, when, until when."""
    rows = []
    papers = {one.member: one for one in (material.study, material.base_model, *material.policies.values())}
    for one in sorted(material.approvals, key=lambda one: (one.issued, one.paper, one.line)):
        paper = papers[one.paper]
        rows.append(Row((
            moment(one.issued),
            Cell(one.paper, same(one.paper)),
            Cell(one.person, same(one.person)),
            Cell(one.role, term("roles", one.role)),
            _decision(one.decision),
            cell("yes" if one.counts else "no"),
            moment(one.expires),
            Cell(one.roster_version, same(str(one.roster_version))),
            short(paper.digest),
        ), (Pointer("", one.line, one.paper + ".dsse.json"), *paper_pointers(material, paper))))  # fmt: skip
    names = ("issued", "paper", "person", "role", "decision", "counts", "expires", "roster#", "digest")
    return Table("approvals", columns(*names), tuple(rows))


def runs(material: Material) -> Table:
    """Every run that a log names: its sites, its steps and sizes of cohort, its models, and how it ended."""
    rows = []
    for run, logged in _by_run(material).items():
        statement = material.statement_of(run)
        joined = sorted({one.party for one in logged if one.entry.type == EntryType.BUDGET_RESERVED}
                        | {one.entry.refs["site"] for one in logged if one.entry.type == EntryType.RUN_JOINED
                           and "site" in one.entry.refs})
        adapters = sorted({one.entry.refs["adapter"] for one in logged if "adapter" in one.entry.refs})
        method = str(statement.predicate.get("method", "")) if statement else ""
        rows.append(Row((
            moment(min(one.entry.at for one in logged)),
            Cell(run, same(run)),
            Cell(method, term("methods", method) if method else text("not-stated")),
            Cell(str(material.study.at("purpose") or ""), _purpose(material)),
            lines([party(material, name) for name in joined]),
            _cohorts(material, run),
            _steps(material, run),
            _base_model(material),
            lines([short(one) for one in adapters]),
            _ended(logged),
        ), Pointer.to(*logged)))  # fmt: skip
    names = ("at", "run", "method", "purpose", "sites", "cohort#", "completed#", "base_model", "adapter", "ended")
    return Table("runs", columns(*names), tuple(rows))


def refusals(material: Material) -> Table:
    """Every refusal and every stop by its code, with the code's sentence: a row a code."""
    rows = []
    for one in material.of(*REFUSING):
        if one.entry.type == EntryType.VALIDATION_OPENED and not _rejected(one):
            continue
        for name in _codes(one) or ("",):
            rows.append(Row((
                moment(one.entry.at),
                party(material, one.party),
                Cell(one.entry.refs.get("run", ""), same(one.entry.refs.get("run", ""))),
                of_type(one.entry.type),
                Cell(name, same(name)),
                Cell(name, code(name)) if name else told(one.entry.type),
            ), Pointer.to(one)))  # fmt: skip
    return Table("refusals", columns("at", "party", "run", "event", "code", "sentence"), tuple(rows))


def releases(material: Material) -> Table:
    """Every release, its recipients, every refusal of one, every revocation, and every use of a released adapter."""
    rows = []
    for one in material.of(*RELEASING):
        refs = one.entry.refs
        said = words_of(one, "recipients", "use", "reason", "codes")
        rows.append(Row((
            moment(one.entry.at),
            party(material, one.party),
            of_type(one.entry.type),
            Cell(refs.get("run", ""), same(refs.get("run", ""))),
            short(refs.get("adapter", "")) if "adapter" in refs else Cell("", same("–")),
            lines([Cell(word, _recipient(word)) for word in said]),
        ), Pointer.to(one)))  # fmt: skip
    return Table("releases", columns("at", "party", "event", "run", "adapter", "said"), tuple(rows))


def consent(material: Material) -> Table:
    """Every change of consent and every remedy that it asked for: commitments, effects and outcomes, never a person."""
    rows = []
    for one in material.of(*CONSENTING):
        refs = one.entry.refs
        mark = refs.get("commitment") or refs.get("snapshot") or ""
        said = words_of(one, "reason", "effect", "outcome")
        rows.append(Row((
            moment(one.entry.at),
            party(material, one.party),
            of_type(one.entry.type),
            Cell(refs.get("run", ""), same(refs.get("run", ""))),
            lines([Cell(word, _effect(word)) for word in said]),
            short(mark) if mark else Cell("", same("–")),
        ), Pointer.to(one)))  # fmt: skip
    return Table("consent", columns("at", "party", "event", "run", "said", "commitment"), tuple(rows))


def disputes(material: Material) -> Table:
    """Every claim against a party that its own log or a proof of misbehaviour holds."""
    rows = [Row((
        moment(one.entry.at),
        party(material, one.party),
        of_type(one.entry.type),
        lines([party(material, name) for name in (one.entry.refs.get("party"), *words_of(one, "witnesses")) if name]),
        _sentence(one),
    ), Pointer.to(one)) for one in material.of(*DISPUTING)]  # fmt: skip
    rows += [_convicted(material, one) for one in material.misbehaviour]
    return Table("disputes", columns("at", "party", "event", "other", "sentence"), tuple(rows))


def journal(material: Material) -> Table:
    """How many entries of each type each party logged, the first and the last: nothing in a log is left out here."""
    groups: dict[tuple[str, str], list[Logged]] = {}
    for one in material.entries:
        groups.setdefault((one.party, one.entry.type), []).append(one)
    rows = []
    for (name, kind), ones in sorted(groups.items()):
        first, last = min(ones, key=lambda one: one.index), max(ones, key=lambda one: one.index)
        rows.append(Row((
            party(material, name),
            of_type(kind),
            Cell(kind, same(kind)),
            Cell(len(ones), same(str(len(ones)))),
            moment(first.entry.at),
            moment(last.entry.at),
        ), tuple(dict.fromkeys(Pointer.to(first, last)))))  # fmt: skip
    return Table("journal", columns("party", "event", "type", "count#", "first", "last"), tuple(rows))


def _by_run(material: Material) -> dict[str, tuple[Logged, ...]]:
    found: dict[str, list[Logged]] = {}
    for one in material.of(*RUNNING):
        if one.entry.refs.get("run"):
            found.setdefault(one.entry.refs["run"], []).append(one)
    return {run: tuple(ones) for run, ones in found.items()}


def _cohorts(material: Material, run: str) -> Cell:
    sizes = [one.entry.data["cohort"] for one in _in_run(material, run, *STEPPING) if "cohort" in one.entry.data]
    found = sorted({size for size in sizes if isinstance(size, int)})
    shown = "–" if not found else str(found[0]) if len(found) == 1 else f"{found[0]}–{found[-1]}"
    return Cell(shown if found else "", same(shown))


def _steps(material: Material, run: str) -> Cell:
    """Steps whose sum was made, and those abandoned, by the coordinator's log; else the sites' words at the end."""
    summed = _in_run(material, run, EntryType.STEP_SUMMED)
    if summed:
        return Cell(len(summed), same(str(len(summed))))
    said = [one.entry.data.get("completed") for one in _in_run(material, run, EntryType.RUN_FINISHED)]
    most = max((one for one in said if isinstance(one, int)), default=None)
    return Cell("" if most is None else most, same("–" if most is None else str(most)))


def _in_run(material: Material, run: str, *kinds: EntryType) -> list[Logged]:
    return [one for one in material.of(*kinds) if one.entry.refs.get("run") == run]


def _base_model(material: Material) -> Cell:
    name = material.base_model.at("name")
    return Cell(str(name), same(str(name))) if isinstance(name, str) else cell("not-stated", "")


def _ended(logged: tuple[Logged, ...]) -> Cell:
    kinds = {one.entry.type for one in logged}
    for kind in (EntryType.RELEASE_PUBLISHED, EntryType.RUN_FINISHED, EntryType.RUN_STOPPED):
        if kind in kinds:
            codes = sorted({word for one in logged if one.entry.type == kind for word in words_of(one, "code")})
            said = [cell(f"ended.{kind}", kind)]
            return lines([*said, *(Cell(name, same(name)) for name in codes)])
    return cell("ended.open")


def _rejected(one: Logged) -> bool:
    return one.entry.data.get("accepted") is False or one.entry.data.get("verdict") == "rejected"


def _codes(one: Logged) -> tuple[str, ...]:
    return words_of(one, "codes", "code", "reasons")


def _sentence(one: Logged) -> Cell:
    found = _codes(one)
    return lines([Cell(name, code(name)) for name in found]) if found else told(one.entry.type)


def _convicted(material: Material, one: Misbehaviour) -> Row:
    kind, origin = str(one.value.get("kind", "")), str(one.value.get("origin", ""))
    accused = origin.rpartition("/")[2]     # the log's name ends in its party's (C2SP checkpoint, origin line)
    return Row((
        Cell("", same("–")),
        party(material, accused),
        Cell("misbehaviour", text("misbehaviour-word")),
        Cell("", same("–")),
        misbehaviour(kind),
    ), (Pointer("", 1, one.member),))  # fmt: skip


def _recipient(word: str) -> Text:
    return _first_label(word, ("recipients", "downstream_uses"))


def _effect(word: str) -> Text:
    return _first_label(word, ("withdrawal_effects",))


def _first_label(word: str, vocabularies: Iterable[str]) -> Text:
    for vocabulary in vocabularies:
        if known(vocabulary, word):
            return term(vocabulary, word)
    return spoken(word)


def _purpose(material: Material) -> Text:
    purpose = material.study.at("purpose")
    return term("purposes", purpose) if isinstance(purpose, str) else text("not-stated")


def _decision(decision: str) -> Cell:
    return cell(f"decision.{decision}", decision) if decision in ("approve", "reject", "revoke") else Cell(decision)
