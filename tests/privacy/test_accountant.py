"""Certificates are never below the truth, costs never below the divergence, and calibration never rounds
down."""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.rdp import rdp_privacy_accountant
from numpy.typing import NDArray

from sekisho.privacy.accounting.accountant import (
    UNITS_PER_DRAW,
    build_plan,
    calibrate,
    certificate,
    coalition_table,
    event_cost,
    filter_cap,
    filter_epsilon,
    filter_order,
    step_cost,
    worst_certificate,
)
from sekisho.privacy.accounting.loss import loss_epsilon
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.budget import COST_PER_NAT, Adjacency, Budget, Unit, nats
from sekisho.privacy.errors import BadParametersError
from sekisho.tests.oracles.discrete_gaussian import probabilities, true_delta
from sekisho.tests.privacy.test_plan import PLAN

DELTA = Decimal("0.00001")
STUDY: dict[str, Any] = {
    "unit": Unit.SUBJECT,
    "epsilon": Decimal(3),
    "delta": DELTA,
    "steps": 60,
    "allowance": 5,
    "sampling_rate": Decimal(1),
    "clipping_norm": Decimal("0.4"),
    "dimension": 385,
    "sites": 5,
    "minimum_sites": 3,
    "observers": 1,
    "subjects": [800] * 5,
    "records_per_subject": 6,
}


def _budget(epsilon: str) -> Budget:
    return Budget(Decimal(epsilon), DELTA, Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)


def _gaussian_delta(mu: float, epsilon: float) -> float:
    """δ of a Gaussian mechanism with shift over deviation μ (Balle and Wang 2018, theorem 8)."""
    cdf = NormalDist().cdf
    return cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * cdf(-mu / 2 - epsilon / mu)


# --- one step, exactly
# ------------------------------------------------------------------------------------------


def _one_step(grid: int, variance: int, rate: str, delta: str) -> Plan:
    """One step whose C_grid is a whole number, so that the worst vector exists: all of it on one
    coordinate."""
    return dataclasses.replace(
        PLAN,
        steps=1,
        allowance=0,
        grid=grid,
        dimension=1,
        sampling_rate=Decimal(rate),
        delta=Decimal(delta),
        epsilon=Decimal(100),
        share_variances=tuple((size, variance) for size in (5, 4, 3)),
    )


