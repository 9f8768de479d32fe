"""Opened sum -> next state, with the same bits at every site; and the public rule for the learning rate.

Order of calls: ``OptimizerState.start(task.initial())`` -> ``Momentum.for_plan(plan, settings, schedule)`` ->
``step(state, gradient_sum)``.
Not here: opening the sum (site/opening.py), and grid units: ``gradient_sum`` is in units of the gradient (times C/u).

Heavy-ball momentum (Polyak 1964): v ← μv + g, w ← w − ηv, with g the sum over the n declared units of a step. Only
additions and multiplications of float64, element by element, in this order: IEEE 754 fixes every bit, no library's
kernel has a say.

The learning rate is not tuned, for a search on private data would have to be paid for. It follows from public
figures (``public_learning_rate``): features have length √2 with the constant 1, a record's curvature is p(1 − p)·2, and
clipping to C leaves a subject free to move only while the sum of its residuals |p − y| is at most C/√2. As
p(1 − p) ≤ |p − y|, a subject's clipped gradient is Lipschitz with L = √2·C when its records pull one way, however many
it has. Heavy ball is stable for η < 2(1 + μ)/L; the rule is half of that, η = (1 + μ)/(√2·C). Adapters seen through
their first-order model are the same problem with derivatives for features, bounded by tangent.RADIUS instead of √2.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

import numpy as np
from numpy.typing import NDArray

from ...privacy.accounting.plan import Plan
from ..errors import BadInputError, ProtocolError
from ..methods import Method
from .schedule import PLAIN, Schedule

DIGEST_LABEL = b"sekisho-optimizer-state-v2\x00"
PROBE_RADIUS = Decimal(2).sqrt()  # a feature row of length one, and a 1
RATE_PLACES = Decimal("0.01")  # rounded down: the rule promises stability, not a third digit


@dataclass(frozen=True, eq=False)
class OptimizerState:
    """``vector`` w, ``velocity`` v and ``reference``, the state around which the model is linearised: float64 [d].

    ``updates`` counts the sums that were applied. The arrays are read-only.
    """

    vector: NDArray[np.float64]
    velocity: NDArray[np.float64]
    reference: NDArray[np.float64]
    updates: int = 0

    def __post_init__(self) -> None:
        for array in (self.vector, self.velocity, self.reference):
            if array.dtype != np.float64 or array.ndim != 1 or array.shape != self.vector.shape:
                raise ProtocolError("STATE_MALFORMED", "the state is not three float64 vectors of one length")
            array.setflags(write=False)

    @classmethod
    def start(cls, initial: NDArray[np.float64]) -> OptimizerState:
        """Where every site starts, from public figures alone: ``initial``, float64 [d], at rest."""
        return cls(initial.copy(), np.zeros_like(initial), initial.copy())

    def digest(self) -> str:
        """ "sha256:<hex>" of all of it, bit for bit. It leaves a site only as a MAC under the run secret."""
        counts = (len(self.vector), self.updates)
        state = hashlib.sha256(DIGEST_LABEL + b"".join(count.to_bytes(8, "little") for count in counts))
        for piece in self.array_bytes():
            state.update(piece)
        return "sha256:" + state.hexdigest()

    def array_bytes(self) -> tuple[memoryview, memoryview, memoryview]:
        """Vector, velocity and reference, each as the bytes of little-endian float64; views, not copies."""
        vector, velocity, reference = (
            np.ascontiguousarray(array, "<f8").data.cast("B") for array in (self.vector, self.velocity, self.reference)
        )
        return vector, velocity, reference


@dataclass(frozen=True)
class Momentum:
    """``learning_rate`` η, ``momentum`` μ, ``expected_sample`` n, the public number of units a sum stands for, and the
    ``schedule``: which coordinates move when."""

    learning_rate: float
    momentum: float
    expected_sample: int
    schedule: Schedule = PLAIN

    def __post_init__(self) -> None:
        if not (0 < self.learning_rate < np.inf and 0 <= self.momentum < 1 and self.expected_sample >= 1):
            raise BadInputError(
                "OPTIMIZER_SETTINGS",
                "learning rate, momentum or sample size is outside its range",
                "learning_rate is above 0, momentum at least 0 and below 1",
            )

    @classmethod
    def for_plan(cls, plan: Plan, settings: Method, schedule: Schedule) -> Momentum:
        """The optimiser of a run; n is the plan's, so that nobody's real count enters."""
        return cls(float(settings.learning_rate), float(settings.momentum), plan.expected_sample, schedule)

    def step(self, state: OptimizerState, gradient_sum: NDArray[np.float64]) -> OptimizerState:
        """The next state from the opened sum, float64 [d]. Raises ``ProtocolError`` SUM_MALFORMED."""
        if gradient_sum.shape != state.vector.shape or gradient_sum.dtype != np.float64:
            raise ProtocolError("SUM_MALFORMED", "the opened sum does not have the shape of the state")
        if not np.isfinite(gradient_sum).all():
            raise ProtocolError("SUM_MALFORMED", "the opened sum holds a number that is not finite")
        gradient = gradient_sum / float(self.expected_sample)
        gradient[: self.schedule.resting(state.updates)] = 0.0  # nothing but noise arrived there
        velocity = state.velocity * self.momentum
        velocity += gradient
        # the move, and then where it leads, in the gradient's place: five vectors of ten million are half a gigabyte
        move = np.multiply(velocity, self.learning_rate, out=gradient)
        vector = np.subtract(state.vector, move, out=move)
        updates = state.updates + 1
        reference = vector.copy() if self.schedule.linearises_after(updates) else state.reference
        return OptimizerState(vector, velocity, reference, updates)


def public_learning_rate(clipping_norm: Decimal, momentum: Decimal, radius: Decimal = PROBE_RADIUS) -> Decimal:
    """η = (1 + μ)/(R·C), rounded down to two places; from public figures alone (see the module's docstring).

    ``radius`` R bounds a record's derivative of the log odds: √2 for a probe, tangent.RADIUS for adapters.
    """
    rate = (1 + momentum) / (radius * clipping_norm)
    return rate.quantize(RATE_PLACES, rounding=ROUND_DOWN)
