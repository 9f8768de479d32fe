"""A plan is a value that says everything, refuses what does not fit together, and has one digest."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.privacy.accounting.accountant import build_plan
from sekisho.privacy.accounting.plan import Plan, expected_sample
from sekisho.privacy.budget import Adjacency, Unit
from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.mechanism.rotation import Rotation
from sekisho.privacy.mechanism.rounding import MOST_SITES

PLAN = Plan(
    unit=Unit.SUBJECT,
    adjacency=Adjacency.ADD_OR_REMOVE_ONE,
    steps=60,
    allowance=5,
    sampling_rate=Decimal(1),
    clipping_norm=Decimal("0.4"),
    grid=2047,
    dimension=385,
    observers=1,
    sites=5,
    minimum_sites=3,
    expected_sample=4000,
    records_per_subject=6,
    preset="2x24",
    share_variances=((5, 132_252_009), (4, 176_336_012), (3, 264_504_018)),
    epsilon=Decimal(3),
    delta=Decimal("0.00001"),
)


def test_a_plan_survives_its_own_json() -> None:
    text = json.dumps(PLAN.to_json())
    assert Plan.from_json(json.loads(text)) == PLAN
    assert Plan.from_json(json.loads(text)).digest() == PLAN.digest()


def test_equal_figures_have_one_digest_however_they_are_written() -> None:
    respelled = dataclasses.replace(PLAN, clipping_norm=Decimal("0.400"), delta=Decimal("1E-5"))
    assert respelled == PLAN and respelled.digest() == PLAN.digest()


def test_every_field_moves_the_digest() -> None:
    changes: list[dict[str, Any]] = [
        {"unit": Unit.RECORD}, {"steps": 61}, {"allowance": 6}, {"sampling_rate": Decimal("0.5")},
        {"clipping_norm": Decimal("0.5")}, {"grid": 2046}, {"dimension": 386}, {"expected_sample": 4001},
        {"records_per_subject": 5}, {"sites_per_subject": 2}, {"cells": tuple(f"cell-{n}" for n in range(385))},
        {"preset": "1x48"}, {"epsilon": Decimal(4)}, {"delta": Decimal("0.001")},
        {"share_variances": ((5, 132_252_010), (4, 176_336_012), (3, 264_504_018))},
        {"minimum_sites": 4, "share_variances": ((5, 132_252_009), (4, 176_336_012))},
    ]  # fmt: skip
    digests = {dataclasses.replace(PLAN, **change).digest() for change in changes} | {PLAN.digest()}
    assert len(digests) == len(changes) + 1


@pytest.mark.parametrize(
    "change",
    [
        {"observers": 0},
        {"observers": 2},  # three sites, two of them observing: one honest site is left
        {"minimum_sites": 2},
        {"minimum_sites": 6},
        {"sites": 6},
        {"sites": 2**39},
        {"steps": 0},
        {"steps": True},
        {"steps": 60.0},
        {"allowance": -1},
        {"sampling_rate": Decimal("1.01")},
        {"sampling_rate": Decimal(0)},
        {"clipping_norm": Decimal("NaN")},
        {"clipping_norm": 0.4},
        {"grid": 2**30},
        {"grid": 0},
        {"dimension": 0},
        {"expected_sample": 0},
        {"records_per_subject": 0},
        {"preset": "4x12"},
        {"preset": ["2x24"]},
        {"preset": "2x24-rotated", "cells": tuple(f"cell-{n}" for n in range(385))},  # no coordinate is a count then
        {"epsilon": Decimal(-1)},
        {"epsilon": Decimal(5000)},
        {"delta": Decimal(1)},
        {"unit": "subject-ish"},
        {"share_variances": ()},
        {"share_variances": ((5, 132_252_009), (3, 264_504_018))},
        {"share_variances": ((3, 264_504_018), (4, 176_336_012), (5, 132_252_009))},
        {"share_variances": ((5, 15), (4, 176_336_012), (3, 264_504_018))},
        {"share_variances": ((5, 2**29), (4, 176_336_012), (3, 264_504_018))},
        {"share_variances": [[5, 132_252_009]]},
    ],
)
def test_a_plan_that_does_not_fit_together_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadParametersError) as refused:
        dataclasses.replace(PLAN, **change)
    assert refused.value.code == "BAD_PLAN"


@given(st.sampled_from(sorted(PLAN.to_json())), st.none() | st.integers() | st.text() | st.lists(st.integers()))
def test_no_offer_however_odd_escapes_as_another_error(name: str, value: object) -> None:
    offered = PLAN.to_json()
    if offered[name] == value:
        return
    offered[name] = value
    with contextlib.suppress(BadParametersError):
        Plan.from_json(offered)


def test_an_offer_with_a_field_more_or_less_is_refused() -> None:
    less = PLAN.to_json()
    del less["observers"]
    for offered in (less, PLAN.to_json() | {"sigma": "0"}, [], None, PLAN.to_json() | {"schema": "sekisho-plan/2"}):
        with pytest.raises(BadParametersError) as refused:
            Plan.from_json(offered)
        assert refused.value.code == "BAD_PLAN"


def test_noise_follows_the_cohort_not_the_minimum() -> None:
    assert [PLAN.share_variance(size) for size in (5, 4, 3)] == [132_252_009, 176_336_012, 264_504_018]
    assert PLAN.event(4, 9).variance == 176_336_012
    for size in (2, 6, 0):
        with pytest.raises(BadParametersError) as refused:
            PLAN.share_variance(size)
        assert refused.value.code == "NO_SUCH_COHORT"


def test_a_site_seals_only_among_enough_honest_sites_and_enough_noise() -> None:
    for size in (3, 4, 5):
        PLAN.check_sealing_rule(size)
    PLAN.check_sealing_rule(5, observers=3)
    narrow = dataclasses.replace(PLAN, share_variances=((5, 506), (4, 675), (3, 1012)))  # 4·506 = 2024 < 45²
    narrow.check_sealing_rule(4)  # 3·675 = 2025 = 45²
    for plan, size, observers, code in (
        (PLAN, 2, None, "NO_SUCH_COHORT"),
        (PLAN, 3, 2, "COHORT_TOO_SMALL"),
        (PLAN, 5, 4, "COHORT_TOO_SMALL"),
        (narrow, 5, None, "NOISE_TOO_SMALL"),
        (narrow, 3, None, "NOISE_TOO_SMALL"),
    ):
        with pytest.raises(BadParametersError) as refused:
            plan.check_sealing_rule(size, observers=observers)
        assert refused.value.code == code


@pytest.mark.parametrize(("preset", "most"), MOST_SITES.items())
def test_no_plan_has_more_sites_than_its_packing_adds_up(preset: str, most: int) -> None:
    """Whoever offers it: a sum of more could decrypt wrongly."""
    plan = dataclasses.replace(PLAN, preset=preset)

    def with_sites(sites: int) -> Plan:
        table = tuple((size, 200_000_000) for size in range(sites, plan.minimum_sites - 1, -1))
        return dataclasses.replace(plan, sites=sites, share_variances=table)

    assert Plan.from_json(with_sites(most).to_json()).sites == most
    with pytest.raises(BadParametersError) as refused:
        with_sites(most + 1)
    assert refused.value.code == "BAD_PLAN"
    with pytest.raises(BadParametersError) as refused:
        Plan.from_json(with_sites(most).to_json() | {"sites": most + 1})
    assert refused.value.code == "BAD_PLAN"


def test_a_smaller_own_assumption_does_not_loosen_the_plans() -> None:
    strict = dataclasses.replace(
        PLAN, observers=2, minimum_sites=4, share_variances=((5, 132_252_009), (4, 176_336_012))
    )
    with pytest.raises(BadParametersError):
        dataclasses.replace(strict, share_variances=((5, 700), (4, 800))).check_sealing_rule(4, observers=1)


def test_only_steps_that_are_paid_for_have_events() -> None:
    assert PLAN.event(5, 65).step == 65
    for step in (0, 66):
        with pytest.raises(BadParametersError) as refused:
            PLAN.event(5, step)
        assert refused.value.code == "NO_SUCH_STEP"


def test_the_declared_sample_covers_a_poisson_sample() -> None:
    assert expected_sample(4000, Decimal(1)) == 4000
    assert expected_sample(4000, Decimal("0.1")) == 540
    assert expected_sample(1, Decimal("0.01")) == 1
    assert expected_sample(10_000, Decimal("0.04")) == 540


def test_only_a_rotated_preset_has_a_rotation_and_each_step_its_own() -> None:
    rotated = dataclasses.replace(PLAN, preset="2x24-rotated")
    assert PLAN.rotation(b"one") is None and not PLAN.rotated
    assert rotated.rotation(b"one") == Rotation(385, b"one") != rotated.rotation(b"other")
    assert Plan.from_json(rotated.to_json()).rotated


def test_a_plan_of_counts_is_not_rotated() -> None:
    """Where a gradient of the same size is: a count has to stay the count of its cell."""
    figures: dict[str, Any] = {
        "unit": Unit.SUBJECT, "epsilon": Decimal(8), "delta": Decimal("0.00001"), "steps": 2, "allowance": 0,
        "sampling_rate": Decimal(1), "clipping_norm": Decimal(1), "dimension": 4000, "sites": 3, "minimum_sites": 3,
        "observers": 1, "subjects": [100, 100, 100], "records_per_subject": 1,
    }  # fmt: skip
    assert build_plan(**figures).rotated
    counts = build_plan(**figures, cells=tuple(f"cell-{n}" for n in range(4000)))
    assert not counts.rotated and counts.rotation(bytes(32)) is None
