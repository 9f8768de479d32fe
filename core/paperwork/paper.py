"""One paper of a study as it stands: what it says, what a signature over it is about, and who has signed it.

For: everything that shows, signs or counts papers (signing.py, withdrawing.py, standing.py, summary.py). Not for:
whether a study may run, which a site decides for itself each time (site/papers.py).

    open_paper(path) -> Paper -> approved(paper, roster, now=...) -> who, and why others do not count
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ...governance.canonical import digest_bytes
from ...governance.errors import BadDocumentError
from ...governance.policy.policy import Policy
from ...governance.policy.signoff import shown
from ...governance.provenance.disclosure import BaseModelRecord
from ...governance.provenance.release import RECORD, ReleaseRecord, read_record
from ...governance.signing.approvals import Approved, Shown, approvals
from ...governance.signing.envelope import (
    PREDICATES,
    Envelope,
    Signature,
    Subject,
    read_envelopes,
    verified_keys,
    write_envelopes,
)
from ...governance.signing.roster import Roster
from ..errors import BadInputError
from ..parties import READABLE, write_whole
from ..site.papers import SIGNATURES, read_before, read_file, read_study
from ..study import Study

ROSTER = "roster.yaml"
TURNS, TURN_SECONDS = 100, 0.05  # a signature is written in far less than the five seconds that this waits
CANONICAL = "(RFC 8785)"  # how the second digest of a paper is named in its signatures
CANDIDATE = re.compile(rf"sites/[^/]+/state/candidates/[^/]+/{re.escape(RECORD)}")
Content = Study | Policy | BaseModelRecord | ReleaseRecord


@dataclass(frozen=True)
class Paper:
    """A paper as it stands: what it says, and the two digests that a signature is about.

    ``name`` is its path in the study's folder, ``site`` whose own paper it is; empty for those of the whole study.
    ``before`` is the version that a policy replaces, ``shown`` what a signature over a policy binds beside the digests.
    ``asked_by`` asked for the study of which a release is the end.
    """

    folder: Path
    name: str
    site: str
    predicate: str
    content: Content
    text: str
    bytes_digest: str
    canonical_digest: str
    before: Policy | None = None
    shown: Shown | None = None
    asked_by: str | None = None

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / self.name

    @property
    def digests(self) -> frozenset[str]:
        """Both digests: of the bytes, and of the RFC 8785 form."""
        return frozenset({self.bytes_digest, self.canonical_digest})

    @property
    def requester(self) -> str | None:
        """Who asked for it, and therefore cannot approve it."""
        return self.content.requester if isinstance(self.content, Study) else self.asked_by


def open_paper(path: Path) -> Paper:
    """A study's study.yaml, base-model.yaml, a site's policy.yaml or a candidate's release.json, wherever it lies.

    Raises:
        BadInputError: FILE_UNREADABLE, NOT_A_PAPER (not one of these, or not in a study's folder).
        BadDocumentError: the codes of each document, with line and column.
        Refused: a later version of a policy without the very version that it replaces (``check_succession``).
    """
    data = read_file(path)
    path = path.resolve()
    folder = next((above for above in path.parents if (above / ROSTER).is_file()), None)
    if folder is None:
        raise BadInputError(
            "NOT_A_PAPER",
            f"{path.name} does not lie in the folder of a study: no {ROSTER} is beside it or above it",
            "sign the file where it lies in the study's folder; who may sign stands in the roster",
        )
    name = path.relative_to(folder).as_posix()
    parts = name.split("/")
    content: Content
    before: Policy | None = None
    seen: Shown | None = None
    asked_by: str | None = None
    if name == "study.yaml":
        content, kind, site = Study.parse(data, name), "study-approval", ""
        digests = content.digest, content.canonical_digest
    elif name == "base-model.yaml":
        content, kind, site = BaseModelRecord.parse(data, name), "base-model", ""
        digests = content.bytes_digest, content.canonical_digest
    elif len(parts) == 3 and (parts[0], parts[2]) == ("sites", "policy.yaml"):
        content, kind, site = Policy.parse(data, name), "policy-approval", parts[1]
        before = read_before(folder, site, content)
        digests, seen = (content.bytes_digest, content.canonical_digest), shown(content, before)
    elif CANDIDATE.fullmatch(name):
        # everybody whom the roster gives the role may sign it: the adapter is the study's, not the site's
        content, kind, site = read_record(data), "release-approval", ""
        digests, asked_by = (digest_bytes(data), content.digest), read_study(folder).requester
    else:
        raise BadInputError(
            "NOT_A_PAPER",
            f"{name} is not a paper that people approve",
            "people sign study.yaml, base-model.yaml, sites/<site>/policy.yaml and the release.json of a candidate; "
            "sites sign roster.yaml with `sekisho site sign-roster`",
        )
    return Paper(folder, name, site, PREDICATES[kind], content, data.decode("utf-8"), *digests, before, seen, asked_by)


def signatures_of(path: Path, name: str) -> tuple[Envelope, ...]:
    """The signatures beside a file; none where there is no such file. Raises ``BadDocumentError`` if malformed."""
    beside = path.with_name(path.name + SIGNATURES)
    return read_envelopes(read_file(beside), name=name + SIGNATURES) if beside.exists() else ()


def approved(paper: Paper, roster: Roster, *, now: datetime, more: tuple[Envelope, ...] = ()) -> Approved:
    """Who approved the paper as it stands, counted as a site counts; ``more`` are signatures not yet beside it."""
    return approvals(
        roster.acting_for(paper.site) if paper.site else roster,
        (*signatures_of(paper.path, paper.name), *more),
        subjects=paper.digests,
        predicate_type=paper.predicate,
        now=now,
        requester=paper.requester,
        shown=paper.shown,
    )


def subjects_of(paper: Paper) -> tuple[Subject, Subject]:
    """What a signature over the paper is about: its bytes, and its RFC 8785 form."""
    return (
        Subject(paper.path.name, paper.bytes_digest),
        Subject(f"{paper.path.name} {CANONICAL}", paper.canonical_digest),
    )


def append_signature(path: Path, name: str, envelope: Envelope, *, roster: Roster | None = None) -> None:
    """Add one line to the signatures beside a file, whole or not at all. Raises ``BadInputError``.

    Two people who sign at once wait for each other, so that neither line is lost. Under a ``roster``, lines that
    nobody in it signed are left out: junk must not fill the file so that an approval cannot be taken back.
    """
    beside = path.with_name(path.name + SIGNATURES)
    try:
        with _in_turn(path.parent):
            lines = signatures_of(path, name)
            kept = lines if roster is None else signed_by_somebody(lines, roster)
            data = write_envelopes((*kept, envelope))
            read_envelopes(data, name=beside.name)
            write_whole(beside, data, READABLE)
            written = envelope in signatures_of(path, name)
    except (OSError, BadDocumentError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInputError(
            "SIGNATURES_UNWRITABLE",
            f"{name}{SIGNATURES} cannot be written ({reason}); nothing was signed",
            "check folder and disk, and that not too many old signatures stand in the file",
        ) from None
    if not written:
        raise BadInputError(
            "SIGNATURES_UNWRITABLE",
            f"{name}{SIGNATURES} was written by somebody else at the same moment, and the signature is not in it",
            "sign once more",
        )


def signed_by_somebody(envelopes: Sequence[Envelope], roster: Roster) -> tuple[Envelope, ...]:
    """What people of the roster signed, or of those before it: one line a text, and of each key one signature."""
    known = {key.key_id: key for person in (*roster.people, *roster.former) for key in person.keys}
    found: dict[tuple[str, bytes], dict[str, Signature]] = {}
    for one in envelopes:
        for signature in one.signatures:
            for key_id in verified_keys(replace(one, signatures=(signature,)), known.values()):
                said = found.setdefault((one.payload_type, one.payload), {})
                said.setdefault(key_id, Signature(key_id, signature.value))
    return tuple(Envelope(*text, tuple(said.values())) for text, said in found.items())


@contextmanager
def _in_turn(folder: Path) -> Iterator[None]:
    """Alone among those who write signatures in ``folder``, if its file system knows locks.

    Nobody waits for ever, nor writes out of turn: a line that is lost unseen is worse than one that is refused.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(TURNS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(TURN_SECONDS)
            except OSError:
                break  # no locks here: whoever loses is told by the look after writing
        else:
            raise BlockingIOError(errno.EWOULDBLOCK, "somebody else has been writing there for seconds")
        yield
    finally:
        os.close(descriptor)
