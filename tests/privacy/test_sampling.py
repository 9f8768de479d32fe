"""Poisson or everybody, at 64 bits, from a secret stream, never truncated."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.privacy.mechanism.sampling import poisson_sample
from sekisho.tests.oracles.randomness import FALSE_ALARM, FEWEST, count_p


class _Given(SecretStream):
    """A stream that reads out what it was given."""

    def __init__(self, words: list[int]) -> None:
        super().__init__()
        self._words = words

    def uint64(self, count: int) -> NDArray[np.uint64]:
        return np.array(self._words[:count], dtype=np.uint64)


def test_rate_one_is_everybody() -> None:
    assert poisson_sample(SecretStream(), 1000, Decimal(1)).all()


def test_the_coin_has_64_bits() -> None:
    rate = Decimal("0.0001")
    edge = int(rate * 2**64)
    assert poisson_sample(_Given([edge - 1, edge, 0, 2**64 - 1]), 4, rate).tolist() == [
        True,
        False,
        True,
        False,
    ]
    edge = 2**44
    assert poisson_sample(_Given([edge - 1, edge]), 2, Decimal(1) / 2**20).tolist() == [True, False]


@given(digits=st.integers(1, 10**30 - 1), places=st.integers(1, 30))
def test_the_threshold_is_the_floor_of_the_rate_times_two_to_the_64(digits: int, places: int) -> None:
    """Of the decimal as it is written, by whole numbers alone; a float's 53 bits would be off by up to 1,024."""
    if digits >= 10**places:
        digits %= 10**places
    if digits == 0:
        return
    threshold = digits * 2**64 // 10**places
    words = [word for word in (threshold - 1, threshold, threshold + 1) if 0 <= word < 2**64]
    rate = Decimal(digits).scaleb(-places)
    drawn = poisson_sample(_Given(words), len(words), rate)
    assert drawn.tolist() == [word < threshold for word in words]


def test_a_float_would_move_the_threshold() -> None:
    """The control of the test above: for a tenth the two differ, and the exact one is what is drawn by."""
    exact, rounded = 2**64 // 10, int(0.1 * 2**64)
    assert rounded > exact
    assert poisson_sample(_Given([exact - 1, exact, rounded - 1]), 3, Decimal("0.1")).tolist() == [True, False, False]


def test_a_rate_between_two_thresholds_is_rounded_down() -> None:
    """A rate that is charged is never exceeded: below 2⁻⁶⁴ nobody is ever drawn."""
    with localcontext() as exact:
        exact.prec = 100
        least, nearly_one = Decimal(2) ** -64, 1 - Decimal(2) ** -60
        below, between = least / 2, least * Decimal("1.5")
    assert not poisson_sample(_Given([0]), 1, below).any()
    assert poisson_sample(_Given([0, 1]), 2, between).tolist() == [True, False]
    assert poisson_sample(_Given([2**64 - 17, 2**64 - 16]), 2, nearly_one).tolist() == [True, False]


# --- by numbers; each raises a false alarm less than once in 10^10 runs

RATE = Decimal("0.1")
SUBJECTS, STEPS = 400, 4000


def poisson(steps: int = STEPS, subjects: int = SUBJECTS) -> NDArray[np.bool_]:
    """bool[steps, subjects], with a stream for each step and subject as training has them."""
    run = SecretStream()
    whole = [run.derive(b"step/%d" % step) for step in range(steps)]
    return np.array([poisson_sample(stream, subjects, RATE) for stream in whole])


def truncated() -> NDArray[np.bool_]:
    """A sample that is cut where it is larger than 1.35 times its mean."""
    drawn = poisson()
    return drawn & (np.cumsum(drawn, axis=1) <= 1.35 * SUBJECTS * float(RATE))


