"""A policy, a request that it permits, and for each fact a value that it refuses; shared by the tests of policies."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.request import Fact, Request

FOLDER = Path(__file__).parent / "policies"
KOHI = (FOLDER / "kohi.yaml").read_bytes()
DIGEST = "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

GOOD: dict[str, tuple[Any, str]] = {
    "time": (datetime(2026, 11, 23, tzinfo=UTC), "clock"),
    "stop.active": (False, "roster"),
    "stop.roles": (frozenset({"legal", "it", "data-protection"}), "roster"),
    "stop.restart_roles": (frozenset({"legal", "it"}), "roster"),
    "stop.list_age_hours": (1, "roster"),
    "legal_basis.scope": ("fl-training/2026-11", "study"),
    "consent.eligible": (True, "site-consent"),
    "transfer.artefacts": (frozenset({"masked-update"}), "site-runtime"),
    "transfer.destinations": (frozenset({"JP"}), "roster"),
    "encryption.measures": (
        frozenset({"secure-aggregation", "bfv", "x25519-mlkem768", "signed-messages"}),
        "site-runtime",
    ),
    "cohort.sites": (5, "roster"),
    "cohort.observers": (1, "study"),
    "subjects.sites_per_subject": (1, "study"),
    "budget.unit": ("subject", "study"),
    "budget.adjacency": ("add-or-remove-one", "study"),
    "budget.run_epsilon": (Decimal("3.0001"), "site-ledger"),
    "budget.run_delta": (Decimal("0.00001"), "site-ledger"),
    "budget.lifetime_fits": (True, "site-ledger"),
    "base_model.digest": (DIGEST, "site-intake"),
    "base_model.licence": ("Apache-2.0", "site-intake"),
    "base_model.disclosure": ("sources-listed", "site-intake"),
    "approvals.legal": (1, "roster"),
    "approvals.it": (2, "roster"),
    "approvals.requester_excluded": (True, "roster"),
    "retention.audit_years": (6, "study"),
    "action": ("train", "study"),
    "purpose": ("dpv:ImproveExistingProductsAndServices", "study"),
    "task": ("text-classification", "study"),
    "method": ("probe", "study"),
    "stage": ("pilot", "study"),
    "steps": (60, "study"),
    "recipients": (frozenset({"participants"}), "study"),
    "downstream_uses": (frozenset({"internal-quality-triage"}), "study"),
}

# (fact, a value of the right type that kohi refuses, clause, clause type, field, code)
REFUSED: list[tuple[str, Any, str, str, str, str]] = [
    ("time", datetime(2026, 10, 31, 14, 59, tzinfo=UTC), "1", "validity", "from", "POLICY_NOT_YET_VALID"),
    ("time", datetime(2099, 12, 31, 15, 0, tzinfo=UTC), "1", "validity", "until", "POLICY_EXPIRED"),
    ("stop.active", True, "2", "emergency_stop", "stop", "STOPPED"),
    ("stop.roles", frozenset({"business"}), "2", "emergency_stop", "stop_by", "STOP_ROLE_MISSING"),
    ("stop.restart_roles", frozenset({"it"}), "2", "emergency_stop", "restart_by", "RESTART_ROLE_MISSING"),
    ("stop.list_age_hours", 25, "2", "emergency_stop", "list_max_age_hours", "STOP_LIST_STALE"),
    ("legal_basis.scope", "fl-training/2027-11", "3", "legal_basis", "consent.scope", "SCOPE_NOT_COVERED"),
    ("consent.eligible", False, "3", "legal_basis", "consent.required", "CONSENT_MISSING"),
    ("transfer.artefacts", frozenset({"masked-update", "validation-votes"}), "4", "transfer", "leaves_site",
     "ARTEFACT_NOT_ALLOWED"),
    ("transfer.destinations", frozenset({"JP", "NO"}), "4", "transfer", "destinations", "DESTINATION_NOT_ALLOWED"),
    ("encryption.measures", frozenset({"bfv", "signed-messages"}), "5", "encryption", "require", "MEASURE_MISSING"),
    ("cohort.sites", 2, "6", "cohort", "min_sites", "COHORT_TOO_SMALL"),
    ("cohort.observers", 0, "6", "cohort", "observers", "OBSERVERS_TOO_FEW"),
    ("subjects.sites_per_subject", 2, "7", "subjects", "max_sites_per_subject", "SUBJECT_AT_TOO_MANY_SITES"),
    ("budget.unit", "record", "8", "privacy_budget", "unit", "BUDGET_UNIT"),
    ("budget.adjacency", "replace-one", "8", "privacy_budget", "adjacency", "BUDGET_ADJACENCY"),
    ("budget.run_epsilon", Decimal("3.2" + "0" * 40 + "1"), "8", "privacy_budget", "per_run.epsilon", "BUDGET_RUN"),
    ("budget.run_delta", Decimal("0.0001"), "8", "privacy_budget", "per_run.delta", "BUDGET_RUN_DELTA"),
    ("budget.lifetime_fits", False, "8", "privacy_budget", "lifetime", "BUDGET_LIFETIME"),
    ("base_model.digest", "sha256:" + "0" * 64, "9", "base_model", "models", "BASE_MODEL_NOT_LISTED"),
    ("base_model.licence", "CC-BY-SA-4.0", "9", "base_model", "licences", "BASE_MODEL_LICENCE"),
    ("base_model.disclosure", "statement", "9", "base_model", "min_disclosure", "BASE_MODEL_DISCLOSURE"),
    ("approvals.legal", 0, "10", "approvals", "at_least.legal", "APPROVALS_MISSING"),
    ("approvals.it", 0, "10", "approvals", "at_least.it", "APPROVALS_MISSING"),
    ("approvals.requester_excluded", False, "10", "approvals", "exclude_requester", "APPROVED_BY_REQUESTER"),
    ("retention.audit_years", 5, "11", "retention", "audit_years", "RETENTION_TOO_SHORT"),
    ("action", "evaluate", "G1", "train", "action", "ACTION_NOT_GRANTED"),
    ("purpose", "dpv:DirectMarketing", "G1", "train", "purposes", "PURPOSE_NOT_GRANTED"),
    ("task", "text-generation", "G1", "train", "tasks", "TASK_NOT_GRANTED"),
    ("method", "full-fine-tuning", "G1", "train", "methods", "METHOD_NOT_GRANTED"),
    ("stage", "production", "G1", "train", "stages", "STAGE_NOT_GRANTED"),
    ("recipients", frozenset({"participants", "public"}), "G1", "train", "recipients", "RECIPIENT_NOT_GRANTED"),
    ("downstream_uses", frozenset({"resale"}), "G1", "train", "downstream_uses", "DOWNSTREAM_USE_NOT_GRANTED"),
    ("steps", 121, "G1", "train", "max_steps", "TOO_MANY_STEPS"),
]  # fmt: skip


def kohi() -> Policy:
    """The example policy."""
    return Policy.parse(KOHI, "kohi.yaml")


def request(**changes: Fact | None) -> Request:
    """The permitted request with some facts changed, or, with None, left out; dots are written as two underscores."""
    facts: dict[str, Fact | None] = {name: Fact(value, source) for name, (value, source) in GOOD.items()}
    facts.update({name.replace("__", "."): fact for name, fact in changes.items()})
    return Request({name: fact for name, fact in facts.items() if fact is not None})


def request_with(fact: str, value: Any, source: str | None = None) -> Request:
    """The permitted request with one fact's value, and perhaps its source, replaced."""
    return request(**{fact: Fact(value, GOOD[fact][1] if source is None else source)})
