"""What can be tried on everything that a coordinator received, by somebody who also knows what it ought to reveal.

``alarms`` gets a view (words of all frames) and the truth (every site's integer update in every step) and returns the
tests that see something. Under masks and encryption every word is uniform and independent of the truth. Then counts in
equal cells have Pearson's chi-square; and as a uniform field is as often positive as negative, the correlation of signs
z = Σ sign(x)·sign(y) / √d is a sum of fair coins, whose p-value is at most 2·exp(−z²/2) (Hoeffding 1963, theorem 2),
however small the update or however large a few of its coordinates. With the correction of Bonferroni over all tests,
one look at a view that shows nothing raises an alarm with probability ``FALSE_ALARM``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from sekisho.privacy.encryption.packing import unpack
from sekisho.privacy.encryption.presets import Preset

FALSE_ALARM = 1e-6

Key = tuple[str, int]  # site, step
Words = NDArray[np.uint64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """Words of every frame, uniform below ``modulus`` if they show nothing: q as received, 2^48 once decrypted."""

    words: Mapping[Key, Words]
    modulus: int
    preset: Preset
    dimension: int

    @property
    def sites(self) -> list[str]:
        return sorted({site for site, _ in self.words})

    @property
    def steps(self) -> list[int]:
        return sorted({step for _, step in self.words})

    def add(self, *terms: tuple[int, Words]) -> Words:
        """A linear combination of words modulo ``modulus``: all that homomorphic addition allows."""
        total = sum(sign * words.astype(object) for sign, words in terms)
        return np.array([int(word) % self.modulus for word in total], dtype=np.uint64)

    def fields(self, words: Words) -> NDArray[np.float64]:
        """The integers that ``words`` would hold if nothing hid them, float64 [d] within −1/2 … 1/2, symmetric."""
        plain = 1 << self.preset.plain_bits
        near = [(int(word) * plain + self.modulus // 2) // self.modulus % plain for word in words]
        values = unpack(np.array(near, dtype=np.uint64), self.preset, self.dimension)
        return (values + 0.5) / (1 << self.preset.width)


def alarms(view: View, truth: Mapping[Key, Integers]) -> dict[str, float]:
    """The tests that see something, each with its p-value; empty when the view shows nothing."""
    looked = {**_uniform(view), **_correlated(view, truth)}
    return {name: p for name, p in looked.items() if p < FALSE_ALARM / len(looked)}


def even(cells: NDArray[np.int64], count: int) -> tuple[float, int]:
    """Pearson's chi-square of ``cells`` being equally frequent in 0 … count − 1, and its degrees of freedom."""
    expected = cells.size / count
    assert expected >= 5, "too few values for so many cells"
    return float(((np.bincount(cells, minlength=count) - expected) ** 2 / expected).sum()), count - 1


def _uniform(view: View) -> dict[str, float]:
    singles = np.concatenate(list(view.words.values()))
    fields = np.concatenate([view.fields(words) for words in view.words.values()])
    later = np.concatenate([step[0] for step in _differences(view)])
    summed = np.concatenate([view.add(*((1, view.words[site, step]) for site in view.sites)) for step in view.steps])
    places = ((fields + 0.5) * 64).astype(np.int64)
    return {
        "bytes of words": _bytes_even(singles, view.modulus),
        "bits of words": _bits_even(singles, view.modulus),
        "bytes of differences between steps": _bytes_even(later, view.modulus),
        "bytes of sums": _bytes_even(summed, view.modulus, digits=4),
        "sizes of fields": float(chi2.sf(*even(places, 64))),
    }


def _bytes_even(words: Words, modulus: int, digits: int = 8) -> float:
    """All digits of ``digits`` bits, together; a modulus just below a power of two makes each digit uniform."""
    found = [
        even((words >> np.uint64(low) & np.uint64((1 << digits) - 1)).astype(np.int64), 1 << digits)
        for low in range(0, (modulus - 1).bit_length() - digits + 1, digits)
    ]
    return float(chi2.sf(sum(value for value, _ in found), sum(freedom for _, freedom in found)))


def _bits_even(words: Words, modulus: int) -> float:
    bits = (modulus - 1).bit_length()
    ones = [int((words >> np.uint64(bit) & np.uint64(1)).sum()) for bit in range(bits)]
    return float(chi2.sf(sum((2 * one - words.size) ** 2 / words.size for one in ones), bits))


def _differences(view: View) -> list[tuple[Words, str, int]]:
    pairs = zip(view.steps, view.steps[1:], strict=False)
    return [
        (view.add((1, view.words[site, later]), (-1, view.words[site, step])), site, step)
        for step, later in pairs
        for site in view.sites
    ]


def _correlated(view: View, truth: Mapping[Key, Integers]) -> dict[str, float]:
    singles = {key: view.fields(words) for key, words in view.words.items()}
    sums = {step: np.sum([truth[site, step] for site in view.sites], axis=0) for step in view.steps}
    summed = {step: view.fields(view.add(*((1, view.words[site, step]) for site in view.sites))) for step in view.steps}
    own = [_agree(values, truth[key]) for key, values in singles.items()]
    others = [
        _agree(values, truth[other, step])
        for (site, step), values in singles.items()
        for other in view.sites
        if other != site
    ]
    # neighbouring differences share a frame; every second one keeps the terms independent
    moves = [
        _agree(view.fields(words), truth[site, step + 1] - truth[site, step])
        for words, site, step in _differences(view)
        if step % 2
    ]
    return {
        "own update": _p(own),
        "one own update": min(1.0, len(own) * min(_p([one]) for one in own)),
        "one update of another site": min(1.0, len(others) * min(_p([one]) for one in others)),
        "sum, in single frames": _p([_agree(values, sums[step]) for (_, step), values in singles.items()]),
        "sum, in sums of frames": _p([_agree(summed[step], sums[step]) for step in view.steps]),
        "differences between steps": _p(moves),
    }


def _agree(values: NDArray[np.float64], direction: Integers) -> NDArray[np.float64]:
    """+1 where the signs are equal, −1 where they are not; coordinates in which nothing is to be seen are left out."""
    told = direction != 0
    return np.sign(values[told]) * np.sign(direction[told])


def _p(agreements: list[NDArray[np.float64]]) -> float:
    coins = np.concatenate(agreements)
    z = float(coins.sum()) / math.sqrt(max(coins.size, 1))
    return min(1.0, 2 * math.exp(-z * z / 2))
