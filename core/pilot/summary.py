"""The facts of a run as one frozen value, the go rule, and summary.json.

What it is for: taking finished facts (`SummaryInput`, filled by pilot.py), deciding go / no-go / inconclusive by the
rule that was stated before the run, and writing both as `Summary`. What it is NOT for: words and layout (report.py) or
anything that stays at a site (counts, exclusions, ledgers: see `SiteReportInput` in report.py).

Order of calls: `summarise(SummaryInput(...))` -> `Summary` -> `to_bytes()` (summary.json), `pilot_report` (people).
Epsilon and measured figures are JSON numbers; figures that somebody declared exactly are decimal strings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...governance.language import Text
from .roi import Roi, RoiInput, roi

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Outcome = Literal["met", "missed", "open"]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Strict(BaseModel):
    """Strict, closed, frozen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Decision(StrEnum):
    """The outcome of the go rule."""

    GO = "go"
    NO_GO = "no-go"
    INCONCLUSIVE = "inconclusive"


class Protection(StrEnum):
    """What must have held in every step of the run; one that nobody reported counts as failed."""

    POLICY = "policy"            # decided by each site's own policy before a record was read
    CONSENT = "consent"          # only subjects with consent in force, checked at every step
    BUDGET = "budget"            # charged durably before anything left
    NOISE = "noise"              # every frame carried its share of noise, the one that was charged
    ENCRYPTION = "encryption"    # the coordinator held masked ciphertext and no key
    OPENING = "opening"          # sites opened sums whose seed manifest lists exactly the cohort
    SIGNATURES = "signatures"    # every message verified against the roster
    AGREEMENT = "agreement"      # all sites hold the same adapter to the bit
    LOG = "log"                  # every party's log verifies against its signed head


class ClassResult(Strict):
    """One label of the test set: how many of its ``n`` were labelled right."""

    label: str
    n: Annotated[int, Field(ge=0)]
    correct: Annotated[int, Field(ge=0)]


class MethodResult(Strict):
    """One method on the public test set of ``n`` records; bounds are of two-sided 95 % intervals."""

    auc: Share
    auc_low: Share
    auc_high: Share
    accuracy: Share
    accuracy_low: Share
    accuracy_high: Share
    n: Annotated[int, Field(ge=1)]
    per_class: tuple[ClassResult, ...] = ()

    @model_validator(mode="after")
    def _bounds_enclose(self) -> Self:
        if not (self.auc_low <= self.auc <= self.auc_high
                and self.accuracy_low <= self.accuracy <= self.accuracy_high):
            raise ValueError("a result lies outside its own bounds")
        return self


class MeasureInput(Strict):
    """A measure of success as the study fixed it before any run: ``name`` is "auc" or "accuracy"."""

    name: Literal["auc", "accuracy"]
    method: str
    target: Decimal
    text: Text


class Measure(Strict):
    """A measure with what was found; the figures are None when the run ended without a result."""

    name: str
    method: str
    target: Decimal
    text: Text
    value: float | None
    low: float | None
    high: float | None
    met: Outcome


class SiteFacts(Strict):
    """What a site lets the report say: its own certificate of the run, and of its lifetime budget what is spent."""

    id: str
    name: Text
    epsilon: Amount                   # of this run, by the site's own accountant
    lifetime_before: Amount           # spent before this run, as epsilon at the lifetime delta
    lifetime_spent: Amount            # spent including this run
    lifetime_epsilon: Annotated[Decimal, Field(gt=0)]
    lifetime_delta: Annotated[Decimal, Field(gt=0, lt=1)]


class Steps(Strict):
    """How many steps were planned, opened and abandoned; abandoned ones stay charged."""

    planned: Annotated[int, Field(ge=1)]
    completed: Annotated[int, Field(ge=0)]
    abandoned: Annotated[int, Field(ge=0)]


class StepRecord(Strict):
    """One step and its cohort."""

    step: Annotated[int, Field(ge=0)]
    cohort: tuple[str, ...]
    outcome: Literal["completed", "abandoned"]


class CohortSpan(Strict):
    """Consecutive steps with the same cohort and outcome."""

    first: int
    last: int
    cohort: tuple[str, ...]
    outcome: Literal["completed", "abandoned"]


class StageInput(Strict):
    """A stage of the study: what it costs and what must hold before it begins. ``caps`` are the study's own words."""

    name: str
    cost: Decimal
    gate: Text
    caps: Mapping[str, str] = Field(default_factory=dict)


class BaseModelFacts(Strict):
    """The base model as its signed record describes it."""

    name: str
    digest: Digest
    licence: str
    disclosure: str


