"""The members of an evidence bundle as frozen values: parties, log entries, papers, approvals, statements of runs.

For: the views (views*.py, ocsf.py), which say what the evidence shows. Not for: deciding whether a bundle is genuine
(verifier.py has done that before), or what a paper means to a site (policy/, signing/): a paper is read here only for
the fields that people are shown, and one that is not there is "not stated".

    Material.read(members) -> .entries, .makers, .approvals, .statements, .misbehaviour

Reading is strict where it matters: an entry is one that a log can hold, and an approval counts as one only if its
signature holds, the signer is in a roster of the bundle, and the statement is about the paper that lies here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from ..canonical import canonical_bytes, digest_bytes
from ..document import read_document
from ..errors import BadDocumentError, BadSignatureError
from ..language import Text
from ..log.entries import Entry, EntryType
from ..signing.envelope import PREDICATES, Statement, read_envelopes, read_time, verify_envelope
from ..signing.roster import Person, Roster

SIGNATURES = ".dsse.json"
ROSTER, STUDY, BASE_MODEL = "roster.yaml", "study.yaml", "base-model.yaml"
REQUEST = "subject/request.json"
_LOG = re.compile(r"logs/([^/]+?)(\.selected)?\.jsonl")
_POLICY = re.compile(r"policies/([^/]+)\.yaml")
_ROSTERS = re.compile(r"rosters/[0-9]+\.yaml")
_STATEMENT = re.compile(r"provenance/([^/]+)\.dsse\.json")
_MISBEHAVIOUR = re.compile(r"misbehaviour/[^/]+\.json")
APPROVE = "approve"


@dataclass(frozen=True)
class Logged:
    """One entry, where it stands: ``index`` counts from 0 in the log of ``party``."""

    party: str
    index: int
    entry: Entry


@dataclass(frozen=True)
class Approval:
    """What one person signed about one paper: line ``line`` (from 1) of the signatures beside ``paper``.

    ``counts``: an approval in a role that the person holds, for a paper that the person may sign.
    """

    paper: str
    line: int
    person: str
    role: str
    decision: str
    issued: datetime
    expires: datetime
    roster_version: int
    counts: bool


@dataclass(frozen=True)
class Paper:
    """A paper of the bundle: its name in it, its digest, and its fields as a plain value."""

    member: str
    digest: str
    value: Mapping[str, Any]

    def at(self, *path: str) -> Any:
        """The value under nested fields; None where one is missing."""
        value: Any = self.value
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def text(self, *path: str) -> Text | None:
        """A field in two languages."""
        return as_text(self.at(*path))

    def words(self, *path: str) -> tuple[str, ...]:
        """A list of plain words, or one word."""
        return as_words(self.at(*path))

    def clause(self, kind: str) -> Paper:
        """A policy's clause of one type under ``always``, as a paper of its own; an empty one where there is none."""
        always = self.at("always")
        found = next((one for one in always or () if isinstance(one, Mapping) and one.get("type") == kind), {})
        return Paper(self.member, self.digest, found)

    def grants(self) -> tuple[Paper, ...]:
        """A policy's grants."""
        found = self.at("grants")
        return tuple(Paper(self.member, self.digest, one) for one in found or () if isinstance(one, Mapping))


@dataclass(frozen=True)
class RunStatement:
    """The signed statement of a run that released an adapter."""

    run: str
    member: str
    predicate: Mapping[str, Any]


@dataclass(frozen=True)
class Misbehaviour:
    """One portable proof of misbehaviour, as it lies in the bundle; the verifier has judged it."""

    member: str
    value: Mapping[str, Any]


