"""One paper of a study as it stands: what it says, what a signature over it is about, and who has signed it.

For: everything that shows, signs or counts papers (signing.py, withdrawing.py, standing.py, summary.py). Not for:
whether a study may run, which a site decides for itself each time (site/papers.py).

    open_paper(path) -> Paper -> approved(paper, roster, now=...) -> who, and why others do not count
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.errors import BadDocumentError
from ...governance.policy.policy import Policy
from ...governance.policy.signoff import shown
from ...governance.provenance.disclosure import BaseModelRecord
from ...governance.signing.approvals import Approved, Shown, approvals
from ...governance.signing.envelope import PREDICATES, Envelope, Subject, read_envelopes, write_envelopes
from ...governance.signing.roster import Roster
from ..errors import BadInputError
from ..parties import READABLE, write_whole
from ..site.papers import SIGNATURES, read_before, read_file
from ..study import Study

ROSTER = "roster.yaml"
CANONICAL = "(RFC 8785)"  # how the second digest of a paper is named in its signatures
Content = Study | Policy | BaseModelRecord


@dataclass(frozen=True)
class Paper:
    """A paper as it stands: what it says, and the two digests that a signature is about.

    ``name`` is its path in the study's folder, ``site`` whose own paper it is; empty for those of the whole study.
    ``before`` is the version that a policy replaces, ``shown`` what a signature over a policy binds beside the digests.
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
        return self.content.requester if isinstance(self.content, Study) else None


def open_paper(path: Path) -> Paper:
    """A study's study.yaml, base-model.yaml or a site's policy.yaml, wherever the study's folder lies.

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
    else:
        raise BadInputError(
            "NOT_A_PAPER",
            f"{name} is not a paper that people approve",
            "people sign study.yaml, base-model.yaml and sites/<site>/policy.yaml; "
            "sites sign roster.yaml with `sekisho site sign-roster`",
        )
    return Paper(folder, name, site, PREDICATES[kind], content, data.decode("utf-8"), *digests, before, seen)


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


def append_signature(path: Path, name: str, envelope: Envelope) -> None:
    """Add one line to the signatures beside a file, whole or not at all. Raises ``BadInputError``."""
    beside = path.with_name(path.name + SIGNATURES)
    data = write_envelopes((*signatures_of(path, name), envelope))
    try:
        read_envelopes(data, name=beside.name)
        write_whole(beside, data, READABLE)
    except (OSError, BadDocumentError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInputError(
            "SIGNATURES_UNWRITABLE",
            f"{name}{SIGNATURES} cannot be written ({reason}); nothing was signed",
            "check folder and disk, and that not too many old signatures stand in the file",
        ) from None
