"""Who takes part in a step of training: each by a coin of its own, afresh in every step, and never cut.

On ``train_step`` itself, since a sampler that is right can be used wrongly. A false alarm of any test here is rarer
than once in 10^9.
"""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import numpy as np
import pytest

from sekisho.core.training.training import TrainingData, train_step
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.tests.core.test_training import HALF, PLAN, STATE, data_of, dataset

SUBJECTS = 60
REPEATS = 200


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return data_of(dataset(*[1] * SUBJECTS))


def sampled(data: TrainingData, rate: str, stream: SecretStream, step: int = 1) -> int:
    plan = dataclasses.replace(HALF, sampling_rate=Decimal(rate))
    return train_step(data, data.rows_of.keys(), STATE, plan=plan, step=step, stream=stream).clipped.subjects


def test_the_sample_of_a_step_is_as_large_as_chance_will_have_it(data: TrainingData) -> None:
    """Batches of a fixed size, shuffled or not, have no spread; a batch that is cut has too little."""
    sizes = np.array([sampled(data, "0.5", SecretStream()) for _ in range(REPEATS)])
    mean, variance = SUBJECTS / 2, SUBJECTS / 4
    assert abs(sizes.mean() - mean) < 7 * np.sqrt(variance / REPEATS)
    assert abs(sizes.var() / variance - 1) < 7 * np.sqrt(2 / REPEATS)


def test_nobody_is_left_out_because_the_sample_is_larger_than_expected(data: TrainingData) -> None:
    few = dataclasses.replace(PLAN, expected_sample=5)
    update = train_step(data, data.rows_of.keys(), STATE, plan=few, step=1, stream=SecretStream())
    assert update.clipped.subjects == SUBJECTS


def test_who_takes_part_is_not_the_same_whenever_a_step_is_taken(data: TrainingData) -> None:
    """Coins from the study's seed, however mixed with the step, would fall alike in every run."""
    assert len({sampled(data, "0.5", SecretStream(), step=2) for _ in range(20)}) > 1


def test_nobody_sampled_is_a_sample(data: TrainingData) -> None:
    assert sampled(data, "0.000000000000000001", SecretStream()) == 0
