"""What several plans of one run cost together, for people and policies: the sum of their certificates.

For: a run that discloses under more than one plan, such as training and the counts that judge it.
Not for: one plan (``accountant.worst_certificate``), or the filter: the ledger adds costs by itself.

(ε₁ + ε₂, δ₁ + δ₂) holds also where the second is chosen after the first was seen (Dwork and Roth 2014, theorem 3.16
and appendix B). It is what may be promised without looking at both losses at once, and never too low.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ..errors import BadParametersError
from .accountant import worst_certificate
from .plan import Plan


def combined_certificate(plans: Sequence[Plan], observers: int) -> tuple[float, Decimal]:
    """(ε, δ) of all ``plans`` for one subject that is in each of them, against ``observers`` sites.

    Raises:
        BadParametersError: ``UNITS_DIFFER`` unless all speak of the same unit and neighbours, and the codes of
            ``worst_certificate``.
    """
    if len({(plan.unit, plan.adjacency) for plan in plans}) != 1:
        raise BadParametersError(
            "UNITS_DIFFER", "guarantees for different units cannot be added", "give all plans of a run one unit"
        )
    return sum(worst_certificate(plan, observers) for plan in plans), sum((plan.delta for plan in plans), Decimal(0))
