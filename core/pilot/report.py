"""Facts and decision -> report.html: what a board reads on screen, phone or paper.

What it is for: one self-contained page, English and Japanese in one file, in which all runs of a pilot stand side by
side. What it is NOT for: deciding (summary.py), gathering facts (facts.py), or what stays at a site (site_report.py).
The report is written by a participating site, never by the coordinator, which has neither sums nor adapter.

Order of calls: ``summarise(facts)`` -> ``pilot_report(facts, summary)``; the caller writes the text. ``accuracy.py``
draws how good the result is, ``guarantees.py`` what each run guarantees, ``figures.py`` rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from ...governance.evidence.charts import Bar, Interval, Svg, bars, intervals
from ...governance.evidence.page import Page, Words
from ...governance.language import Catalogue
from ...governance.provenance.refusing import words
from .accuracy import accuracy_rows, data_curve, group_rows
from .figures import (
    SIGNS,
    bounds_text,
    delta_text,
    epsilon_text,
    known,
    listed,
    money_text,
    percent_text,
    plain_text,
    score_text,
    time_text,
)
from .findings import SiteFacts, SummaryInput
from .guarantees import coalition, has_second_opinion, membership, membership_tried, more_sites, packing, side_by_side
from .summary import Measure, Reason, RunSummary, Summary
from .validations import validation_rows

HOUSE = (__package__ or "").rpartition(".")[0]      # the installed name of core, whatever it is nested in
TEMPLATES = Path(__file__).parent.parent / "templates"
VERDICT_SPEAKS = {"met": "for", "missed": "against", "open": "open"}
PROMISED = ("yes-records", "yes-coordinator", "yes-sites", "yes-person")
NOT_PROMISED = (
    "no-review", "no-pretraining", "no-test-set", "no-keys", "no-poison", "no-organisation", "no-recall"
)  # fmt: skip


def pilot_report(facts: SummaryInput, summary: Summary) -> str:
    """The HTML of the pilot's report, for every participant."""
    return report_page().render(
        "report.html", title=facts.title, views=lambda t: _view(facts, summary, t), facts=facts, summary=summary,
        promised=PROMISED, not_promised=NOT_PROMISED,
    )


def report_page() -> Page:
    """The page with the reports' words and templates."""
    return Page(Catalogue.load(HOUSE, "texts"), [TEMPLATES], prefix="report.")


def _view(facts: SummaryInput, summary: Summary, t: Words) -> dict[str, Any]:
    names = {site.id: t.say(site.name) for site in facts.sites}
    return {
        "started": time_text(facts.started),
        "finished": time_text(facts.finished),
        "decision": t(f"decision.{summary.decision}"),
        "reasons": [(SIGNS[one.speaks], one.speaks, _reason(one, summary, t)) for one in summary.reasons],
        "measures": [_measure(item, t) for item in summary.measures],
        "measures_chart": _measures_chart(summary, t),
        "budget": _budget_words(facts, summary, t),
        "each": _each_run(summary, t),
        "most_spent": _most_spent(facts, t) if facts.demo else None,
        "budget_chart": _budget_chart(facts, t),
        "lifetime_delta": _lifetime_delta(facts, t),
        "accuracy": accuracy_rows(summary, t),
        "groups": group_rows(summary, names, t),
        "curve": None if summary.baselines is None else data_curve(summary.baselines, t),
        "methods": [known(t, "method-short", run.method) for run in summary.runs],
        "sides": side_by_side(summary, t),
        "second_opinion": has_second_opinion(summary),
        "coalition": coalition(summary, t),
        "membership": membership(summary, t),
        "membership_tried": membership_tried(summary),
        "packing": packing(summary, t),
        "more_sites": more_sites(summary, t),
        "protections": _protections(summary, t),
        "cohorts": _cohorts(summary, names, t),
        "validations": validation_rows(summary, t),
        "value": _value_rows(summary, t),
        "stages": _stages(facts, t),
        "bytes": [_bytes(run, t) for run in summary.runs],
        "seconds_chart": _seconds_chart(summary, t),
        "adapters": [
            (known(t, "method-short", run.method), run.adapter, run.run, _withheld(run, t)) for run in summary.runs
        ],
        "disclaimer": t.say(facts.disclaimer) if facts.disclaimer else t("disclaimer.default") if facts.demo else "",
    }


# -- the first screen ---------------------------------------------------------------------------------------------

def _reason(reason: Reason, summary: Summary, t: Words) -> str:
    if reason.code in {"measure-met", "measure-missed", "measure-open"}:
        return _measure_reason(reason, summary, t)
    money = summary.roi
    return t(
        f"reason.{reason.code}", subject=_subject(reason.subject, t), detail=_detail(reason, t),
        ratio=t("value.no-cost") if money.ratio is None else percent_text(money.ratio),
        threshold=percent_text(money.threshold),
    )


