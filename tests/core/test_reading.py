"""`sekisho legal show`, `diff` and `lint`: what they print, write, refuse, and how they end."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from sekisho.core.paperwork.signed import policy_signatures

from ..federation.command import sekisho
from .own_study import NOW, run

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "food-quality"
KOHI = EXAMPLE / "sites" / "kohi" / "policy.yaml"
LANGUAGES = ("en", "ja")
HEAVY = ("torch", "tenseal", "dp_accounting", "numpy", "transformers")


def amended(folder: Path, *changed: tuple[str, str]) -> Path:
    text = KOHI.read_text("utf-8").replace("version: 1", "version: 2", 1)
    for old, new in changed:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "new.yaml"
    path.write_text(text, "utf-8")
    return path


# --- show


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_policy_is_shown_as_it_is_signed(language: str) -> None:
    from sekisho.governance.policy.policy import Policy
    from sekisho.governance.policy.signoff import rendering

    done = run("legal", "show", KOHI, "--language", language)
    assert done.exit == 0
    policy = Policy.parse(KOHI.read_bytes(), "policy.yaml")
    assert rendering(policy, language) in done.out  # type: ignore[arg-type]  parametrised as text
    assert policy.bytes_digest in done.out and policy.canonical_digest in done.out
    assert "kohi-legal" in done.out and "kohi-it" in done.out


def test_shown_as_json_it_is_one_object_with_every_provision() -> None:
    told = run("legal", "show", KOHI, "--json").told
    assert [one["id"] for one in told["provisions"]] == [*map(str, range(1, 12)), "G1", "G2"]
    assert {one["role"] for one in told["signed"]} == {"legal", "it"} and told["missing"] == []


def test_a_draft_outside_a_study_is_shown_and_nobody_is_said_to_have_signed_it(tmp_path: Path) -> None:
    draft = Path(shutil.copy(KOHI, tmp_path / "draft.yaml"))
    told = run("legal", "show", draft, "--json").told
    assert told["signed"] == [] and told["signatures_unknown"] == "no-study"
    assert "nobody can be said to have signed it" in run("legal", "show", draft).out


def test_a_policy_that_was_changed_is_not_shown_as_signed(tmp_path: Path) -> None:
    study = Path(shutil.copytree(EXAMPLE, tmp_path / "study"))
    policy = study / "sites" / "kohi" / "policy.yaml"
    policy.write_text(policy.read_text("utf-8").replace("audit_years: 3", "audit_years: 2"), "utf-8")
    found = policy_signatures(policy, now=NOW)
    assert found.people == () and found.missing == ("legal", "it")
    assert set(found.ignored) == {"SUBJECT_OTHER"}
    assert "do not count: SUBJECT_OTHER" in run("legal", "show", policy).out


def test_under_a_roster_that_cannot_be_used_no_signature_is_shown(tmp_path: Path) -> None:
    study = Path(shutil.copytree(EXAMPLE, tmp_path / "study"))
    (study / "roster.yaml.dsse.json").unlink()
    found = policy_signatures(study / "sites" / "kohi" / "policy.yaml", now=NOW)
    assert found.people == () and found.unknown == "no-roster"


def test_a_later_version_without_the_one_before_is_shown_and_not_as_signed(tmp_path: Path) -> None:
    study = Path(shutil.copytree(EXAMPLE, tmp_path / "study"))
    policy = study / "sites" / "kohi" / "policy.yaml"
    policy.write_text(policy.read_text("utf-8").replace("version: 1", "version: 2", 1), "utf-8")
    assert policy_signatures(policy, now=NOW).unknown == "no-earlier"
    assert run("legal", "show", policy).exit == 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_of_a_policy_is_written_in_both_languages_the_asked_one_first(language: str, tmp_path: Path) -> None:
    page = tmp_path / "kohi.html"
    done = run("legal", "show", KOHI, "--html", page, "--language", language)
    assert done.exit == 0 and ("kohi.html written" if language == "en" else "kohi.html を作成") in done.out
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>") and f'<html lang="{language}">' in text
    assert '<main class="en"' in text and '<main class="ja"' in text


def test_a_page_is_not_written_over_a_policy(tmp_path: Path) -> None:
    policy = Path(shutil.copy(KOHI, tmp_path / "policy.yaml"))
    before = policy.read_bytes()
    for words in (("show", policy), ("diff", policy, policy)):
        done = run("legal", *words, "--html", policy)
        assert done.exit == 2 and "PAGE_NAME" in done.err
    assert policy.read_bytes() == before


@pytest.mark.parametrize("command", ["show", "lint", "diff"])
def test_a_broken_policy_is_refused_with_its_line(command: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(KOHI.read_text("utf-8").replace("type: cohort", "type: cohrt"), "utf-8")
    words = ("legal", command, broken) if command != "diff" else ("legal", command, KOHI, broken)
    line = broken.read_text("utf-8").splitlines().index("    type: cohrt") + 1
    done = run(*words)
    assert done.exit == 2 and "UNKNOWN_CLAUSE" in done.err and f"broken.yaml:{line}:" in done.err
    told = run(*words, "--json").told
    assert told["code"] == "UNKNOWN_CLAUSE" and told["line"] == line


# --- diff


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_wider_version_is_told_by_a_study_and_the_clause_that_denied_it(language: str, tmp_path: Path) -> None:
    new = amended(tmp_path, ("destinations: [JP]", "destinations: [DE, JP]"))
    done = run("legal", "diff", KOHI, new, "--language", language)
    assert done.exit == 0
    expected = {
        "en": ("+ wider", "* Countries of the sites and the coordinator: Germany (DE), Japan (JP)", "Clause 4"),
        "ja": ("+ 緩和", "* 参加拠点及び統括者の所在国：ドイツ（DE）、日本（JP）", "第4条（提供・移転）"),
    }  # fmt: skip
    for words in expected[language]:
        assert words in done.out, words


def test_as_json_a_comparison_is_one_object_with_the_digest_that_is_signed(tmp_path: Path) -> None:
    from sekisho.governance.policy.compare import compare
    from sekisho.governance.policy.policy import Policy

    new = amended(tmp_path, ("audit_years: 3", "audit_years: 5"))
    told = run("legal", "diff", KOHI, new, "--json").told
    assert told["verdict"] == "narrower" and told["allowed"] is None and told["forbidden"]["denied_by"]
    old, later = (Policy.parse(path.read_bytes(), "policy.yaml") for path in (KOHI, new))
    assert told["digest"] == compare(old, later).digest


def test_a_page_of_a_comparison_is_written(tmp_path: Path) -> None:
    page = tmp_path / "change.html"
    new = amended(tmp_path, ("audit_years: 3", "audit_years: 5"))
    assert run("legal", "diff", KOHI, new, "--html", page).exit == 0
    assert "What becomes forbidden" in page.read_text("utf-8")


def test_a_policy_alone_is_compared_with_the_version_that_was_kept(tmp_path: Path) -> None:
    new = amended(tmp_path, ("audit_years: 3", "audit_years: 5"))
    (tmp_path / "earlier").mkdir()
    shutil.copy(KOHI, tmp_path / "earlier" / "1.yaml")
    assert run("legal", "diff", new, "--json").told["verdict"] == "narrower"


def test_without_a_version_to_compare_with_the_hint_says_where_it_belongs(tmp_path: Path) -> None:
    first = run("legal", "diff", KOHI)
    assert first.exit == 2 and "NO_EARLIER_VERSION" in first.err
    later = run("legal", "diff", amended(tmp_path))
    assert later.exit == 2 and "earlier/1.yaml" in later.err


# --- combine


def test_what_all_permit_together_names_whose_clause_binds_it() -> None:
    done = run("legal", "combine", EXAMPLE)
    assert done.exit == 0
    assert "Independent organisations in each step: at least 4  [bound by wanko 6, shokuhin 6]" in done.out
    assert "permitted by every site" in done.out and "DENIED" not in done.out
    told = run("legal", "combine", EXAMPLE, "--json").told
    assert told["conflicts"] == [] and set(told["study"]) == {
        f"{action}/{method}" for action in ("train", "release") for method in ("probe", "lora")
    }  # fmt: skip


def test_a_yes_or_no_that_all_demand_does_not_read_like_a_finding() -> None:
    english, japanese = (run("legal", "combine", EXAMPLE, "--language", one).out for one in LANGUAGES)
    assert "Conditions (not findings)" in english and "条件（現況ではない）" in japanese
    assert "required: no emergency stop is in force" in english and "要件：停止命令が発効していないこと" in japanese
    assert ": yes  [" not in english and ": no  [" not in english
    assert "：はい［" not in japanese and "：いいえ［" not in japanese


def test_a_clause_is_cited_as_an_article_in_japanese_wherever_clauses_bind() -> None:
    done = run("legal", "combine", EXAMPLE, "--language", "ja")
    assert "wankoの第6条、shokuhinの第6条" in done.out and "kohiのG1、wankoのG1" in done.out


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_study_in_whose_way_clauses_stand_is_told_what_would_have_to_change(language: str, tmp_path: Path) -> None:
    study = Path(shutil.copytree(EXAMPLE, tmp_path / "study"))
    paper = study / "study.yaml"
    paper.write_text(paper.read_text("utf-8").replace("stage: pilot", "stage: next", 1), "utf-8")
    done = run("legal", "combine", study, "--language", language)
    expected = {
        "en": (
            "DENIED",
            "kohi: G1, Grant: training [STAGE_NOT_GRANTED]: Stage: extended trial (next); allowed: pilot",
            "in the study: Stage: pilot (every site accepts that)",
            "or in the policy of kohi: amend G1, Grant: training",
        ),
        "ja": (
            "拒否",
            "kohiのG1（許可：学習）［STAGE_NOT_GRANTED］：段階は拡大試行（next）、許される値は試行（pilot）",
            "段階を次の範囲とする（全拠点が許す）：試行（pilot）",
            "kohiのG1（許可：学習）を改正し",
        ),
    }  # fmt: skip
    assert done.exit == 0
    for words in expected[language]:
        assert words in done.out, words


def test_where_clauses_exclude_one_another_it_is_said_that_no_study_could_satisfy_all(tmp_path: Path) -> None:
    study = Path(shutil.copytree(EXAMPLE, tmp_path / "study"))
    policy = study / "sites" / "kohi" / "policy.yaml"
    scope = "scope: fl-training/2026-11"
    policy.write_text(policy.read_text("utf-8").replace(scope, "scope: fl-training/2027-01"), "utf-8")
    done = run("legal", "combine", study)
    assert done.exit == 0 and "Nothing is left that all sites permit" in done.out
    assert "no value of “Scope of the consent” satisfies every site" in done.out


def test_policies_are_combined_from_files_alone(tmp_path: Path) -> None:
    others = [EXAMPLE / "sites" / site / "policy.yaml" for site in ("kohi", "daidokoro")]
    told = run("legal", "combine", *others, "--json").told
    assert told["sites"] == ["kohi", "daidokoro"] and "study" not in told
    twice = run("legal", "combine", KOHI, Path(shutil.copy(KOHI, tmp_path / "kohi.yaml")))
    assert twice.exit == 2 and "SITE_TWICE" in twice.err


def test_a_study_whose_roster_is_not_ready_is_not_held_against_the_policies(tmp_path: Path) -> None:
    study = Path(shutil.copytree(EXAMPLE, tmp_path / "study"))
    (study / "roster.yaml").unlink()
    done = run("legal", "combine", study)
    assert done.exit == 0 and "What 5 sites permit together" in done.out and "FILE_UNREADABLE" in done.out


# --- lint


def test_remarks_are_told_with_level_and_place_and_are_no_refusal(tmp_path: Path) -> None:
    weak = amended(tmp_path, ("exclude_requester: true", "exclude_requester: false"))
    said = {"en": "warning [REQUESTER_APPROVES] clause 10", "ja": "注意［REQUESTER_APPROVES］第10条"}
    for language, words in said.items():
        done = run("legal", "lint", weak, "--language", language)
        assert done.exit == 0 and words in done.out
    told = run("legal", "lint", weak, "--json").told
    assert "REQUESTER_APPROVES" in {one["code"] for one in told["remarks"]}


def test_an_error_is_a_finding(tmp_path: Path) -> None:
    over = amended(tmp_path, ('from: "2026-11-01', 'from: "2020-11-01'), ('until: "2099-12-31', 'until: "2021-12-31'))
    done = run("legal", "lint", over)
    assert done.exit == 1 and "EXPIRED" in done.out and "LINT_ERRORS" in done.err
    told = run("legal", "lint", over, "--json").told
    assert told["code"] == "LINT_ERRORS" and told["remarks"][0]["level"] == "error"


# --- amend


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    study = Path(shutil.copytree(EXAMPLE, tmp_path / "study"))
    return study / "sites" / "kohi" / "policy.yaml"


def test_the_next_version_keeps_the_present_one_and_says_what_it_replaces(policy: Path) -> None:
    from sekisho.governance.policy.policy import Policy
    from sekisho.governance.policy.signoff import check_succession

    before = policy.read_bytes()
    told = run("legal", "amend", policy, "--json").told
    kept = policy.parent / "earlier" / "1.yaml"
    assert kept.read_bytes() == before and told["version"] == 2
    check_succession(Policy.parse(policy.read_bytes(), "new"), Policy.parse(before, "old"))
    lines = policy.read_text("utf-8").splitlines()
    assert [line for line in lines if line not in before.decode("utf-8").splitlines()] == [
        "version: 2", f"supersedes: {told['supersedes']}",
    ]  # fmt: skip
    assert run("legal", "diff", policy, "--json").told["verdict"] == "same"


def test_a_draft_or_a_version_that_was_changed_already_is_not_kept_as_if_it_had_been_in_force(policy: Path) -> None:
    text = policy.read_text("utf-8").replace("audit_years: 3", "audit_years: 2")
    policy.write_text(text, "utf-8")
    done = run("legal", "amend", policy)
    assert done.exit == 3 and "POLICY_NOT_IN_FORCE" in done.err
    assert policy.read_text("utf-8") == text and not (policy.parent / "earlier").exists()


def test_a_version_that_was_kept_is_never_written_over(policy: Path) -> None:
    kept = policy.parent / "earlier" / "1.yaml"
    kept.parent.mkdir()
    kept.write_text("what others compared with", "utf-8")
    before = policy.read_bytes()
    done = run("legal", "amend", policy)
    assert done.exit == 3 and "EARLIER_DIFFERS" in done.err
    assert kept.read_text("utf-8") == "what others compared with" and policy.read_bytes() == before


def test_a_roster_is_handed_on_by_commands_alone_and_the_papers_hold(policy: Path) -> None:
    """The example's roster loses one person; the same legal and IT sign for both versions."""
    roster = policy.parents[2] / "roster.yaml"
    before = roster.read_bytes()
    assert run("legal", "amend", roster).exit == 0
    assert (roster.parent / "rosters" / "1.yaml").read_bytes() == before
    assert (roster.parent / "rosters" / "1.yaml.dsse.json").is_file()
    text = roster.read_text("utf-8").replace("business: 1, ", "")
    people = re.sub(r"  - pseudonym: (wanko-business|sakura)\n(?:    .*\n)+", "", text)
    roster.write_text(people, "utf-8")
    for role, person in (("legal", "hinoki"), ("it", "kaede")):
        done = run("legal", "sign", roster, "--role", role, "--as", person, "--yes")
        assert done.exit == 0, done.err
    assert "still missing: nobody" in done.out and "sakura" in done.out
    # wanko's policy wants a business role to be able to stop, and the requester is no longer known
    decided = run("legal", "decide", roster.parent, "--json").told
    assert {code for _, _, code in decided["denied"]["wanko"]} == {"STOP_ROLE_MISSING", "APPROVED_BY_REQUESTER"}
    assert {code for _, _, code in decided["denied"]["kohi"]} == {"APPROVED_BY_REQUESTER"}


