"""The forms in which consents come in: CSV and FHIR say the same as JSON Lines, or are refused by row and code."""

from __future__ import annotations

import csv
import io
import json
from contextlib import closing
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.consent.consent import ConsentRegister, Reason
from sekisho.governance.consent.consent_import import RefusedRow, read_rows
from sekisho.governance.consent.fhir import fhir_bundle, fhir_lines
from sekisho.governance.consent.record import EventKind
from sekisho.governance.consent.rows import CSV, FIELDS, JSONL

SCOPE = "fl-training/2026-11"
NOW = datetime(2026, 11, 20, tzinfo=UTC)
NAMES = ["subject", "scope", "event", "at", "expires", "notice"]
ROW = ["kohi-c0001", SCOPE, "granted", "2026-04-01T09:30:00+09:00", "", "notice-2026-04"]
FULL = {
    "record_id": "0a1b2c3d-0000-4000-8000-0123456789ab",
    "purposes": ["dpv:ScientificResearch", "dpv:CustomerCare"],
    "lawful_basis": "appi:consent-18-1",
    "notice_version": "3",
    "notice_digest": "sha256:" + "a" * 64,
    "notice_language": "ja",
    "data_categories": ["pd:Age"],
}


def rows_of(tmp_path, data, form, name="consent.csv"):
    path = tmp_path / name
    path.write_bytes(data)
    return list(read_rows(path, form))


def line(*fields):
    return ",".join(fields).encode()


# --- CSV


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_csv_file_says_what_the_same_json_lines_say(tmp_path, end, mark):
    order = [5, 0, 2, 1, 4, 3]
    ended = ["kohi-c0002", SCOPE, "withdrawn", "2026-05-01T00:00:00Z", "", "w"]
    table = [[row[place] for place in order] for row in (NAMES, ROW, ended)]
    found = rows_of(tmp_path, mark + end.join(line(*row) for row in table) + end, CSV)
    objects = [dict(zip(NAMES, row, strict=True)) | {"expires": None} for row in (ROW, ended)]
    lines = b"".join(json.dumps(value).encode() + b"\n" for value in objects)
    assert found == rows_of(tmp_path, lines, JSONL, "consent.jsonl")
    assert len(found) == 2


values = {
    "record_id": st.sampled_from(["", FULL["record_id"]]),
    "purposes": st.sampled_from([[], FULL["purposes"]]),
    "lawful_basis": st.sampled_from(["", FULL["lawful_basis"]]),
    "notice_version": st.sampled_from(["", "3", "2026.1"]),
    "notice_digest": st.sampled_from(["", FULL["notice_digest"]]),
    "notice_language": st.sampled_from(["", "ja", "en-GB"]),
    "data_categories": st.sampled_from([[], FULL["data_categories"]]),
}


@settings(max_examples=50)
@given(st.fixed_dictionaries(values), st.sampled_from(["", "2099-01-01T00:00:00Z"]))
def test_headers_of_ts_27560_are_the_same_in_both_forms(tmp_path_factory, header, expires):
    folder = tmp_path_factory.mktemp("forms")
    base = dict(zip(NAMES, ROW, strict=True)) | {"expires": expires}
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow([*base, *header])
    writer.writerow([*base.values(), *(" ".join(v) if isinstance(v, list) else v for v in header.values())])
    (event,) = rows_of(folder, text.getvalue().encode(), CSV)
    given_only = {name: value for name, value in header.items() if value}
    value = base | {"expires": expires or None} | given_only
    assert [event] == rows_of(folder, json.dumps(value).encode(), JSONL, "c.jsonl")
    assert event.header.written() == given_only


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"", "CONSENT_HEADER"),
        (line(*NAMES[:5]), "CONSENT_HEADER"),
        (line(*NAMES, "mail"), "CONSENT_HEADER"),
        (line(*NAMES, "notice"), "CONSENT_HEADER"),
        (line(*ROW), "CONSENT_HEADER"),
        (b"\xff" + line(*NAMES), "CONSENT_ROW_NOT_UTF8"),
        (b'"' + line(*NAMES), "CONSENT_ROW_NOT_CSV"),
    ],
)
def test_a_table_without_its_names_is_refused(tmp_path, header, code):
    assert rows_of(tmp_path, header + b"\n" + line(*ROW), CSV) == [RefusedRow("consent.csv", 1, code)]


BAD = [
    (b"", "CONSENT_ROW_FIELDS"),
    (line(*ROW[:5]), "CONSENT_ROW_FIELDS"),
    (line(*ROW, "more"), "CONSENT_ROW_FIELDS"),
    (b'"' + line(*ROW), "CONSENT_ROW_NOT_CSV"),
    (line("taro@example.com", *ROW[1:]), "CONSENT_BAD_SUBJECT"),
    (line(*ROW[:2], "maybe", *ROW[3:]), "CONSENT_BAD_EVENT"),
    (line(*ROW[:3], "1 April", *ROW[4:]), "CONSENT_BAD_TIME"),
    (line(*ROW[:5], "\u540c\u610f"), "CONSENT_BAD_NOTICE"),
    (line("x" * 5000, *ROW[1:]), "CONSENT_ROW_TOO_LONG"),
    (b"\xff", "CONSENT_ROW_NOT_UTF8"),
]