def _worst_pair(plan: Plan, cohort: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exact output distributions with and without the worst subject: sums of shares by convolution."""
    shift = math.isqrt(plan.grid_bound_squared)
    assert shift**2 == plan.grid_bound_squared
    variance = plan.share_variance(cohort)
    share = probabilities(variance, int(14 * variance**0.5))
    noise = share
    for _ in range(cohort - plan.observers - 1):
        noise = np.convolve(noise, share)
    without = np.concatenate([noise, np.zeros(shift)])
    shifted = np.concatenate([np.zeros(shift), noise])
    rate = float(plan.sampling_rate)
    return (1 - rate) * without + rate * shifted, without


ONE_STEP = [
    (_one_step(grid, variance, rate, delta), cohort)
    for grid in (11, 12)
    for variance, cohort in ((1013, 3), (700, 4), (507, 5))
    for rate in ("1", "0.1")
    for delta in ("0.00001", "0.001")
]


@pytest.mark.parametrize(("plan", "cohort"), ONE_STEP)
def test_the_certificate_is_never_below_the_truth(plan: Plan, cohort: int) -> None:
    epsilon = certificate(plan, cohort=cohort, observers=1)
    with_one, without = _worst_pair(plan, cohort)
    reserved = 0.99 * float(plan.delta)
    assert true_delta(with_one, without, epsilon) <= reserved
    assert true_delta(without, with_one, epsilon) <= reserved


def test_a_gaussian_certificate_would_be_below_the_truth() -> None:
    """The positive control: without the variance given up for discreteness, the test above fails."""
    broken = 0
    for plan, cohort in ONE_STEP:
        sigma = math.sqrt((cohort - 1) * plan.share_variance(cohort) / plan.grid_bound_squared)
        reserved = 0.99 * float(plan.delta)
        epsilon = loss_epsilon(sigma, reserved, 1, float(plan.sampling_rate))
        with_one, without = _worst_pair(plan, cohort)
        broken += max(true_delta(with_one, without, epsilon), true_delta(without, with_one, epsilon)) > reserved
    assert broken


def test_the_price_of_discreteness_is_small() -> None:
    from dp_accounting.pld import privacy_loss_distribution

    for observers in (1, 3):
        sigma = math.sqrt((5 - observers) * PLAN.share_variance(5) / PLAN.grid_bound_squared)
        bare = privacy_loss_distribution.from_gaussian_mechanism(sigma / math.sqrt(PLAN.total_steps))
        plain = bare.get_epsilon_for_delta(float(DELTA))
        assert plain <= certificate(PLAN, cohort=5, observers=observers) <= plain * 1.002


def test_at_full_batch_the_certificate_agrees_with_the_closed_form() -> None:
    epsilon = certificate(PLAN, cohort=5, observers=1)
    sigma = math.sqrt((4 * PLAN.share_variance(5) - 4) / PLAN.grid_bound_squared)
    mu = math.sqrt(PLAN.total_steps) / sigma
    assert _gaussian_delta(mu, epsilon) <= 0.99e-5 <= _gaussian_delta(mu, epsilon - 1e-5)


# --- Rényi costs
# ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", ["1", "0.3", "0.01"])
@pytest.mark.parametrize("order", [2, 3, 5, 8])
def test_a_cost_is_the_divergence_of_the_discrete_mechanism(rate: str, order: int) -> None:
    plan = dataclasses.replace(_one_step(11, 1013, rate, "0.00001"))
    with_one, without = _worst_pair(plan, 3)
    known = (with_one > 0) & (without > 0)
    p, q = with_one[known], without[known]
    for upper, lower in ((p, q), (q, p)):
        divergence = math.log(np.sum(upper * (upper / lower) ** (order - 1))) / (order - 1)
        cost = nats(event_cost(plan.event(3, 1), order))
        assert cost >= divergence * (1 - 1e-9)
    worst = math.log(np.sum(p * (p / q) ** (order - 1))) / (order - 1)
    assert cost <= worst * (1 + 1e-6) + 3 / COST_PER_NAT


@pytest.mark.parametrize("rate", ["1", "0.5", "0.02", "0.0001"])
def test_costs_agree_with_the_library(rate: str) -> None:
    plan = dataclasses.replace(PLAN, sampling_rate=Decimal(rate), share_variances=((5, 2**22), (4, 2**22), (3, 2**22)))
    sigma = math.sqrt(4 * 2**22 / plan.grid_bound_squared)
    orders = [2, 3, 4, 6, 16, 64]
    library = rdp_privacy_accountant.RdpAccountant(orders)
    library.compose(dp_event.PoissonSampledDpEvent(float(rate), dp_event.GaussianDpEvent(sigma)))
    for order, expected in zip(orders, library._rdp, strict=True):
        cost = nats(event_cost(plan.event(5, 1), order))
        draws = 5 * plan.dimension * UNITS_PER_DRAW
        assert expected * (1 - 1e-9) <= cost - draws / COST_PER_NAT <= expected * (1 + 1e-9) + 3 / COST_PER_NAT


def test_narrow_shares_cost_more_than_one_wide_noise() -> None:
    """At s = 1 the sum of shares is measurably not Gaussian, and is charged for it."""
    wide, narrow = (
        dataclasses.replace(PLAN.event(5, 1), variance=1, dimension=dimension, grid_bound_squared=1)
        for dimension in (1, 1000)
    )
    extra = nats(event_cost(narrow, 4)) - nats(event_cost(wide, 4))
    expected = 7 / 3 * 999 * 10 * sum(math.exp(-2 * math.pi**2 * k / (k + 1)) for k in range(1, 5))
    assert extra == pytest.approx(expected, rel=1e-6)


def test_a_step_is_charged_for_the_dearest_cohort() -> None:
    uneven = dataclasses.replace(PLAN, share_variances=((5, 132_252_009), (4, 132_252_009), (3, 264_504_018)))
    dear = event_cost(uneven.event(4, 1), 6)
    assert step_cost(uneven, observers=1, order=6) == dear > event_cost(uneven.event(5, 1), 6)
    assert step_cost(PLAN, observers=2, order=6) > step_cost(PLAN, observers=1, order=6)


@pytest.mark.parametrize("order", [1, 0, 2.5])
def test_an_order_that_is_none_is_refused(order: int) -> None:
    with pytest.raises(BadParametersError) as refused:
        filter_cap(_budget("3"), order)
    assert refused.value.code == "BAD_ORDER"


# --- the filter
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", ["0.3", "1", "3", "4.5", "6", "8"])
def test_what_the_filter_admits_keeps_the_budget(epsilon: str) -> None:
    """Gaussian steps up to the cap compose to at most the budget's δ, by the closed form."""
    budget = _budget(epsilon)
    order = filter_order(budget)
    cap = filter_cap(budget, order)
    for sigma in (40.0, 400.0):
        cost = math.ceil(order / (2 * sigma**2) * COST_PER_NAT) + 1
        admitted = cap // cost
        assert _gaussian_delta(math.sqrt(admitted) / sigma, float(epsilon)) <= float(DELTA)
    assert float(epsilon) * (1 - 1e-9) <= filter_epsilon(cap + 2, order, DELTA) <= float(epsilon) * (1 + 1e-9)


def test_nothing_spent_is_zero_and_more_spent_is_more() -> None:
    assert filter_epsilon(0, 6, DELTA) == 0.0
    spends = [filter_epsilon(cost, 6, DELTA) for cost in range(1, 2 * COST_PER_NAT, COST_PER_NAT // 7)]
    assert spends == sorted(spends) and min(spends) >= 0


def test_the_order_is_a_function_of_epsilon_and_delta_alone() -> None:
    assert [filter_order(_budget(epsilon)) for epsilon in ("3", "4.5", "6", "8")] == [8, 6, 5, 4]
    for epsilon in ("0.5", "3", "8"):
        budget = _budget(epsilon)
        best = filter_cap(budget, filter_order(budget)) / filter_order(budget)
        assert best >= max(filter_cap(budget, order) / order for order in range(2, 257))


def test_a_budget_with_nothing_to_spend_is_refused() -> None:
    tiny = Budget(Decimal("0.01"), Decimal("0.00000000000000000001"), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)
    with pytest.raises(BadParametersError) as refused:
        filter_order(tiny)
    assert refused.value.code == "BUDGET_TOO_SMALL"


def test_a_budget_of_five_admits_exactly_two_pilots() -> None:
    plan = build_plan(**STUDY)
    for epsilon, pilots in (("4", 1), ("4.5", 1), ("5", 2), ("6", 2)):
        budget = _budget(epsilon)
        order = filter_order(budget)
        cost = step_cost(plan, observers=1, order=order) * plan.total_steps
        assert filter_cap(budget, order) // cost == pilots


# --- calibration and plans
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epsilon", "steps", "rate"),
    [("3", 65, "1"), ("0.5", 10, "1"), ("20", 100, "1"), ("3", 155, "0.1"), ("1", 1000, "0.01"), ("8", 50, "0.5")],
)
def test_calibration_is_rounded_up_and_not_by_much(epsilon: str, steps: int, rate: str) -> None:
    sigma = calibrate(epsilon=Decimal(epsilon), delta=DELTA, steps=steps, sampling_rate=Decimal(rate))
    assert round(sigma, 4) == sigma
    reached = loss_epsilon(sigma, 0.99e-5, steps, float(rate))
    assert float(epsilon) * 0.999 <= reached <= float(epsilon)
    assert loss_epsilon(sigma * 0.999, 0.99e-5, steps, float(rate)) > float(epsilon)


def test_the_worked_example() -> None:
    """DESIGN 5: the probe at ε = 3, 60 steps, K = 5, T = 1 (with no abandoned step and no smaller cohort)."""
    assert calibrate(epsilon=Decimal(3), delta=DELTA, steps=60, sampling_rate=Decimal(1)) == pytest.approx(
        10.78, abs=0.01
    )
    plan = build_plan(**STUDY | {"allowance": 0, "minimum_sites": 5})
    assert (plan.preset, math.ceil(math.sqrt(plan.grid_bound_squared))) == ("2x24", 2057)
    assert abs(math.sqrt(plan.share_variance(5)) - 11_084) < 5


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"sampling_rate": Decimal("0.1"), "steps": 150},
        {"epsilon": Decimal(1), "observers": 2, "minimum_sites": 4},
        {"epsilon": Decimal(8), "dimension": 74_498, "sampling_rate": Decimal("0.1"), "steps": 150},
    ],
)
def test_a_plan_keeps_its_target_in_every_cohort(change: dict[str, Any]) -> None:
    plan = build_plan(**STUDY | change)
    observers = plan.observers
    figures = [certificate(plan, cohort=size, observers=observers) for size, _ in plan.share_variances]
    assert max(figures) <= worst_certificate(plan, observers) <= float(plan.epsilon)
    assert min(figures) > float(plan.epsilon) * 0.999
    for size, variance in plan.share_variances:
        plan.check_sealing_rule(size)
        sigma = calibrate(
            epsilon=plan.epsilon, delta=plan.delta, steps=plan.total_steps, sampling_rate=plan.sampling_rate
        )
        assert (size - observers) * variance >= sigma**2 * plan.grid_bound_squared


