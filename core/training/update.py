"""What training hands to the gate: one clipped integer sum, the plan it was bounded under, and its step.

Never a record, a feature or a gradient. Not here: noise, which the gate adds; an ``Update`` as it is must not leave.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...privacy.accounting.plan import Plan
from ...privacy.gradients.clipping import ClippedSum
from ..errors import ProtocolError


@dataclass(frozen=True, eq=False)
class Update:
    """``clipped.total`` is int64 [plan.dimension] in grid units: every subject in it is bounded, and no noise is on it.

    Its ``repr`` shows nothing, so that no message can show it by accident.

    Raises:
        ProtocolError: UPDATE_MALFORMED when the sum is not of the plan's shape or the step not one of its steps.
    """

    clipped: ClippedSum
    plan: Plan
    step: int

    def __post_init__(self) -> None:
        total = self.clipped.total
        if total.dtype != np.int64 or total.shape != (self.plan.dimension,):
            raise ProtocolError("UPDATE_MALFORMED", "the sum does not have the shape of its plan")
        if not 1 <= self.step <= self.plan.total_steps:
            raise ProtocolError("UPDATE_MALFORMED", "the update's step is not one of its plan")

    def __repr__(self) -> str:
        return f"Update(step={self.step}, ...)"
