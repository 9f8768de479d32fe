"""Which approvals count: one pure rule from signed statements to numbers of distinct people in each role.

For: approvals of policies, studies and releases, and of lifting a stop. Not for: whether the numbers suffice,
which a policy's clause or ``Approved.reaches`` decides; nor reading files.

Order of calls: a signer signs ``approval_statement(...)``; a verifier calls ``approvals(roster, ...)``, or
``once_approved(roster, ...)`` of a version that another has replaced.

An approval counts if all of this holds, and otherwise stands in ``ignored`` with its reason: an in-toto
statement of the asked kind, signed by a key that exactly one person of the roster owns, about exactly the
asked digests, given after seeing exactly what the caller would show (``Shown``, for policies), in a role that
the person holds, issued and not expired, under this roster or an earlier version of it, not by the requester,
not withdrawn. A no is heard under any roster and whatever its dates: doubt is no approval. People are counted,
not keys and not envelopes; a person who signs in two roles counts in neither, because nobody can tell which was
meant. Two pseudonyms of one human being look like two people: that is for those who sign the roster to prevent.

The predicate: ``{decision, role, issued, expires, roster: {version, fingerprint}}``, and in an approval of a
policy ``shown: {renderer, en, ja, comparison}``. A no needs no ``shown`` and is heard with any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from ..canonical import is_digest
from ..errors import BadSignatureError
from .envelope import Envelope, Statement, Subject, read_time, verify_envelope, write_time
from .roster import Person, Roster

APPROVE = "approve"
REVOKE = "revoke"    # the same person takes an approval back
REJECT = "reject"    # the same person says no; a later approval may follow
_FIELDS = {"decision", "role", "issued", "expires", "roster"}
_SHOWN_FIELDS = {"renderer", "en", "ja", "comparison"}


@dataclass(frozen=True)
class Shown:
    """What was on a signer's screen: digests of a paper's two renderings, and of the comparison with the version before
    (None where there is none). ``renderer`` names the words and the layout; policy/signoff.py makes these values."""

    renderer: str
    en: str
    ja: str
    comparison: str | None

    def to_json(self) -> dict[str, str | None]:
        """As it stands in a predicate."""
        return {"renderer": self.renderer, "en": self.en, "ja": self.ja, "comparison": self.comparison}


@dataclass(frozen=True)
class Ignored:
    """An envelope's statement that did not count for one signer (key id, empty where nobody known signed)."""

    envelope: int
    key_id: str
    code: str


@dataclass(frozen=True)
class Approved:
    """How many people approved in each role of the roster; ``people`` are (pseudonym, role), sorted."""

    by_role: Mapping[str, int]
    people: tuple[tuple[str, str], ...]
    ignored: tuple[Ignored, ...]
    requester_excluded: bool

    def missing(self, thresholds: Mapping[str, int]) -> tuple[str, ...]:
        """The roles of ``thresholds`` in which too few people approved."""
        return tuple(role for role, number in thresholds.items() if self.by_role.get(role, 0) < number)

    def reaches(self, thresholds: Mapping[str, int]) -> bool:
        """Whether every role has as many approvals as asked; asking for nobody is never reached."""
        return any(thresholds.values()) and not self.missing(thresholds)


@dataclass(frozen=True)
class _Claim:
    """What a statement says, read strictly."""

    decision: str
    role: str
    issued: datetime
    expires: datetime
    roster_version: int
    roster_fingerprint: str
    shown: Shown | None


@dataclass(frozen=True)
class _Vote:
    """A claim as the word of one person."""

    envelope: int
    key_id: str
    person: Person
    claim: _Claim


def approval_statement(
    roster: Roster,
    *,
    role: str,
    subjects: Sequence[Subject],
    predicate_type: str,
    issued: datetime,
    expires: datetime,
    decision: str = APPROVE,
    shown: Shown | None = None,
) -> Statement:
    """What a person signs to approve (or reject, or revoke) exactly ``subjects``, in one role."""
    predicate = {
        "decision": decision,
        "role": role,
        "issued": write_time(issued),
        "expires": write_time(expires),
        "roster": {"version": roster.version, "fingerprint": roster.fingerprint},
    }
    if shown is not None:
        predicate["shown"] = shown.to_json()
    return Statement(tuple(subjects), predicate_type, predicate)