def _measure_reason(reason: Reason, summary: Summary, t: Words) -> str:
    item = next(one for one in summary.measures if f"{one.method}.{one.name}" == reason.subject)
    subject, target = _metric(item, t), plain_text(item.target)
    if item.low is None or item.high is None:
        return t("reason.measure-none", subject=subject, target=target)
    return t(f"reason.measure-{item.met}", subject=subject, target=target, low=score_text(item.low),
             high=score_text(item.high))


def _metric(item: Measure, t: Words) -> str:
    return f"{t(f'metric.{item.name}')} · {known(t, 'method-short', item.method)}"


def _subject(subject: str, t: Words) -> str:
    """A protection as its sentence, a method by its name."""
    return t(f"protection.{subject}") if t.has(f"protection.{subject}") else known(t, "method", subject)


def _detail(reason: Reason, t: Words) -> str:
    if reason.code == "protection-failed":
        return listed([known(t, "method-short", method) for method in reason.detail.split(",")], t.language)
    return reason.detail


def _measure(item: Measure, t: Words) -> dict[str, Any]:
    speaks = VERDICT_SPEAKS[item.met]
    return {
        "metric": _metric(item, t),
        "text": t.say(item.text),
        "target": f"≥ {plain_text(item.target)}",
        "result": t("measures.none") if item.value is None else score_text(item.value),
        "bounds": "" if item.low is None or item.high is None else bounds_text(item.low, item.high),
        "speaks": speaks,
        "sign": SIGNS[speaks],
        "verdict": t(f"measures.{item.met}"),
    }


def _measures_chart(summary: Summary, t: Words) -> Svg | None:
    rows = [
        Interval(_metric(item, t), item.value, item.low, item.high,
                 f"{score_text(item.value)} {SIGNS[VERDICT_SPEAKS[item.met]]}", float(item.target))
        for item in summary.measures
        if item.value is not None and item.low is not None and item.high is not None
    ]
    if not rows:
        return None
    # From the nearest tenth below everything shown, so that bounds can be told apart, to 1.
    low = max(int(min(min(row.low, row.target or row.low) for row in rows) * 10 - 0.5), 0) / 10
    return intervals(t("measures.chart"), rows, low=low, high=1.0, target=t("measures.target"))


def _budget_words(facts: SummaryInput, summary: Summary, t: Words) -> list[str]:
    """What each run may reveal, and what they amount to together."""
    words = [t(f"budget.explain-{facts.unit}", each=_each_run(summary, t), observers=facts.observers)]
    if len(summary.runs) > 1:
        words.append(t(f"budget.together-{facts.unit}", epsilon=epsilon_text(summary.together.epsilon),
                       delta=delta_text(summary.together.delta)))
    words.append(t(f"budget.relation-{facts.unit}"))
    if facts.max_sites_per_subject > 1:
        words.append(t("budget.explain-several", count=facts.max_sites_per_subject))
    return words


def _each_run(summary: Summary, t: Words) -> str:
    runs = [t("budget.of-run", method=known(t, "method-short", run.method), epsilon=epsilon_text(run.worst),
              delta=delta_text(run.delta)) for run in summary.runs]
    return listed(runs, t.language)


def _most_spent(facts: SummaryInput, t: Words) -> tuple[str, Svg]:
    """Caption and one bar of the first screen: the site that has the smallest part of its budget left."""
    most = max(facts.sites, key=lambda site: site.lifetime_spent / float(site.lifetime_epsilon))
    caption = t("budget.most-spent", delta=delta_text(most.lifetime_delta))
    return caption, _budget_bars(caption, [most], t)


def _budget_chart(facts: SummaryInput, t: Words) -> Svg:
    return _budget_bars(t("budget.chart", delta=_lifetime_delta(facts, t)), facts.sites, t)


def _lifetime_delta(facts: SummaryInput, t: Words) -> str:
    """The δ of the sites' lifetime budgets; where they differ, each."""
    return listed([delta_text(delta) for delta in sorted({site.lifetime_delta for site in facts.sites})], t.language)


def _budget_bars(title: str, sites: Sequence[SiteFacts], t: Words) -> Svg:
    rows = []
    differ = len({site.lifetime_delta for site in sites}) > 1  # an ε of one bar is not at the δ of another
    for site in sites:
        limit = float(site.lifetime_epsilon)
        before = min(site.lifetime_before, site.lifetime_spent)
        spent = t("budget.row", spent=epsilon_text(site.lifetime_spent), limit=plain_text(site.lifetime_epsilon))
        label = f"{t.say(site.name)} · δ = {delta_text(site.lifetime_delta)}" if differ else t.say(site.name)
        rows.append(Bar(label, (before / limit, (site.lifetime_spent - before) / limit), spent))
    return bars(title, rows, maximum=1.0)