def test_every_bad_row_of_a_table_is_named_by_its_line_and_nothing_is_recorded(tmp_path):
    path = tmp_path / "consent.csv"
    path.write_bytes(b"\n".join([line(*NAMES), line(*ROW), *(row for row, _ in BAD)]) + b"\n")
    with closing(ConsentRegister.open(tmp_path / "register")) as register:
        report = register.import_file(path, CSV)
        assert report.refused == tuple(RefusedRow("consent.csv", n, code) for n, (_, code) in enumerate(BAD, start=3))
        assert (report.recorded, report.good) == (0, 1)
        assert register.eligible(["kohi-c0001"], SCOPE, NOW).excluded == {Reason.NEVER_ASKED: 1}


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_no_bytes_whatever_break_the_reader_of_tables(tmp_path_factory, data):
    found = rows_of(tmp_path_factory.mktemp("fuzz"), line(*NAMES) + b"\n" + data, CSV)
    assert all(isinstance(row, RefusedRow) for row in found)


# --- a dry run, progress, and a file that is known


def test_a_dry_run_lists_what_an_import_would_refuse_and_writes_nothing(tmp_path):
    path = tmp_path / "consent.csv"
    path.write_bytes(b"\n".join([line(*NAMES), line(*ROW), b"x", line(*ROW)]))
    with closing(ConsentRegister.open(tmp_path / "register")) as register:
        before = register.snapshot_digest()
        dry = register.import_file(path, CSV, dry_run=True)
        assert (dry.recorded, dry.good) == (0, 2)
        assert dry.refused == register.import_file(path, CSV).refused == (
            RefusedRow("consent.csv", 3, "CONSENT_ROW_FIELDS"),
        )  # fmt: skip
        path.write_bytes(b"\n".join([line(*NAMES), line(*ROW)]))
        assert register.import_file(path, CSV, dry_run=True).good == 1
        assert register.snapshot_digest() == before


def test_progress_goes_from_nothing_to_all_of_the_file(tmp_path):
    path = tmp_path / "consent.jsonl"
    row = dict(zip(NAMES, ROW, strict=True)) | {"expires": None}
    path.write_text("".join(json.dumps(row | {"subject": f"s{n}"}) + "\n" for n in range(12_000)), "utf-8")
    told = []
    with closing(ConsentRegister.open(tmp_path / "register")) as register:
        register.import_file(path, progress=lambda stage, done, total: told.append((stage, done, total)))
    assert {(stage, total) for stage, _, total in told} == {("consent.jsonl, per cent", 100)}
    done = [amount for _, amount, _ in told]
    assert done == sorted(done) and done[0] < 50 < done[-2] < done[-1] == 100


def test_a_file_that_is_known_is_not_read_again_and_one_changed_byte_is(tmp_path):
    path = tmp_path / "consent.csv"
    path.write_bytes(b"\n".join([line(*NAMES), line(*ROW)]))
    told = []
    with closing(ConsentRegister.open(tmp_path / "register")) as register:

        def again():
            told.clear()
            return register.import_file(path, CSV, progress=lambda *stage: told.append(stage))

        assert (again().recorded, bool(told)) == (1, True)
        assert (again().known, bool(told)) == (1, False)
        path.write_bytes(b"\n".join([line(*NAMES), line(*ROW), line(*ROW[:2], "withdrawn", *ROW[3:])]))
        report = again()
        assert (report.recorded, report.known, bool(told)) == (1, 1, True)
        assert register.eligible(["kohi-c0001"], SCOPE, NOW).excluded == {Reason.WITHDRAWN: 1}
        # what was read as one form is not known in another
        assert register.import_file(path, JSONL).refused


# --- FHIR R4

RESEARCH = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "research"}]}
CONSENT = {
    "resourceType": "Consent",
    "id": "c1",
    "status": "active",
    "scope": RESEARCH,
    "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0", "display": "Patient Consent"}]}],
    "patient": {"reference": "Patient/p-0001"},
    "dateTime": "2026-04-01T09:30:00+09:00",
    "policy": [{"uri": "urn:notice:2026-04"}],
    "provision": {"type": "permit", "period": {"start": "2026-05-01T00:00:00Z", "end": "2027-05-01T00:00:00Z"}},
}


def changed(**changes):
    return {name: value for name, value in (CONSENT | changes).items() if value is not None}


def fhir_of(tmp_path, *resources):
    data = b"\n".join(json.dumps(resource).encode() for resource in resources)
    lines = rows_of(tmp_path, data, fhir_lines(SCOPE), "c.ndjson")
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}
    assert lines == [
        row if not isinstance(row, RefusedRow) else RefusedRow("c.ndjson", row.line, row.code)
        for row in rows_of(tmp_path, json.dumps(bundle, indent=1).encode(), fhir_bundle(SCOPE), "bundle.json")
    ]
    return lines


