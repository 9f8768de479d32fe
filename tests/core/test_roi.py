"""Value, cost and return: exact, from the study's own figures."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sekisho.core.pilot.roi import RoiInput, roi


def figures(**changes: object) -> RoiInput:
    values: dict[str, object] = {
        "currency": "JPY", "reviews_per_year": 120_000, "minutes_saved_per_review": Decimal("1.5"),
        "cost_per_hour": Decimal("2400"), "share_handled": Decimal("0.6"), "pilot_cost": Decimal("1200000"),
        "yearly_cost": Decimal("900000"), "threshold": Decimal("0.5"),
    }
    return RoiInput(**{**values, **changes})


def test_worked_example() -> None:
    # 120,000 x 0.6 x 1.5 min = 1,800 h; x 2,400 = 4,320,000 a year, against 2,100,000 in the first
    result = roi(figures())
    assert result.value_per_year == 4_320_000
    assert result.cost_first_year == 2_100_000
    assert result.ratio == Decimal("1.06")
    assert result.payback_months == Decimal("4.2")
    assert result.met


def test_threshold_is_held_before_rounding() -> None:
    # (value - cost) / cost = 0.499..., shown as 0.50
    result = roi(figures(pilot_cost=Decimal("1980960"), yearly_cost=Decimal("900000"), threshold=Decimal("0.5")))
    assert result.ratio == Decimal("0.50")
    assert not result.met
    assert roi(figures(pilot_cost=Decimal("1980000"), threshold=Decimal("0.5"))).met


def test_running_cost_above_value_never_pays_back() -> None:
    result = roi(figures(yearly_cost=Decimal("4320000")))
    assert result.payback_months is None
    assert not result.met


def test_no_cost_is_no_return_to_boast_of() -> None:
    result = roi(figures(pilot_cost=Decimal(0), yearly_cost=Decimal(0)))
    assert result.ratio is None and not result.met


@pytest.mark.parametrize("change", [
    {"share_handled": Decimal("1.01")}, {"pilot_cost": Decimal("-1")}, {"cost_per_hour": Decimal("NaN")},
    {"yearly_cost": Decimal("Infinity")}, {"currency": "yen"}, {"reviews_per_year": -1}, {"pilot_cost": 1.5},
])
def test_impossible_figures_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        figures(**change)


amounts = st.decimals(min_value=0, max_value=10**9, places=2)


@settings(max_examples=50)
@given(pilot=amounts, yearly=amounts, more=amounts)
def test_a_dearer_pilot_never_has_the_better_return(pilot: Decimal, yearly: Decimal, more: Decimal) -> None:
    cheap = roi(figures(pilot_cost=pilot, yearly_cost=yearly))
    dear = roi(figures(pilot_cost=pilot + more, yearly_cost=yearly))
    if cheap.ratio is not None and dear.ratio is not None:
        assert dear.ratio <= cheap.ratio
        assert cheap.met or not dear.met
