"""A consent register that is put back, alone or with more, and the people who withdrew in the meantime."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from command import sekisho_here
from study_folder import SCOPE, HashedFeatures

from sekisho.core.parties import state_folder
from sekisho.core.pilot.federation import Federation
from sekisho.core.site.folder import SiteFolder
from sekisho.core.site.reach import NAME
from sekisho.governance.consent.consent import ConsentRegister

Capture = pytest.CaptureFixture[str]
ONE, PERSON, OTHER = "ame", "ame-c007", "ame-c008"
REGISTER = "consent.sqlite"


@contextmanager
def opened(study: Path) -> Iterator[SiteFolder]:
    """The site's belongings, through the real opening of all sites."""
    features: Any = HashedFeatures()
    federation = Federation.open(study, features=features)
    try:
        yield federation.sites[ONE].folder
    finally:
        federation.close()


@pytest.fixture
def used(study: Path) -> Path:
    """A study whose sites have been open once, so that each has a register and a log."""
    with opened(study) as folder:
        assert usable(folder) == {PERSON, OTHER}
    return study


def usable(folder: SiteFolder, *, now: datetime | None = None) -> set[str]:
    return set(folder.register.eligible([PERSON, OTHER], SCOPE, now or datetime.now(UTC)).eligible)


def copied(study: Path, *names: str) -> Callable[[], None]:
    """Copy these stores of the site's state; what is returned puts the copies back."""
    state = state_folder(study, ONE)
    backup = study.parent / "backup"
    backup.mkdir()
    for name in names:
        assert not (state / f"{name}-wal").exists(), "it is still open"
        shutil.copy(state / name, backup)

    def put_back() -> None:
        for name in names:
            for end in ("", "-wal", "-shm"):
                (state / f"{name}{end}").unlink(missing_ok=True)
            shutil.copy(backup / name, state)

    return put_back


def asked(capsys: Capture, study: Path, *words: str) -> None:
    ended = sekisho_here(capsys, "site", *words, "--study", study)
    assert ended.exit == 0, ended


def without_rows_of(study: Path, person: str) -> bytes:
    """Take the person out of the site's consent file, and give back what it was."""
    path = study / "sites" / ONE / "consent.jsonl"
    before = path.read_bytes()
    path.write_bytes(b"".join(row for row in before.splitlines(keepends=True) if f'"{person}"'.encode() not in row))
    return before


@pytest.mark.parametrize("reason", ["withdrawal", "objection"])
def test_a_register_that_is_put_back_alone_brings_nobody_back(used: Path, capsys: Capture, reason: str) -> None:
    put_back = copied(used, REGISTER)
    asked(capsys, used, "withdraw", ONE, PERSON, "--reason", reason)
    put_back()
    with opened(used) as folder:
        assert usable(folder) == {OTHER}
        # by the very event that it was before, so that who asks for their history is told when
        (event,) = [event for event in folder.register.events(PERSON) if str(event.kind) != "granted"]
        (case,) = folder.reach.departures()
        assert event.at == case.until


def test_a_consent_that_was_given_after_the_withdrawal_counts_in_a_register_that_was_put_back(
    used: Path, capsys: Capture
) -> None:
    put_back = copied(used, REGISTER)
    asked(capsys, used, "withdraw", ONE, PERSON)
    put_back()
    with opened(used) as folder:
        (case,) = folder.reach.departures()
    put_back()
    later = case.until + timedelta(microseconds=1)
    row = {"subject": PERSON, "scope": SCOPE, "event": "granted", "at": later.isoformat(), "expires": None,
           "notice": "n"}  # fmt: skip
    with (used / "sites" / ONE / "consent.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    with opened(used) as folder:
        assert usable(folder) == {PERSON, OTHER}


def test_an_erased_person_comes_back_neither_with_an_old_register_nor_with_an_old_file_later(
    used: Path, capsys: Capture
) -> None:
    put_back = copied(used, REGISTER)
    asked(capsys, used, "withdraw", ONE, PERSON)
    before = without_rows_of(used, PERSON)
    with opened(used) as folder:
        folder.register.erase(PERSON)
    put_back()
    with opened(used) as folder:
        assert usable(folder) == {OTHER}
    # a register that is made anew has nobody to take out before the file names them again
    (state_folder(used, ONE) / REGISTER).unlink()
    with opened(used) as folder:
        assert folder.register.events(PERSON) == () and usable(folder) == {OTHER}
    (used / "sites" / ONE / "consent.jsonl").write_bytes(before)
    with opened(used) as folder:
        assert folder.register.events(PERSON) and usable(folder) == {OTHER}


def test_an_erasure_leaves_a_fingerprint_and_a_time_and_no_name(used: Path, capsys: Capture) -> None:
    asked(capsys, used, "withdraw", ONE, PERSON)
    with opened(used) as folder:
        before = folder.reach.departures()
        folder.reach.erase(PERSON)
        assert folder.reach.departures() == before and folder.reach.cases(PERSON) == ()
        assert [case.mark for case in before] == [folder.subject_key.fingerprint(PERSON)]
    for path in state_folder(used, ONE).glob(f"{NAME}*"):
        assert PERSON.encode() not in path.read_bytes()


def test_what_cannot_be_taken_again_because_it_was_put_back_too_is_refused(used: Path, capsys: Capture) -> None:
    put_back = copied(used, REGISTER, NAME)
    asked(capsys, used, "withdraw", ONE, PERSON)
    put_back()
    features: Any = HashedFeatures()
    federation = Federation.open(used, features=features)
    try:
        assert list(federation.problems) == [ONE]
        refused = federation.problems[ONE]
        assert refused.code == "CONSENT_BEHIND_LOG" and PERSON not in str(refused)
    finally:
        federation.close()


def test_a_register_that_was_not_put_back_is_not_searched(
    used: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(capsys, used, "withdraw", ONE, PERSON)
    searched: list[object] = []
    monkeypatch.setattr(ConsentRegister, "subjects", searched.append)
    with opened(used) as folder:
        assert usable(folder) == {OTHER} and searched == []
