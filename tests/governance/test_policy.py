"""Policy files: read whole or refused with a place and a hint that a lawyer can act on."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.canonical import digest_bytes
from sekisho.governance.errors import BadDocumentError
from sekisho.governance.policy.always_clauses import ALWAYS
from sekisho.governance.policy.decide import decide
from sekisho.governance.policy.policy import Policy

from .policy_cases import DIGEST, KOHI, kohi, request, request_with

TEXT = KOHI.decode()
ROOT = Path(__file__).parents[2]


def parse(text: str) -> Policy:
    return Policy.parse(text.encode(), "policy.yaml")


def test_the_fields_that_core_reads_are_typed() -> None:
    policy = kohi()
    budget = policy.clause("privacy_budget")
    assert (budget.lifetime.epsilon, budget.lifetime.delta) == (Decimal("8.5"), Decimal("0.00001"))
    assert (budget.unit, budget.adjacency) == ("subject", "add-or-remove-one")
    assert policy.clause("cohort").min_sites == 3
    assert policy.clause("legal_basis").consent.scope == "fl-training/2026-11"
    assert dict(policy.clause("approvals").at_least) == {"legal": 1, "it": 1}
    assert policy.clause("base_model").models[0].digest == DIGEST
    assert (policy.id, policy.version, policy.dataset.id) == ("kohi/customer-reviews", 1, "kohi/customer-reviews")
    assert policy.bytes_digest == digest_bytes(KOHI)


def test_canonical_digest_names_the_content_and_the_bytes_digest_the_file() -> None:
    policy, reworded = kohi(), parse(TEXT.replace("# Fictitious.", "# Invented."))
    assert reworded.canonical_digest == policy.canonical_digest
    assert reworded.bytes_digest != policy.bytes_digest


def test_prose_is_signed_and_never_enforced() -> None:
    policy = parse(TEXT.replace("At least three independent companies", "At least thirty independent companies"))
    assert policy.canonical_digest != kohi().canonical_digest
    assert decide(policy, request()).results == decide(kohi(), request()).results


def test_order_of_clauses_and_grants_is_irrelevant() -> None:
    head, always = TEXT.split("always:", 1)
    always, grants = always.split("grants:", 1)
    comment, *clauses = always.split("  - id: ")
    shuffled = head + "always:" + comment + "".join("  - id: " + part.rstrip() + "\n" for part in reversed(clauses))
    policy = parse(shuffled + "grants:" + grants)
    assert [one.id for one in policy.always] == [one.id for one in reversed(kohi().always)]
    for asked in (request(), request_with("cohort.sites", 2)):
        assert set(decide(policy, asked).results) == set(decide(kohi(), asked).results)


def test_norway_may_be_written_without_quotes() -> None:
    policy = parse(TEXT.replace("destinations: [JP]", "destinations: [JP, NO]"))
    assert policy.clause("transfer").destinations == {"JP", "NO"}
    assert decide(policy, request_with("transfer.destinations", frozenset({"NO"}))).permitted


CHANGES: list[tuple[str, str, str, str]] = [
    # what is written, what is written instead, the code, the text at the place of refusal
    ("schema: sekisho-policy/1", "schema: sekisho-policy/2", "SCHEMA_VERSION", "sekisho-policy/2"),
    ("schema: sekisho-policy/1", "schema: 1", "SCHEMA_VERSION", "1"),
    ("schema: sekisho-policy/1\n", "", "MISSING_FIELD", "id: kohi"),
    ("version: 1", "version: 0", "BAD_VALUE", "0"),
    ("version: 1", 'version: "1"', "WRONG_TYPE", '"1"'),
    ("version: 1", "version: 1\nowner: me", "UNKNOWN_FIELD", "owner"),
    ("version: 1", "version: 1\nsupersedes: sha256:12", "BAD_VALUE", "sha256:12"),
    ("languages: [en, ja]", "languages: [en]", "MISSING_FIELD", "[en]"),
    ("languages: [en, ja]", "languages: [ja, en]", "BAD_VALUE", "ja, en"),
    ("authoritative_language: ja", "authoritative_language: fr", "BAD_VALUE", "fr"),
    ("ja: 珈琲焙煎株式会社", "jp: 珈琲焙煎株式会社", "UNKNOWN_FIELD", "jp: "),
    ("country: JP}\n  processors", "country: JA}\n  processors", "UNKNOWN_TERM", "JA}\n  processors"),
    ("categories: [customer-review]", "categories: []", "BAD_VALUE", "[]"),
    ("special_category: false", "special_category: NO", "WRONG_TYPE", "NO"),
    ("type: cohort", "type: cohorts", "UNKNOWN_CLAUSE", "cohorts"),
    ("type: cohort", "type: [cohort]", "UNKNOWN_CLAUSE", "[cohort]"),
    ("type: cohort\n", "kind: cohort\n", "MISSING_FIELD", 'id: "6"'),
    ("type: subjects", "type: cohort", "UNKNOWN_FIELD", "max_sites_per_subject"),
    ("min_sites: 3", "min_site: 3", "UNKNOWN_FIELD", "min_site: 3"),
    ("min_sites: 3", "min_sites: 3\n    max_sites: 9", "UNKNOWN_FIELD", "max_sites: 9"),
    ("min_sites: 3", "min_sites: three", "WRONG_TYPE", "three"),
    ("min_sites: 3", "min_sites: 1", "BAD_VALUE", "1\n    observers"),
    ("    min_sites: 3\n", "", "MISSING_FIELD", 'id: "6"'),
    ("    observers: 1", "    observers: 3", "COHORT_IMPOSSIBLE", "3\n"),
    ('id: "6"', 'id: "5"', "DUPLICATE_ID", '"5"\n    type: cohort'),
    ("id: G2", 'id: "11"', "DUPLICATE_ID", '"11"\n    text:\n      en: The adapter'),
    ('epsilon: "8.5"', "epsilon: 8.5", "UNQUOTED_NUMBER", "8.5, delta"),
    ('epsilon: "8.5"', "epsilon: 8", "NOT_EXACT_NUMBER", "8, delta"),
    ('epsilon: "8.5"', 'epsilon: "8,5"', "NOT_EXACT_NUMBER", '"8,5"'),
    ('epsilon: "8.5"', 'epsilon: "８.5"', "NOT_EXACT_NUMBER", '"８.5"'),
    ('epsilon: "8.5"', 'epsilon: "0"', "BUDGET_MEANINGLESS", '{epsilon: "0"'),
    ('epsilon: "8.5"', 'epsilon: "3.1"', "BUDGET_RUN_ABOVE_LIFETIME", '{epsilon: "3.2"'),
    ('{epsilon: "8.5", delta: "0.00001"}', '{epsilon: "8.5", delta: "1"}', "BUDGET_MEANINGLESS", '{epsilon: "8.5"'),
    ('{epsilon: "8.5", delta: "0.00001"}', '{epsilon: "8.5", delta: 1e-5}', "UNQUOTED_NUMBER", "1e-5"),
    ("unit: subject", "unit: patient", "UNKNOWN_TERM", "patient"),
    ("on_exhausted: refuse", "on_exhausted: warn", "BAD_VALUE", "warn"),
    ('until: "2100-01-01T00:00:00+09:00"', 'until: "2100-01-01T00:00:00"', "NOT_A_TIME", '"2100-01-01T00:00:00"'),
    ('until: "2100-01-01T00:00:00+09:00"', "until: 2100-01-01", "NOT_A_TIME", "2100-01-01\n"),
    ('until: "2100-01-01T00:00:00+09:00"', 'until: "2026-11-01T00:00:00+09:00"', "VALIDITY_EMPTY",
     '"2026-11-01T00:00:00+09:00"\n\n  - id: "2"'),
    ("stop_by: [legal, it, data-protection]", "stop_by: [legal, dpo]", "UNKNOWN_TERM", "dpo"),
    ("restart_by: [legal, it]", "restart_by: []", "BAD_VALUE", "[]"),
    ('"appi:consent-18-1"', '"appi:consent-99"', "UNKNOWN_TERM", '"appi:consent-99"'),
    ("required: true", "required: yes", "WRONG_TYPE", "yes"),
    ("leaves_site: [masked-update, adapter]", "leaves_site: [records]", "UNKNOWN_TERM", "records"),
    ("destinations: [JP]", "destinations: [JP, EU]", "UNKNOWN_TERM", "EU"),
    ("require: [secure-aggregation, bfv, ", "require: [rot13, ", "UNKNOWN_TERM", "rot13"),
    ("digest: \"sha256:53", "digest: \"sha256:XY", "BAD_VALUE", '"sha256:XY'),
    ("licences: [Apache-2.0, MIT]", "licences: [apache-2.0]", "UNKNOWN_TERM", "apache-2.0"),
    ("min_disclosure: sources-listed", "min_disclosure: partial", "UNKNOWN_TERM", "partial"),
    ("at_least: {legal: 1, it: 1}", "at_least: {legal: 1}", "APPROVALS_INCOMPLETE", "{legal: 1}"),
    ("at_least: {legal: 1, it: 1}", "at_least: {legal: 1, it: 0}", "BAD_VALUE", "0}"),
    ("at_least: {legal: 1, it: 1}", "at_least: {legal: 1, it: 1, boss: 1}", "UNKNOWN_TERM", "boss: 1}"),
    ("next_step: exclude", "next_step: ignore", "BAD_VALUE", "ignore"),
    ("action: train", "action: sell", "UNKNOWN_ACTION", "sell"),
    ("    max_steps: 120\n", "", "MISSING_FIELD", "id: G1"),
    ("max_steps: 120", "max_steps: 120.0", "UNQUOTED_NUMBER", "120.0"),
    ("methods: [probe, lora]", "methods: [probe, lora", "YAML_SYNTAX", "[probe, lora\n"),
    ("methods: [probe, lora]", "methods: probe", "WRONG_TYPE", "probe\n"),
    ('["dpv:ImproveExistingProductsAndServices", ', '["dpv:improveexistingproductsandservices", ', "UNKNOWN_TERM",
     '"dpv:improve'),
    ("text:\n      en: A customer is", "text:\n      en: A\u202e customer is", "BIDI_CHARACTER", "\u202e"),
    ("ja: 一人の顧客", "ja: &x 一人の顧客", "YAML_ANCHOR", "&x"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "code", "at"), CHANGES, ids=lambda text: str(text)[:30].strip())
def test_a_slip_is_refused_at_its_place_with_a_hint(old: str, new: str, code: str, at: str) -> None:
    assert old in TEXT
    changed = TEXT.replace(old, new, 1)
    with pytest.raises(BadDocumentError) as caught:
        parse(changed)
    error = caught.value
    assert error.code == code, str(error)
    line = changed.splitlines(keepends=True)
    here = line[error.line - 1][error.column - 1 :] + "".join(line[error.line :])
    assert here.startswith(at), (here[:60], str(error))
    assert error.hint and error.sentence[0].islower() and str(error).startswith("policy.yaml:")


@pytest.mark.parametrize("name", sorted(ALWAYS))
def test_each_clause_type_must_stand_in_the_policy_exactly_once(name: str) -> None:
    head, rest = TEXT.split("always:", 1)
    always, grants = rest.split("grants:", 1)
    comment, *clauses = always.split("  - id: ")
    own = next(part for part in clauses if f"type: {name}\n" in part)
    without = head + "always:" + comment + "".join("  - id: " + part for part in clauses if part != own)
    with pytest.raises(BadDocumentError) as caught:
        parse(without + "grants:" + grants)
    assert caught.value.code == "MISSING_CLAUSE" and name in caught.value.sentence and caught.value.line > 1
    twice = head + "always:" + always.rstrip() + '\n\n  - id: "99"' + own[own.index("\n") :].rstrip() + "\n\n"
    with pytest.raises(BadDocumentError) as caught:
        parse(twice + "grants:" + grants)
    assert caught.value.code == "DUPLICATE_CLAUSE" and name in caught.value.sentence


@pytest.mark.parametrize("text", ["grants: []", "grants: {}", "grants:"])
def test_a_policy_without_a_grant_is_refused(text: str) -> None:
    with pytest.raises(BadDocumentError) as caught:
        parse(TEXT.split("grants:", 1)[0] + text)
    assert caught.value.code in {"BAD_VALUE", "WRONG_TYPE"}


def test_a_misspelt_term_gets_the_right_spelling_as_hint() -> None:
    with pytest.raises(BadDocumentError) as caught:
        parse(TEXT.replace("tasks: [text-classification]", "tasks: [text-clasification]", 1))
    assert "did you mean text-classification?" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", "just prose", "always: []", "schema: sekisho-policy/1"])
def test_a_file_that_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(BadDocumentError):
        parse(text)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_a_policy_or_a_refusal_and_never_a_crash(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(TEXT)))
    length = data.draw(st.integers(0, 12))
    insert = data.draw(st.text(alphabet="ab:-[]{}\"'#&*!|>?%\n 01.é\u200b", max_size=6))
    try:
        parse(TEXT[:start] + insert + TEXT[start + length :])
    except BadDocumentError as error:
        assert error.code.isupper() and error.line >= 1 and error.hint


def test_reading_a_policy_loads_no_numpy() -> None:
    program = (
        "import sys\n"
        "import sekisho.governance.policy.policy\n"
        "heavy = {'numpy', 'torch', 'tenseal', 'dp_accounting', 'sekisho.core', 'sekisho.privacy'} & set(sys.modules)\n"
        "print(*heavy)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT / ".namespace")},
    )  # fmt: skip
    assert not run.stdout.split()
