"""A whole run under a rotated preset: one rotation for every site, another each step, undone where it is applied.

What every site adds up is noted where it is computed, as the run has it and once more without rotation; what is opened
where it is opened; and what moves the state where it moves it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.core.coordinator.coordinator import RunResult
from sekisho.core.pilot.federation import Federation
from sekisho.core.site import step
from sekisho.core.training.optimizer import Momentum
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.mechanism.rotation import Rotation, block_size

from . import study_folder
from .books import open_federation
from .study_folder import SITES, HashedFeatures

STEPS = 2
WIDTH = 1500  # one block of 1,024 coordinates, and one that overlaps it
DEVIATIONS = 7


class WideFeatures(HashedFeatures):
    """Enough coordinates for a rotation to spread over."""

    width = WIDTH

    def _row(self, text: str) -> NDArray[np.float64]:
        narrow = HashedFeatures()._row(text)
        return np.append(narrow, np.zeros(WIDTH - narrow.size))


@dataclass
class Seen:
    """One run from within, by step."""

    plan: Plan
    result: RunResult | None = None
    rotations: dict[int, list[Rotation]] = field(default_factory=dict)
    clean: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict)
    plain: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict)
    opened: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    applied: list[NDArray[np.float64]] = field(default_factory=list)
    states: set[str] = field(default_factory=set)


def watched(federation: Federation) -> Seen:
    seen = Seen(federation.plan("probe"))
    real_train, real_open, real_step = step.train_step, step.open_previous, Momentum.step

    def train(*given: Any, **named: Any) -> Any:
        update = real_train(*given, **named)
        # a training step only derives from its secret stream, so the same draws are made again
        plain = dataclasses.replace(named["plan"], preset="1x48")
        again = real_train(*given, **{**named, "plan": plain, "rotation": None})
        for notes, value in (
            (seen.rotations, named["rotation"]), (seen.clean, update.clipped.total), (seen.plain, again.clipped.total)
        ):  # fmt: skip
            notes.setdefault(named["step"], []).append(value)
        return update

    def opening(message: Any, state: Any, **named: Any) -> Any:
        number = state.step
        found = real_open(message, state, **named)
        if found is not None:
            seen.opened[number] = found
        return found

    def moved(self: Momentum, state: Any, gradient_sum: NDArray[np.float64]) -> Any:
        seen.applied.append(gradient_sum.copy())
        return real_step(self, state, gradient_sum)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "train_step", train)
        patch.setattr(step, "open_previous", opening)
        patch.setattr(Momentum, "step", moved)
        try:
            seen.result = federation.run("probe")
            seen.states = {site.state.optimizer.digest() for site in federation.sites.values() if site.state}
        finally:
            federation.close()
    return seen


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    study = study_folder.build(tmp_path_factory.mktemp("rotated") / "study", steps=STEPS)
    return watched(open_federation(study, features=WideFeatures()))


def test_the_rule_chooses_rotated_fields_by_itself(seen: Seen) -> None:
    assert seen.plan.preset == "3x16-rotated" and seen.plan.dimension == WIDTH + 1
    assert seen.plan.dimension % block_size(seen.plan.dimension) != 0
    assert seen.plan.grid_bound_squared <= 1.01**2 * seen.plan.grid**2


def test_every_site_rotates_alike_and_each_step_otherwise(seen: Seen) -> None:
    by_step = [set(rotations) for rotations in seen.rotations.values()]
    assert [len(rotations) for rotations in seen.rotations.values()] == [len(SITES)] * STEPS
    assert [len(rotations) for rotations in by_step] == [1] * STEPS
    assert len(set.union(*by_step)) == STEPS
    assert all(len(rotation.seed) == 32 for rotations in by_step for rotation in rotations)


def test_what_is_applied_is_the_sum_in_the_adapters_own_coordinates(seen: Seen) -> None:
    """Sites note what they would have summed without rotating; only the noise and two roundings lie between."""
    assert len(seen.applied) == STEPS * len(SITES)
    for number in range(1, STEPS + 1):
        applied = seen.applied[(number - 1) * len(SITES)]
        rotation = seen.rotations[number][0]
        noise = seen.opened[number] - np.sum(seen.clean[number], axis=0)
        between = applied / seen.plan.grid_unit - rotation.back(noise.astype(np.float64))
        plain = np.sum(seen.plain[number], axis=0)
        # an entry is rounded twice, each time with a variance of at most a quarter a subject
        assert np.abs(between - plain).max() < DEVIATIONS * np.sqrt(seen.plan.expected_sample / 2)
        assert np.abs(plain).max() > 50 * np.sqrt(seen.plan.expected_sample / 2), "there is something to see"


def test_the_noise_is_the_plans_before_and_after_the_way_back(seen: Seen) -> None:
    declared = len(SITES) * seen.plan.share_variance(len(SITES))
    for number, opened in seen.opened.items():
        noise = (opened - np.sum(seen.clean[number], axis=0)).astype(np.float64)
        for values in (noise, seen.rotations[number][0].back(noise)):
            assert abs(float(np.mean(values**2)) / declared - 1) < DEVIATIONS * np.sqrt(2 / values.size)


def test_no_sum_comes_near_the_edge_of_its_field(seen: Seen) -> None:
    """What rotating is for: the same sums without it would not fit."""
    edge = 2**15 - 1
    assert max(np.abs(opened).max() for opened in seen.opened.values()) < edge
    assert seen.plan.expected_sample * seen.plan.grid > edge


def test_every_site_ends_at_the_same_state(seen: Seen) -> None:
    assert seen.result is not None and seen.result.state_macs_agree and len(seen.states) == 1
    assert all(np.array_equal(seen.applied[0], other) for other in seen.applied[: len(SITES)])
