"""Importing consent files: where a bad row is, never what is in it; all rows or none."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.consent.consent import ConsentRegister, Reason
from sekisho.governance.consent.consent_import import RefusedRow, read_rows
from sekisho.governance.consent.rows import JSONL
from sekisho.governance.errors import BadDocumentError

SCOPE = "fl-training/2026-11"
NOW = datetime(2026, 11, 20, tzinfo=UTC)
GOOD = {
    "subject": "kohi-c0001",
    "scope": SCOPE,
    "event": "granted",
    "at": "2026-04-01T09:30:00+09:00",
    "expires": "2099-12-31T00:00:00+00:00",
    "notice": "notice-2026-04",
}


def line(**changes):
    return json.dumps(GOOD | changes).encode()


def write(tmp_path, *lines, name="consent.jsonl"):
    path = tmp_path / name
    data = b"".join(row + b"\n" for row in lines)
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.fixture
def register(tmp_path):
    register = ConsentRegister.open(tmp_path / "register.sqlite")
    yield register
    register.close()


@pytest.mark.parametrize("name", ["consent.jsonl", "consent.jsonl.gz"])
def test_a_good_file_is_recorded_once_however_often_it_is_imported(register, tmp_path, name):
    withdrawn = line(event="withdrawn", at="2026-05-01T00:00:00Z", expires=None)
    path = write(tmp_path, line(), withdrawn, name=name)
    first = register.import_jsonl(path)
    assert (first.recorded, first.known, first.refused) == (2, 0, ())
    again = register.import_jsonl(path)
    assert (again.recorded, again.known, again.refused) == (0, 2, ())
    assert register.status("kohi-c0001", scope=SCOPE, now=NOW).reason is Reason.WITHDRAWN


BAD_ROWS = [
    (b"{not json", "CONSENT_ROW_NOT_JSON"),
    (b"", "CONSENT_ROW_NOT_JSON"),
    (b"\xff\xfe", "CONSENT_ROW_NOT_UTF8"),
    (b"[" * 4000, "CONSENT_ROW_NOT_JSON"),
    (b"[1, 2]", "CONSENT_ROW_FIELDS"),
    (b'{"subject": "a", "subject": "b"}', "CONSENT_ROW_FIELDS"),
    (line(extra="x"), "CONSENT_ROW_FIELDS"),
    (json.dumps({k: v for k, v in GOOD.items() if k != "notice"}).encode(), "CONSENT_ROW_FIELDS"),
    (line(subject=7), "CONSENT_ROW_FIELDS"),
    (line(subject="Yamada Taro"), "CONSENT_BAD_SUBJECT"),
    (line(subject="taro@example.com"), "CONSENT_BAD_SUBJECT"),
    (line(scope=""), "CONSENT_BAD_SCOPE"),
    (line(event="maybe"), "CONSENT_BAD_EVENT"),
    (line(at="2026-04-01T09:30:00"), "CONSENT_BAD_TIME"),
    (line(at="2026-W14-3T00:00:00+09:00"), "CONSENT_BAD_TIME"),
    (line(at="2026-02-30T00:00:00+09:00"), "CONSENT_BAD_TIME"),
    (line(at="0001-01-01T00:00:00+09:00"), "CONSENT_BAD_TIME"),
    (line(expires="2026-01-01T00:00:00+09:00"), "CONSENT_BAD_EXPIRY"),
    (line(event="objected"), "CONSENT_BAD_EXPIRY"),
    (line(notice="a text, not an id"), "CONSENT_BAD_NOTICE"),
    (line(notice="x" * 5000), "CONSENT_ROW_TOO_LONG"),
]


@pytest.mark.parametrize(("row", "code"), BAD_ROWS)
def test_each_bad_row_is_named_by_file_line_and_code_and_nothing_is_recorded(register, tmp_path, row, code):
    report = register.import_jsonl(write(tmp_path, line(), row, line(subject="kohi-c0002")))
    assert report.refused == (RefusedRow("consent.jsonl", 2, code),)
    assert report.recorded == 0
    assert register.status("kohi-c0001", scope=SCOPE, now=NOW).reason is Reason.NEVER_ASKED


def test_all_bad_rows_are_listed_not_only_the_first(tmp_path):
    refused = list(read_rows(write(tmp_path, *(row for row, _ in BAD_ROWS)), JSONL))
    assert [(r.line, r.code) for r in refused] == [(i, code) for i, (_, code) in enumerate(BAD_ROWS, start=1)]


def test_a_refusal_prints_nothing_of_the_row(register, tmp_path):
    secret = "planted.taro@example.com"
    report = register.import_jsonl(write(tmp_path, line(subject=secret), secret.encode(), line(at=secret)))
    assert len(report.refused) == 3
    assert secret not in repr(report)
    for row in tmp_path.iterdir():
        assert row.name == "consent.jsonl" or secret.encode() not in row.read_bytes()


def test_a_missing_or_damaged_file_is_refused_by_name(register, tmp_path):
    damaged = tmp_path / "consent.jsonl.gz"
    damaged.write_bytes(b"no gzip")
    for path in (tmp_path / "missing.jsonl", damaged, tmp_path):
        with pytest.raises(BadDocumentError) as error:
            register.import_jsonl(path)
        assert error.value.code == "CONSENT_FILE_UNREADABLE"


def test_an_empty_file_makes_nobody_eligible(register, tmp_path):
    report = register.import_jsonl(write(tmp_path))
    assert (report.recorded, report.refused) == (0, ())
    assert register.eligible(["kohi-c0001"], SCOPE, NOW).eligible == ()


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_no_bytes_whatever_break_the_reader(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "consent.jsonl"
    path.write_bytes(data)
    refused = list(read_rows(path, JSONL))
    assert all(isinstance(row, RefusedRow) for row in refused)
    assert len(refused) == (data.count(b"\n") + 1) - (data == b"" or data.endswith(b"\n"))
