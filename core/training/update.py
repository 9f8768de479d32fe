"""What is handed to the gate: one clipped integer sum, what it sums, the plan it was bounded under, and its step.

Never a record, a feature, a gradient or a count of anybody. Not here: noise, which the gate adds; an ``Update`` as it
is must not leave.
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

    ``cells`` names its coordinates where they are counts or votes, in order, as whoever counted meant them; a gradient
    has none. Its ``repr`` shows nothing, so that no message can show it by accident.

    Raises:
        ProtocolError: UPDATE_MALFORMED when the sum is not of the plan's shape or the step not one of its steps,
            UPDATE_QUANTITY when it is a sum of something else than the plan speaks of.
    """

    clipped: ClippedSum
    plan: Plan
    step: int
    cells: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        total = self.clipped.total
        if total.dtype != np.int64 or total.shape != (self.plan.dimension,):
            raise ProtocolError("UPDATE_MALFORMED", "the sum does not have the shape of its plan")
        if self.cells != self.plan.cells:
            raise ProtocolError("UPDATE_QUANTITY", "what was summed is not what the plan bounds and pays for")
        if not 1 <= self.step <= self.plan.total_steps:
            raise ProtocolError("UPDATE_MALFORMED", "the update's step is not one of its plan")

    def __repr__(self) -> str:
        return f"Update(step={self.step}, ...)"
