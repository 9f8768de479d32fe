"""Records are read strictly; a refusal names the line and never shows it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.data.dataset import Dataset, Record, TestSet
from sekisho.core.errors import BadInputError

LABELS = ("dissatisfied", "satisfied")
SECRET = "geheimer-text-einer-kundin"


def row(number: int, subject: str = "a", **changes: object) -> dict[str, object]:
    return {"id": f"r{number}", "subject": subject, "text": f"{SECRET} {number}", "label": "satisfied"} | changes


def write(path: Path, *rows: object, packed: bool = False) -> Path:
    lines = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in rows]
    data = b"\n".join(lines) + b"\n"
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def refused(path: Path) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        Dataset.load(path, labels=LABELS)
    shown = f"{caught.value} {caught.value.hint} {caught.value.__cause__} {caught.value.__suppress_context__}"
    assert SECRET not in shown and caught.value.__cause__ is None and caught.value.__suppress_context__
    return caught.value


@pytest.mark.parametrize("packed", [False, True])
def test_records_come_grouped_by_subject_in_order_of_their_ids(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("records.jsonl.gz" if packed else "records.jsonl")
    write(path, row(3, "b"), row(2, "a", product="B00"), row(1, "b"), packed=packed)
    dataset = Dataset.load(path, labels=LABELS)
    assert dataset.subjects == ("a", "b") and len(dataset) == 3
    assert [record.id for record in dataset.records["b"]] == ["r1", "r3"]


def test_the_order_of_the_file_decides_nothing(tmp_path: Path) -> None:
    rows = [row(number, subject) for number, subject in enumerate("abcabcab")]
    one = Dataset.load(write(tmp_path / "one.jsonl", *rows), labels=LABELS)
    other = Dataset.load(write(tmp_path / "other.jsonl", *reversed(rows)), labels=LABELS)
    assert dict(one.records) == dict(other.records) and one.subjects == other.subjects


def test_a_record_shows_nothing_in_messages(tmp_path: Path) -> None:
    dataset = Dataset.load(write(tmp_path / "r.jsonl", row(1)), labels=LABELS)
    assert SECRET not in repr(dataset) + repr(dataset.records["a"]) + repr(Record("i", "s", SECRET, "l"))


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"id": "r2", "text": "' + SECRET.encode(), "RECORDS_NOT_JSON"),
        (b'["' + SECRET.encode() + b'"]', "RECORDS_NOT_JSON"),
        (b'{"id": "r2", "id": "r3", "subject": "a", "text": "t", "label": "satisfied"}', "RECORDS_NOT_JSON"),
        (b"[" * 100_000, "RECORDS_NOT_JSON"),
        (b'{"text": "' + SECRET.encode() + b'\xff"}', "RECORDS_NOT_UTF8"),
        (row(1, "b"), "RECORDS_DUPLICATE_ID"),
        (row(2, label="great " + SECRET), "RECORDS_LABEL"),
        (row(2, score=SECRET), "RECORDS_FIELDS"),
        ({"id": "r2", "subject": "a", "label": "satisfied", "comment": SECRET}, "RECORDS_FIELDS"),
        (row(2, text=""), "RECORDS_VALUE"),
        (row(2, text=[SECRET]), "RECORDS_VALUE"),
        (row(2, subject=7), "RECORDS_VALUE"),
        (row(2, text=SECRET * 10_000), "RECORDS_VALUE"),
        (row(2, subject=SECRET * 100), "RECORDS_VALUE"),
        (row(2, text=SECRET + "\ud800"), "RECORDS_VALUE"),
    ],
)  # fmt: skip
def test_a_broken_row_is_refused_by_file_and_line_without_its_content(tmp_path: Path, line: object, code: str) -> None:
    error = refused(write(tmp_path / "records.jsonl", row(1), line))
    assert error.code == code
    assert "records.jsonl:2" in error.sentence and error.hint


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
def test_an_empty_site_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(content)
    assert refused(path).code == "RECORDS_EMPTY"


def test_a_missing_or_torn_file_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.jsonl").code == "RECORDS_UNREADABLE"
    torn = write(tmp_path / "torn.jsonl.gz", row(1), packed=True)
    torn.write_bytes(torn.read_bytes()[:-9])
    assert refused(torn).code == "RECORDS_UNREADABLE"
    plain = tmp_path / "plain.jsonl.gz"
    plain.write_bytes(b"not gzip")
    assert refused(plain).code == "RECORDS_UNREADABLE"


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.core.data.dataset.MOST_BYTES", 1000)
    bomb = tmp_path / "bomb.jsonl.gz"
    bomb.write_bytes(gzip.compress(b" " * 900) + gzip.compress(b" " * 900))
    assert refused(bomb).code == "RECORDS_TOO_LARGE"
    plain = tmp_path / "bomb.jsonl"
    plain.write_bytes(b" " * 1001)
    assert refused(plain).code == "RECORDS_TOO_LARGE"


def test_gzip_members_in_a_row_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "two.jsonl.gz"
    path.write_bytes(b"".join(gzip.compress(json.dumps(row(number)).encode() + b"\n") for number in (1, 2)))
    assert len(Dataset.load(path, labels=LABELS)) == 2


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
def test_whatever_a_file_holds_the_answer_is_a_refusal_with_a_code(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "records.jsonl"
    path.write_bytes(data)
    assert refused(path).code.startswith("RECORDS_")


def test_the_test_set_is_the_one_that_the_study_names(tmp_path: Path) -> None:
    rows = [{"id": str(number), "text": "t", "label": LABELS[number % 2], "product": "p"} for number in range(4)]
    path = write(tmp_path / "test.jsonl", *rows)
    test = TestSet.load(path, labels=LABELS)
    assert test.labels == LABELS * 2 and test.positive("satisfied").tolist() == [False, True, False, True]
    assert TestSet.load(path, labels=LABELS, digest=test.digest) == test
    with pytest.raises(BadInputError) as caught:
        TestSet.load(path, labels=LABELS, digest="sha256:" + "00" * 32)
    assert caught.value.code == "TEST_SET_DIFFERS"
