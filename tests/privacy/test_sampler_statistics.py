"""The noise as a stranger would examine it: moments, tails, frequencies, independence, by exact laws and by OpenDP.

Every test compares p-values with 10⁻¹⁰ divided by how many it looks at, so each raises a false alarm less than once in
10¹⁰ runs. Each is shown to notice a sampler that is wrong in its way (``WRONG``).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from sekisho.privacy.mechanism import gaussian
from sekisho.privacy.mechanism.gaussian import DiscreteGaussian
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.tests.oracles.discrete_gaussian import cumulative_magnitudes, opendp_sample, probabilities
from sekisho.tests.oracles.randomness import (
    FALSE_ALARM,
    correlation_p,
    count_p,
    decile_p,
    moment_p,
    pair_p,
    sign_p,
    two_sample_p,
    value_p,
)

# As plans have them: the least, a coarse grid, the example's probe with five makers and with three, the most.
VARIANCES = (16, 2025, 134_177_475, 268_354_949, 16_384**2)
WIDE = 134_177_475
COUNT = 200_000
MANY = 20_000_000  # of the proofs
CHUNK = 2_000_000
LAGS = (1, 2, 7, 8, 9, 64)  # a block of ChaCha20 holds eight words


def draw(variance: int, count: int = COUNT, key: bytes | None = None) -> NDArray[np.int64]:
    return DiscreteGaussian(variance).sample(SecretStream(key), count)


# --- samplers that are wrong, each in one way


def narrow(count: int = COUNT) -> NDArray[np.int64]:
    """3 % less deviation."""
    return DiscreteGaussian(round(WIDE * 0.97**2)).sample(SecretStream(), count)


def without_tails() -> NDArray[np.int64]:
    """Nothing beyond three deviations."""
    draws = draw(WIDE, 2 * COUNT)
    return draws[np.abs(draws) <= 3 * WIDE**0.5][:COUNT]


def other_shape() -> NDArray[np.int64]:
    """Laplace noise of the same variance."""
    return np.rint(np.random.default_rng().laplace(scale=(WIDE / 2) ** 0.5, size=COUNT)).astype(np.int64)


def sign_from_magnitude() -> NDArray[np.int64]:
    """Large draws are more often positive."""
    draws = np.abs(draw(WIDE))
    return np.where(np.random.default_rng().random(COUNT) < 0.5 + 0.05 * (draws > WIDE**0.5), draws, -draws)


def with_memory(kept: float) -> NDArray[np.int64]:
    """Every draw keeps a part of the one before."""
    draws = draw(WIDE)
    return draws + (np.roll(draws, 1) * kept).astype(np.int64)


def loud_after_loud() -> NDArray[np.int64]:
    """Uncorrelated, but now and then a magnitude is that of the draw before."""
    draws = draw(WIDE)
    repeated = np.random.default_rng().random(COUNT) < 0.05
    return np.where(repeated, np.sign(draws) * np.abs(np.roll(draws, 1)), draws)


def lag_p(draws: NDArray[np.int64]) -> float:
    """The smallest p-value of a correlation at any of ``LAGS``: of draws, of magnitudes, of signs with magnitudes."""
    values, loud, signs = draws / WIDE**0.5, np.abs(draws) / WIDE**0.5, np.sign(draws).astype(float)
    kinds = ((values, values), (loud, loud), (signs, loud), (loud, signs))
    return min(correlation_p(one[lag:], other[:-lag]) for lag in LAGS for one, other in kinds)


WRONG: dict[str, tuple[Callable[[], NDArray[np.int64]], Callable[[NDArray[np.int64]], float]]] = {
    "narrow noise, second moment": (narrow, lambda draws: moment_p(draws, WIDE, 2)),
    "narrow noise, fourth moment": (narrow, lambda draws: moment_p(draws, WIDE, 4)),
    "narrow noise, deciles": (narrow, lambda draws: decile_p(draws, WIDE)),
    "no tails, fourth moment": (without_tails, lambda draws: moment_p(draws, WIDE, 4)),
    "another law, deciles": (other_shape, lambda draws: decile_p(draws, WIDE)),
    "a sign that follows the magnitude": (sign_from_magnitude, lambda draws: sign_p(draws, WIDE)),
    "memory of 3 %, correlations": (lambda: with_memory(0.03), lag_p),
    "memory of 10 %, pairs": (lambda: with_memory(0.1), lambda draws: pair_p(draws[::2], draws[1::2], WIDE)),
    "loud after loud, correlations": (loud_after_loud, lag_p),
    "loud after loud, pairs": (loud_after_loud, lambda draws: pair_p(draws[::2], draws[1::2], WIDE)),
    "narrow noise, two samples": (lambda: narrow(2 * COUNT), lambda draws: two_sample_p(draws, draw(WIDE, 2 * COUNT))),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_sampler_is_noticed(name: str) -> None:
    made, p_value = WRONG[name]
    assert p_value(made()) < FALSE_ALARM


# --- the product's


@pytest.mark.parametrize("variance", [1, *VARIANCES])
def test_second_and_fourth_moment_are_those_of_the_exact_law(variance: int) -> None:
    draws = draw(variance)
    assert min(moment_p(draws, variance, order) for order in (2, 4)) > FALSE_ALARM / 2
    assert abs(draws.mean()) < 7 * (max(variance, 1) / COUNT) ** 0.5  # once in 4·10^11


@pytest.mark.parametrize("variance", [1, 16, 2025])
def test_single_values_are_as_frequent_as_the_exact_law_says(variance: int) -> None:
    assert value_p(draw(variance), variance) > FALSE_ALARM


@pytest.mark.parametrize("variance", VARIANCES)
def test_deciles_hold_a_tenth_each(variance: int) -> None:
    assert decile_p(draw(variance), variance) > FALSE_ALARM


@pytest.mark.parametrize("variance", VARIANCES)
def test_the_sign_knows_nothing_of_the_magnitude(variance: int) -> None:
    assert sign_p(draw(variance), variance) > FALSE_ALARM


def test_a_draw_knows_nothing_of_the_draws_before() -> None:
    draws = draw(WIDE)
    assert lag_p(draws) > FALSE_ALARM / (4 * len(LAGS))
    assert min(pair_p(draws[lag:][::2], draws[:-lag][::2], WIDE) for lag in LAGS) > FALSE_ALARM / len(LAGS)


def test_streams_know_nothing_of_each_other() -> None:
    """Two labels, two steps, a stream and its child, two keys that differ in one bit."""
    parent = SecretStream()
    labels = [parent.derive(label) for label in (b"noise", b"training", b"noise/1", b"noise/2")]
    near = bytes(31) + b"\x01", bytes(31) + b"\x02"
    streams = [parent, *labels, *(SecretStream(key) for key in near)]
    drawn = [DiscreteGaussian(WIDE).sample(stream, COUNT) for stream in streams]
    pairs = [(one, other) for place, one in enumerate(drawn) for other in drawn[:place]]
    assert min(pair_p(*pair, WIDE) for pair in pairs) > FALSE_ALARM / len(pairs)
    # The same label twice is the same stream: this is what the test above must be able to see.
    again = DiscreteGaussian(WIDE).sample(parent.derive(b"noise"), COUNT)
    assert pair_p(again, drawn[1], WIDE) == 0.0


def test_shares_of_several_sites_add_up_to_their_common_variance() -> None:
    total = sum(draw(WIDE) for _ in range(5))
    assert moment_p(total, 5 * WIDE, 2) > FALSE_ALARM
    assert decile_p(total, 5 * WIDE) > FALSE_ALARM


def test_opendp_cannot_be_told_from_ours() -> None:
    for variance in (1, WIDE):
        assert two_sample_p(draw(variance, 20_000), opendp_sample(variance, 20_000)) > FALSE_ALARM / 2


# --- the far tail, where no number of draws suffices: words are chosen instead of waited for


class _From(SecretStream):
    """Words uniform in [first, 2⁶⁴): the draws are those beyond a magnitude, at their true proportions."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self._first = first

    def uint64(self, count: int) -> NDArray[np.uint64]:
        words = super().uint64(count)
        # A word of the range by multiplication; its bias is below 2⁻⁶⁴ · range, far under what can be seen.
        span = 2**64 - self._first
        return np.array([self._first + (int(word) * span >> 64) for word in words], dtype=np.uint64)


