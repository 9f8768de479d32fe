"""What each condition of a release is judged by; every judge is a pure function from what is known to an outcome.

For: the list of conditions that a release's record carries. Not for: the record (release.py), approvals of it (they are
signed over the record, so they cannot stand in it), or where the facts come from (core/site/publish.py).

Order of calls: ``conditions(Terms(...), Found(...))`` -> ``ReleaseRecord(conditions=...)``.

A condition that the study does not ask for is judged all the same where it can be, and "not-checked" where not: the
record says so. What is asked for and cannot be judged is a refusal.

Source of the class-drop: Andreina et al., BaFFLe (arXiv 2011.02167): a backdoor shows as a fall in single classes. It
is judged on the order of people, not on their labels: while a threshold settles, one class gains labels and another
loses them, in honest runs too. That the labels of all have not fallen is part of the verdict "validation" asks for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from ..canonical import is_digest
from ..language import Text
from .licences import incompatible
from .provenance import StepPart, ValidationPart
from .release import Condition

ONE_SIDED = 1.645  # 95 % quantile of the normal distribution: a fall counts as bounded if its upper bound is
LEAST_CLASS = 5.0  # a class whose count is not five times its standard error says nothing about a share


@dataclass(frozen=True)
class AuditResult:
    """What the checks of the run itself found: the digest of their report, and whether all held."""

    digest: str
    passed: bool


@dataclass(frozen=True)
class Terms:
    """What the study asks of a release; ``required`` are names of conditions, ``valid_days`` its life."""

    required: frozenset[str] = frozenset()
    class_drop: Decimal | None = None
    data_licences: Mapping[str, str] = field(default_factory=dict)
    prohibited: tuple[Text, ...] = ()
    valid_days: int = 365


@dataclass(frozen=True)
class Found:
    """What is known when a release is asked for. ``grant``: the policy's grant that permits it."""

    grant: str
    provenance: str
    recipients: Collection[str]
    parties: Collection[str]
    base_licence: str
    release_licence: str
    sites: Collection[str]
    steps: Sequence[StepPart]
    validations: Sequence[ValidationPart]
    audit: AuditResult | None
    issued: datetime


def conditions(terms: Terms, found: Found) -> tuple[Condition, ...]:
    """Every condition with its outcome, those that hold for every release first."""
    named = bool(terms.data_licences) or "licence" in terms.required
    return (
        _outcome("release-grant", True, "" if found.grant else "RELEASE_GRANT_MISSING", found.grant),
        _outcome("provenance", True, "" if is_digest(found.provenance) else "RELEASE_PROVENANCE", found.provenance),
        _outcome("recipients", True, "" if found.recipients and found.parties else "RELEASE_NO_RECIPIENT",
                 ", ".join(sorted(found.recipients))),
        _outcome("expiry", True, "" if terms.valid_days >= 1 else "RELEASE_EXPIRY", f"{terms.valid_days} days"),
        _licence(terms, found, required=named),
        _validation(found, required="validation" in terms.required),
        _class_drop(terms, found, required="class-drop" in terms.required),
        _audit(found.audit, required="audit" in terms.required),
    )


def expiry(terms: Terms, issued: datetime) -> datetime:
    """When what is released at ``issued`` is no longer to be used."""
    return issued + timedelta(days=terms.valid_days)


def _licence(terms: Terms, found: Found, *, required: bool) -> Condition:
    if not required:
        return _unchecked("licence", "RELEASE_LICENCE_UNCHECKED", required=False)
    # 1. Every site has said under what its data stand: one that is silent is unknown.
    silent = sorted(set(found.sites) - set(terms.data_licences))
    if silent:
        return _outcome("licence", True, "RELEASE_LICENCE_UNKNOWN", silent[0])
    # 2. Base licence, data licences and release licence go together.
    conflict = incompatible(
        found.base_licence, set(terms.data_licences.values()), found.release_licence,
        recipients=found.recipients, prohibited=terms.prohibited,
    )  # fmt: skip
    if conflict is not None:
        return _outcome("licence", True, f"RELEASE_{conflict.code}", conflict.of[:200])
    return _outcome("licence", True, "", found.release_licence)


