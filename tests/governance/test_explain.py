"""Explanations: what is enforced and why something was refused, in words, in both languages."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from sekisho.governance.language import LANGUAGES, Language
from sekisho.governance.policy.decide import decide
from sekisho.governance.policy.explain import denials, explain, explanations
from sekisho.governance.policy.lattice import Constraint, Interval, Level, OneOf, Requires, Window, Within
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.request import Request

from .policy_cases import KOHI, REFUSED, kohi, request, request_with

POLICY = kohi()
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def test_every_clause_and_grant_is_explained_beside_its_prose() -> None:
    explained = explanations(POLICY)
    assert [one.id for one in explained] == [one.id for one in (*POLICY.always, *POLICY.grants)]
    for one in explained:
        for text in (one.name, one.prose, one.enforced, one.recorded):
            assert text is None or (text.en and JAPANESE.search(text.ja))
            assert text is None or (not JAPANESE.search(text.en) and "{" not in text.en + text.ja)


@pytest.mark.parametrize(
    ("language", "parts"),
    [
        ("en", ["The system will enforce:", "epsilon at most 3.2", "epsilon at most 8.5", "at least 3 independent",
                "Japan (JP)", "Recorded, not enforced by the system:", "legal: 1", "at most 120 steps"]),
        ("ja", ["システムが強制すること：", "ε≦3.2", "ε≦8.5", "独立した組織3以上", "日本（JP）", "記録のみ",
                "法務（legal）: 1"]),
    ],
)  # fmt: skip
def test_lines_name_the_figures_of_the_policy(language: Language, parts: list[str]) -> None:
    lines = "\n".join(explain(POLICY, language))
    for part in parts:
        assert part in lines


def test_the_explanation_follows_the_typed_field_and_not_the_prose() -> None:
    changed = Policy.parse(KOHI.replace(b"min_sites: 3", b"min_sites: 4"), "p")
    cohort = next(one for one in explanations(changed) if one.type == "cohort")
    assert "three" in cohort.prose.en and "at least 4" in cohort.enforced.en and "4以上" in cohort.enforced.ja


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[5])
def test_every_denial_has_a_reason_and_a_fix_in_both_languages(case: tuple[str, Any, str, str, str, str]) -> None:
    fact, value, clause, kind, field, code = case
    (denial,) = denials(POLICY, decide(POLICY, request_with(fact, value)))
    assert (denial.code, denial.clause, denial.type, denial.field) == (code, clause, kind, field)
    for language in LANGUAGES:
        for text in (denial.reason, denial.fix):
            assert text[language] and "{" not in text[language]
            assert bool(JAPANESE.search(text[language])) == (language == "ja")


def test_a_denial_names_what_is_allowed_observed_and_at_fault() -> None:
    (cohort,) = denials(POLICY, decide(POLICY, request_with("cohort.sites", 2)))
    assert cohort.reason.en == "Independent organisations taking part: 2; required: at least 3."
    (country,) = denials(POLICY, decide(POLICY, request_with("transfer.destinations", frozenset({"JP", "NO"}))))
    assert "not allowed: Norway (NO). Allowed: Japan (JP)." in country.reason.en
    assert "ノルウェー（NO）" in country.fix.ja
    (role,) = denials(POLICY, decide(POLICY, request_with("approvals.legal", 0)))
    assert role.reason.ja.startswith("法務（legal）の有効な署名は0件")


def test_a_missing_or_borrowed_fact_says_from_whom_it_must_come() -> None:
    (missing,) = denials(POLICY, decide(POLICY, request(budget__run_epsilon=None)))
    assert missing.fix.en == "Supply budget.run_epsilon from the site's privacy ledger."
    (borrowed,) = denials(POLICY, decide(POLICY, request_with("cohort.sites", 5, "coordinator")))
    assert "comes from 'coordinator'" in borrowed.reason.en and "名簿" in borrowed.fix.ja
    (foreign,) = denials(POLICY, decide(POLICY, request_with("cohort.sites", ["a", "secret"])))
    assert "secret" not in foreign.reason.en


def test_a_decision_that_permits_has_no_denials_and_an_empty_request_has_all() -> None:
    assert denials(POLICY, decide(POLICY, request())) == ()
    refused = denials(POLICY, decide(POLICY, Request({})))
    assert {one.clause for one in refused} >= {provision.id for provision in POLICY.always}


def nearest(allowed: Constraint, value: Any) -> Any:
    """What the fix says, done by hand: the change that is smallest."""
    if isinstance(allowed, Within):
        return value - set(allowed.offending(value))
    if isinstance(allowed, Requires):
        return value | set(allowed.offending(value))
    if isinstance(allowed, Interval):
        return allowed.low if allowed.low is not None else allowed.high
    if isinstance(allowed, Window):
        return allowed.start or (allowed.until - timedelta(seconds=1) if allowed.until else None)
    if isinstance(allowed, Level):
        return allowed.least
    return next(iter(allowed.values if isinstance(allowed, OneOf) else allowed.allowed))  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[5])
def test_the_fix_applied_is_accepted(case: tuple[str, Any, str, str, str, str]) -> None:
    fact, value, clause, _, field, _ = case
    provisions = {provision.id: provision for provision in (*POLICY.always, *POLICY.grants)}
    held = next(one for one in provisions[clause].held if one.field == field)
    assert decide(POLICY, request_with(fact, nearest(held.allowed, value))).permitted
