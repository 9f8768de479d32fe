"""Whether a block of steps pushed the common state farther than honest people do: from opened sums alone, so free.

For: ``pushes_of`` a block, and ``too_far``, which judges them by what the blocks accepted before have shown. Not for:
what the state answers people (privacy/mechanism/verdict.py), one sum by itself (site/opening.py), going back.

A site that lies seals whatever vector it likes, in whatever direction. Noise hides a direction; it does not hide a
length, for its law is public and it is the same in all of them: of d coordinates its square adds up to d·σ² within a
few times √(2d)·σ². What is left beyond that came from people, or from somebody who lies:

* Training that converges pushes less and less: on a convex loss a gradient does not grow along the descent
  (optimizer.py). So a block should push no farther than the longest accepted before it.
* What noise pushed before, training takes back. Along a direction of curvature h that adds to a block's square by what
  momentum swings too far, times the noise there: for μ = 0.9 and blocks of 15 at most 0.66 times, whatever h is. As a
  learning rate that follows the public rule has η·Σh ≤ 1 + μ over all directions together, few of them have any, and of
  hundreds of coordinates' noise it is a few hundredths. ``TAKEN_BACK`` allows a quarter.

* A push no longer than noise's own is never too far: who holds the first block back, so that it pushes little, must not
  have the honest ones after it rejected.

A block that surely pushes farther than this allows is rejected: an honest one with a chance of about 10^-5, one with
a vector as long as everybody together could be always. In the first block there
is nothing to compare with: it is judged by what it answers, and later blocks train on from it.

Two pushes are measured, since with momentum μ an early push moves the state more than a late one, which is felt later:
the state's own move, and the move of the place where it would come to rest. Who makes one of them small has to make the
other one large, or both. In gradients g_1 … g_k of a block (units of C over n people, as the optimiser takes them):

    place   Σ a_j·g_j  with a_j = (1 − μ^(k−j+1))/(1 − μ)      from the state's move, less its earlier velocity's part
    rest    Σ g_j                                              from that and the move of the velocity

Bounds: squared lengths of Gaussian vectors around a centre of squared length λ, with variances v_i, exceed
λ + Σv_i + 2√((Σv_i² + 2·max v·λ)·t) + 2·max v·t with a chance of at most e^−t (Laurent and Massart, Ann. Stat. 2000;
Birgé 2001 for λ > 0). Sums are rounded once however they are made (``math.fsum``): every site finds the same bits.

Order of calls: ``pushes_of`` → ``too_far`` → (accepted) ``farthest_of`` for the next block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...privacy.accounting.plan import Plan
from ..errors import ProtocolError
from .optimizer import Momentum, OptimizerState

SURELY = math.log(1e5)  # t: of 10^5 honest blocks one or so is taken for a push, as for people who appear (verdict.py)
# Of what noise pushes in a block: how far a later block may push back. tests/core/test_movement.py computes what it is.
TAKEN_BACK = 0.25
PIECE = 1 << 16  # numbers at a time that become Python's

Farthest = tuple[float, float]  # of place and rest: squared lengths without the noise's, the largest accepted so far


@dataclass(frozen=True)
class Push:
    """One squared length: ``squared`` as it is, and what noise adds to it.

    ``noise``: Σv_i, the mean of that; ``spread``: √Σv_i²; ``largest``: max v_i; ``sampled``: what drawing people for
    each step adds at most. All in squares of the gradient's unit.
    """

    squared: float
    noise: float
    spread: float
    largest: float
    sampled: float

    @property
    def beyond_noise(self) -> float:
        """What is left without noise, at least 0."""
        return max(0.0, self.squared - self.noise)

    def surely_exceeds(self, length: float) -> bool:
        """Whether people pushed farther than ``length`` (squared), as far as noise goes."""
        reach = 2 * math.sqrt((self.spread**2 + 2 * self.largest * length) * SURELY) + 2 * self.largest * SURELY
        return self.squared > length + self.sampled + self.noise + reach


def pushes_of(
    before: OptimizerState, now: OptimizerState, *, optimizer: Momentum, plan: Plan, cohorts: Sequence[int]
) -> tuple[Push, Push]:
    """What pushed ``before`` to ``now``: place and rest. ``cohorts``: how many sites were in each step between.

    Raises:
        ProtocolError: ``MOVES_FOREIGN`` unless there is one cohort for each update between the two.
        BadParametersError: ``NO_SUCH_COHORT``.
    """
    steps = now.updates - before.updates
    if steps < 1 or len(cohorts) != steps:
        raise ProtocolError("MOVES_FOREIGN", "the steps between two states are not those that are told")
    momentum, rate = optimizer.momentum, optimizer.learning_rate
    kept = momentum**steps
    felt = [_geometric(momentum, steps - place) for place in range(steps)]
    # w_k = w_0 − η·(v_0·(μ + … + μ^k) + Σ a_j·g_j)
    moved = (before.vector - now.vector) / rate - before.velocity * (momentum * felt[0])
    # Σ g_j = (1 − μ)·Σ a_j·g_j + μ·Σ μ^(k−j)·g_j
    rest = moved * (1 - momentum) + (now.velocity - before.velocity * kept) * momentum
    return (
        _push(moved, felt, before, optimizer, plan, cohorts),
        _push(rest, [1.0] * steps, before, optimizer, plan, cohorts),
    )


def too_far(pushes: tuple[Push, Push], farthest: Farthest | None) -> bool:
    """Whether a block is to be rejected for what pushed it; ``farthest`` None where none was accepted before."""
    if farthest is None:
        return False
    return any(one.surely_exceeds(allowed(one, most)) for one, most in zip(pushes, farthest, strict=True))


def allowed(push: Push, farthest: float) -> float:
    """How far (squared) people may push in this block, where ``farthest`` is what they did before."""
    return max(farthest, push.noise) + TAKEN_BACK * push.noise


def farthest_of(pushes: tuple[Push, Push], farthest: Farthest | None) -> Farthest:
    """What later blocks are compared with, once this one is accepted."""
    place, rest = (max(one.beyond_noise, most) for one, most in zip(pushes, farthest or (0.0, 0.0), strict=True))
    return place, rest


def _geometric(ratio: float, terms: int) -> float:
    return math.fsum(ratio**term for term in range(terms))


def _push(
    vector: NDArray[np.float64],
    weights: Sequence[float],
    before: OptimizerState,
    optimizer: Momentum,
    plan: Plan,
    cohorts: Sequence[int],
) -> Push:
    unit = (float(plan.clipping_norm) / plan.grid / optimizer.expected_sample) ** 2
    # of each step: its weight's square, its noise, and the coordinates that rest in it and so feel none
    each = [
        (weight**2 * unit * _variance(plan, cohort), optimizer.schedule.resting(before.updates + place))
        for place, (weight, cohort) in enumerate(zip(weights, cohorts, strict=True))
    ]
    # a coordinate feels the steps in which it does not rest: as many kinds as there are lengths of what rests
    edges = sorted({0, vector.size, *(resting for _, resting in each)})
    kinds = [
        (last - first, math.fsum(variance for variance, resting in each if resting <= first))
        for first, last in pairwise(edges)
    ]
    drawn = (1 - float(plan.sampling_rate)) * plan.expected_sample * plan.grid_bound_squared * unit
    return Push(
        squared=_squared(vector),
        noise=math.fsum(count * variance for count, variance in kinds),
        spread=math.sqrt(math.fsum(count * variance**2 for count, variance in kinds)),
        largest=max(variance for _, variance in kinds),
        sampled=drawn * math.fsum(weight**2 for weight in weights),
    )


def _variance(plan: Plan, cohort: int) -> float:
    # as of opened counts: a rounded entry varies by at most a quarter of a grid unit squared
    return cohort * plan.share_variance(cohort) + plan.expected_sample / 4


def _squared(vector: NDArray[np.float64]) -> float:
    pieces = (vector[start : start + PIECE] for start in range(0, vector.size, PIECE))
    return math.fsum(math.fsum((piece * piece).tolist()) for piece in pieces)
