"""What another accountant says of a run: Opacus' privacy random variables, beside our own certificate.

For: :func:`second_opinion`, shown in reports and held against the certificate. Not for: deciding or charging anything;
that is ``accountant.py``, whose figure is a proven bound where this one is an estimate with an error of its own.

Source: Gopi, Lee and Wutschitz, "Numerical composition of differential privacy", NeurIPS 2021, as Opacus implements it.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache

from ..errors import BadParametersError
from ..mechanism.rounding import CERTIFICATE_VARIANCE
from .plan import Plan

ERROR = 0.01  # what Opacus itself asks for by default: of ε where that is below one, and of one above
LEAST_ERROR = 1e-4  # finer, and its grid would not fit
DELTA_ERROR = 1e-3  # of δ, the same


@dataclass(frozen=True)
class SecondOpinion:
    """``epsilon`` is the other accountant's upper estimate; the true figure is at most ``slack`` below it."""

    epsilon: float
    slack: float

    def contradicts(self, certificate: float) -> bool:
        """Whether ``certificate`` is lower than the other accountant could possibly allow."""
        return certificate < self.epsilon - self.slack


@lru_cache(maxsize=64)
def second_opinion(plan: Plan, *, cohort: int, observers: int) -> SecondOpinion:
    """ε of the whole run (allowance included) at the plan's δ by Opacus, for a cohort of ``cohort`` sites.

    Raises:
        BadParametersError: ``NO_SUCH_COHORT``; ``NOISE_TOO_SMALL`` when no noise is left beside the observers' own;
            ``NO_SECOND_OPINION`` where the other accountant's grid fails, as it is known to on some inputs, and for
            sampled subjects at several sites, of whom it knows nothing.
    """
    variance = (cohort - observers) * plan.share_variance(cohort) - CERTIFICATE_VARIANCE
    if variance <= 0:
        raise BadParametersError("NOISE_TOO_SMALL", "this noise is too narrow to account for", "refuse this plan")
    if plan.sites_per_subject > 1 and plan.sampling_rate != 1:
        raise BadParametersError(
            "NO_SECOND_OPINION", "the other accountant knows subjects of one site only", "the certificate stands alone"
        )
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    # at full batch a subject's vectors are always all there: one shift as long as all of them
    noise = math.sqrt(variance / plan.grid_bound_squared) / plan.sites_per_subject
    accountant.history = [(noise, float(plan.sampling_rate), plan.total_steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its own coarse grid; the error is stated above
        delta = float(plan.delta)
        try:
            error = ERROR
            epsilon = float(accountant.get_epsilon(delta, eps_error=error, delta_error=delta * DELTA_ERROR))
            if epsilon < 1:
                error = max(ERROR * epsilon, LEAST_ERROR)
                epsilon = float(accountant.get_epsilon(delta, eps_error=error, delta_error=delta * DELTA_ERROR))
        except (RuntimeError, ValueError):
            raise BadParametersError(
                "NO_SECOND_OPINION", "the other accountant has no figure for this plan", "the certificate stands alone"
            ) from None
    return SecondOpinion(epsilon, 2 * error)
