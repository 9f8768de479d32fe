"""Must show: no certificate is below the truth of the discrete mechanism, one to three steps, both directions, one or
several contributions; none is more than 0.2 % above the bare Gaussian's; another accountant agrees within its error.
"""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from sekisho.privacy.accounting.accountant import build_plan, certificate, subject_figure
from sekisho.privacy.accounting.loss import loss_epsilon
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.accounting.second_opinion import second_opinion
from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.mechanism.rounding import grid_bound_squared
from sekisho.tests.oracles.composition import Composition, worst_pair
from sekisho.tests.privacy.test_accountant import STUDY
from sekisho.tests.privacy.test_plan import PLAN

GRID = 20  # C_grid is 23.0: nearly whole, so that the worst vector nearly exists
SIGMAS = (0.7, 1.5, 4.0)
RATES = ("1", "0.5", "0.1", "0.01")
DELTAS = ("0.001", "0.00001", "0.0000001")
COHORTS = (3, 4, 5)
PROOF = pytest.mark.proof


def small(sigma: float, rate: str, delta: str, *, steps: int = 1) -> Plan:
    """A plan of one coordinate whose honest remainder has σ·C_grid of noise in every cohort."""
    total = sigma**2 * grid_bound_squared(GRID, 1)
    return dataclasses.replace(
        PLAN,
        steps=steps,
        allowance=0,
        grid=GRID,
        dimension=1,
        sampling_rate=Decimal(rate),
        delta=Decimal(delta),
        epsilon=Decimal(100),
        share_variances=tuple((size, math.ceil(total / (size - 1))) for size in (5, 4, 3)),
    )


@cache
def both_directions(sigma: float, rate: str, cohort: int, steps: int, contributions: int) -> tuple[Composition, ...]:
    one, none = worst_pair(small(sigma, rate, "0.001"), cohort, contributions)
    return Composition(one, none, steps), Composition(none, one, steps)


def true_delta(sigma: float, rate: str, cohort: int, steps: int, contributions: int, epsilon: float) -> float:
    return max(side.delta(epsilon) for side in both_directions(sigma, rate, cohort, steps, contributions))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("sigma", SIGMAS)
def test_no_certificate_of_one_step_is_below_the_truth(sigma: float, rate: str) -> None:
    for delta in DELTAS:
        for cohort in COHORTS:
            epsilon = certificate(small(sigma, rate, delta), cohort=cohort, observers=1)
            assert true_delta(sigma, rate, cohort, 1, 1, epsilon) <= 0.99 * float(delta)


@pytest.mark.parametrize(
    ("steps", "rate"), [(2, "0.1"), (3, "1"), *(pytest.param(n, q, marks=PROOF) for n in (2, 3) for q in RATES)]
)
def test_no_certificate_of_two_or_three_steps_is_below_the_truth(steps: int, rate: str) -> None:
    for sigma in SIGMAS[:2]:
        for delta in DELTAS[:2]:
            epsilon = certificate(small(sigma, rate, delta, steps=steps), cohort=3, observers=1)
            assert true_delta(sigma, rate, 3, steps, 1, epsilon) <= 0.99 * float(delta)


SEVERAL = [
    (count, rate, *case)
    for count in (2, 3)
    for rate in RATES
    for case in ((0.7, "0.001", 1), (1.5, "0.001", 1), (4.0, "0.00001", 1), (1.5, "0.00001", 2))
]
SOON = {(2, "0.1", 4.0, "0.00001", 1), (3, "0.5", 4.0, "0.00001", 1), (2, "1", 1.5, "0.00001", 2)}


@pytest.mark.parametrize(
    ("contributions", "rate", "sigma", "delta", "steps"),
    [case if case in SOON else pytest.param(*case, marks=PROOF) for case in SEVERAL],
)
def test_no_certificate_for_several_sites_is_below_the_truth(
    contributions: int, rate: str, sigma: float, delta: str, steps: int
) -> None:
    plan = small(sigma, rate, delta, steps=steps)
    epsilon = certificate(dataclasses.replace(plan, sites_per_subject=contributions), cohort=4, observers=1)
    assert epsilon == subject_figure(plan, cohort=4, observers=1, contributions=contributions)
    assert true_delta(sigma, rate, 4, steps, contributions, epsilon) <= 0.99 * float(delta)


