"""Comparing: exact in both directions, a witness for every difference, and what a clause or a grant can change."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.canonical import digest
from sekisho.governance.policy.compare import Verdict, Witness, compare
from sekisho.governance.policy.decide import decide
from sekisho.governance.policy.domain import Domain
from sekisho.governance.policy.lattice import Interval, Requires, Within
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.region import find
from sekisho.governance.policy.request import Fact, Request
from sekisho.governance.vocabulary import terms
from sekisho.tests.oracles.containment import permits_more

from .policy_cases import KOHI, kohi, request, request_with
from .policy_generator import (
    BY_CHANCE,
    Document,
    always_clause,
    can_be,
    changed,
    fitting_facts,
    grant,
    numbered,
    parsed,
    policy_document,
    request_of,
    spoilt,
)

SAME, NARROWER, WIDER, INCOMPARABLE = Verdict.SAME, Verdict.NARROWER, Verdict.WIDER, Verdict.INCOMPARABLE
NOT_WIDER, NOT_NARROWER = {SAME, NARROWER}, {SAME, WIDER}
MIRRORED = {SAME: SAME, NARROWER: WIDER, WIDER: NARROWER, INCOMPARABLE: INCOMPARABLE}


def edited(*edits: tuple[str, str]) -> Policy:
    text = KOHI.decode()
    for before, after in edits:
        assert before in text, before
        text = text.replace(before, after, 1)
    return Policy.parse(text.encode(), "edited.yaml")


def pair(random: Random) -> tuple[Document, Document]:
    """Two policies, mostly versions of one."""
    old = policy_document(random)
    return old, changed(random, old) if random.random() < 0.8 else policy_document(random)


def a_request(random: Random, *documents: Document) -> Request:
    """A request that one of the policies may permit."""
    facts = fitting_facts(random, random.choice(documents))
    return request_of(spoilt(random, facts, fitting_facts(random, random.choice(documents))))


# -- the solver's word -----------------------------------------------------------------------------------------------


def agreed(random: Random, seen: Counter[Verdict]) -> None:
    """Compare two policies and ask z3 the same."""
    old, new = pair(random)
    comparison = compare(parsed(old), parsed(new))
    assert (comparison.allowed is not None) == permits_more(new, old)
    assert (comparison.forbidden is not None) == permits_more(old, new)
    seen[comparison.verdict] += 1


def test_a_solver_agrees_on_pairs_by_chance() -> None:
    seen: Counter[Verdict] = Counter()
    for seed in range(60):
        agreed(Random(seed), seen)
    assert all(seen[verdict] / seen.total() >= 0.05 for verdict in Verdict), seen


@pytest.mark.proof
def test_a_solver_agrees_on_a_thousand_pairs() -> None:
    seen: Counter[Verdict] = Counter()
    for seed in range(1000, 2000):
        agreed(Random(seed), seen)
    print({str(verdict): count for verdict, count in seen.items()})
    assert seen.total() >= 1000 and all(seen[verdict] / seen.total() >= 0.1 for verdict in Verdict), seen


# -- what holds of every comparison ----------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(BY_CHANCE)
def test_every_witness_is_permitted_by_the_one_and_denied_by_the_other(random: Random) -> None:
    old, new = (parsed(document) for document in pair(random))
    comparison = compare(old, new)
    for witness, permits, denies in ((comparison.allowed, new, old), (comparison.forbidden, old, new)):
        if witness is not None:
            assert decide(permits, witness.request).permitted
            against = decide(denies, witness.other_request)
            assert not against.permitted and witness.denied_by == against.failed != ()
            _is_realistic(witness, permits, denies)
    expected = {(False, False): SAME, (True, False): WIDER, (False, True): NARROWER, (True, True): INCOMPARABLE}
    assert comparison.verdict == expected[comparison.allowed is not None, comparison.forbidden is not None]


def _is_realistic(witness: Witness, permits: Policy, denies: Policy) -> None:
    """Every fact from its source, a number that can be, and only terms that are known."""
    held = {}
    for provision in (*denies.always, *denies.grants, *permits.always, *permits.grants):
        for one in provision.held:
            held.update({part.fact: part for part in (one, *one.measured)})
    for name, fact in witness.request.facts.items():
        one = held[name]
        assert fact.source == one.source and one.allowed.fits(fact.value)
        if isinstance(one.allowed, Interval):
            assert _possible(fact.value, one.domain)
        elif one.vocabulary is not None:
            named = {fact.value} if isinstance(fact.value, str) else fact.value
            assert named <= set(terms(one.vocabulary))
            assert named or not one.domain.some
    gone = {name for name in held if name not in witness.request.facts}
    assert gone <= {"steps", *(name for name in held if name.startswith("approvals."))}


def _possible(value: Any, domain: Domain) -> bool:
    if domain.open:
        return bool(value > domain.low and (domain.high is None or value < domain.high))
    return bool(value >= domain.low)


@settings(max_examples=30, deadline=None)
@given(BY_CHANCE)
def test_a_policy_that_is_not_wider_permits_no_request_that_the_old_denies(random: Random) -> None:
    documents = pair(random)
    old, new = (parsed(document) for document in documents)
    comparison = compare(old, new)
    for _ in range(15):
        asked = a_request(random, *documents)
        if not can_be(asked):
            continue
        if decide(new, asked).permitted and not decide(old, asked).permitted:
            assert comparison.allowed is not None
        if decide(old, asked).permitted and not decide(new, asked).permitted:
            assert comparison.forbidden is not None


@settings(max_examples=20, deadline=None)
@given(BY_CHANCE)
def test_the_other_way_round_is_the_mirror_image(random: Random) -> None:
    old, new = (parsed(document) for document in pair(random))
    there, back = compare(old, new), compare(new, old)
    assert back.verdict == MIRRORED[there.verdict]
    assert (there.allowed, there.forbidden) == (back.forbidden, back.allowed)
    assert compare(old, new) == there and compare(old, new).digest == there.digest == digest(there.to_json())
    assert compare(old, old).verdict == compare(new, new).verdict == SAME


@settings(max_examples=20, deadline=None)
@given(BY_CHANCE)
def test_the_order_of_clauses_grants_and_terms_is_irrelevant(random: Random) -> None:
    document = policy_document(random)
    shuffled = {**document, "always": [*document["always"]], "grants": [*document["grants"]]}
    random.shuffle(shuffled["always"])
    random.shuffle(shuffled["grants"])
    shuffled["grants"] = [{**one, "purposes": one["purposes"][::-1]} for one in shuffled["grants"]]
    comparison = compare(parsed(document), parsed(shuffled))
    assert comparison.verdict == SAME and all(change.verdict == SAME for change in comparison.clauses)
    asked = a_request(random, document)
    assert decide(parsed(document), asked).permitted == decide(parsed(shuffled), asked).permitted


@settings(max_examples=20, deadline=None)
@given(BY_CHANCE)
def test_another_clause_under_always_never_widens(random: Random) -> None:
    document = policy_document(random)
    policy = parsed(document)
    kept = tuple(one for one in policy.always if random.random() < 0.7)
    fewer = replace(policy, always=kept)
    assert compare(fewer, policy).verdict in NOT_WIDER
    assert compare(policy, fewer).verdict in NOT_NARROWER
    asked = a_request(random, document)
    assert decide(fewer, asked).permitted or not decide(policy, asked).permitted
    kind = random.choice([one.type for one in policy.always])
    other = parsed(numbered({**document, "always": [
        always_clause(random, kind) if one["type"] == kind else one for one in document["always"]
    ]}))  # fmt: skip
    added = next(one for one in other.always if one.type == kind)
    twice = replace(policy, always=(*policy.always, replace(added, clause=added.clause.model_copy(update={"id": "X"}))))
    assert compare(policy, twice).verdict in NOT_WIDER  # tightened: what was asked before and more


@settings(max_examples=20, deadline=None)
@given(BY_CHANCE)
def test_another_grant_never_narrows(random: Random) -> None:
    document = policy_document(random)
    document["grants"] = document["grants"][:5]
    more = numbered({**document, "grants": [*document["grants"], grant(random)]})
    comparison = compare(parsed(document), parsed(more))
    assert comparison.verdict in NOT_NARROWER
    assert comparison.clauses[-1].old_id is None and comparison.clauses[-1].verdict in NOT_NARROWER
    if comparison.verdict == WIDER:
        assert comparison.clauses[-1].verdict == WIDER
    asked = a_request(random, document, more)
    assert decide(parsed(more), asked).permitted or not decide(parsed(document), asked).permitted
    assert compare(parsed(more), parsed(document)).verdict in NOT_WIDER


@settings(max_examples=20, deadline=None)
@given(BY_CHANCE, st.data())
def test_any_one_missing_fact_denies_and_every_denial_names_a_clause(random: Random, data: st.DataObject) -> None:
    document = policy_document(random)
    policy = parsed(document)
    facts = fitting_facts(random, document)
    decision = decide(policy, request_of(facts))
    if decision.permitted:
        name = data.draw(st.sampled_from([one.fact for one in decision.results]))
        without = decide(policy, request_of({other: facts[other] for other in facts if other != name}))
        assert not without.permitted and name in {one.fact for one in without.failed}
        decision = without
    ids = {provision.id for provision in (*policy.always, *policy.grants)}
    assert decision.failed and all(one.clause in ids and one.code for one in decision.failed)


# -- particular cases ------------------------------------------------------------------------------------------------


def test_a_role_that_only_the_old_asks_for_is_a_witness_with_nobody_of_that_role() -> None:
    more = edited(("at_least: {legal: 1, it: 1", "at_least: {compliance: 2, legal: 1, it: 1"))
    comparison = compare(more, kohi())
    assert comparison.verdict == WIDER and comparison.allowed is not None
    assert comparison.allowed.request.facts["approvals.compliance"] == Fact(0, "roster")
    change = next(one for one in comparison.clauses if one.type == "approvals")
    assert [(one.field, one.old, one.new, one.verdict) for one in change.fields] == [
        ("at_least.compliance", ">= 2", None, WIDER)
    ]


def test_bounds_a_hair_apart_are_told_apart_and_the_same_number_written_twice_is_not() -> None:
    bound = 'per_run: {epsilon: "3.2"'
    hair = edited((bound, f'per_run: {{epsilon: "3.2{"0" * 50}1"'))
    comparison = compare(kohi(), hair)
    assert comparison.verdict == WIDER and comparison.allowed is not None
    assert comparison.allowed.request.to_json()["budget.run_epsilon"]["value"] == "3.2" + "0" * 50 + "1"
    assert compare(hair, kohi()).verdict == NARROWER
    again = compare(kohi(), edited((bound, 'per_run: {epsilon: "3.20"')))
    (change,) = next(one for one in again.clauses if one.type == "privacy_budget").fields
    assert again.verdict == SAME and (change.old, change.new, change.verdict) == ("<= 3.2", "<= 3.20", SAME)


def test_the_same_moment_in_another_zone_is_the_same() -> None:
    comparison = compare(kohi(), edited(("2026-11-01T00:00:00+09:00", "2026-10-31T15:00:00Z")))
    assert comparison.verdict == SAME
    assert [one.verdict for one in comparison.clauses[0].fields] == [SAME]


def test_a_later_start_is_narrower_and_its_witness_lies_in_the_time_that_is_lost() -> None:
    later = edited(("2026-11-01T00:00:00+09:00", "2027-01-01T00:00:00+09:00"))
    comparison = compare(kohi(), later)
    assert comparison.verdict == NARROWER and comparison.forbidden is not None
    assert {one.code for one in comparison.forbidden.denied_by} == {"POLICY_NOT_YET_VALID"}


def test_a_grant_that_repeats_another_adds_nothing_and_one_dropped_takes_away() -> None:
    text = KOHI.decode()
    start = text.index("  - id: G2")
    again = Policy.parse((text + text[start:].replace("G2", "G3")).encode(), "again.yaml")
    comparison = compare(kohi(), again)
    assert comparison.verdict == SAME and comparison.clauses[-1].verdict == SAME
    assert (comparison.clauses[-1].old_id, comparison.clauses[-1].new_id) == (None, "G3")
    dropped = compare(kohi(), Policy.parse(text[:start].encode(), "dropped.yaml"))
    assert dropped.verdict == NARROWER and dropped.forbidden is not None
    assert dropped.forbidden.request.facts["action"].value == "release"
    assert (dropped.clauses[-1].old_id, dropped.clauses[-1].new_id) == ("G2", None)
    assert dropped.clauses[-1].verdict == NARROWER


def test_grants_are_matched_by_id_and_action_and_renumbered_ones_by_what_they_share() -> None:
    swapped = edited(("id: G1", "id: GX"), ("id: G2", "id: G1"), ("id: GX", "id: G2"))
    comparison = compare(kohi(), swapped)
    assert [(one.type, one.old_id, one.new_id) for one in comparison.clauses[-2:]] == [
        ("train", "G1", "G2"), ("release", "G2", "G1"),
    ]  # fmt: skip
    assert comparison.verdict == SAME


def test_one_grant_split_in_two_is_not_narrower_because_of_its_parts() -> None:
    text = KOHI.decode()
    start, end = text.index("  - id: G1"), text.index("  - id: G2")
    whole = text[start:end]
    line = next(one for one in whole.splitlines() if "methods:" in one)
    first = whole.replace(line, "    methods: [probe]")
    second = whole.replace(line, "    methods: [lora]").replace("G1", "G3")
    split = Policy.parse((text[:start] + first + text[end:] + second).encode(), "split.yaml")
    comparison = compare(kohi(), split)
    assert comparison.verdict == SAME  # only the whole set of grants can say so
    assert [one.verdict for one in comparison.clauses[-3:]] == [NARROWER, SAME, SAME]


def test_what_stands_outside_the_clauses_is_listed_and_judged_by_nobody() -> None:
    comparison = compare(
        kohi(), edited(("version: 1", "version: 2"), ("privacy@kohi.example", "dpo@kohi.example"),
                       ("[customer-review]", "[customer-review, purchase-history]"))
    )  # fmt: skip
    assert comparison.verdict == SAME
    assert {(one.field, one.old, one.new, one.verdict) for one in comparison.header} == {
        ("version", "1", "2", None),
        ("parties.contact", "privacy@kohi.example", "dpo@kohi.example", None),
        ("dataset.categories", "customer-review", "customer-review, purchase-history", None),
    }


def test_a_policy_that_permits_nothing_is_narrower_than_any_and_the_same_as_another_such() -> None:
    nothing = edited(("destinations: [JP", "destinations: [] # [JP"))
    other = edited(("destinations: [JP", "destinations: [] # [JP"), ("audit_years: 6", "audit_years: 0"))
    assert not decide(nothing, request()).permitted
    assert compare(kohi(), nothing).verdict == NARROWER
    assert compare(nothing, other).verdict == SAME


def test_a_witness_changes_nothing_but_what_makes_the_difference() -> None:
    wider = edited(("destinations: [JP", "destinations: [NO, JP"), ("audit_years: 6", "audit_years: 3"))
    comparison = compare(kohi(), wider)
    assert comparison.allowed is not None and len(comparison.allowed.denied_by) == 1
    assert decide(kohi(), request_with("action", "release")).permitted


def test_no_domain_shuts_out_what_is_permitted_in_earnest() -> None:
    held = {one.fact: one for provision in (*kohi().always, *kohi().grants) for one in provision.held}
    smallest = {
        "cohort.sites": 2, "cohort.observers": 0, "steps": 1, "subjects.sites_per_subject": 1, "stop.list_age_hours": 0,
        "retention.audit_years": 0, "approvals.legal": 0, "approvals.it": 0, "budget.run_epsilon": Decimal("1E-60"),
        "budget.run_delta": Decimal("1E-60"), "transfer.artefacts": frozenset({"adapter"}),
        "transfer.destinations": frozenset({"JP"}), "recipients": frozenset({"participants"}),
        "downstream_uses": frozenset(), "encryption.measures": frozenset(), "stop.roles": frozenset(),
        "stop.restart_roles": frozenset(),
    }  # fmt: skip
    bounded = {name for name, one in held.items() if isinstance(one.allowed, Interval | Within | Requires)}
    assert bounded == set(smallest)
    for name, value in smallest.items():
        one = held[name]
        if isinstance(one.allowed, Interval):
            assert find(Interval(value, value, one.allowed.whole), (), one.domain) == value
        else:
            assert value or not one.domain.some


def test_a_difference_that_only_an_impossible_request_would_show_is_none() -> None:
    # Nothing is sent to nobody: an empty set of recipients cannot be asked for.
    old = edited(("recipients: [participants]", "recipients: []"), ("stages: [pilot]", "stages: [pilot, next]"))
    new = edited(("recipients: [participants]", "recipients: []"), ("stages: [pilot]", "stages: [pilot, production]"))
    assert compare(old, new).verdict == SAME


def test_of_several_differences_the_witness_shows_as_few_as_can_be() -> None:
    # The scope differs whatever else does; that the term is longer as well need not be shown with it.
    new = edited(('until: "2100', 'until: "2101'), ("scope: fl-training/2026-11", "scope: fl-training/2027-11"))
    comparison = compare(kohi(), new)
    assert comparison.allowed is not None
    assert [one.code for one in comparison.allowed.denied_by] == ["SCOPE_NOT_COVERED"]
