"""Language: nothing is said in one language only."""

from __future__ import annotations

import pytest

from sekisho.governance.errors import BadDocumentError
from sekisho.governance.language import LANGUAGES, Catalogue


def test_every_text_of_this_house_is_there_in_both_languages() -> None:
    catalogue = Catalogue.load("sekisho.governance", "texts")
    assert catalogue.keys()
    for key in catalogue.keys():  # noqa: SIM118  a catalogue is no mapping
        assert all(catalogue[key][language].strip() for language in LANGUAGES)


def test_a_text_is_found_by_file_and_path_and_filled_in() -> None:
    catalogue = Catalogue.parse('[a.b]\nen = "at least {n}"\nja = "{n}以上"', name="file")
    assert catalogue.keys() == ("file.a.b",)
    assert catalogue.render("file.a.b", "ja", n="3", unused="x") == "3以上"
    assert catalogue["file.a.b"].en == "at least {n}"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ('[a]\nen = "only English"', "TEXT_LANGUAGE"),
        ('[a]\nen = "x"\nja = ""', "TEXT_LANGUAGE"),
        ('[a]\nen = "x"\nja = "x"\nde = "x"', "TEXT_LANGUAGE"),
        ('[a]\nen = "{n}"\nja = "{m}"', "TEXT_VALUES_DIFFER"),
        ('[a]\nen = "{n"\nja = "{n"', "TEXT_MALFORMED"),
        ("a = 1", "TEXT_MALFORMED"),
    ],
)
def test_a_text_that_says_less_in_one_language_does_not_load(source: str, code: str) -> None:
    with pytest.raises(BadDocumentError) as caught:
        Catalogue.parse(source, name="file")
    assert caught.value.code == code


def test_a_missing_text_or_value_is_refused_and_not_left_blank() -> None:
    catalogue = Catalogue.parse('[a]\nen = "{n}"\nja = "{n}"', name="file")
    with pytest.raises(BadDocumentError, match="no text"):
        catalogue["file.b"]
    with pytest.raises(BadDocumentError, match="needs a value"):
        catalogue.render("file.a", "en")