@pytest.mark.parametrize("deviations", [4, 5, 6])
@pytest.mark.parametrize("variance", [2025, WIDE])
def test_the_tail_beyond_has_its_exact_shape(variance: int, deviations: int) -> None:
    """Draws given |X| ≥ k deviations, over eight ranges of equal chance; range by range as exact probabilities say."""
    scale = variance**0.5
    start, reach = int(deviations * scale), int(12 * scale)
    weights = np.exp(-(np.arange(start, reach, dtype=np.float64) ** 2 - start**2) / (2 * variance))
    cumulative = np.cumsum(weights) / weights.sum()
    edges = np.searchsorted(cumulative, np.arange(1, 8) / 8) + 1
    chances = np.diff(np.concatenate([[0.0], cumulative[edges - 1], [1.0]]))
    table = gaussian._build(variance)
    draws = np.abs(DiscreteGaussian(variance).sample(_From(int(table.upper[start - 1]) + 1), 40_000))
    assert draws.min() >= start
    counted = np.bincount(np.searchsorted(edges + start, draws, side="right"), minlength=8)
    statistic = float(((counted - chances * len(draws)) ** 2 / (chances * len(draws))).sum())
    assert stats.chi2.sf(statistic, 7) > FALSE_ALARM


@pytest.mark.proof
@pytest.mark.parametrize("variance", [2025, WIDE])
def test_tails_beyond_four_five_and_six_deviations_in_twenty_million_draws(variance: int) -> None:
    scale, stream, law = variance**0.5, SecretStream(), DiscreteGaussian(variance)
    beyond = dict.fromkeys((3, 4, 5, 6), 0)
    second = fourth = 0.0
    for _ in range(MANY // CHUNK):
        draws = law.sample(stream, CHUNK)
        for level in beyond:
            beyond[level] += int((np.abs(draws) > level * scale).sum())
        second += float(((draws / scale) ** 2).sum())
        fourth += float(((draws / scale) ** 4).sum())
    exact = probabilities(variance, int(14 * scale))
    values = np.abs(np.arange(-int(14 * scale), int(14 * scale) + 1))
    for level, count in beyond.items():
        chance = float(exact[values > level * scale].sum())
        assert count_p(count, MANY, chance) > FALSE_ALARM, f"{count} beyond {level} deviations of {MANY * chance:.2f}"
    # Half a thousandth of the variance would show.
    assert abs(second / MANY - 1) < 7 * (2 / MANY) ** 0.5
    assert abs(fourth / MANY - 3) < 7 * (96 / MANY) ** 0.5


@pytest.mark.proof
def test_opendp_cannot_be_told_from_ours_in_half_a_million_draws() -> None:
    ours, theirs = draw(WIDE, 500_000), opendp_sample(WIDE, 500_000)
    assert two_sample_p(ours, theirs, cells=200) > FALSE_ALARM
    assert stats.ks_2samp(ours, theirs).pvalue > FALSE_ALARM


# --- tables of fewer bits, told apart by what is drawn


def _inverse(cumulative: list[int], word: int) -> int:
    """The magnitude that a 128-bit number decides for, by a plain search."""
    return sum(entry <= word for entry in cumulative)


class _Words(SecretStream):
    """Gives 128-bit numbers as the sampler asks for them: all upper halves, then the lower halves of ties."""

    def __init__(self, word: int) -> None:
        super().__init__()
        self._halves = [word >> 64, word & (2**64 - 1)]

    def uint64(self, count: int) -> NDArray[np.uint64]:
        given, self._halves = self._halves[:count], self._halves[count:]
        return np.array(given, dtype=np.uint64)


def _disagreements(bits: int, variance: int) -> int:
    """At how many 128-bit numbers around the exact entries a table of so many bits draws something else."""
    exact = cumulative_magnitudes(variance, 12 * int(variance**0.5))
    law = DiscreteGaussian(variance)
    if bits < 128:
        cut = [entry >> (128 - bits) << (128 - bits) for entry in exact]
        upper = np.array([entry >> 64 for entry in cut], dtype=np.uint64)
        law._table = gaussian._Table(upper, np.array([entry % 2**64 for entry in cut], dtype=np.uint64))
    words = [entry + by for entry in exact[:: max(1, len(exact) // 60)] for by in (-1, 0, 1)]
    words += [2**128 - 2**shift for shift in range(0, 128, 3)]
    reached = [abs(int(law.sample(_Words(word), 1)[0])) for word in words]
    return sum(
        found != _inverse(exact, word)
        for found, word in zip(reached, words, strict=True)
        if _inverse(exact, word) < len(exact)
    )


def test_every_draw_is_the_exact_inverse_of_128_bits_and_fewer_bits_are_not() -> None:
    assert _disagreements(128, 2025) == 0
    for bits in (127, 64, 63, 53):
        assert _disagreements(bits, 2025) > 20


def test_the_tail_reaches_as_far_as_128_bits_do() -> None:
    """53 bits end at 8.2 deviations, 64 at 9.1; noise that cannot reach a value tells what it hid."""
    for variance in (2025, WIDE):
        furthest = abs(int(DiscreteGaussian(variance).sample(_Words(2**128 - 1), 1)[0]))
        assert furthest > 12.9 * variance**0.5
