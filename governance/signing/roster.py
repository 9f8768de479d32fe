"""The roster: which parties and people there are, with which keys and roles, and how many must sign.

For: answering "whose key is this, and what may its owner do?" from one YAML document that every site signed.
Not for: counting approvals (``approvals``), stopping (``stop``), or real names: people appear as pseudonyms.

Order of calls: ``Roster.parse(data, name)`` -> ``verify_first_roster(roster, envelopes, now=...)`` -> the
values below. A parsed roster that was not verified is an unsigned piece of paper.

Succession (version N+1 signed by the thresholds of N and N+1) is not here yet: until then every roster is
accepted the way the first one is, by every site's signature, which is stronger and less convenient.

Source of the model: The Update Framework, root role (keys, roles, thresholds, expiry); the difference is that
thresholds count distinct people and distinct key bytes, never key ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from ..canonical import digest_bytes
from ..document import Document, DocumentModel, Path, read_document, validate_model
from ..errors import BadSignatureError, Refused
from ..language import Text
from .envelope import PREDICATES, Envelope, Statement, Subject, read_time, verified_keys, verify_envelope
from .keys import NO_KEY_YET, PublicKey, SigningKey, demo_key

KNOWN_ROLES = frozenset({"legal", "it", "business", "compliance", "data-protection", "ethics", "risk", "works-council"})
REQUIRED_ROLES = ("legal", "it")   # nothing touches data before both have approved
MAX_PARTIES = 128                  # 95 sites is the ciphertext's limit; one coordinator
MAX_PEOPLE = 512
MAX_THRESHOLD = 16

PartyId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]


class PartyKind(StrEnum):
    """What a party is to a run."""

    SITE = "site"
    COORDINATOR = "coordinator"


@dataclass(frozen=True)
class Party:
    """An organisation's installation; ``controller`` is the legal person behind it, and may have several."""

    id: str
    name: Text
    kind: PartyKind
    controller: str
    country: str
    key: PublicKey
    demo: bool


