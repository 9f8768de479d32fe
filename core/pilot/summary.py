"""The go rule, and summary.json: a pilot's facts with the decision that the study's own rule gives.

What it is for: taking finished facts (``SummaryInput``, filled by pilot.py), deciding go / no-go / inconclusive by the
rule that was stated before the run, over all runs of the pilot at once, and writing both as ``Summary``. What it is NOT
for: words and layout (report.py) or anything that stays at a site (counts, exclusions, ledgers: site_report.py).

Order of calls: ``summarise(SummaryInput(...))`` -> ``Summary`` -> ``to_bytes()`` (summary.json), ``pilot_report``
(people).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from ...governance.language import Text
from ...privacy.budget import Adjacency
from .baselines import Baselines
from .findings import (
    Ending,
    MeasureInput,
    MethodResult,
    Protection,
    RunFacts,
    RunRecord,
    SiteFacts,
    StepRecord,
    Strict,
    SummaryInput,
)
from .roi import Roi, roi

Outcome = Literal["met", "missed", "open"]
Voice = Literal["for", "against", "open"]


class Decision(StrEnum):
    """The outcome of the go rule."""

    GO = "go"
    NO_GO = "no-go"
    INCONCLUSIVE = "inconclusive"


class Measure(Strict):
    """A measure with what was found; the figures are None when its run ended without a result."""

    name: str
    method: str
    target: Decimal
    text: Text
    value: float | None
    low: float | None
    high: float | None
    met: Outcome


class CohortSpan(Strict):
    """Consecutive steps with the same cohort and outcome."""

    first: int
    last: int
    cohort: tuple[str, ...]
    outcome: Ending


class RunSummary(RunRecord):
    """One run as summary.json has it: its steps told as spans."""

    cohorts: tuple[CohortSpan, ...]


class Reason(Strict):
    """One reason of the decision: a code with a text in report.toml, whether it speaks for go, and particulars."""

    code: Literal["measure-met", "measure-missed", "measure-open", "no-measure", "protections-held",
                  "protections-unshown", "protection-failed", "run-failed", "run-not-begun", "roi-met", "roi-below"]
    subject: str = ""
    detail: str = ""
    speaks: Voice


class Together(Strict):
    """What all runs of the pilot amount to for one person, simply added: no assumption beyond each run's own."""

    epsilon: float
    delta: Decimal


class Summary(Strict):
    """summary.json: the decision, why, and every fact behind it."""

    schema_: Annotated[Literal["sekisho-summary/2"], Field(serialization_alias="schema")] = "sekisho-summary/2"
    decision: Decision
    reasons: tuple[Reason, ...]
    root: str
    study: str
    unit: str
    adjacency: str
    observers: int
    max_sites_per_subject: int                              # declared by the sites, verified by nobody
    runs: tuple[RunSummary, ...]
    not_begun: tuple[str, ...]                              # methods of the study that no run was begun for
    together: Together
    measures: tuple[Measure, ...]
    protections: Mapping[str, bool | None]                  # over all runs; None: a run that failed cannot show it
    budgets: Mapping[str, SiteFacts]
    seconds: Mapping[str, float]
    roi: Roi
    baselines: Baselines | None
    warnings: tuple[Text, ...]
    demo: bool

    def to_bytes(self) -> bytes:
        """UTF-8 JSON for people and programs, ending in a newline."""
        value = self.model_dump(mode="json", by_alias=True)
        return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8")


def summarise(facts: SummaryInput) -> Summary:
    """Hold the facts against the study's own measures and rule. Pure."""
    results = {run.method: run.result for run in facts.runs}
    measures = tuple(_measure(item, results.get(item.method)) for item in facts.measures)
    runs = tuple(_run(one, facts.demo) for one in facts.runs)
    not_begun = tuple(method for method in facts.methods if method not in results)
    money = roi(facts.value)
    failed = failed_protections(runs)
    decision, reasons = go_rule(measures, failed, money, unfinished=_unfinished(runs, not_begun))
    return Summary(
        decision=decision, reasons=reasons, root=facts.root, study=facts.study, unit=facts.unit,
        adjacency=Adjacency.ADD_OR_REMOVE_ONE.value, observers=facts.observers,
        max_sites_per_subject=facts.max_sites_per_subject, runs=runs, not_begun=not_begun,
        together=Together(epsilon=sum(run.worst for run in runs), delta=sum((run.delta for run in runs), Decimal(0))),
        measures=measures, protections=_over_all(runs, failed),
        # a ledger's balance stays at its site, but for the example, whose data are public
        budgets={site.id: site for site in facts.sites} if facts.demo else {},
        seconds=facts.seconds if facts.demo else {}, roi=money, baselines=facts.baselines, warnings=facts.warnings,
        demo=facts.demo,
    )


