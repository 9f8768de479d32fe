"""The example's study, changed in ten ways: refused by exactly the makers and clauses that should; the fix is accepted.

Each change is signed anew by the study's own legal and IT, so that nothing but its meaning can be refused. What the
refusal proposes is then done, literally, and the study is permitted. Everything goes through `sekisho legal`.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import Ended, sekisho_here

EXAMPLE = Path(__file__).parents[2] / "examples" / "food-quality"
MAKERS = ("kohi", "wanko", "okashi", "shokuhin", "daidokoro")
SIGNERS = {"legal": "hinoki", "it": "kaede"}
Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Change:
    """``edits`` are (old, new) in study.yaml; ``refused`` is who refuses by which clause and code.

    ``fix`` is what the refusal must say, and ``fixed`` the edits that do it.
    """

    edits: tuple[tuple[str, str], ...]
    refused: frozenset[tuple[str, str, str]]
    fix: str
    fixed: tuple[tuple[str, str], ...]


def by(makers: str, *clauses: tuple[str, str]) -> frozenset[tuple[str, str, str]]:
    names = MAKERS if makers == "all" else makers.split()
    return frozenset((maker, clause, code) for maker in names for clause, code in clauses)


def grants(code: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("G1", code), ("G2", code)


# Nothing below may stumble over the study's own caps: they are another matter, and tested by themselves.
WIDE = (('epsilon_per_run: "3.0"', 'epsilon_per_run: "9"'), ('epsilon_per_run: "2.0"', 'epsilon_per_run: "9"'))

CHANGES = {
    "evidence kept five years instead of six": Change(
        edits=(("audit_years: 6", "audit_years: 5"),),
        refused=by("shokuhin", ("11", "RETENTION_TOO_SHORT")),
        fix="Set audit_years to 6 in the study.",
        fixed=(("audit_years: 5", "audit_years: 6"),),
    ),
    "more steps": Change(
        edits=(("steps: 60\n", "steps: 75\n"),),
        refused=by("wanko", ("G1", "TOO_MANY_STEPS")),
        fix="Lower the number of steps to 80.",
        fixed=(("steps: 75\n", "steps: 60\n"),),  # and twenty that may fail
    ),
    "two makers leave": Change(
        edits=(
            ("sites: [kohi, wanko, okashi, shokuhin, daidokoro]", "sites: [kohi, okashi, shokuhin]"),
            ("wanko: 150, okashi: 350, shokuhin: 450, daidokoro: 400}", "okashi: 350, shokuhin: 450}"),
        ),
        refused=by("shokuhin", ("6", "COHORT_TOO_SMALL")),
        fix="Bring the number of participating organisations to 4.",
        fixed=(
            ("sites: [kohi, okashi, shokuhin]", "sites: [kohi, okashi, shokuhin, wanko]"),
            ("okashi: 350, shokuhin: 450}", "okashi: 350, shokuhin: 450, wanko: 150}"),
        ),
    ),
    "a larger budget in one run": Change(
        edits=(('epsilon: "3.0"  ', 'epsilon: "3.6"  '), *WIDE),
        refused=by("kohi wanko okashi daidokoro", ("8", "BUDGET_RUN")),
        fix="Lower epsilon in the study until the site's own certificate is at most 3.0.",
        fixed=(('epsilon: "3.6"', 'epsilon: "3.0"'),),
    ),
    "another purpose": Change(
        edits=(("dpv:ImproveExistingProductsAndServices", "dpv:ResearchAndDevelopment"),),
        refused=by("kohi wanko shokuhin daidokoro", *grants("PURPOSE_NOT_GRANTED")),
        fix="Ask for a purpose that is granted",
        fixed=(("dpv:ResearchAndDevelopment", "dpv:ImproveExistingProductsAndServices"),),
    ),
    "affiliates receive the adapter": Change(
        edits=(("recipients: [participants]", "recipients: [participants, affiliates]"),),
        refused=by("kohi wanko okashi daidokoro", *grants("RECIPIENT_NOT_GRANTED")),
        fix="Leave out the participants' affiliated companies (affiliates)",
        fixed=(("recipients: [participants, affiliates]", "recipients: [participants]"),),
    ),
    "used for product development": Change(
        edits=(("downstream_uses: [internal-quality-triage]",
                "downstream_uses: [internal-quality-triage, internal-feedback-analysis]"),),
        refused=by("kohi wanko", *grants("DOWNSTREAM_USE_NOT_GRANTED")),
        fix="Leave out internal analysis of customer feedback (internal-feedback-analysis)",
        fixed=((", internal-feedback-analysis]", "]"),),
    ),
    "the next stage": Change(
        edits=(("stage: pilot", "stage: next"), *WIDE),
        refused=by("kohi wanko", *grants("STAGE_NOT_GRANTED")),
        fix="Stay in a stage that is granted",
        fixed=(("stage: next", "stage: pilot"),),
    ),
    "records instead of people": Change(
        edits=(("unit: subject", "unit: record"), ("records_per_subject: 6", "records_per_subject: 1")),
        refused=by("all", ("8", "BUDGET_UNIT")),
        fix="Set unit to one person with all their records (subject) in the study.",
        fixed=(("unit: record", "unit: subject"),),
    ),
    "consents of another year": Change(
        edits=(("legal_basis_scope: fl-training/2026-11", "legal_basis_scope: fl-training/2027-04"),),
        refused=by("all", ("3", "SCOPE_NOT_COVERED")),
        fix="Ask under the scope fl-training/2026-11",
        fixed=(("fl-training/2027-04", "fl-training/2026-11"),),
    ),
}  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The example's papers and demo keys, without a record: legal needs none."""
    folder = tmp_path / "study"
    skipped = shutil.ignore_patterns("state", "coordinator", "*.jsonl", "*.jsonl.gz", "__pycache__")
    shutil.copytree(EXAMPLE, folder, ignore=skipped)
    return folder


