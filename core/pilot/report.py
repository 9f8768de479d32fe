"""Facts and decision -> report.html; a site's own facts -> its sites/<id>/report.html.

What it is for: two self-contained pages, English and Japanese in one file, that a board can read on screen, phone or
paper. What it is NOT for: deciding (summary.py), or gathering facts (pilot.py). The pilot's report is written by a
participating site, never by the coordinator, which has neither sums nor adapter.

Two inputs for two readers: `SummaryInput` holds what every participant may see; `SiteReportInput` holds exact counts
and balances, which stay at the site.

Order of calls: `summarise(facts)` -> `pilot_report(facts, summary)`; `site_report(facts)`; the caller writes the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ...governance.evidence.charts import Bar, Interval, Svg, bars, intervals
from ...governance.evidence.page import Page, Words
from ...governance.language import Catalogue, Language, Text
from .summary import Amount, Digest, MethodResult, Strict, Summary, SummaryInput

HOUSE = (__package__ or "").rpartition(".")[0]      # the installed name of core, whatever it is nested in
TEMPLATES = Path(__file__).parent.parent / "templates"
SIGNS = {"for": "✓", "against": "✕", "open": "?"}
VERDICT_SPEAKS = {"met": "for", "missed": "against", "open": "open"}
PROMISED = ("yes-records", "yes-coordinator", "yes-sites", "yes-person")
NOT_PROMISED = ("no-review", "no-pretraining", "no-keys", "no-poison", "no-organisation", "no-recall")


class ClauseWords(Strict):
    """One clause in words: what people wrote beside what the system enforces, and what it only records."""

    id: str
    name: Text
    prose: Text
    enforced: Text
    recorded: Text | None
    grant: bool = False


class LedgerRun(Strict):
    """One run as the ledger has it: steps charged, started and disclosed, and its state."""

    run: str
    steps: Annotated[int, Field(ge=0)]
    started: Annotated[int, Field(ge=0)]
    disclosed: Annotated[int, Field(ge=0)]
    state: str


class SiteReportInput(Strict):
    """What one site knows and nobody else: counts of people, balances, its policy's meaning."""

    site: str
    name: Text
    study: str
    title: Text
    run: str
    started: str
    demo: bool
    root: Digest
    records: Annotated[int, Field(ge=0)]
    subjects: Annotated[int, Field(ge=0)]
    used_subjects: Annotated[int, Field(ge=0)]
    excluded: Mapping[str, Annotated[int, Field(ge=0)]]     # subjects by reason: consent's reasons, and "budget"
    unit: Literal["subject", "record"]
    epsilon: Amount                                         # this run, by the site's own accountant
    delta: Decimal
    lifetime_epsilon: Annotated[Decimal, Field(gt=0)]
    lifetime_delta: Annotated[Decimal, Field(gt=0, lt=1)]
    spent_most: Amount                                      # epsilon of the subject who spent most, after this run
    spent_least: Amount
    ledger_subjects: Annotated[int, Field(ge=0)]
    runs: tuple[LedgerRun, ...]
    policy_id: str
    policy_version: int
    policy_digest: Digest
    policy: tuple[ClauseWords, ...]
    log_entries: Annotated[int, Field(ge=0)]
    log_root: str
    warnings: tuple[Text, ...] = ()
    disclaimer: Text | None = None


def pilot_report(facts: SummaryInput, summary: Summary) -> str:
    """The HTML of the run's report, for every participant."""
    return _page().render(
        "report.html", title=facts.title, views=lambda t: _pilot_view(facts, summary, t), facts=facts, summary=summary,
        promised=PROMISED, not_promised=NOT_PROMISED,
    )


def site_report(facts: SiteReportInput) -> str:
    """The HTML of one site's own report. It does not leave the site."""
    return _page().render("site.html", title=facts.name, views=lambda t: _site_view(facts, t), facts=facts)


def _page() -> Page:
    return Page(Catalogue.load(HOUSE, "texts"), [TEMPLATES], prefix="report.")


# -- figures as people read them ----------------------------------------------------------------------------------

def epsilon_text(value: float | Decimal) -> str:
    """Two places, rounded up: the page never shows a smaller epsilon than was spent."""
    exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    return str(exact.quantize(Decimal("0.01"), rounding=ROUND_CEILING))


def delta_text(value: Decimal) -> str:
    """0.00001 -> 1e-5."""
    mantissa, _, exponent = f"{value.normalize():e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if int(exponent) < -2 else str(value.normalize())


