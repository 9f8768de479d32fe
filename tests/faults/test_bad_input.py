"""Bad input: never a traceback, never a silent acceptance, never a record's text in a message, never anything lost.

Several sites are spoiled at once, each in another way: the command names each with its own code.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import Ended, nothing_charged, one_line, sekisho, sekisho_here
from study_folder import SITES, change

from .conftest import CANARY

Capture = pytest.CaptureFixture[str]
Spoil = Callable[[Path], None]


@dataclass(frozen=True)
class Bad:
    """``code`` may name two; ``says`` is a pattern that the sentence must match: which file, and where in it."""

    code: str
    spoil: Spoil
    says: str
    exit: int = 2


def records(lines: Callable[[list[bytes]], list[bytes]]) -> Spoil:
    def spoil(home: Path) -> None:
        path = home / "records.jsonl.gz"
        kept = lines(gzip.decompress(path.read_bytes()).splitlines(keepends=True))
        path.write_bytes(gzip.compress(b"".join(kept), mtime=0))

    return spoil


def third(change_of: Callable[[bytes], bytes]) -> Spoil:
    return records(lambda lines: [*lines[:2], change_of(lines[2]), *lines[3:]])


def field(name: str, value: object) -> Spoil:
    return third(lambda line: json.dumps({**json.loads(line), name: value}).encode("utf-8") + b"\n")


def consent(change_of: Callable[[bytes], bytes]) -> Spoil:
    def spoil(home: Path) -> None:
        path = home / "consent.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:2], change_of(lines[2]), *lines[3:]]))

    return spoil


def truncated(home: Path) -> None:
    path = home / "records.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-40])


def folder_in_place(home: Path) -> None:
    (home / "records.jsonl.gz").unlink()
    (home / "records.jsonl.gz").mkdir()


def state(name: str, data: bytes) -> Spoil:
    def spoil(home: Path) -> None:
        (home / "state").mkdir(mode=0o700)
        (home / "state" / name).write_bytes(data)
        (home / "state" / name).chmod(0o600)

    return spoil


GROUPS = {
    "records": (
        Bad("RECORDS_NOT_JSON", third(lambda line: line[:-20] + b"\n"), r"records\.jsonl\.gz:3\b"),
        Bad("RECORDS_DUPLICATE_ID", records(lambda lines: [*lines[:2], *lines]), r"records\.jsonl\.gz:3\b"),
        Bad("RECORDS_NOT_UTF8", third(lambda line: line.replace(b"item", b"\xff\xfe")), r"records\.jsonl\.gz:3\b"),
        Bad("RECORDS_LABEL", field("label", f"nobody-knows-{CANARY}"), r"records\.jsonl\.gz:3\b"),
        Bad("RECORDS_EMPTY", records(lambda lines: [b"\n"]), r"records\.jsonl\.gz holds no record"),
    ),
    "records again": (
        Bad("RECORDS_FIELDS", field("mail", CANARY), r"records\.jsonl\.gz:3\b"),
        Bad("RECORDS_VALUE", field("text", {"nested": CANARY}), r"records\.jsonl\.gz:3\b"),
        Bad("RECORDS_UNREADABLE", truncated, r"records\.jsonl\.gz is not a whole gzip file"),
        Bad("RECORDS_UNREADABLE", folder_in_place, r"records\.jsonl\.gz cannot be read"),
        Bad("RECORDS_UNREADABLE", lambda home: (home / "records.jsonl.gz").unlink(), r"\(No such file or directory\)"),
    ),
    "consents": (
        Bad("CONSENT_ROW_NOT_JSON", consent(lambda line: line[:-20] + b"\n"), r"consent\.jsonl:3\b.*none was imported"),
        Bad("CONSENT_ROW_NOT_UTF8", consent(lambda line: line.replace(b"notice", b"\xff")), r"consent\.jsonl:3\b"),
        Bad("CONSENT_BAD_EVENT", consent(lambda line: line.replace(b'"granted"', b'"maybe"')), r"consent\.jsonl:3\b"),
        Bad("CONSENT_ROW_FIELDS", consent(lambda line: line.replace(b'"at"', b'"at": 1, "at"')), r"consent\.jsonl:3\b"),
        Bad("CONSENT_FILE_UNREADABLE", lambda home: (home / "consent.jsonl").unlink(), r"consent\.jsonl"),
    ),
    "state": (
        Bad("LEDGER_DAMAGED", state("ledger.sqlite", b"no ledger " * 500), r"ledger", exit=3),
        Bad("LOG_UNWRITABLE LOG_DAMAGED", state("log.sqlite", b"no log at all " * 500), r"log"),
        Bad("VAULT_UNREADABLE", state("consent.sqlite", b"no register " * 500), r"consent register"),
        Bad("SUBJECT_KEY_DAMAGED", state("subject.key", b"short"), r"subject key", exit=3),
        Bad("STATE_UNWRITABLE", lambda home: (home / "state").write_bytes(b""), r"cannot be written"),
    ),
}


@pytest.mark.parametrize("group", GROUPS)
def test_each_site_is_told_its_own_fault(group: str, study: Path, tmp_path: Path, capsys: Capture) -> None:
    cases = dict(zip(SITES, GROUPS[group], strict=True))
    for site, bad in cases.items():
        bad.spoil(study / "sites" / site)
    before = contents(study)
    ended = sekisho_here(capsys, "pilot", study, "--out", tmp_path / "out", "--json")
    assert ended.exit == ended.told["exit"] == max(bad.exit for bad in cases.values())
    assert set(ended.told["sites"]) == set(SITES)
    for site, bad in cases.items():
        told = ended.told["sites"][site]
        assert told["code"] in bad.code.split(), (site, told)
        assert re.search(bad.says, told["sentence"]), told
        assert one_line(told), told
    nothing_lost_and_nothing_seen(study, tmp_path, ended, before)


def test_a_person_reads_one_line_and_a_hint_for_each_site(study: Path, tmp_path: Path, capsys: Capture) -> None:
    cases = dict(zip(SITES, GROUPS["records again"], strict=True))
    for site, bad in cases.items():
        bad.spoil(study / "sites" / site)
    lines = sekisho_here(capsys, "pilot", study, "--out", tmp_path / "out").err.splitlines()
    for site, line, hint in zip(SITES, lines[::2], lines[1::2], strict=True):
        assert re.fullmatch(rf"sekisho: error: {site}: .* \[{cases[site].code}\]", line), line
        assert hint.startswith("sekisho: hint: ")


def spoil_yaml(name: str) -> Spoil:
    def spoil(study: Path) -> None:
        path = study / name
        lines = path.read_text("utf-8").splitlines(keepends=True)
        path.write_text("".join([*lines[:4], "  wrong: [unclosed\n", *lines[4:]]), "utf-8")

    return spoil


def spoil_bytes(name: str, data: bytes) -> Spoil:
    return lambda study: (study / name).write_bytes(data)  # type: ignore[func-returns-value]


def misspelt(study: Path) -> None:
    change(study / "study.yaml", "on_drop:", "on_drip:")


def other_test_set(study: Path) -> None:
    path = study / "test.jsonl.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"\n", mtime=0))


SHARED = {
    "study, broken YAML": Bad("YAML_SYNTAX", spoil_yaml("study.yaml"), r"study\.yaml:5:\d+: "),
    "study, unknown field": Bad("UNKNOWN_FIELD", misspelt, r"study\.yaml:16:1: .*on_drip"),
    "study, not UTF-8": Bad("NOT_UTF8", spoil_bytes("study.yaml", b"schema: \xff\n"), r"study\.yaml:1:9: "),
    "study, empty": Bad("EMPTY_DOCUMENT", spoil_bytes("study.yaml", b""), r"study\.yaml:1:1: "),
    "study, missing": Bad("FILE_UNREADABLE", lambda study: (study / "study.yaml").unlink(), r"study\.yaml cannot"),
    "roster, broken YAML": Bad("YAML_SYNTAX", spoil_yaml("roster.yaml"), r"roster\.yaml:5:\d+: "),
    "roster, missing": Bad("FILE_UNREADABLE", lambda study: (study / "roster.yaml").unlink(), r"roster\.yaml cannot"),
    "base model, broken YAML": Bad("YAML_SYNTAX", spoil_yaml("base-model.yaml"), r"base-model\.yaml:5:\d+: "),
    "test set, another": Bad("TEST_SET_DIFFERS", other_test_set, r"test\.jsonl\.gz is not the test set"),
    "test set, missing": Bad(
        "RECORDS_UNREADABLE", lambda study: (study / "test.jsonl.gz").unlink(), r"test\.jsonl\.gz cannot be read"
    ),
    "a key, not a key": Bad("KEY_UNREADABLE", spoil_bytes("keys/coordinator.demo.key", b"zz"), r"tor\.demo\.key"),
}


@pytest.mark.parametrize("name", SHARED)
def test_a_spoiled_paper_is_named_with_its_place(name: str, study: Path, tmp_path: Path, capsys: Capture) -> None:
    bad = SHARED[name]
    bad.spoil(study)
    before = contents(study)
    ended = sekisho_here(capsys, "pilot", study, "--out", tmp_path / "out", "--json")
    assert (ended.exit, ended.told["code"]) == (bad.exit, bad.code), ended
    assert re.search(bad.says, ended.told["sentence"]), ended.told
    assert one_line(ended.told)
    nothing_lost_and_nothing_seen(study, tmp_path, ended, before)


def test_an_unreadable_policy_is_refused_by_a_pilot_and_unusable_for_legal_check(
    study: Path, tmp_path: Path, capsys: Capture
) -> None:
    spoil_yaml("sites/mori/policy.yaml")(study)
    place = r"policy\.yaml:(\d+:\d+): .*\[YAML_SYNTAX\]"
    pilot = sekisho_here(capsys, "pilot", study, "--out", tmp_path / "out")
    check = sekisho("legal", "check", study / "sites" / "mori" / "policy.yaml")
    assert (pilot.exit, check.exit) == (3, 2)
    found = [re.search(place, ended.err) for ended in (pilot, check)]
    assert found[0] and found[1] and found[0][1] == found[1][1]
    assert pilot.err.startswith("sekisho: refused: ") and check.err.startswith("sekisho: error: ")
    for heavy in ("torch", "tenseal", "dp_accounting"):
        assert heavy not in check.loaded
    assert nothing_charged(study)


def test_a_study_that_is_not_there(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a-file").write_text("x")
    for study in ("nowhere", "a-file", "a-file/below"):
        for words in (("pilot",), ("legal", "decide"), ("compliance", "export"), ("study", "reset-demo")):
            more = ("--out", tmp_path / "out") if words[0] in ("pilot", "compliance") else ()
            ended = sekisho_here(capsys, *words, tmp_path / study, *more, "--json")
            assert (ended.exit, ended.told["code"]) == (2, "FILE_UNREADABLE"), (words, study, ended)
            assert one_line(ended.told)


def test_an_output_folder_that_cannot_be_written_costs_nothing(study: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a-file").write_text("kept")
    blocked = tmp_path / "blocked"
    (blocked / ".writable").mkdir(parents=True)
    for out in (tmp_path / "a-file", tmp_path / "a-file" / "below", Path("/proc/below"), blocked):
        ended = sekisho_here(capsys, "pilot", study, "--out", out, "--json")
        assert (ended.exit, ended.told["code"]) == (2, "OUT_UNWRITABLE"), (out, ended)
        assert "nothing was charged" in ended.told["sentence"] and one_line(ended.told)
    assert (tmp_path / "a-file").read_text() == "kept"
    assert nothing_charged(study)
    exported = sekisho_here(capsys, "compliance", "verify", tmp_path / "nowhere.zip", "--json")
    assert (exported.exit, exported.told["code"]) == (2, "FILE_UNREADABLE")


def contents(study: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}


def nothing_lost_and_nothing_seen(study: Path, tmp_path: Path, ended: Ended, before: dict[Path, bytes]) -> None:
    """What was there is there, byte for byte; nothing was charged; no text of a record is anywhere else."""
    assert {path: path.read_bytes() for path in before if path.exists()} == before
    assert nothing_charged_where_readable(study)
    assert CANARY not in ended.out + ended.err
    assert leaks(study, tmp_path / "out") == []


def nothing_charged_where_readable(study: Path) -> bool:
    sound = [site for site in SITES if b"no ledger" not in head(study / "sites" / site / "state" / "ledger.sqlite")]
    return all(nothing_charged(study, (site,)) for site in sound)


def head(path: Path) -> bytes:
    return path.read_bytes()[:20] if path.is_file() else b""


def leaks(*folders: Path) -> list[Path]:
    """Files with a record's text in them, but the records themselves."""
    return [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and path.name != "records.jsonl.gz" and CANARY.encode("utf-8") in path.read_bytes()
    ]
