"""Several policies together: exactly what each permits, whose clause binds, and a fix that everybody accepts."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings

from sekisho.governance.errors import Refused
from sekisho.governance.policy import combine as combining
from sekisho.governance.policy.combine import Combination, Obstacle, Place, combine, describe, obstacles
from sekisho.governance.policy.decide import decide
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.region import find
from sekisho.governance.policy.request import Fact, Request

from .policy_cases import KOHI, kohi, request, request_with
from .policy_generator import BY_CHANCE, can_be, changed, fitting_facts, parsed, policy_document, request_of, spoilt


def edited(*edits: tuple[str, str]) -> Policy:
    text = KOHI.decode()
    for before, after in edits:
        assert before in text, before
        text = text.replace(before, after, 1)
    return Policy.parse(text.encode(), "edited.yaml")


def bound(combination: Combination, fact: str) -> tuple[str, set[tuple[str, str]]]:
    found = next(one for one in (*combination.always, *combination.grants[0].bounds) if one.fact == fact)
    return found.allowed.text(), {(place.site, place.clause) for place in found.binding}


PURPOSE = '["dpv:ImproveExistingProductsAndServices", "dpv:ResearchAndDevelopment"]'


@settings(max_examples=25, deadline=None)
@given(BY_CHANCE)
def test_a_request_is_permitted_by_all_exactly_if_it_is_within_the_combination(random: Random) -> None:
    first = policy_document(random)
    documents = [first, *(changed(random, first) for _ in range(random.choice((1, 2))))]
    policies = {f"site-{place}": parsed(document) for place, document in enumerate(documents)}
    combination = combine(policies)
    for _ in range(10):
        facts = fitting_facts(random, random.choice(documents))
        asked = request_of(spoilt(random, facts, fitting_facts(random, random.choice(documents))))
        by_all = all(decide(policy, asked).permitted for policy in policies.values())
        assert combination.permits(asked) == by_all
        assert not by_all or not combination.conflicts or not can_be(asked)
    example = combination.example
    assert (example is None) == bool(combination.conflicts)
    if example is not None:
        assert combination.permits(example)
        assert all(decide(policy, example).permitted for policy in policies.values())


@settings(max_examples=25, deadline=None)
@given(BY_CHANCE)
def test_every_fix_together_is_accepted_by_every_site(random: Random) -> None:
    first = policy_document(random)
    documents = {"a": first, "b": changed(random, first), "c": changed(random, first)}
    policies = {site: parsed(document) for site, document in documents.items()}
    facts = spoilt(random, fitting_facts(random, first), fitting_facts(random, policy_document(random)))
    requests = {site: request_of(facts) for site in policies}
    found = obstacles(policies, requests)
    assert bool(found) == any(not decide(policies[site], requests[site]).permitted for site in policies)
    assert {one.site for one in found} >= {
        site for site in policies if not decide(policies[site], requests[site]).permitted
    }
    if all(one.range is not None for one in found):
        assert all(decide(policy, mended(found, requests[site], policy)).permitted for site, policy in policies.items())
    else:
        assert all(one.against for one in found if one.range is None)


def mended(found: tuple[Obstacle, ...], asked: Request, policy: Policy) -> Request:
    """The request with every obstacle's fact set to a value of its fix."""
    held = {one.fact: one for part in (*policy.always, *policy.grants) for one in part.held}
    facts: dict[str, Fact] = dict(asked.facts)
    for one in found:
        assert one.range is not None
        if one.fact in held:
            facts[one.fact] = Fact(find(one.range, (), held[one.fact].domain), held[one.fact].source)
    return Request(facts)


def test_each_bound_names_the_clause_that_binds_it() -> None:
    policies = {
        "kohi": kohi(),
        "chaya": edited(('per_run: {epsilon: "3.2"', 'per_run: {epsilon: "2.0"'), ("min_sites: 3", "min_sites: 4"),
                        ("destinations: [JP]", "destinations: [JP, DE]")),
    }  # fmt: skip
    combination = combine(policies)
    assert bound(combination, "budget.run_epsilon") == ("<= 2.0", {("chaya", "8")})
    assert bound(combination, "cohort.sites") == (">= 4", {("chaya", "6")})
    assert bound(combination, "transfer.destinations") == ("within {JP}", {("kohi", "4")})
    assert bound(combination, "stop.active") == ("false", {("kohi", "2"), ("chaya", "2")})  # both, or neither
    assert [dict(one.ids) for one in combination.grants] == [
        {"kohi": "G1", "chaya": "G1"}, {"kohi": "G2", "chaya": "G2"},
    ]  # fmt: skip
    assert combination.conflicts == () and combination.example is not None
    lifetime = next(one for one in combination.always if one.fact == "budget.lifetime_epsilon")
    assert lifetime.measured and lifetime.allowed.text().startswith("<= ")


def test_two_clauses_that_exclude_each_other_leave_nothing_and_are_named() -> None:
    other = edited(("scope: fl-training/2026-11", "scope: fl-training/2027-11"))
    combination = combine({"kohi": kohi(), "chaya": other})
    assert combination.example is None and not combination.permits(request())
    (conflict,) = combination.conflicts
    assert conflict.fact == "legal_basis.scope"
    assert {place.site for place in conflict.binding} == {"kohi", "chaya"}
    assert combination.to_json()["example"] is None