def test_a_permit_for_research_is_a_grant_from_its_start_to_its_end(tmp_path):
    (event,) = fhir_of(tmp_path, CONSENT)
    assert (event.subject, event.scope, event.kind, event.notice) == (
        "p-0001", SCOPE, EventKind.GRANTED, "urn:notice:2026-04",
    )  # fmt: skip
    assert (event.at, event.expires) == (datetime(2026, 5, 1, tzinfo=UTC), datetime(2027, 5, 1, tzinfo=UTC))


@pytest.mark.parametrize("changes", [{"provision": {"type": "deny"}}, {"status": "inactive"}, {"status": "rejected"}])
def test_a_denial_and_an_ended_consent_are_withdrawals_from_when_they_were_said(tmp_path, changes):
    (event,) = fhir_of(tmp_path, changed(**changes))
    assert (event.kind, event.at, event.expires) == (
        EventKind.WITHDRAWN, datetime(2026, 4, 1, 0, 30, tzinfo=UTC), None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"patient": {"reference": "Patient/p-1", "display": "Yamada Taro"}}, "CONSENT_FHIR_PERSONAL"),
        ({"text": {"status": "generated", "div": "<div>Yamada</div>"}}, "CONSENT_FHIR_PERSONAL"),
        ({"contained": [{"resourceType": "Patient"}]}, "CONSENT_FHIR_PERSONAL"),
        ({"meta": {"extension": [{"valueHumanName": {"name": "Yamada"}}]}}, "CONSENT_FHIR_PERSONAL"),
        ({"meta": {"telecom": []}}, "CONSENT_FHIR_PERSONAL"),
        ({"patient": {"identifier": {"value": "123"}}}, "CONSENT_BAD_SUBJECT"),
        ({"patient": {"reference": "Patient/taro@example.com"}}, "CONSENT_BAD_SUBJECT"),
        ({"patient": {"reference": "Person/p-1"}}, "CONSENT_BAD_SUBJECT"),
        ({"patient": None}, "CONSENT_ROW_FIELDS"),
        ({"resourceType": "Patient"}, "CONSENT_ROW_FIELDS"),
        ({"verification": []}, "CONSENT_ROW_FIELDS"),
        ({"modifierExtension": []}, "CONSENT_ROW_FIELDS"),
        ({"scope": {"coding": [RESEARCH["coding"][0] | {"code": "treatment"}]}}, "CONSENT_FHIR_SCOPE"),
        ({"scope": {"coding": [{"code": "research"}]}}, "CONSENT_FHIR_SCOPE"),
        ({"provision": {"type": "permit", "purpose": []}}, "CONSENT_FHIR_EXCEPTIONS"),
        ({"provision": {"type": "permit", "provision": [{"type": "deny"}]}}, "CONSENT_FHIR_EXCEPTIONS"),
        ({"provision": {"type": "permit", "dataPeriod": {}}}, "CONSENT_FHIR_EXCEPTIONS"),
        ({"provision": {}}, "CONSENT_BAD_EVENT"),
        ({"status": "draft"}, "CONSENT_BAD_EVENT"),
        ({"status": "entered-in-error"}, "CONSENT_BAD_EVENT"),
        ({"dateTime": "2026-04-01"}, "CONSENT_BAD_TIME"),
        ({"policy": None}, "CONSENT_BAD_NOTICE"),
        ({"policy": [{"uri": "urn:a"}, {"uri": "urn:b"}]}, "CONSENT_BAD_NOTICE"),
    ],
)
def test_what_the_mapping_does_not_cover_is_refused_by_number_and_prints_nothing(tmp_path, changes, code):
    found = fhir_of(tmp_path, CONSENT, changed(**changes))
    assert found[1] == RefusedRow("c.ndjson", 2, code)
    assert "Yamada" not in repr(found[1])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "CONSENT_ROW_NOT_JSON"),
        (b"[]", "CONSENT_ROW_FIELDS"),
        (b'{"resourceType": "Consent"}', "CONSENT_ROW_FIELDS"),
        (b'{"resourceType": "Bundle", "entry": {}}', "CONSENT_ROW_FIELDS"),
        (b'{"resourceType": "Bundle", "entry": [17]}', "CONSENT_ROW_FIELDS"),
        (b'{"resourceType": "Bundle", "entry": [{"fullUrl": "x"}]}', "CONSENT_ROW_FIELDS"),
    ],
)
def test_a_file_that_is_no_bundle_is_refused(tmp_path, data, code):
    assert rows_of(tmp_path, data, fhir_bundle(SCOPE), "b.json") == [RefusedRow("b.json", 1, code)]


def test_the_fields_of_a_plain_row_are_these_and_an_old_row_is_still_one():
    assert set(NAMES) == FIELDS
