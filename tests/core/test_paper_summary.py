"""What a person reads before signing a study: everything that binds, in both languages, and true of this very file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sekisho.core.paperwork.paper import Paper, open_paper
from sekisho.core.paperwork.study_summary import study_summary
from sekisho.core.paperwork.summary import summary
from sekisho.core.study import Study, StudyFile
from sekisho.governance.canonical import canonical_bytes
from sekisho.governance.document import read_document
from sekisho.governance.errors import BadDocumentError
from sekisho.governance.language import Language
from sekisho.governance.signing.roster import Roster

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "food-quality"
ROSTER = Roster.parse((EXAMPLE / "roster.yaml").read_bytes(), "roster.yaml")
PAPER = open_paper(EXAMPLE / "study.yaml")
BOTH: Sequence[Language] = ("en", "ja")


def changed(*pairs: tuple[str, str]) -> Paper:
    text = PAPER.text
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return replace(PAPER, content=Study.parse(text.encode("utf-8"), "study.yaml"), text=text)


def shown(paper: Paper, language: Language) -> str:
    return "\n".join(summary(paper, language, until=ROSTER.expires, now=ROSTER.created))


@pytest.mark.parametrize("language", BOTH)
def test_whose_consents_which_weights_and_which_test_records_are_shown(language: Language) -> None:
    assert isinstance(PAPER.content, Study)
    words = shown(PAPER, language)
    for digest in (PAPER.content.base_model.digest, PAPER.content.test_set.digest, PAPER.content.digest):
        assert digest in words
    assert PAPER.content.legal_basis_scope in words


def test_what_all_runs_cost_together_is_shown_where_there_are_several() -> None:
    told = "for whoever sees all results: at most epsilon 6.0 (delta 0.00002) a person (all records added or removed)"
    assert f"All runs together, {told}" in shown(PAPER, "en")
    assert "結果を見る者に対する合計：1人あたり（その全記録の有無について）最大ε=6.0（δ=0.00002）" in shown(PAPER, "ja")
    text = (EXAMPLE / "study-full.yaml").read_text("utf-8")
    one = replace(PAPER, content=Study.parse(text.encode("utf-8"), "study.yaml"), text=text)
    assert "All runs together" not in shown(one, "en") and "合計" not in shown(one, "ja")


def test_a_guarantee_for_records_is_not_shown_as_one_for_people() -> None:
    paper = changed(("unit: subject", "unit: record"), ("records_per_subject: 6", "records_per_subject: 1"))
    english, japanese = shown(paper, "en"), shown(paper, "ja")
    assert "(delta 0.00001) a record (added or removed) in one run" in english and ") a person" not in english
    assert "記録1件あたり（その有無について）最大ε=3.0" in japanese and "1人あたり" not in japanese


def test_a_person_at_several_sites_is_told_what_the_bounds_count() -> None:
    paper = changed(("max_sites_per_subject: 1 ", "max_sites_per_subject: 2 "))
    assert "count what one person has at up to 2 sites together" in shown(paper, "en")
    assert "最大2か所にあるものとして合算する" in shown(paper, "ja")
    assert "sites together" not in shown(PAPER, "en") and "合算する" not in shown(PAPER, "ja")


def test_a_head_of_each_sites_own_is_shown_or_its_absence() -> None:
    without = changed(("personal_heads: true", "personal_heads: false"))
    cases: Sequence[tuple[Language, str, str]] = (
        ("en", "each site also trains a head of its own", "No site trains a head of its own."),
        ("ja", "専用のヘッドも学習する。", "各拠点専用のヘッドは学習しない。"),
    )
    for language, yes, no in cases:
        assert yes in shown(PAPER, language) and no not in shown(PAPER, language)
        assert no in shown(without, language) and yes not in shown(without, language)


def test_what_happens_when_a_site_drops_out_is_shown() -> None:
    stop = changed(("on_drop: continue", "on_drop: stop"))
    assert "the run goes on without it while at least 3 are left" in shown(PAPER, "en")
    assert "残りが3以上であれば実行を続ける" in shown(PAPER, "ja")
    assert "If a site drops out, the run ends" in shown(stop, "en") and "goes on" not in shown(stop, "en")
    assert "実行を終了する" in shown(stop, "ja") and "実行を続ける" not in shown(stop, "ja")


def test_measures_are_named_in_words() -> None:
    assert "Success: accuracy of linear head on frozen features at least 0.70." in shown(PAPER, "en")
    assert "成功の基準：固定特徴量上の線形ヘッドの正解率が0.70以上。" in shown(PAPER, "ja")
    assert "of probe" not in shown(PAPER, "en") and "probeの" not in shown(PAPER, "ja")


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict | list):
            yield from leaves(inner, (*path, key))
        else:
            yield (*path, key), inner


OTHERS = {
    "pilot": "next", "subject": "record", "participants": "public", "probe": "lora", "auc": "accuracy",
    "continue": "stop", "intermediate": "query", "sources-listed": "full", "add-or-remove-one": "replace-one",
    "JPY": "EUR",
}  # fmt: skip


def variants(value: Any) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, max(1, value - 1))
    elif value in OTHERS:
        yield OTHERS[value]
    elif value.startswith("sha256:"):
        yield "sha256:" + "0" * 64
    elif value.replace(".", "").isdigit():
        yield str(Decimal(value) / 2)
    else:
        yield value + "x"


def test_nothing_that_can_be_changed_in_a_study_is_hidden_from_its_signer() -> None:
    """Each leaf of the file in turn; what stands in one language shows in that one, everything else in both."""
    whole = read_document(PAPER.text.encode("utf-8"), name="study.yaml").value
    before = {language: shown_study(PAPER.content, language) for language in BOTH}
    seen = 0
    for path, value in leaves(whole):
        for new in variants(value):
            if new == value:
                continue
            other = json.loads(json.dumps(whole))
            inner = other
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = new
            study = read(other, whole=path[0] in ("sites", "stage", "stages"))
            if study is None:
                continue
            seen += 1
            differing = [language for language in BOTH if shown_study(study, language) != before[language]]
            assert len(differing) == (1 if path[-1] in BOTH else 2), (path, new)
    assert seen > 90


def read(value: dict[str, Any], *, whole: bool) -> Study | None:
    """The study, if the language has it; the rules across fields are asked (slowly) where they matter to a reader."""
    try:
        if whole:
            return Study.parse(canonical_bytes(value) + b"\n", "study.yaml")
        fields = StudyFile.model_validate_json(canonical_bytes(value), strict=True)
        return Study.model_construct(**dict(fields), digest="", canonical_digest="")
    except (BadDocumentError, ValidationError):
        return None


def shown_study(study: object, language: Language) -> list[str]:
    assert isinstance(study, Study)
    return study_summary(study, language)


@pytest.mark.parametrize("field", ["requester", "question", "title", "gate"])
def test_no_text_of_a_study_begins_a_line_of_its_own(field: str) -> None:
    posing = "x\\nStage pilot: at most 3 sites, 10 people, 1 runs\\n   y"
    begins = {
        "requester": "requester: ", "gate": 'en: "Five signed', "title": 'en: "Finding', "question": 'en: "Can five',
    }  # fmt: skip
    old = next(line.strip() for line in PAPER.text.splitlines() if line.strip().startswith(begins[field]))
    new = f'requester: "{posing}"' if field == "requester" else f'en: "{posing}"'
    try:
        paper = changed((old, new))
    except BadDocumentError:
        return  # refused is better still
    lines = shown_study(paper.content, "en")
    assert all("\n" not in line for line in lines)
    stage = [line for line in lines if line.startswith("Stage pilot")]
    assert stage == [line for line in shown_study(PAPER.content, "en") if line.startswith("Stage pilot")]
