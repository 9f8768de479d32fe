"""Which units take part in a step: everybody, or each by an independent secret coin. There is no third way.

For: Poisson sampling, on which the accountant's amplification rests.
Not for: making a batch smaller. A sample is never truncated, or one subject could push out another; a light
site declares a lower rate. An empty sample is a sample: its step discloses noise and is charged.

Order of calls: once a step, ``poisson_sample(stream.derive(...), count, rate)``.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParametersError
from .randomness import SecretStream


def poisson_sample(stream: SecretStream, count: int, rate: Decimal) -> NDArray[np.bool_]:
    """bool[count]: unit i takes part with probability ⌊rate·2⁶⁴⌋/2⁶⁴, never above ``rate``; all of them at
    rate 1.

    Raises:
        BadParametersError: ``BAD_RATE`` unless 0 < rate ≤ 1.
    """
    if not rate.is_finite() or not 0 < rate <= 1:
        raise BadParametersError(
            "BAD_RATE", "a sampling rate is not within (0, 1]", "1 is a full batch"
        )
    if rate == 1:
        return np.ones(count, dtype=np.bool_)
    threshold = np.uint64(int(Fraction(rate) * 2**64))
    return stream.uint64(count) < threshold
