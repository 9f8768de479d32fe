"""The probe's gradients are the loss's, and a record's has the same bits whoever stands beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.errors import BadInputError
from sekisho.core.training.probe import ProbeTask, scores

WIDTH = 384
TASK = ProbeTask(WIDTH)


def made(count: int, seed: int = 0, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, WIDTH))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features, (random.random(count) < 0.6).astype(np.float64), random.normal(size=WIDTH + 1) * scale


def test_gradients_are_those_of_the_loss_by_finite_differences() -> None:
    features, labels, vector = made(5, scale=2.0)

    def loss(row: int, at: np.ndarray) -> float:
        score = float(features[row] @ at[:-1] + at[-1])
        return math.log1p(math.exp(-score)) if labels[row] else math.log1p(math.exp(score))

    gradients = TASK.gradients(features, labels, vector)
    for row in range(5):
        for place in (0, 17, WIDTH - 1, WIDTH):
            ahead, behind = vector.copy(), vector.copy()
            ahead[place] += 1e-6
            behind[place] -= 1e-6
            assert gradients[row, place] == pytest.approx((loss(row, ahead) - loss(row, behind)) / 2e-6, abs=1e-7)


def test_gradients_agree_with_automatic_differentiation() -> None:
    torch = pytest.importorskip("torch")
    features, labels, vector = made(20, seed=3, scale=3.0)
    expected = []
    for row, label in zip(torch.from_numpy(features), torch.from_numpy(labels), strict=True):
        at = torch.from_numpy(vector.copy()).requires_grad_(True)
        score = row @ at[:-1] + at[-1]
        torch.nn.functional.binary_cross_entropy_with_logits(score, label).backward()
        expected.append(at.grad.numpy())
    assert np.allclose(TASK.gradients(features, labels, vector), np.array(expected), rtol=1e-12, atol=1e-15)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 70))
def test_taking_records_away_or_moving_them_changes_no_other_record_by_a_bit(seed: int, count: int) -> None:
    features, labels, vector = made(count, seed)
    whole = TASK.gradients(features, labels, vector)
    random = np.random.default_rng(seed)
    kept = random.permutation(count)[: random.integers(1, count + 1)]
    assert TASK.gradients(features[kept], labels[kept], vector).tobytes() == whole[kept].tobytes()
    for row in kept[:3]:
        alone = TASK.gradients(features[row : row + 1], labels[row : row + 1], vector)
        assert alone.tobytes() == whole[row].tobytes()


def test_a_neighbour_that_is_not_finite_stays_by_itself() -> None:
    features, labels, vector = made(9)
    whole = TASK.gradients(features, labels, vector)
    features[4] = np.inf
    with np.errstate(invalid="ignore"):
        broken = TASK.gradients(features, labels, vector)
    assert not np.isfinite(broken[4]).all()
    others = [0, 1, 2, 3, 5, 6, 7, 8]
    assert broken[others].tobytes() == whole[others].tobytes()


def test_scores_far_out_neither_overflow_nor_vanish() -> None:
    features = np.eye(WIDTH)[:2]
    vector = np.zeros(WIDTH + 1)
    vector[:2] = 1e4, -1e4
    gradients = TASK.gradients(features, np.array([1.0, 0.0]), vector)
    assert np.isfinite(gradients).all() and np.abs(gradients).max() < 1e-300
    assert scores(features, vector).tolist() == [1e4, -1e4]


def test_no_record_gives_no_gradient() -> None:
    gradients = TASK.gradients(np.empty((0, WIDTH)), np.empty(0), np.zeros(WIDTH + 1))
    assert gradients.shape == (0, WIDTH + 1)


def test_a_probe_of_another_size_is_refused() -> None:
    with pytest.raises(BadInputError) as caught:
        scores(np.zeros((2, WIDTH)), np.zeros(WIDTH))
    assert caught.value.code == "PROBE_SHAPE"
