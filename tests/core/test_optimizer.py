"""Every site computes the same state, bit for bit, and the step size follows from public figures."""

from __future__ import annotations

import struct
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.errors import BadInputError, ProtocolError
from sekisho.core.training.optimizer import Momentum, OptimizerState, public_learning_rate
from sekisho.core.training.schedule import Schedule

RULE = Momentum(learning_rate=3.35, momentum=0.9, expected_sample=1530)


def run(optimizer: Momentum, sums: np.ndarray) -> OptimizerState:
    state = OptimizerState.start(np.zeros(sums.shape[1]))
    for opened in sums:
        state = optimizer.step(state, opened)
    return state


def test_a_step_is_heavy_ball_momentum_on_the_mean_gradient() -> None:
    state = run(Momentum(0.5, 0.25, 4), np.array([[8.0, -4.0], [4.0, 0.0]]))
    # v: 2, 0.5 + 1; w: -1, -1 - 0.75
    assert state.velocity.tolist() == [1.5, -0.25]
    assert state.vector.tolist() == [-1.75, 0.625]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), width=st.integers(1, 100))
def test_the_state_does_not_depend_on_vector_width_or_order_of_coordinates(seed: int, width: int) -> None:
    random = np.random.default_rng(seed)
    sums = random.normal(size=(6, width)) * 300
    whole = run(RULE, sums)
    order = random.permutation(width)
    shuffled = run(RULE, np.ascontiguousarray(sums[:, order]))
    assert shuffled.vector.tobytes() == whole.vector[order].tobytes()
    single = run(RULE, np.ascontiguousarray(sums[:, :1]))
    assert single.vector.tobytes() == whole.vector[:1].tobytes()


def test_each_operation_is_rounded_once_as_ieee_754_says() -> None:
    state = OptimizerState(np.array([0.1]), np.array([0.3]), np.zeros(1))
    after = RULE.step(state, np.array([7.7]))

    def nearest(exact: Fraction) -> float:
        return float(exact)  # correctly rounded

    gradient = nearest(Fraction(7.7) / 1530)
    damped = nearest(Fraction(0.3) * Fraction(0.9))
    velocity = nearest(Fraction(damped) + Fraction(gradient))
    move = nearest(Fraction(velocity) * Fraction(3.35))
    vector = nearest(Fraction(0.1) - Fraction(move))
    assert (after.velocity[0], after.vector[0]) == (velocity, vector)


def test_the_digest_binds_every_bit_of_all_vectors_and_the_count() -> None:
    def zeros(count: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.zeros(count), np.zeros(count), np.zeros(count)

    digests = {OptimizerState(*zeros(), updates=updates).digest() for updates in (0, 1)}
    digests.add(OptimizerState(*zeros(4)).digest())
    tiny = struct.unpack("<d", struct.pack("<Q", 1))[0]
    for vector in range(3):
        for place in range(3):
            arrays = zeros()
            arrays[vector][place] = tiny
            digests.add(OptimizerState(*arrays).digest())
    assert len(digests) == 3 + 9


def test_a_state_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="read-only"):
        OptimizerState.start(np.zeros(2)).vector[0] = 1.0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ProtocolError) as caught:
        OptimizerState(np.zeros(2), np.zeros(3), np.zeros(2))
    assert caught.value.code == "STATE_MALFORMED"
    for opened in (np.zeros(3), np.zeros(2, dtype=np.int64), np.array([0.0, np.inf])):
        with pytest.raises(ProtocolError) as caught:
            RULE.step(OptimizerState.start(np.zeros(2)), opened)
        assert caught.value.code == "SUM_MALFORMED"
    for settings_ in ((0.0, 0.9, 1), (1.0, 1.0, 1), (1.0, -0.1, 1), (1.0, 0.9, 0), (float("nan"), 0.9, 1)):
        with pytest.raises(BadInputError):
            Momentum(*settings_)


def test_the_rule_for_the_learning_rate_is_half_of_what_is_stable() -> None:
    rate = public_learning_rate(Decimal("0.4"), Decimal("0.9"))
    assert rate == Decimal("3.35")
    assert float(rate) <= 1.9 / (2**0.5 * 0.4) < float(rate) + 0.01
    # what heavy ball bears at curvature L = √2·C is twice that: just inside it converges, just outside it does not
    curvature = 2**0.5 * 0.4
    for share, converges in ((1.0, True), (1.9, True), (2.1, False)):
        optimizer = Momentum(share * 1.9 / curvature, 0.9, 1)
        state = OptimizerState.start(np.array([1.0]))
        for _ in range(400):
            state = optimizer.step(state, state.vector * curvature)
        assert bool(abs(state.vector[0]) < 1e-3) is converges


@settings(max_examples=60, deadline=None)
@given(
    records=st.integers(1, 20), seed=st.integers(0, 2**32 - 1), bound=st.sampled_from([0.1, 0.4, 1.0]),
)  # fmt: skip
def test_a_clipped_subject_is_as_smooth_as_the_rule_says(records: int, seed: int, bound: float) -> None:
    random = np.random.default_rng(seed)
    record = np.append(random.normal(size=5), 0.0)
    record = np.append(record[:-1] / np.linalg.norm(record[:-1]), 1.0)

    def contribution(at: np.ndarray) -> np.ndarray:
        gradient = records * (1 / (1 + np.exp(-record @ at)) - 1.0) * record
        return gradient * min(1.0, bound / np.linalg.norm(gradient))

    one = random.normal(size=6) * 3
    other = one + random.normal(size=6) * 0.05
    moved = np.linalg.norm(contribution(one) - contribution(other))
    assert moved <= (2**0.5 * bound + 1e-9) * np.linalg.norm(one - other)


def test_the_head_trains_first_and_the_reference_moves_on_schedule() -> None:
    schedule = Schedule(head_steps=2, head=3, linear_steps=2)
    optimizer = Momentum(0.5, 0.9, 1, schedule)
    state = OptimizerState.start(np.zeros(5))
    references = []
    for step in range(1, 7):
        state = optimizer.step(state, np.ones(5))
        # what arrives for the adapter while it rests is noise: it moves nothing, and leaves no velocity behind
        assert bool(state.vector[:3].any()) is (step > 2) and state.vector[3:].all()
        references.append(state.reference.tobytes() == state.vector.tobytes())
    assert references == [False, True, False, True, False, True] and state.updates == 6


def test_without_a_schedule_everything_trains_and_the_reference_stays() -> None:
    state = run(RULE, np.ones((4, 3)))
    assert not state.reference.any() and state.vector.all()