def time_text(value: str) -> str:
    """An RFC 3339 time to the minute, in UTC: 2026-11-23 10:00 UTC."""
    return datetime.fromisoformat(value).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def money_text(value: Decimal, currency: str, language: Language) -> str:
    """1,200,000 JPY; in Japanese 1,200,000円."""
    amount = f"{value:,f}"
    return f"{amount}円" if (language, currency) == ("ja", "JPY") else f"{amount} {currency}"


def plain_text(value: Decimal) -> str:
    """A declared decimal as it was meant: 0.30 -> 0.3, 3E+3 -> 3,000."""
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _score(value: float) -> str:
    return f"{value:.3f}"


def _percent(ratio: Decimal) -> str:
    return f"{plain_text(ratio * 100)} %"


# -- the pilot's report -------------------------------------------------------------------------------------------

def _pilot_view(facts: SummaryInput, summary: Summary, t: Words) -> dict[str, Any]:
    names = {site.id: t.say(site.name) for site in facts.sites}
    highest = max(summary.epsilon.values())
    return {
        "started": time_text(facts.started),
        "finished": time_text(facts.finished),
        "decision": t(f"decision.{summary.decision}"),
        "reasons": [(SIGNS[r.speaks], r.speaks, t(f"reason.{r.code}", subject=_subject(r.subject, t)))
                    for r in summary.reasons],
        "measures": _measures(summary, t),
        "measures_chart": _measures_chart(summary, t),
        "budget_chart": _budget_chart(facts, t),
        "budget_explain": t(f"budget.explain-{facts.unit}", epsilon=epsilon_text(highest),
                            delta=delta_text(facts.delta), observers=facts.observers),
        "results": _results(facts.methods, t),
        "protections": [(held, t(f"protection.{name}")) for name, held in summary.protections.items()],
        "coalition_chart": _coalition_chart(summary, t),
        "cohorts": _cohorts(summary, names, t),
        "value": _value_rows(summary, t),
        "stages": _stages(facts, t),
        "traffic_chart": _traffic_chart(facts, t) if facts.seconds else None,
        "bytes": t("traffic.bytes", bytes=f"{facts.uplink_bytes_per_parameter:.2f}",
                   parameters=f"{facts.parameters:,}"),
        "disclaimer": t.say(facts.disclaimer) if facts.disclaimer else t("disclaimer.default") if facts.demo else "",
    }


def _subject(subject: str, t: Words) -> str:
    """"probe.auc" as metric and method; a protection as its sentence."""
    if "." in subject:
        method, _, metric = subject.partition(".")
        return f"{t(f'metric.{metric}')} · {method}"
    return _known(t, "protection", subject)


def _known(t: Words, family: str, name: str) -> str:
    """A name of the run in words, where the catalogue has some; else the name itself."""
    return t(f"{family}.{name}") if t.has(f"{family}.{name}") else name.replace("_", " ")


def _traffic_chart(facts: SummaryInput, t: Words) -> Svg:
    return bars(t("traffic.chart"), [
        Bar(_known(t, "took", name), (seconds,), t("traffic.seconds", seconds=f"{seconds:.1f}"))
        for name, seconds in facts.seconds.items()
    ])


def _measures(summary: Summary, t: Words) -> list[dict[str, Any]]:
    return [
        {
            "text": t.say(item.text),
            "target": f"≥ {plain_text(item.target)}",
            "result": t("measures.none") if item.value is None else _score(item.value),
            "bounds": "" if item.low is None or item.high is None else f"{_score(item.low)} – {_score(item.high)}",
            "speaks": VERDICT_SPEAKS[item.met],
            "sign": SIGNS[VERDICT_SPEAKS[item.met]],
            "verdict": t(f"measures.{item.met}"),
        }
        for item in summary.measures
    ]


def _measures_chart(summary: Summary, t: Words) -> Svg | None:
    rows = [
        Interval(f"{t(f'metric.{item.name}')} · {item.method}", item.value, item.low, item.high, _score(item.value),
                 float(item.target))
        for item in summary.measures
        if item.value is not None and item.low is not None and item.high is not None
    ]
    if not rows:
        return None
    # From the nearest tenth below everything shown, so that bounds can be told apart, to 1.
    low = max(int(min(min(row.low, row.target or row.low) for row in rows) * 10 - 0.5), 0) / 10
    return intervals(t("measures.chart"), rows, low=low, high=1.0, target=t("measures.target"))


