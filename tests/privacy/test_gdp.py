"""The μ estimator: its bounds hold as often as they say, half the noise is found, and no power is no pass."""

import math

import numpy as np
import pytest
from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism
from scipy.stats import binom, nct

from sekisho.privacy.auditing import gdp
from sekisho.privacy.auditing.chance import FALSE_ALARM
from sekisho.privacy.auditing.gdp import Outcome, epsilon_of, gaussian_interval, judge, mu_of, threshold_bound
from sekisho.privacy.errors import BadParametersError

DELTA = 1e-5
ENOUGH = {1.0: 6000, 8.0: 600}  # canaries for a power of 99 % and more


def verdict(epsilon: float, *, noise: float = 1.0, canaries: int = 0, shift: float = 1.0, seed: int = 0) -> gdp.Verdict:
    """A run in which each canary moves its score by μ (times ``shift``) under noise of ``noise``."""
    generator, mu = np.random.default_rng(seed), mu_of(epsilon, DELTA)
    half = (canaries or ENOUGH[epsilon]) // 2
    inside, outside = generator.normal(mu * shift, noise, half), generator.normal(0, noise, half)
    return judge(inside, outside, threshold=mu / 2, epsilon=epsilon, delta=DELTA)


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
@pytest.mark.parametrize("seed", range(20))
def test_a_right_mechanism_is_held(epsilon: float, seed: int) -> None:
    found = verdict(epsilon, seed=seed)
    assert found.outcome is Outcome.HELD
    assert found.power > 0.99
    assert found.epsilon_low <= found.epsilon_high


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
@pytest.mark.parametrize(("noise", "shift"), [(0.5, 1.0), (1.0, 2.0), (1e-9, 1.0), (0.0, 1.0)])
def test_less_noise_or_a_larger_shift_is_broken(epsilon: float, noise: float, shift: float) -> None:
    found = verdict(epsilon, noise=noise, shift=shift)
    assert found.outcome is Outcome.BROKEN
    assert found.epsilon_low > epsilon


def test_half_the_noise_passes_unseen_where_canaries_are_few_and_that_is_said() -> None:
    found = verdict(1.0, noise=0.5, canaries=60)
    assert found.outcome is Outcome.WITHOUT_POWER
    assert found.power < 0.01


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_the_least_loss_that_is_found_is_found_as_often_as_stated(epsilon: float) -> None:
    """Seeds are fixed; each run is found with 99 %, and one in a hundred may be missed."""
    loss, mu, half = verdict(epsilon).least_loss, mu_of(epsilon, DELTA), ENOUGH[epsilon] // 2
    assert math.sqrt(1.5) < loss < gdp.LESS_NOISE  # so that a missing share of three is not promised to be found
    lows = []
    for seed in range(30):
        outside, inside = np.random.default_rng(seed).normal(0, 1 / loss, (2, half))
        lows.append(gaussian_interval(inside + mu, outside, miss=FALSE_ALARM / 2).low)
    assert sum(low > mu for low in lows) >= 27
    assert any(verdict(epsilon, noise=1 / math.sqrt(1.5), seed=seed).outcome is Outcome.HELD for seed in range(20))


def test_where_no_loss_is_found_surely_none_is_named() -> None:
    assert verdict(1.0, canaries=8).least_loss == math.inf


def test_canaries_that_did_not_arrive_are_no_pass() -> None:
    assert verdict(8.0, shift=0.0).outcome is Outcome.WITHOUT_POWER
    assert verdict(8.0, shift=0.5).outcome is Outcome.WITHOUT_POWER


def test_counting_finds_what_a_bell_curve_hides() -> None:
    """A few huge values inflate the deviation, and the Gaussian test sees nothing; counting needs no shape."""
    generator, mu = np.random.default_rng(0), mu_of(1.0, DELTA)
    inside, outside = generator.normal(mu, 0.05, 1000), generator.normal(0, 0.05, 1000)
    inside[:10], outside[:10] = 100.0, -100.0
    inside[10:20], outside[10:20] = -100.0, 100.0
    assert gaussian_interval(inside, outside, miss=1e-5).low < mu
    found = judge(inside, outside, threshold=mu / 2, epsilon=1.0, delta=DELTA)
    assert found.outcome is Outcome.BROKEN and found.threshold_low > found.claimed


@pytest.mark.proof
def test_bounds_of_mu_are_missed_as_often_as_stated() -> None:
    generator, mu, missed = np.random.default_rng(1), 1.666, np.zeros(3, int)
    for _ in range(400):
        inside, outside = generator.normal(mu, 1, 150), generator.normal(0, 1, 150)
        interval = gaussian_interval(inside, outside, miss=0.05)
        counted = threshold_bound(inside, outside, threshold=0.8, miss=0.05)
        missed += [interval.low > mu, interval.high < mu, counted > mu]
    low, high = binom.ppf(1e-6, 400, 0.05), binom.isf(1e-6, 400, 0.05)
    assert low <= missed[0] <= high and low <= missed[1] <= high
    assert missed[2] <= high  # counting is conservative


def test_bounds_agree_with_the_noncentral_t_distribution() -> None:
    for mu, half, miss in ((0.268, 3000, 5e-6), (1.666, 300, 5e-6), (1.666, 300, 0.025), (3.3, 20, 0.025)):
        scale = math.sqrt(2 / half)
        noise = np.random.default_rng(2).normal(size=half)
        noise = (noise - noise.mean()) / noise.std(ddof=1)
        interval = gaussian_interval(noise + mu, noise, miss=miss)
        assert nct.sf(mu / scale, 2 * half - 2, interval.low / scale) == pytest.approx(miss, rel=1e-4)
        assert nct.cdf(mu / scale, 2 * half - 2, interval.high / scale) == pytest.approx(miss, rel=1e-4)
        assert interval.low < mu < interval.high


def test_mu_and_epsilon_are_those_of_the_gaussian_mechanism() -> None:
    for mu in (0.1, 0.268, 1.666, 5.0):
        other = from_gaussian_mechanism(1 / mu, value_discretization_interval=1e-3).get_epsilon_for_delta(DELTA)
        assert epsilon_of(mu, DELTA) == pytest.approx(other, rel=2e-3)
        assert mu_of(epsilon_of(mu, DELTA), DELTA) == pytest.approx(mu, rel=1e-9)
    assert epsilon_of(0.0, DELTA) == 0.0
    assert epsilon_of(math.inf, DELTA) == math.inf


@pytest.mark.parametrize("epsilon", [0.0, -1.0, 1e9, math.nan])
def test_what_is_no_claim_is_refused(epsilon: float) -> None:
    with pytest.raises(BadParametersError):
        mu_of(epsilon, DELTA)


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(BadParametersError):
        gaussian_interval(np.array([1.0, math.nan]), np.zeros(2), miss=0.05)
    with pytest.raises(BadParametersError):
        gaussian_interval(np.array([1.0]), np.zeros(5), miss=0.05)