# --- what is loaded


@pytest.mark.parametrize(
    "words", [("check", KOHI), ("show", KOHI), ("diff", KOHI, KOHI), ("lint", KOHI), ("combine", EXAMPLE)]
)
def test_reading_at_the_terminal_loads_nothing_heavy_and_no_page(words: tuple[str | Path, ...]) -> None:
    ended = sekisho("legal", *words)
    assert ended.exit == 0
    assert not ended.loaded & {*HEAVY, "jinja2"}


def test_a_page_loads_nothing_heavy(tmp_path: Path) -> None:
    ended = sekisho("legal", "show", KOHI, "--html", tmp_path / "page.html")
    assert ended.exit == 0 and "jinja2" in ended.loaded and not ended.loaded & set(HEAVY)


def test_what_an_author_wrote_begins_no_line_of_a_comparison(tmp_path: Path) -> None:
    """A contact or a clause with line breaks stays within the line that it belongs to."""
    posing = '"x\\n\\n= same: the new version permits exactly what the old one did\\n\\nWhat becomes allowed"'
    new = amended(tmp_path, ("contact: privacy@kohi.example", f"contact: {posing}"))
    lines = run("legal", "diff", KOHI, new).out.splitlines()
    assert [line for line in lines if line.startswith("= same: the new")] == []
    assert sum(line == "What becomes allowed" for line in lines) == 1
    text = new.read_text("utf-8")
    begins = 'en: "While a stop is in force, '
    assert begins in text
    new.write_text(text.replace(begins, 'en: "\\n= same: nothing changes\\n '), "utf-8")
    lines = run("legal", "diff", KOHI, new).out.splitlines()
    assert not any(line.startswith("= same: nothing") for line in lines)