class SummaryInput(Strict):
    """Everything that the report and summary.json say about a run, as plain facts."""

    study: str
    title: Text
    question: Text
    requester: str
    stage: str
    run: str
    started: str                       # RFC 3339
    finished: str
    demo: bool
    root: Digest                       # the roster's fingerprint: what `compliance verify --root` takes
    unit: Literal["subject", "record"]
    delta: Decimal
    epsilon_target: Decimal
    observers: Annotated[int, Field(ge=1)]
    max_sites_per_subject: Annotated[int, Field(ge=1)]
    sites: Annotated[tuple[SiteFacts, ...], Field(min_length=1)]
    steps: Steps
    history: tuple[StepRecord, ...]
    methods: Mapping[str, MethodResult]                     # empty when the run ended without an adapter
    measures: tuple[MeasureInput, ...]
    protections: Mapping[str, bool]                         # by Protection value
    coalition: tuple[tuple[int, Amount], ...]               # (size of a coalition of observers, epsilon)
    base_model: BaseModelFacts
    adapter: Digest | None
    parameters: Annotated[int, Field(ge=1)]
    uplink_bytes_per_parameter: Amount                      # per site and step
    seconds: Mapping[str, Amount]                           # by stage, in order
    value: RoiInput
    stages: tuple[StageInput, ...]
    warnings: tuple[Text, ...] = ()
    disclaimer: Text | None = None

    @model_validator(mode="after")
    def _names_known(self) -> Self:
        unknown = set(self.protections) - {str(item) for item in Protection}
        if unknown:
            raise ValueError("a protection is unknown")
        return self


class Reason(Strict):
    """One reason of the decision: a code with a text in report.toml, and whether it speaks for go."""

    code: Literal["measure-met", "measure-missed", "measure-open", "no-measure", "protections-held",
                  "protection-failed", "roi-met", "roi-below"]
    subject: str = ""
    speaks: Literal["for", "against", "open"]


class Summary(Strict):
    """summary.json: the decision, why, and every fact behind it. ``facts`` is what the report is drawn from."""

    schema_: Annotated[Literal["sekisho-summary/1"], Field(serialization_alias="schema")] = "sekisho-summary/1"
    decision: Decision
    reasons: tuple[Reason, ...]
    root: Digest
    run: str
    study: str
    unit: str
    epsilon: Mapping[str, float]                            # by site, of this run
    epsilon_target: Decimal
    delta: Decimal
    observers: int
    steps: Steps
    methods: Mapping[str, MethodResult]
    measures: tuple[Measure, ...]
    protections: Mapping[str, bool]
    coalition: tuple[tuple[int, float], ...]
    cohorts: tuple[CohortSpan, ...]
    budgets: Mapping[str, SiteFacts]
    uplink_bytes_per_parameter: float
    seconds: Mapping[str, float]
    roi: Roi
    adapter: str | None
    warnings: tuple[Text, ...]
    demo: bool

    def to_bytes(self) -> bytes:
        """UTF-8 JSON for people and programs, ending in a newline."""
        value = self.model_dump(mode="json", by_alias=True)
        return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8")


def summarise(facts: SummaryInput) -> Summary:
    """Hold the facts against the study's own measures and rule. Pure."""
    measures = tuple(_measure(item, facts.methods.get(item.method)) for item in facts.measures)
    protections = {str(item): facts.protections.get(str(item), False) for item in Protection}
    money = roi(facts.value)
    decision, reasons = go_rule(measures, protections, money)
    return Summary(
        decision=decision, reasons=reasons, root=facts.root, run=facts.run, study=facts.study, unit=facts.unit,
        epsilon={site.id: site.epsilon for site in facts.sites}, epsilon_target=facts.epsilon_target,
        delta=facts.delta, observers=facts.observers, steps=facts.steps, methods=facts.methods, measures=measures,
        protections=protections, coalition=facts.coalition, cohorts=cohort_spans(facts.history),
        # a ledger's balance stays at its site, but for the example, whose data are public
        budgets={site.id: site for site in facts.sites} if facts.demo else {},
        uplink_bytes_per_parameter=facts.uplink_bytes_per_parameter, seconds=facts.seconds, roi=money,
        adapter=facts.adapter, warnings=facts.warnings, demo=facts.demo,
    )


def go_rule(
    measures: Sequence[Measure], protections: Mapping[str, bool], money: Roi
) -> tuple[Decision, tuple[Reason, ...]]:
    """The rule stated before the run.

    Go: every measure's lower 95 % bound meets its target, every protection held, and the return reaches its threshold.
    No-go: some upper bound misses its target, or a protection failed, or the return stays below its threshold.
    Else inconclusive; a study without measures is never more than that.
    """
    speaks: dict[str, Literal["for", "against", "open"]] = {"met": "for", "missed": "against", "open": "open"}
    reasons = [Reason(code=f"measure-{item.met}", subject=f"{item.method}.{item.name}", speaks=speaks[item.met])  # type: ignore[arg-type]
               for item in measures]
    if not measures:
        reasons.append(Reason(code="no-measure", speaks="open"))
    failed = [name for name, held in protections.items() if not held]
    reasons += [Reason(code="protection-failed", subject=name, speaks="against") for name in failed]
    if not failed:
        reasons.append(Reason(code="protections-held", speaks="for"))
    reasons.append(Reason(code="roi-met", speaks="for") if money.met else Reason(code="roi-below", speaks="against"))
    voices = {reason.speaks for reason in reasons}
    decision = Decision.NO_GO if "against" in voices else Decision.INCONCLUSIVE if "open" in voices else Decision.GO
    return decision, tuple(reasons)


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
