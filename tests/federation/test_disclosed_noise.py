"""The noise on what is opened, measured where it counts: gate, frame, sum, opening, in a whole run of five sites.

What every site adds up is noted where it is computed, and the opened sum where it is opened; what lies between them is
the noise that the other sites would have to see through. A false alarm of any test here is rarer than once in 10^9.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.core.coordinator.coordinator import RunResult
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.messages import SignedMessage
from sekisho.core.pilot.federation import Federation
from sekisho.core.site import step
from sekisho.privacy.accounting.plan import Plan

from . import study_folder
from .books import open_federation, spent
from .channels import Recording
from .study_folder import SITES, HashedFeatures
from .test_refusals import Withdrawing

STEPS = 2
WIDTH = 400
VALUES = STEPS * (WIDTH + 1)  # coordinates of noise that a run shows
DEVIATIONS = 7  # standard errors that a measured figure may be off: once in 10^11 for one figure


class WideFeatures(HashedFeatures):
    """Enough coordinates to measure a variance to 5 % in one run."""

    width = WIDTH


@dataclass
class Seen:
    """One run from within: every site's integer sums by step, what was opened, and who had been charged by then."""

    clean: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict)
    opened: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    charged_when_touched: list[tuple[int, int]] = field(default_factory=list)
    result: RunResult | None = None
    plan: Plan | None = None

    def noise(self, number: int) -> NDArray[np.float64]:
        """What is on the sum of a step besides the sites' own sums, in standard deviations of what the plan declares;
        float64 [d]."""
        assert self.plan is not None
        between = self.opened[number] - np.sum(self.clean[number], axis=0)
        return between / np.sqrt(len(SITES) * self.plan.share_variance(len(SITES)))

    def all_noise(self) -> NDArray[np.float64]:
        return np.concatenate([self.noise(number) for number in range(1, STEPS + 1)])


def watched(study: Path, *, withdraw: bool = False) -> Seen:
    """One run of ``study``, always under one name; with ``withdraw`` everybody withdraws before the first step."""
    seen = Seen()
    channels: list[Withdrawing] = []

    def wrap(channel: EmbeddedChannel) -> Withdrawing:
        channels.append(Withdrawing(channel, step=1, sites_of=SITES if withdraw else ()))
        return channels[0]

    federation = open_federation(study, wrap, features=WideFeatures())
    channels[0].registers.update({name: site.folder.register for name, site in federation.sites.items()})
    real_train, real_open = step.train_step, step.open_previous

    def train(*given: Any, **named: Any) -> Any:
        update = real_train(*given, **named)
        number = named["step"]
        sums = seen.clean.setdefault(number, [])
        ledger = federation.sites[SITES[len(sums)]].folder.ledger  # sites answer in order
        seen.charged_when_touched.append((spent(ledger).started, number))
        sums.append(update.clipped.total.copy())
        return update

    def opening(message: Any, state: Any, **named: Any) -> Any:
        number = state.step
        found = real_open(message, state, **named)
        if found is not None:
            seen.opened[number] = found
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "train_step", train)
        patch.setattr(step, "open_previous", opening)
        try:
            seen.plan = federation.plan("probe")
            seen.result = federation.run("probe", run="always-this-name")
        finally:
            federation.close()
    assert seen.result.state_macs_agree and sorted(seen.opened) == list(range(1, STEPS + 1))
    return seen


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_folder.build(tmp_path_factory.mktemp("noise") / "study", steps=STEPS)


@pytest.fixture
def fresh(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "study"))


@pytest.fixture(scope="module")
def seen(signed: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return watched(Path(shutil.copytree(signed, tmp_path_factory.mktemp("seen") / "study")))


def test_what_is_opened_carries_the_noise_that_the_plan_declares(seen: Seen) -> None:
    """Noise off shows as 0, halved as 0.25, one share for all five sites as 5."""
    noise = seen.all_noise()
    ratio = float(np.mean(noise**2))
    assert abs(ratio - 1) < DEVIATIONS * np.sqrt(2 / VALUES)
    assert abs(float(noise.mean())) < DEVIATIONS / np.sqrt(VALUES)


def test_no_two_steps_carry_the_same_noise(seen: Seen) -> None:
    alike = float(np.mean(seen.noise(1) * seen.noise(2)))
    assert abs(alike) < DEVIATIONS / np.sqrt(WIDTH)


def test_no_two_runs_of_one_study_carry_the_same_noise(seen: Seen, fresh: Path) -> None:
    """The same papers, records, keys and name of the run: whoever derived noise from them would draw it again."""
    alike = float(np.mean(seen.all_noise() * watched(fresh).all_noise()))
    assert abs(alike) < DEVIATIONS / np.sqrt(VALUES)


def test_a_step_is_charged_before_its_data_are_touched(seen: Seen) -> None:
    assert len(seen.charged_when_touched) == STEPS * len(SITES)
    assert all(started == number for started, number in seen.charged_when_touched)


def test_a_step_in_which_nobody_is_left_is_noised_and_charged_like_any_other(fresh: Path) -> None:
    nobody = watched(fresh, withdraw=True)
    assert not any(total.any() for sums in nobody.clean.values() for total in sums)
    ratio = float(np.mean(nobody.all_noise() ** 2))
    assert abs(ratio - 1) < DEVIATIONS * np.sqrt(2 / VALUES)
    charged = sorted({started for started, _ in nobody.charged_when_touched})
    assert charged == list(range(1, STEPS + 1))


def test_a_frame_that_is_asked_for_again_is_the_same_frame(fresh: Path) -> None:
    federations: list[Federation] = []
    frames: list[tuple[bytes, bytes]] = []

    class Twice(Recording):
        """Asks a site a second time for what it has just sealed."""

        def poll(self) -> Any:
            asked = dict(self.posted[-len(SITES) :])
            replies = super().poll()
            for reply in replies:
                if reply.data is not None and SignedMessage.from_bytes(reply.data).body.kind == "frame":
                    again = federations[0].sites[reply.site].handle(asked[reply.site])
                    frames.append((reply.data, again.to_bytes()))
            return replies

    federations.append(open_federation(fresh, Twice))
    try:
        federations[0].run("probe")
    finally:
        federations[0].close()
    assert len(frames) == STEPS * len(SITES)
    assert all(first == again for first, again in frames)