def test_grants_that_have_nothing_in_common_leave_nothing_and_the_closest_are_named() -> None:
    other = edited((PURPOSE, '["dpv:CustomerCare"]'), (PURPOSE, '["dpv:CustomerCare"]'))
    combination = combine({"kohi": kohi(), "chaya": other})
    assert combination.grants == () and combination.example is None
    assert [one.fact for one in combination.conflicts] == ["purpose"]


def test_too_many_combinations_are_refused_and_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(combining, "MOST_COMBINATIONS", 1)
    with pytest.raises(Refused) as caught:
        combine({"kohi": kohi()})
    assert caught.value.code == "TOO_MANY_COMBINATIONS" and caught.value.hint


# -- whose clause stands in the way ----------------------------------------------------------------------------------


def asked(policies: Mapping[str, Policy], **changes: Any) -> dict[str, Request]:
    return dict.fromkeys(policies, request(**changes))


def test_nothing_stands_in_the_way_of_what_all_permit() -> None:
    policies = {"kohi": kohi(), "chaya": kohi()}
    assert obstacles(policies, asked(policies)) == ()


def test_the_fix_is_what_all_sites_accept_and_not_only_the_one_that_refuses() -> None:
    strict = edited(("min_sites: 3", "min_sites: 6"))
    stricter = edited(("min_sites: 3", "min_sites: 8"))
    policies = {"kohi": kohi(), "chaya": strict, "tofu": stricter}
    found = obstacles(policies, asked(policies))  # five sites
    assert [(one.site, one.clause, one.code, one.allowed, one.observed, one.fix_in_study) for one in found] == [
        ("chaya", "6", "COHORT_TOO_SMALL", ">= 6", "5", ">= 8"),
        ("tofu", "6", "COHORT_TOO_SMALL", ">= 8", "5", ">= 8"),
    ]
    assert all(one.fix_in_policy == "6" and one.against == () for one in found)


def test_where_no_value_satisfies_all_the_clauses_that_exclude_each_other_are_named() -> None:
    other = edited(("scope: fl-training/2026-11", "scope: fl-training/2027-11"))
    policies = {"kohi": kohi(), "chaya": other}
    (only,) = obstacles(policies, asked(policies))
    assert (only.site, only.code, only.fix_in_study) == ("chaya", "SCOPE_NOT_COVERED", None)
    assert set(only.against) == {Place("kohi", "3", "consent.scope"), Place("chaya", "3", "consent.scope")}
    study, policy = describe(only)
    assert "chaya 3" in study.en and "kohi 3" in study.ja and "clause 3" in policy.en and "第3条" in policy.ja


def test_the_fix_of_a_grant_is_one_that_another_site_grants_too() -> None:
    other = edited((PURPOSE, '["dpv:ResearchAndDevelopment", "dpv:CustomerCare"]'))
    policies = {"kohi": kohi(), "chaya": other}
    (only,) = obstacles(policies, asked(policies))
    assert (only.site, only.clause, only.code) == ("chaya", "G1", "PURPOSE_NOT_GRANTED")
    assert only.fix_in_study == "one of {dpv:ResearchAndDevelopment}"
    assert only.to_json()["against"] == [] and "range" not in only.to_json()


def test_of_several_grants_those_are_looked_at_that_have_something_in_common() -> None:
    text = KOHI.decode()
    start, end = text.index("  - id: G1"), text.index("  - id: G2")
    mine = text[start:end].replace(PURPOSE, '["dpv:CustomerCare"]')
    theirs = text[start:end].replace(PURPOSE, '["dpv:ServiceOptimisation"]')
    shared = text[start:end].replace(PURPOSE, '["dpv:CommercialResearch"]').replace("G1", "G3")
    policies = {
        "kohi": Policy.parse((text[:start] + mine + text[end:] + shared).encode(), "a"),
        "chaya": Policy.parse((text[:start] + theirs + text[end:] + shared).encode(), "b"),
    }
    found = obstacles(policies, asked(policies))
    assert {(one.clause, one.fix_in_study) for one in found} == {("G3", "one of {dpv:CommercialResearch}")}


def test_a_missing_fact_is_an_obstacle_like_any_other() -> None:
    policies = {"kohi": kohi()}
    (only,) = obstacles(policies, {"kohi": request_with("steps", None)})
    assert (only.code, only.observed, only.fix_in_study) == ("FACT_MISSING", None, "<= 120")


def test_an_action_that_nobody_grants_has_no_fix_but_in_the_policies() -> None:
    text = KOHI.decode()
    release = Policy.parse((text[: text.index("  - id: G1")] + text[text.index("  - id: G2") :]).encode(), "release")
    train = Policy.parse(text[: text.index("  - id: G2")].encode(), "train")
    policies = {"kohi": train, "chaya": release}
    assert [one.fact for one in combine(policies).conflicts] == ["action"]
    found = obstacles(policies, asked(policies))
    assert {(one.site, one.code, one.fix_in_study) for one in found} == {("chaya", "ACTION_NOT_GRANTED", None)}


def test_the_grants_of_the_action_asked_for_are_the_answer_though_another_fails_less() -> None:
    text = KOHI.decode()
    start = text.index("  - id: G2")
    release = text[start:].replace(PURPOSE, '["dpv:CustomerCare"]', 1)
    policies = {"kohi": Policy.parse((text[:start] + release).encode(), "kohi")}
    wanted = {"purpose": Fact("dpv:CustomerCare", "study"), "steps": Fact(500, "study")}
    found = obstacles(policies, asked(policies, **wanted))
    assert {(one.clause, one.code) for one in found} == {("G1", "PURPOSE_NOT_GRANTED"), ("G1", "TOO_MANY_STEPS")}
