"""The closed set of clause types: none without words, a permitted case, a refused case, and a shown field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from sekisho.governance.language import Catalogue, Text
from sekisho.governance.language import _placeholders as placeholders
from sekisho.governance.policy.always_clauses import ALWAYS
from sekisho.governance.policy.clause import ClauseType
from sekisho.governance.policy.decide import FACT_CODES, decide
from sekisho.governance.policy.grant_clauses import GRANTS
from sekisho.governance.policy.request import SOURCES
from sekisho.governance.vocabulary import kinds

from .policy_cases import GOOD, REFUSED, kohi, request, request_with

CLOSED_SET = [*ALWAYS.values(), *GRANTS.values()]
TEXTS = Catalogue.load("sekisho.governance", "texts")
REFUSED_TYPES = {(case[3], case[4].split(".")[0], case[5]) for case in REFUSED}


@pytest.mark.parametrize("declared", CLOSED_SET, ids=lambda one: one.name)
def test_a_type_has_words_in_both_languages(declared: ClauseType) -> None:
    base = f"clauses.{declared.name}"
    assert f"{base}.name" in TEXTS and f"{base}.enforce" in TEXTS
    assert (f"{base}.recorded" in TEXTS) == bool(declared.recorded)
    for code in (*declared.codes, *FACT_CODES):
        assert f"clauses.codes.{code}.reason" in TEXTS and f"clauses.codes.{code}.fix" in TEXTS


def test_there_are_no_words_for_what_does_not_exist() -> None:
    codes = {code for declared in CLOSED_SET for code in declared.codes} | set(FACT_CODES)
    names = {declared.name for declared in CLOSED_SET} | {"words", "codes"}
    for key in [key.split(".") for key in TEXTS.keys() if key.startswith("clauses.")]:  # noqa: SIM118
        assert key[1] in names
        assert key[1] != "codes" or key[2] in codes


@pytest.mark.parametrize("declared", CLOSED_SET, ids=lambda one: one.name)
def test_every_field_is_shown_as_enforced_or_as_recorded(declared: ClauseType) -> None:
    enforced = placeholders(TEXTS[f"clauses.{declared.name}.enforce"].en)
    recorded: frozenset[str] = frozenset()
    if declared.recorded:
        recorded = placeholders(TEXTS[f"clauses.{declared.name}.recorded"].en)
    leaves = set(_leaves(declared.model, ""))
    assert enforced | recorded == {leaf.replace(".", "_") for leaf in leaves}
    held = {field.name for field in declared.fields}
    for leaf in leaves:
        # What the text calls enforced is held against a fact; what nobody holds is called recorded.
        under = any(leaf == name or leaf.startswith(name + ".") for name in held)
        assert (leaf.replace(".", "_") in enforced) == under, leaf
    for field in declared.recorded:
        assert field not in held


def _leaves(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        path = prefix + (field.alias or name)
        if field.annotation is Text or path in ("id", "type", "on_exhausted"):
            continue  # a number to cite by, the type itself, and a field that can say one thing only
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation, path + ".")
        else:
            yield path


def test_a_field_left_out_of_the_explanation_can_say_one_thing_only() -> None:
    on_exhausted = ALWAYS["privacy_budget"].model.model_fields["on_exhausted"].annotation
    assert get_origin(on_exhausted) is Literal and get_args(on_exhausted) == ("refuse",)


@pytest.mark.parametrize("declared", CLOSED_SET, ids=lambda one: one.name)
def test_a_type_names_known_sources_vocabularies_and_fields(declared: ClauseType) -> None:
    leaves = set(_leaves(declared.model, ""))
    for field in declared.fields:
        assert field.source in SOURCES
    assert set(declared.labels.values()) <= set(kinds())
    assert set(declared.labels) <= leaves


@pytest.mark.parametrize("declared", CLOSED_SET, ids=lambda one: one.name)
def test_a_type_has_a_permitted_and_a_refused_case_for_each_field(declared: ClauseType) -> None:
    action = declared.name if declared.name in GRANTS else "train"
    decision = decide(kohi(), request_with("action", action))
    mine = [result for result in decision.results if result.type == declared.name]
    assert mine and all(result.passed for result in mine)
    for field in declared.fields:
        name = "train" if declared.name in GRANTS else declared.name  # the grants share their fields
        assert (name, field.name.split(".")[0], field.code) in REFUSED_TYPES, field


def test_the_facts_that_core_fills_are_the_facts_that_are_held() -> None:
    policy = kohi()
    held = {one.fact for provision in (*policy.always, *policy.grants) for one in provision.held}
    assert held == set(GOOD) == set(request().facts)


@pytest.mark.parametrize("fact", sorted(GOOD))
def test_one_fact_has_one_kind_of_constraint_and_one_source(fact: str) -> None:
    policy = kohi()
    held = [one for provision in (*policy.always, *policy.grants) for one in provision.held if one.fact == fact]
    assert len({type(one.allowed) for one in held}) == 1
    assert {one.source for one in held} == {GOOD[fact][1]}