def signed(study: Path, edits: tuple[tuple[str, str], ...], capsys: Capture) -> None:
    """Edit the study and have its own legal and IT sign it as it stands."""
    path = study / "study.yaml"
    text = path.read_text("utf-8")
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    for role, person in SIGNERS.items():
        ended = sekisho_here(capsys, "legal", "sign", path, "--role", role, "--as", person, "--yes")
        # what the fix restores byte for byte carries its signatures still
        assert ended.exit == 0 or "[ALREADY_SIGNED]" in ended.err, ended.err


def decided(study: Path, capsys: Capture, *words: str) -> Ended:
    return sekisho_here(capsys, "legal", "decide", study, *words)


@pytest.mark.parametrize("name", CHANGES)
def test_exactly_the_makers_and_clauses_refuse_that_should(name: str, study: Path, capsys: Capture) -> None:
    change = CHANGES[name]
    signed(study, change.edits, capsys)
    ended = decided(study, capsys, "--json")
    found = {(site, clause, code) for site, denied in ended.told["denied"].items() for clause, _, code in denied}
    assert found == change.refused
    assert ended.exit == 3 and ended.told["code"] == "STUDY_DENIED" and ended.told["stage"] == []
    told = decided(study, capsys).out
    for maker, clause, code in change.refused:
        cited = clause if clause.startswith("G") else f"clause {clause}"
        assert re.search(rf"(?mi)^{maker}: {cited}, .*\[{code}\]$", told)
    assert change.fix in told
    signed(study, change.fixed, capsys)
    assert decided(study, capsys).exit == 0


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_table_has_every_maker_and_clause_in_both_languages(language: str, study: Path, capsys: Capture) -> None:
    yes, no = ("yes", "NO") if language == "en" else ("許可", "拒否")
    budget = "Privacy budget" if language == "en" else "プライバシー予算"
    lines = decided(study, capsys, "--language", language).out.splitlines()
    assert lines[0].split() == list(MAKERS)
    assert len(lines[1 : lines.index("")]) == 13
    assert all(line.split()[-5:] == [yes] * 5 for line in lines[1 : lines.index("")])
    signed(study, CHANGES["a larger budget in one run"].edits, capsys)
    lines = decided(study, capsys, "--language", language).out.splitlines()
    (row,) = [line for line in lines[: lines.index("")] if line.startswith(budget)]
    assert row.removeprefix(budget).split() == ["*", no, no, no, yes, no]  # * : assumed here, decided at the site


def test_one_makers_unsigned_policy_hides_nobody_elses_answer(study: Path, capsys: Capture) -> None:
    (study / "sites" / "okashi" / "policy.yaml.dsse.json").unlink()
    ended = decided(study, capsys)
    rows = [line.split()[-5:] for line in ended.out.splitlines()[1:14]]
    assert ended.exit == 3 and all(row == ["yes", "yes", "unread", "yes", "yes"] for row in rows)
    assert "okashi" in ended.out and "SIGNATURE_MISSING" in ended.out


CAPS = {
    "sites": ("caps: {sites: 5,", "caps: {sites: 4,", "STAGE_SITES"),
    "people": ("subjects: 1650", "subjects: 1649", "STAGE_SUBJECTS"),
    "runs": ("runs: 4,", "runs: 1,", "STAGE_RUNS"),
    "epsilon": ('epsilon_per_run: "3.0"', 'epsilon_per_run: "2.9999"', "STAGE_EPSILON"),
}


@pytest.mark.parametrize("name", CAPS)
def test_a_stage_that_is_exceeded_is_said_in_both_languages(name: str, study: Path, capsys: Capture) -> None:
    old, new, code = CAPS[name]
    signed(study, ((old, new),), capsys)
    ended = decided(study, capsys, "--json")
    assert ended.exit == 3 and [cap["code"] for cap in ended.told["stage"]] == [code]
    assert not any(ended.told["denied"].values())
    assert f"[{code}]" in decided(study, capsys).out and f"[{code}]" in decided(study, capsys, "--language", "ja").out
