"""Vocabulary: a word without a meaning cannot be consented to."""

from __future__ import annotations

import pytest

from sekisho.governance.errors import BadDocumentError
from sekisho.governance.language import LANGUAGES
from sekisho.governance.policy.always_clauses import DISCLOSURE_LEVELS, UNITS
from sekisho.governance.policy.request import SOURCES
from sekisho.governance.signing.roster import KNOWN_ROLES
from sekisho.governance.vocabulary import kinds, known, label, terms


@pytest.mark.parametrize("kind", kinds())
def test_every_term_has_a_label_in_both_languages(kind: str) -> None:
    assert terms(kind)
    for term, words in terms(kind).items():
        assert all(words[language].strip() for language in LANGUAGES), term


def test_labels_of_one_vocabulary_are_all_different() -> None:
    for kind in kinds():
        for language in LANGUAGES:
            words = [text[language] for text in terms(kind).values()]
            assert len(set(words)) == len(words), kind


def test_scales_and_closed_sets_are_the_ones_that_the_code_uses() -> None:
    assert tuple(terms("units")) == UNITS
    assert tuple(terms("disclosure_levels")) == DISCLOSURE_LEVELS
    assert tuple(sorted(terms("sources"))) == SOURCES
    assert frozenset(terms("roles")) == KNOWN_ROLES


def test_every_task_that_there_is_code_for_can_be_granted() -> None:
    assert {"text-classification", "causal-lm"} <= set(terms("tasks"))
    assert "言語モデル" in label("tasks", "causal-lm").ja


def test_norway_is_a_country() -> None:
    assert label("countries", "NO").en == "Norway"


def test_an_unknown_term_is_refused_with_the_nearest_known_one() -> None:
    assert not known("purposes", "dpv:Scientificresearch")
    with pytest.raises(BadDocumentError) as caught:
        label("purposes", "dpv:Scientificresearch")
    assert caught.value.code == "UNKNOWN_TERM"
    assert "dpv:ScientificResearch" in caught.value.hint


@pytest.mark.parametrize("kind", ["nothing", "../terms/purposes", "purposes.toml", ""])
def test_an_unknown_vocabulary_is_refused(kind: str) -> None:
    with pytest.raises(BadDocumentError) as caught:
        terms(kind)
    assert caught.value.code == "UNKNOWN_VOCABULARY"
