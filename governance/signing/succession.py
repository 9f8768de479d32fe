"""Whether a roster is accepted: signed by every site, or handed on from one that was.

For: deciding, from a roster and those before it, that these are the people and parties to believe. Not for: reading
files, or remembering which roster a site accepted last (core/site/memory.py).

Order of calls: people sign ``succession_statement(old, new, ...)``, new sites ``roster_statement(new)``; a reader calls
``verify_roster(roster, envelopes, earlier, now=...)``. ``succession_missing`` says who has not signed yet.

A first roster is signed by every site in it. Version N+1 names N by fingerprint and is signed by the people of N and
by those of N+1: legal and it at the thresholds of each, counted apart, by distinct people with distinct keys. So nobody
can lower a threshold by the roster that needs it, or come in by their own word alone. A site that is new, or has a new
key, signs N+1 itself. Earlier rosters may have expired since: what counts is that they were in force when they were
signed over. The last one must be in force now. Any version may instead be signed by every site, as a fresh start.

Source of the model: The Update Framework, 5.3 (root of version N+1 is signed by the thresholds of N and N+1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..errors import BadSignatureError, Refused
from .approvals import Approved, approval_statement, approvals
from .envelope import PREDICATES, Envelope, Statement, Subject
from .roster import REQUIRED_ROLES, Party, Roster, not_signed, sites_that_signed, unsigned

MAX_CHAIN = 200   # versions since the last fresh start; one a month for sixteen years
INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class SignedRoster:
    """A roster with the signatures that lie beside it; nothing is verified."""

    roster: Roster
    envelopes: tuple[Envelope, ...]


@dataclass(frozen=True)
class Missing:
    """Who has not signed a succession: (version of the roster whose people sign, role), and new sites."""

    people: tuple[tuple[int, str], ...]
    sites: tuple[str, ...]


def succession_statement(old: Roster, new: Roster, *, role: str, issued: datetime, file: str) -> Statement:
    """What a person of ``old`` or ``new`` signs to put ``new`` in the place of ``old``."""
    return approval_statement(
        old,
        role=role,
        subjects=(Subject(file, new.fingerprint),),
        predicate_type=PREDICATES["roster"],
        issued=issued,
        expires=old.expires,
    )


def verify_roster(
    roster: Roster, envelopes: Sequence[Envelope], earlier: Sequence[SignedRoster], *, now: datetime
) -> None:
    """Return if the roster is in force and accepted by every site or by succession from one that was.

    Raises:
        Refused: ROSTER_NOT_YET_VALID, ROSTER_EXPIRED, ROSTER_CHAIN_MISSING, ROSTER_CHAIN_BROKEN, ROSTER_KEY_MOVED.
        BadSignatureError: ROSTER_UNSIGNED, ROSTER_SUCCESSION_UNSIGNED, ROSTER_NEW_SITE_UNSIGNED.
    """
    # 1. It is in force.
    roster.check_valid(now)
    by_fingerprint = {one.roster.fingerprint: one for one in earlier}
    link = SignedRoster(roster, tuple(envelopes))
    owners = _owners(roster)
    for _ in range(MAX_CHAIN):
        # 2. The chain ends at a roster that every site of it signed.
        absent = unsigned(link.roster, link.envelopes)
        if not absent:
            return
        if link.roster.supersedes is None:
            raise not_signed(absent)
        # 3. Every other names the one before it, which is here, and one version lower.
        before = by_fingerprint.get(link.roster.supersedes)
        if before is None:
            raise Refused(
                "ROSTER_CHAIN_MISSING",
                f"version {link.roster.version} of the roster names an earlier one that is not here",
                f"put it into rosters/{link.roster.version - 1}.yaml, unchanged, with its signatures beside it",
            )
        _check_link(before.roster, link.roster)
        # 4. A key that any later version gives to somebody has never been another's.
        _check_owners(before.roster, owners)
        owners |= _owners(before.roster)
        # 5. It is signed by the people of both, and by the sites that are new in it.
        _check_signed(before.roster, link, now)
        link = before
    raise Refused("ROSTER_CHAIN_BROKEN", "the chain of rosters is too long", "have every site sign this one")


def continues(chain: Sequence[SignedRoster], site: Party, version: int, fingerprint: str) -> bool:
    """Whether ``chain`` (latest first) leads to what ``site`` accepted: ``fingerprint`` as ``version``.

    A later version that the site signed with the same key does too: it took that one for a fresh start. Without this,
    people who were taken out could hand on, once more, the last version that lists them.
    """
    for link in chain:
        if link.roster.version <= version:
            return link.roster.fingerprint == fingerprint
        if site in link.roster.parties and site.id in sites_that_signed(link.roster, link.envelopes):
            return True
    return False


def succession_missing(old: Roster, new: SignedRoster, *, now: datetime) -> Missing:
    """Who must still sign before ``new`` follows ``old``."""
    people = [
        (roster.version, role)
        for roster in (old, new.roster)
        for role in succession_approved(roster, old, new, now=now).missing(_thresholds(roster))
    ]
    signed = sites_that_signed(new.roster, new.envelopes)
    return Missing(tuple(people), tuple(site for site in _new_sites(old, new.roster) if site not in signed))


def succession_approved(roster: Roster, old: Roster, new: SignedRoster, *, now: datetime) -> Approved:
    """Who of ``roster`` (``old``, or that of ``new``) signed, counted as approvals are.

    Judged at the last instant at which both were in force, since either may have expired after it had done its work.
    """
    moment = min(now, old.expires - INSTANT, new.roster.expires - INSTANT)
    return approvals(
        roster,
        new.envelopes,
        subjects=frozenset({new.roster.fingerprint}),
        predicate_type=PREDICATES["roster"],
        now=moment,
        requester=None,
    )


def _check_link(old: Roster, new: Roster) -> None:
    if old.version != new.version - 1 or old.demo != new.demo:
        raise Refused(
            "ROSTER_CHAIN_BROKEN",
            f"version {new.version} of the roster cannot follow version {old.version}: versions go up by one, "
            "and a demo stays a demo",
            "have every site sign it as a fresh start, or correct the version",
        )


def _check_owners(old: Roster, later: Mapping[str, tuple[str, str]]) -> None:
    """``later`` are the owners of all keys since: what one owner approved must not become the word of the next."""
    moved = sorted({name for key, (kind, name) in _owners(old).items() if later.get(key, (kind, name)) != (kind, name)})
    if moved:
        raise Refused(
            "ROSTER_KEY_MOVED",
            f"a key of {', '.join(moved)} in version {old.version} belongs to somebody else in a later one",
            "a key has one owner for ever: make a new one",
        )


def _check_signed(old: Roster, new: SignedRoster, now: datetime) -> None:
    missing = succession_missing(old, new, now=now)
    if missing.people:
        told = ", ".join(f"{role} of version {version}" for version, role in missing.people)
        raise BadSignatureError(
            "ROSTER_SUCCESSION_UNSIGNED", f"version {new.roster.version} of the roster is not signed by: {told}",
            "each signs it as it is now (`sekisho legal sign roster.yaml --role ROLE --as NAME`), while the earlier "
            "version is in force; or every site signs it (`sekisho site sign-roster SITE`)",
        )
    if missing.sites:
        raise BadSignatureError(
            "ROSTER_NEW_SITE_UNSIGNED",
            f"version {new.roster.version} of the roster is not signed by {', '.join(missing.sites)}",
            "a site that is new in it, or has a new key, signs it itself (`sekisho site sign-roster SITE`)",
        )


def _new_sites(old: Roster, new: Roster) -> tuple[str, ...]:
    known = {(site.id, site.key) for site in old.sites}
    return tuple(site.id for site in new.sites if (site.id, site.key) not in known)


def _thresholds(roster: Roster) -> dict[str, int]:
    return {role: roster.roles[role] for role in REQUIRED_ROLES}


def _owners(roster: Roster) -> dict[str, tuple[str, str]]:
    """Who owns each key: a person and a party of one name are two owners."""
    owners = {party.key.key_id: (str(party.kind), party.id) for party in roster.parties}
    return owners | {key.key_id: ("person", person.pseudonym) for person in roster.people for key in person.keys}