def approvals(
    roster: Roster,
    envelopes: Sequence[Envelope],
    *,
    subjects: Set[str],
    predicate_type: str,
    now: datetime,
    requester: str | None,
    after: datetime | None = None,
    shown: Shown | None = None,
) -> Approved:
    """Count the people who approved ``subjects`` (the exact set of ``sha256:`` digests), by role.

    ``requester`` is the pseudonym of whoever asks, who never counts; ``after`` leaves out approvals that were
    issued at or before that moment; ``shown`` is what the caller itself would show, None for a kind of paper of
    which no rendering is bound. Nothing is raised: what does not count is listed with its reason.
    """
    if not roster.created <= now < roster.expires:
        expired = tuple(Ignored(number, "", "ROSTER_EXPIRED") for number, _ in enumerate(envelopes))
        return _approved(roster, set(), expired, requester)
    about = _About(subjects, predicate_type, shown, requester, after)
    return _heard(roster, envelopes, about, now)


def once_approved(
    roster: Roster, envelopes: Sequence[Envelope], *, subjects: Set[str], predicate_type: str, shown: Shown | None
) -> Approved:
    """Count the people who approved ``subjects`` at any time: of a version of a policy that another has replaced, or
    of a study that has ended.

    Dates end nothing here, neither an approval's nor the roster's, and ``shown`` is not held against people who saw
    it under another renderer. Everything else counts as in ``approvals``: who took the approval back never gave it.
    """
    return _heard(roster, envelopes, _About(subjects, predicate_type, shown, None, None), None)


@dataclass(frozen=True)
class _About:
    """What is asked of every envelope."""

    subjects: Set[str]
    predicate_type: str
    shown: Shown | None
    requester: str | None
    after: datetime | None


def _heard(roster: Roster, envelopes: Sequence[Envelope], about: _About, now: datetime | None) -> Approved:
    """Whose word counts; ``now`` is None where no date ends it."""
    ignored: list[Ignored] = []
    votes: list[_Vote] = []
    for number, envelope in enumerate(envelopes):
        try:
            claim, signers = _claim(roster, envelope, about.subjects, about.predicate_type)
            _check_shown(claim, about.shown, once=now is None)
        except BadSignatureError as error:
            ignored.append(Ignored(number, "", error.code))
            continue
        for key_id in sorted(signers):
            try:
                person = _person(roster, key_id, claim.role)
                _check_own(person, about)
                if now is not None:
                    _check_timely(claim, now, about.after)
                votes.append(_Vote(number, key_id, person, claim))
            except BadSignatureError as error:
                ignored.append(Ignored(number, key_id, error.code))
    people, disputed = _count(votes)
    return _approved(roster, people, (*ignored, *disputed), about.requester)


def _approved(
    roster: Roster, people: set[tuple[str, str]], ignored: Sequence[Ignored], requester: str | None
) -> Approved:
    counted = Counter(role for _, role in people)
    return Approved(
        by_role=MappingProxyType({role: counted[role] for role in roster.roles}),
        people=tuple(sorted(people)),
        ignored=tuple(sorted(ignored, key=lambda item: (item.envelope, item.key_id, item.code))),
        requester_excluded=requester is not None,
    )


def _claim(
    roster: Roster, envelope: Envelope, subjects: Set[str], predicate_type: str
) -> tuple[_Claim, frozenset[str]]:
    """What one envelope says, and the ids of the people's keys that signed it."""
    keys = {key.key_id: key for person in roster.people for key in person.keys}
    # 1. A statement, signed by at least one person of the roster.
    statement, signers = verify_envelope(envelope, keys)
    # 2. Of the kind that was asked for: an approval of a policy approves no study.
    if statement.predicate_type != predicate_type:
        raise _ignored("PREDICATE_TYPE_WRONG")
    claim = _read(statement.predicate)
    # 3. About exactly what was asked for; a no is heard wherever it overlaps.
    exact = statement.digests == subjects
    if not exact and (claim.decision == APPROVE or not statement.digests & subjects):
        raise _ignored("SUBJECT_OTHER")
    # 4. A yes under this roster or an earlier one: a later one means that ours is out of date. A no under any.
    if claim.decision == APPROVE and claim.roster_version > roster.version:
        raise _ignored("ROSTER_OUT_OF_DATE")
    twin = claim.roster_version == roster.version and claim.roster_fingerprint != roster.fingerprint
    if claim.decision == APPROVE and twin:
        raise _ignored("ROSTER_OTHER")
    return claim, signers


