"""The next version of a policy or a roster begins: the present one is kept, and the file says what it replaces.

For: ``sekisho legal amend``. Not for: changing what the file says, which people do in an editor, or signing.

    begin_version(path) -> Begun: the version that was kept, and the one that the file is now

A later version names the digest of the file that it replaces and has that file beside it, in ``earlier/`` or
``rosters/``, so that whoever signs can be shown what changed, and nobody can slip a version in between. To copy a
digest by hand is how that goes wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.document import Document, read_document
from ...governance.errors import BadDocumentError
from ...governance.policy.policy import Policy
from ..errors import BadInputError, Refused
from ..parties import READABLE, write_whole
from ..site.papers import EARLIER, ROSTERS, SIGNATURES, read_file, read_roster
from .paper import ROSTER
from .signed import policy_signatures

VERSION_LINE = re.compile(rb"version:[ \t]*\d+(?P<rest>[ \t]*(?:#.*)?)")
SUPERSEDES_LINE = re.compile(rb"supersedes:[ \t]*\S+[ \t]*(?:#.*)?")

WHY_UNKNOWN = {
    "no-study": "it lies in no study, so nobody can have signed it",
    "no-earlier": "the version that it replaces is not kept beside it as it was signed",
    "no-roster": "the study's roster is not in force",
}  # the reasons that ``Signatures.unknown`` names


@dataclass(frozen=True)
class Begun:
    """What lies where now."""

    kept: Path
    old_version: int
    new_version: int
    supersedes: str


def begin_version(path: Path, *, now: datetime) -> Begun:
    """Keep the policy or roster at ``path`` under its version, and raise the version in the file.

    Raises:
        BadDocumentError: the file is neither. Refused: POLICY_NOT_IN_FORCE, EARLIER_DIFFERS, and the codes of
            ``read_roster`` for a roster that is not in force. BadInputError: VERSION_LINE, FILE_UNWRITABLE.
    """
    return _begin_roster(path, now=now) if path.name == ROSTER else _begin_policy(path, now=now)


def _begin_policy(path: Path, *, now: datetime) -> Begun:
    data = read_file(path)
    policy = Policy.parse(data, str(path))
    # what is kept was in force: neither a draft nor a file that somebody has changed already
    signed = policy_signatures(path, now=now)
    if signed.unknown or signed.missing:
        why = WHY_UNKNOWN[signed.unknown] if signed.unknown else f"missing: {', '.join(signed.missing)}"
        raise Refused(
            "POLICY_NOT_IN_FORCE",
            f"{path.name}, version {policy.version}, is not signed as it stands ({why}), so there is nothing to keep",
            "a draft is changed as it is; if a signed version was changed already, set the file back, then amend it",
        )
    kept = path.parent / EARLIER / f"{policy.version}.yaml"
    _keep(path, kept, data, policy.version, policy.bytes_digest)
    return Begun(kept, policy.version, policy.version + 1, policy.bytes_digest)


def _begin_roster(path: Path, *, now: datetime) -> Begun:
    roster = read_roster(path.parent, now=now)  # what is kept is in force
    data = read_file(path)
    kept = path.parent / ROSTERS / f"{roster.version}.yaml"
    _keep(path, kept, data, roster.version, roster.fingerprint)
    return Begun(kept, roster.version, roster.version + 1, roster.fingerprint)


def _keep(path: Path, kept: Path, data: bytes, version: int, digest: str) -> None:
    # 1. what was kept is never written over: others have signed a comparison with it
    if kept.exists() and read_file(kept) != data:
        raise Refused(
            "EARLIER_DIFFERS",
            f"{kept.parent.name}/{kept.name} is another file than {path.name}, and both are version {version}",
            f"if {path.name} was changed already, set it back first, or write version and supersedes by hand",
        )
    # 2. the two fields that change, and nothing else: a text may hold lines that look like them
    changed = _next(read_document(data, name=path.name), version + 1, digest)
    if changed is None:
        raise BadInputError(
            "VERSION_LINE",
            f"{path.name} does not write version and supersedes on lines of their own",
            f"write version: {version + 1} and supersedes: {digest} by hand",
        )
    # 3. first the copies, then the file: whatever interrupts this, the present version and who signed it are kept
    signatures = read_file(path.with_name(path.name + SIGNATURES))
    try:
        kept.parent.mkdir(exist_ok=True)
        write_whole(kept.with_name(kept.name + SIGNATURES), signatures, READABLE)
        write_whole(kept, data, READABLE)
        write_whole(path, changed, READABLE)
    except OSError as error:
        raise BadInputError(
            "FILE_UNWRITABLE", f"{path.name} or what it replaces cannot be written ({error.strerror})",
            "check folder and disk",
        ) from None  # fmt: skip


def _next(document: Document, version: int, digest: str) -> bytes | None:
    """The file with the two fields written anew, all else as it was; None where that cannot be done line by line."""
    lines = document.data.split(b"\n")
    at = {name: _line_of(document, name) for name in ("version", "supersedes") if name in document.value}
    found = VERSION_LINE.fullmatch(lines[at["version"]].removesuffix(b"\r"))
    if found is None:
        return None
    end = b"\r" if lines[at["version"]].endswith(b"\r") else b""
    lines[at["version"]] = b"version: %d%b%b\nsupersedes: %b%b" % (
        version, found["rest"], end, digest.encode("ascii"), end,
    )  # fmt: skip
    if "supersedes" in at:
        if not SUPERSEDES_LINE.fullmatch(lines[at["supersedes"]].removesuffix(b"\r")):
            return None
        del lines[at["supersedes"]]
    changed = b"\n".join(lines)
    # whatever was thought above: what the file says is the same but for the two
    expected = {**document.value, "version": version, "supersedes": digest}
    try:
        return changed if read_document(changed, name=document.name).value == expected else None
    except BadDocumentError:
        return None


def _line_of(document: Document, name: str) -> int:
    return document.key_place((name,))[0] - 1
