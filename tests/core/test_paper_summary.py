"""What a person reads before signing a study: everything that binds, in both languages, and true of this very file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sekisho.core.paperwork.paper import Paper, open_paper
from sekisho.core.paperwork.summary import summary
from sekisho.core.study import Study
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
    told = "All runs together, for whoever sees all results: at most epsilon 6.0 (delta 0.00002) a person"
    assert told in shown(PAPER, "en")
    assert "全実行の結果を見る者に対する合計：1人あたり最大ε=6.0（δ=0.00002）" in shown(PAPER, "ja")
    text = (EXAMPLE / "study-full.yaml").read_text("utf-8")
    one = replace(PAPER, content=Study.parse(text.encode("utf-8"), "study.yaml"), text=text)
    assert "All runs together" not in shown(one, "en") and "合計" not in shown(one, "ja")


def test_a_guarantee_for_records_is_not_shown_as_one_for_people() -> None:
    paper = changed(("unit: subject", "unit: record"), ("records_per_subject: 6", "records_per_subject: 1"))
    assert "(delta 0.00001) a record in one run" in shown(paper, "en") and ") a person" not in shown(paper, "en")
    assert "記録1件あたり最大ε=3.0" in shown(paper, "ja") and "1人あたり最大ε" not in shown(paper, "ja")


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
