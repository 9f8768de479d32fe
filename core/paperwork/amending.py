"""The next version of a policy or a roster begins: the present one is kept, and the file says what it replaces.

For: ``sekisho legal amend``. Not for: changing what the file says, which people do in an editor, or signing.

    begin_version(path) -> Begun: the version that was kept, and the one that the file is now

A later version names the digest of the file that it replaces and has that file beside it, in ``earlier/`` or
``rosters/``, so that whoever signs can be shown what changed, and nobody can slip a version in between. To copy a
digest by hand is how that goes wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.policy.policy import Policy
from ...governance.signing.roster import Roster
from ..errors import BadInputError, Refused
from ..parties import READABLE, write_whole
from ..site.papers import EARLIER, ROSTERS, SIGNATURES, read_file, read_roster
from .paper import ROSTER
from .signed import policy_signatures

VERSION_LINE = re.compile(rb"^version:[ \t]*(\d+)(?=[ \t]*(?:#.*)?\r?$)", re.M)
SUPERSEDES_LINE = re.compile(rb"^supersedes:.*\n", re.M)


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
    missing = policy_signatures(path, now=now).missing
    if missing:
        raise Refused(
            "POLICY_NOT_IN_FORCE",
            f"{path.name}, version {policy.version}, is not signed as it stands (missing: {', '.join(missing)}), "
            "so there is nothing to keep",
            "a draft is changed as it is; if a signed version was changed already, set the file back, then amend it",
        )
    kept = path.parent / EARLIER / f"{policy.version}.yaml"
    _keep(path, {kept: data}, data, policy.version, policy.bytes_digest,
          lambda changed: Policy.parse(changed, str(path)).header.supersedes)  # fmt: skip
    return Begun(kept, policy.version, policy.version + 1, policy.bytes_digest)


def _begin_roster(path: Path, *, now: datetime) -> Begun:
    roster = read_roster(path.parent, now=now)  # what is kept is in force
    data = read_file(path)
    kept = path.parent / ROSTERS / f"{roster.version}.yaml"
    signatures = read_file(path.with_name(path.name + SIGNATURES))
    _keep(path, {kept: data, kept.with_name(kept.name + SIGNATURES): signatures}, data, roster.version,
          roster.fingerprint, lambda changed: Roster.parse(changed, path.name).supersedes)  # fmt: skip
    return Begun(kept, roster.version, roster.version + 1, roster.fingerprint)


def _keep(
    path: Path, copies: dict[Path, bytes], data: bytes, version: int, digest: str,
    supersedes: Callable[[bytes], str | None],
) -> None:  # fmt: skip
    # 1. what was kept is never written over: others have signed a comparison with it
    for kept, copy in copies.items():
        if kept.exists() and read_file(kept) != copy:
            raise Refused(
                "EARLIER_DIFFERS",
                f"{kept.parent.name}/{kept.name} is another file than {path.name}, and both are version {version}",
                f"if {path.name} was changed already, set it back first, or write version and supersedes by hand",
            )
    # 2. the lines that change, and nothing else
    rest = SUPERSEDES_LINE.sub(b"", data)
    line = f"version: {version + 1}\nsupersedes: {digest}".encode()
    changed, number = VERSION_LINE.subn(line, rest, count=1)
    if number != 1 or supersedes(changed) != digest:
        raise BadInputError(
            "VERSION_LINE",
            f"{path.name} does not write its version on a line of its own",
            f"write version: {version + 1} and supersedes: {digest} by hand",
        )
    # 3. first the copies, then the file: whatever interrupts this, the present version is kept
    try:
        for kept, copy in copies.items():
            kept.parent.mkdir(exist_ok=True)
            write_whole(kept, copy, READABLE)
        write_whole(path, changed, READABLE)
    except OSError as error:
        raise BadInputError(
            "FILE_UNWRITABLE", f"{path.name} or what it replaces cannot be written ({error.strerror})",
            "check folder and disk",
        ) from None  # fmt: skip