# -- the runs side by side ----------------------------------------------------------------------------------------

def _protections(summary: Summary, t: Words) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Each protection with one verdict a run, or with a single one where all runs agree."""
    rows = []
    for name in summary.protections:
        held = [run.protections.get(name) for run in summary.runs]
        rows.append((t(f"protection.{name}"), [_held(one, t) for one in held]))
    return rows


def _held(held: bool | None, t: Words) -> tuple[str, str, str]:
    key, speaks = {True: ("held", "for"), False: ("failed", "against"), None: ("unshown", "open")}[held]
    return speaks, SIGNS[speaks], t(f"protections.{key}")


def _cohorts(summary: Summary, names: Mapping[str, str], t: Words) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """For each run its method, its counts, and spans of steps with who took part."""
    return [
        (
            known(t, "method-short", run.method),
            t("cohorts.counts", planned=run.steps.planned, completed=run.steps.completed,
              abandoned=run.steps.abandoned),
            [
                (str(span.first) if span.first == span.last else f"{span.first}–{span.last}",
                 t("cohorts.everybody", count=len(names)) if set(span.cohort) == set(names)
                 else listed([names.get(site, site) for site in span.cohort], t.language),
                 t(f"cohorts.{span.outcome}"))
                for span in run.cohorts
            ],
        )
        for run in summary.runs
    ]


def _withheld(run: RunSummary, t: Words) -> str:
    """Why an adapter stays at the sites; empty where it was released."""
    if run.withheld is None:
        return ""
    reason, _ = words(run.withheld, t.language)
    return t("model.withheld", why=reason.rstrip(":： "), code=run.withheld)  # the condition itself is in the candidate


def _bytes(run: RunSummary, t: Words) -> str:
    if not run.step_bytes:
        return t("traffic.not-sent", method=known(t, "method-short", run.method))
    return t("traffic.bytes", method=known(t, "method-short", run.method), bytes=f"{run.step_bytes:,}",
             each=f"{run.uplink_bytes_per_parameter:.2f}", parameters=f"{run.parameters:,}")


def _seconds_chart(summary: Summary, t: Words) -> Svg | None:
    """Seconds by stage: what belongs to a run is named after its method."""
    around = [(known(t, "took", name), seconds) for name, seconds in summary.seconds.items()]
    within = [
        (f"{known(t, 'method-short', run.method)} · {known(t, 'took', name)}", seconds)
        for run in summary.runs
        for name, seconds in run.seconds.items()
    ]
    stages = [*around[:1], *within, *around[1:]]
    rows = [Bar(label, (seconds,), t("traffic.seconds", seconds=f"{seconds:.1f}")) for label, seconds in stages]
    return bars(t("traffic.chart"), rows) if rows else None


# -- money --------------------------------------------------------------------------------------------------------

def _value_rows(summary: Summary, t: Words) -> list[tuple[str, str, bool]]:
    money, figures = summary.roi, summary.roi.figures
    if money.ratio is None:
        ratio = t("value.no-cost")
    else:
        ratio = t("value.threshold", ratio=percent_text(money.ratio), threshold=percent_text(money.threshold))
    payback = (t("value.never") if money.payback_months is None
               else t("value.months", months=plain_text(money.payback_months)))

    def cash(value: Decimal) -> str:
        return money_text(value, money.currency, t.language)

    return [
        (t("value.reviews"), f"{figures.reviews_per_year:,}", False),
        (t("value.share"), percent_text(figures.share_handled), False),
        (t("value.minutes"), plain_text(figures.minutes_saved_per_review), False),
        (t("value.per-hour"), cash(figures.cost_per_hour), False),
        (t("value.value"), cash(money.value_per_year), True),
        (t("value.pilot-cost"), cash(figures.pilot_cost), False),
        (t("value.yearly-cost"), cash(figures.yearly_cost), False),
        (t("value.roi"), ratio, True),
        (t("value.payback"), payback, False),
    ]


def _stages(facts: SummaryInput, t: Words) -> list[dict[str, Any]]:
    names = [stage.name for stage in facts.stages]
    current = names.index(facts.stage) if facts.stage in names else -1
    rows = []
    for index, stage in enumerate(facts.stages):
        mark = {current: "current", current + 1: "next"}.get(index, "") if current >= 0 else ""
        rows.append({
            "name": known(t, "stage-name", stage.name),
            "mark": mark,
            "mark_text": t(f"stages.{mark}") if mark else "",
            "gate": t.say(stage.gate),
            "cost": money_text(stage.cost, facts.value.currency, t.language),
            "caps": [f"{known(t, 'cap', name)} {value}" for name, value in stage.caps.items()],
        })
    return rows
