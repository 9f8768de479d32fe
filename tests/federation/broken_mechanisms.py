"""Mechanisms that are broken in one way each, put in the place of the real one: positive controls of the audits.

Each is a function of a ``MonkeyPatch``. Where the product itself would notice (a vector longer than C_grid is refused
before it is added), that refusal is taken away as well: an audit must find what is broken without it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.core.gate import gate
from sekisho.core.site import step
from sekisho.core.training import training
from sekisho.privacy.gradients import clipping
from sekisho.privacy.mechanism import mechanism, rounding
from sekisho.privacy.mechanism.gaussian import DiscreteGaussian
from sekisho.privacy.mechanism.mechanism import Noised
from sekisho.privacy.mechanism.randomness import SecretStream

Break = Callable[[pytest.MonkeyPatch], None]


def _each_draw(patch: pytest.MonkeyPatch, change: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> None:
    real = DiscreteGaussian.sample
    patch.setattr(DiscreteGaussian, "sample", lambda self, stream, count: change(real(self, stream, count)))


def noise_off(patch: pytest.MonkeyPatch) -> None:
    _each_draw(patch, np.zeros_like)


def noise_halved(patch: pytest.MonkeyPatch) -> None:
    _each_draw(patch, lambda noise: np.rint(noise / 2).astype(np.int64))


def noise_uniform(patch: pytest.MonkeyPatch) -> None:
    """The right variance and another shape."""

    def flat(noise: NDArray[np.int64]) -> NDArray[np.int64]:
        reach = int(np.sqrt(3 * np.mean(np.square(noise.astype(float)))))
        return (SecretStream().uint64(noise.size) % np.uint64(2 * reach + 1)).astype(np.int64) - reach

    _each_draw(patch, flat)


def noise_even(patch: pytest.MonkeyPatch) -> None:
    """Drawn on a grid twice as coarse, as scaled floats are."""
    _each_draw(patch, lambda noise: noise // 2 * 2)


def noise_of_the_smallest_cohort(patch: pytest.MonkeyPatch) -> None:
    """Scaled for m sites while more take part."""
    real = mechanism.add_share

    def for_the_fewest(total: NDArray[np.int64], plan: Any, **named: Any) -> Noised:
        fewest = plan.share_variance(plan.minimum_sites)
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(mechanism, "DiscreteGaussian", lambda variance: DiscreteGaussian(fewest))
            return real(total, plan, **named)

    patch.setattr(gate, "add_share", for_the_fewest)


def one_share_missing(patch: pytest.MonkeyPatch) -> None:
    """The first site of every three forgets its noise; the sum has two shares of three."""
    real, counter = gate.add_share, itertools.count()

    def forgetful(total: NDArray[np.int64], *more: Any, **named: Any) -> Noised:
        noised = real(total, *more, **named)
        return replace(noised, values=total) if next(counter) % 3 == 0 else noised

    patch.setattr(gate, "add_share", forgetful)


def one_key_for_all_sites(patch: pytest.MonkeyPatch) -> None:
    """A fresh key a step, which all sites share: their shares are one share."""
    keys: list[bytes] = []
    counter = itertools.count()

    def stream() -> SecretStream:
        if next(counter) % 3 == 0:
            keys.append(np.random.default_rng().bytes(32))
        return SecretStream(keys[-1])

    patch.setattr(step, "SecretStream", stream)


def one_key_for_all_steps(patch: pytest.MonkeyPatch) -> None:
    """Each site its own key, and the same at every step: the training seed's, for instance."""
    numbers = itertools.cycle(range(3))
    patch.setattr(step, "SecretStream", lambda: SecretStream(bytes([next(numbers)]) * 32))


def _without_the_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rounding, "_within", lambda whole, bound: True)


def clip_at_twice_the_norm(patch: pytest.MonkeyPatch) -> None:
    real = clipping._clipped
    _without_the_check(patch)
    patch.setattr(clipping, "_clipped", lambda row, bound: real(row, 2 * bound))


def clip_each_record(patch: pytest.MonkeyPatch) -> None:
    """Every record has its bound, and their sum has none."""
    real_clip, real_sums = clipping._clipped, clipping.subject_sums
    _without_the_check(patch)
    patch.setattr(clipping, "_clipped", lambda row, bound: row)

    def sums(gradients: NDArray[np.float64], subjects: NDArray[np.int64], count: int) -> NDArray[np.float64]:
        # the designs' own C: 1 for canaries, 0.4 for the oracle's gradients
        norm = 0.4 if gradients.shape[1] == 48 else 1.0
        return real_sums(np.stack([real_clip(row, norm) for row in gradients]), subjects, count)

    patch.setattr(training, "subject_sums", sums)


def clip_off(patch: pytest.MonkeyPatch) -> None:
    _without_the_check(patch)
    patch.setattr(clipping, "_clipped", lambda row, bound: row)


def round_down(patch: pytest.MonkeyPatch) -> None:
    """Truncation in the place of stochastic rounding: within the bound, and biased."""
    patch.setattr(rounding, "np", _Numpy())


class _Numpy(ModuleType):
    """numpy whose floor is a truncation toward zero; the fraction above it is dropped."""

    def __init__(self) -> None:
        super().__init__("numpy")

    def __getattr__(self, name: str) -> Any:
        return np.trunc if name == "floor" else getattr(np, name)


@dataclass
class Shares:
    """What each site added, in the order of a step's sites; for observers who know their own."""

    sites: int
    noise: list[NDArray[np.int64]] = field(default_factory=list)
    totals: list[NDArray[np.int64]] = field(default_factory=list)

    @classmethod
    def recorded(cls, patch: pytest.MonkeyPatch, *, sites: int) -> Shares:
        """Record from now on. Every site works as it does; only this test remembers."""
        shares, real = cls(sites), gate.add_share

        def add_share(total: NDArray[np.int64], *more: Any, **named: Any) -> Noised:
            noised = real(total, *more, **named)
            shares.noise.append(noised.values - total)
            shares.totals.append(total)
            return noised

        patch.setattr(gate, "add_share", add_share)
        return shares

    def of(self, place: int) -> NDArray[np.int64]:
        """int64 [steps, d]: everything that the site at ``place`` sent, its own subjects' sum and its noise."""
        sent = [noise + total for noise, total in zip(self.noise, self.totals, strict=True)]
        return np.stack(sent[place :: self.sites])
