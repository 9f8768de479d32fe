"""Broken policies: each is refused through the command itself, with one line that says where, what and what to do.

tests/governance/broken/ holds ``sound.yaml`` and, each with one mistake, what a lawyer, an editor, a word processor or
an attacker would make of it; expected.yaml says for what each is refused. accepted/ holds what only looks like one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.cli.console import UNUSABLE
from sekisho.governance.document import MAX_BYTES, Document, read_document
from sekisho.governance.errors import BadDocumentError
from sekisho.governance.language import Catalogue
from sekisho.governance.policy.policy import Policy

from ..federation.command import sekisho_here

HERE = Path(__file__).parent / "broken"
BROKEN = sorted(path for path in HERE.glob("[0-9]*.yaml"))
EXPECTED: Mapping[str, Any] = read_document((HERE / "expected.yaml").read_bytes(), name="expected.yaml").value
SOUND = (HERE / "sound.yaml").read_text("utf-8")
TEMPLATE = (Path(__file__).parents[2] / "policies" / "gdpr-health-research.yaml").read_text("utf-8")


def test_there_are_more_than_sixty_and_each_has_its_expectation() -> None:
    assert len(BROKEN) >= 60
    assert {path.name for path in BROKEN} == set(EXPECTED)
    Policy.parse(SOUND.encode(), "sound.yaml")


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_file_is_refused_with_place_sentence_and_hint(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = EXPECTED[path.name]
    ended = sekisho_here(capsys, "legal", "check", path)
    assert ended.exit == UNUSABLE and ended.out == ""
    refusal, hint = ended.err.splitlines()
    place = f"{path}:{expected['line']}:{expected['column']}: "
    assert refusal.startswith(f"sekisho: error: {place}"), refusal
    assert refusal.endswith(f"[{expected['code']}]") and expected["says"] in refusal
    assert hint.startswith("sekisho: hint: ") and expected["advises"] in hint
    told = sekisho_here(capsys, "legal", "check", path, "--json").told
    assert (told["code"], told["line"], told["column"]) == (expected["code"], expected["line"], expected["column"])


# Words of engineers: whoever reads a refusal is asked to change a text, not to know how it is read.
JARGON = re.compile(r"token|scalar|mapping|sequence|stream|parse|regular expression|pattern|integer|boolean|str\b|null|"
                    r"input should|dict|tuple|validator|exception|None\b|canonical|<block", re.IGNORECASE)  # fmt: skip


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_refusal_is_in_words_that_a_lawyer_knows(name: str) -> None:
    for words in (EXPECTED[name]["says"], EXPECTED[name]["advises"]):
        assert not JARGON.search(words), words
    assert EXPECTED[name]["says"][0].islower() and len(EXPECTED[name]["advises"].split()) > 1


def test_norway_windows_line_ends_and_json_are_read_for_what_they_say() -> None:
    sound = Policy.parse(SOUND.encode(), "sound.yaml")
    norway = Policy.parse((HERE / "accepted" / "norway.yaml").read_bytes(), "norway.yaml")
    assert norway.clause("transfer").destinations == {"JP", "NO"}
    for name in ("windows-line-ends.yaml", "json.yaml"):
        data = (HERE / "accepted" / name).read_bytes()
        assert data != SOUND.encode()
        assert Policy.parse(data, name).canonical_digest == sound.canonical_digest


def test_what_is_no_file_or_too_large_is_refused_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(SOUND.encode() + b"# padding\n" * (MAX_BYTES // 10))
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "nowhere.yaml").symlink_to(tmp_path / "gone")
    for path, code in (
        (large, "DOCUMENT_TOO_LARGE"),
        (tmp_path / "folder.yaml", "FILE_UNREADABLE"),
        (tmp_path / "nowhere.yaml", "FILE_UNREADABLE"),
        (tmp_path / "missing.yaml", "FILE_UNREADABLE"),
    ):
        ended = sekisho_here(capsys, "legal", "check", path)
        assert ended.exit == UNUSABLE and f"[{code}]" in ended.err and "hint:" in ended.err and path.name in ended.err


def test_a_file_without_permission_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def locked(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", locked)
    ended = sekisho_here(capsys, "legal", "check", HERE / "sound.yaml")
    assert ended.exit == UNUSABLE and "[FILE_UNREADABLE]" in ended.err and "Permission denied" in ended.err


TEXTS = Catalogue.load("sekisho.governance", "texts")
CAUSES = {
    TEXTS.render(key, "en"): TEXTS.render(key, "ja")
    for key in TEXTS.keys()  # noqa: SIM118  a catalogue is no dictionary
    if key.startswith("causes.") and key.endswith(".reason")
}
JAPANESE = re.compile(r"[\u3041-\u30ff\u4e00-\u9fff]")


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_refusal_is_told_in_japanese_as_well(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = EXPECTED[path.name]
    ended = sekisho_here(capsys, "legal", "check", path, "--language", "ja")
    refusal, hint = ended.err.splitlines()
    place = f"{path}:{expected['line']}:{expected['column']}: "
    assert refusal.startswith(f"sekisho: error: {place}") and refusal.endswith(f"[{expected['code']}]")
    assert JAPANESE.search(refusal.removeprefix(f"sekisho: error: {place}").split("（")[0])
    assert JAPANESE.search(hint.split("（")[0])
    if expected["says"] in CAUSES:
        assert CAUSES[expected["says"]] in refusal and expected["advises"] not in hint
    else:
        assert expected["says"] in refusal and expected["advises"] in hint


def test_the_commonest_causes_are_told_in_japanese_alone() -> None:
    told = [one["says"] for one in EXPECTED.values() if one["says"] in CAUSES]
    assert len(told) >= 8
    house = Path(__file__).parents[2] / "governance"
    sources = "".join((house / f"{name}.py").read_text("utf-8") for name in ("wording", "characters"))
    assert all(f'"{sentence}"' in sources for sentence in CAUSES)


def test_every_code_under_which_a_file_is_refused_is_explained_in_both_languages() -> None:
    house = Path(__file__).parents[2] / "governance"
    files = [house / f"{name}.py" for name in ("document", "plaintext", "characters", "fields", "wording", "language")]
    files += [house / "policy" / f"{name}.py" for name in ("policy", "cases", "always_clauses", "grant_clauses")]
    # a code is the first thing that a refusal or fault is given
    given = re.compile(r'(?:refuse|fault|Fault|Words|BadDocumentError)\(\s*(?:document, )?"([A-Z][A-Z0-9_]+)"')
    codes = {code for path in files for code in given.findall(path.read_text("utf-8"))}
    texts = Catalogue.load("sekisho.governance", "texts")
    internal = {code for code in codes if code.startswith("TEXT_")}  # a fault of this software's own texts
    keys = [key.split(".") for key in texts.keys()]  # noqa: SIM118  a catalogue is no dictionary
    known = {code for house, code, *_ in keys if house == "refusals"}
    assert codes - internal <= known and {one["code"] for one in EXPECTED.values()} <= known
    assert len(codes) > 30


# ---- fuzzing: an edit is refused, or changes the meaning only where it was made


Leaves = dict[tuple[str, ...], tuple[object, int]]


def leaves(document: Document) -> Leaves:
    """Every value that is enforced or recorded, by clause id and field, with its line; prose is left out."""
    found: Leaves = {}

    def walk(value: object, path: tuple[str | int, ...], name: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if key not in ("text", "title", "name"):
                    walk(item, (*path, key), (*name, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                own = str(item["id"]) if isinstance(item, dict) and "id" in item else str(index)
                walk(item, (*path, index), (*name, own))
        else:
            found[name] = (value, document.place(path)[0])

    walk(document.value, (), ())
    return found


LINES = TEMPLATE.splitlines(keepends=True)
HONEST = leaves(read_document(TEMPLATE.encode(), name="template"))


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, set[object]]:
    """A damaged template, and the values that stand in the lines that were touched."""
    lines = list(LINES)
    kind = draw(st.sampled_from(["delete", "twice", "swap", "indent", "insert", "quotes", "cut", "join"]))
    at = draw(st.integers(0, len(lines) - 2))
    touched = {at}
    if kind == "delete":
        lines[at] = ""
    elif kind == "twice":
        lines[at] *= 2
    elif kind == "swap":
        other = draw(st.integers(0, len(lines) - 1))
        lines[at], lines[other] = lines[other], lines[at]
        touched.add(other)
    elif kind == "indent":
        spaces = draw(st.integers(0, 8))
        lines[at] = " " * spaces + lines[at].lstrip(" ")
    elif kind == "insert":
        column = draw(st.integers(0, len(lines[at]) - 1))
        extra = draw(st.text(alphabet="ab0159.-_:,#&*!|>%@'\"[]{}?~ \t\n\u3000\uff1a\u201c\u200b\u202eé日", max_size=3))
        lines[at] = lines[at][:column] + extra + lines[at][column:]
    elif kind == "quotes":
        lines[at] = lines[at].replace('"', draw(st.sampled_from(["", "'", "“", "`", "＂"])))
    elif kind == "cut":
        text = "".join(lines)
        return text[: draw(st.integers(0, len(text) - 1))], set()
    else:
        lines[at] = lines[at].rstrip("\n")
        touched.add(at + 1)
    return "".join(lines), {name for name, (_, line) in HONEST.items() if line - 1 in touched}


@settings(max_examples=150, deadline=None)
@given(edits())
def test_an_edit_is_refused_or_changes_the_meaning_only_where_it_was_made(edit: tuple[str, set[object]]) -> None:
    text, touched = edit
    try:
        Policy.parse(text.encode(), "policy.yaml")
    except BadDocumentError as error:
        assert error.code.isupper() and error.sentence and error.hint and error.line >= 1 and error.column >= 1
        return
    found = leaves(read_document(text.encode(), name="policy.yaml"))
    if TEMPLATE.startswith(text):  # cut off at the end of a line: grants may be lost, and then permit nothing
        assert all(HONEST[name] == value for name, value in found.items())
        assert all(name[0] == "grants" for name in set(HONEST) - set(found))
        return
    changed = {name for name in {*HONEST, *found} if HONEST.get(name, (None,))[0] != found.get(name, (None,))[0]}
    # a line that gives a clause another number renames all its fields
    assert all(_belongs(name, touched) for name in changed), sorted(map(str, changed - touched))


def _belongs(name: tuple[str, ...], touched: set[object]) -> bool:
    return any(isinstance(one, tuple) and (one[:2] == name[:2] or (one[:1] == name[:1] and one[-1] == "id"))
               for one in touched)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["utf-16", "utf-16-be", "utf-32", "shift_jis", "euc_jp", "iso2022_jp", "utf-7", "cp1252", "utf-8"]),
    st.integers(0, 400),
    st.integers(1, 255),
)
def test_a_mangled_encoding_is_refused(encoding: str, at: int, flip: int) -> None:
    data = bytearray(SOUND.encode(encoding, errors="replace"))
    index = at * 7 % len(data)
    data[index] ^= flip
    try:
        policy = Policy.parse(bytes(data), "policy.yaml")
    except BadDocumentError as error:
        assert error.code.isupper() and error.sentence and error.hint and error.line >= 1
    else:
        # one changed byte of plain text may be another text; an encoding is never guessed
        assert encoding in {"utf-8", "utf-7", "cp1252", "iso2022_jp"} and policy.id
