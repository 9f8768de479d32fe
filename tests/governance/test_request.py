"""Requests: frozen, written alike when equal, and silent about values of foreign types."""

from __future__ import annotations

from decimal import Decimal

import pytest

from sekisho.governance.policy.request import SOURCES, Fact, Request

from .policy_cases import request


def test_a_request_keeps_what_it_was_built_with() -> None:
    facts = {"steps": Fact(1, "study")}
    asked = Request(facts)
    facts["steps"] = Fact(2, "study")
    assert asked.get("steps") == Fact(1, "study")
    with pytest.raises(TypeError):
        asked.facts["steps"] = Fact(3, "study")  # type: ignore[index]


def test_an_unknown_value_is_no_value() -> None:
    assert Request({"steps": Fact(None, "study")}).get("steps") is None
    assert Request({}).get("steps") is None


def test_order_changes_nothing_and_value_and_source_change_the_digest() -> None:
    one = Request({"a": Fact(frozenset({"x", "y"}), "study"), "b": Fact(Decimal("1.0"), "roster")})
    two = Request({"b": Fact(Decimal("1.0"), "roster"), "a": Fact(frozenset({"y", "x"}), "study")})
    assert one == two and one.digest == two.digest and hash(one) == hash(two)
    assert one.to_json()["a"] == {"value": "x, y", "source": "study"}
    for other in (
        Request({**one.facts, "b": Fact(Decimal("1.1"), "roster")}),
        Request({**one.facts, "b": Fact(Decimal("1.0"), "study")}),
    ):
        assert other.digest != one.digest


def test_a_foreign_value_is_named_by_its_type_alone() -> None:
    assert Request({"a": Fact(["a secret"], "study")}).to_json()["a"]["value"] == "list"


def test_only_the_study_is_the_word_of_somebody_outside() -> None:
    assert {fact.source for fact in request().facts.values()} == set(SOURCES)
