"""The roster: which parties and people there are, with which keys and roles, and how many must sign.

For: answering "whose key is this, and what may its owner do?" from one YAML document that every site accepted.
Not for: who accepted it (``succession``), counting approvals (``approvals``), stopping (``stop``), or real names:
people appear as pseudonyms.

Order of calls: ``Roster.parse(data, name)`` -> ``verify_first_roster(roster, envelopes, now=...)``, or for a later
version ``succession.verify_roster``  -> the values below. A parsed roster that was not verified is an unsigned piece of
paper.

Source of the model: The Update Framework, root role (keys, roles, thresholds, expiry); the difference is that
thresholds count distinct people and distinct key bytes, never key ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from ..canonical import digest_bytes
from ..errors import BadSignatureError, Refused
from .envelope import PREDICATES, Envelope, Statement, Subject, verified_keys, verify_envelope
from .keys import PublicKey, SigningKey
from .members import KNOWN_ROLES, REQUIRED_ROLES, Party, PartyKind, Person
from .roster_document import read_roster_document

__all__ = [
    "KNOWN_ROLES", "REQUIRED_ROLES", "Party", "PartyKind", "Person", "Roster", "not_signed", "roster_statement",
    "sites_that_signed", "unsigned", "verify_first_roster",
]


@dataclass(frozen=True)
class Roster:
    """One version of the roster. ``roles`` maps a role to the number of people who must sign in it.

    ``supersedes`` is the fingerprint of the version before, in a roster that is handed on by people's signatures.
    ``former`` are the people of the versions before it, where those were read: they sign nothing any more, but what
    they once signed is not a stranger's.
    """

    version: int
    demo: bool
    created: datetime
    expires: datetime
    parties: tuple[Party, ...]
    people: tuple[Person, ...]
    roles: Mapping[str, int]
    fingerprint: str
    supersedes: str | None = None
    former: tuple[Person, ...] = ()

    @classmethod
    def parse(cls, data: bytes, name: str) -> Roster:
        """Read and check a roster document.

        Raises:
            BadDocumentError: with line and column: the codes of ``document``, and ROSTER_ID_TWICE,
                ROSTER_KEY_TWICE, ROSTER_KEY_MALFORMED, ROSTER_KEY_NOT_MADE, ROSTER_DEMO_KEY, ROSTER_ROLE_UNKNOWN,
                ROSTER_ROLE_TWICE, ROSTER_THRESHOLD_MISSING, ROSTER_THRESHOLD_UNREACHABLE, ROSTER_PARTIES, ROSTER_TIMES,
                ROSTER_SUPERSEDES.
        """
        read = read_roster_document(data, name)
        return cls(
            read.version, read.demo, read.created, read.expires, read.parties, read.people,
            roles=MappingProxyType(read.roles), fingerprint=digest_bytes(data), supersedes=read.supersedes,
        )

    @property
    def sites(self) -> tuple[Party, ...]:
        """The parties of kind site, in the document's order."""
        return tuple(party for party in self.parties if party.kind is PartyKind.SITE)

    @property
    def coordinator(self) -> Party:
        """The one party that coordinates; a roster with none, or with two, is not read."""
        return next(party for party in self.parties if party.kind is PartyKind.COORDINATOR)

    def party(self, party_id: str) -> Party:
        """The party of this id.

        Raises:
            Refused: PARTY_UNKNOWN.
        """
        for party in self.parties:
            if party.id == party_id:
                return party
        raise Refused("PARTY_UNKNOWN", "a party is not in the roster", "add it, or correct its id")

    def acting_for(self, site: str) -> Roster:
        """This roster with only those people who may sign the own papers of ``site``; nobody may by silence."""
        return replace(self, people=tuple(person for person in self.people if site in person.acts_for))

    def keys_by_id(self) -> dict[str, PublicKey]:
        """Every key of every party and person, under its computed id."""
        return {key.key_id: key for key in self._all_keys()}

    def person_of(self, key_id: str) -> Person | None:
        """The person who owns a key, if a person does."""
        return next((p for p in self.people if any(key.key_id == key_id for key in p.keys)), None)

    def party_of(self, key_id: str) -> Party | None:
        """The party that owns a key, if a party does."""
        return next((party for party in self.parties if party.key.key_id == key_id), None)

    def distinct_controllers(self, party_ids: Iterable[str]) -> int:
        """How many legal persons stand behind these parties: one controller with three sites is one.

        Raises:
            Refused: PARTY_UNKNOWN.
        """
        return len({self.party(party_id).controller for party_id in party_ids})

    def check_valid(self, now: datetime) -> None:
        """Return if ``now`` lies between creation and expiry.

        Raises:
            Refused: ROSTER_NOT_YET_VALID, ROSTER_EXPIRED.
        """
        if now < self.created:
            raise Refused("ROSTER_NOT_YET_VALID", "the roster is dated in the future", "check the clock")
        if now >= self.expires:
            raise Refused("ROSTER_EXPIRED", "the roster has expired", "have every site sign a new roster")

    def check_own_key(self, party_id: str, key: SigningKey) -> None:
        """Return if ``key`` is the one the roster lists for this party, and its kind is allowed here.

        Raises:
            Refused: PARTY_UNKNOWN, KEY_NOT_IN_ROSTER, DEMO_KEY_REFUSED (a published key, a real roster).
        """
        if key.demo and not self.demo:
            raise Refused(
                "DEMO_KEY_REFUSED", "a demo key was offered under a roster that is not a demo",
                "make a key of your own: a demo key is known to everyone",
            )
        if self.party(party_id).key != key.public:
            raise Refused(
                "KEY_NOT_IN_ROSTER", "a party's key file is not the key that the roster lists for it",
                "use the key whose public half the roster holds",
            )

    def _all_keys(self) -> list[PublicKey]:
        return [party.key for party in self.parties] + [key for person in self.people for key in person.keys]


