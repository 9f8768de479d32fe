"""A linearised model: its gradients are the model's own at the reference, and its neighbours' never."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.core.errors import ProtocolError
from sekisho.core.training.base_features import BaseFeatures
from sekisho.core.training.lora import LoraTask
from sekisho.core.training.lora_layout import LoraSettings
from sekisho.core.training.rows import PrefixRows
from sekisho.core.training.tangent import RADIUS, LinearisedTask, TangentRows
from sekisho.tests.core.test_lora import encoder, labels, state, texts

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")

COUNT = 24
SETTINGS = LoraSettings(seed=1, layers=(2,), targets=("intermediate", "query"), rank=3, alpha=1)


@pytest.fixture(scope="module")
def plain() -> LoraTask:
    return LoraTask(encoder(), SETTINGS)


@pytest.fixture
def task(plain: LoraTask) -> LinearisedTask:
    return LinearisedTask(plain, BaseFeatures(plain), keep=True)


@pytest.fixture
def rows(task: LinearisedTask) -> TangentRows:
    return task.load(texts(COUNT))


def small(task: LinearisedTask, size: float = 0.01) -> NDArray[np.float64]:
    """A state at which every derivative is shorter than the radius, so that none is scaled."""
    vector = task.initial() + size * np.random.default_rng(3).standard_normal(task.dimension)
    return vector.astype(np.float32).astype(np.float64)


def test_at_the_reference_the_gradient_is_the_models_own(
    plain: LoraTask, task: LinearisedTask, rows: TangentRows
) -> None:
    vector, said = small(task), labels(COUNT)
    own = plain.gradients(rows.known.states, said, vector)
    for keep in (True, False):
        linear = LinearisedTask(plain, BaseFeatures(plain), keep=keep)
        seen = linear.load(texts(COUNT))
        linear.linearise(seen, vector)
        found = linear.gradients(seen, said, vector)
        assert np.linalg.norm(found - own) < 1e-6 * np.linalg.norm(own)


def test_away_from_it_the_log_odds_move_along_the_derivative(
    plain: LoraTask, task: LinearisedTask, rows: TangentRows
) -> None:
    reference = small(task)
    task.linearise(rows, reference)
    away = reference + 1e-3 * np.random.default_rng(5).standard_normal(task.dimension)
    log_odds, derivatives = plain.derivatives(rows.known.states, reference)
    score = log_odds + derivatives @ (away - reference)
    residual = 1 / (1 + np.exp(-score)) - labels(COUNT)
    found = task.gradients(rows, labels(COUNT), away)
    assert np.allclose(found, derivatives * residual[:, None], rtol=1e-4, atol=1e-6)
    # and the log odds themselves follow the model to second order
    assert np.abs(score - task.scores(rows, away)).max() < 1e-3


def test_where_the_head_is_zero_only_the_head_has_a_derivative(
    plain: LoraTask, task: LinearisedTask, rows: TangentRows
) -> None:
    start = task.initial()
    task.linearise(rows, start)
    found = task.gradients(rows, labels(COUNT), start)
    own = plain.gradients(rows.known.states, labels(COUNT), start)
    assert not own[:, : task.head].any() and not found[:, : task.head].any()
    assert np.allclose(found, own, rtol=1e-6, atol=1e-7)


def test_no_derivative_is_longer_than_the_radius(task: LinearisedTask, rows: TangentRows) -> None:
    vector = state(task.task.layout) * 20  # type: ignore[attr-defined]
    task.linearise(rows, vector)
    said = np.zeros(COUNT)
    found = np.linalg.norm(task.gradients(rows, said, vector), axis=1)
    probabilities = 1 / (1 + np.exp(-task.scores(rows, vector)))
    lengths = np.linalg.norm(task.task.derivatives(rows.known.states, vector)[1], axis=1)
    assert (lengths > RADIUS).any(), "nothing was long enough to be scaled: the test says nothing"
    assert (found <= RADIUS * probabilities * (1 + 1e-6)).all()
    unscaled = lengths <= RADIUS
    assert np.allclose(found[unscaled], (lengths * probabilities)[unscaled], rtol=1e-4)


@pytest.mark.parametrize("keep", [True, False])
def test_taking_records_away_or_asking_in_another_order_moves_no_other_by_a_bit(plain: LoraTask, keep: bool) -> None:
    def gradients(places: Sequence[int], asked_before: Sequence[int] = ()) -> NDArray[np.float64]:
        task = LinearisedTask(plain, BaseFeatures(plain), keep=keep)
        rows = task.load([given[place] for place in places])
        task.linearise(rows, reference)
        if asked_before:
            task.gradients(rows[np.array(asked_before)], said[list(places)][list(asked_before)], vector)
        return task.gradients(rows, said[list(places)], vector)

    given, said = texts(COUNT), labels(COUNT)
    shape = LinearisedTask(plain, BaseFeatures(plain), keep=keep)
    reference = state(plain.layout)
    vector = reference + 0.01 * np.random.default_rng(9).standard_normal(shape.dimension)
    whole = gradients(range(COUNT))
    for gone in (0, 7, COUNT - 1):
        left = [place for place in range(COUNT) if place != gone]
        assert gradients(left).tobytes() == whole[left].tobytes()
    assert gradients(range(COUNT), asked_before=(5, 3)).tobytes() == whole.tobytes()
    assert gradients(range(COUNT - 1, -1, -1))[::-1].tobytes() == whole.tobytes()


def test_a_new_reference_forgets_what_was_seen_from_the_old_one(task: LinearisedTask, rows: TangentRows) -> None:
    said, first, second = labels(COUNT), small(task), small(task, 0.02)
    task.linearise(rows, first)
    before = task.gradients(rows, said, first)
    task.linearise(rows, second)
    there = task.gradients(rows, said, second)
    task.linearise(rows, first)
    assert task.gradients(rows, said, first).tobytes() == before.tobytes()
    fresh = task.load(texts(COUNT))
    task.linearise(fresh, second)
    assert task.gradients(fresh, said, second).tobytes() == there.tobytes()


def test_a_derivative_is_computed_once_a_reference_and_only_of_records_that_are_asked_for(plain: LoraTask) -> None:
    asked: list[int] = []

    class Counting(LoraTask):
        def derivatives(self, rows: PrefixRows, vector: NDArray[np.float64]) -> Any:
            asked.append(len(rows))
            return super().derivatives(rows, vector)

    counting = Counting(encoder(), SETTINGS)
    task = LinearisedTask(counting, BaseFeatures(counting), keep=True)
    rows = task.load(texts(COUNT))
    vector = small(task)
    for _ in range(2):
        task.linearise(rows, vector)
        task.gradients(rows[np.arange(10)], labels(COUNT)[:10], vector)
    task.gradients(rows[np.arange(5, 15)], labels(COUNT)[5:15], vector)
    assert asked == [10, 5]


def test_without_a_reference_there_is_no_gradient_and_nothing_shows_itself(
    task: LinearisedTask, rows: TangentRows
) -> None:
    with pytest.raises(ProtocolError) as caught:
        task.gradients(rows, labels(COUNT), task.initial())
    assert caught.value.code == "NOT_LINEARISED" and repr(rows) == "TangentRows(...)"


def test_a_text_is_computed_once_whoever_asks_and_again_when_it_was_forgotten(plain: LoraTask) -> None:
    asked: list[int] = []

    class Counting(LoraTask):
        def load(self, texts: Sequence[str]) -> PrefixRows:
            asked.append(len(texts))
            return super().load(texts)

    base, fresh = BaseFeatures(Counting(encoder(), SETTINGS)), BaseFeatures(plain)
    given = [*texts(6), texts(6)[0]]
    together = base.of(given)
    assert asked == [6] and base.of(given[:2]).tobytes() == together[:2].tobytes()
    assert base.states(given)[np.array([1])].states[0].tobytes() == fresh.states(given[1:2]).states[0].tobytes()
    # beside others or alone, before or after them: the same bits
    for place, text in enumerate(given):
        fresh.forget()
        assert fresh.of([text]).tobytes() == together[place : place + 1].tobytes()
    base.forget()
    assert base.of(given).tobytes() == together.tobytes() and asked == [6, 6]
