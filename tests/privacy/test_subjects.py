"""One person, one budget: whatever the data set is called, however it is copied or split."""

from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.privacy.accounting.subjects import SubjectKey
from sekisho.privacy.errors import LedgerError


def test_a_key_is_created_once_and_loaded_ever_after(tmp_path: Path) -> None:
    first = SubjectKey.load_or_create(tmp_path / "subject.key")
    second = SubjectKey.load_or_create(tmp_path / "subject.key")
    assert first.fingerprint("kohi-0001") == second.fingerprint("kohi-0001")
    assert first.ledger_key() == second.ledger_key()
    assert stat.S_IMODE((tmp_path / "subject.key").stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["subject.key"]


def test_a_fingerprint_tells_nothing_without_the_key(tmp_path: Path) -> None:
    one, other = (SubjectKey.load_or_create(tmp_path / name) for name in ("a", "b"))
    assert len(one.fingerprint("x")) == 32
    assert one.fingerprint("x") != other.fingerprint("x")
    assert len({one.fingerprint("x"), one.fingerprint("X"), one.fingerprint(""), one.ledger_key()}) == 4
    assert repr(one) == "SubjectKey(...)"
    with pytest.raises(LedgerError):
        pickle.dumps(one)


def test_an_identifier_typed_in_another_unicode_form_is_the_same_person() -> None:
    key = SubjectKey(bytes(32))
    assert key.fingerprint("Café ガ") == key.fingerprint("Cafe\u0301 カ\u3099")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    SubjectKey.load_or_create(tmp_path / "subject.key")
    os.chmod(tmp_path / "subject.key", 0o640)
    with pytest.raises(LedgerError) as refused:
        SubjectKey.load_or_create(tmp_path / "subject.key")
    assert refused.value.code == "SUBJECT_KEY_EXPOSED"


def test_a_damaged_key_is_refused_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "subject.key"
    SubjectKey.load_or_create(path)
    path.write_bytes(path.read_bytes()[:31])
    with pytest.raises(LedgerError) as refused:
        SubjectKey.load_or_create(path)
    assert refused.value.code == "SUBJECT_KEY_DAMAGED"
    assert len(path.read_bytes()) == 31


def test_a_folder_that_is_not_there_is_a_refusal_and_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(LedgerError) as refused:
        SubjectKey.load_or_create(tmp_path / "nowhere" / "subject.key")
    assert refused.value.code == "SUBJECT_KEY_UNWRITABLE"


def test_processes_that_race_get_one_key(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sekisho.privacy.accounting.subjects import SubjectKey;"
        "print(SubjectKey.load_or_create(Path(sys.argv[1])).fingerprint('x').hex())"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "key")], stdout=subprocess.PIPE, env=_env())
        for _ in range(4)
    ]
    assert len({racer.communicate()[0] for racer in racers}) == 1


def _env() -> dict[str, str]:
    root = Path(__file__).parents[2]
    return os.environ | {"PYTHONPATH": str(root / ".namespace"), "OMP_NUM_THREADS": "1"}
