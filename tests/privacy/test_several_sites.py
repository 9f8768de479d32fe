"""A person at several sites, or with several records where the record is the unit: all of it under one noise."""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sekisho.privacy.accounting.accountant import (
    build_plan,
    calibrate,
    certificate,
    event_cost,
    filter_epsilon,
    step_cost,
    subject_figure,
    worst_certificate,
)
from sekisho.privacy.accounting.loss import loss_epsilon
from sekisho.privacy.accounting.renyi import divergence, split_bound
from sekisho.privacy.budget import nats
from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.event import LARGEST_CONTRIBUTIONS
from sekisho.tests.oracles.composition import worst_pair
from sekisho.tests.privacy.test_accountant import STUDY
from sekisho.tests.privacy.test_certificate import small
from sekisho.tests.privacy.test_plan import PLAN

LIGHT = {"sampling_rate": Decimal("0.1"), "steps": 150, "allowance": 0}


@pytest.mark.parametrize("change", [{}, LIGHT], ids=["every record", "a tenth"])
def test_a_guarantee_of_three_is_six_point_seven_at_two_sites(change: dict[str, Decimal | int]) -> None:
    """The review's figure: 6.71, where adding Rényi costs would say 4.46 and adding ε would say 6."""
    plan = build_plan(**STUDY | change)
    assert subject_figure(plan, cohort=5, observers=1, contributions=1) == certificate(plan, cohort=5, observers=1)
    two = subject_figure(plan, cohort=5, observers=1, contributions=2)
    assert round(two, 2) == 6.71


@pytest.mark.parametrize(
    "change", [{}, pytest.param(LIGHT, marks=pytest.mark.proof)], ids=["every record", "a tenth"]
)
def test_a_plan_for_two_sites_keeps_its_target_for_a_person_at_two(change: dict[str, Decimal | int]) -> None:
    one, two = build_plan(**STUDY | change), build_plan(**STUDY | change | {"sites_per_subject": 2})
    assert 0.999 * 3 < worst_certificate(two, 1) <= 3
    assert two.event(5, 1).contributions == 2
    # twice the noise over the norm of one vector; a little less where the two coins seldom fall together
    ratio = (two.share_variance(5) / two.grid_bound_squared) / (one.share_variance(5) / one.grid_bound_squared)
    assert 1.8 < math.sqrt(ratio) < 2.02
    # a plan that claims two sites with the noise for one is not certified
    liar = dataclasses.replace(one, sites_per_subject=2)
    assert worst_certificate(liar, 1) > 6.7


def test_at_full_batch_several_sites_are_one_larger_shift() -> None:
    assert loss_epsilon(20.0, 1e-5, 10, 1.0, 2) == loss_epsilon(10.0, 1e-5, 10, 1.0)
    wide = calibrate(epsilon=Decimal(3), delta=Decimal("0.00001"), steps=10, sampling_rate=Decimal(1), contributions=3)
    one = calibrate(epsilon=Decimal(3), delta=Decimal("0.00001"), steps=10, sampling_rate=Decimal(1))
    assert wide == pytest.approx(3 * one, rel=1e-4)


TABLE = [(1, 1.33), (2, 2.86), (4, 6.24), (8, 14.1), (16, 34.0)]


@pytest.mark.parametrize(
    ("records", "epsilon"), [TABLE[0], TABLE[1], *(pytest.param(*row, marks=pytest.mark.proof) for row in TABLE[2:])]
)
def test_what_a_guarantee_for_records_is_worth_to_a_person_with_several(records: int, epsilon: float) -> None:
    """σ = 1, q = 0.01, 500 steps, δ = 1e-5: ε 1.33 for a record is 34 for a person with sixteen."""
    assert loss_epsilon(1.0, 1e-5, 500, 0.01, records) == pytest.approx(epsilon, rel=0.004)


@pytest.mark.parametrize("contributions", [0, LARGEST_CONTRIBUTIONS + 1])
def test_more_contributions_than_are_accounted_for_are_refused(contributions: int) -> None:
    with pytest.raises(BadParametersError) as refused:
        subject_figure(PLAN, cohort=5, observers=1, contributions=contributions)
    assert refused.value.code == "TOO_MANY_CONTRIBUTIONS"
    for sites in (6, LARGEST_CONTRIBUTIONS + 1):  # more than the plan's five, more than anybody's
        with pytest.raises(BadParametersError) as refused:
            dataclasses.replace(PLAN, sites_per_subject=sites)
        assert refused.value.code == "BAD_PLAN"
    with pytest.raises(BadParametersError):
        dataclasses.replace(PLAN.event(5, 1), contributions=LARGEST_CONTRIBUTIONS + 1)


