"""Cases: what a policy's authors expect of it is asked, and a misprint in a case is no silent success."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.cli.console import DONE, REFUSED, UNUSABLE
from sekisho.governance.errors import BadDocumentError
from sekisho.governance.policy.cases import Cases, read_cases, run_cases
from sekisho.governance.policy.decide import ACTION
from sekisho.governance.policy.policy import Policy

from ..federation.command import sekisho_here

SOUND = Path(__file__).parent / "broken" / "sound.yaml"
POLICY = Policy.parse(SOUND.read_bytes(), SOUND.name)
TEXT = """\
schema: sekisho-cases/1
policy: maker/reviews-policy
base:
  time: "2027-06-01T00:00:00+09:00"
  stop.active: false
  stop.roles: [legal, it]
  stop.restart_roles: [legal, it]
  stop.list_age_hours: 1
  legal_basis.scope: fl-training/2027
  consent.eligible: true
  transfer.artefacts: [masked-update]
  transfer.destinations: [JP, NO]
  encryption.measures: [secure-aggregation, bfv, signed-messages]
  cohort.sites: 3
  cohort.observers: 1
  subjects.sites_per_subject: 1
  budget.unit: subject
  budget.adjacency: add-or-remove-one
  budget.run_epsilon: "3.0"
  budget.run_delta: "0.000001"
  budget.lifetime_fits: true
  base_model.digest: sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
  base_model.licence: Apache-2.0
  base_model.disclosure: full
  approvals.legal: 1
  approvals.it: 1
  approvals.requester_excluded: true
  retention.audit_years: 3
  action: train
  purpose: "dpv:ImproveExistingProductsAndServices"
  task: text-classification
  method: probe
  stage: pilot
  steps: 100
  recipients: [participants]
  downstream_uses: [internal-quality-triage]
cases:
  - name: {en: "As planned", ja: "計画どおり"}
    change: {}
    expect: permit
  - name: {en: "Two companies", ja: "2社"}
    change: {cohort.sites: 2}
    expect: {refuse: [{clause: "6", code: COHORT_TOO_SMALL}]}
  - name: {en: "Companies by the study's word", ja: "研究計画の申告による社数"}
    change: {cohort.sites: {value: 9, source: study}}
    expect: {refuse: [{clause: "6", code: FACT_SOURCE}]}
  - name: {en: "Unknown number of years", ja: "保存年数が不明"}
    change: {retention.audit_years: null}
    expect: {refuse: [{clause: "11", code: FACT_MISSING}]}
