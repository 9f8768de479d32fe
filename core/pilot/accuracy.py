"""How good the result is, as the report shows it: the accuracy table, product groups, and the data curve.

What it is for: rows and charts from a ``Summary``, its baselines and the public test set, for one language. What it is
NOT for: measuring (training/evaluation.py, and the example's own script), deciding (summary.py), or layout (templates).

Order of calls: ``accuracy_rows``, ``group_rows``, ``data_curve``; report.py puts them on the page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...governance.evidence.charts import Series, lines
from ...governance.evidence.page import Words
from .baselines import Baselines, CurveSeries, Point
from .figures import bounds_text, epsilon_text, known, score_text
from .findings import GroupResult
from .summary import RunSummary, Summary


def accuracy_rows(summary: Summary, t: Words) -> dict[str, Any]:
    """This pilot's runs first, then what was measured beforehand; of those with privacy the best AUC is marked."""
    own = [(run, run.result) for run in summary.runs if run.result is not None]
    before = summary.baselines.rows if summary.baselines is not None else ()
    private = [result.auc for _, result in own] + [row.auc for row in before if row.epsilon is not None]
    best = max(private, default=None) if len(private) > 1 else None
    return {
        "own": [
            {
                "name": known(t, "method", run.method),
                "note": "",
                "epsilon": epsilon_text(run.worst),
                "auc": score_text(result.auc),
                "auc_bounds": bounds_text(result.auc_low, result.auc_high),
                "accuracy": score_text(result.accuracy),
                "accuracy_bounds": bounds_text(result.accuracy_low, result.accuracy_high),
                "best": result.auc == best,
            }
            for run, result in own
        ],
        "before": [
            {
                "name": t.say(row.name),
                "note": t.say(row.note) if row.note is not None else "",
                "epsilon": t("results.no-privacy") if row.epsilon is None else epsilon_text(row.epsilon),
                "auc": score_text(row.auc),
                "auc_bounds": bounds_text(row.auc_low, row.auc_high),
                "accuracy": score_text(row.accuracy),
                "accuracy_bounds": "",
                "best": row.epsilon is not None and row.auc == best,
            }
            for row in before
        ],
        "seeds": _seeds(summary.baselines, t),
        "settings": [t.say(text) for text in summary.baselines.settings] if summary.baselines is not None else [],
        "classes": [(known(t, "method-short", run.method), _recall(run, t)) for run, result in own if result.per_class],
    }


def _seeds(baselines: Baselines | None, t: Words) -> str:
    if baselines is None or not baselines.rows:
        return ""
    least, most = min(row.seeds for row in baselines.rows), max(row.seeds for row in baselines.rows)
    return t("results.seeds", seeds=str(least) if least == most else f"{least}–{most}")


def _recall(run: RunSummary, t: Words) -> list[str]:
    assert run.result is not None
    return [t("results.recall", label=one.label, correct=f"{one.correct:,}", n=f"{one.n:,}")
            for one in run.result.per_class]


def group_rows(summary: Summary, names: Mapping[str, str], t: Words) -> dict[str, Any] | None:
    """One row a product group, one column a method; None where the test set names no groups."""
    runs = [run for run in summary.runs if run.groups]
    if not runs:
        return None
    ids = list(dict.fromkeys(group.id for run in runs for group in run.groups))
    by_run = [{group.id: group for group in run.groups} for run in runs]
    return {
        "methods": [known(t, "method-short", run.method) for run in runs],
        "rows": [
            {
                "name": names.get(one, one),
                "n": f"{next(groups[one].n for groups in by_run if one in groups):,}",
                "cells": [_group_cell(groups.get(one), t) for groups in by_run],
            }
            for one in ids
        ],
    }


def _group_cell(group: GroupResult | None, t: Words) -> dict[str, str]:
    if group is None:
        return {"auc": t("groups.none"), "bounds": "", "accuracy": "", "accuracy_bounds": ""}
    accuracy = {
        "accuracy": t("groups.accuracy", accuracy=score_text(group.accuracy)),
        "accuracy_bounds": bounds_text(group.accuracy_low, group.accuracy_high),
    }
    if group.auc is None or group.auc_low is None or group.auc_high is None:
        return {"auc": t("groups.one-class"), "bounds": "", **accuracy}
    return {"auc": score_text(group.auc), "bounds": bounds_text(group.auc_low, group.auc_high), **accuracy}


def data_curve(baselines: Baselines, t: Words) -> dict[str, Any]:
    """The line chart of AUC over the share of the data, its table with seconds, and what the figures say."""
    series = baselines.curve.series
    shares = sorted({point.share for line in series for point in line.points})
    # An axis from zero would hide what there is to see: chance alone is 0.5.
    aucs = [point.auc for line in series for point in line.points]
    low, highest = math.floor(min(aucs) * 10) / 10, math.ceil(max(aucs) * 10)
    chart = lines(
        t("curve.chart"),
        [Series(t.say(line.name), tuple((point.share, point.auc) for point in line.points)) for line in series],
        x_label=t("curve.share"), y_label=t("metric.auc"), low=low,
        x_ticks=[(share, share_text(share)) for share in shares],
        y_ticks=[(tenth / 10, f"{tenth / 10:.1f}") for tenth in range(round(low * 10), highest + 1)],
    )
    rows = []
    for line in series:
        at = {point.share: point for point in line.points}
        cells = [(score_text(at[share].auc), t("traffic.seconds", seconds=_seconds(at[share].seconds)))
                 if share in at else None for share in shares]
        rows.append((t.say(line.name), cells))
    return {"chart": chart, "shares": [share_text(share) for share in shares], "rows": rows,
            "sentences": curve_sentences(series, t)}


def share_text(share: float) -> str:
    """0.1 -> 10 %, which no line breaks."""
    return f"{share * 100:g}\N{NO-BREAK SPACE}%"


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def curve_sentences(series: Sequence[CurveSeries], t: Words) -> list[str]:
    """Whether the foundation model needed less data and less time, by these figures and no others.

    The yardstick of each line is what the next one without the foundation model reached with all its data: the file
    lists like beside like. A line with none behind it is held against the best of them.
    """
    without = [line for line in series if not line.foundation]
    if not without or len(without) == len(series):
        return [t("curve.nothing-to-compare")]
    best = max(without, key=lambda line: line.points[-1].auc)
    told = []
    for place, line in enumerate(series):
        if line.foundation:
            yard = next((other for other in series[place + 1 :] if not other.foundation), best)
            told.append(_told(line, yard, yard.points[-1], t))
    return told


def _told(line: CurveSeries, yard: CurveSeries, goal: Point, t: Words) -> str:
    reached = next((point for point in line.points if point.auc >= goal.auc), None)
    words = {
        "name": t.say(line.name),
        "other": t.say(yard.name),
        "goal": score_text(goal.auc),
        "goal_share": share_text(goal.share),
        "goal_seconds": _seconds(goal.seconds),
    }
    if reached is None:
        last = line.points[-1]
        return t("curve.not-reached", **words, auc=score_text(last.auc), share=share_text(last.share),
                 seconds=_seconds(last.seconds))
    less_data, less_time = reached.share < goal.share, reached.seconds < goal.seconds
    key = {(True, True): "curve.less-both", (True, False): "curve.less-data", (False, True): "curve.less-time",
           (False, False): "curve.no-less"}[less_data, less_time]
    return t(key, **words, auc=score_text(reached.auc), share=share_text(reached.share),
             seconds=_seconds(reached.seconds))
