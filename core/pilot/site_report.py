"""A site's own facts -> its sites/<id>/report.html: exact counts and balances, which stay at the site.

What it is for: the page that a site keeps to itself, English and Japanese in one file, over all runs of one pilot. What
it is NOT for: the report that every participant reads (report.py), or gathering facts (facts.py).

Order of calls: ``site_report(SiteReportInput(...))``; the caller writes the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ...governance.evidence.charts import Bar, Interval, Svg, bars, intervals
from ...governance.evidence.page import Words
from ...governance.language import Text
from ..site.withdrawal_statement import say
from .figures import bounds_text, delta_text, epsilon_text, known, listed, plain_text, score_text, time_text
from .findings import Amount, Count, Digest, Share, Strict
from .report import report_page


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
    steps: Count
    started: Count
    disclosed: Count
    state: str


class SiteRun(Strict):
    """One run of this pilot at this site: whom it used, and the bound that the site computed before it agreed."""

    method: str
    run: str
    used_subjects: Count
    excluded: Mapping[str, Count]       # subjects by reason: consent's reasons, and "budget"
    epsilon: Amount                     # by the site's own accountant
    delta: Decimal
    left: Mapping[int, Count] = Field(default_factory=dict)     # people who withdrew in it, by the first step without


class DueRemedy(Strict):
    """A run whose adapter waits for what the policy says after a withdrawal."""

    run: str
    since: str


class PersonalFacts(Strict):
    """The personal head of a site, tried on ``held_out`` of its own records; it was trained there and never leaves."""

    method: str
    held_out: Annotated[int, Field(ge=1)]
    accuracy_before: Share
    before_low: Share
    before_high: Share
    accuracy_after: Share
    after_low: Share
    after_high: Share

    @model_validator(mode="after")
    def _bounds_enclose(self) -> Self:
        if not (self.before_low <= self.accuracy_before <= self.before_high
                and self.after_low <= self.accuracy_after <= self.after_high):
            raise ValueError("a personal head's accuracy lies outside its own bounds")
        return self


class SiteReportInput(Strict):
    """What one site knows and nobody else: counts of people, balances, its policy's meaning."""

    site: str
    name: Text
    study: str
    title: Text
    started: str
    demo: bool
    root: Digest
    records: Count
    subjects: Count
    unit: Literal["subject", "record"]
    runs: Annotated[tuple[SiteRun, ...], Field(min_length=1)]       # of this pilot, in order
    lifetime_epsilon: Annotated[Decimal, Field(gt=0)]
    lifetime_delta: Annotated[Decimal, Field(gt=0, lt=1)]
    observers: Annotated[int, Field(ge=1)]
    spent_by_all_runs: Amount           # epsilon of somebody who was in every run; decides whether the site joins one
    spent_most: Amount                  # epsilon of the subject who spent most, after the last run
    spent_least: Amount
    ledger_subjects: Count
    ledger: tuple[LedgerRun, ...]       # every run that this site's ledger knows
    personal: PersonalFacts | None = None
    remedies: tuple[DueRemedy, ...] = ()
    policy_id: str
    policy_version: int
    policy_digest: Digest
    policy: tuple[ClauseWords, ...]
    log_entries: Count
    log_root: str
    warnings: tuple[Text, ...] = ()
    disclaimer: Text | None = None


def site_report(facts: SiteReportInput) -> str:
    """The HTML of one site's own report. It does not leave the site."""
    return report_page().render("site.html", title=facts.name, views=lambda t: _view(facts, t), facts=facts)


def _view(facts: SiteReportInput, t: Words) -> dict[str, Any]:
    limit = float(facts.lifetime_epsilon)
    spent = Bar(t.say(facts.name), (facts.spent_most / limit,),
                t("budget.row", spent=epsilon_text(facts.spent_most), limit=plain_text(facts.lifetime_epsilon)))
    return {
        "started": time_text(facts.started),
        "runs": [
            {
                "method": known(t, "method", run.method),
                "short": known(t, "method-short", run.method),
                "run": run.run,
                "used": f"{run.used_subjects:,}",
                "bound": f"({epsilon_text(run.epsilon)}, {delta_text(run.delta)})",
            }
            for run in facts.runs
        ],
        "excluded": _excluded(facts, t),
        "left_title": say("left-title", t.language),
        "left": _left(facts, t),
        "ledger_chart": bars(t("site.ledger-chart"), [spent], maximum=1.0),
        "relation": t(f"budget.relation-{facts.unit}"),
        "all_runs": epsilon_text(facts.spent_by_all_runs),
        "most": epsilon_text(facts.spent_most),
        "least": epsilon_text(facts.spent_least),
        "cap": f"({plain_text(facts.lifetime_epsilon)}, {delta_text(facts.lifetime_delta)})",
        "lifetime_delta": delta_text(facts.lifetime_delta),
        "ledger": [(run, known(t, "ledger-state", run.state)) for run in facts.ledger],
        "personal": None if facts.personal is None else _personal(facts.personal, t),
        "disclaimer": t.say(facts.disclaimer) if facts.disclaimer else t("disclaimer.default") if facts.demo else "",
    }


def _excluded(facts: SiteReportInput, t: Words) -> list[tuple[str, Svg | None]]:
    """A caption and a chart for each different account of who was left out; usually all runs have the same."""
    alike: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for run in facts.runs:
        counts = tuple((reason, count) for reason, count in run.excluded.items() if count)
        alike.setdefault(counts, []).append(known(t, "method-short", run.method))
    charts = []
    for counts, methods in alike.items():
        caption = t("site.excluded-chart")
        if len(alike) > 1:
            caption = f"{caption} · {listed(methods, t.language)}"
        rows = [
            Bar(t(f"excluded.{reason}" if t.has(f"excluded.{reason}") else "excluded.other"), (float(count),),
                f"{count:,}")
            for reason, count in counts
        ]
        charts.append((caption, bars(caption, rows) if rows else None))
    return charts


def _left(facts: SiteReportInput, t: Words) -> list[str]:
    """Who left during a run, and what is still to be done about the adapters that they were in."""
    lines = [
        say("left", t.language, method=known(t, "method-short", run.method), count=count, step=step)
        for run in facts.runs
        for step, count in run.left.items()
    ]
    due = [say("left-remedy", t.language, run=one.run, since=time_text(one.since)) for one in facts.remedies]
    return (lines or [say("left-none", t.language)]) + due


def _personal(facts: PersonalFacts, t: Words) -> dict[str, Any]:
    rows = (
        (t("personal.before"), facts.accuracy_before, facts.before_low, facts.before_high),
        (t("personal.after"), facts.accuracy_after, facts.after_low, facts.after_high),
    )
    low = max(int(min(row[2] for row in rows) * 10), 0) / 10
    chart = intervals(t("personal.chart"), [Interval(*row, score_text(row[1])) for row in rows], low=low, high=1.0)
    return {
        "explain": t("personal.explain", method=known(t, "method", facts.method), held=f"{facts.held_out:,}"),
        "rows": [(label, score_text(value), bounds_text(a, b)) for label, value, a, b in rows],
        "chart": chart,
    }
