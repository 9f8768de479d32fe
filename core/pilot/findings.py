"""The finished facts of a pilot as frozen values: one entry a run, and what the study says around them.

What it is for: the closed, strict values that pilot.py fills and that report and summary.json are drawn from. What it
is NOT for: deciding (summary.py), gathering (runs.py, facts.py), words and layout (report.py), or anything that stays
at a site (site_report.py).

A run that ended without a result is a fact like any other: it has a ``failure``, and no ``result``.
Epsilon and measured figures are JSON numbers; figures that somebody declared exactly are decimal strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...governance.language import Text
from .baselines import Baselines
from .roi import RoiInput

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Ending = Literal["completed", "abandoned", "rolled-back"]


class Strict(BaseModel):
    """Strict, closed, frozen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Protection(StrEnum):
    """What must have held in every step of a run; in a finished run one that nobody reported counts as failed."""

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
    n: Count
    correct: Count


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


class GroupResult(Strict):
    """One product group of the public test set; no AUC where all of its ``n`` records carry one label."""

    id: str
    n: Annotated[int, Field(ge=1)]
    auc: Share | None
    auc_low: Share | None
    auc_high: Share | None
    accuracy: Share
    accuracy_low: Share
    accuracy_high: Share

    @model_validator(mode="after")
    def _bounds_enclose(self) -> Self:
        aucs = [value for value in (self.auc_low, self.auc, self.auc_high) if value is not None]
        if len(aucs) not in (0, 3) or aucs != sorted(aucs):
            raise ValueError("a group's result lies outside its own bounds")
        if not self.accuracy_low <= self.accuracy <= self.accuracy_high:
            raise ValueError("a group's result lies outside its own bounds")
        return self


class NotTried(StrEnum):
    """Why a run has no membership test."""

    PRIVATE = "private-data"     # customers' records were not approved for this use
    DROPPED = "rows-dropped"     # without personal heads a site drops the rows as soon as a run is over
    UNFINISHED = "unfinished"    # there is no adapter to try


class MembershipFacts(Strict):
    """A weak test: the AUC of telling training customers from test records by the loss, with 95 % bounds."""

    weak: Literal[True] = True                  # whoever reads the figure alone must not take it for a proof
    customers: Annotated[int, Field(ge=1)]      # one record of each
    others: Annotated[int, Field(ge=1)]         # records of the public test set
    auc: Share
    auc_low: Share
    auc_high: Share


class Packing(Strict):
    """How each update of a run was packed into fields, noised and sent; bytes are one site's in one step.

    What was sent up is the run's own ``step_bytes``; of a run that did not finish no bytes are counted (0).
    """

    preset: str
    fields: Annotated[int, Field(ge=1)]         # integers a coefficient
    width: Annotated[int, Field(ge=1)]          # bits of each
    rotated: bool
    inflation: Annotated[float, Field(ge=1, allow_inf_nan=False)]   # f: the factor of noise that whole numbers cost
    share_deviation: Amount                     # of the noise that one site adds; the clipping norm is 1
    sum_deviation: Amount                       # of the noise of all sites together
    overflow_step: Share                        # bound on the chance that a field overflows: accuracy, not privacy
    overflow_run: Share
    exact_sites: Annotated[int, Field(ge=1)]    # sums of so many sites decrypt exactly, for certain
    down_step_bytes: Count                      # measured: what one site is sent to open the sum
    former: str                                 # the packing that it is held against
    former_up_computed: Count                   # the same messages with that packing: computed, never sent
    former_down_computed: Count


class SiteFacts(Strict):
    """What of a site's lifetime budget is spent: before the first run of this pilot, and after the last."""

    id: str
    name: Text
    lifetime_before: Amount           # as epsilon at the lifetime delta, of a person who was in all runs of the site
    lifetime_spent: Amount
    lifetime_epsilon: Annotated[Decimal, Field(gt=0)]
    lifetime_delta: Annotated[Decimal, Field(gt=0, lt=1)]


class Steps(Strict):
    """How many steps were planned, completed, abandoned and rolled back; all that were begun stay charged."""

    planned: Annotated[int, Field(ge=1)]
    completed: Count
    abandoned: Count
    rolled_back: Count = 0


