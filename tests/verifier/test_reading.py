"""Bytes mean the same to both verifiers and to the product, or are refused: JSON, times, base64, YAML, rosters."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.canonical import canonical_bytes
from sekisho.governance.document import read_document
from sekisho.governance.errors import GovernanceError
from sekisho.governance.evidence import verifier
from sekisho.governance.signing.roster import Roster

from ..governance import evidence_example as example
from .second import Refused, Second

EXAMPLES = 60       # of the slower properties; a good machine can afford any number
REFUSED = "refused"
ROSTER = example.roster_yaml().decode()


@pytest.fixture(scope="module")
def second() -> Iterator[Second]:
    process = Second()
    yield process
    process.close()


def first_says(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except (*verifier.MALFORMED, verifier.Found):
        return REFUSED


def microseconds(moment: datetime) -> str:
    return str((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))


def second_says(second: Second, do: str, data: bytes = b"", **words: Any) -> Any:
    try:
        return second.ask(do, data, **words)
    except Refused:
        return REFUSED


# --- JSON --------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["\u20ac", "\ufb33", "\U0001f600", "__proto__", "constructor", "1", "-0", "\x7f", "\u2028", "\\", '"', "\x00"])
NUMBERS = st.integers(-2**53 + 1, 2**53 - 1) | st.sampled_from([0, 2**53 - 1, -2**53 + 1])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(value=VALUES, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_a_value_has_one_canonical_form_in_all_three(
    second: Second, value: Any, ascii_only: bool, indent: int | None
) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    expected = canonical_bytes(value)
    assert verifier.canonical(verifier.parse(data)) == expected
    assert base64.b64decode(second.ask("canonical", data)) == expected
    assert verifier.parse_spelled(expected) == value
    assert base64.b64decode(second.ask("parseSpelled", expected)) == expected
    if data != expected:
        assert first_says(lambda: verifier.parse_spelled(data)) == second_says(second, "parseSpelled", data) == REFUSED


PIECES = st.sampled_from([
    "{", "}", "[", "]", ",", ":", '"a"', '"b"', '"\\u0061"', '"\\ud800"', '"\\ud83d\\ude00"', '"\t"', '"\\x"', "0",
    "-0",
    "-", "1", "01", "1.0", "1e2", "1E400", "9007199254740991", "9007199254740992", "-9007199254740992", "9" * 30,
    "9" * 5000, "true", "false", "null", "NaN", "Infinity", "-Infinity", "nul", " ", "\t", "\r", "\n", "\xa0", "\ufeff",
    "\x0b", "'", "//", "é", "\x00", '{"a":1,"a":2}', '{"a":1,"\\u0061":2}', "[" * 63, "]" * 63, "[" * 40 + "]" * 40,
])


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(pieces=st.lists(PIECES, max_size=6), wrap=st.sampled_from(["{}", "[{}]", '{{"a":{}}}', "[1,{}]"]))
def test_what_is_no_json_of_ours_is_refused_by_both(second: Second, pieces: list[str], wrap: str) -> None:
    data = wrap.format("".join(pieces)).encode()
    first = first_says(lambda: base64.b64encode(verifier.canonical(verifier.parse(data))).decode())
    assert first == second_says(second, "canonical", data)


@pytest.mark.parametrize("data", [b"\xff", b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe3\x81"', b"",
                                  b"\xef\xbb\xbf1", b"1\x00", b'"\\ud800"', b"[" * 100_000, b'{"a":' * 100_000])
def test_bytes_that_are_no_text_or_have_no_end_are_refused_by_both(second: Second, data: bytes) -> None:
    assert first_says(lambda: verifier.canonical(verifier.parse(data))) == REFUSED
    assert second_says(second, "canonical", data) == REFUSED


def test_both_count_levels_alike(second: Second) -> None:
    for levels, is_read in ((verifier.MAX_DEPTH, True), (verifier.MAX_DEPTH + 1, False)):
        for data in (b"[" * levels + b"]" * levels, b'{"[":' * levels + b"1" + b"}" * levels):
            assert (first_says(lambda data=data: verifier.parse(data)) != REFUSED) is is_read
            assert (second_says(second, "canonical", data) != REFUSED) is is_read


# --- times and base64 --------------------------------------------------------------------------------------------

TIMES = st.builds(
    "{}-{}-{}T{}:{}:{}{}{}".format,
    st.sampled_from(["2026", "2024", "0001", "9999", "0000", "0099", "1900", "202", "２０２６", "20266"]),
    st.sampled_from(["01", "02", "12", "13", "00", "2"]), st.sampled_from(["01", "28", "29", "30", "31", "32", "00",
    "1"]),
    st.sampled_from(["00", "23", "24", "1", "１２"]), st.sampled_from(["00", "59", "60"]),
    st.sampled_from(["00", "59", "60", "61"]), st.sampled_from(["", ".", ".1", ".123456", ".1234567", ",5"]),
    st.sampled_from(["Z", "z", "+00:00", "-00:00", "+23:59", "-23:59", "+24:00", "+09:60", "+0900", "", " ", "Z\n"]),
)


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(text=TIMES)
def test_a_time_is_the_same_moment_or_none_to_both(second: Second, text: str) -> None:
    first = first_says(lambda: microseconds(verifier._time(text)))
    assert first == second_says(second, "time", text=text)


@settings(max_examples=EXAMPLES, deadline=None)
@given(text=st.text("AQgw+/=-_ \n", max_size=10)
       | st.binary(max_size=9).map(lambda raw: base64.b64encode(raw).decode()))
def test_base64_has_one_spelling_to_both(second: Second, text: str) -> None:
    assert first_says(lambda: verifier._unpad_exactly(text).hex()) == second_says(second, "base64", text=text)


# --- YAML --------------------------------------------------------------------------------------------------------

SCALARS = st.sampled_from([
    "a", "a b", "1", "0", "01", "-1", "1.5", "1e3", "0x1f", "0o7", ".5", ".inf", ".nan", "1_000", "true", "True",
    "false",
    "null", "~", "", "'it''s'", "'a", '"x\\u0041"', '"\\q"', '"\\x41"', '"\\ud800"', '"a', "a #b", "a#b", "#a", "a: b",
    "a:", ":a", "a:b", "- a", "-a", "-", "?", "? a", "&x a", "*x", "!!str a", "|", ">", "%a", "@a", "`a", "[a, b]",
    "[a, b",
    "[a, b] c", "[a, b] # c", "[]", "[,]", "[a,]", "[a,,b]", "{a: 1}", "{a: 1, a: 2}", "{a}", "{1: a}", "{true: a}",
    "{'a': [b, {c: d}]}", '{"a":1}', "{a: 'b'}", "[a: b]", "a\tb", "\ta", "a\xa0b", "\xa0", "\u3000", "a\u3000b",
    "\u2028",
    "\x85", "a\rb", "\x00", "\ufeff", "\u202e", "食品", "'x' y", "'x' # y", '"x"#y', "a  ", "9007199254740991",
    "9007199254740992", "<<", "...", "---", "=", "2026-01-01", "ed25519:AAAA=", "[" * 70 + "]" * 70, "NO",
])
KEYS = st.sampled_from(["a", "b", "key", "a-b", "a_b", "1", "true", "<<", "a.b", "é", "'a'", "a b", "__proto__", "-a"])


@st.composite
def yaml_texts(draw: st.DrawFn) -> str:
    lines = []
    for _ in range(draw(st.integers(1, 6))):
        indent = " " * draw(st.sampled_from([0, 0, 0, 1, 2, 2, 4]))
        dash = draw(st.sampled_from(["", "", "- ", "-   ", "-", "- - "]))
        key = draw(st.sampled_from(["", "{}: ", "{}:", "{}:  ", "{} : "])).format(draw(KEYS))
        lines.append(indent + dash + key + draw(st.sampled_from(["", ""]) | SCALARS))
        lines += draw(st.sampled_from([[], [], [], [""], ["# note"], ["  # note"], ["---"], ["..."], ["%YAML 1.2"]]))
    return draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"])).join(lines) + draw(st.sampled_from(["", "\n"]))


@settings(max_examples=4 * EXAMPLES, deadline=None)
@given(text=yaml_texts())
def test_yaml_is_the_same_value_to_both_or_to_neither_and_what_it_is_to_a_full_reader(
    second: Second, text: str
) -> None:
    data = text.encode()
    first = first_says(lambda: verifier.canonical(verifier.read_yaml(text)))  # where half a character is refused
    other = second_says(second, "yaml", data)
    assert first == (other if other == REFUSED else base64.b64decode(other))
    if first != REFUSED:
        try:
            full = canonical_bytes(read_document(data, name="x").value)
        except GovernanceError:
            return       # the product refuses more: hidden characters, letters of two alphabets, odd names of fields
        assert full == first


def theirs(second: Second, data: bytes) -> Any:
    return second_says(second, "roster", data)


def ours(data: bytes) -> Any:
    def read() -> dict[str, Any]:
        found = verifier.read_roster(data)
        return {
            "holders": [[one.raw.hex(), one.name, list(one.roles), list(one.acts_for), one.is_party]
                        for one in found.keys.values()],
            "roles": found.thresholds, "version": found.version, "fingerprint": found.fingerprint,
            "supersedes": found.supersedes, "demo": found.demo,
            "created": microseconds(found.created), "expires": microseconds(found.expires),
        }

    return first_says(read)


def products(data: bytes) -> Any:
    try:
        found = Roster.parse(data, "roster.yaml")
    except GovernanceError:
        return REFUSED
    holders = [[party.key.raw.hex(), party.id, [party.kind.value], [], True] for party in found.parties]
    holders += [[key.raw.hex(), one.pseudonym, list(one.roles), list(one.acts_for), False]
                for one in found.people for key in one.keys]
    return {"holders": holders, "roles": dict(found.roles), "version": found.version}


def agree(second: Second, text: str) -> bool:
    """Both verifiers read the same roster or none; what the product reads too, it reads alike."""
    data = text.encode("utf-8", "surrogatepass")
    first = ours(data)
    assert first == theirs(second, data), text
    full = products(data)
    if REFUSED not in (first, full):
        assert {name: first[name] for name in full} == full, text
    return first != REFUSED


def test_the_three_readers_see_the_same_roster(second: Second) -> None:
    assert agree(second, ROSTER)
    assert agree(second, ROSTER.replace("\n", "\r\n"))


WEAK = [base64.b64encode(bytes.fromhex(text)).decode() for text in (
    "00" * 32, "01" + "00" * 31, "ec" + "ff" * 30 + "7f", "ed" + "ff" * 30 + "7f", "ee" + "ff" * 30 + "ff",
    "01" + "00" * 30 + "80", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85")]
KOHI = example.key("kohi").public.to_text()
HOSTILE = [
    ROSTER.replace("demo: true", "demo: " + value) for value in ("True", "1", "'true'", "yes", "~", "[true]")
] + [
    ROSTER.replace("version: 1", "version: " + value) for value in ("true", "'1'", "1.0", "0x1", "１", "1_0", "0", "-1")
] + [
    ROSTER.replace(KOHI, value) for value in (
        KOHI[:-1], KOHI + "=", KOHI.replace("ed25519:", "ED25519:"), "x25519:" + KOHI[8:], KOHI + "\\n", f"'{KOHI}'",
        f"&k {KOHI}", f"!!str {KOHI}", KOHI[:-2] + "B=", KOHI.replace("+", "-").replace("/", "_"), "NOT-MADE-YET",
        example.key("hub").public.to_text(), *("ed25519:" + text for text in WEAK))
] + [
    "\ufeff" + ROSTER, ROSTER + "---\n", ROSTER + "\x00", ROSTER.replace("  - id", "\t- id"), ROSTER + ROSTER,
    ROSTER.replace("id: kohi ", "id: kohi\u202e "), ROSTER.replace("kohi", "k\u043ehi"), ROSTER + "version: 2\n",
    ROSTER.replace("roles: [legal]", "roles: legal"), ROSTER.replace("roles: [legal]", "roles: [legal, 1]"),
    ROSTER.replace("pseudonym: counsel-1", "pseudonym: kohi"), ROSTER.replace("kind: site", "kind: person"),
    ROSTER.replace("legal: 1", "legal: '1'"), ROSTER.replace("legal: 1", "legal: 0"), ROSTER.replace("people:",
    "people: *p"),
    ROSTER.replace("+09:00", "+09:60"), ROSTER.replace("2026-04-01T", "2026-04-31T"), ROSTER.replace("\n", "\r"),
    ROSTER.replace("\n", "\u2028"), ROSTER.replace(": ", ":\u00a0"), ROSTER.replace("  ", "\u3000"), "", "a", "[]",
    "\n",
    ROSTER.replace("demo: true", "demo: true\nsupersedes: 1"), ROSTER.replace("demo: true", "demo: true\n<<: {a: b}"),
    ROSTER.replace("{legal: 1", "{legal: 1, legal: 2"), ROSTER.replace("keys: []", "keys: [[]]"), "a: " + "[" * 5000,
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_hostile_roster_is_read_by_both_or_by_neither(second: Second, number: int) -> None:
    agree(second, HOSTILE[number])


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(data=st.data())
def test_a_roster_with_something_changed_is_read_by_both_or_by_neither(second: Second, data: st.DataObject) -> None:
    lines = ROSTER.split("\n")
    at = data.draw(st.integers(0, len(lines) - 1))
    line = lines[at]
    column = data.draw(st.integers(0, len(line)))
    what = data.draw(SCALARS | st.sampled_from(["\n", "'", '"', "{", "}", "[", "]", ",", " ", "#", ": "]))
    changed = data.draw(st.sampled_from([
        [line[:column] + what + line[column:]], [line[:column] + line[column + 1:]], [], [line, line], [" " + line],
        [line.partition(":")[0] + ": " + what], [line, what], [line.replace(" ", "  ")], [line.upper()],
    ]))
    agree(second, "\n".join([*lines[:at], *changed, *lines[at + 1:]]))


STUDIES = st.lists(st.sampled_from([
    "requester: alice", "requester: bob", "requester: 1", "requester: [a]", "requester:", "  bob", "- bob", "sites:",
    "  - a",
    "# requester: eve", "'requester': eve", "title: 'a", "requester: eve'", "\u2028requester: eve", "\rrequester: eve",
    "\x85requester: eve", "\x0crequester: eve", "\xa0requester: eve", "\u3000", "]", "}", "--- x", "requester : eve",
    "\trequester: eve", "requester: 'alice' # x", 'requester: "al\\u0069ce"', "requester: eve\\", "{requester: eve}",
    "",
]), max_size=5).map("\n".join)


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(text=STUDIES)
def test_who_asks_for_a_study_is_the_same_to_both(second: Second, text: str) -> None:
    data = text.encode()
    assert first_says(lambda: verifier.requester(data)) == second_says(second, "requester", data)