def test_a_certificate_that_forgets_something_is_below_the_truth() -> None:
    """Positive controls of the three tests above: the truth is close enough to convict small errors."""
    plan = small(1.5, "0.5", "0.00001", steps=2)
    right = certificate(plan, cohort=4, observers=1)
    assert true_delta(1.5, "0.5", 4, 2, 1, right * 0.97) > 1e-5  # 3 % too low
    one_step = certificate(dataclasses.replace(plan, steps=1), cohort=4, observers=1)
    assert true_delta(1.5, "0.5", 4, 2, 1, one_step) > 1e-5  # a step forgotten
    assert true_delta(1.5, "0.5", 4, 2, 2, right) > 1e-5  # a second site forgotten
    all_shares = certificate(dataclasses.replace(small(1.5, "0.5", "0.00001")), cohort=4, observers=0)
    assert true_delta(1.5, "0.5", 4, 1, 1, all_shares) > 1e-5  # T = 0


# --- plans as they are built

BUILT: list[dict[str, Any]] = [
    {"epsilon": Decimal(epsilon), "sampling_rate": Decimal(rate), "steps": steps, "delta": Decimal(delta)}
    for epsilon in ("0.2", "0.5", "1", "3", "8")
    for rate, steps in (("1", 1), ("0.5", 30), ("0.1", 150), ("0.02", 400))
    for delta in ("0.00001", "0.0000001")
]


EARLY = [change for change in BUILT if str(change["delta"]) == "0.00001" and change["epsilon"] in (1, 3)]
GRID_OF_PLANS = [change if change in EARLY else pytest.param(change, marks=PROOF) for change in BUILT]


def _name(change: dict[str, Any]) -> str:
    return "-".join(str(value) for value in change.values())


def bare_epsilon(plan: Plan, interval: float = 1e-4) -> float:
    """dp_accounting's own figure for the same noise as one continuous Gaussian, at ten times the resolution."""
    from dp_accounting.pld import privacy_loss_distribution

    sigma = math.sqrt(4 * plan.share_variance(5) / plan.grid_bound_squared)
    loss = privacy_loss_distribution.from_gaussian_mechanism(
        sigma, sampling_prob=float(plan.sampling_rate), value_discretization_interval=interval
    )
    return float(loss.self_compose(plan.total_steps).get_epsilon_for_delta(float(plan.delta)))


@pytest.mark.parametrize("change", GRID_OF_PLANS, ids=_name)
def test_a_certificate_is_at_most_a_fifth_of_a_per_cent_above_the_gaussians(change: dict[str, Any]) -> None:
    """The worst of the grid is 0.09 %, nearly all of it the hundredth of δ that is kept for the sampler."""
    plan = build_plan(**STUDY | change)
    bare = bare_epsilon(plan)
    assert bare <= certificate(plan, cohort=5, observers=1) <= bare * 1.002


@pytest.mark.parametrize("change", GRID_OF_PLANS, ids=_name)
def test_opacus_agrees_within_its_own_error(change: dict[str, Any]) -> None:
    plan = build_plan(**STUDY | change)
    own = certificate(plan, cohort=5, observers=1)
    other = second_opinion(plan, cohort=5, observers=1)
    assert abs(other.epsilon - own) <= other.slack and not other.contradicts(own)
    assert other.contradicts(0.9 * own - other.slack)


def test_a_coarse_loss_would_be_too_far_above() -> None:
    """Positive control of the 0.2 %: at a small ε a loss rounded to whole thousandths is more than that above."""
    change = {"epsilon": Decimal("0.5"), "sampling_rate": Decimal("0.02"), "steps": 400}
    plan = build_plan(**STUDY | change)
    assert bare_epsilon(plan, interval=1e-3) > bare_epsilon(plan) * 1.0015
    assert bare_epsilon(plan, interval=2e-3) > bare_epsilon(plan) * 1.002


def test_the_loss_of_a_narrow_mixture_is_not_certified_beyond_its_numerical_error() -> None:
    with pytest.raises(BadParametersError) as refused:
        loss_epsilon(0.01, 1e-5, 1000, 0.1, 2)
    assert refused.value.code == "NOISE_TOO_SMALL"
