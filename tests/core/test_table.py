"""A CSV file is read whole or refused at its line, and no refusal shows what stands in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sekisho.core.data.dataset import LONGEST_TEXT
from sekisho.core.errors import BadInputError
from sekisho.core.paperwork.table import Columns, read_table

from .own_study import CANARY, rows, text_of

Spoil = Callable[[str], str | bytes]
PLAIN = Columns()
GOOD = text_of(rows(3, each=1))  # line 1 names the columns, records stand on lines 2, 3, 4


def line(number: int, change: Callable[[str], str]) -> Spoil:
    def spoil(text: str) -> str:
        lines = text.split("\r\n")
        lines[number - 1] = change(lines[number - 1])
        return "\r\n".join(lines)

    return spoil


@dataclass(frozen=True)
class Bad:
    code: str
    spoil: Spoil
    at: str  # how the sentence begins, after the file's name
    columns: Columns = PLAIN


CASES = {
    "no text column": Bad("TABLE_COLUMN_MISSING", line(1, lambda head: head.replace("text", "body")), ":1:"),
    "no label column": Bad("TABLE_COLUMN_MISSING", line(1, lambda head: head.replace("label", "mark")), ":1:"),
    "a named column is missing": Bad("TABLE_COLUMN_MISSING", lambda text: text, ":1:", Columns(subject="customer")),
    "no header": Bad("TABLE_COLUMN_MISSING", lambda text: text.split("\r\n", 1)[1], ":1:"),
    "another separator": Bad("TABLE_COLUMN_MISSING", lambda text: text.replace(",", ";"), ":1:"),
    "a column twice": Bad("TABLE_COLUMN_TWICE", line(1, lambda head: head.replace("subject", "text")), ":1:"),
    "a column for two things": Bad("TABLE_COLUMN_TWICE", lambda text: text, ":1:", Columns(label="text")),
    "three labels": Bad("TABLE_LABELS", line(4, lambda row: row.replace(",bad", ",so-so")), ":4:"),
    "one label": Bad("TABLE_LABELS", lambda text: text.replace(",bad", ",good"), ":2:"),
    "a label as long as a text": Bad("TABLE_LABELS", line(3, lambda row: row.replace("good", CANARY * 5)), ":3:"),
    "labels are texts": Bad("TABLE_LABELS", lambda text: text, ":4:", Columns(text="label", label="id")),
    "an empty text": Bad("TABLE_VALUE", line(3, lambda row: "r9,p9,  ,good"), ":3:"),
    "an empty label": Bad("TABLE_VALUE", line(3, lambda row: "r9,p9,a text,"), ":3:"),
    "a duplicate id": Bad("TABLE_DUPLICATE_ID", line(4, lambda row: row.replace("r0002", "r0000")), ":4:"),
    "not UTF-8": Bad("TABLE_NOT_UTF8", lambda text: text.encode().replace(b"item 1", b"\xff\xe9"), ":3:"),
    "UTF-16": Bad("TABLE_NOT_UTF8", lambda text: text.encode("utf-16"), ":1:"),
    "a quote never closed": Bad("TABLE_MALFORMED", line(3, lambda row: row.replace("p0001,", 'p0001,"')), ":3:"),
    "a quote within a field": Bad("TABLE_MALFORMED", line(3, lambda row: row.replace("p0001,", 'p0001,"a"b')), ":3:"),
    "a field too long": Bad("TABLE_VALUE", line(3, lambda row: row.replace("item", "x" * (LONGEST_TEXT + 1))), ":3:"),
    "a subject too long": Bad("TABLE_VALUE", line(3, lambda row: row.replace("p0001", "p" * 201)), ":3:"),
    "an unquoted separator": Bad("TABLE_ROW_WIDTH", line(3, lambda row: row.replace(" item", ", item")), ":3:"),
    "a row too short": Bad("TABLE_ROW_WIDTH", line(4, lambda row: "r9,p9"), ":4:"),
    "a mail address": Bad("TABLE_SUBJECT", line(3, lambda row: row.replace("p0001", f"{CANARY}@mail.example")), ":3:"),
    "a full name": Bad("TABLE_SUBJECT", line(3, lambda row: row.replace("p0001", f"Ann {CANARY}")), ":3:"),
    "a strange site": Bad("TABLE_SITE", lambda text: text, ":2:", Columns(site="subject")),
    "no record": Bad("TABLE_EMPTY", lambda text: text.split("\r\n", 1)[0], ""),
    "an empty file": Bad("TABLE_EMPTY", lambda text: "", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_table_is_refused_at_its_line_without_its_content(case: str, tmp_path: Path) -> None:
    bad = CASES[case]
    spoiled = bad.spoil(GOOD)
    path = tmp_path / "data.csv"
    path.write_bytes(spoiled if isinstance(spoiled, bytes) else spoiled.encode("utf-8"))
    with pytest.raises(BadInputError) as caught:
        read_table(path, bad.columns, sites=("north",))
    error = caught.value
    assert error.code == bad.code, error
    assert error.sentence.startswith(f"data.csv{bad.at}"), error.sentence
    assert error.hint and "\n" not in error.sentence + error.hint
    for secret in (CANARY, "item", "stale", "lovely", "p0001", "r0002"):
        assert secret not in error.sentence + error.hint


def test_a_third_label_is_named_where_labels_are_few(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\n" + "a,good\nb,bad\n" * 8 + "c,so-so\n", "utf-8")
    with pytest.raises(BadInputError) as caught:
        read_table(path, Columns())
    assert "data.csv:18: the label column has 3 distinct values (bad, good, so-so)" in caught.value.sentence


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(BadInputError) as caught:
            read_table(path, Columns())
        assert caught.value.code == "TABLE_UNREADABLE"


@pytest.mark.parametrize(
    "write",
    [
        lambda text: text.encode("utf-8"),
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("\r\n", "\n").encode("utf-8"),
        lambda text: (text + "\r\n\r\n,,,\r\n").encode("utf-8"),
    ],
    ids=["plain", "marked by a spreadsheet", "lines of Unix", "blank lines"],
)
def test_the_same_table_in_four_spellings(write: Callable[[str], bytes], tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(write(GOOD))
    found = read_table(path, Columns())
    assert [(row.line, row.id, row.subject, row.label) for row in found.rows] == [
        (2, "r0000-0", "p0000", "bad"), (3, "r0001-0", "p0001", "good"), (4, "r0002-0", "p0002", "bad"),
    ]  # fmt: skip
    assert (found.labels, found.has_subjects, found.has_sites) == (("bad", "good"), True, False)
    assert CANARY not in repr(found) + repr(found.rows[0])


def test_quoted_fields_keep_separators_quotes_and_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"one, ""two""\nthree",good\nfour,bad\n,\n"x" y,good\n', "utf-8")
    with pytest.raises(BadInputError) as caught:
        read_table(path, Columns())
    assert (caught.value.code, caught.value.sentence[:10]) == ("TABLE_MALFORMED", "data.csv:6")
    path.write_text(f'text,label\n"one, ""two""\nthree",good\n"{"é" * LONGEST_TEXT}",bad\n', "utf-8")
    one, longest = read_table(path, Columns()).rows
    assert one.text == 'one, "two"\nthree'
    assert (longest.line, len(longest.text)) == (4, LONGEST_TEXT)


def test_without_columns_of_subjects_and_ids_each_row_is_a_person(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text;label\na;good\nb;bad\n", "utf-8")
    found = read_table(path, Columns(), separator=";")
    assert [(row.id, row.subject) for row in found.rows] == [("row-000001",) * 2, ("row-000002",) * 2]
    assert not found.has_subjects


def test_a_column_that_is_named_is_not_taken_by_default_as_well(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("id,text,label\nann,a,good\nann,b,bad\n", "utf-8")
    found = read_table(path, Columns(subject="id"))
    assert [(row.id, row.subject) for row in found.rows] == [("row-000001", "ann"), ("row-000002", "ann")]


def test_one_name_in_two_spellings_is_one_label(tmp_path: Path) -> None:
    """Composed and decomposed letters look alike; read apart they would be two labels."""
    path = tmp_path / "data.csv"
    path.write_text("text,label\na,caf\u00e9\nb,cafe\u0301 \nc,other\n", "utf-8")
    assert read_table(path, Columns()).labels == ("caf\u00e9", "other")


def test_test_records_have_the_labels_of_the_table(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text("text,label\na,good\nb,awful\n", "utf-8")
    with pytest.raises(BadInputError) as caught:
        read_table(path, Columns(), labels=("bad", "good"))
    assert caught.value.code == "TABLE_LABELS"
    assert "test.csv:3" in caught.value.sentence and "bad, good" in caught.value.hint
