"""Documents: what the file shows is what is read, and every refusal says where and what to do."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.document import (
    MAX_BYTES,
    Digest,
    DocumentModel,
    Exact,
    Identifier,
    Moment,
    read_document,
    validate_model,
)
from sekisho.governance.errors import BadDocumentError


def read(text: str) -> Any:
    return read_document(text.encode(), name="file.yaml").value


def refusal(data: bytes | str) -> BadDocumentError:
    with pytest.raises(BadDocumentError) as caught:
        read_document(data.encode() if isinstance(data, str) else data, name="file.yaml")
    error = caught.value
    assert error.hint and error.sentence[0].islower() and error.file == "file.yaml"
    assert str(error).startswith(f"file.yaml:{error.line}:{error.column}: ")
    return error


def test_no_is_norway_and_dates_are_text() -> None:
    assert read("[JP, NO, on, yes, off, 12:30:45, 2026-11-23, 0o, 1.2.3, 5%]") == [
        "JP", "NO", "on", "yes", "off", "12:30:45", "2026-11-23", "0o", "1.2.3", "5%",
    ]  # fmt: skip


def test_plain_values_are_what_yaml_1_2_says() -> None:
    assert read('{a: true, b: null, c: 7, d: -3, e: "7", f: "true", g: {}, h: [], i: }') == {
        "a": True, "b": None, "c": 7, "d": -3, "e": "7", "f": "true", "g": {}, "h": [], "i": None,
    }  # fmt: skip


def test_places_count_lines_and_columns_from_one() -> None:
    document = read_document(b"a: 1\nb:\n  - x\n  - {c: y}\n", name="f")
    assert document.place(("b", 1, "c")) == (4, 9)
    assert document.key_place(("b", 1, "c")) == (4, 6)
    assert document.place(("b", 1, "missing")) == (4, 5)
    assert document.place(("nowhere",)) == (1, 1)
    assert document.at(("b", 1, "c")) == "y"


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("", "EMPTY_DOCUMENT", 1, 1),
        ("# only a comment\n", "EMPTY_DOCUMENT", 1, 1),
        ("a: 1\nb: &anchor 2", "YAML_ANCHOR", 2, 4),
        ("&anchor a: 1", "YAML_ANCHOR", 1, 1),
        ("a: 1\nb: *anchor", "YAML_ALIAS", 2, 4),
        ("*anchor : 1", "YAML_ALIAS", 1, 1),
        ("a: !!python/object 1", "YAML_TAG", 1, 4),
        ("a: !!float 1", "YAML_TAG", 1, 4),
        ("a: ! 1", "YAML_TAG", 1, 4),
        ("!!str a: 1", "YAML_TAG", 1, 1),
        ("a: {<<: {b: 1}}", "YAML_MERGE_KEY", 1, 5),
        ("%YAML 1.1\n---\na: NO", "YAML_DIRECTIVE", 1, 1),
        ("%TAG ! tag:x,2000:\n---\na: 1", "YAML_DIRECTIVE", 1, 1),
        ("a: 1\nb: 2\na: 3", "DUPLICATE_KEY", 3, 1),
        ('{"a": 1, a: 2}', "DUPLICATE_KEY", 1, 10),
        ("a: 1\n---\nb: 2", "SEVERAL_DOCUMENTS", 2, 1),
        ("epsilon: 1e-6", "UNQUOTED_NUMBER", 1, 10),
        ("epsilon: 3.0", "UNQUOTED_NUMBER", 1, 10),
        ("epsilon: .5", "UNQUOTED_NUMBER", 1, 10),
        ("epsilon: 5.", "UNQUOTED_NUMBER", 1, 10),
        ("epsilon: +5", "UNQUOTED_NUMBER", 1, 10),
        ("epsilon: 007", "UNQUOTED_NUMBER", 1, 10),
        ("epsilon: 1_000", "UNQUOTED_NUMBER", 1, 10),
        ("epsilon: 0x1F", "UNQUOTED_NUMBER", 1, 10),
        ("epsilon: .inf", "UNQUOTED_NUMBER", 1, 10),
        ("epsilon: -.INF", "UNQUOTED_NUMBER", 1, 10),
        ("epsilon: .nan", "UNQUOTED_NUMBER", 1, 10),
        ("epsilon: 9007199254740992", "UNQUOTED_NUMBER", 1, 10),
        ("epsilon: " + "9" * 5000, "UNQUOTED_NUMBER", 1, 10),
        ("? [a, b]\n: 1", "BAD_KEY", 1, 3),
        ("1.5: a\n? ''\n: b", "BAD_KEY", 2, 3),
        ("a:\n\u3000\u3000b: 1", "BAD_KEY", 2, 1),
        ("a:\n\tb: 1", "CONTROL_CHARACTER", 2, 1),
        ("a: b: c", "YAML_SYNTAX", 1, 5),
        ("a: 'unfinished", "YAML_SYNTAX", 1, 4),
        ("a: [1, 2", "YAML_SYNTAX", 1, 4),
        ("a:\n - b\n c: 1", "YAML_SYNTAX", 3, 2),
        ("a: @b", "YAML_SYNTAX", 1, 4),
        ('a: "\\U00110000"', "YAML_SYNTAX", 1, 1),
        ("[" * 21, "TOO_DEEP", 1, 21),
        ("[" * 100_000, "TOO_DEEP", 1, 21),
        ("{a: " * 21, "TOO_DEEP", 1, 81),
        ("a: \u202eevil", "BIDI_CHARACTER", 1, 4),
        ('a: "\\u202eevil"', "BIDI_CHARACTER", 1, 4),
        ('a: "\\u200b"', "INVISIBLE_CHARACTER", 1, 4),
        ('a: "\\ud800"', "INVISIBLE_CHARACTER", 1, 4),
        ('a: "\\0"', "CONTROL_CHARACTER", 1, 4),
        ('a: "\\t"', "CONTROL_CHARACTER", 1, 4),
        ('a: "か\\u3099"', "NOT_NFC", 1, 5),
        ("a: 1\nb: か\u3099", "NOT_NFC", 2, 5),
        ("\ufeffa: 1", "INVISIBLE_CHARACTER", 1, 1),
    ],
)  # fmt: skip
def test_what_a_document_may_not_contain(text: str, code: str, line: int, column: int) -> None:
    error = refusal(text)
    assert (error.code, error.line, error.column) == (code, line, column)


def test_bytes_that_are_not_utf8_are_refused_at_their_place() -> None:
    error = refusal("a: 1\nb: 日本".encode() + b"\x93\xfa")  # Shift_JIS
    assert (error.code, error.line, error.column) == ("NOT_UTF8", 2, 6)
    assert refusal(b"\xff\xfea\x00").code == "NOT_UTF8"  # UTF-16


def test_a_file_beyond_the_limits_is_refused() -> None:
    assert refusal(b"a" * (MAX_BYTES + 1)).code == "DOCUMENT_TOO_LARGE"
    assert refusal("[" + "a," * 100_000 + "]").code == "TOO_MANY_VALUES"
    assert refusal("- " * 100_000).code == "TOO_DEEP"
    assert refusal("? " * 100_000).code == "BAD_KEY"


def test_a_refusal_repeats_no_content_of_the_file_but_names_and_numbers() -> None:
    error = refusal('note: "Taro Yamada, 03-1234-5678"\nnote: 2')
    assert "Yamada" not in str(error) and "Yamada" not in error.hint


@settings(max_examples=300)
@given(st.text(alphabet="ab:-?&*!|>%@`{}[],'\"\\ \n#\u3000\t1.e<~", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read(text)
    except BadDocumentError as error:
        assert error.code.isupper() and error.line >= 1 and error.column >= 1


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read_document(data, name="f")
    except BadDocumentError as error:
        assert error.code.isupper() and error.line >= 1 and error.column >= 1


class Inner(DocumentModel):
    epsilon: Exact
    until: Moment


class Outer(DocumentModel):
    id: Identifier
    digest: Digest
    parts: tuple[Inner, ...]
    count: int = 1


GOOD = """\
id: a/b
digest: sha256:{digest}
parts:
  - epsilon: "0.000001"
    until: "2099-12-31T00:00:00+09:00"
