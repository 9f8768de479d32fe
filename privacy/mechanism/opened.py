"""Counts that were opened: values in subjects with their standard error, and shares with 95 % bounds.

For: reading the integer sum that the sites opened together. Everything here takes an ``OpenedCounts`` and is
    post-processing: the noise is in it, so whatever is computed from it costs nobody anything.
Not for: anything that a site computes from its own records (``counts.local_vote`` is charged for that).

Order of calls: ``OpenedCounts.read(sum, domain, plan, cohort)`` → ``shown``, ``share``; of a validation
``judged.JudgedCounts``.

Bounds speak of the people who were counted: they hold the noise, not how the people were drawn.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..accounting.plan import Plan
from ..budget import value_digest
from ..errors import BadParametersError
from .counts import CountDomain

Z_95 = 1.959963984540054  # two-sided 95 % of the normal distribution


@dataclass(frozen=True)
class Share:
    """A share between 0 and 1; ``low`` and ``high`` bound a two-sided 95 % interval, 0 and 1 where nothing is known."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OpenedCounts:
    """One opened sum of counts.

    Attributes:
        values: one a cell, in subjects, as they were opened: noise can make them negative.
        standard_error: of each value, in subjects: the noise, and rounding at its worst.
    """

    domain: CountDomain
    values: tuple[float, ...]
    standard_error: float

    @classmethod
    def read(cls, total: NDArray[np.int64], domain: CountDomain, plan: Plan, cohort: int) -> OpenedCounts:
        """From the opened integer sum (int64[cells], grid units) of ``cohort`` sites under ``plan``.

        Raises:
            BadParametersError: ``COUNTS_FOREIGN`` when sum, domain and plan do not belong together,
                ``NO_SUCH_COHORT``.
        """
        if plan.cells != domain.cells or total.dtype != np.int64 or total.shape != (plan.dimension,):
            raise BadParametersError("COUNTS_FOREIGN", "the opened sum is not one of this domain's counts")
        # A rounded entry varies by at most a quarter of a grid unit squared.
        variance = cohort * plan.share_variance(cohort) + plan.expected_sample / 4
        values = tuple(float(value) * plan.grid_unit for value in total)
        return cls(domain, values, math.sqrt(variance) * plan.grid_unit)

    def shown(self, cell: str) -> float:
        """A cell's value for people: no fewer than nobody. Sums and shares use the values as they are."""
        return max(0.0, self.values[self._place(cell)])

    def total(self, cells: Collection[str]) -> float:
        """The people in ``cells`` together, as they were opened."""
        return math.fsum(self.values[self._place(cell)] for cell in cells)

    def share(self, part: Collection[str], whole: Collection[str]) -> Share:
        """How large ``part`` (cells) is in ``whole`` (cells), bounded as Fieller does (J. R. Stat. Soc. B 1954).

        The bounds hold at any denominator, small ones included, since only Gaussian noise of known variance is in both.

        Raises:
            BadParametersError: ``COUNTS_FOREIGN`` for cells that are not the domain's, or a part outside the whole.
        """
        inside, outside = set(part), set(whole) - set(part)
        if not inside or not inside <= set(whole):
            raise BadParametersError("COUNTS_FOREIGN", "a share's part is empty or not within its whole")
        hits, rest = self.total(inside), self.total(outside)
        noise = (Z_95 * self.standard_error) ** 2
        everybody = hits + rest
        # All r with (hits − r·everybody)² ≤ z²·Var[hits − r·everybody]: a quadratic in r.
        square = everybody**2 - noise * (len(inside) + len(outside))
        if everybody <= 0 or square <= 0:
            return Share(0.5 if everybody <= 0 else _within_one(hits / everybody), 0.0, 1.0)
        middle = (hits * everybody - noise * len(inside)) / square
        reach = math.sqrt(max(0.0, middle**2 - (hits**2 - noise * len(inside)) / square))
        return Share(_within_one(hits / everybody), _within_one(middle - reach), _within_one(middle + reach))

    def digest(self) -> str:
        """ "sha256:<hex>" over domain and values."""
        return value_digest({"domain": self.domain.digest(), "values": [value.hex() for value in self.values]})

    def _place(self, cell: str) -> int:
        if cell not in self.domain.cells:
            raise BadParametersError("COUNTS_FOREIGN", "there is no such cell in these counts")
        return self.domain.cells.index(cell)


def _within_one(value: float) -> float:
    return min(1.0, max(0.0, value))
