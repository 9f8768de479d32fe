"""Templates: complete policies to start from, each with cases that go to every corner of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from sekisho.core.cli.console import DONE, REFUSED, UNUSABLE
from sekisho.core.cli.templates import CASES_END, read_template, templates
from sekisho.core.paperwork.decisions import to_decide
from sekisho.governance.language import LANGUAGES, Catalogue
from sekisho.governance.policy.always_clauses import ALWAYS
from sekisho.governance.policy.cases import Trial, read_cases, run_cases
from sekisho.governance.policy.decide import FACT_MISSING, FACT_SOURCE
from sekisho.governance.policy.policy import Policy

from ..federation.command import sekisho_here

ROOT = Path(__file__).parents[2]
REGIMES = ("appi-manufacturing-customers", "finance", "gdpr-health-research", "hipaa-limited-data", "internal-pilot")
# What each regime stands on, as its policy must cite it.
CITED = {
    "appi-manufacturing-customers": ("17(1)", "18(1)", "20(2)", "27(1)", "Art. 28", "Art. 28(1) and (3)",
                                     "Art. 29 and 30", "Art. 35", "https://laws.e-gov.go.jp/law/415AC0000000057"),
    "finance": ("6(1)(f)", "6(1)(c)", "2015/849", "2024/1624", "Bank secrecy", "DORA", "SR 26-2",
                "FISC", "https://eur-lex.europa.eu/eli/reg/2022/2554/oj"),
    "gdpr-health-research": ("6(1)(e)", "9(2)(j)", "89(1)", "5(1)(b)", "5(1)(e)", "13(3)", "14(4)",
                             "14(5)(b)", "17(3)(d)", "21(1)", "21(6)", "Art. 26", "Art. 35", "35(2)", "39(1)(c)",
                             "Chapter V", "https://eur-lex.europa.eu/eli/reg/2016/679/oj"),
    "hipaa-limited-data": ("164.514(e)", "data use agreement", "contacts them", "minimum necessary", "safeguards",
                           "https://www.ecfr.gov/"),
    "internal-pilot": ("no personal data", "works council", "§ 87(1) no. 6 BetrVG"),
}  # fmt: skip
# Fields that a company must choose a value for.
CHOSEN = r" +(name: \{en|country|stop_by|restart_by|destinations|purposes|methods|stages|recipients|downstream_uses)\b"
# Where a policy says what stays, it speaks of training: a public test set may be cut from the same table.
STAYS_EN = r"(?:\bNo\b[^.]*?|\bnever) leaves"
STAYS_JA = r"[^。]*(?:は、一切|に一切|そのものは社外に)出[^。]*"
Captured = pytest.CaptureFixture[str]


def policy(name: str) -> Policy:
    return Policy.parse(read_template(name).encode(), f"{name}.yaml")


def trial(name: str) -> Trial:
    read = read_cases(read_template(name, CASES_END).encode(), name + CASES_END, policy(name))
    return run_cases(policy(name), read)


def test_there_are_five_and_the_package_carries_them() -> None:
    assert templates() == REGIMES
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "policies" in wheel["only-include"]


@pytest.mark.parametrize("name", REGIMES)
def test_a_template_says_what_it_is_and_what_must_be_decided(name: str) -> None:
    text = read_template(name)
    top = " ".join(text[: text.index("schema: sekisho-policy/1")].replace("\n# ", " ").split())
    assert "STARTING POINT FOR COUNSEL" in top and "no legal advice" in top
    assert "法的助言ではない" in top or "法的助言でも" in top
    assert "DECIDE" in top and to_decide(text) >= 25
    assert text.splitlines()[0] == "# yaml-language-server: $schema=policy.schema.json"
    for cited in CITED[name]:
        assert cited in " ".join(text.replace("\n# ", " ").split()), cited


@pytest.mark.parametrize("name", REGIMES)
def test_the_prose_of_a_template_holds_no_number_that_a_decision_would_make_wrong(name: str) -> None:
    for provision in (*policy(name).always, *policy(name).grants):
        for language in LANGUAGES:
            prose = provision.clause.text[language]
            number = re.search(r"epsilon|ε|delta|δ|20[0-9]{2}-|\b[0-9]+ (years?|hours?|steps?|sites?)\b", prose)
            assert number is None, prose


@pytest.mark.parametrize("name", REGIMES)
def test_whatever_a_company_must_choose_is_marked_in_a_template(name: str) -> None:
    """Names, countries, who stops, and what a grant grants: a starting value that nobody looked at is not a choice."""
    for line in read_template(name).splitlines():
        assert not re.match(CHOSEN, line) or to_decide(line) == 1, line
    assert "in the roster" in read_template(name).split("  controller:")[1].split("\n")[0]


def test_no_policy_promises_that_no_record_at_all_leaves() -> None:
    example = (ROOT / "examples" / "food-quality" / "sites").glob("*/policy.yaml")
    papers = [*map(policy, REGIMES), *(Policy.parse(path.read_bytes(), path.name) for path in example)]
    for read in papers:
        for text in (provision.clause.text for provision in read.always):
            assert all("used for training" in sentence for sentence in re.findall(STAYS_EN, text.en)), text.en
            assert all("学習に用いる" in sentence for sentence in re.findall(STAYS_JA, text.ja)), text.ja


@pytest.mark.parametrize("name", REGIMES)
def test_every_case_of_a_template_comes_out_as_expected(name: str) -> None:
    found = trial(name)
    assert found.agrees, [outcome.case.name.en for outcome in found.outcomes if not outcome.agrees]
    assert len(found.outcomes) >= 12


@pytest.mark.parametrize("name", REGIMES)
def test_the_cases_of_a_template_go_to_every_corner_of_it(name: str) -> None:
    found = trial(name)
    assert found.uncovered == ()
    refused = {failure for outcome in found.outcomes for failure in outcome.case.refused}
    clauses, codes = {clause for clause, _ in refused}, {code for _, code in refused}
    assert {one.id for one in policy(name).always} <= clauses and {"G1", "G2"} <= clauses
    assert len(policy(name).always) == len(ALWAYS)
    assert {FACT_MISSING, FACT_SOURCE} <= codes
    permitted = [outcome.decision.grant for outcome in found.outcomes if not outcome.case.refused]
    assert {"G1", "G2"} <= set(permitted) and len(permitted) >= 6  # both grants, and the edges


def test_templates_have_a_title_and_an_occasion_in_both_languages() -> None:
    texts = Catalogue.load("sekisho.core", "texts")
    for name in REGIMES:
        for part in ("title", "purpose"):
            assert f"cases.template.{name}.{part}" in texts


def test_the_command_lists_them_in_both_languages(capsys: Captured) -> None:
    for language, word in (("en", "Health research (GDPR)"), ("ja", "医療研究（GDPR）")):
        ended = sekisho_here(capsys, "legal", "template", "--language", language)
        assert ended.exit == DONE and word in ended.out and all(name in ended.out for name in REGIMES)
    assert set(sekisho_here(capsys, "legal", "template", "--json").told["templates"]) == set(REGIMES)


def test_the_command_writes_a_policy_and_its_cases_that_check_and_test(tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "mine.yaml"
    ended = sekisho_here(capsys, "legal", "template", "finance", "--out", out)
    assert ended.exit == DONE and "marked DECIDE" in ended.out
    assert out.read_text("utf-8") == read_template("finance")
    assert sekisho_here(capsys, "legal", "check", out).exit == DONE
    assert sekisho_here(capsys, "legal", "test", out).exit == DONE


@pytest.mark.parametrize("present", ["mine.yaml", "mine.cases.yaml"])
def test_the_command_never_writes_over_a_file(tmp_path: Path, capsys: Captured, present: str) -> None:
    (tmp_path / present).write_text("signed")
    ended = sekisho_here(capsys, "legal", "template", "finance", "--out", tmp_path / "mine.yaml")
    assert ended.exit == REFUSED and "[FILE_EXISTS]" in ended.err
    assert (tmp_path / present).read_text() == "signed" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["health", "../pyproject", "policy.schema", "finance.cases"])
def test_a_template_that_is_none_is_refused(capsys: Captured, name: str) -> None:
    ended = sekisho_here(capsys, "legal", "template", name)
    assert ended.exit == UNUSABLE and "[TEMPLATE_UNKNOWN]" in ended.err and "gdpr-health-research" in ended.err
