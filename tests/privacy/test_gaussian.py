"""The noise is the discrete Gaussian: entry by entry, in its moments, and against OpenDP."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.mechanism import gaussian
from sekisho.privacy.mechanism.gaussian import SAMPLER_TOTAL_VARIATION, DiscreteGaussian
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.tests.oracles.discrete_gaussian import cumulative_magnitudes, opendp_sample, probabilities, tail


def _entries(variance: int) -> list[int]:
    table = gaussian._build(variance)
    return [int(high) << 64 | int(low) for high, low in zip(table.upper, table.lower, strict=True)]


class _Given(SecretStream):
    """Reads out given 64-bit words, then falls back to real ones."""

    def __init__(self, words: list[int]) -> None:
        super().__init__()
        self._given = words

    def uint64(self, count: int) -> NDArray[np.uint64]:
        now, self._given = self._given[:count], self._given[count:]
        return np.array(now, dtype=np.uint64) if now else super().uint64(count)


@pytest.mark.parametrize("variance", [1, 2, 16, 17, 2025, 90_001])
def test_every_entry_is_the_floor_of_the_exact_probability(variance: int) -> None:
    entries = _entries(variance)
    assert entries == cumulative_magnitudes(variance, len(entries))


@pytest.mark.parametrize("variance", [1, 16, 2025, 122_852_009, 16_384**2])
def test_the_stated_total_variation_holds(variance: int) -> None:
    entries = _entries(variance)
    assert entries == sorted(entries)
    # The largest magnitude that is drawn is len(entries); what lies beyond is cut.
    assert tail(variance, len(entries)) + (len(entries) + 1) * 2.0**-128 <= SAMPLER_TOTAL_VARIATION


def test_128_bits_decide_where_64_tie() -> None:
    distribution = DiscreteGaussian(2025)
    table = distribution._table
    for place in (0, 1, 50, 200):
        high, low = int(table.upper[place]), int(table.lower[place])
        for below, expected in ((low - 1, place), (low, place + 1), (low + 1, place + 1)):
            stream = _Given([high, below])
            assert abs(distribution.sample(stream, 1)[0]) == expected


def test_in_the_far_tail_many_entries_tie_and_all_are_told_apart() -> None:
    distribution = DiscreteGaussian(2025)
    table = distribution._table
    top = np.flatnonzero(table.upper == table.upper[-1])
    assert len(top) > 1
    for place in top:
        stream = _Given([int(table.upper[place]), int(table.lower[place]) - 1])
        entry = table.lower[top] <= np.uint64(int(table.lower[place]) - 1)
        assert abs(distribution.sample(stream, 1)[0]) == top[0] + entry.sum()


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
def test_the_pieces_in_which_noise_is_drawn_do_not_show(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution = DiscreteGaussian(2025)
    table = distribution._table
    # the second and the last draw tie, so that two words of lower halves are read after all draws
    draws = [int(word) for word in SecretStream(bytes(32)).uint64(count)]
    for place in {min(1, count - 1), count - 1}:
        draws[place] = int(table.upper[50])
    low = [int(table.lower[50]) - 1, int(table.lower[50]) + 1][: len({min(1, count - 1), count - 1})]
    drawn = []
    for piece in (1 << 16, 8):
        monkeypatch.setattr(gaussian, "_PIECE", piece)
        stream = _Given(draws + low)
        monkeypatch.setattr(stream, "bytes", SecretStream(bytes(32)).bytes)
        drawn.append(distribution.sample(stream, count))
    assert (drawn[0] == drawn[1]).all()
    assert abs(drawn[1][min(1, count - 1)]) == 50


@pytest.mark.parametrize("variance", [1, 16, 2500])
def test_frequencies_are_those_of_the_exact_distribution(variance: int) -> None:
    count = 200_000
    draws = DiscreteGaussian(variance).sample(SecretStream(), count)
    reach = 12 * int(variance**0.5) + 12
    expected = probabilities(variance, reach) * count
    observed = np.bincount(draws + reach, minlength=2 * reach + 1)
    usual = np.flatnonzero(expected > 20)
    first, last = usual[0], usual[-1]

    def pooled(counts: NDArray[Any]) -> NDArray[Any]:  # what is rarer on either side counts with the outermost
        return np.array([counts[: first + 1].sum(), *counts[first + 1 : last], counts[last:].sum()])

    statistic = ((pooled(observed) - pooled(expected)) ** 2 / pooled(expected)).sum()
    freedom = last - first
    assert abs(statistic - freedom) < 6 * np.sqrt(2 * freedom) + 10


def test_opendp_draws_from_the_same_distribution() -> None:
    ours = DiscreteGaussian(100).sample(SecretStream(), 40_000)
    theirs = opendp_sample(100, 40_000)
    grid = np.arange(-60, 61)
    gap = np.abs(
        np.searchsorted(np.sort(ours), grid, "right") - np.searchsorted(np.sort(theirs), grid, "right")
    ).max()
    assert gap / 40_000 < 3.2 * np.sqrt(2 / 40_000)  # Kolmogorov-Smirnov, once in 10^8
    assert abs(ours.var() / theirs.var() - 1) < 6 * np.sqrt(4 / 40_000)


def test_the_largest_noise_has_its_moments_and_no_memory() -> None:
    variance = 122_852_009
    draws = DiscreteGaussian(variance).sample(SecretStream(), 200_000) / variance**0.5
    n = len(draws)
    assert abs(draws.mean()) < 6 / np.sqrt(n)
    assert abs(draws.var() - 1) < 6 * np.sqrt(2 / n)
    assert abs((draws**4).mean() - 3) < 6 * np.sqrt(96 / n)
    assert abs((draws[1:] * draws[:-1]).mean()) < 6 / np.sqrt(n)
    assert abs((np.sign(draws[1:]) * np.abs(draws[:-1])).mean()) < 6 / np.sqrt(n)


def test_the_same_key_gives_the_same_noise_everywhere() -> None:
    """A golden vector: tables come from integers alone, so no machine may differ."""
    narrow = DiscreteGaussian(2025).sample(SecretStream(bytes(32)), 12)
    wide = DiscreteGaussian(122_852_009).sample(SecretStream(bytes(32)), 6)
    assert narrow.tolist() == [35, 9, -6, 55, -34, 12, 6, -32, -29, 3, -24, -81]
    assert wide.tolist() == [8624, -2226, -1465, 13523, -8408, 3038]


@pytest.mark.parametrize("variance", [0, -1, 16_384**2 + 1, 4.0, True])
def test_a_variance_out_of_range_is_refused(variance: int) -> None:
    with pytest.raises(BadParametersError) as refused:
        DiscreteGaussian(variance)
    assert refused.value.code == "BAD_VARIANCE"
