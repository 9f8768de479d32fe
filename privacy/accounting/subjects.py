"""Whose budget it is: keyed fingerprints of subjects, under a key that the site keeps beside its ledger.

For: the rows of the ledger. A subject keeps one budget at a site whatever the data set is called, however
    it is copied, split or grown.
Not for: recognising a person under two identifiers; re-pseudonymised data are a matter of organisation.

Order of calls: ``SubjectKey.load_or_create(path)`` → ``fingerprint(subject_id)`` for each subject, and
``ledger_key()`` for the ledger. The ledger's chain is keyed from here, so a lost or exchanged key does not
mint fresh budgets: the ledger no longer opens.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
import unicodedata
from pathlib import Path
from typing import NoReturn

from ..errors import LedgerError

KEY_BYTES = 32
_SUBJECT = b"sekisho/subject/v1\0"
_LEDGER = b"sekisho/ledger/v1\0"


class SubjectKey:
    """32 secret bytes. Not in any message; who holds them and a list of identifiers can recognise the
    rows."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise LedgerError("SUBJECT_KEY_DAMAGED", "a subject key does not have 32 bytes")
        self._key = key

    @classmethod
    def load_or_create(cls, path: Path) -> SubjectKey:
        """The key in ``path``; drawn and written there, 0600, if there is none. Two processes get the same
        key.

        Raises:
            LedgerError: ``SUBJECT_KEY_DAMAGED``, ``SUBJECT_KEY_EXPOSED``, ``SUBJECT_KEY_UNWRITABLE``.
        """
        try:
            if not path.exists():
                _write_once(path, secrets.token_bytes(KEY_BYTES))
            mode = path.stat().st_mode
            key = path.read_bytes()
        except OSError as error:
            raise LedgerError(
                "SUBJECT_KEY_UNWRITABLE",
                "the subject key can be neither read nor written",
                f"{error.strerror}: check the state folder of this site",
            ) from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise LedgerError(
                "SUBJECT_KEY_EXPOSED", "the subject key can be read by others", "chmod 600 the key file"
            )
        if len(key) != KEY_BYTES:
            raise LedgerError(
                "SUBJECT_KEY_DAMAGED",
                "the subject key is damaged",
                "restore it; without it the budget is lost",
            )
        return cls(key)

    def fingerprint(self, subject_id: str) -> bytes:
        """32 bytes that stand for the subject: HMAC-SHA256 over the identifier in Unicode's composed form
        (NFC)."""
        text = unicodedata.normalize("NFC", subject_id).encode("utf-8")
        return hmac.digest(self._key, _SUBJECT + text, "sha256")

    def ledger_key(self) -> bytes:
        """32 bytes for ``Ledger.open``, bound to this subject key."""
        return hmac.digest(self._key, _LEDGER, "sha256")

    def __reduce__(self) -> NoReturn:
        raise LedgerError("SUBJECT_KEY_NOT_COPYABLE", "a subject key is never sent")

    def __repr__(self) -> str:
        return "SubjectKey(...)"


def _write_once(path: Path, data: bytes) -> None:
    """All or nothing, and the first writer wins: a linked name appears only when its bytes are on disk."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another process was first; its key is the key
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