def shuffled() -> NDArray[np.bool_]:
    """Batches of one size out of a shuffled order: everybody once in ten steps."""
    drawn, size = np.random.default_rng(), SUBJECTS // 10
    rows = []
    for _ in range(STEPS // 10):
        place_of = drawn.permutation(SUBJECTS)
        rows += [(place_of // size) == batch for batch in range(10)]
    return np.array(rows)


def one_coin_for_two() -> NDArray[np.bool_]:
    """Neighbours in the list share their coins."""
    drawn = poisson()
    return np.repeat(drawn[:, ::2], 2, axis=1)


def same_every_step() -> NDArray[np.bool_]:
    """A stream that is not fresh for a step."""
    return np.repeat(poisson(STEPS // 2), 2, axis=0)


def a_little_often() -> NDArray[np.bool_]:
    """4 % more than the rate that is charged: seventeen standard errors, where six and a half are looked for."""
    return poisson() | (np.random.default_rng().random((STEPS, SUBJECTS)) < 0.004 / 0.9)


def rate_p(drawn: NDArray[np.bool_]) -> float:
    """Everybody together, exactly binomial."""
    return count_p(int(drawn.sum()), drawn.size, float(RATE))


def size_p(drawn: NDArray[np.bool_]) -> float:
    """χ² of the sizes over ranges that the binomial law fills often enough."""
    law = stats.binom(drawn.shape[1], float(RATE))
    edges = law.ppf(np.arange(1, 8) / 8).astype(int)
    chances = np.diff([0.0, *law.cdf(edges), 1.0])
    expected = chances * len(drawn)
    assert expected.min() >= FEWEST
    counted = np.bincount(np.searchsorted(edges, drawn.sum(axis=1), side="left"), minlength=8)
    return float(stats.chi2.sf(((counted - expected) ** 2 / expected).sum(), 7))


def large_p(drawn: NDArray[np.bool_]) -> float:
    """How many samples are larger than 99 of 100 should be: exactly binomial."""
    law = stats.binom(drawn.shape[1], float(RATE))
    large = int(law.ppf(0.99))
    return count_p(int((drawn.sum(axis=1) > large).sum()), len(drawn), float(law.sf(large)))


def neighbour_p(drawn: NDArray[np.bool_]) -> float:
    """How often two subjects beside each other are drawn together: of disjoint pairs, so exactly binomial."""
    together = drawn[:, ::2] & drawn[:, 1::2]
    return count_p(int(together.sum()), together.size, float(RATE) ** 2)


def again_p(drawn: NDArray[np.bool_]) -> float:
    """How often a subject is drawn in two steps that follow each other; disjoint pairs of steps."""
    again = drawn[::2] & drawn[1::2]
    return count_p(int(again.sum()), again.size, float(RATE) ** 2)


@pytest.mark.parametrize("p_value", [rate_p, size_p, large_p, neighbour_p, again_p])
def test_the_sample_is_poisson(p_value: Callable[[NDArray[np.bool_]], float]) -> None:
    """At its rate, binomial in size, subjects and steps independent."""
    assert p_value(poisson()) > FALSE_ALARM


@pytest.mark.parametrize(
    ("made", "p_value"),
    [
        (a_little_often, rate_p),
        (truncated, large_p),
        (shuffled, size_p),
        (shuffled, again_p),
        (one_coin_for_two, neighbour_p),
        (same_every_step, again_p),
    ],
)
def test_another_sample_is_noticed(
    made: Callable[[], NDArray[np.bool_]], p_value: Callable[[NDArray[np.bool_]], float]
) -> None:
    assert p_value(made()) < FALSE_ALARM


@pytest.mark.parametrize("rate", ["0.000001", "0.0003"])
def test_tiny_rates_are_kept(rate: str) -> None:
    """In twenty million coins; a rate that is half or double would show at either."""
    stream, coins = SecretStream(), 20_000_000
    count = sum(int(poisson_sample(stream, coins // 20, Decimal(rate)).sum()) for _ in range(20))
    assert count_p(count, coins, float(rate)) > FALSE_ALARM


def test_each_subjects_own_stream_gives_independent_coins() -> None:
    """As training draws them: the first word of a stream derived for the subject."""
    run, steps, subjects = SecretStream(), 300, 40
    drawn = np.array(
        [
            [
                poisson_sample(of_step.derive(b"subject/%d" % subject), 1, Decimal("0.5"))[0]
                for subject in range(subjects)
            ]
            for of_step in (run.derive(b"step/%d" % step) for step in range(steps))
        ]
    )
    pairs = drawn[:, ::2] & drawn[:, 1::2], drawn[::2] & drawn[1::2]
    assert all(count_p(int(pair.sum()), pair.size, 0.25) > FALSE_ALARM / 3 for pair in pairs)
    assert count_p(int(drawn.sum()), drawn.size, 0.5) > FALSE_ALARM / 3


def test_all_are_drawn_if_all_coins_say_so() -> None:
    assert poisson_sample(_Given([0] * 400), 400, RATE).all()


def test_the_sample_size_is_binomial_and_never_truncated() -> None:
    sizes = np.array([poisson_sample(SecretStream(), 400, Decimal("0.1")).sum() for _ in range(3000)])
    assert abs(sizes.mean() - 40) < 6 * 6 / np.sqrt(3000)
    assert abs(sizes.var() - 36) < 6 * 36 * np.sqrt(2 / 3000)
    assert sizes.max() > 55  # a cut at 1.35 times the mean would show here: missed once in 10^9


def test_an_empty_sample_is_a_sample() -> None:
    assert poisson_sample(SecretStream(), 3, Decimal("0.0000000000001")).sum() == 0
    assert poisson_sample(SecretStream(), 0, Decimal("0.5")).shape == (0,)


def test_one_subjects_coin_moves_no_other() -> None:
    key = bytes(range(32))
    whole = poisson_sample(SecretStream(key), 100, Decimal("0.5"))
    assert (poisson_sample(SecretStream(key), 60, Decimal("0.5")) == whole[:60]).all()


@pytest.mark.parametrize("rate", ["0", "-0.1", "1.0001", "NaN", "Infinity"])
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(BadParametersError) as refused:
        poisson_sample(SecretStream(), 3, Decimal(rate))
    assert refused.value.code == "BAD_RATE"
