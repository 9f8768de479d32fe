"""Study + the site's own papers -> the request that the policy decides; each fact with its source.

A fact says who vouches for it: the site's clock, its ledger, its consent register, its own look at the base model, its
running code; the roster that it accepted; or the study, which is only somebody's wish. A policy may demand a source.

Not here: the decision (governance/policy/decide.py), and any reading of files: every value is handed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ...governance.policy.request import Fact, Request
from ..study import Study

# What this code does to an update before it can leave; a policy's encryption clause is held against it.
MEASURES = frozenset({"secure-aggregation", "bfv", "x25519-mlkem768", "signed-messages"})
ARTEFACT = "masked-update"  # of gradients; what other plans send out is named in artefacts.py
RELEASED = "adapter"


@dataclass(frozen=True)
class Standing:
    """What the site itself knows at this moment; the coordinator's word is not among it.

    ``cohort`` counts distinct controllers. ``stop_list_age_hours``, rounded up, is None without a list. ``epsilon`` is
    the site's own certificate of the plan.
    """

    now: datetime
    stopped: bool
    stop_roles: frozenset[str]
    restart_roles: frozenset[str]
    stop_list_age_hours: int | None
    consent_eligible: bool
    cohort: int
    observers: int
    epsilon: Decimal
    delta: Decimal
    lifetime_fits: bool
    steps: int
    base_model_digest: str
    base_model_licence: str
    base_model_disclosure: str
    destinations: frozenset[str]
    approvals: Mapping[str, int]
    requester_excluded: bool


def request_for(
    study: Study, standing: Standing, *, method: str, action: str = "train", artefact: str = ARTEFACT
) -> Request:
    """The facts for one decision on ``action`` ('train' or 'release'); ``artefact`` is what training sends out."""
    facts: dict[str, Fact] = {
        "time": Fact(standing.now, "clock"),
        "stop.active": Fact(standing.stopped, "roster"),
        "stop.roles": Fact(standing.stop_roles, "roster"),
        "stop.restart_roles": Fact(standing.restart_roles, "roster"),
        "stop.list_age_hours": Fact(standing.stop_list_age_hours, "roster"),
        "legal_basis.scope": Fact(study.legal_basis_scope, "study"),
        "consent.eligible": Fact(standing.consent_eligible, "site-consent"),
        "transfer.artefacts": Fact(frozenset({artefact if action == "train" else RELEASED}), "site-runtime"),
        "transfer.destinations": Fact(standing.destinations, "roster"),
        "encryption.measures": Fact(MEASURES, "site-runtime"),
        "cohort.sites": Fact(standing.cohort, "roster"),
        "cohort.observers": Fact(standing.observers, "study"),
        "subjects.sites_per_subject": Fact(study.max_sites_per_subject, "study"),
        "budget.unit": Fact(str(study.unit), "study"),
        "budget.adjacency": Fact(str(study.adjacency), "study"),
        "budget.run_epsilon": Fact(standing.epsilon, "site-ledger"),
        "budget.run_delta": Fact(standing.delta, "site-ledger"),
        "budget.lifetime_fits": Fact(standing.lifetime_fits, "site-ledger"),
        "base_model.digest": Fact(standing.base_model_digest, "site-intake"),
        "base_model.licence": Fact(standing.base_model_licence, "site-intake"),
        "base_model.disclosure": Fact(standing.base_model_disclosure, "site-intake"),
        "approvals.requester_excluded": Fact(standing.requester_excluded, "roster"),
        "retention.audit_years": Fact(study.audit_years, "study"),
        "action": Fact(action, "study"),
        "purpose": Fact(study.purpose, "study"),
        "task": Fact(study.task, "study"),
        "method": Fact(method, "study"),
        "stage": Fact(study.stage, "study"),
        "steps": Fact(standing.steps, "study"),
        "stage.sites": Fact(len(study.sites), "study"),
        "stage.subjects": Fact(study.declared_subjects, "study"),
        "recipients": Fact(frozenset(study.recipients), "study"),
        "downstream_uses": Fact(frozenset(study.downstream_uses), "study"),
    }
    for role, count in standing.approvals.items():
        facts[f"approvals.{role}"] = Fact(count, "roster")
    return Request(facts)