@dataclass(frozen=True)
class Person:
    """Someone who signs, under a pseudonym; ``acts_for`` names the sites whose own papers that person may sign."""

    pseudonym: str
    roles: tuple[str, ...]
    keys: tuple[PublicKey, ...]
    demo: bool
    acts_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class Roster:
    """One version of the roster. ``roles`` maps a role to the number of people who must sign in it."""

    version: int
    demo: bool
    created: datetime
    expires: datetime
    parties: tuple[Party, ...]
    people: tuple[Person, ...]
    roles: Mapping[str, int]
    fingerprint: str

    @classmethod
    def parse(cls, data: bytes, name: str) -> Roster:
        """Read and check a roster document.

        Raises:
            BadDocumentError: with line and column: the codes of ``document``, and ROSTER_ID_TWICE,
                ROSTER_KEY_TWICE, ROSTER_KEY_MALFORMED, ROSTER_KEY_NOT_MADE, ROSTER_DEMO_KEY, ROSTER_ROLE_UNKNOWN,
                ROSTER_ROLE_TWICE, ROSTER_THRESHOLD_MISSING, ROSTER_THRESHOLD_UNREACHABLE, ROSTER_PARTIES, ROSTER_TIMES.
        """
        document = read_document(data, name=name)
        content = validate_model(document, _RosterModel)
        reader = _Reader(document, content)
        return cls(
            content.version, content.demo, reader.created, reader.expires, reader.parties, reader.people,
            roles=MappingProxyType(dict(content.roles)), fingerprint=digest_bytes(data),
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
    # 2. Count only statements of the roster kind that are about exactly these bytes.
    keys = {site.key.key_id: site.key for site in roster.sites}
    signed: set[str] = set()
    for envelope in envelopes:
        if not verified_keys(envelope, keys.values()):
            continue  # somebody else's signature file; it neither helps nor harms
        statement, key_ids = verify_envelope(envelope, keys)
        if (
            statement.predicate_type == PREDICATES["roster"]
            and statement.digests == {roster.fingerprint}
            and statement.predicate == {"version": roster.version}
        ):
            signed |= key_ids
    # 3. Every site, not a threshold of them: each must know who else is in.
    missing = [site.id for site in roster.sites if site.key.key_id not in signed]
    if missing:
        raise BadSignatureError(
            "ROSTER_UNSIGNED", f"the roster is not signed by {', '.join(missing)}",
            "each site listed signs the roster file as it is now (`sekisho site sign-roster SITE`)",
        )


class _PartyModel(DocumentModel):
    id: PartyId
    name: Text
    kind: Literal["site", "coordinator"]
    controller: PartyId
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
    key: str
    demo: bool = False


class _PersonModel(DocumentModel):
    pseudonym: PartyId
    roles: Annotated[list[str], Field(max_length=8)]
    keys: Annotated[list[str], Field(max_length=8)]
    acts_for: Annotated[list[str], Field(max_length=MAX_PARTIES)] = Field(default_factory=list)
    demo: bool = False


class _RosterModel(DocumentModel):
    schema_: Annotated[Literal["sekisho-roster/1"], Field(alias="schema")]
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    demo: bool
    created: str
    expires: str
    parties: Annotated[list[_PartyModel], Field(min_length=2, max_length=MAX_PARTIES)]
    people: Annotated[list[_PersonModel], Field(min_length=1, max_length=MAX_PEOPLE)]
    roles: dict[str, Annotated[int, Field(ge=1, le=MAX_THRESHOLD)]]


class _Reader:
    """The checks that look across a roster's fields; each refusal has the place of what is wrong."""

    def __init__(self, document: Document, content: _RosterModel) -> None:
        self._content = content
        self._refuse = document.refuse
        self._ids: set[str] = set()
        self._keys: set[PublicKey] = set()
        self._published = self._demo_keys()
        self.created, self.expires = self._time("created"), self._time("expires")
        if self.created >= self.expires:
            self._refuse("ROSTER_TIMES", "the roster expires before it begins", "correct it", ("expires",))
        self.parties = tuple(self._party(index, item) for index, item in enumerate(content.parties))
        self.people = tuple(self._person(index, item) for index, item in enumerate(content.people))
        self._check_parties()
        self._check_thresholds()

    def _time(self, field: Literal["created", "expires"]) -> datetime:
        try:
            return read_time(getattr(self._content, field))
        except BadSignatureError as error:
            self._refuse("ROSTER_TIMES", error.sentence, error.hint, (field,))

    def _party(self, index: int, item: _PartyModel) -> Party:
        path = ("parties", index)
        self._claim_id(item.id, (*path, "id"), marked=item.demo)
        key = self._claim_key(item.key, (*path, "key"))
        kind = PartyKind(item.kind)
        return Party(item.id, item.name, kind, item.controller, item.country, key, self._content.demo)

    def _person(self, index: int, item: _PersonModel) -> Person:
        path = ("people", index)
        self._claim_id(item.pseudonym, (*path, "pseudonym"), marked=item.demo)
        for position, role in enumerate(item.roles):
            place = (*path, "roles", position)
            self._check_role(role, place)
            if role in item.roles[:position]:
                self._refuse("ROSTER_ROLE_TWICE", "a person has the same role twice", "list it once", place)
            if role not in self._content.roles:
                hint = "say under roles: how many must sign"
                self._refuse("ROSTER_THRESHOLD_MISSING", "a person's role has no threshold", hint, place)
        keys = tuple(self._claim_key(text, (*path, "keys", n)) for n, text in enumerate(item.keys))
        sites = {party.id for party in self.parties if party.kind is PartyKind.SITE}
        for position, site in enumerate(item.acts_for):
            if site not in sites:
                words = "a person acts for a site that is not listed", "list it"
                self._refuse("ROSTER_SITE_UNKNOWN", *words, (*path, "acts_for", position))
        return Person(item.pseudonym, tuple(item.roles), keys, self._content.demo, tuple(item.acts_for))

    def _claim_id(self, identifier: str, path: Path, *, marked: bool) -> None:
        if identifier in self._ids:
            self._refuse("ROSTER_ID_TWICE", "two entries have the same id", "give each its own", path)
        if marked and not self._content.demo:
            hint = "make keys of your own"
            self._refuse("ROSTER_DEMO_KEY", "an entry marked demo stands in a roster that is not a demo", hint, path)
        self._ids.add(identifier)

    def _claim_key(self, text: str, path: Path) -> PublicKey:
        try:
            key = PublicKey.from_text(text)
        except BadSignatureError as error:
            code = "ROSTER_KEY_NOT_MADE" if text == NO_KEY_YET else "ROSTER_KEY_MALFORMED"
            self._refuse(code, error.sentence, error.hint, path)
        if key in self._keys:
            self._refuse("ROSTER_KEY_TWICE", "one key stands in two places of the roster", "make another", path)
        if key in self._published:
            hint = "make keys of your own"
            self._refuse("ROSTER_DEMO_KEY", "a published demo key stands in a roster that is not a demo", hint, path)
        self._keys.add(key)
        return key

    def _check_role(self, role: str, path: Path) -> None:
        if role not in KNOWN_ROLES:
            known = ", ".join(sorted(KNOWN_ROLES))
            self._refuse("ROSTER_ROLE_UNKNOWN", "a role is unknown", f"use one of: {known}", path)

    def _demo_keys(self) -> frozenset[PublicKey]:
        """The keys that everyone can compute from this roster's own names: what a careless copy keeps."""
        if self._content.demo:
            return frozenset()
        parties, people = self._content.parties, self._content.people
        names = [item.id for item in parties] + [item.pseudonym for item in people]
        return frozenset(demo_key(name).public for name in names)

    def _check_parties(self) -> None:
        kinds = [party.kind for party in self.parties]
        if PartyKind.SITE not in kinds or kinds.count(PartyKind.COORDINATOR) != 1:
            sentence = "a roster needs one coordinator and at least one site"
            self._refuse("ROSTER_PARTIES", sentence, "list every party with its kind", ("parties",))

    def _check_thresholds(self) -> None:
        for role in REQUIRED_ROLES:
            if role not in self._content.roles:
                self._refuse(
                    "ROSTER_THRESHOLD_MISSING", f"the roster gives no threshold for {role}",
                    "legal and it must both approve: add them under roles:", ("roles",),
                )
        for role, threshold in self._content.roles.items():
            self._check_role(role, ("roles", role))
            holders = [person for person in self.people if role in person.roles and person.keys]
            if len(holders) < threshold:
                self._refuse(
                    "ROSTER_THRESHOLD_UNREACHABLE", "fewer people hold a role than must sign in it",
                    "list more people, or lower the number", ("roles", role),
                )