"""


def cases(text: str) -> Cases:
    return read_cases(text.encode(), "policy.cases.yaml", POLICY)


def replaced(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def test_cases_that_a_policy_fulfils_agree() -> None:
    trial = run_cases(POLICY, cases(TEXT))
    assert trial.agrees and len(trial.outcomes) == 4
    assert [sorted(outcome.refused) for outcome in trial.outcomes] == [
        [], [("6", "COHORT_TOO_SMALL")], [("6", "FACT_SOURCE")], [("11", "FACT_MISSING")],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cohort.sites: 2}", "cohort.sites: 3}"),  # permitted after all
        ("expect: permit", 'expect: {refuse: [{clause: "6", code: COHORT_TOO_SMALL}]}'),
        ('clause: "6", code: COHORT_TOO_SMALL', 'clause: "6", code: OBSERVERS_TOO_FEW'),  # for another reason
        ("code: COHORT_TOO_SMALL}", 'code: COHORT_TOO_SMALL}, {clause: "2", code: STOPPED}'),
        ("cohort.sites: 2}", "cohort.sites: 2, stop.active: true}"),  # for one reason more than expected
    ],
)
def test_a_case_that_comes_out_otherwise_is_no_agreement(old: str, new: str) -> None:
    trial = run_cases(POLICY, cases(replaced(old, new)))
    assert not trial.agrees
    assert sum(not outcome.agrees for outcome in trial.outcomes) == 1


def test_what_no_case_refuses_is_named_and_only_that() -> None:
    uncovered = run_cases(POLICY, cases(TEXT)).uncovered
    provisions = (*POLICY.always, *POLICY.grants)
    every = {(one.id, held.field) for one in provisions for held in one.held if held.field != ACTION}
    assert set(uncovered) == {f"{clause}.{field}" for clause, field in every} - {"6.min_sites", "11.audit_years"}
    # a refusal that was expected and did not come, or came as a surprise, shows nothing
    unexpected = replaced('expect: {refuse: [{clause: "11", code: FACT_MISSING}]}', "expect: permit")
    surprised = run_cases(POLICY, cases(unexpected))
    assert "11.audit_years" in surprised.uncovered


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("sekisho-cases/1", "sekisho-cases/2", "BAD_VALUE", 1),
        ("policy: maker/reviews-policy", "policy: maker/other", "OTHER_POLICY", 2),
        ("  cohort.sites: 3", "  cohort.site: 3", "UNKNOWN_FACT", 14),
        ("cohort.sites: 2}", "cohort.size: 2}", "UNKNOWN_FACT", 42),
        ("cohort.sites: 2}", 'cohort.sites: "2"}', "WRONG_TYPE", 42),
        ("cohort.sites: 2}", "cohort.sites: true}", "WRONG_TYPE", 42),
        ("cohort.sites: 2}", "budget.run_epsilon: 3}", "NOT_EXACT_NUMBER", 42),
        ("cohort.sites: 2}", 'time: "2027-06-01"}', "NOT_A_TIME", 42),
        ("cohort.sites: 2}", "stop.active: yes}", "WRONG_TYPE", 42),
        ("cohort.sites: 2}", "recipients: public}", "WRONG_TYPE", 42),
        ("cohort.sites: 2}", "purpose: [x]}", "WRONG_TYPE", 42),
        ("cohort.sites: 2}", "purpose: marketing}", "UNKNOWN_TERM", 42),
        ("cohort.sites: 2}", "recipients: [participants, everyone]}", "UNKNOWN_TERM", 42),
        ("cohort.sites: 2}", "transfer.destinations: [JP, EU]}", "UNKNOWN_TERM", 42),
        ("cohort.sites: 2}", "approvals.works-council: 1}", "UNKNOWN_FACT", 42),
        ("source: study", "source: hearsay", "UNKNOWN_SOURCE", 45),
        ("{value: 9, source: study}", "{value: 9}", "BAD_VALUE", 45),
        ("expect: permit", "expect: allow", "BAD_VALUE", 40),
        ("expect: permit", "expect: {refuse: []}", "BAD_VALUE", 40),
        ("expect: permit", "", "MISSING_FIELD", 38),
        ('clause: "6", code: COHORT_TOO_SMALL', 'clause: "60", code: COHORT_TOO_SMALL', "UNKNOWN_CLAUSE", 43),
        ('clause: "6", code: COHORT_TOO_SMALL', 'clause: "6", code: COHORT_SMALL', "UNKNOWN_CODE", 43),
        ('clause: "6", code: COHORT_TOO_SMALL', 'clause: "6", code: STOPPED', "UNKNOWN_CODE", 43),
        ('ja: "2社"', 'ja: ""', "BAD_VALUE", 41),
    ],
)
def test_a_slip_in_the_cases_is_refused_at_its_place(old: str, new: str, code: str, line: int) -> None:
    with pytest.raises(BadDocumentError) as caught:
        cases(replaced(old, new))
    assert (caught.value.code, caught.value.line) == (code, line), str(caught.value)
    assert caught.value.hint


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_damaged_cases_are_read_or_refused_and_never_a_crash(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(TEXT)))
    length = data.draw(st.integers(0, 30))
    insert = data.draw(st.text(alphabet="ab:-[]{}\"'#&*~,\n 01.é\u200b", max_size=8))
    try:
        run_cases(POLICY, cases(TEXT[:start] + insert + TEXT[start + length :]))
    except BadDocumentError as error:
        assert error.code.isupper() and error.line >= 1 and error.hint


def test_a_file_without_cases_is_refused() -> None:
    with pytest.raises(BadDocumentError):
        cases(TEXT[: TEXT.index("cases:\n")] + "cases: []\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policy.yaml").write_bytes(SOUND.read_bytes())
    (tmp_path / "policy.cases.yaml").write_text(TEXT, "utf-8")
    return tmp_path


Captured = pytest.CaptureFixture[str]


def test_the_command_ends_well_only_if_all_cases_agree(folder: Path, capsys: Captured) -> None:
    ended = sekisho_here(capsys, "legal", "test", folder / "policy.yaml")
    assert ended.exit == DONE and "4 of 4 cases as expected" in ended.out and "6.observers" in ended.out
    (folder / "policy.cases.yaml").write_text(replaced("cohort.sites: 2}", "cohort.sites: 3}"), "utf-8")
    ended = sekisho_here(capsys, "legal", "test", folder / "policy.yaml")
    assert ended.exit == REFUSED and "[CASES_DIFFER]" in ended.err and "Two companies" in ended.err
    assert "DIFFERENT  Two companies: permitted" in ended.out
    assert "expected (line 41): refused by 6 Size of the group [COHORT_TOO_SMALL]" in ended.out
    told = sekisho_here(capsys, "legal", "test", folder / "policy.yaml", "--json")
    assert told.exit == REFUSED and told.told["code"] == "CASES_DIFFER"
    assert [case["agrees"] for case in told.told["cases"]] == [True, False, True, True]


def test_the_command_speaks_japanese(folder: Path, capsys: Captured) -> None:
    ended = sekisho_here(capsys, "legal", "test", folder / "policy.yaml", "--language", "ja")
    assert ended.exit == DONE and "4件中4件が期待どおり" in ended.out
    assert "拒否：6 参加者数 [COHORT_TOO_SMALL]" in ended.out


@pytest.mark.parametrize(
    ("spoil", "exit_code", "code"),
    [
        (lambda folder: (folder / "policy.cases.yaml").unlink(), REFUSED, "CASES_MISSING"),
        (lambda folder: (folder / "policy.cases.yaml").write_text("{}\n"), UNUSABLE, "MISSING_FIELD"),
        (lambda folder: (folder / "policy.yaml").write_text("{}\n"), REFUSED, "MISSING_FIELD"),
        (lambda folder: (folder / "policy.yaml").unlink(), UNUSABLE, "FILE_UNREADABLE"),
    ],
)
def test_without_cases_or_policy_nothing_is_said_to_agree(
    folder: Path, capsys: Captured, spoil: Callable[[Path], object], exit_code: int, code: str
) -> None:
    spoil(folder)
    ended = sekisho_here(capsys, "legal", "test", folder / "policy.yaml")
    assert ended.exit == exit_code and f"[{code}]" in ended.err and ended.out == ""


def test_other_cases_can_be_named(folder: Path, capsys: Captured) -> None:
    (folder / "policy.cases.yaml").rename(folder / "mine.yaml")
    ended = sekisho_here(capsys, "legal", "test", folder / "policy.yaml", "--cases", folder / "mine.yaml")
    assert ended.exit == DONE


EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/sites/*/policy.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_policies_of_the_example_do_what_their_cases_say(path: Path, capsys: Captured) -> None:
    assert len(EXAMPLES) == 5
    ended = sekisho_here(capsys, "legal", "test", path)
    assert ended.exit == DONE and "6 of 6 cases as expected" in ended.out
