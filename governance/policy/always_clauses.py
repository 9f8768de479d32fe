"""The closed set of clause types under ``always``: each holds for every action and stands in a policy once.

For: the declarations, one a type, and the typed fields that core reads (lifetime budget, cohort, scope).
Not for: grants (grant_clauses.py), the machinery (clause.py), words (texts/clauses.toml).

A clause only narrows. Facts, sources and codes of a type stand in its declaration, below its fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator
from pydantic import Field as Bounds

from ..fields import MODEL_NAME, Digest, DocumentModel, Exact, Identifier, Link, Moment, fault
from ..vocabulary import term_of
from .clause import Clause, ClauseType, Field
from .domain import COUNT, ONE_OR_MORE, POSITIVE, PROBABILITY, SITES, SOME
from .lattice import EITHER, MUST, MUST_NOT, Interval, Level, OneOf, Requires, Window, Within

MAX_LIST = 200  # terms in one field
MAX_YEARS = 100
MAX_LIST_AGE_HOURS = 24 * 366  # a list of stops that may be older than a year protects nobody
MAX_EPSILON = 1000  # the most that a ledger holds (privacy/budget.py); more is a slip of the pen
MIN_SITES = 2  # with one site there is nothing to hide in; the sealing rule asks for more by itself

_SOME = Bounds(min_length=1, max_length=MAX_LIST)
_ANY = Bounds(max_length=MAX_LIST)  # an empty list permits nothing

# Weakest first. A guarantee for people covers their records, not the other way round.
UNITS = ("record", "subject")
DISCLOSURE_LEVELS = ("none", "statement", "sources-listed", "eu-art53-summary", "full")

Role = Annotated[str, term_of("roles")]
Roles = Annotated[frozenset[Role], _SOME]


class Validity(Clause):
    """From when until when the policy is in force; ``until`` is the first moment at which it is not."""

    type: Literal["validity"]
    from_: Moment = Bounds(alias="from")
    until: Moment

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.until <= self.from_:
            hint = "until must be later than from"
            raise fault("VALIDITY_EMPTY", "the policy ends before it begins", hint, field="until")
        return self


VALIDITY = ClauseType(
    "validity",
    Validity,
    fields=(
        Field("from", "time", "clock", "POLICY_NOT_YET_VALID", lambda clause: Window(start=clause.from_)),
        Field("until", "time", "clock", "POLICY_EXPIRED", lambda clause: Window(until=clause.until)),
    ),
)


class EmergencyStop(Clause):
    """Nothing runs while a stop is in force, or while nobody has said lately which stops are.

    Anybody on the roster may stop; the clause says which roles the roster must give to somebody for it. A stop is
    lifted by legal, it and every role of ``restart_by`` together, each at the roster's threshold.
    """

    type: Literal["emergency_stop"]
    stop_by: Roles
    restart_by: Roles
    list_max_age_hours: Annotated[int, Bounds(ge=1, le=MAX_LIST_AGE_HOURS)]


EMERGENCY_STOP = ClauseType(
    "emergency_stop",
    EmergencyStop,
    fields=(
        Field("stop", "stop.active", "roster", "STOPPED", lambda _: MUST_NOT),
        Field("stop_by", "stop.roles", "roster", "STOP_ROLE_MISSING", lambda clause: Requires(clause.stop_by)),
        Field("restart_by", "stop.restart_roles", "roster", "RESTART_ROLE_MISSING",
              lambda clause: Requires(clause.restart_by)),
        Field("list_max_age_hours", "stop.list_age_hours", "roster", "STOP_LIST_STALE",
              lambda clause: Interval(high=clause.list_max_age_hours, whole=True), COUNT),
    ),
    labels={"stop_by": "roles", "restart_by": "roles"},
)


class ConsentRule(DocumentModel):
    """Whether only consenting subjects may be used, and the scope that their consent must name."""

    required: bool
    scope: Identifier


class LegalBasis(Clause):
    """Why the law permits the use, for the record; and the consent without which nobody is used."""

    type: Literal["legal_basis"]
    bases: Annotated[frozenset[Annotated[str, term_of("bases")]], _SOME]
    consent: ConsentRule
    references: Annotated[tuple[Link, ...], Bounds(max_length=20)] = ()


LEGAL_BASIS = ClauseType(
    "legal_basis",
    LegalBasis,
    fields=(
        Field("consent.scope", "legal_basis.scope", "study", "SCOPE_NOT_COVERED",
              lambda clause: OneOf(frozenset({clause.consent.scope}))),
        Field("consent.required", "consent.eligible", "site-consent", "CONSENT_MISSING",
              lambda clause: MUST if clause.consent.required else EITHER),
    ),
    recorded=("bases", "references"),
    labels={"bases": "bases"},
)


class Transfer(Clause):
    """What may leave the site, and to which countries."""

    type: Literal["transfer"]
    leaves_site: Annotated[frozenset[Annotated[str, term_of("artefacts")]], _ANY]
    destinations: Annotated[frozenset[Annotated[str, term_of("countries")]], _ANY]


TRANSFER = ClauseType(
    "transfer",
    Transfer,
    fields=(
        Field("leaves_site", "transfer.artefacts", "site-runtime", "ARTEFACT_NOT_ALLOWED",
              lambda clause: Within(clause.leaves_site), SOME),
        Field("destinations", "transfer.destinations", "roster", "DESTINATION_NOT_ALLOWED",
              lambda clause: Within(clause.destinations), SOME),
    ),
    labels={"leaves_site": "artefacts", "destinations": "countries"},
)


class Encryption(Clause):
    """Protections that must be on whenever something leaves."""

    type: Literal["encryption"]
    require: Annotated[frozenset[Annotated[str, term_of("measures")]], _SOME]


ENCRYPTION = ClauseType(
    "encryption",
    Encryption,
    fields=(
        Field("require", "encryption.measures", "site-runtime", "MEASURE_MISSING",
              lambda clause: Requires(clause.require)),
    ),
    labels={"require": "measures"},
)


class Cohort(Clause):
    """In how large a crowd an update hides, and how many of it may compare notes without seeing through."""

    type: Literal["cohort"]
    min_sites: Annotated[int, Bounds(ge=MIN_SITES, le=1000)]
    observers: Annotated[int, Bounds(ge=1, le=1000)]

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.observers >= self.min_sites:
            hint = "observers must be fewer than min_sites"
            raise fault("COHORT_IMPOSSIBLE", "all sites may not be observers of one another", hint, field="observers")
        return self


COHORT = ClauseType(
    "cohort",
    Cohort,
    fields=(
        Field("min_sites", "cohort.sites", "roster", "COHORT_TOO_SMALL",
              lambda clause: Interval(low=clause.min_sites, whole=True), SITES),
        Field("observers", "cohort.observers", "study", "OBSERVERS_TOO_FEW",
              lambda clause: Interval(low=clause.observers, whole=True), COUNT),
    ),
)


class Subjects(Clause):
    """At how many sites one person may be present; what each site proves about them adds up."""

    type: Literal["subjects"]
    max_sites_per_subject: Annotated[int, Bounds(ge=1, le=1000)]


SUBJECTS = ClauseType(
    "subjects",
    Subjects,
    fields=(
        Field("max_sites_per_subject", "subjects.sites_per_subject", "study", "SUBJECT_AT_TOO_MANY_SITES",
              lambda clause: Interval(high=clause.max_sites_per_subject, whole=True), ONE_OR_MORE),
    ),
)


class PrivacyLoss(DocumentModel):
    """Epsilon above 0, at most 1000 (sites may refuse a lifetime above about 25); delta above 0, below 1; exact."""

    epsilon: Exact
    delta: Exact

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        if not (0 < self.epsilon <= MAX_EPSILON and 0 < self.delta < 1):
            hint = 'for example epsilon: "1.0" and delta: "0.00001"; at that delta sites keep a lifetime up to about 25'
            raise fault("BUDGET_MEANINGLESS", "epsilon is above 0 and at most 1000, delta above 0 and below 1", hint)
        return self


class PrivacyBudget(Clause):
    """How much may be learned about one person: in one run, and in all runs for as long as the data exist."""

    type: Literal["privacy_budget"]
    unit: Annotated[str, term_of("units")]
    adjacency: Annotated[str, term_of("adjacencies")]
    lifetime: PrivacyLoss
    per_run: PrivacyLoss
    on_exhausted: Literal["refuse"]

    @model_validator(mode="after")
    def _run_within_lifetime(self) -> Self:
        if self.per_run.epsilon > self.lifetime.epsilon or self.per_run.delta > self.lifetime.delta:
            sentence, hint = "a single run may use more than all runs together", "lower per_run, or raise lifetime"
            raise fault("BUDGET_RUN_ABOVE_LIFETIME", sentence, hint, field="per_run")
        return self


PRIVACY_BUDGET = ClauseType(
    "privacy_budget",
    PrivacyBudget,
    fields=(
        Field("unit", "budget.unit", "study", "BUDGET_UNIT", lambda clause: Level(UNITS, clause.unit)),
        Field("adjacency", "budget.adjacency", "study", "BUDGET_ADJACENCY",
              lambda clause: OneOf(frozenset({clause.adjacency}))),
        Field("per_run.epsilon", "budget.run_epsilon", "site-ledger", "BUDGET_RUN",
              lambda clause: Interval(high=clause.per_run.epsilon), POSITIVE),
        Field("per_run.delta", "budget.run_delta", "site-ledger", "BUDGET_RUN_DELTA",
              lambda clause: Interval(high=clause.per_run.delta), PROBABILITY),
        # The ledger holds every subject's whole past against the lifetime; the policy hears its answer.
        Field("lifetime", "budget.lifetime_fits", "site-ledger", "BUDGET_LIFETIME", lambda _: MUST, measured=(
            Field("lifetime.epsilon", "budget.lifetime_epsilon", "site-ledger", "BUDGET_LIFETIME",
                  lambda clause: Interval(high=clause.lifetime.epsilon), POSITIVE),
            Field("lifetime.delta", "budget.lifetime_delta", "site-ledger", "BUDGET_LIFETIME",
                  lambda clause: Interval(high=clause.lifetime.delta), PROBABILITY))),
    ),
    labels={"unit": "units", "adjacency": "adjacencies"},
)


class ListedModel(DocumentModel):
    """One base model: the digest of its weights for the system, and a name, which stands behind it, for people."""

    digest: Digest
    name: Annotated[str, Bounds(pattern=MODEL_NAME)]


class BaseModelRule(Clause):
    """Which foundation models may be built on."""

    type: Literal["base_model"]
    models: Annotated[tuple[ListedModel, ...], _SOME]
    licences: Annotated[frozenset[Annotated[str, term_of("licences")]], _SOME]
    min_disclosure: Annotated[str, term_of("disclosure_levels")]


BASE_MODEL = ClauseType(
    "base_model",
    BaseModelRule,
    fields=(
        Field("models", "base_model.digest", "site-intake", "BASE_MODEL_NOT_LISTED",
              lambda clause: OneOf(frozenset(model.digest for model in clause.models))),
        Field("licences", "base_model.licence", "site-intake", "BASE_MODEL_LICENCE",
              lambda clause: OneOf(clause.licences)),
        Field("min_disclosure", "base_model.disclosure", "site-intake", "BASE_MODEL_DISCLOSURE",
              lambda clause: Level(DISCLOSURE_LEVELS, clause.min_disclosure)),
    ),
    labels={"licences": "licences", "min_disclosure": "disclosure_levels"},
)


def _legal_and_it(at_least: Mapping[str, int]) -> Mapping[str, int]:
    if not {"legal", "it"} <= set(at_least):
        hint = "write at_least: {legal: 1, it: 1}; more roles may be added"
        raise fault("APPROVALS_INCOMPLETE", "legal and it must both approve", hint)
    return MappingProxyType(dict(at_least))


class Approvals(Clause):
    """Whose signatures a study needs. One person counts in one role; who asks may be kept from answering."""

    type: Literal["approvals"]
    at_least: Annotated[Mapping[Role, Annotated[int, Bounds(ge=1, le=100)]], AfterValidator(_legal_and_it)]
    exclude_requester: bool


APPROVALS = ClauseType(
    "approvals",
    Approvals,
    fields=(
        Field("at_least", "approvals.*", "roster", "APPROVALS_MISSING",
              lambda clause: {role: Interval(low=n, whole=True) for role, n in clause.at_least.items()}, COUNT),
        Field("exclude_requester", "approvals.requester_excluded", "roster", "APPROVED_BY_REQUESTER",
              lambda clause: MUST if clause.exclude_requester else EITHER),
    ),
    labels={"at_least": "roles"},
)


class OnWithdrawal(DocumentModel):
    """What a withdrawal changes: later steps by force, what is released already by an act of people."""

    next_step: Literal["exclude"]
    released_adapter: Annotated[str, term_of("withdrawal_effects")]


class Retention(Clause):
    """How long the evidence must be kept, and what happens after a withdrawal."""

    type: Literal["retention"]
    audit_years: Annotated[int, Bounds(ge=0, le=MAX_YEARS)]
    on_withdrawal: OnWithdrawal


RETENTION = ClauseType(
    "retention",
    Retention,
    fields=(
        Field("audit_years", "retention.audit_years", "study", "RETENTION_TOO_SHORT",
              lambda clause: Interval(low=clause.audit_years, whole=True), COUNT),
    ),
    recorded=("on_withdrawal",),
    labels={"on_withdrawal.released_adapter": "withdrawal_effects"},
)

_DECLARED = (
    VALIDITY, EMERGENCY_STOP, LEGAL_BASIS, TRANSFER, ENCRYPTION, COHORT, SUBJECTS, PRIVACY_BUDGET, BASE_MODEL,
    APPROVALS, RETENTION,
)  # fmt: skip
ALWAYS: Mapping[str, ClauseType] = MappingProxyType({declared.name: declared for declared in _DECLARED})
