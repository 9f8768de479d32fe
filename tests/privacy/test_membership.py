"""Membership tests are weak, and this is where it is shown: at ε = 8 not even the absence of noise fails one."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from sekisho.privacy.auditing.gdp import mu_of
from sekisho.privacy.auditing.membership import _chance, losses, one_run_bound, one_run_cap
from sekisho.privacy.errors import BadParametersError

DELTA = 1e-5


def published_p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """Appendix D of the paper, as its authors wrote it down."""
    q = 1 / (1 + math.exp(-epsilon))
    beta = binom.sf(v - 1, r, q)
    alpha = total = 0.0
    for i in range(1, v + 1):
        total += binom.pmf(v - i, r, q)
        alpha = max(alpha, total / i)
    return min(beta + alpha * delta * 2 * m, 1.0)


CASES = [(1000, 400, 380, 2.0), (1000, 1000, 1000, 5.0), (200, 100, 70, 0.5), (50, 10, 0, 1.0)]


@pytest.mark.parametrize("case", CASES)
def test_the_p_value_is_the_papers(case: tuple[int, int, int, float]) -> None:
    assert _chance(*case, DELTA) == pytest.approx(published_p_value(*case, DELTA), rel=1e-9)


def test_the_bound_is_below_epsilon_for_a_right_mechanism_and_above_where_noise_is_off() -> None:
    generator = np.random.default_rng(0)
    member = generator.random(1000) < 0.5
    noise = generator.normal(size=1000)
    assert one_run_bound(member * mu_of(1.0, DELTA) + noise, member, delta=DELTA) < 1.0
    assert one_run_bound(member.astype(float), member, delta=DELTA) > 4.5


def test_no_one_run_test_can_fail_at_epsilon_8() -> None:
    """Every guess right says no more than this: a pass at ε = 8 means nothing, and is never called one."""
    for canaries in (100, 1000, 5000):
        cap = one_run_cap(canaries, delta=DELTA)
        assert cap < 8
        assert cap == pytest.approx(math.log(canaries) - 1.2, abs=0.15)


def test_losses_are_those_of_the_logistic_regression() -> None:
    odds, positive = np.array([0.0, 3.0, 3.0, -800.0]), np.array([True, True, False, True])
    expected = [math.log(2), math.log1p(math.exp(-3)), 3 + math.log1p(math.exp(-3)), 800.0]
    assert losses(odds, positive).tolist() == pytest.approx(expected)


def test_scores_without_canaries_are_refused() -> None:
    with pytest.raises(BadParametersError):
        one_run_bound(np.zeros(3), np.zeros(4, bool), delta=DELTA)