@dataclass(frozen=True)
class Material:
    """Everything that the views are made of; ``request`` is empty but in an answer to one person."""

    roster: Roster
    former: tuple[Roster, ...]
    study: Paper
    base_model: Paper
    policies: Mapping[str, Paper]
    entries: tuple[Logged, ...]
    approvals: tuple[Approval, ...]
    statements: tuple[RunStatement, ...]
    misbehaviour: tuple[Misbehaviour, ...]
    request: Mapping[str, Any]
    selection: bool

    @classmethod
    def read(cls, members: Mapping[str, bytes]) -> Material:
        """Read the members that the views need; all others are left alone.

        Raises:
            BadDocumentError: EVIDENCE_UNREADABLE (a member that is not what its name says), and the codes of
                ``document``. BrokenLogError: ENTRY_MALFORMED. GovernanceError: those of a roster.
        """
        if ROSTER not in members:
            raise unreadable(ROSTER)
        roster = Roster.parse(members[ROSTER], ROSTER)
        former = tuple(Roster.parse(members[name], name) for name in sorted(members) if _ROSTERS.fullmatch(name))
        study = _paper(STUDY, members)
        policies = {
            found[1]: _paper(name, members) for name in sorted(members) if (found := _POLICY.fullmatch(name))
        }
        return cls(
            roster=roster,
            former=former,
            study=study,
            base_model=_paper(BASE_MODEL, members),
            policies=policies,
            entries=tuple(_entries(members)),
            approvals=tuple(_approvals(members, (roster, *former), study, policies)),
            statements=tuple(_statements(members)),
            misbehaviour=tuple(
                Misbehaviour(name, _mapping(name, members[name])) for name in sorted(members)
                if _MISBEHAVIOUR.fullmatch(name)
            ),
            request=_mapping(REQUEST, members[REQUEST]) if REQUEST in members else {},
            selection=any(name.endswith(".selected.jsonl") for name in members),
        )  # fmt: skip

    @cached_property
    def by_type(self) -> Mapping[str, tuple[Logged, ...]]:
        """The entries of each type, in the order of the parties and of their logs."""
        found: dict[str, list[Logged]] = {str(kind): [] for kind in EntryType}
        for one in self.entries:
            found[one.entry.type].append(one)
        return {kind: tuple(ones) for kind, ones in found.items()}

    def of(self, *kinds: EntryType) -> tuple[Logged, ...]:
        """The entries of these types by the writers' times; ties by party and index."""
        found = [one for kind in kinds for one in self.by_type[str(kind)]]
        return tuple(sorted(found, key=lambda one: (one.entry.at, one.party, one.index)))

    @property
    def makers(self) -> tuple[str, ...]:
        """The sites whose policy lies here, by name."""
        return tuple(sorted(self.policies))

    def name_of(self, party: str) -> Text:
        """A party's name as the roster has it; its identifier where no roster of the bundle knows it."""
        for roster in (self.roster, *self.former):
            for one in roster.parties:
                if one.id == party:
                    return one.name
        return Text(en=party, ja=party)

    def about(self, digest: str) -> tuple[Logged, ...]:
        """For each party the first entry that names a paper by its digest: where it took the paper up."""
        return tuple(self._first_mentions.get(digest, {}).values())

    @cached_property
    def _first_mentions(self) -> Mapping[str, dict[str, Logged]]:
        kinds = (EntryType.ROSTER_ACCEPTED, EntryType.POLICY_LOADED, EntryType.STUDY_OFFERED)
        found: dict[str, dict[str, Logged]] = {}
        for one in (logged for kind in kinds for logged in self.by_type[str(kind)]):
            for digest in one.entry.refs.values():
                found.setdefault(digest, {}).setdefault(one.party, one)
        return found

    def statement_of(self, run: str) -> RunStatement | None:
        """The statement of a run that released an adapter."""
        return next((one for one in self.statements if one.run == run), None)


def as_text(value: object) -> Text | None:
    """A mapping {en, ja} as a text; None for anything else."""
    if isinstance(value, Mapping) and set(value) == {"en", "ja"} and all(isinstance(v, str) and v.strip()
                                                                         for v in value.values()):
        return Text(en=value["en"], ja=value["ja"])
    return None


def as_words(value: object) -> tuple[str, ...]:
    """A word, a number or a list of them, as words; nothing for anything else."""
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if isinstance(value, str | int):
        return (str(value),)
    if isinstance(value, list):
        return tuple(word for one in value for word in as_words(one))
    return ()


