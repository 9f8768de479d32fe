"""Decisions: default deny, a reason for every no, and nothing that a missing or borrowed fact could open."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.canonical import digest
from sekisho.governance.document import read_document
from sekisho.governance.policy.decide import Decision, decide
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.request import SOURCES, Fact, Request
from sekisho.tests.oracles.evaluator import refusing

from .policy_cases import GOOD, KOHI, REFUSED, kohi, request, request_with
from .policy_generator import BY_CHANCE, Document, fitting_facts, parsed, policy_document, request_of, spoilt

POLICY = kohi()


def test_a_request_that_holds_everything_is_permitted_by_its_grant() -> None:
    decision = decide(POLICY, request())
    assert decision.permitted and decision.grant == "G1" and decision.nearest_grant is None
    assert decision.failed == () and len(decision.results) == 26 + 8  # all of always, and one grant
    release = decide(POLICY, request_with("action", "release"))
    assert release.permitted and release.grant == "G2"


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[5])
def test_one_value_outside_is_refused_by_its_clause_alone(case: tuple[str, Any, str, str, str, str]) -> None:
    fact, value, clause, kind, field, code = case
    decision = decide(POLICY, request_with(fact, value))
    assert not decision.permitted
    assert [(one.clause, one.type, one.field, one.code) for one in decision.failed] == [(clause, kind, field, code)]
    (failed,) = decision.failed
    assert failed.fact == fact and failed.source == GOOD[fact][1] and failed.allowed and failed.observed


@pytest.mark.parametrize("fact", sorted(GOOD))
def test_a_missing_fact_denies(fact: str) -> None:
    for gone in (request(**{fact: None}), request_with(fact, None)):
        decision = decide(POLICY, gone)
        assert not decision.permitted
        assert {(one.fact, one.code, one.observed, one.source) for one in decision.failed} == {
            (fact, "FACT_MISSING", None, None)
        }


@pytest.mark.parametrize("fact", sorted(GOOD))
def test_a_fact_on_the_word_of_another_source_denies(fact: str) -> None:
    value, source = GOOD[fact]
    for other in (*SOURCES, "coordinator", ""):
        if other != source:
            decision = decide(POLICY, request_with(fact, value, other))
            assert {one.code for one in decision.failed} == {"FACT_SOURCE"}


@pytest.mark.parametrize("fact", sorted(GOOD))
def test_a_fact_of_another_type_denies_and_never_raises(fact: str) -> None:
    good, _ = GOOD[fact]
    foreign: list[Any] = [1.0, b"x", object(), [], {"a": 1}, Decimal("NaN"), datetime(2026, 11, 23), (1,)]
    foreign += [value for value in ("1", "true", 1, True, frozenset({"JP"})) if type(value) is not type(good)]
    for value in foreign:
        if isinstance(good, Decimal) and type(value) is int:
            continue  # a whole number is an exact number
        decision = decide(POLICY, request_with(fact, value))
        assert {one.code for one in decision.failed} == {"FACT_TYPE"}, value


def test_an_empty_request_fails_every_clause_and_says_so() -> None:
    decision = decide(POLICY, Request({}))
    assert {one.clause for one in decision.failed} >= {provision.id for provision in POLICY.always}
    assert {one.code for one in decision.failed} == {"FACT_MISSING"}


def test_a_fact_that_no_clause_asks_for_changes_nothing_but_the_digest_of_the_request() -> None:
    plain = decide(POLICY, request())
    more = decide(POLICY, request(approvals__business=Fact(0, "roster"), unheard_of=Fact(object(), "nobody")))
    assert more.permitted and more.results == plain.results and more.request != plain.request


def test_the_nearest_grant_is_of_the_same_action_and_fails_least() -> None:
    head, release = KOHI.decode().split("  - id: G2")
    policy = Policy.parse((head + "  - id: G2" + release.replace("[", '["dpv:DirectMarketing", ', 1)).encode(), "p")
    purpose = decide(policy, request(purpose=Fact("dpv:DirectMarketing", "study"), steps=Fact(500, "study")))
    assert purpose.nearest_grant == "G1"  # two failures; G2 fails in its action alone, and is no answer to the question
    assert {one.code for one in purpose.failed} == {"PURPOSE_NOT_GRANTED", "TOO_MANY_STEPS"}
    assert decide(POLICY, request_with("action", "sell")).nearest_grant == "G1"  # the first of equals
    assert purpose.grant is None and not purpose.permitted


def test_no_mixture_of_two_grants_is_permitted() -> None:
    text = KOHI.decode().replace(
        '    action: release\n    purposes: ["dpv:ImproveExistingProductsAndServices", "dpv:ResearchAndDevelopment"]',
        '    action: train\n    max_steps: 10\n    purposes: ["dpv:CustomerCare"]',
    )
    policy = Policy.parse(text.encode(), "mixed.yaml")
    assert decide(policy, request(purpose=Fact("dpv:CustomerCare", "study"), steps=Fact(10, "study"))).grant == "G2"
    mixed = decide(policy, request(purpose=Fact("dpv:CustomerCare", "study"), steps=Fact(60, "study")))
    assert not mixed.permitted


def test_the_same_policy_and_request_give_the_same_decision_byte_for_byte() -> None:
    first, second = decide(kohi(), request()), decide(kohi(), request())
    assert first == second and first.digest == second.digest == digest(first.to_json())
    assert decide(POLICY, request_with("steps", 61)).digest != first.digest
    assert first.policy == POLICY.canonical_digest and first.request == request().digest


def test_a_decision_cannot_be_changed_afterwards() -> None:
    decision = decide(POLICY, request_with("cohort.sites", 1))
    with pytest.raises(AttributeError):
        decision.permitted = True  # type: ignore[misc]


DOCUMENT = read_document(KOHI, name="kohi.yaml").value
SPOILS = st.lists(
    st.one_of(
        st.sampled_from([(case[0], case[1], None) for case in REFUSED]),
        st.sampled_from([(name, None, None) for name in GOOD]),
        st.sampled_from([(name, GOOD[name][0], "coordinator") for name in GOOD]),
        st.sampled_from([(name, 0.5, None) for name in GOOD]),
        st.just(("action", "release", None)),
    ),
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(SPOILS)
def test_a_second_evaluator_refuses_by_the_same_clauses(spoils: list[tuple[str, Any, str | None]]) -> None:
    facts = dict(GOOD)
    for name, value, source in spoils:
        facts[name] = (value, GOOD[name][1] if source is None else source)
    decision = decide(POLICY, Request({name: Fact(value, source) for name, (value, source) in facts.items()}))
    grants = {provision.id for provision in POLICY.grants}
    refused = {"grants" if one.clause in grants else one.clause for one in decision.failed}
    assert refused == refusing(DOCUMENT, facts)
    assert decision.permitted == (not refused)
    assert all(one.code and one.allowed for one in decision.failed)
    _well_formed(decision)


def _well_formed(decision: Decision) -> None:
    shown = {one.clause for one in decision.results}
    assert {provision.id for provision in POLICY.always} <= shown  # every clause is always evaluated
    assert (decision.grant is None) != (decision.nearest_grant is None)
    assert all((one.code is None) == one.passed for one in decision.results)


@settings(max_examples=100, deadline=None)
@given(SPOILS, st.sets(st.sampled_from(range(11))), st.sampled_from([0, 1]))
def test_a_clause_never_widens_and_a_grant_never_narrows(
    spoils: list[tuple[str, Any, str | None]], kept: set[int], grant: int
) -> None:
    asked = request(**{name: Fact(value, source or GOOD[name][1]) for name, value, source in spoils})
    fewer_clauses = replace(POLICY, always=tuple(POLICY.always[index] for index in sorted(kept)))
    one_grant = replace(POLICY, grants=(POLICY.grants[grant],))
    if decide(POLICY, asked).permitted:
        assert decide(fewer_clauses, asked).permitted
    if decide(one_grant, asked).permitted:
        assert decide(POLICY, asked).permitted


def agreed(random: Random, document: Document, other: Document, requests: int, seen: Counter[bool]) -> None:
    """Ask our decision and the second evaluator about some requests; count what was permitted."""
    policy = parsed(document)
    grants = {provision.id for provision in policy.grants}
    for _ in range(requests):
        facts = spoilt(random, fitting_facts(random, document), fitting_facts(random, other))
        decision = decide(policy, request_of(facts))
        refused = {"grants" if one.clause in grants else one.clause for one in decision.failed}
        assert refused == refusing(document, facts)
        assert decision.permitted == (not refused)
        _well_formed(decision)
        seen[decision.permitted] += 1


@settings(max_examples=40, deadline=None)
@given(BY_CHANCE)
def test_a_second_evaluator_agrees_on_policies_by_chance(random: Random) -> None:
    agreed(random, policy_document(random), policy_document(random), 15, Counter())


@pytest.mark.proof
def test_a_second_evaluator_agrees_on_a_hundred_thousand_pairs_of_policy_and_request() -> None:
    seen: Counter[bool] = Counter()
    for seed in range(2000):
        random = Random(seed)
        agreed(random, policy_document(random), policy_document(random), 52, seen)
    total = seen.total()
    print(f"{total} pairs, {seen[True] / total:.1%} permitted")
    assert total >= 100_000 and min(seen[True], seen[False]) / total >= 0.1
