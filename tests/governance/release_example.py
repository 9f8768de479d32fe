"""A release of which everything holds, and the parts of one, for tests that take one thing away."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from sekisho.governance.language import Text
from sekisho.governance.provenance.conditions import AuditResult, Found, Terms, conditions, expiry
from sekisho.governance.provenance.provenance import StepPart, ValidationPart
from sekisho.governance.provenance.release import ReleaseRecord
from sekisho.governance.signing.envelope import write_time

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
DIGEST = "sha256:" + "ab" * 32
SITES = ("ame", "hana", "kaze")
CLOSED = "LicenseRef-Food-Quality-Participants-Only"
ALL = frozenset({"validation", "class-drop", "audit", "licence"})


def validation(after: int, right: int, *, accepted: bool = True, wrong: int | None = None) -> ValidationPart:
    """Two classes of 100 people each, of which ``right`` are ordered rightly in the second."""
    cells = {"dissatisfied-both": 60, "dissatisfied-one": 20, "dissatisfied-neither": 20,
             "satisfied-both": right, "satisfied-one": 0, "satisfied-neither": 100 - right if wrong is None else wrong}
    return ValidationPart(after_step=after, cohort=SITES, cells=cells, standard_error="2.0", right="0.8", low="0.75",
                          one_is={"dissatisfied": "order", "satisfied": "label"}, labels="0.7", labels_low="0.65",
                          labels_high="0.75", high="0.85", accepted=accepted, sum=DIGEST)


def steps(number: int) -> list[StepPart]:
    return [StepPart(step=one, cohort=SITES, outcome="completed", sum=DIGEST) for one in range(1, number + 1)]


TERMS = Terms(
    required=ALL,
    class_drop=Decimal("0.15"),
    data_licences=dict.fromkeys(SITES, "LicenseRef-Own-Records"),
    prohibited=(Text(en="Judging employees.", ja="従業員の評価。"),),
    valid_days=365,
)
FOUND = Found(
    grant="G2",
    provenance=DIGEST,
    recipients=("participants",),
    parties=SITES,
    base_licence="Apache-2.0",
    release_licence=CLOSED,
    sites=SITES,
    steps=steps(4),
    validations=(validation(0, 50), validation(2, 78), validation(4, 80)),
    audit=AuditResult(DIGEST, passed=True),
    issued=NOW,
)


def record(terms: Terms = TERMS, found: Found = FOUND, **changed: object) -> ReleaseRecord:
    """The record that follows from terms and facts."""
    fields = {
        "run": "probe-1", "adapter": DIGEST, "provenance": DIGEST, "base_model": DIGEST,
        "base_licence": found.base_licence, "grant": found.grant or "-", "recipients": tuple(found.recipients),
        "parties": tuple(found.parties), "permitted": ("internal-quality-triage",), "prohibited": terms.prohibited,
        "licence": found.release_licence, "data_licences": dict(terms.data_licences),
        "files": {"adapter.safetensors": DIGEST}, "issued": write_time(NOW),
        "expires": write_time(expiry(terms, NOW)), "conditions": conditions(terms, found),
    }  # fmt: skip
    return ReleaseRecord(**{**fields, **changed})  # type: ignore[arg-type]  # a table of fields


__all__ = ["ALL", "CLOSED", "DIGEST", "FOUND", "NOW", "SITES", "TERMS", "record", "replace", "steps", "validation"]
