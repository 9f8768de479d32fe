"""Where a key file's passphrase comes from, and the key that it opens; in this order, and never from the command line.

    1. a file that was named (``--passphrase-file``)      2. SEKISHO_PASSPHRASE_<NAME>, then SEKISHO_PASSPHRASE
    3. the person at the terminal

For: keys of people who sign, and of parties that run. Not for: how a key file is encrypted (governance/signing/).

A key that was opened stays open until the process ends, so that a person is asked once for each key and not once for
each use. A passphrase itself is not kept. What cannot be opened is refused with a code; nothing is ever signed with
another key instead.
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
import unicodedata
from pathlib import Path

from ..governance.errors import BadDocumentError
from ..governance.signing.keys import SigningKey, is_encrypted_file
from .errors import BadInputError, Refused

VARIABLE = "SEKISHO_PASSPHRASE"
SHORTEST = 12  # characters; scrypt slows guessing down, it cannot save a word from a dictionary
LONGEST = 1024
TRIES = 3  # at the terminal, where people mistype

_opened: dict[tuple[Path, int, int], SigningKey] = {}  # by path, inode and time of change: another file is another key


def variable_of(name: str) -> str:
    """The environment variable of one person's or party's passphrase: ``kohi-it`` -> ``SEKISHO_PASSPHRASE_KOHI_IT``."""
    return f"{VARIABLE}_{name.upper().replace('-', '_')}"


def unlock(path: Path, name: str, *, passphrase_file: Path | None = None, ask: bool = True) -> SigningKey:
    """The key of ``name`` in ``path``; ``ask`` says whether a person may be asked for its passphrase.

    Raises:
        Refused: KEY_LOCKED (no passphrase was given), KEY_PASSPHRASE (it does not open the key).
        BadInputError: PASSPHRASE_UNREADABLE, PASSPHRASE_EXPOSED.
        BadDocumentError: KEY_MISSING, KEY_EXPOSED, KEY_UNREADABLE.
    """
    if not is_encrypted_file(path):
        return SigningKey.load(path)
    state = path.stat()
    known = _opened.get(mark := (path.resolve(), state.st_ino, state.st_mtime_ns))
    if known is not None:
        return known
    given = _given(name, passphrase_file)
    if given is not None:
        key = _open(path, name, given)
    elif ask and sys.stdin.isatty():
        key = _asked(path, name)
    else:
        raise Refused(
            "KEY_LOCKED",
            f"the key of '{name}' is locked by a passphrase, and none was given",
            hint=f"run it at a terminal, or set {variable_of(name)} (or {VARIABLE} for all) in the environment",
            site=name,
        )
    _opened[mark] = key
    return key


def new_passphrase(name: str, passphrase_file: Path | None) -> bytes:
    """A passphrase for a key that is about to be made; typed twice at a terminal.

    Raises:
        Refused: KEY_LOCKED when there is no terminal and none was given.
        BadInputError: PASSPHRASE_SHORT, PASSPHRASE_DIFFERS, PASSPHRASE_UNREADABLE, PASSPHRASE_EXPOSED.
    """
    given = _given(name, passphrase_file)
    if given is None:
        if not sys.stdin.isatty():
            raise Refused(
                "KEY_LOCKED",
                f"a key is kept under a passphrase, and none was given for '{name}'",
                hint=f"run it at a terminal, or use --passphrase-file, or set {variable_of(name)} in the environment",
            )
        given = _bytes(getpass.getpass(f"new passphrase for the key of {name}: "))
        if given != _bytes(getpass.getpass("the same again: ")):
            raise BadInputError("PASSPHRASE_DIFFERS", "the two passphrases differ", "no key was made; type them again")
    if len(given.decode("utf-8")) < SHORTEST:
        raise BadInputError(
            "PASSPHRASE_SHORT",
            f"the passphrase has fewer than {SHORTEST} characters",
            "no key was made; four words that do not belong together are easy to keep",
        )
    return given


def _given(name: str, passphrase_file: Path | None) -> bytes | None:
    if passphrase_file is not None:
        return _from_file(passphrase_file)
    text = os.environ.get(variable_of(name)) or os.environ.get(VARIABLE)
    return _bytes(text) if text else None


def _from_file(path: Path) -> bytes:
    """The first line of a file that nobody else can read (a pipe is nobody else's anyway)."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(LONGEST + 2)
        text = data.decode("utf-8").splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError):
        raise BadInputError(
            "PASSPHRASE_UNREADABLE",
            f"{path.name} cannot be read as a passphrase",
            "its first line is the passphrase, as UTF-8 text",
        ) from None
    if stat.S_ISREG(mode) and mode & 0o077:
        raise BadInputError(
            "PASSPHRASE_EXPOSED", f"{path.name} can be read by others on this machine", "chmod 600 the file"
        )
    return _bytes(text)


def _asked(path: Path, name: str) -> SigningKey:
    for _ in range(TRIES - 1):
        try:
            return _open(path, name, _typed(name))
        except Refused as refused:
            print(f"sekisho: {refused}", file=sys.stderr)
    return _open(path, name, _typed(name))


def _typed(name: str) -> bytes:
    return _bytes(getpass.getpass(f"passphrase for the key of {name}: "))


def _open(path: Path, name: str, passphrase: bytes) -> SigningKey:
    try:
        return SigningKey.load(path, passphrase)
    except BadDocumentError as error:
        if error.code != "KEY_PASSPHRASE":
            raise
        raise Refused(
            "KEY_PASSPHRASE",
            f"the passphrase does not open the key of '{name}'",
            hint="give that key's own passphrase; one that is lost cannot be restored: make a new key and roster",
            site=name,
        ) from None


def _bytes(text: str) -> bytes:
    # the same characters typed on another keyboard may be composed differently
    return unicodedata.normalize("NFC", text).encode("utf-8", errors="surrogateescape")
