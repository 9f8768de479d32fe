"""A locked key opens with its own passphrase, from where it may come, and is refused otherwise."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sekisho.core import passphrases
from sekisho.core.errors import BadInputError, Refused
from sekisho.core.parties import load_key
from sekisho.core.passphrases import new_passphrase, unlock, variable_of
from sekisho.governance.errors import BadDocumentError
from sekisho.governance.signing.keys import SigningKey

RIGHT, WRONG = "four words kept apart", "four words kept together"
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: Patch) -> None:
    for name in ("ann", "kohi-it", "north"):
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.delenv(passphrases.VARIABLE, raising=False)


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    path = tmp_path / "keys" / "ann.key"
    SigningKey.generate().save(path, RIGHT.encode())
    return path


def at_a_terminal(monkeypatch: Patch, *typed: str) -> list[str]:
    """Somebody who types these words; returns what is left to type."""
    left = list(typed)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: left.pop(0))
    return left


def code_of(path: Path, **given: object) -> str:
    with pytest.raises((Refused, BadInputError)) as caught:
        unlock(path, "ann", **given)  # type: ignore[arg-type]
    assert caught.value.hint and RIGHT not in str(caught.value) + caught.value.hint
    return caught.value.code


def test_the_environment_opens_it_and_the_own_variable_comes_first(locked: Path, monkeypatch: Patch) -> None:
    assert variable_of("kohi-it") == "SEKISHO_PASSPHRASE_KOHI_IT"
    monkeypatch.setenv("SEKISHO_PASSPHRASE", WRONG)
    assert code_of(locked) == "KEY_PASSPHRASE"
    monkeypatch.setenv("SEKISHO_PASSPHRASE_ANN", RIGHT)
    assert unlock(locked, "ann").public == SigningKey.load(locked, RIGHT.encode()).public


def test_no_passphrase_and_no_terminal_is_refused_and_names_the_variable(locked: Path) -> None:
    with pytest.raises(Refused) as caught:
        unlock(locked, "ann")
    assert caught.value.code == "KEY_LOCKED" and "SEKISHO_PASSPHRASE_ANN" in caught.value.hint


def test_a_file_opens_it_unless_others_can_read_it(locked: Path, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text(RIGHT + "\nanother line", "utf-8")
    file.chmod(0o644)
    assert code_of(locked, passphrase_file=file) == "PASSPHRASE_EXPOSED"
    file.chmod(0o600)
    assert unlock(locked, "ann", passphrase_file=file).public


def test_an_unreadable_file_is_refused(locked: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch(mode=0o600)
    for file in (tmp_path / "nowhere", empty):
        assert code_of(locked, passphrase_file=file) == "PASSPHRASE_UNREADABLE"


def test_a_person_may_mistype_twice_and_is_asked_once_for_a_key(locked: Path, monkeypatch: Patch) -> None:
    left = at_a_terminal(monkeypatch, "nonsense", WRONG, RIGHT)
    first = unlock(locked, "ann")
    assert left == [] and unlock(locked, "ann") is first


def test_a_third_wrong_word_is_refused(locked: Path, monkeypatch: Patch) -> None:
    at_a_terminal(monkeypatch, WRONG, WRONG, WRONG, RIGHT)
    assert code_of(locked) == "KEY_PASSPHRASE"


def test_nobody_is_asked_where_asking_is_not_wanted(locked: Path, monkeypatch: Patch) -> None:
    left = at_a_terminal(monkeypatch, RIGHT)
    with pytest.raises(Refused) as caught:
        load_key(locked.parents[1], "ann", demo=False, ask=False)
    assert caught.value.code == "KEY_LOCKED" and left == [RIGHT]


def test_another_key_in_the_same_place_is_asked_for_again(locked: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("SEKISHO_PASSPHRASE", RIGHT)
    first = unlock(locked, "ann").public
    locked.unlink()
    SigningKey.generate().save(locked, RIGHT.encode())
    assert unlock(locked, "ann").public != first


def test_a_key_that_others_can_read_stays_closed(locked: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("SEKISHO_PASSPHRASE", RIGHT)
    locked.chmod(0o640)
    with pytest.raises(BadDocumentError) as caught:
        unlock(locked, "ann")
    assert caught.value.code == "KEY_EXPOSED"


def test_a_new_passphrase_is_long_and_typed_twice_alike(monkeypatch: Patch) -> None:
    at_a_terminal(monkeypatch, RIGHT, RIGHT, RIGHT, WRONG, "short", "short")
    assert new_passphrase("ann", None) == RIGHT.encode()
    for code in ("PASSPHRASE_DIFFERS", "PASSPHRASE_SHORT"):
        with pytest.raises(BadInputError) as caught:
            new_passphrase("ann", None)
        assert caught.value.code == code


def test_a_missing_key_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        load_key(tmp_path, "north", demo=False)
    assert caught.value.code == "KEY_MISSING" and "sekisho study key north" in caught.value.hint