def _check_shown(claim: _Claim, shown: Shown | None, *, once: bool) -> None:
    # 5. After seeing what the caller would show; a no is heard whatever was on the screen.
    if claim.decision != APPROVE or claim.shown == shown:
        return
    if claim.shown is not None and shown is not None and claim.shown.renderer != shown.renderer:
        if once:
            return
        raise _ignored("RENDERER_OTHER")
    raise _ignored("SHOWN_OTHER")


def _person(roster: Roster, key_id: str, role: str) -> Person:
    """The one owner of a key, who holds the role."""
    # 6. By one person: a key that two of them list, or that a party uses too, proves neither.
    owners = [person for person in roster.people if any(key.key_id == key_id for key in person.keys)]
    if len(owners) != 1 or roster.party_of(key_id) is not None:
        raise _ignored("KEY_SHARED")
    # 7. In a role that the roster knows and the person holds.
    if role not in roster.roles or role not in owners[0].roles:
        raise _ignored("ROLE_NOT_HELD")
    return owners[0]


def _check_own(person: Person, about: _About) -> None:
    # 8. Not about one's own request.
    if person.pseudonym == about.requester:
        raise _ignored("OWN_REQUEST")


def _check_timely(claim: _Claim, now: datetime, after: datetime | None) -> None:
    # 9. In its time. A no counts whatever its dates: doubt is no approval.
    if claim.decision != APPROVE:
        return
    if claim.issued > now:
        raise _ignored("NOT_YET_ISSUED")
    if claim.expires <= now:
        raise _ignored("APPROVAL_EXPIRED")
    if after is not None and claim.issued <= after:
        raise _ignored("ISSUED_TOO_EARLY")


def _count(votes: Sequence[_Vote]) -> tuple[set[tuple[str, str]], list[Ignored]]:
    """The people (with role) whose latest word is yes in one role, and the votes that this leaves out."""
    people: set[tuple[str, str]] = set()
    ignored: list[Ignored] = []
    for pseudonym in {vote.person.pseudonym for vote in votes}:
        own = [vote for vote in votes if vote.person.pseudonym == pseudonym]
        refusals = [vote.claim.issued for vote in own if vote.claim.decision != APPROVE]
        standing = []
        for vote in own:
            if vote.claim.decision != APPROVE:
                ignored.append(Ignored(vote.envelope, vote.key_id, "NOT_AN_APPROVAL"))
            elif refusals and vote.claim.issued <= max(refusals):
                ignored.append(Ignored(vote.envelope, vote.key_id, "WITHDRAWN"))
            else:
                standing.append(vote)
        roles = {vote.claim.role for vote in standing}
        if len(roles) == 1:
            people.add((pseudonym, roles.pop()))
        else:
            ignored.extend(Ignored(v.envelope, v.key_id, "ONE_PERSON_TWO_ROLES") for v in standing)
    return people, ignored


def _read(predicate: Mapping[str, Any]) -> _Claim:
    under = predicate.get("roster")
    if set(predicate) - {"shown"} != _FIELDS or not isinstance(under, dict) or set(under) != {"version", "fingerprint"}:
        raise _ignored("APPROVAL_MALFORMED")
    decision, role, version, fingerprint = (
        predicate["decision"], predicate["role"], under["version"], under["fingerprint"]
    )
    if decision not in (APPROVE, REJECT, REVOKE) or not isinstance(role, str):
        raise _ignored("APPROVAL_MALFORMED")
    if type(version) is not int or not isinstance(fingerprint, str):
        raise _ignored("APPROVAL_MALFORMED")
    issued, expires = read_time(predicate["issued"]), read_time(predicate["expires"])
    shown = _read_shown(predicate["shown"]) if decision == APPROVE and "shown" in predicate else None
    return _Claim(decision, role, issued, expires, version, fingerprint, shown)


def _read_shown(value: object) -> Shown:
    if not isinstance(value, dict) or set(value) != _SHOWN_FIELDS or not isinstance(value["renderer"], str):
        raise _ignored("APPROVAL_MALFORMED")
    digests = (value["en"], value["ja"], *(() if value["comparison"] is None else (value["comparison"],)))
    if not all(map(is_digest, digests)):
        raise _ignored("APPROVAL_MALFORMED")
    return Shown(**value)


def _ignored(code: str) -> BadSignatureError:
    """Carries a reason to ``approvals``, which lists it; nobody else sees this error."""
    return BadSignatureError(code, "an approval does not count")
