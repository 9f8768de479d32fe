"""A roster document, read strictly: every refusal has the place of what is wrong.

For: ``Roster.parse``, which alone calls it. Not for: signatures, or what changed between two versions.

Order of calls: ``read_roster_document(data, name)`` -> ``RosterDocument``, whose fields are the roster's.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Annotated, Literal

from pydantic import Field

from ..document import Document, DocumentModel, Path, read_document, validate_model
from ..errors import BadSignatureError
from ..language import Text
from .envelope import read_time
from .keys import NO_KEY_YET, PublicKey, demo_key
from .members import KNOWN_ROLES, REQUIRED_ROLES, Party, PartyKind, Person

MAX_PARTIES = 128                  # 127 sites and one coordinator; a ciphertext's own limit lies at 381 sites
MAX_PEOPLE = 512
MAX_THRESHOLD = 16
FIRST_VERSION = 1

# Whose demo keys stand in our examples and tests; a test finds them there and holds this list to them.
PUBLISHED = (
    "kohi", "wanko", "okashi", "shokuhin", "daidokoro", "coordinator", "sakura", "hinoki", "kaede", "kohi-legal",
    "kohi-it", "wanko-legal", "wanko-it", "okashi-legal", "okashi-it", "shokuhin-legal", "shokuhin-it",
    "daidokoro-legal", "daidokoro-it", "wanko-business", "shokuhin-compliance", "daidokoro-data-protection", "ame",
    "hana", "kaze", "mori", "yuki", "person-legal", "person-it", "person-business", "person-laptop", "new-legal",
    "new-it", "new-business", "legal-2", "it-2", "eve", "stranger", "nyanko", "hub", "counsel-1", "admin-1",
)

PartyId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]


def read_roster_document(data: bytes, name: str) -> RosterDocument:
    """Read and check; raises as ``Roster.parse`` says."""
    document = read_document(data, name=name)
    return RosterDocument(document, validate_model(document, _RosterModel))


@cache
def _published_key(name: str) -> PublicKey:
    return demo_key(name).public


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
    version: Annotated[int, Field(ge=FIRST_VERSION, le=1_000_000)]
    supersedes: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    demo: bool
    created: str
    expires: str
    parties: Annotated[list[_PartyModel], Field(min_length=2, max_length=MAX_PARTIES)]
    people: Annotated[list[_PersonModel], Field(min_length=1, max_length=MAX_PEOPLE)]
    roles: dict[str, Annotated[int, Field(ge=1, le=MAX_THRESHOLD)]]


class RosterDocument:
    """The checks that look across a roster's fields; each refusal has the place of what is wrong."""

    def __init__(self, document: Document, content: _RosterModel) -> None:
        self._content = content
        self._refuse = document.refuse
        self._ids: set[str] = set()
        self._keys: set[PublicKey] = set()
        self._published = self._demo_keys()
        self.version, self.demo, self.supersedes = content.version, content.demo, content.supersedes
        self.roles = dict(content.roles)
        if self.supersedes is not None and self.version == FIRST_VERSION:
            sentence = "the first version of a roster supersedes none"
            self._refuse("ROSTER_SUPERSEDES", sentence, "leave the line out, or count the version up", ("supersedes",))
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
        """The keys that everyone can compute from this roster's own names, or finds in ours: what a copy keeps."""
        if self._content.demo:
            return frozenset()
        parties, people = self._content.parties, self._content.people
        names = [item.id for item in parties] + [item.pseudonym for item in people]
        return frozenset(map(_published_key, (*names, *PUBLISHED)))

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
