"""What pushed a block is told from noise: whatever a liar's direction, its length shows, and noise alone does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sekisho.core.errors import ProtocolError
from sekisho.core.training.movement import TAKEN_BACK, Farthest, Push, allowed, farthest_of, pushes_of, too_far
from sekisho.core.training.optimizer import Momentum, OptimizerState
from sekisho.core.training.schedule import Schedule
from sekisho.privacy.accounting.accountant import build_plan
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.budget import Unit

D, STEPS, SITES = 385, 15, 5
MOMENTUM = 0.9


def plan_of(rate: str = "1") -> Plan:
    return build_plan(
        unit=Unit.SUBJECT, epsilon=Decimal(3), delta=Decimal("0.00001"), steps=60, allowance=20,
        sampling_rate=Decimal(rate), clipping_norm=Decimal("0.4"), dimension=D, sites=SITES, minimum_sites=3,
        observers=1, subjects=[330] * SITES, records_per_subject=6,
    )  # fmt: skip


PLAN = plan_of()
OPTIMIZER = Momentum(3.35, MOMENTUM, PLAN.expected_sample)
START = OptimizerState.start(np.zeros(D))
COHORTS = [SITES] * STEPS
LONGEST = PLAN.expected_sample * float(PLAN.clipping_norm)  # everybody declared, all one way
NOISE = float(PLAN.clipping_norm) / PLAN.grid * math.sqrt(SITES * PLAN.share_variance(SITES))


def moved(
    sums: Sequence[NDArray[np.float64]], before: OptimizerState = START, optimizer: Momentum = OPTIMIZER
) -> OptimizerState:
    for one in sums:
        before = optimizer.step(before, one)
    return before


def pushes(sums: Sequence[NDArray[np.float64]], before: OptimizerState = START) -> tuple[Push, Push]:
    return pushes_of(
        before, moved(sums, before), optimizer=OPTIMIZER, plan=PLAN, cohorts=[SITES] * len(sums)
    )


def noise(seed: int, steps: int = STEPS) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(steps, D)) * NOISE


def direction(seed: int) -> NDArray[np.float64]:
    one = np.random.default_rng(seed).normal(size=D)
    return np.asarray(one / np.linalg.norm(one))


@settings(max_examples=30)
@given(momentum=st.sampled_from([0.0, 0.2, 0.9]), steps=st.integers(1, 20), head=st.integers(0, D), seed=st.integers(0))
def test_both_pushes_are_the_weighted_sums_that_they_are_said_to_be(
    momentum: float, steps: int, head: int, seed: int
) -> None:
    """From any state, at any momentum, and whatever rests at first; as is their noise, kind by kind."""
    optimizer = Momentum(2.0, momentum, PLAN.expected_sample, Schedule(head_steps=7, head=head))
    rng = np.random.default_rng(seed)
    before = OptimizerState(rng.normal(size=D), rng.normal(size=D), np.zeros(D), updates=3)
    sums = rng.normal(size=(steps, D)) * LONGEST
    now = moved(sums, before, optimizer)
    found = pushes_of(before, now, optimizer=optimizer, plan=PLAN, cohorts=[SITES] * steps)
    applied = sums / PLAN.expected_sample
    applied[: max(0, 7 - 3), :head] = 0.0  # what rests
    weights = (
        np.array([sum(momentum**power for power in range(steps - place)) for place in range(steps)]), np.ones(steps)
    )  # fmt: skip
    one = (NOISE / PLAN.expected_sample) ** 2
    for push, weight in zip(found, weights, strict=True):
        felt = np.array([[weight[step] ** 2 if number >= head or step >= 4 else 0.0 for step in range(steps)]
                         for number in range(D)]).sum(axis=1) * one  # fmt: skip
        assert push.squared == pytest.approx(float(np.sum((weight @ applied) ** 2)), rel=1e-9)
        assert push.noise == pytest.approx(float(felt.sum()), rel=1e-3)
        assert push.spread == pytest.approx(math.sqrt(float(np.sum(felt**2))), rel=1e-3)
        assert push.largest == pytest.approx(float(felt.max()), rel=1e-3)
        assert push.sampled == 0.0


def test_no_noise_is_expected_where_nothing_trains() -> None:
    """All but ten numbers rest in the first ten of fifteen steps: there the noise of five steps is all there is."""
    optimizer = Momentum(3.35, 0.0, PLAN.expected_sample, Schedule(head_steps=10, head=D - 10))
    _, rest = pushes_of(START, moved(noise(1), START, optimizer), optimizer=optimizer, plan=PLAN, cohorts=COHORTS)
    one = (NOISE / PLAN.expected_sample) ** 2
    assert rest.noise == pytest.approx(((D - 10) * 5 + 10 * 15) * one, rel=1e-3)
    assert not rest.surely_exceeds(0.0)


def test_noise_alone_is_no_push_and_what_is_left_of_it_is_about_nothing() -> None:
    found = [pushes(noise(seed)) for seed in range(300)]
    for which in range(2):
        left = np.array([one[which].squared / one[which].noise - 1 for one in found])
        assert abs(left.mean()) < 5 * math.sqrt(2 / D / 300)
        assert not any(one[which].surely_exceeds(0.0) for one in found)


@pytest.mark.parametrize("seed", range(5))
def test_a_long_vector_is_seen_in_whatever_direction_it_points_and_a_harmless_one_is_not(seed: int) -> None:
    farthest = farthest_of(pushes(noise(seed) + 0.04 * LONGEST * direction(1)), None)
    assert not too_far(pushes(noise(100 + seed)), farthest)
    for times, seen in ((0.9, True), (0.2, True), (0.09, True), (0.03, False)):
        assert too_far(pushes(noise(200 + seed) + times * LONGEST * direction(10 + seed)), farthest) is seen


def test_who_pushes_and_takes_it_back_is_seen_by_where_the_state_is_or_by_where_it_goes() -> None:
    farthest = farthest_of(pushes(noise(1) + 0.04 * LONGEST * direction(1)), None)
    back_and_forth = np.where(np.arange(STEPS) < 8, 7 / 8, -1.0)  # no push in sum, but early ones moved the state more
    felt = np.array([sum(MOMENTUM**power for power in range(STEPS - place)) for place in range(STEPS)])
    kick = np.where(np.arange(STEPS) < 8, -felt[8:].sum() / felt[:8].sum(), 1.0)  # the state stays, and is thrown
    for weights, which in ((back_and_forth, 0), (kick, 1)):
        sums = noise(2) + np.outer(weights, 0.9 * LONGEST * direction(3))
        place, rest = pushes(sums)
        assert too_far((place, rest), farthest)
        hidden = (place, rest)[1 - which]
        assert not hidden.surely_exceeds(allowed(hidden, farthest[1 - which]))


def test_the_first_block_has_nothing_to_be_compared_with_and_later_ones_the_longest() -> None:
    huge, small = pushes(noise(1) + LONGEST * direction(1)), pushes(noise(2))
    assert not too_far(huge, None)
    farthest = farthest_of(small, farthest_of(huge, None))
    assert farthest == tuple(one.beyond_noise for one in huge)
    assert farthest_of(small, (0.0, 0.0)) == tuple(max(0.0, one.squared - one.noise) for one in small)


def test_a_first_block_that_was_held_back_does_not_make_honest_ones_too_far() -> None:
    held_back = farthest_of(pushes(noise(1)), None)
    honest = [pushes(noise(seed) + 0.04 * LONGEST * direction(seed)) for seed in range(20)]
    assert not any(too_far(one, held_back) for one in honest)
    assert all(one.surely_exceeds(most) for pair in honest for one, most in zip(pair, (0.0, 0.0), strict=True))


def test_a_push_is_of_the_steps_between_two_states_and_of_no_others() -> None:
    now = moved(noise(1))
    for before, cohorts in ((START, COHORTS[1:]), (now, []), (now, COHORTS)):
        with pytest.raises(ProtocolError) as refused:
            pushes_of(before, now, optimizer=OPTIMIZER, plan=PLAN, cohorts=cohorts)
        assert refused.value.code == "MOVES_FOREIGN"


def test_who_is_drawn_for_each_step_may_differ_without_being_a_push() -> None:
    plan = plan_of("0.1")
    optimizer = Momentum(3.35, MOMENTUM, plan.expected_sample)
    found = pushes_of(START, moved(noise(1), START, optimizer), optimizer=optimizer, plan=plan, cohorts=COHORTS)
    # each of those drawn has C or less, alone or not: n·C²·(1 − q) a step, in units over n
    assert found[1].sampled == pytest.approx(STEPS * 0.9 * 0.4**2 / plan.expected_sample, rel=0.01)


def swing(curvature: float, momentum: float, steps: int, blocks: int = 6) -> Farthest:
    """By how many times the noise in it a block's square exceeds the noise, along a direction of this curvature (η·h).

    Exactly, by covariances: from rest at the best place, after as many blocks as make it largest.
    """
    move, kick = np.array([[1 - curvature, -momentum], [curvature, momentum]]), np.array([-1.0, 1.0])
    powers = [np.eye(2)]
    for _ in range(steps):
        powers.append(powers[-1] @ move)
    weights = np.array([sum(momentum**power for power in range(steps - place)) for place in range(steps)])
    most = [-1.0, -1.0]
    for which, weight in enumerate((weights, np.ones(steps))):
        known, fresh = np.zeros(2), weight.copy()
        for step in range(steps):
            known += weight[step] * curvature * powers[step][0]
            for earlier in range(step):
                fresh[earlier] += weight[step] * curvature * float(powers[step - 1 - earlier][0] @ kick)
        covariance = np.zeros((2, 2))
        for _ in range(blocks * steps):
            covariance = move @ covariance @ move.T + np.outer(kick, kick)
            square = (np.sum(fresh**2) + known @ covariance @ known) / np.sum(weight**2)
            most[which] = max(most[which], float(square) - 1)
    return most[0], most[1]


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("steps", [3, 5, 15, 20])
def test_what_training_takes_back_of_earlier_noise_is_within_what_is_allowed(momentum: float, steps: int) -> None:
    """All curvature together is at most 1 + μ (the public rule for the rate); it lies wherever it swings the most."""
    curvatures = np.geomspace(1e-3, 1 + momentum, 25)
    each = [max(swing(float(one), momentum, steps)) / one for one in curvatures]
    assert max(0.0, *each) * (1 + momentum) / D < TAKEN_BACK


def test_control_where_every_direction_is_as_curved_as_it_can_be_more_is_taken_back() -> None:
    assert max(swing(1.75, 0.9, STEPS)) > 2 * TAKEN_BACK
