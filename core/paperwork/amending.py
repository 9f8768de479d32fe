"""The next version of a policy begins: the present one is kept, and the file says what it replaces.

For: ``sekisho legal amend``. Not for: changing what the policy says, which people do in an editor, or signing.

    begin_version(path) -> Begun: the version that was kept, and the one that the file is now

A later version names the digest of the file that it replaces and has that file beside it, in ``earlier/``, so that
whoever signs can be shown what changed, and nobody can slip a version in between. To copy a digest by hand is how that
goes wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.policy.policy import Policy
from ..errors import BadInputError, Refused
from ..parties import READABLE, write_whole
from ..site.papers import EARLIER, read_file
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
    """Keep the policy at ``path`` under its version, and raise the version in the file, which is otherwise the same.

    Raises:
        BadDocumentError: the file is no policy. Refused: POLICY_NOT_IN_FORCE, EARLIER_DIFFERS.
        BadInputError: VERSION_LINE, FILE_UNWRITABLE.
    """
    data = read_file(path)
    policy = Policy.parse(data, str(path))
    kept = path.parent / EARLIER / f"{policy.version}.yaml"
    # 1. what is kept was in force: neither a draft nor a file that somebody has changed already
    missing = policy_signatures(path, now=now).missing
    if missing:
        raise Refused(
            "POLICY_NOT_IN_FORCE",
            f"{path.name}, version {policy.version}, is not signed as it stands (missing: {', '.join(missing)}), "
            "so there is nothing to keep",
            "a draft is changed as it is; if a signed version was changed already, set the file back, then amend it",
        )
    # 2. what was kept is never written over: others have signed a comparison with it
    if kept.exists() and read_file(kept) != data:
        raise Refused(
            "EARLIER_DIFFERS",
            f"{EARLIER}/{kept.name} is another file than {path.name}, and both are version {policy.version}",
            f"if {path.name} was changed already, set it back first, or write version and supersedes by hand",
        )
    # 3. the lines that change, and nothing else
    rest = SUPERSEDES_LINE.sub(b"", data)
    line = f"version: {policy.version + 1}\nsupersedes: {policy.bytes_digest}".encode()
    changed, number = VERSION_LINE.subn(line, rest, count=1)
    if number != 1 or Policy.parse(changed, str(path)).header.supersedes != policy.bytes_digest:
        raise BadInputError(
            "VERSION_LINE",
            f"{path.name} does not write its version on a line of its own",
            f"write version: {policy.version + 1} and supersedes: {policy.bytes_digest} by hand",
        )
    # 4. first the copy, then the file: whatever interrupts this, the present version is kept
    try:
        kept.parent.mkdir(exist_ok=True)
        write_whole(kept, data, READABLE)
        write_whole(path, changed, READABLE)
    except OSError as error:
        raise BadInputError(
            "FILE_UNWRITABLE", f"{path.name} or {EARLIER}/{kept.name} cannot be written ({error.strerror})",
            "check folder and disk",
        ) from None  # fmt: skip
    return Begun(kept, policy.version, policy.version + 1, policy.bytes_digest)