""".format(digest="0" * 64)


def model(text: str) -> Outer:
    return validate_model(read_document(text.encode(), name="f"), Outer)


def test_a_model_gets_exact_decimals_and_moments_with_zone() -> None:
    outer = model(GOOD)
    assert outer.parts[0].epsilon == Decimal("0.000001")
    assert outer.parts[0].until == datetime(2099, 12, 30, 15, tzinfo=UTC)
    with pytest.raises(Exception, match="frozen"):
        outer.count = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "code", "line", "column"),
    [
        ("id: a/b", "id: a b", "BAD_VALUE", 1, 5),
        ("id: a/b", "id: 7", "WRONG_TYPE", 1, 5),
        ("id: a/b\n", "", "MISSING_FIELD", 1, 1),
        ("id: a/b", "id: a/b\nextra: 1", "UNKNOWN_FIELD", 2, 1),
        ("  - epsilon", "  - epsilom", "UNKNOWN_FIELD", 4, 5),
        ("sha256:0", "sha256:g", "BAD_VALUE", 2, 9),
        ('"0.000001"', "1", "NOT_EXACT_NUMBER", 4, 14),
        ('"0.000001"', '"1e-6"', "NOT_EXACT_NUMBER", 4, 14),
        ('"0.000001"', '"NaN"', "NOT_EXACT_NUMBER", 4, 14),
        ('"0.000001"', '"-1"', "NOT_EXACT_NUMBER", 4, 14),
        ('"0.000001"', '"１"', "NOT_EXACT_NUMBER", 4, 14),
        ("+09:00", "", "NOT_A_TIME", 5, 12),
        ("12-31T00", "13-31T00", "NOT_A_TIME", 5, 12),
        ("12-31T00:00:00+09:00", "12-31", "NOT_A_TIME", 5, 12),
        ("id: a/b", "id: a/b\ncount: true", "WRONG_TYPE", 2, 8),
        ("id: a/b", 'id: a/b\ncount: "2"', "WRONG_TYPE", 2, 8),
    ],
)
def test_a_field_that_does_not_fit_is_refused_at_its_place(
    old: str, new: str, code: str, line: int, column: int
) -> None:
    with pytest.raises(BadDocumentError) as caught:
        model(GOOD.replace(old, new, 1))
    assert (caught.value.code, caught.value.line, caught.value.column) == (code, line, column)
    assert caught.value.hint


def test_a_misspelt_field_gets_the_right_spelling_as_hint() -> None:
    with pytest.raises(BadDocumentError) as caught:
        model(GOOD.replace("epsilon", "epsilom"))
    assert caught.value.hint == "did you mean epsilon?"


@pytest.mark.parametrize("text", ["[1, 2]", "just text", "null", "7"])
def test_a_document_that_is_no_block_of_fields_is_refused(text: str) -> None:
    with pytest.raises(BadDocumentError) as caught:
        model(text)
    assert caught.value.code == "WRONG_TYPE"
