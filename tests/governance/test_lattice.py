"""Lattices: what each constraint allows, that its operations agree, and that a value between others is found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.policy.domain import ANY, COUNT, POSITIVE, PROBABILITY, SOME, Domain
from sekisho.governance.policy.lattice import (
    EITHER,
    MUST,
    MUST_NOT,
    Constraint,
    Interval,
    Level,
    OneOf,
    Requires,
    Truth,
    Window,
    Within,
    write,
)
from sekisho.governance.policy.region import find

TERMS = st.sampled_from(["a", "b", "c"])
SETS = st.frozensets(TERMS)
SCALE = ("none", "some", "all")
WHOLE = st.none() | st.integers(-3, 3)
EXACT = st.none() | st.decimals(-2, 2, places=2)
START = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 5).map(lambda days: START + timedelta(days=days))

# For each lattice: its constraints, and values that fit.
LATTICES: list[tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]] = [
    (st.builds(OneOf, SETS), TERMS),
    (st.builds(Within, SETS), SETS),
    (st.builds(Requires, SETS), SETS),
    (st.builds(Interval, WHOLE, WHOLE, st.just(True)), st.integers(-5, 5)),
    (st.builds(Interval, EXACT, EXACT), st.decimals(-3, 3, places=2)),
    (st.builds(Window, st.none() | MOMENTS, st.none() | MOMENTS), MOMENTS),
    (st.builds(lambda least: Level(SCALE, least), st.sampled_from(SCALE)), st.sampled_from(SCALE)),
    (st.builds(Truth, st.frozensets(st.booleans())), st.booleans()),
]


@pytest.mark.parametrize(("constraints", "values"), LATTICES)
def test_operations_agree(constraints: st.SearchStrategy[Any], values: st.SearchStrategy[Any]) -> None:
    @settings(max_examples=120, deadline=None)
    @given(constraints, constraints, values)
    def check(one: Constraint, other: Constraint, value: Any) -> None:
        assert one.fits(value)
        # meet is "both allow"
        assert one.meet(other).contains(value) == (one.contains(value) and other.contains(value))
        # empty is "allows nothing"
        if one.is_empty:
            assert not one.contains(value)
        assert one.is_empty == (find(one, ()) is None)
        # equal constraints are written alike
        assert one.text() == type(one)(**vars(one)).text() and isinstance(one.parts(), tuple)

    check()


@pytest.mark.parametrize(("constraints", "values"), LATTICES)
def test_a_value_inside_one_and_outside_others_is_found_exactly_if_there_is_one(
    constraints: st.SearchStrategy[Any], values: st.SearchStrategy[Any]
) -> None:
    @settings(max_examples=200, deadline=None)
    @given(constraints, st.lists(constraints, max_size=3), st.lists(constraints, max_size=2), values)
    def check(inside: Constraint, outside: list[Constraint], near: list[Constraint], value: Any) -> None:
        found = find(inside, outside, near=near)
        if found is None:
            assert not inside.contains(value) or any(one.contains(value) for one in outside)
        else:
            assert inside.fits(found) and inside.contains(found) and not any(one.contains(found) for one in outside)
            if not outside and near and all(one.contains(value) for one in (inside, *near)):
                assert all(one.contains(found) for one in near)  # as the others like it, where that can be had
        assert (found is None) == (find(inside, outside) is None)

    check()


@settings(max_examples=200, deadline=None)
@given(
    st.builds(Interval, EXACT, EXACT),
    st.lists(st.builds(Interval, EXACT, EXACT), max_size=3),
    st.sampled_from([ANY, COUNT, POSITIVE, PROBABILITY]),
    st.decimals(-3, 3, places=2),
)
def test_a_number_found_is_one_that_the_fact_can_have(
    inside: Interval, outside: list[Interval], domain: Domain, value: Decimal
) -> None:
    found = find(inside, outside, domain)
    if found is None:
        possible = inside.contains(value) and not any(one.contains(value) for one in outside)
        assert not (possible and _can_be(value, domain))
    else:
        assert _can_be(found, domain) and inside.contains(found) and not any(one.contains(found) for one in outside)


def _can_be(value: Decimal, domain: Domain) -> bool:
    if domain.open:
        return (domain.low is None or value > domain.low) and (domain.high is None or value < domain.high)
    return (domain.low is None or value >= domain.low) and (domain.high is None or value <= domain.high)


@pytest.mark.parametrize(
    ("inside", "outside", "expected"),
    [
        (Interval(high=Decimal("3.0000001")), [Interval(high=Decimal(3))], Decimal("3.0000001")),
        (Interval(high=Decimal("1E-60")), [], Decimal("1E-60")),
        (Interval(high=Decimal(3)), [Interval(high=Decimal("3.000"))], None),
        (Interval(low=1, whole=True), [Interval(low=3, whole=True)], 1),
        (Interval(low=2, high=4, whole=True), [Interval(2, 2, True), Interval(4, 4, True)], 3),
        (Interval(Decimal(2), Decimal(4)), [Interval(high=Decimal("3.1")), Interval(low=Decimal("3.2"))],
         Decimal("3.11")),
        (Interval(Decimal(1) / 8, Decimal(1) / 4), [Interval(high=Decimal("0.125" + "0" * 55 + "1"))], Decimal("0.25")),
    ],
)  # fmt: skip
def test_bounds_that_lie_close_together_are_told_apart(
    inside: Interval, outside: list[Interval], expected: Decimal | int | None
) -> None:
    assert find(inside, outside) == expected


def test_a_set_that_cannot_be_empty_needs_a_term() -> None:
    assert find(Within(frozenset()), ()) == frozenset()
    assert find(Within(frozenset()), (), SOME) is None
    assert find(Within(frozenset({"a"})), (Within(frozenset({"b"})),), SOME) == {"a"}
    assert find(Within(frozenset("abcd")), (), SOME) == {"a"}  # of a long list the first will do


def test_of_a_constraint_without_values_known_none_is_made_up() -> None:
    class Odd(OneOf):
        pass

    with pytest.raises(TypeError):
        find(object(), ())  # type: ignore[arg-type]  no constraint at all
    assert find(Odd(frozenset({"a"})), ()) == "a"


@pytest.mark.parametrize(
    ("constraint", "allowed", "refused"),
    [
        (OneOf(frozenset({"a", "b"})), ["a"], ["c", ""]),
        (Within(frozenset({"a", "b"})), [frozenset(), frozenset({"a", "b"})], [frozenset({"a", "c"})]),
        (Requires(frozenset({"a", "b"})), [frozenset({"a", "b", "c"})], [frozenset({"a"}), frozenset()]),
        (Interval(low=3, whole=True), [3, 10**20], [2]),
        (Interval(high=Decimal("3.0")), [Decimal("3"), 3, Decimal("2.9")], [Decimal("3.000000000000000000001")]),
        (Window(START, START + timedelta(days=1)), [START], [START + timedelta(days=1), START - timedelta(seconds=1)]),
        (Level(SCALE, "some"), ["some", "all"], ["none"]),
        (MUST, [True], [False]),
        (MUST_NOT, [False], [True]),
        (EITHER, [True, False], []),
    ],
)
def test_ends_and_edges(constraint: Constraint, allowed: list[Any], refused: list[Any]) -> None:
    assert all(constraint.fits(value) and constraint.contains(value) for value in allowed)
    assert all(constraint.fits(value) and not constraint.contains(value) for value in refused)


@pytest.mark.parametrize(
    ("constraint", "foreign"),
    [
        (OneOf(frozenset({"a"})), [1, None, frozenset({"a"}), True]),
        (Within(frozenset({"a"})), ["a", ["a"], frozenset({1}), None]),
        (Requires(frozenset({"a"})), ["a", ("a",), {"a": 1}]),
        (Interval(low=1, whole=True), [True, 1.0, Decimal(1), "1", None]),
        (Interval(high=Decimal(1)), [True, 0.5, "0.5", Decimal("NaN"), Decimal("-Infinity")]),
        (Window(START), ["2026-01-01", START.replace(tzinfo=None), 0]),
        (Level(SCALE, "some"), ["every", 2, None]),
        (MUST, [1, "true", None]),
    ],
)
def test_a_value_of_another_type_does_not_fit(constraint: Constraint, foreign: list[Any]) -> None:
    assert not any(constraint.fits(value) for value in foreign)


def test_a_level_outside_its_scale_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="not a step"):
        Level(SCALE, "every")


def test_what_is_at_fault_is_named() -> None:
    assert Within(frozenset({"a"})).offending(frozenset({"a", "c", "b"})) == ("b", "c")
    assert Requires(frozenset({"a", "b"})).offending(frozenset({"b"})) == ("a",)
    assert Interval(low=3).offending(2) == ("2",)


def test_values_are_written_without_loss_and_foreign_ones_not_at_all() -> None:
    assert write(Decimal("0.0000010")) == "0.0000010"
    assert write(Decimal("1E+3")) == "1000"
    assert write(frozenset({"b", "a"})) == "a, b"
    assert write(True) == "true"
    assert write(START) == "2026-01-01T00:00:00+00:00"
    assert write(["secret"]) == "list"
    assert write(Decimal("NaN")) == "not a finite number"
    assert len(write("x" * 10_000)) == 200
