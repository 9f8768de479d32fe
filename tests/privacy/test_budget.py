"""The words of a guarantee, and integer costs whose every rounding goes against the spender."""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal
from fractions import Fraction

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from sekisho.privacy.budget import (
    COST_PER_NAT,
    Adjacency,
    Budget,
    Unit,
    cap_from_nats,
    cost_from_nats,
    decimal_text,
    nats,
    parse_decimal,
    value_digest,
)
from sekisho.privacy.errors import BadParametersError


@given(st.floats(min_value=0, max_value=1000))
def test_a_cost_is_never_rounded_in_the_spenders_favour(spent: float) -> None:
    exact = Fraction(spent) * COST_PER_NAT
    assert exact < cost_from_nats(spent) <= exact + 2
    assert cap_from_nats(spent) <= max(0, exact - 1) + (exact < 1)


@given(st.lists(st.floats(min_value=0, max_value=1), max_size=20))
def test_adding_costs_in_any_order_gives_one_sum_above_the_real_one(spends: list[float]) -> None:
    costs = [cost_from_nats(spend) for spend in spends]
    assert sum(costs) == sum(reversed(costs))
    assert nats(sum(costs)) >= math.fsum(spends)


@pytest.mark.parametrize("bad", [-1e-9, math.inf, math.nan])
def test_a_cost_that_is_not_a_number_is_refused(bad: float) -> None:
    with pytest.raises(BadParametersError) as refused:
        cost_from_nats(bad)
    assert refused.value.code == "BAD_COST"


@pytest.mark.parametrize(
    ("epsilon", "delta"),
    [
        ("0", "0.1"),
        ("-1", "0.1"),
        ("1001", "0.1"),
        ("NaN", "0.1"),
        ("Infinity", "0.1"),
        ("1", "0"),
        ("1", "1"),
    ],
)
def test_a_budget_that_guarantees_nothing_is_refused(epsilon: str, delta: str) -> None:
    with pytest.raises(BadParametersError) as refused:
        Budget(Decimal(epsilon), Decimal(delta), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)
    assert refused.value.code == "BAD_BUDGET"


def test_a_budget_of_floats_is_refused() -> None:
    with pytest.raises(BadParametersError):
        Budget(3.0, Decimal("0.1"), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)  # type: ignore[arg-type]


@given(st.decimals(min_value=0, max_value=10**9, places=12))
def test_equal_decimals_have_one_spelling(value: Decimal) -> None:
    assert (
        decimal_text(value)
        == decimal_text(value.normalize())
        == decimal_text(value + Decimal("0.0000000000000"))
    )
    assert parse_decimal(decimal_text(value)) == value


@pytest.mark.parametrize("text", ["1e-5", "-1", "+1", " 1", "1.", ".5", "01", "NaN", "", 0.4, None, "1" * 99])
def test_a_number_that_is_not_an_exact_decimal_is_refused(text: object) -> None:
    with pytest.raises(BadParametersError) as refused:
        parse_decimal(text)
    assert refused.value.code == "BAD_DECIMAL"


_json = st.recursive(
    st.integers(-(2**53) + 1, 2**53 - 1) | st.text('abcXYZ-_:./ 019"\\'),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcXYZ_", max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(_json)
def test_digests_are_those_of_rfc_8785(value: object) -> None:
    expected = hashlib.sha256(rfc8785.dumps(value)).hexdigest()  # type: ignore[arg-type]
    assert value_digest(value) == "sha256:" + expected


@pytest.mark.parametrize("value", [0.5, True, None, 2**53, "é", "\n", {"a": [1.0]}, {1.5: 1}])
def test_what_has_no_single_form_has_no_digest(value: object) -> None:
    with pytest.raises(BadParametersError) as refused:
        value_digest(value)
    assert refused.value.code == "NOT_CANONICAL"
