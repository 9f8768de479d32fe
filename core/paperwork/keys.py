"""A key for one name of the roster: made, kept under a passphrase, its public half written where it is waited for.

For: ``sekisho study key``: people, sites and the coordinator alike. Not for: how keys are kept
(governance/signing/keys.py), or changing a key that the roster already has: that is a new roster, signed by every site.

The roster is changed at one place, found by line and column, and stays as people wrote it everywhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ...governance.document import Document, read_document
from ...governance.signing.keys import NO_KEY_YET, PublicKey, SigningKey
from ..errors import BadInputError, Refused
from ..parties import READABLE, key_path, make_private_folder, write_whole
from ..site.papers import SIGNATURES, read_file
from .paper import ROSTER

Where = tuple[str | int, ...]
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")  # as a roster's own reader has it


@dataclass(frozen=True)
class Entry:
    """One name of the roster, what it is, and its key as written; ``place`` is where that stands."""

    name: str
    kind: str  # site, coordinator or person
    key: str
    place: Where

    @property
    def made(self) -> bool:
        """Whether a public key stands there."""
        return self.key != NO_KEY_YET


def entries(study_folder: Path) -> tuple[Document, tuple[Entry, ...]]:
    """Every name of a roster that may still lack keys, in the order of the file. Raises ``BadDocumentError``."""
    document = read_document(read_file(study_folder / ROSTER), name=ROSTER)
    found: list[Entry] = []
    value = document.value if isinstance(document.value, dict) else {}
    for index, party in enumerate(_listed(value.get("parties"))):
        if {"id", "kind", "key"} <= party.keys():
            place: Where = ("parties", index, "key")
            name = _name(document, party["id"], ("parties", index, "id"))
            found.append(Entry(name, str(party["kind"]), str(party["key"]), place))
    for index, person in enumerate(_listed(value.get("people"))):
        if "pseudonym" in person:
            keys = person.get("keys")
            name = _name(document, person["pseudonym"], ("people", index, "pseudonym"))
            for number, key in enumerate(keys if isinstance(keys, list) else ()):
                place = ("people", index, "keys", number)
                found.append(Entry(name, "person", str(key), place))
    return document, tuple(found)


def make_key(study_folder: Path, name: str, *, passphrase: bytes) -> PublicKey:
    """Make ``keys/<name>.key`` and write its public half into the roster; ``check_no_key`` comes before any question.

    Raises:
        Refused: NAME_UNKNOWN, KEY_IN_ROSTER. BadInputError: ROSTER_UNWRITABLE, STATE_UNWRITABLE.
        BadDocumentError: KEY_EXISTS, KEY_UNWRITABLE.
    """
    document, entry = check_no_key(study_folder, name)
    # 1. the key first: a public key whose private half was never kept would lock the roster
    key = SigningKey.generate()
    path = key_path(study_folder, name)
    make_private_folder(path.parent)
    key.save(path, passphrase)
    # 2. its public half, in the one place that waits for it
    line, column = document.place(entry.place)
    lines = document.data.decode("utf-8").split("\n")
    before, after = lines[line - 1][: column - 1], lines[line - 1][column - 1 :]
    text = key.public.to_text() if after[:1] in ('"', "'") else f'"{key.public.to_text()}"'
    lines[line - 1] = before + after.replace(NO_KEY_YET, text, 1)
    try:
        write_whole(study_folder / ROSTER, "\n".join(lines).encode("utf-8"), READABLE)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise BadInputError(
            "ROSTER_UNWRITABLE",
            f"{ROSTER} cannot be written ({error.strerror}); the key was not kept",
            "check folder and disk",
        ) from None
    return key.public


def check_no_key(study_folder: Path, name: str) -> tuple[Document, Entry]:
    """The place in the roster where the key of ``name`` is missing."""
    document, all_entries = entries(study_folder)
    own = [entry for entry in all_entries if entry.name == name]
    if not own:
        waiting = [entry.name for entry in all_entries if not entry.made]
        raise Refused(
            "NAME_UNKNOWN",
            f"{ROSTER} has no party and no person called '{name[:40]}'",
            f"keys are still to be made for {', '.join(waiting)}" if waiting else "every key is made already",
        )
    missing = next((entry for entry in own if not entry.made), None)
    if missing is None:
        raise Refused(
            "KEY_IN_ROSTER",
            f"{ROSTER} has a key for '{name}' already",
            f"a new key is a new roster: write {NO_KEY_YET} in its place, move keys/{name}.key away, "
            f"and have every site sign again (remove {ROSTER}{SIGNATURES})",
        )
    return document, missing


def _name(document: Document, value: object, place: Where) -> str:
    """A name becomes a file's name and a word of a command; so it is a plain one before anything is made of it."""
    name = str(value)
    if not NAME.fullmatch(name):
        document.refuse(
            "ROSTER_NAME",
            "a name of the roster is not a plain one",
            "write small letters, digits and hyphens, at most forty",
            place,
        )
    return name


def _listed(value: object) -> list[dict[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