def test_the_allowance_is_paid_for() -> None:
    with_allowance = build_plan(**STUDY | {"steps": 60, "allowance": 40})
    longer = build_plan(**STUDY | {"steps": 100, "allowance": 0})
    assert with_allowance.share_variances == longer.share_variances


def test_a_plan_with_other_noise_does_not_pass_for_one_that_keeps_its_target() -> None:
    """What a site finds when a coordinator halves the noise, forgets C_grid, or scales to the wrong
    cohort."""
    plan = build_plan(**STUDY)
    u2, c2 = plan.grid**2, plan.grid_bound_squared
    halved = tuple((size, variance // 4) for size, variance in plan.share_variances)
    by_clip = tuple((size, variance * u2 // c2) for size, variance in plan.share_variances)
    without_observers = tuple((size, variance * (size - 1) // size) for size, variance in plan.share_variances)
    by_full_cohort = tuple((size, plan.share_variance(5)) for size, _ in plan.share_variances)
    for table in (halved, by_clip, without_observers, by_full_cohort):
        assert worst_certificate(dataclasses.replace(plan, share_variances=table), 1) > 3.0
    assert worst_certificate(plan, 2) > 3.0  # a site that fears two observers sees that this plan is not for it


def test_every_coalition_has_its_figure() -> None:
    plan = build_plan(**STUDY)
    table = dict(coalition_table(plan, 5))
    assert list(table) == [0, 1, 2, 3, 4]
    assert list(table.values()) == sorted(table.values())
    assert table[1] == certificate(plan, cohort=5, observers=1)
    # The review's figures for ε = 3, five sites, T = 1: 2.64, 3.00, 3.53, 4.46, 6.71.
    assert [round(table[a], 2) for a in range(5)] == [2.64, 3.0, 3.53, 4.46, 6.71]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"observers": 0}, "BAD_PLAN"),
        ({"observers": 2}, "BAD_PLAN"),
        ({"minimum_sites": 6}, "BAD_PLAN"),
        ({"subjects": [800] * 4}, "BAD_PLAN"),
        ({"steps": 0, "allowance": 0}, "BAD_PLAN"),
        ({"sampling_rate": Decimal(0)}, "BAD_PLAN"),
        ({"unit": Unit.RECORD}, "RECORD_UNIT_NEEDS_ONE_RECORD"),
        ({"subjects": [10**12] * 5}, "NO_PRESET_FITS"),
    ],
)
def test_a_run_that_cannot_keep_its_promise_is_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(BadParametersError) as refused:
        build_plan(**STUDY | change)
    assert refused.value.code == code


def test_where_no_two_honest_sites_are_left_there_is_no_certificate() -> None:
    plan = build_plan(**STUDY)
    for ask in (lambda: worst_certificate(plan, 4), lambda: step_cost(plan, observers=4, order=5)):
        with pytest.raises(BadParametersError) as refused:
            ask()
        assert refused.value.code == "COHORT_TOO_SMALL"
    with pytest.raises(BadParametersError):
        certificate(plan, cohort=5, observers=5)


def test_an_epsilon_too_large_for_the_tables_is_refused() -> None:
    """δ's reserve must cover (1 + e^ε) times the sampler's distance, or the certificate would be a guess."""
    loud = dataclasses.replace(PLAN, share_variances=((5, 250_000), (4, 250_000), (3, 250_000)))
    with pytest.raises(BadParametersError) as refused:
        certificate(loud, cohort=5, observers=1)
    assert refused.value.code == "SAMPLER_NOT_EXACT_ENOUGH"