def unreadable(name: str) -> BadDocumentError:
    """A member that is missing, or not what its name says."""
    return BadDocumentError("EVIDENCE_UNREADABLE", "a member of the evidence cannot be read as what its name says",
                            "verify the bundle first; views are made of verified evidence only", file=name)


def _paper(name: str, members: Mapping[str, bytes]) -> Paper:
    if name not in members:
        return Paper(name, "", {})      # whether it may be missing is the verifier's to say
    value = read_document(members[name], name=name).value
    if not isinstance(value, Mapping):
        raise unreadable(name)
    return Paper(name, digest_bytes(members[name]), value)


def _mapping(name: str, data: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise unreadable(name) from error
    if not isinstance(value, dict):
        raise unreadable(name)
    return value


def _entries(members: Mapping[str, bytes]) -> Iterator[Logged]:
    for name in sorted(members):
        found = _LOG.fullmatch(name)
        if not found:
            continue
        party, selected = found[1], found[2] is not None
        if selected and f"logs/{party}.jsonl" in members:
            continue  # the whole log says it already
        for number, line in enumerate(members[name].split(b"\n")[:-1]):
            yield _selected(name, party, line) if selected else Logged(party, number, Entry.from_bytes(line))


def _selected(name: str, party: str, line: bytes) -> Logged:
    value = _mapping(name, line)
    index, entry = value.get("index"), value.get("entry")
    if type(index) is not int or index < 0 or not isinstance(entry, dict):
        raise unreadable(name)
    return Logged(party, index, Entry.from_bytes(canonical_bytes(entry)))


def _statements(members: Mapping[str, bytes]) -> Iterator[RunStatement]:
    for name in sorted(members):
        found = _STATEMENT.fullmatch(name)
        if found:
            envelope, *_ = read_envelopes(members[name], name=name)
            try:
                statement = Statement.from_bytes(envelope.payload)
            except BadSignatureError as error:
                raise unreadable(name) from error
            yield RunStatement(found[1], name, statement.predicate)


def _approvals(
    members: Mapping[str, bytes], rosters: tuple[Roster, ...], study: Paper, policies: Mapping[str, Paper]
) -> Iterator[Approval]:
    papers = {STUDY: PREDICATES["study-approval"], BASE_MODEL: PREDICATES["base-model"]}
    papers |= {paper.member: PREDICATES["policy-approval"] for paper in policies.values()}
    for paper, kind in papers.items():
        if paper not in members or paper + SIGNATURES not in members:
            continue
        digest = digest_bytes(members[paper])
        for line, envelope in enumerate(read_envelopes(members[paper + SIGNATURES], name=paper + SIGNATURES), start=1):
            keys = {key: value for roster in rosters for key, value in roster.keys_by_id().items()}
            try:
                statement, signers = verify_envelope(envelope, keys)
            except BadSignatureError:
                continue  # nobody's signature: the verifier does not count it either
            if statement.predicate_type != kind or digest not in statement.digests:
                continue
            for key in sorted(signers):
                person = next((one for roster in rosters if (one := roster.person_of(key))), None)
                if person is not None:
                    yield _approval(paper, line, person, statement.predicate, study, policies)


def _approval(
    paper: str, line: int, person: Person, said: Mapping[str, Any], study: Paper, policies: Mapping[str, Paper]
) -> Approval:
    roster, role, decision = said.get("roster"), str(said.get("role")), str(said.get("decision"))
    site = next((name for name, one in policies.items() if one.member == paper), "")
    allowed = site in person.acts_for if site else person.pseudonym != study.at("requester")
    try:
        issued, expires = read_time(said.get("issued")), read_time(said.get("expires"))
    except BadSignatureError as error:
        raise unreadable(paper + SIGNATURES) from error
    version = roster.get("version") if isinstance(roster, Mapping) else None
    return Approval(
        paper, line, person.pseudonym, role, decision, issued, expires, version if isinstance(version, int) else 0,
        counts=decision == APPROVE and role in person.roles and allowed,
    )
