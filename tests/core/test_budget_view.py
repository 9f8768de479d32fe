"""What a site is told of its budget: never less than was spent, never more left than is."""

from __future__ import annotations

from decimal import Decimal

import pytest

from sekisho.core.site.budget import view_of
from sekisho.privacy.accounting.accountant import filter_cap, filter_epsilon, filter_order
from sekisho.privacy.accounting.reading import Balance, RunRow
from sekisho.privacy.budget import Adjacency, Budget, Unit

BUDGET = Budget(Decimal("7.5"), Decimal("0.00001"), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)


@pytest.mark.parametrize("tenths", range(1, 11))
def test_the_figure_is_rounded_up(tenths: int) -> None:
    order = filter_order(BUDGET)
    cap = filter_cap(BUDGET, order)
    cost = cap * tenths // 10
    run = RunRow(run="probe-1", steps=1, started=1, disclosed=1, charged=1, step_cost=cost, state="closed")
    balance = Balance(cap=cap, order=order, subjects=1, spent_max=cost, spent_min=cost, runs=(run,))
    exact = Decimal(repr(filter_epsilon(cost, order, BUDGET.delta)))
    shown = Decimal(view_of("ame", balance, BUDGET).epsilon_spent)
    assert exact <= shown < exact + Decimal("0.0001")
