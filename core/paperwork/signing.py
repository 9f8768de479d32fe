"""One person signs one paper of a study with that person's own key; and one site signs the roster.

For: ``sekisho legal sign`` and ``sekisho site sign-roster``, and for saying whose signatures a paper has already.
Not for: counting them for a decision (site/papers.py does, at the site, each time), words on a screen (summary.py),
or where a key comes from (passphrases.py).

Order of calls: ``open_paper(path)`` -> ``check_signer``, ``check_weights`` -> shown to the person -> ``add_approval``;
``open_roster`` -> ``add_acceptance``.

A signature is refused where it would not count, each reason with its own code, since a paper that looks signed and is
not costs people days. The last word has the rule that sites use themselves: what ``approvals`` would leave out is not
written. What was shown is what is signed: the file is read once more and must have the same digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.errors import BadDocumentError
from ...governance.policy.policy import Policy
from ...governance.provenance.disclosure import BaseModelRecord
from ...governance.signing.approvals import Approved, approval_statement, approvals
from ...governance.signing.envelope import (
    PREDICATES,
    Envelope,
    Subject,
    read_envelopes,
    sign_statement,
    verified_keys,
    write_envelopes,
)
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Person, Roster, roster_statement
from ...governance.signing.signer import Signer
from ...governance.vocabulary import known, label
from ..data.intake import inspect, locate
from ..errors import BadInputError, Refused
from ..parties import READABLE, write_whole
from ..site.papers import SIGNATURES, read_file, read_study
from ..study import Study

ROSTER = "roster.yaml"
CANONICAL = "(RFC 8785)"  # how the second digest of a paper is named in its signatures
Content = Study | Policy | BaseModelRecord


@dataclass(frozen=True)
class Paper:
    """A paper as it stands: what it says, and the two digests that a signature is about.

    ``name`` is its path in the study's folder, ``site`` whose own paper it is; empty for those of the whole study.
    """

    folder: Path
    name: str
    site: str
    predicate: str
    content: Content
    text: str
    bytes_digest: str
    canonical_digest: str

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
    if name == "study.yaml":
        content, kind, site = Study.parse(data, name), "study-approval", ""
        digests = content.digest, content.canonical_digest
    elif name == "base-model.yaml":
        content, kind, site = BaseModelRecord.parse(data, name), "base-model", ""
        digests = content.bytes_digest, content.canonical_digest
    elif len(parts) == 3 and (parts[0], parts[2]) == ("sites", "policy.yaml"):
        content, kind, site = Policy.parse(data, name), "policy-approval", parts[1]
        digests = content.bytes_digest, content.canonical_digest
    else:
        raise BadInputError(
            "NOT_A_PAPER",
            f"{name} is not a paper that people approve",
            "people sign study.yaml, base-model.yaml and sites/<site>/policy.yaml; "
            "sites sign roster.yaml with `sekisho site sign-roster`",
        )
    return Paper(folder, name, site, PREDICATES[kind], content, data.decode("utf-8"), *digests)


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
    )


def check_signer(paper: Paper, roster: Roster, *, person: str, role: str, now: datetime) -> Person:
    """The person of the roster whose signature, in this role, would count. Needs no key.

    Raises:
        Refused: PERSON_UNKNOWN, ROLE_NOT_HELD, NOT_ACTING_FOR, OWN_REQUEST, ALREADY_SIGNED, ONE_PERSON_TWO_ROLES.
    """
    # 1. somebody whom every site has accepted
    found = next((one for one in roster.people if one.pseudonym == person), None)
    if found is None:
        raise Refused(
            "PERSON_UNKNOWN",
            f"the roster lists no person '{person[:40]}'",
            f"it lists {', '.join(one.pseudonym for one in roster.people)}; sites sign the roster, people sign papers",
        )
    # 2. in a role of theirs
    may = [
        one.pseudonym
        for one in (roster.acting_for(paper.site) if paper.site else roster).people
        if role in one.roles and one.pseudonym != paper.requester
    ]
    if role not in found.roles:
        held = ", ".join(f"{label('roles', one).en} ({one})" if known("roles", one) else one for one in found.roles)
        raise Refused(
            "ROLE_NOT_HELD",
            f"'{person}' does not hold the role '{role[:40]}'",
            f"by the roster '{person}' signs as {held or 'nothing'}; "
            f"in the role {role[:40]} this paper is signed by {' or '.join(may) or 'nobody in the roster'}",
        )
    # 3. for the site whose paper it is
    if paper.site and paper.site not in found.acts_for:
        raise Refused(
            "NOT_ACTING_FOR",
            f"'{person}' does not act for {paper.site}, whose policy this is",
            f"in the role {role} it is signed by {' or '.join(may) or 'nobody in the roster'}",
            site=paper.site,
        )
    # 4. not one's own request
    if person == paper.requester:
        raise Refused(
            "OWN_REQUEST", f"'{person}' asks for this study and cannot approve it", "somebody else of that role signs"
        )
    # 5. once, and in one role
    for pseudonym, signed_as in approved(paper, roster, now=now).people:
        if pseudonym == person and signed_as == role:
            raise Refused(
                "ALREADY_SIGNED",
                f"'{person}' has signed {paper.name} as it stands, as {role}",
                "nothing was added; `sekisho study status` says whose signature is missing",
            )
        if pseudonym == person:
            raise Refused(
                "ONE_PERSON_TWO_ROLES",
                f"'{person}' has signed {paper.name} as {signed_as} and cannot sign it as {role} as well",
                "one person counts in one role; signing in both would count in neither",
            )
    return found


def check_weights(paper: Paper) -> None:
    """Return if the base-model record is about the weights on this machine; other papers are about no weights.

    Raises:
        Refused: BASE_MODEL_DIFFERS. BadInputError: the codes of ``intake``.
    """
    if isinstance(paper.content, BaseModelRecord):
        here = inspect(locate(read_study(paper.folder).base_model, paper.folder)).digest
        if here != paper.content.digest:
            raise Refused(
                "BASE_MODEL_DIFFERS",
                "the base model on this machine is not the one that the record is about",
                f"the record names the weights {paper.content.digest}; here they are {here}",
            )


def add_approval(
    paper: Paper, roster: Roster, *, signer: Person, role: str, key: Signer, now: datetime
) -> Envelope:
    """Sign and write the signature beside the paper; it holds until the roster ends.

    Raises:
        Refused: DEMO_KEY_REFUSED, KEY_NOT_IN_ROSTER, FILE_CHANGED, SIGNATURE_NOT_COUNTED.
        BadInputError: SIGNATURES_UNWRITABLE.
    """
    # 1. this person's own key
    if key.demo and not roster.demo:
        raise Refused("DEMO_KEY_REFUSED", "a demo key signs under a demo roster only", "make a key of your own")
    if key.public not in signer.keys:
        raise Refused(
            "KEY_NOT_IN_ROSTER",
            f"this key is not one that the roster lists for '{signer.pseudonym}'",
            "use the key whose public half the roster holds; a new key needs a roster that every site signs anew",
        )
    # 2. the file is still what was shown
    check_same(paper.path, paper.bytes_digest, open_paper(paper.path).bytes_digest)
    statement = approval_statement(
        roster,
        role=role,
        subjects=(
            Subject(paper.path.name, paper.bytes_digest),
            Subject(f"{paper.path.name} {CANONICAL}", paper.canonical_digest),
        ),
        predicate_type=paper.predicate,
        issued=now,
        expires=roster.expires,
    )
    envelope = sign_statement(statement, [key])
    # 3. it counts by the rule that sites use
    counted = approved(paper, roster, now=now, more=(envelope,))
    if (signer.pseudonym, role) not in counted.people:
        reasons = {one.code for one in counted.ignored if one.key_id == key.public.key_id}
        raise Refused(
            "SIGNATURE_NOT_COUNTED",
            f"the signature would not count ({', '.join(sorted(reasons)) or 'unknown'}); nothing was written",
            "an earlier no of the same person, or a clock that is behind, stands in its way",
        )
    append_signature(paper.path, paper.name, envelope)
    return envelope


def open_roster(study_folder: Path, *, now: datetime) -> tuple[Roster, tuple[str, ...]]:
    """The roster as it stands, signed or not, and the sites that have signed it. Raises coded errors."""
    path = study_folder / ROSTER
    roster = Roster.parse(read_file(path), ROSTER)
    roster.check_valid(now)
    statement = roster_statement(roster, file=ROSTER).to_bytes()
    signed = [
        site.id
        for site in roster.sites
        if any(
            envelope.payload == statement and verified_keys(envelope, [site.key])
            for envelope in signatures_of(path, ROSTER)
        )
    ]
    return roster, tuple(signed)


def check_site(roster: Roster, signed: tuple[str, ...], site: str) -> None:
    """Return if ``site`` is one that has not signed the roster yet. Raises ``Refused``."""
    sites = [party.id for party in roster.sites]
    if site not in sites:
        raise Refused(
            "NOT_A_SITE", f"the roster has no site '{site[:40]}'", f"its sites are {', '.join(sites)}; each signs it"
        )
    if site in signed:
        raise Refused(
            "ALREADY_SIGNED",
            f"'{site}' has signed the roster as it stands",
            "nothing was added; `sekisho study status` says whose signature is missing",
            site=site,
        )


def add_acceptance(study_folder: Path, roster: Roster, *, site: str, key: SigningKey) -> None:
    """Sign the roster for a site. Raises ``Refused`` KEY_NOT_IN_ROSTER, DEMO_KEY_REFUSED, FILE_CHANGED."""
    roster.check_own_key(site, key)
    path = study_folder / ROSTER
    check_same(path, roster.fingerprint, Roster.parse(read_file(path), ROSTER).fingerprint)
    append_signature(path, ROSTER, sign_statement(roster_statement(roster, file=ROSTER), [key]))


def check_same(path: Path, shown: str, now: str) -> None:
    """Return if both digests are the same. Raises ``Refused`` FILE_CHANGED."""
    if shown != now:
        raise Refused(
            "FILE_CHANGED",
            f"{path.name} was changed since it was shown; nothing was signed",
            "read it again as it is now, then sign",
        )


def append_signature(path: Path, name: str, envelope: Envelope) -> None:
    """Add one line to the signatures beside a file, whole or not at all."""
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
