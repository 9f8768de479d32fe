"""Ten amendments that people really make, each an edit of the example policy's text: what becomes allowed or forbidden.

For each: the verdict, the verdict of the one clause that changed, and the fact and value that make the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from sekisho.governance.policy.compare import ClauseChange, Comparison, Verdict, Witness, compare
from sekisho.governance.policy.decide import decide
from sekisho.governance.policy.policy import Policy

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "food-quality" / "sites" / "kohi" / "policy.yaml"
TEXT = EXAMPLE.read_text("utf-8")
SAME, NARROWER, WIDER, INCOMPARABLE = Verdict.SAME, Verdict.NARROWER, Verdict.WIDER, Verdict.INCOMPARABLE


@dataclass(frozen=True)
class Amendment:
    """One edit; ``allowed`` and ``forbidden`` are (clause, field, fact, value) of what makes the difference."""

    name: str
    edit: tuple[str, str]
    verdict: Verdict
    clause: str
    fields: tuple[tuple[str, Verdict | None], ...] = ()
    allowed: tuple[str, str, str, str] | None = None
    forbidden: tuple[str, str, str, str] | None = None


MODEL = "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
OTHER_MODEL = "sha256:" + "7" * 64
PURPOSE = '    purposes: ["dpv:ImproveExistingProductsAndServices"]'
NEW_PURPOSE = PURPOSE.replace("]", ', "dpv:ResearchAndDevelopment"]')

AMENDMENTS = [
    Amendment("new purpose", (PURPOSE, NEW_PURPOSE), WIDER, "G1", (("purposes", WIDER),),
              allowed=("G1", "purposes", "purpose", "dpv:ResearchAndDevelopment")),
    Amendment("longer validity", ("2099-12-31T00:00:00+09:00", "2100-12-31T00:00:00+09:00"), WIDER, "1",
              (("until", WIDER),), allowed=("1", "until", "time", "2099-12-30T15:00:00+00:00")),
    Amendment("larger budget of a run", ('per_run: {epsilon: "3.0"', 'per_run: {epsilon: "4.0"'), WIDER, "8",
              (("per_run.epsilon", WIDER),), allowed=("8", "per_run.epsilon", "budget.run_epsilon", "4.0")),
    Amendment("larger budget of all runs", ('lifetime: {epsilon: "7.5"', 'lifetime: {epsilon: "9.0"'), WIDER, "8",
              (("lifetime.epsilon", WIDER),), allowed=("8", "lifetime", "budget.lifetime_epsilon", "9.0")),
    Amendment("larger delta of all runs", ('"7.5", delta: "0.00001"', '"7.5", delta: "0.00002"'), WIDER, "8",
              (("lifetime.delta", WIDER),), allowed=("8", "lifetime", "budget.lifetime_delta", "0.00002")),
    Amendment("one more country", ("destinations: [JP]", "destinations: [JP, DE]"), WIDER, "4",
              (("destinations", WIDER),), allowed=("4", "destinations", "transfer.destinations", "DE, JP")),
    Amendment("looser cohort", ("min_sites: 3", "min_sites: 2"), WIDER, "6", (("min_sites", WIDER),),
              allowed=("6", "min_sites", "cohort.sites", "2")),
    Amendment("reworded prose only", ("At least three companies take part", "No fewer than three companies take part"),
              SAME, "6"),
    Amendment("stricter retention", ("audit_years: 3", "audit_years: 6"), NARROWER, "11", (("audit_years", NARROWER),),
              forbidden=("11", "audit_years", "retention.audit_years", "3")),
    Amendment("one more recipient", ("recipients: [participants]", "recipients: [participants, affiliates]"), WIDER,
              "G1", (("recipients", WIDER),), allowed=("G1", "recipients", "recipients", "affiliates, participants")),
    Amendment("other base model", (MODEL, OTHER_MODEL), INCOMPARABLE, "9", (("models", INCOMPARABLE),),
              allowed=("9", "models", "base_model.digest", OTHER_MODEL),
              forbidden=("9", "models", "base_model.digest", MODEL)),
    Amendment("unit changed to record", ("unit: subject", "unit: record"), WIDER, "8", (("unit", WIDER),),
              allowed=("8", "unit", "budget.unit", "record")),
    Amendment("other effect of a withdrawal", ("released_adapter: notify-and-review", "released_adapter: revoke"), SAME,
              "11", (("on_withdrawal.released_adapter", None),)),
]  # fmt: skip


def amended(amendment: Amendment) -> tuple[Policy, Policy, Comparison]:
    before, after = amendment.edit
    assert before in TEXT
    old = Policy.parse(TEXT.encode(), "old.yaml")
    new = Policy.parse(TEXT.replace(before, after, 1).encode(), "new.yaml")
    return old, new, compare(old, new)


@pytest.mark.parametrize("amendment", AMENDMENTS, ids=lambda one: one.name)
def test_the_verdict_is_right_for_the_policy_and_for_each_clause(amendment: Amendment) -> None:
    old, new, comparison = amended(amendment)
    assert comparison.verdict == amendment.verdict
    for change in comparison.clauses:
        if change.new_id == amendment.clause:
            assert change.verdict == amendment.verdict
            assert tuple((field.field, field.verdict) for field in change.fields) == amendment.fields
            assert change.prose_changed == (amendment.name == "reworded prose only")
        else:
            assert change.verdict == SAME and not change.fields and not change.prose_changed
    assert [change.new_id for change in comparison.clauses] == [one.id for one in (*new.always, *new.grants)]
    assert comparison.header == ()
    assert (comparison.old, comparison.new) == (old.canonical_digest, new.canonical_digest)


@pytest.mark.parametrize("amendment", AMENDMENTS, ids=lambda one: one.name)
def test_the_witness_shows_the_one_value_that_makes_the_difference(amendment: Amendment) -> None:
    old, new, comparison = amended(amendment)
    _shows(comparison.allowed, amendment.allowed, new, old)
    _shows(comparison.forbidden, amendment.forbidden, old, new)


def _shows(
    witness: Witness | None, expected: tuple[str, str, str, str] | None, permits: Policy, denies: Policy
) -> None:
    assert (witness is None) == (expected is None)
    if witness is None or expected is None:
        return
    clause, field, fact, value = expected
    assert [(one.clause, one.field) for one in witness.denied_by] == [(clause, field)]
    assert witness.request.to_json()[fact]["value"] == value
    assert decide(permits, witness.request).permitted
    assert decide(denies, witness.other_request).failed == witness.denied_by
    for name, held in {one.fact: one for part in (*permits.always, *permits.grants) for one in part.held}.items():
        if name in witness.request.facts:
            assert witness.request.facts[name].source == held.source


def test_the_prose_that_was_reworded_is_named() -> None:
    amendment = next(one for one in AMENDMENTS if one.name == "reworded prose only")
    _, _, comparison = amended(amendment)
    changed = [change for change in comparison.clauses if change.prose_changed]
    assert [change.new_id for change in changed] == ["6"] and comparison.allowed is comparison.forbidden is None


def test_a_lifetime_budget_makes_no_difference_to_the_answer_seen_but_to_what_the_ledger_answers() -> None:
    amendment = next(one for one in AMENDMENTS if one.name == "larger budget of all runs")
    _, _, comparison = amended(amendment)
    assert comparison.allowed is not None
    seen, other = comparison.allowed.request.facts, comparison.allowed.other_request.facts
    assert {name for name in seen if seen[name] != other[name]} == {"budget.lifetime_fits"}


def _clause(comparison: Comparison, kind: str) -> ClauseChange:
    return next(change for change in comparison.clauses if change.type == kind)


def test_what_people_undertake_is_shown_though_nobody_enforces_it() -> None:
    changes = {
        'bases: ["appi:consent-18-1", "appi:consent-27-1"]': (
            'bases: ["appi:consent-18-1"]', "legal_basis", "bases", "appi:consent-18-1"),
        "name: all-MiniLM-L6-v2": ("name: another-name", "base_model", "models.1.name", "another-name"),
        "415AC0000000057": (
            "999", "legal_basis", "references.1", "https://laws.e-gov.go.jp/law/999"),
    }  # fmt: skip
    for before, (after, kind, field, written) in changes.items():
        assert before in TEXT
        comparison = compare(
            Policy.parse(TEXT.encode(), "old"), Policy.parse(TEXT.replace(before, after, 1).encode(), "new")
        )
        (change,) = _clause(comparison, kind).fields
        assert (change.field, change.new, change.verdict) == (field, written, None)
        assert comparison.verdict == SAME


def test_a_name_that_changes_beside_a_constraint_is_shown_too() -> None:
    listed = f"- name: all-MiniLM-L6-v2\n        digest: {MODEL}"
    assert listed in TEXT
    other = listed.replace("all-MiniLM-L6-v2", "another-name").replace(MODEL, OTHER_MODEL)
    comparison = compare(
        Policy.parse(TEXT.encode(), "old"), Policy.parse(TEXT.replace(listed, other, 1).encode(), "new")
    )
    changes = {field.field: field.verdict for field in _clause(comparison, "base_model").fields}
    assert changes == {"models": INCOMPARABLE, "models.1.name": None}  # the digest is told with the constraint


def test_a_change_at_the_end_of_a_long_text_is_seen() -> None:
    link = "https://laws.e-gov.go.jp/law/415AC0000000057"
    assert link in TEXT
    long = link + "/" + "x" * 300
    old, new = (Policy.parse(TEXT.replace(link, long + end, 1).encode(), "long") for end in ("a", "b"))
    (change,) = _clause(compare(old, new), "legal_basis").fields
    assert (change.old, change.new) == (long + "a", long + "b")
