"""An integer sum and its site's share of noise, with the event that says what was done, in one object.

For: the gate, which compares the event with the one that was charged before it seals the values.
Not for: charging, packing or encrypting.

Order of calls: the gate charges ``plan.event(cohort, step)`` → ``add_share(...)`` → packs ``values``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..accounting.plan import Plan
from ..errors import BadParametersError
from ..event import NoiseEvent
from .gaussian import DiscreteGaussian
from .randomness import SecretStream


@dataclass(frozen=True)
class Noised:
    """``values``: int64[d] in grid units, safe to seal. ``event``: what was added to make it so."""

    values: NDArray[np.int64]
    event: NoiseEvent


def add_share(
    total: NDArray[np.int64], plan: Plan, *, cohort: int, step: int, stream: SecretStream
) -> Noised:
    """The site's clipped sum (int64[d]; zeros for an empty sample) plus discrete Gaussian noise of
    s²(cohort).

    Args:
        cohort: |S|, how many sites take part in this step. step: 1, 2, … within the run.
        stream: fresh for this step; never the training seed, never used again.

    Beyond the result, memory holds one more vector of its size: the noise.

    Raises:
        BadParametersError: ``BAD_SUM``, ``NO_SUCH_STEP`` or the codes of ``Plan.check_sealing_rule``.
    """
    # 1. The honest remainder of this cohort is large enough.
    plan.check_sealing_rule(cohort)
    # 2. The sum is what the plan speaks of.
    if total.dtype != np.int64 or total.shape != (plan.dimension,):
        raise BadParametersError("BAD_SUM", "a sum is not a vector of integers of the plan's length")
    # 3. The event is made from the same plan and cohort as the noise.
    event = plan.event(cohort, step)
    noise = DiscreteGaussian(event.variance).sample(stream, plan.dimension)
    return Noised(values=total + noise, event=event)