def roster_statement(roster: Roster, *, file: str) -> Statement:
    """What a site signs when it accepts this roster; ``file`` is the name shown to people."""
    return Statement((Subject(file, roster.fingerprint),), PREDICATES["roster"], {"version": roster.version})


def verify_first_roster(roster: Roster, envelopes: Sequence[Envelope], *, now: datetime) -> None:
    """Return if the roster is in force and every site of it has signed it.

    Raises:
        Refused: ROSTER_NOT_YET_VALID, ROSTER_EXPIRED.
        BadSignatureError: ROSTER_UNSIGNED, naming the parties whose signature is missing.
    """
    # 1. It is in force.
    roster.check_valid(now)
    # 2. Every site, not a threshold of them: each must know who else is in.
    missing = unsigned(roster, envelopes)
    if missing:
        raise not_signed(missing)


def not_signed(sites: Sequence[str]) -> BadSignatureError:
    """The refusal of a roster that these sites have not signed."""
    return BadSignatureError(
        "ROSTER_UNSIGNED", f"the roster is not signed by {', '.join(sites)}",
        "each site listed signs the roster file as it is now (`sekisho site sign-roster SITE`)",
    )


def unsigned(roster: Roster, envelopes: Sequence[Envelope]) -> tuple[str, ...]:
    """The sites that have not signed the roster themselves."""
    signed = sites_that_signed(roster, envelopes)
    return tuple(site.id for site in roster.sites if site.id not in signed)


def sites_that_signed(roster: Roster, envelopes: Sequence[Envelope]) -> frozenset[str]:
    """The sites whose signature over exactly this roster is among ``envelopes``."""
    keys = {site.key.key_id: site.key for site in roster.sites}
    signed: set[str] = set()
    for envelope in envelopes:
        if not verified_keys(envelope, keys.values()):
            continue  # somebody else's signature; it neither helps nor harms
        statement, key_ids = verify_envelope(envelope, keys)
        # only statements of the roster kind that are about exactly these bytes
        if (
            statement.predicate_type == PREDICATES["roster"]
            and statement.digests == {roster.fingerprint}
            and statement.predicate == {"version": roster.version}
        ):
            signed |= key_ids
    return frozenset(site.id for site in roster.sites if site.key.key_id in signed)
