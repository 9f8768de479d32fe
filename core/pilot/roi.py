"""What a study is worth: value, cost and return, computed from the study's own figures.

What it is for: turning the figures that the project owner wrote into study.yaml before any run into a value per year,
the first year's cost, a return and the months until the pilot has paid for itself. What it is NOT for: measuring value.
A pilot measures accuracy; minutes saved and prices are the owner's assumptions, and the report says so.

Order of calls: `RoiInput` (filled from the study) -> `roi(...)` -> `Roi`. Exact decimals throughout, no floats.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MINUTES_PER_HOUR = 60
MONTHS_PER_YEAR = 12
RATIO_PLACES = Decimal("0.01")      # a return is read as a percentage
MONEY_PLACES = Decimal(1)           # whole units of currency: assumptions are no more exact than that
MONTH_PLACES = Decimal("0.1")

# Far above any study, far below where 28-digit decimals would round.
Amount = Annotated[Decimal, Field(ge=0, le=10**12, allow_inf_nan=False)]


class RoiInput(BaseModel):
    """The owner's figures: counts per year, minutes per review, money per hour, shares between 0 and 1."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    currency: str = Field(pattern=r"^[A-Z]{3}$")                      # ISO 4217
    reviews_per_year: int = Field(ge=0, le=10**12)
    minutes_saved_per_review: Amount
    cost_per_hour: Amount
    share_handled: Decimal = Field(ge=0, le=1, allow_inf_nan=False)   # of the reviews, by the model alone
    pilot_cost: Amount
    yearly_cost: Amount
    threshold: Decimal = Field(ge=-1, le=10**6, allow_inf_nan=False)  # 0.5: the first year returns 50 % of its cost


class Roi(BaseModel):
    """The first year's figures in ``currency``; ``ratio`` is (value - cost) / cost."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    currency: str
    value_per_year: Decimal
    cost_first_year: Decimal
    ratio: Decimal | None            # None: nothing was spent, so there is no return to speak of
    threshold: Decimal
    payback_months: Decimal | None   # None: the value does not exceed the running cost, so it never pays back
    met: bool
    figures: RoiInput


def roi(figures: RoiInput) -> Roi:
    """The return of the first year: value of the minutes saved, against the pilot plus one year of running it."""
    hours = figures.reviews_per_year * figures.share_handled * figures.minutes_saved_per_review / MINUTES_PER_HOUR
    value = hours * figures.cost_per_hour
    cost = figures.pilot_cost + figures.yearly_cost
    exact = (value - cost) / cost if cost else None
    surplus = (value - figures.yearly_cost) / MONTHS_PER_YEAR
    months = figures.pilot_cost / surplus if surplus > 0 else None
    return Roi(
        currency=figures.currency,
        value_per_year=_round(value, MONEY_PLACES),
        cost_first_year=_round(cost, MONEY_PLACES),
        ratio=None if exact is None else _round(exact, RATIO_PLACES),
        threshold=figures.threshold,
        payback_months=None if months is None else _round(months, MONTH_PLACES),
        met=exact is not None and exact >= figures.threshold,   # held before rounding: .499 is not .50
        figures=figures,
    )


def _round(value: Decimal, places: Decimal) -> Decimal:
    return value.quantize(places, rounding=ROUND_HALF_EVEN)
