"""Every subject is bounded, and no subject's integers depend on anybody else, to the last bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.gradients.clipping import clipped_integer_sum, integer_vectors, subject_sums
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.privacy.mechanism.rotation import Rotation, block_size
from sekisho.tests.privacy.test_plan import PLAN

SUBJECTS = 23
BOUND = float(PLAN.clipping_norm)


def _streams(subjects: NDArray[np.int64] | range) -> list[SecretStream]:
    step = SecretStream(bytes(range(32)))
    return [step.derive(b"subject %d" % subject) for subject in subjects]


def _records(seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    subject_of_row = rng.integers(0, SUBJECTS, 97)
    return rng.standard_normal((97, PLAN.dimension)) * rng.exponential(0.1, (97, 1)), subject_of_row


@pytest.mark.parametrize("seed", range(4))
def test_removing_one_subject_moves_nobody_elses_vector_by_a_bit(seed: int) -> None:
    gradients, subject_of_row = _records(seed)
    whole = integer_vectors(
        subject_sums(gradients, subject_of_row, SUBJECTS), plan=PLAN, streams=_streams(range(SUBJECTS))
    )
    for removed in range(SUBJECTS):
        rows = subject_of_row != removed
        stay = np.array([subject for subject in range(SUBJECTS) if subject != removed])
        renumbered = np.searchsorted(stay, subject_of_row[rows])
        sums = subject_sums(gradients[rows], renumbered, SUBJECTS - 1)
        without = integer_vectors(sums, plan=PLAN, streams=_streams(stay))
        assert (without == whole[stay]).all()


def test_where_a_row_lies_in_memory_does_not_matter() -> None:
    row = np.random.default_rng(0).standard_normal(PLAN.dimension) / 30
    expected = integer_vectors(row[None], plan=PLAN, streams=_streams(range(1)))
    for shift in range(9):
        buffer = np.zeros(PLAN.dimension + 16)
        buffer[shift : shift + PLAN.dimension] = row
        placed = buffer[shift : shift + PLAN.dimension][None]
        strided = np.asfortranarray(np.stack([row, row + 1]))[:1]
        for sums in (placed, strided):
            assert (integer_vectors(sums, plan=PLAN, streams=_streams(range(1))) == expected).all()


def test_the_sum_is_the_sum_of_the_checked_vectors() -> None:
    gradients, subject_of_row = _records(9)
    sums = subject_sums(gradients, subject_of_row, SUBJECTS)
    clipped = clipped_integer_sum(sums, plan=PLAN, streams=_streams(range(SUBJECTS)))
    vectors = integer_vectors(sums, plan=PLAN, streams=_streams(range(SUBJECTS)))
    assert (clipped.total == vectors.sum(axis=0)).all()
    assert clipped.total.dtype == np.int64 and clipped.subjects == SUBJECTS and clipped.truncated == 0
    assert ((vectors * vectors).sum(axis=1) <= PLAN.grid_bound_squared).all()


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.float64, (3, PLAN.dimension), elements=st.floats(width=64), fill=st.floats(width=64)))
def test_whatever_a_record_holds_nothing_raises_and_the_bound_holds(gradients: NDArray[np.float64]) -> None:
    with np.errstate(all="raise", under="ignore"):
        sums = subject_sums(gradients, np.array([0, 1, 0]), 2)
        vectors = integer_vectors(sums, plan=PLAN, streams=_streams(range(2)))
    squares = [sum(int(z) ** 2 for z in vector) for vector in vectors]
    assert max(squares) <= PLAN.grid_bound_squared


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_record_that_is_not_finite_contributes_zero_and_moves_nobody(poison: float) -> None:
    gradients, subject_of_row = _records(3)
    poisoned = gradients.copy()
    poisoned[5, 17] = poison
    kept = np.arange(len(gradients)) != 5
    assert (
        subject_sums(poisoned, subject_of_row, SUBJECTS)
        == subject_sums(gradients[kept], subject_of_row[kept], SUBJECTS)
    ).all()


def test_a_sum_that_overflows_contributes_zero() -> None:
    sums = subject_sums(np.full((2, PLAN.dimension), 1e308), np.array([0, 0]), 1)
    assert not integer_vectors(sums, plan=PLAN, streams=_streams(range(1))).any()


def test_clipping_is_per_subject_not_per_record() -> None:
    """Sixteen records of one person count like one: their sum is clipped, not each of them."""
    one = np.zeros((16, PLAN.dimension))
    one[:, 0] = BOUND
    sums = subject_sums(one, np.zeros(16, dtype=np.int64), 1)
    vector = integer_vectors(sums, plan=PLAN, streams=_streams(range(1)))[0]
    assert abs(vector[0] - PLAN.grid) <= 1 and not vector[1:].any()


def test_long_vectors_keep_their_direction_and_short_ones_their_length() -> None:
    rng = np.random.default_rng(2)
    direction = rng.standard_normal(PLAN.dimension)
    direction /= np.linalg.norm(direction)
    fine = dataclasses.replace(PLAN, grid=2**20)
    for length, expected in ((1e-3, 1e-3), (0.3, 0.3), (0.5, BOUND), (1e150, BOUND), (1e300, BOUND)):
        vector = integer_vectors((direction * length)[None], plan=fine, streams=_streams(range(1)))[0]
        assert np.abs(vector * fine.grid_unit - direction * expected).max() < 1.01 * fine.grid_unit


def test_subjects_without_rows_and_steps_without_subjects_give_zero() -> None:
    none = subject_sums(np.zeros((0, PLAN.dimension)), np.zeros(0, dtype=np.int64), 2)
    assert none.shape == (2, PLAN.dimension) and not none.any()
    empty = clipped_integer_sum(none[:0], plan=PLAN, streams=[])
    assert empty.subjects == 0 and empty.total.shape == (PLAN.dimension,) and not empty.total.any()


def test_what_does_not_belong_together_is_refused() -> None:
    gradients = np.zeros((3, PLAN.dimension))
    for subject_of_row in ([0, 1, 2], [0, -1, 0], [0, 1]):
        with pytest.raises(BadParametersError):
            subject_sums(gradients, np.array(subject_of_row), 2)
    with pytest.raises(BadParametersError):
        clipped_integer_sum(gradients, plan=PLAN, streams=_streams(range(2)))
    with pytest.raises(BadParametersError):
        clipped_integer_sum(gradients[:, 1:], plan=PLAN, streams=_streams(range(3)))


# -- rotated before rounding

ROTATED = dataclasses.replace(PLAN, preset="2x24-rotated", grid=700)
TURN = ROTATED.rotation(bytes(range(32)))
assert TURN is not None


@pytest.mark.parametrize("seed", range(3))
def test_rotated_or_not_removing_one_subject_moves_nobody_elses_vector_by_a_bit(seed: int) -> None:
    gradients, subject_of_row = _records(seed)
    sums = subject_sums(gradients, subject_of_row, SUBJECTS)
    whole = integer_vectors(sums, plan=ROTATED, streams=_streams(range(SUBJECTS)), rotation=TURN)
    for removed in range(SUBJECTS):
        stay = np.array([subject for subject in range(SUBJECTS) if subject != removed])
        without = integer_vectors(sums[stay], plan=ROTATED, streams=_streams(stay), rotation=TURN)
        assert (without == whole[stay]).all()


def test_the_integers_that_are_checked_are_the_rotated_ones() -> None:
    """What bounds a subject holds of the very vector that is added, and that is the rotated one, rounded."""
    gradients, subject_of_row = _records(4)
    sums = subject_sums(gradients * 100, subject_of_row, SUBJECTS)
    vectors = integer_vectors(sums, plan=ROTATED, streams=_streams(range(SUBJECTS)), rotation=TURN)
    squares = (vectors * vectors).sum(axis=1)
    assert (squares <= ROTATED.grid_bound_squared).all() and (squares > 0.9 * ROTATED.grid**2).all()
    for vector, own in zip(vectors, sums, strict=True):
        clipped = own * (BOUND / max(BOUND, float(np.linalg.norm(own))))
        assert np.abs(vector - TURN.forward(clipped) / ROTATED.grid_unit).max() < 1 + 1e-6
        assert np.abs(TURN.back(vector.astype(np.float64)) * ROTATED.grid_unit - clipped).max() < 0.5 * BOUND


def test_one_long_coordinate_is_spread_over_its_block() -> None:
    spike = np.zeros((1, PLAN.dimension))
    spike[0, 300] = 50.0
    fine = dataclasses.replace(ROTATED, grid=2**20)
    vector = integer_vectors(spike, plan=fine, streams=_streams(range(1)), rotation=TURN)[0]
    height = fine.grid / np.sqrt(block_size(PLAN.dimension))
    assert np.abs(vector).max() < 1.1 * height and np.count_nonzero(np.abs(vector) > 0.5 * height / 16) >= 256
    assert (vector.astype(object) ** 2).sum() <= fine.grid_bound_squared
    back = TURN.back(vector.astype(np.float64)) * fine.grid_unit
    assert np.abs(back - spike[0] * BOUND / 50.0).max() < 20 * fine.grid_unit


def test_the_sum_of_rotated_vectors_rotated_back_is_the_sum() -> None:
    gradients, subject_of_row = _records(5)
    sums = subject_sums(gradients, subject_of_row, SUBJECTS)
    fine = dataclasses.replace(ROTATED, grid=2**20)
    plain = clipped_integer_sum(
        sums, plan=dataclasses.replace(PLAN, grid=2**20), streams=_streams(range(SUBJECTS))
    )
    rotated = clipped_integer_sum(sums, plan=fine, streams=_streams(range(SUBJECTS)), rotation=TURN)
    back = TURN.back(rotated.total.astype(np.float64))
    # rounding alone is between them: 23 subjects' on either side, each with a variance of a quarter at most
    assert np.abs(back - plain.total).max() < 7 * np.sqrt(2 * SUBJECTS / 4)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.float64, (3, PLAN.dimension), elements=st.floats(width=64), fill=st.floats(width=64)))
def test_rotated_whatever_a_record_holds_nothing_raises_and_the_bound_holds(gradients: NDArray[np.float64]) -> None:
    with np.errstate(all="raise", under="ignore"):
        sums = subject_sums(gradients, np.array([0, 1, 0]), 2)
        vectors = integer_vectors(sums, plan=ROTATED, streams=_streams(range(2)), rotation=TURN)
    assert max(sum(int(z) ** 2 for z in vector) for vector in vectors) <= ROTATED.grid_bound_squared


def test_a_rotation_that_lengthens_is_refused_by_the_integer_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a rotation does, what bounds a subject is checked after it."""
    forward = Rotation.forward
    monkeypatch.setattr(Rotation, "forward", lambda self, vector: forward(self, vector) * 1.5)
    long = np.zeros((1, PLAN.dimension))
    long[0, 3] = 1.0
    with pytest.raises(BadParametersError) as refused:
        clipped_integer_sum(long, plan=ROTATED, streams=_streams(range(1)), rotation=TURN)
    assert refused.value.code == "NORM_ABOVE_BOUND"


def test_a_rotated_plan_without_a_rotation_is_refused_and_the_other_way_round() -> None:
    one, streams = np.zeros((1, PLAN.dimension)), _streams(range(1))
    for plan, turn in ((ROTATED, None), (PLAN, TURN), (ROTATED, Rotation(PLAN.dimension + 1, b""))):
        with pytest.raises(BadParametersError) as refused:
            clipped_integer_sum(one, plan=plan, streams=streams, rotation=turn)
        assert refused.value.code == "BAD_GRADIENTS"