def _budget_chart(facts: SummaryInput, t: Words) -> Svg:
    rows = []
    for site in facts.sites:
        limit = float(site.lifetime_epsilon)
        before = min(site.lifetime_before, site.lifetime_spent)
        spent = t("budget.row", spent=epsilon_text(site.lifetime_spent), limit=plain_text(site.lifetime_epsilon))
        rows.append(Bar(t.say(site.name), (before / limit, (site.lifetime_spent - before) / limit), spent))
    return bars(t("budget.chart"), rows, maximum=1.0)


def _results(methods: Mapping[str, MethodResult], t: Words) -> list[dict[str, Any]]:
    return [
        {
            "method": _known(t, "method", name),
            "scores": [(_score(result.auc), f"{_score(result.auc_low)} – {_score(result.auc_high)}"),
                       (_score(result.accuracy), f"{_score(result.accuracy_low)} – {_score(result.accuracy_high)}")],
            "n": f"{result.n:,}",
            "classes": [(one.label, f"{one.correct:,} / {one.n:,}") for one in result.per_class],
        }
        for name, result in methods.items()
    ]


def _coalition_chart(summary: Summary, t: Words) -> Svg:
    rows = [
        Bar(t("coalition.row-outsider") if size == 0 else t("coalition.row", size=size), (epsilon,),
            f"ε = {epsilon_text(epsilon)}{' ←' if size == summary.observers else ''}")
        for size, epsilon in summary.coalition
    ]
    return bars(t("coalition.chart"), rows)


def _cohorts(summary: Summary, names: Mapping[str, str], t: Words) -> list[tuple[str, str, str]]:
    return [
        (str(span.first) if span.first == span.last else f"{span.first}–{span.last}",
         "、".join(names.get(site, site) for site in span.cohort) if t.language == "ja"
         else ", ".join(names.get(site, site) for site in span.cohort),
         t(f"cohorts.{span.outcome}"))
        for span in summary.cohorts
    ]


def _value_rows(summary: Summary, t: Words) -> list[tuple[str, str, bool]]:
    money, figures = summary.roi, summary.roi.figures
    if money.ratio is None:
        ratio = t("value.no-cost")
    else:
        ratio = t("value.threshold", ratio=_percent(money.ratio), threshold=_percent(money.threshold))
    payback = (t("value.never") if money.payback_months is None
               else t("value.months", months=plain_text(money.payback_months)))

    def cash(value: Decimal) -> str:
        return money_text(value, money.currency, t.language)

    return [
        (t("value.reviews"), f"{figures.reviews_per_year:,}", False),
        (t("value.share"), _percent(figures.share_handled), False),
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
        mark = "current" if index == current else "next" if current >= 0 and index == current + 1 else ""
        rows.append({
            "name": stage.name,
            "mark": mark,
            "mark_text": t(f"stages.{mark}") if mark else "",
            "gate": t.say(stage.gate),
            "cost": money_text(stage.cost, facts.value.currency, t.language),
            "caps": [f"{name.replace('_', ' ')} {value}" for name, value in stage.caps.items()],
        })
    return rows


# -- a site's own report ------------------------------------------------------------------------------------------

def _site_view(facts: SiteReportInput, t: Words) -> dict[str, Any]:
    rows = [
        Bar(t(f"excluded.{reason}" if t.has(f"excluded.{reason}") else "excluded.other"), (float(count),), f"{count:,}")
        for reason, count in facts.excluded.items() if count
    ]
    limit = float(facts.lifetime_epsilon)
    spent = Bar(t.say(facts.name), (facts.spent_most / limit,),
                t("budget.row", spent=epsilon_text(facts.spent_most), limit=plain_text(facts.lifetime_epsilon)))
    return {
        "started": time_text(facts.started),
        "excluded_chart": bars(t("site.excluded-chart"), rows) if rows else None,
        "ledger_chart": bars(t("site.ledger-chart"), [spent], maximum=1.0),
        "own": t("site.own", epsilon=epsilon_text(facts.epsilon), delta=delta_text(facts.delta),
                 unit=t(f"unit.{facts.unit}")),
        "most": epsilon_text(facts.spent_most),
        "least": epsilon_text(facts.spent_least),
        "cap": f"({plain_text(facts.lifetime_epsilon)}, {delta_text(facts.lifetime_delta)})",
        "runs": [(run, _known(t, "ledger-state", run.state)) for run in facts.runs],
        "disclaimer": t.say(facts.disclaimer) if facts.disclaimer else t("disclaimer.default") if facts.demo else "",
    }