class StepRecord(Strict):
    """One step and its cohort."""

    step: Count
    cohort: tuple[str, ...]
    outcome: Ending


class ValidationFacts(Strict):
    """One count of held-out people, as opened, with 95 % bounds; whether the block stayed.

    ``right``: the share on the right side of the middle of public texts. ``labels``: the share labelled rightly.
    """

    after_step: Count
    right: Share
    low: Share
    high: Share
    labels: Share
    labels_low: Share
    labels_high: Share
    accepted: bool


class RunRecord(Strict):
    """One run of one method, without its steps one by one."""

    method: str
    run: str
    started: str                       # RFC 3339
    finished: str
    epsilon_target: Decimal
    delta: Decimal
    epsilon: Annotated[Mapping[str, Amount], Field(min_length=1)]   # by site, by the site's own accountant
    cross_check: Amount | None = None  # epsilon of the same run by Opacus's accountant: a second opinion
    steps: Steps
    protections: Mapping[str, bool]                                 # by Protection value
    coalition: tuple[tuple[int, Amount], ...]                       # (size of a coalition of observers, epsilon)
    more_sites: tuple[int, Amount] | None = None  # (one site more than declared, epsilon of a person at so many)
    parameters: Annotated[int, Field(ge=1)]
    settings: tuple[tuple[str, str], ...]                           # public settings worth showing: name, value
    uplink_bytes_per_parameter: Amount                              # per site and step
    step_bytes: Count                                               # what one site sends in one step
    packing: Packing
    seconds: Mapping[str, Amount]                                   # by stage, in order
    adapter: Digest | None
    result: MethodResult | None
    groups: tuple[GroupResult, ...] = ()
    validations: tuple[ValidationFacts, ...] = ()                   # empty where the study has none
    membership: MembershipFacts | NotTried                          # where the data are public
    failure: str | None = None                                      # the code that the run ended with
    withheld: str | None = None                                     # the code by which the adapter was not released

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if set(self.protections) - {str(item) for item in Protection}:
            raise ValueError("a protection is unknown")
        if self.failure is not None and self.result is not None:
            raise ValueError("a run that failed has no result")
        return self

    @property
    def worst(self) -> float:
        """The largest certificate of any site: what may be said of the run as a whole."""
        return max(self.epsilon.values())


class RunFacts(RunRecord):
    """One run with every step; gathered before the next run begins, which replaces what the sites hold."""

    history: tuple[StepRecord, ...]


class MeasureInput(Strict):
    """A measure of success as the study fixed it before any run: ``name`` is "auc" or "accuracy"."""

    name: Literal["auc", "accuracy"]
    method: str
    target: Decimal
    text: Text


class StageInput(Strict):
    """A stage of the study: what it costs and what must hold before it begins. ``caps`` are in words."""

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
    """Everything that the report and summary.json say about a pilot, as plain facts."""

    study: str
    title: Text
    question: Text
    requester: str
    stage: str
    started: str                       # RFC 3339
    finished: str
    demo: bool
    root: Digest                       # the roster's fingerprint: what `compliance verify --root` takes
    unit: Literal["subject", "record"]
    observers: Annotated[int, Field(ge=1)]
    max_sites_per_subject: Annotated[int, Field(ge=1)]
    sites: Annotated[tuple[SiteFacts, ...], Field(min_length=1)]
    methods: Annotated[tuple[str, ...], Field(min_length=1)]        # the study's, in its order
    runs: Annotated[tuple[RunFacts, ...], Field(min_length=1)]      # of these methods, in their order
    measures: tuple[MeasureInput, ...]
    base_model: BaseModelFacts
    seconds: Mapping[str, Amount]      # by stage, what belongs to no single run
    value: RoiInput
    stages: tuple[StageInput, ...]
    baselines: Baselines | None = None
    warnings: tuple[Text, ...] = ()
    disclaimer: Text | None = None

    @model_validator(mode="after")
    def _one_run_a_method_in_order(self) -> Self:
        places = [self.methods.index(run.method) if run.method in self.methods else -1 for run in self.runs]
        if -1 in places or places != sorted(set(places)):
            raise ValueError("the runs are not of the study's methods, in their order")
        return self