# --- what the ledger is charged


@pytest.mark.parametrize("rate", ["1", "0.3", "0.01"])
@pytest.mark.parametrize("contributions", [2, 3])
@pytest.mark.parametrize("order", [2, 3, 8])
def test_a_cost_covers_both_directions_of_the_discrete_mechanism(rate: str, contributions: int, order: int) -> None:
    plan = dataclasses.replace(small(4.0, rate, "0.00001"), sites_per_subject=contributions)
    pair = worst_pair(plan, 3, contributions)
    known = (pair[0] > 0) & (pair[1] > 0)
    one, none = pair[0][known], pair[1][known]
    cost = nats(event_cost(plan.event(3, 1), order))
    for upper, lower in ((one, none), (none, one)):
        assert cost >= math.log(np.sum(upper * (upper / lower) ** (order - 1))) / (order - 1)
    # and the second site is what makes the difference
    assert nats(event_cost(dataclasses.replace(plan.event(3, 1), contributions=1), order)) < cost / 1.9


@given(
    order=st.integers(2, 64),
    rate=st.floats(0.001, 0.999),
    sigma=st.floats(0.5, 200),
    contributions=st.integers(2, 5),
)
@settings(max_examples=60, deadline=None)
def test_no_divergence_is_above_the_bound_that_splits_the_noise(
    order: int, rate: float, sigma: float, contributions: int
) -> None:
    """Two proofs of one quantity: s independent steps with a part of the noise each bound it from above."""
    cost = divergence(order, rate, sigma**2, contributions)
    assert cost <= split_bound(order, rate, sigma**2, contributions) * (1 + 1e-9) + 2e-11
    assert cost >= divergence(order, rate, sigma**2, contributions - 1) * (1 - 1e-9)


@given(angle=st.floats(0, math.pi), shorter=st.floats(0.1, 1), rate=st.sampled_from([0.1, 0.5, 0.9]))
@settings(max_examples=12, deadline=None)
def test_two_vectors_that_point_apart_tell_no_more_than_two_that_agree(
    angle: float, shorter: float, rate: float
) -> None:
    """The worst pair of corollary 4.7, tried on the plane: δ of any two vectors is at most that of two equal ones."""
    sigma, grid = 1.2, np.linspace(-8.0, 10.0, 361)
    x, y = np.meshgrid(grid, grid)

    def density(a: float, b: float) -> NDArray[np.float64]:
        return np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * sigma**2)) / (2 * math.pi * sigma**2) * 0.05**2

    def deltas(first: tuple[float, float], second: tuple[float, float]) -> list[float]:
        none, both = density(0, 0), density(first[0] + second[0], first[1] + second[1])
        either = density(*first) + density(*second)
        one = (1 - rate) ** 2 * none + rate * (1 - rate) * either + rate**2 * both
        pairs = [(one, none), (none, one)]
        return [float(np.maximum(0, a - math.exp(e) * b).sum()) for a, b in pairs for e in (0.1, 0.5, 2.0)]

    apart = deltas((1, 0), (shorter * math.cos(angle), shorter * math.sin(angle)))
    together = deltas((1, 0), (1, 0))
    assert all(a <= b + 1e-6 for a, b in zip(apart, together, strict=True))


@pytest.mark.parametrize("rate", ["1", pytest.param("0.1", marks=pytest.mark.proof)])
def test_certificate_and_ledger_agree_on_who_is_dearer(rate: str) -> None:
    """The filter's ε is a bound of the same run's certificate, and not a loose one."""
    plan = build_plan(**STUDY | {"sampling_rate": Decimal(rate), "sites_per_subject": 2})
    spent = [step_cost(plan, observers=1, order=order) * plan.total_steps for order in range(2, 20)]
    by_filter = min(filter_epsilon(cost, order, plan.delta) for order, cost in enumerate(spent, start=2))
    assert worst_certificate(plan, 1) <= by_filter <= 1.2 * worst_certificate(plan, 1)
