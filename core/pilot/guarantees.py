"""Facts -> what the report says of each run's guarantee: its figures side by side, coalitions, the weak test, packing.

Not for: how good the result is (accuracy.py), the first screen and everything else (report.py), deciding (summary.py).

Order of calls: ``report.py`` asks for each part with the words of one language.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from ...governance.evidence.page import Words
from .figures import (
    bounds_text,
    chance_text,
    delta_text,
    epsilon_text,
    factor_text,
    known,
    listed,
    percent_text,
    score_text,
)
from .findings import NotTried
from .summary import RunSummary, Summary

FLOAT32_BYTES = 4  # a parameter as it is sent where nothing protects it


def side_by_side(summary: Summary, t: Words) -> list[tuple[str, list[str]]]:
    """A row a property, a column a run."""
    absent = t("sides.absent")
    rows: list[tuple[str, Callable[[RunSummary], str]]] = [
        ("sides.epsilon", lambda run: epsilon_text(run.worst)),
        ("sides.target", lambda run: epsilon_text(run.epsilon_target)),
        ("sides.delta", lambda run: delta_text(run.delta)),
        ("sides.steps", lambda run: t("sides.steps-done", done=run.steps.completed, planned=run.steps.planned)),
        ("sides.parameters", lambda run: f"{run.parameters:,}"),
    ]
    if has_second_opinion(summary):
        rows.insert(2, ("sides.cross-check",
                        lambda run: absent if run.cross_check is None else epsilon_text(run.cross_check)))
    shown = [(t(key), [tell(run) for run in summary.runs]) for key, tell in rows]
    settings = [dict(run.settings) for run in summary.runs]
    for name in dict.fromkeys(name for own in settings for name in own):
        shown.append((known(t, "setting", name), [own.get(name, absent) for own in settings]))
    return shown


def has_second_opinion(summary: Summary) -> bool:
    """Whether another accountant has a figure for any run."""
    return any(run.cross_check is not None for run in summary.runs)


def coalition(summary: Summary, t: Words) -> list[tuple[str, list[str], bool]]:
    """ε for every size of a coalition, a column a run; the row that the guarantee rests on is marked."""
    tables = [dict(run.coalition) for run in summary.runs]
    rows = []
    for size in sorted({size for table in tables for size in table}):
        label = t("coalition.row-outsider") if size == 0 else t("coalition.row", size=size)
        cells = [epsilon_text(table[size]) if size in table else t("sides.absent") for table in tables]
        rows.append((label, cells, size == summary.observers))
    return rows


def membership(summary: Summary, t: Words) -> list[tuple[str, str, str, str]]:
    """A run, whom it was tried on, and the figure with its bounds; where nothing was tried, why."""
    rows = []
    for run in summary.runs:
        method, test = known(t, "method-short", run.method), run.membership
        if isinstance(test, NotTried):
            rows.append((method, t(f"membership.{test}"), t("sides.absent"), ""))
        else:
            tried = t("membership.tried", customers=f"{test.customers:,}", others=f"{test.others:,}")
            rows.append((method, tried, score_text(test.auc), bounds_text(test.auc_low, test.auc_high)))
    return rows


def membership_tried(summary: Summary) -> bool:
    """Whether any run has a figure that needs to be explained."""
    return not all(isinstance(run.membership, NotTried) for run in summary.runs)


def more_sites(summary: Summary, t: Words) -> str | None:
    """What holds for a person at one site more than declared; None where there is no figure."""
    if not (figures := [(run, *run.more_sites) for run in summary.runs if run.more_sites is not None]):
        return None
    each = [t("budget.of-run", method=known(t, "method-short", run.method), epsilon=epsilon_text(epsilon),
              delta=delta_text(run.delta)) for run, _, epsilon in figures]
    return t("coalition.more-sites", sites=figures[0][1], each=listed(each, t.language))


def packing(summary: Summary, t: Words) -> list[tuple[str, list[tuple[str, str]]]]:
    """How updates were packed, noised and sent: a row a property, a column a run; each cell a figure and a note."""
    rows: list[tuple[str, Callable[[RunSummary], tuple[str, str]]]] = [
        ("packing.preset", lambda run: _preset(run, t)),
        ("packing.inflation", lambda run: (factor_text(run.packing.inflation), "")),
        ("packing.share", lambda run: (score_text(run.packing.share_deviation), "")),
        ("packing.sum", lambda run: (score_text(run.packing.sum_deviation), "")),
        ("packing.overflow-step", lambda run: (chance_text(run.packing.overflow_step), "")),
        ("packing.overflow-run", lambda run: (chance_text(run.packing.overflow_run), "")),
        ("packing.exact", lambda run: (t("packing.sites", count=run.packing.exact_sites), "")),
        ("packing.up", lambda run: _bytes(run, run.step_bytes, t)),
        ("packing.up-former", lambda run: _bytes(run, run.packing.former_up_computed, t)),
        ("packing.down", lambda run: _bytes(run, run.packing.down_step_bytes, t)),
        ("packing.down-former", lambda run: _bytes(run, run.packing.former_down_computed, t)),
    ]
    former = summary.runs[0].packing.former
    if all(run.packing.preset == former for run in summary.runs):  # a comparison with itself says nothing
        rows = [(key, tell) for key, tell in rows if not key.endswith("-former")]
    return [(t(key, former=former), [tell(run) for run in summary.runs]) for key, tell in rows]


def _preset(run: RunSummary, t: Words) -> tuple[str, str]:
    own = run.packing
    return own.preset, t("packing.rotated" if own.rotated else "packing.plain", fields=own.fields, bits=own.width)


def _bytes(run: RunSummary, count: int, t: Words) -> tuple[str, str]:
    """Bytes of a step; of a parameter, and as a share of plain floats, rounded up."""
    if not count:
        return t("sides.absent"), ""
    share = Decimal(-(-count * 100 // (FLOAT32_BYTES * run.parameters))) / 100
    note = t("packing.each", each=f"{count / run.parameters:.2f}", share=percent_text(share))
    return t("packing.bytes", bytes=f"{count:,}"), note
