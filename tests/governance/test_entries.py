"""A log entry cannot carry free text: what cannot be erased must never get in."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.canonical import canonical_bytes
from sekisho.governance.errors import BrokenLogError, Refused
from sekisho.governance.log.entries import ENTRY_TYPES, Entry, EntryType

AT = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64

PERSONAL = [
    "tanaka@example.com",
    "Tanaka Hanako wrote that the coffee was bitter.",
    "Tanaka",
    "田中花子",
    "090 1234 5678",
    "+819012345678",
    "line\nbreak",
    "",
    "a" * 81,
    "A" * 65,
    "sha256:" + "A" * 64,
    "ünïcode",
    "quoted'",
    "x=1",
    "<b>",
]


def entry(**changes: Any) -> Entry:
    fields: dict[str, Any] = {
        "type": "decision.refuse",
        "party": "kohi",
        "at": AT,
        "refs": {"policy": DIGEST, "study": "food-quality-2026"},
        "data": {"step": 3, "code": "PURPOSE_NOT_GRANTED", "epsilon": "3.0", "ok": False, "sites": ["kohi", 2]},
    }
    return Entry(**(fields | changes))


def test_an_entry_is_canonical_json_of_six_fields() -> None:
    assert entry().to_bytes() == (
        b'{"at":"2026-12-01T09:30:00+00:00","data":{"code":"PURPOSE_NOT_GRANTED","epsilon":"3.0","ok":false,'
        b'"sites":["kohi",2],"step":3},"party":"kohi","refs":{"policy":"' + DIGEST.encode()
        + b'","study":"food-quality-2026"},"type":"decision.refuse","v":1}'
    )


def test_all_types_of_the_plan_are_known() -> None:
    assert len(ENTRY_TYPES) == len(EntryType) == 38
    for kind in EntryType:
        assert Entry.from_bytes(entry(type=kind).to_bytes()).type == str(kind)


@pytest.mark.parametrize("text", PERSONAL)
def test_free_text_is_refused_wherever_it_is_put(text: str) -> None:
    for changes in (
        {"refs": {"who": text}},
        {"data": {"who": text}},
        {"data": {"who": ["kohi", text]}},
        {"party": text},
        {"data": {text: 1}},
        {"refs": {text: "kohi"}},
    ):
        with pytest.raises(Refused) as caught:
            entry(**changes)
        assert caught.value.code == "ENTRY_NOT_LOGGABLE"
        if text:
            assert text not in caught.value.sentence + caught.value.hint


@pytest.mark.parametrize(
    "value",
    [0.5, None, 2**53, -(2**53), {"a": 1}, [["kohi"]], ["kohi"] * 129, b"bytes", float("nan"), ("kohi",), {"kohi"}],
)
def test_a_value_of_another_kind_is_refused(value: object) -> None:
    with pytest.raises(Refused):
        entry(data={"value": value})
    with pytest.raises(Refused):
        entry(refs={"value": value})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"type": "person.met"}, "ENTRY_TYPE_UNKNOWN"),
        ({"at": datetime(2026, 12, 1)}, "ENTRY_NOT_LOGGABLE"),
        ({"at": "2026-12-01"}, "ENTRY_NOT_LOGGABLE"),
        ({"data": {f"field{n}": n for n in range(33)}}, "ENTRY_TOO_LARGE"),
        ({"data": {f"field{n}": ["a" * 80] * 128 for n in range(7)}}, "ENTRY_TOO_LARGE"),
    ],
)
def test_an_entry_outside_its_form_is_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused) as caught:
        entry(**changes)
    assert caught.value.code == code


def test_what_was_checked_is_what_is_written() -> None:
    data: dict[str, Any] = {"sites": ["kohi"]}
    made = entry(data=data)
    before = made.to_bytes()
    data["sites"].append("tanaka@example.com")
    data["who"] = "tanaka@example.com"
    assert made.to_bytes() == before


SCALARS = (
    st.integers(-(2**53) + 1, 2**53 - 1)
    | st.booleans()
    | st.from_regex(r"[a-z0-9._:/-]{1,80}", fullmatch=True)
    | st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True)
)


@settings(deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True), SCALARS | st.lists(SCALARS), max_size=5))
def test_every_entry_is_canonical_and_read_back_from_its_bytes(data: dict[str, Any]) -> None:
    made = entry(data=data)
    assert Entry.from_bytes(made.to_bytes()) == made
    assert canonical_bytes(json.loads(made.to_bytes())) == made.to_bytes()


GOOD = entry().to_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        GOOD + b" ",
        GOOD.replace(b'"v":1', b'"v":2'),
        GOOD.replace(b'"v":1', b'"v":1,"w":1'),
        GOOD.replace(b'"step":3', b'"step":3.0'),
        GOOD.replace(b'"step":3', b'"step":3,"step":3'),
        GOOD.replace(b"+00:00", b"Z"),
        GOOD.replace(b"kohi", b"k@hi"),
        GOOD.replace(b'"step":3', b'"step":' + b"9" * 5000),
        b'{"v":' * 100_000,
    ],
)
def test_bytes_that_no_entry_has_are_refused(data: bytes) -> None:
    with pytest.raises(BrokenLogError) as caught:
        Entry.from_bytes(data)
    assert caught.value.code == "ENTRY_MALFORMED"