def go_rule(
    measures: Sequence[Measure], failed: Mapping[str, Sequence[str]], money: Roi, *, unfinished: Sequence[Reason] = ()
) -> tuple[Decision, tuple[Reason, ...]]:
    """The rule stated before the run. ``failed`` maps a protection to the methods whose run it did not hold in.

    Go: every run finished, every measure's lower 95 % bound meets its target, every protection held, and the return
    reaches its threshold. No-go: some upper bound misses its target, or a protection failed, or the return stays below
    its threshold. Else inconclusive; a study without measures is never more than that.
    """
    speaks: dict[str, Voice] = {"met": "for", "missed": "against", "open": "open"}
    reasons = [Reason(code=f"measure-{item.met}", subject=f"{item.method}.{item.name}", speaks=speaks[item.met])  # type: ignore[arg-type]
               for item in measures]
    if not measures:
        reasons.append(Reason(code="no-measure", speaks="open"))
    reasons += unfinished
    reasons += [Reason(code="protection-failed", subject=name, detail=",".join(methods), speaks="against")
                for name, methods in failed.items()]
    if not failed and any(reason.code == "run-failed" for reason in unfinished):
        reasons.append(Reason(code="protections-unshown", speaks="open"))
    elif not failed:
        reasons.append(Reason(code="protections-held", speaks="for"))
    reasons.append(Reason(code="roi-met", speaks="for") if money.met else Reason(code="roi-below", speaks="against"))
    voices = {reason.speaks for reason in reasons}
    decision = Decision.NO_GO if "against" in voices else Decision.INCONCLUSIVE if "open" in voices else Decision.GO
    return decision, tuple(reasons)


def failed_protections(runs: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Each protection that did not hold, with the methods whose run it did not hold in.

    A run that failed reports what can still be shown; that it failed keeps the decision from go by itself.
    """
    failed: dict[str, list[str]] = {}
    for item in Protection:
        methods = [run.method for run in runs if not run.protections.get(str(item), run.failure is not None)]
        if methods:
            failed[str(item)] = methods
    return failed


def _over_all(runs: Sequence[RunRecord], failed: Mapping[str, Sequence[str]]) -> dict[str, bool | None]:
    shown = {str(item): all(str(item) in run.protections for run in runs) for item in Protection}
    return {name: False if name in failed else True if whole else None for name, whole in shown.items()}


def cohort_spans(history: Sequence[StepRecord]) -> tuple[CohortSpan, ...]:
    """Consecutive steps with equal cohort and outcome, joined."""
    spans: list[CohortSpan] = []
    for record in history:
        last = spans[-1] if spans else None
        if last and (last.cohort, last.outcome, last.last) == (record.cohort, record.outcome, record.step - 1):
            spans[-1] = last.model_copy(update={"last": record.step})
        else:
            spans.append(CohortSpan(first=record.step, last=record.step, cohort=record.cohort, outcome=record.outcome))
    return tuple(spans)


def _run(facts: RunFacts, demo: bool) -> RunSummary:
    values = dict(facts)
    history = values.pop("history")
    # in a finished run, a protection that nobody reported did not hold
    if facts.failure is None:
        values["protections"] = {str(item): facts.protections.get(str(item), False) for item in Protection}
    if not demo:
        values["seconds"] = {}
    return RunSummary(**values, cohorts=cohort_spans(history))


def _unfinished(runs: Sequence[RunRecord], not_begun: Sequence[str]) -> list[Reason]:
    failed = [Reason(code="run-failed", subject=run.method, detail=run.failure, speaks="open")
              for run in runs if run.failure is not None]
    return failed + [Reason(code="run-not-begun", subject=method, speaks="open") for method in not_begun]


def _measure(item: MeasureInput, result: MethodResult | None) -> Measure:
    if result is None:
        return Measure(**dict(item), value=None, low=None, high=None, met="open")
    value, low, high = (getattr(result, item.name + end) for end in ("", "_low", "_high"))
    # Exact against exact: a bound is compared as the decimal that summary.json shows.
    met: Outcome = "open"
    if Decimal(repr(float(low))) >= item.target:
        met = "met"
    elif Decimal(repr(float(high))) < item.target:
        met = "missed"
    return Measure(**dict(item), value=value, low=low, high=high, met=met)
