"""What is worth pointing out in single clause types: one table from a type's name to its rule.

For: lint.py. Not for: what holds of every clause (there), levels (there), words (texts/lint.toml).

Each rule takes the policy, the clause and the time, and yields findings. Thresholds are opinions of people who have
seen such policies fail, not law: each is a named constant with its reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from .always_clauses import (
    Approvals,
    BaseModelRule,
    Cohort,
    EmergencyStop,
    Encryption,
    LegalBasis,
    PrivacyBudget,
    Retention,
    Transfer,
    Validity,
)
from .policy import Policy

SOON = timedelta(days=60)  # an amendment with two signatures takes weeks
LONG = timedelta(days=5 * 366)  # nobody foresees five years of law and technology
OLD_LIST_HOURS = 24 * 7  # a stop that takes longer than a week to arrive protects nobody
WEAK_EPSILON = Decimal(10)  # the bound on an adversary's odds is then e^10: over 20,000 to one
# ε − ln δ of a lifetime: above about 39 the noise tables are not exact enough for a life, and sites open no ledger
# (filter_cap in privacy/accounting). It is warned of just above ε = 25 at δ = 0.00001, with room to spare.
MOST_FOR_A_LIFE = Decimal("36.52")
WEAK_DELTA = Decimal("0.00001")  # above it, one person in a data set of 100,000 may be given away whole

# Measures without which the sites' sums are not secret, or not theirs.
ADVISED = ("secure-aggregation", "signed-messages")
# Action, what it sends out, and the code where that may not leave.
NEEDED = (("train", "masked-update", "TRAIN_CANNOT_LEAVE"), ("release", "adapter", "RELEASE_CANNOT_LEAVE"))
NOT_ABOUT_PEOPLE = frozenset({"manufacturing-log", "internal-document"})
SENSITIVE_CATEGORIES = frozenset({"pd:HealthRecord", "pd:MedicalHealth", "pd:Prescription"})
BY_CONSENT = frozenset({
    "appi:consent-18-1", "appi:consent-20-2", "appi:consent-27-1", "appi:consent-28-1", "eu-gdpr:A6-1-a",
    "eu-gdpr:A9-2-a", "hipaa:authorization-164-508",
})  # fmt: skip
SPECIAL_BY_CONSENT = frozenset({"appi:consent-20-2", "eu-gdpr:A9-2-a", "hipaa:authorization-164-508"})
SPECIAL = SPECIAL_BY_CONSENT | {
    "eu-gdpr:A9-2-i", "eu-gdpr:A9-2-j", "hipaa:limited-data-set-164-514-e", "hipaa:waiver-164-512-i",
    "appi:pseudonymised-41", "appi:anonymised-43",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """A code, the field it concerns, and the values that its words name."""

    code: str
    field: str | None = None
    values: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _validity(policy: Policy, clause: Validity, now: datetime) -> Iterator[Finding]:
    until = {"until": clause.until.isoformat()}
    if clause.until <= now:
        yield Finding("EXPIRED", "until", until)
    elif clause.until - now < SOON:
        yield Finding("EXPIRES_SOON", "until", {**until, "days": str((clause.until - now).days)})
    if clause.from_ > now:
        yield Finding("NOT_YET_VALID", "from", {"from": clause.from_.isoformat()})
    if clause.until - clause.from_ > LONG:
        yield Finding("VALID_FOR_LONG", "until", {"years": str((clause.until - clause.from_).days // 365)})


def _emergency_stop(policy: Policy, clause: EmergencyStop, now: datetime) -> Iterator[Finding]:
    if clause.list_max_age_hours > OLD_LIST_HOURS:
        yield Finding("STOP_LIST_OLD", "list_max_age_hours", {"hours": str(clause.list_max_age_hours)})


def _legal_basis(policy: Policy, clause: LegalBasis, now: datetime) -> Iterator[Finding]:
    by_consent = clause.bases & BY_CONSENT
    if by_consent and not clause.consent.required:
        yield Finding("CONSENT_BASIS_UNUSED", "consent.required", {"bases": ", ".join(sorted(by_consent))})
    if clause.consent.required and not by_consent:
        yield Finding("CONSENT_WITHOUT_BASIS", "bases")
    if policy.dataset.special_category:
        special = clause.bases & SPECIAL
        if not special:
            yield Finding("SPECIAL_WITHOUT_BASIS", "bases")
        elif special <= SPECIAL_BY_CONSENT and not clause.consent.required:
            yield Finding("SPECIAL_WITHOUT_CONSENT", "consent.required")
    elif policy.dataset.categories & SENSITIVE_CATEGORIES:
        yield Finding("SPECIAL_NOT_DECLARED", "dataset.special_category")


def _transfer(policy: Policy, clause: Transfer, now: datetime) -> Iterator[Finding]:
    parties = (policy.header.parties.controller, *policy.header.parties.processors)
    for party in parties:
        if party.country not in clause.destinations:
            values = {"party": party.id, "country": party.country}
            yield Finding("DESTINATION_LACKS_PARTY", "destinations", values)
    granted = {grant.type for grant in policy.grants}
    for action, artefact, code in NEEDED:
        if action in granted and artefact not in clause.leaves_site:
            yield Finding(code, "leaves_site", {"artefact": artefact})
        if action not in granted and artefact in clause.leaves_site:
            yield Finding("LEAVES_UNUSED", "leaves_site", {"artefact": artefact, "action": action})


def _encryption(policy: Policy, clause: Encryption, now: datetime) -> Iterator[Finding]:
    for measure in ADVISED:
        if measure not in clause.require:
            yield Finding("MEASURE_LACKING", "require", {"measure": measure})


def _cohort(policy: Policy, clause: Cohort, now: datetime) -> Iterator[Finding]:
    if clause.min_sites <= clause.observers + 1:
        honest = clause.min_sites - clause.observers
        values = {"sites": str(clause.min_sites), "observers": str(clause.observers), "honest": str(honest)}
        yield Finding("FEW_HONEST", "min_sites", values)


def _privacy_budget(policy: Policy, clause: PrivacyBudget, now: datetime) -> Iterator[Finding]:
    if clause.unit == "record" and policy.dataset.categories - NOT_ABOUT_PEOPLE:
        yield Finding("UNIT_RECORD", "unit")
    for name, loss in (("lifetime", clause.lifetime), ("per_run", clause.per_run)):
        if loss.epsilon > WEAK_EPSILON:
            yield Finding("EPSILON_LARGE", f"{name}.epsilon", {"epsilon": format(loss.epsilon, "f")})
        if loss.delta > WEAK_DELTA:
            yield Finding("DELTA_LARGE", f"{name}.delta", {"delta": format(loss.delta, "f")})
    life = clause.lifetime
    if life.epsilon - life.delta.ln() > MOST_FOR_A_LIFE:
        values = {"epsilon": format(life.epsilon, "f"), "delta": format(life.delta, "f")}
        yield Finding("LIFETIME_BEYOND_SITES", "lifetime.epsilon", values)
    if clause.lifetime == clause.per_run:
        yield Finding("SINGLE_RUN", "lifetime")


def _base_model(policy: Policy, clause: BaseModelRule, now: datetime) -> Iterator[Finding]:
    if clause.min_disclosure == "none":
        yield Finding("UNDISCLOSED_MODELS", "min_disclosure")


def _approvals(policy: Policy, clause: Approvals, now: datetime) -> Iterator[Finding]:
    if not clause.exclude_requester:
        yield Finding("REQUESTER_APPROVES", "exclude_requester")


def _retention(policy: Policy, clause: Retention, now: datetime) -> Iterator[Finding]:
    if clause.audit_years == 0:
        yield Finding("NO_EVIDENCE_KEPT", "audit_years")
    if clause.on_withdrawal.released_adapter == "keep" and policy.clause("legal_basis").consent.required:
        yield Finding("WITHDRAWAL_KEEPS", "on_withdrawal.released_adapter")


def of_the_actions(policy: Policy) -> Iterator[Finding]:
    """What is granted without what belongs to it."""
    granted = {grant.type for grant in policy.grants}
    if "train" in granted and "release" not in granted:
        yield Finding("TRAIN_WITHOUT_RELEASE")
    if "release" in granted and "train" not in granted:
        yield Finding("RELEASE_WITHOUT_TRAIN")


Rule = Callable[[Policy, Any, datetime], Iterator[Finding]]
RULES: Mapping[str, Rule] = {
    "validity": _validity,
    "emergency_stop": _emergency_stop,
    "legal_basis": _legal_basis,
    "transfer": _transfer,
    "encryption": _encryption,
    "cohort": _cohort,
    "privacy_budget": _privacy_budget,
    "base_model": _base_model,
    "approvals": _approvals,
    "retention": _retention,
}
