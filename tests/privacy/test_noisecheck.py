"""Noise checks: right noise passes at every width, and noise that is wrong in one way is found in that way."""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, chi2

from sekisho.privacy.auditing import noisecheck
from sekisho.privacy.auditing.chance import FALSE_ALARM, binomial_upper, chi_square_tail, normal_deviate
from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.mechanism.gaussian import DiscreteGaussian
from sekisho.privacy.mechanism.randomness import SecretStream

N = 60_000
CHECKS = (noisecheck.check_moments, noisecheck.check_shape, noisecheck.check_last_bits)


def shares(variance: int, count: int, *, first: int = 0) -> NDArray[np.int64]:
    """Always the same ones: here checks are tested, not chance; how often they are wrong by it is the proof's below."""
    streams = [SecretStream(bytes([number]) * 32) for number in range(first, first + count)]
    return np.sum([DiscreteGaussian(variance).sample(stream, N) for stream in streams], axis=0)


def failed(values: NDArray[np.int64], variance: int, count: int) -> set[str]:
    found = {check.__name__: check(values, variance=variance, shares=count) for check in CHECKS}
    assert all(finding.false_alarm == FALSE_ALARM for finding in found.values())
    return {name.removeprefix("check_") for name, finding in found.items() if not finding.held}


@pytest.mark.parametrize(("variance", "count"), [(16, 3), (45**2, 2), (11_000**2, 5)])
def test_right_noise_passes(variance: int, count: int) -> None:
    values = shares(variance, count)
    assert failed(values, variance, count) == set()
    assert noisecheck.check_one_after_another(values).held


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda values: np.rint(values / 2).astype(np.int64), {"moments", "shape"}),
        (lambda values: np.rint(values * 1.03).astype(np.int64), {"moments"}),
        (lambda values: values + 100, {"moments", "shape"}),
        (np.abs, {"moments", "shape"}),
        (lambda values: values // 2 * 2, {"last_bits"}),
        (np.zeros_like, {"moments", "shape", "last_bits"}),
        (lambda values: np.rint(np.random.default_rng(1).laplace(size=N) * 1000).astype(np.int64), {"moments"}),
    ],
    ids=["halved", "wider by 3 %", "moved", "folded", "on a coarser grid", "off", "Laplace"],
)
def test_wrong_noise_is_found(change: Callable[[NDArray[np.int64]], NDArray[np.int64]], found: set[str]) -> None:
    variance = 816**2  # three shares have a deviation of 1,413, that of the Laplace noise
    assert failed(change(shares(variance, 3)), variance, 3) >= found


def test_noise_of_fewer_shares_is_found() -> None:
    assert failed(shares(10_000, 2), 10_000, 3) >= {"moments", "shape"}


def test_a_missing_share_is_found_in_three_thousand_values() -> None:
    """The size of the smaller audit of ``doctor --deep``; both outcomes are 12 standard errors from their bounds."""
    streams = [SecretStream(bytes([number]) * 32) for number in range(3)]
    three = np.sum([DiscreteGaussian(10_000).sample(stream, 3000) for stream in streams], axis=0)
    assert noisecheck.check_variance(three, variance=15_000, shares=2).held
    assert not noisecheck.check_variance(three, variance=10_000, shares=4).held
    assert not noisecheck.check_variance(three, variance=10_000, shares=2).held


@pytest.mark.parametrize("size", [600, 3000, 18_000])
def test_the_variance_is_held_between_the_two_ends_of_its_law(size: int) -> None:
    unit = 10**12  # so wide that a value can stand for any mean square
    for chance, inwards in ((FALSE_ALARM / 2, 1.0001), (1 - FALSE_ALARM / 2, 0.9999)):
        mean_square = float(chi2.ppf(chance, size)) / size
        for factor, held in ((inwards, True), (2 - inwards, False)):
            values = np.full(size, round(math.sqrt(mean_square * factor * 3 * unit)))
            assert noisecheck.check_variance(values, variance=unit, shares=3).held is held


def test_noise_that_repeats_is_found() -> None:
    values, another = shares(10_000, 1), shares(10_000, 1, first=1)
    assert not noisecheck.check_unrelated([(values, values)], "itself").held
    assert not noisecheck.check_unrelated([(values, another), (values, -values)], "all pairs").held
    assert noisecheck.check_unrelated([(values, another)], "another").held
    assert not noisecheck.check_one_after_another(np.repeat(values, 2)).held
    # noise that is not there is as related to everything as can be
    nothing = np.zeros(100, np.int64)
    assert not noisecheck.check_unrelated([(nothing, nothing)], "nothing").held


def test_the_exact_distribution_is_that_of_the_formula() -> None:
    """In exact fractions of exact exponentials' floats, against three shares convolved by hand."""
    variance, reach = 2, 14
    one = {k: Fraction(math.exp(-k * k / (2 * variance))) for k in range(-reach, reach + 1)}
    total = sum(one.values())
    three: dict[int, Fraction] = {}
    for a, p in one.items():
        for b, q in one.items():
            for c, r in one.items():
                three[a + b + c] = three.get(a + b + c, Fraction(0)) + p * q * r
    support, weights = noisecheck.sum_of_shares(variance, 3)
    for place, weight in zip(support.tolist(), weights.tolist(), strict=True):
        if abs(place) <= 12:
            assert weight == pytest.approx(float(three[place] / total**3), rel=1e-9, abs=1e-15)


def test_too_few_values_are_refused_and_not_passed() -> None:
    with pytest.raises(BadParametersError, match="too few values"):
        noisecheck.check_shape(shares(100, 1)[:500], variance=100, shares=1)


def test_tails_are_those_of_the_textbook() -> None:
    for statistic, freedom in ((70.0, 64), (20.0, 15), (3.0, 1), (900.0, 63), (0.0, 5)):
        assert chi_square_tail(statistic, freedom) == pytest.approx(float(chi2.sf(statistic, freedom)), rel=1e-9)
    for count, trials in ((0, 100), (99, 2000), (2000, 2000)):
        bound = binomial_upper(count, trials, 1e-5)
        assert count == trials or binom.cdf(count, trials, bound) == pytest.approx(1e-5, rel=1e-6)
    assert normal_deviate(FALSE_ALARM) == pytest.approx(4.2649, abs=1e-4)


@pytest.mark.proof
def test_right_noise_alarms_no_more_often_than_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a false alarm of 1 in 20, of 600 samples of right noise no check fails in more than chance allows."""
    monkeypatch.setattr(noisecheck, "FALSE_ALARM", 0.05)
    failures = dict.fromkeys((check.__name__ for check in CHECKS), 0)
    for _ in range(600):
        values = sum(
            (DiscreteGaussian(2500).sample(SecretStream(), 6000) for _ in range(3)), start=np.zeros(6000, np.int64)
        )
        for check in CHECKS:
            failures[check.__name__] += not check(values, variance=2500, shares=3).held
    allowed = int(binom.isf(1e-6, 600, 0.05))
    assert all(count <= allowed for count in failures.values()), failures