def _validation(found: Found, *, required: bool) -> Condition:
    if not found.validations:
        return _unchecked("validation", "RELEASE_VALIDATION_MISSING", required=required)
    last = found.validations[-1]
    trained = max((step.step for step in found.steps if step.outcome == "completed"), default=0)
    # 1. What the sites saw last, they accepted.
    if not last.accepted:
        return _outcome("validation", required, "RELEASE_VALIDATION_REJECTED", f"step {last.after_step}")
    # 2. And it is what is to be released: no step came after it.
    if last.after_step < trained or last.after_step < 1:
        return _outcome("validation", required, "RELEASE_VALIDATION_OUTDATED", f"step {last.after_step}")
    return _outcome("validation", required, "", f"step {last.after_step}: {last.right}")


def _class_drop(terms: Terms, found: Found, *, required: bool) -> Condition:
    # The start state judges everybody alike, so its shares by class mean nothing: the first trained one is the first.
    accepted = [one for one in found.validations if one.accepted and one.after_step >= 1]
    if terms.class_drop is None or len(accepted) < 2:
        return _unchecked("class-drop", "RELEASE_CLASS_DROP_UNKNOWN", required=required)
    falls = class_falls(accepted[0], accepted[-1])
    unclear = sorted(name for name, upper in falls.items() if upper is None)
    # 1. Every class can be judged under its noise.
    if unclear or not falls:
        return _outcome("class-drop", required, "RELEASE_CLASS_DROP_UNKNOWN", ", ".join(unclear))
    # 2. None can have fallen by more than is allowed.
    worst = max(falls, key=lambda name: falls[name] or 0.0)
    upper = falls[worst] or 0.0
    figure = f"{worst}: at most {math.ceil(upper * 1000) / 1000:.3f}"
    return _outcome("class-drop", required, "RELEASE_CLASS_DROP" if upper > float(terms.class_drop) else "", figure)


def class_falls(first: ValidationPart, last: ValidationPart) -> dict[str, float | None]:
    """For each class the upper 95 % bound of how far the share ordered rightly fell; None where noise hides the class.

    The noise of all cells is independent with the standard errors of their rounds. The people are the same in both, so
    they add no error of their own.
    """
    names = sorted({*first.one_is, *last.one_is})
    falls: dict[str, float | None] = {}
    for name in names:
        before, after = _share(first, name), _share(last, name)
        if before is None or after is None:
            falls[name] = None
        else:
            falls[name] = max(0.0, before[0] - after[0] + ONE_SIDED * math.hypot(before[1], after[1]))
    return falls


def _share(part: ValidationPart, name: str) -> tuple[float, float] | None:
    """Share ordered rightly of one class, and its standard error by the noise (first-order, of a ratio)."""
    error = float(part.standard_error)
    both, one, neither = (part.cells.get(f"{name}-{outcome}") for outcome in ("both", "one", "neither"))
    if both is None or one is None or neither is None or name not in part.one_is:
        return None
    everybody = both + one + neither
    if everybody <= LEAST_CLASS * error * math.sqrt(3) or everybody <= 0:  # three cells, each with its noise
        return None
    # the share's part and the rest, by cells: a sum of two has the noise of both
    right, rights = (both + one, 2) if part.one_is[name] == "order" else (both, 1)
    share = min(1.0, max(0.0, right / everybody))
    return share, error * math.sqrt(rights * (1 - share) ** 2 + (3 - rights) * share**2) / everybody


def _audit(audit: AuditResult | None, *, required: bool) -> Condition:
    if audit is None or not is_digest(audit.digest):
        return _unchecked("audit", "RELEASE_AUDIT_MISSING", required=required)
    return _outcome("audit", required, "" if audit.passed else "RELEASE_AUDIT_FAILED", audit.digest)


def _outcome(name: str, required: bool, code: str, evidence: str) -> Condition:
    return Condition(
        name=name, required=required, outcome="failed" if code else "passed", code=code, evidence=evidence[:200]
    )


def _unchecked(name: str, code: str, *, required: bool) -> Condition:
    return Condition(name=name, required=required, outcome="not-checked", code=code)
