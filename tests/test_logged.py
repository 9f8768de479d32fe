"""The search through the logs of the whole suite (conftest.py) finds what it is there for."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sekisho.core.parties import LOG_NAME
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.entries import Entry
from sekisho.governance.signing.keys import demo_key

from .federation.study_folder import SITES, build
from .logged import PLANTED, logs_below, planted_in, watched

NOW = datetime(2026, 11, 29, tzinfo=UTC)


@pytest.mark.parametrize("what", ["ame-c003", "ame-003-1", "planted-zq81-subject", "lovely", "TASTY"])
def test_an_entry_that_names_somebody_is_found_in_memory_and_in_the_file(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    # underneath what watches the suite: this entry is a mistake on purpose
    append_all = getattr(AuditLog.append_all, "__wrapped__", AuditLog.append_all)
    with pytest.MonkeyPatch.context() as own:
        own.setattr(AuditLog, "append_all", append_all)
        with watched(own) as found, AuditLog.open(folder / LOG_NAME, origin="a/b", key=demo_key("ame")) as log:
            log.append(Entry("run.joined", "ame", NOW, refs={"subject": what}))
    assert len(found) == 1
    assert len(planted_in(logs_below(folder))) == 1
    shutil.rmtree(folder)


def test_what_is_searched_for_is_what_the_studies_plant(tmp_path: Path) -> None:
    study = build(tmp_path / "study")
    for site in SITES:
        for line in (study / "sites" / site / "consent.jsonl").read_bytes().splitlines():
            assert PLANTED.search(line)


def test_a_digest_and_a_run_are_nobody() -> None:
    assert not planted_in([b'{"run":"probe-20261129-1","sum":"sha256:' + b"0c" * 32 + b'"}'])
    assert not planted_in([b'{"run":"probe-c123456789012345"}'])


def test_five_letters_by_chance_within_base64_are_nobody() -> None:
    assert not planted_in([b'{"sig":"q3hAwfuL+0Zx","sum":"/tasty/9"}'])
