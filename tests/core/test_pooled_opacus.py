"""The yardstick of benchmarks/utility.py and the product's training are the same algorithm, written twice.

Without noise both walk the same path; with noise both are spread as the heavy ball spreads it. So a difference in AUC
between them is one of noise, not of recipe. Each comparison is shown to notice a recipe that differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.benchmarks import pooled_opacus
from sekisho.benchmarks.pooled_opacus import Recipe
from sekisho.benchmarks.simulation import Federation, train
from sekisho.core.methods import Method
from sekisho.core.training.task import TextProbe
from sekisho.core.training.tasks import Tasks
from sekisho.core.training.training import TrainingData
from sekisho.privacy.accounting.plan import Plan

WIDTH, STEPS, ALLOWANCE = 24, 12, 3
FEDERATION = Federation((40, 30, 50), minimum_sites=3, observers=1, records_per_subject=4)
SETTINGS = Method.model_validate(
    {
        "epsilon": "8",
        "delta": "0.00001",
        "steps": STEPS,
        "allowance": ALLOWANCE,
        "clipping_norm": "0.4",
        "sampling_rate": "1",
        "learning_rate": "3.35",
        "momentum": "0.9",
        "seed": 1,
    }
)
RECIPE = Recipe(
    steps=STEPS, clipping_norm=0.4, noise=0.0, learning_rate=3.35, momentum=0.9, expected=120, most_records=4
)
# Rounding moves a coordinate by half a grid unit a subject and step at most; twelve steps, and floats of 32 bits.
AGREE = 2e-3


class _Given:
    """Features that are given."""

    def __init__(self, width: int = WIDTH) -> None:
        self.width = width

    def of(self, texts: Sequence[str]) -> NDArray[np.float64]:
        raise AssertionError("no text is read here")


def sites(width: int = WIDTH) -> list[TrainingData]:
    """Three sites' subjects with one to four records each."""
    drawn, task, made = np.random.default_rng(5), TextProbe(_Given(width)), []
    direction = drawn.normal(size=width)
    for site, count in enumerate(FEDERATION.subjects):
        counts = drawn.integers(1, 5, size=count - 3)  # three fewer than declared, as in life
        rows = drawn.normal(size=(int(counts.sum()), width))
        labels = (rows @ direction + drawn.normal(size=len(rows)) > 0.5).astype(np.float64)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        places = np.split(np.arange(len(rows)), np.cumsum(counts)[:-1])
        rows_of = {f"{site}-{number:03d}": own.astype(np.int64) for number, own in enumerate(places)}
        made.append(TrainingData(task, rows, labels, MappingProxyType(rows_of)))
    return made


def subjects(data: Sequence[TrainingData]) -> list[pooled_opacus.Subject]:
    return [(np.asarray(one.rows)[own], one.labels[own]) for one in data for own in one.rows_of.values()]


def plan_and_tasks(width: int = WIDTH) -> tuple[Plan, Tasks]:
    tasks = Tasks(None, [SETTINGS], _Given(width))  # type: ignore[arg-type]  # a probe never asks for the base model
    return FEDERATION.plan(SETTINGS, width + 1), tasks


def theirs(recipe: Recipe, data: Sequence[pooled_opacus.Subject], seed: int = 0) -> NDArray[np.float64]:
    return np.append(*pooled_opacus.train(data, recipe, seed=seed))


def noiseless() -> tuple[NDArray[np.float64], list[pooled_opacus.Subject]]:
    plan, tasks = plan_and_tasks()
    data = sites()
    return train(data, SETTINGS, plan, tasks, seed=0, noise=0.0), subjects(data)


def test_without_noise_both_walk_the_same_path() -> None:
    ours, pooled = noiseless()
    assert np.abs(ours).max() > 0.5
    assert np.abs(theirs(RECIPE, pooled) - ours).max() < AGREE


@pytest.mark.parametrize(
    "changed",
    [
        {"clipping_norm": 0.41},
        {"clipping_norm": 100.0},
        {"momentum": 0.89},
        {"learning_rate": 3.3},
        {"expected": 118},
        {"steps": STEPS - 1},
        {"most_records": 3},
    ],
)
def test_a_recipe_that_differs_is_noticed(changed: dict[str, float]) -> None:
    ours, pooled = noiseless()
    assert np.abs(theirs(replace(RECIPE, **changed), pooled) - ours).max() > 2 * AGREE


def test_clipping_records_instead_of_subjects_is_noticed() -> None:
    ours, pooled = noiseless()
    single = [
        (rows[place : place + 1], labels[place : place + 1]) for rows, labels in pooled for place in range(len(rows))
    ]
    assert np.abs(theirs(RECIPE, single) - ours).max() > 2 * AGREE


def spread(noise: float) -> float:
    """Standard deviation that ``noise`` alone gives a coordinate of the last state: the heavy ball's own sums."""
    weights = [sum(0.9**age for age in range(left)) for left in range(1, STEPS + 1)]
    return float(3.35 * noise * 0.4 / 120 * np.sqrt(np.square(weights).sum()))


def test_with_noise_both_are_spread_as_their_noise_says() -> None:
    """On features of zeros the weights hold nothing but noise. 1,200 of them each: 6.5 deviations are 13 %."""
    width, runs = 400, 3
    plan, tasks = plan_and_tasks(width)
    data = [replace(one, rows=np.zeros_like(one.rows)) for one in sites(width)]
    noise = np.sqrt(3 * plan.share_variance(3)) / plan.grid

    def off(found: list[NDArray[np.float64]]) -> float:
        return abs(np.std(found) / spread(noise) - 1)

    seen = 6.5 / np.sqrt(2 * runs * width)
    assert off([theirs(replace(RECIPE, noise=noise), subjects(data), seed)[:-1] for seed in range(runs)]) < seen
    assert off([train(data, SETTINGS, plan, tasks, seed=seed)[:-1] for seed in range(runs)]) < seen
    # A trusted curator's noise (T = 0) is 18 % less and would be seen.
    curator = replace(RECIPE, noise=noise / np.sqrt(3 / 2))
    assert off([theirs(curator, subjects(data), seed)[:-1] for seed in range(runs)]) > seen


@pytest.mark.parametrize("epsilon", [1, *(pytest.param(large, marks=pytest.mark.proof) for large in (3, 8))])
def test_both_calibrations_agree(epsilon: int) -> None:
    """σ of a plan (three sites, T = 1) is at most 1 % above dp_accounting's own search: grid, reserve, rounding."""
    own = SETTINGS.model_copy(update={"epsilon": Decimal(epsilon)})
    plan = FEDERATION.plan(own, WIDTH + 1)
    honest = np.sqrt(2 * plan.share_variance(3)) / plan.grid
    least = pooled_opacus.noise_multiplier(float(epsilon), 1e-5, STEPS + ALLOWANCE)
    assert least <= honest <= 1.01 * least
