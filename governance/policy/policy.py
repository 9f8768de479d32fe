"""A policy document: read, checked against the closed set of clause types, and digested.

Not for: deciding (decide.py), words (explain.py), who signed it (signing/approvals.py).

    Policy.parse(data, name) -> .always, .grants -> decide(policy, request); .clause("privacy_budget").lifetime

The fields of the file, all required unless marked; every clause and grant has ``id`` and ``text: {en, ja}`` as well:

    schema: sekisho-policy/1
    id: text   version: whole number   supersedes: sha256:... (optional, digest of the version before)
    languages: [en, ja]   authoritative_language: en | ja
    parties:
      controller: {id, name: {en, ja}, country}      processors: [the same, ...] (may be empty)      contact: text
    dataset: {id, title: {en, ja}, categories: [data_categories], special_category: true | false}
    always:                                           # each type exactly once, in any order
      - {type: validity, from: time with zone, until: time with zone}
      - {type: emergency_stop, stop_by: [roles], restart_by: [roles], list_max_age_hours: at most}
      - {type: legal_basis, bases: [bases], consent: {required: true | false, scope: text},
         references: [https://...] (optional)}
      - {type: transfer, leaves_site: [artefacts], destinations: [countries]}
      - {type: encryption, require: [measures]}
      - {type: cohort, min_sites: at least, observers: at least}
      - {type: subjects, max_sites_per_subject: at most}
      - {type: privacy_budget, unit: units, adjacency: adjacencies, lifetime: {epsilon: "exact", delta: "exact"},
         per_run: {epsilon: "exact", delta: "exact"}, on_exhausted: refuse}
      - {type: base_model, models: [{name: text, digest: sha256:...}], licences: [licences],
         min_disclosure: disclosure_levels}
      - {type: approvals, at_least: {legal: 1, it: 1, other role: n}, exclude_requester: true | false}
      - {type: retention, audit_years: at least,
         on_withdrawal: {next_step: exclude, released_adapter: withdrawal_effects}}
    grants:                                           # one to six; one whole grant must hold
      - {action: train, purposes, tasks, methods, stages, recipients, downstream_uses: [terms], max_steps: at most}
      - {action: release, purposes, tasks, methods, stages, recipients, downstream_uses: [terms]}

A list that is named in plural without another word takes terms of the vocabulary of that name (policies/terms/).
Refusals of this file: SCHEMA_VERSION, UNKNOWN_CLAUSE, UNKNOWN_ACTION, MISSING_CLAUSE, DUPLICATE_CLAUSE, DUPLICATE_ID,
CUT_OFF, and those of document.py, vocabulary.py and the clause types, all with line and column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, overload

from pydantic import Field as Bounds

from ..canonical import digest, digest_bytes
from ..document import Document, Path, read_document, validate_model
from ..errors import BadDocumentError
from ..fields import Digest, DocumentModel, Identifier
from ..language import Text
from ..vocabulary import term_of
from .always_clauses import (
    ALWAYS,
    Approvals,
    BaseModelRule,
    Cohort,
    EmergencyStop,
    Encryption,
    LegalBasis,
    PrivacyBudget,
    Retention,
    Subjects,
    Transfer,
    Validity,
)
from .clause import Clause, ClauseType, Held
from .grant_clauses import GRANTS, MAX_GRANTS

SCHEMA = "sekisho-policy/1"


class Organisation(DocumentModel):
    """A party to the processing, as the policy names it."""

    id: Identifier
    name: Text
    country: Annotated[str, term_of("countries")]


class Parties(DocumentModel):
    """Whose data these are, who processes them on whose behalf, and whom to ask."""

    controller: Organisation
    processors: tuple[Organisation, ...]
    contact: Annotated[str, Bounds(min_length=3, max_length=200)]


class DatasetDescription(DocumentModel):
    """What the policy is about; budgets are kept per dataset id."""

    id: Identifier
    title: Text
    categories: Annotated[frozenset[Annotated[str, term_of("data_categories")]], Bounds(min_length=1, max_length=100)]
    special_category: bool


class PolicyHeader(DocumentModel):
    """The document without the meaning of its clauses, which their own types give."""

    schema_: Literal["sekisho-policy/1"] = Bounds(alias="schema")
    id: Identifier
    version: Annotated[int, Bounds(ge=1, le=1_000_000)]
    supersedes: Digest | None = None
    languages: tuple[Literal["en"], Literal["ja"]]
    authoritative_language: Literal["en", "ja"]
    parties: Parties
    dataset: DatasetDescription
    always: Annotated[tuple[Mapping[str, Any], ...], Bounds(max_length=100)]
    grants: Annotated[tuple[Mapping[str, Any], ...], Bounds(min_length=1, max_length=MAX_GRANTS)]


@dataclass(frozen=True)
class Provision:
    """One clause or grant of a policy with its declaration, and every constraint that it sets."""

    declared: ClauseType
    clause: Clause
    held: tuple[Held, ...]

    @property
    def id(self) -> str:
        """The number under which people cite it."""
        return self.clause.id

    @property
    def type(self) -> str:
        """The name of its clause type."""
        return self.declared.name


@dataclass(frozen=True)
class Policy:
    """A policy that was read and checked. Two policies are equal if their bytes are."""

    header: PolicyHeader
    always: tuple[Provision, ...]
    grants: tuple[Provision, ...]
    bytes_digest: str
    canonical_digest: str

    @classmethod
    def parse(cls, data: bytes, name: str) -> Policy:
        """Read one policy file; BadDocumentError with code, line and column for anything that may not stand in it."""
        document = read_document(data, name=name)
        _check_schema(document)
        header = validate_model(document, PolicyHeader)
        always = tuple(_provision(document, ("always", index), "type", ALWAYS) for index in range(len(header.always)))
        grants = tuple(_provision(document, ("grants", index), "action", GRANTS) for index in range(len(header.grants)))
        _check_complete(document, always)
        _check_ids(document, always, grants)
        _check_whole(document)
        return cls(header, always, grants, digest_bytes(data), digest(document.value))

    @property
    def id(self) -> str:
        """The policy's name, the same in all its versions."""
        return self.header.id

    @property
    def version(self) -> int:
        """The version, counted by its authors."""
        return self.header.version

    @property
    def dataset(self) -> DatasetDescription:
        """The data set that the policy is about."""
        return self.header.dataset

    # fmt: off
    @overload
    def clause(self, type_name: Literal["validity"]) -> Validity: ...
    @overload
    def clause(self, type_name: Literal["emergency_stop"]) -> EmergencyStop: ...
    @overload
    def clause(self, type_name: Literal["legal_basis"]) -> LegalBasis: ...
    @overload
    def clause(self, type_name: Literal["transfer"]) -> Transfer: ...
    @overload
    def clause(self, type_name: Literal["encryption"]) -> Encryption: ...
    @overload
    def clause(self, type_name: Literal["cohort"]) -> Cohort: ...
    @overload
    def clause(self, type_name: Literal["subjects"]) -> Subjects: ...
    @overload
    def clause(self, type_name: Literal["privacy_budget"]) -> PrivacyBudget: ...
    @overload
    def clause(self, type_name: Literal["base_model"]) -> BaseModelRule: ...
    @overload
    def clause(self, type_name: Literal["approvals"]) -> Approvals: ...
    @overload
    def clause(self, type_name: Literal["retention"]) -> Retention: ...
    # fmt: on

    def clause(self, type_name: str) -> Clause:
        """The one clause of a type under ``always``."""
        for provision in self.always:
            if provision.type == type_name:
                return provision.clause
        raise BadDocumentError("UNKNOWN_CLAUSE", f"there is no clause type {type_name}", f"known: {', '.join(ALWAYS)}")


def _check_schema(document: Document) -> None:
    value = document.value
    if not isinstance(value, dict):
        document.refuse(
            "WRONG_TYPE",
            "the file is no policy: it does not consist of fields with a name, a colon and a value",
            "see whether this is the right file; `sekisho legal template` writes one to start from",
        )
    if "schema" not in value:
        document.refuse(
            "MISSING_FIELD",
            "the file does not say that it is a policy of this kind: the field schema is missing",
            f"begin it with schema: {SCHEMA}; a policy of another tool is written anew (`sekisho legal template`)",
        )
    if value["schema"] != SCHEMA:
        document.refuse(
            "SCHEMA_VERSION",
            "the file is written in a version of the policy language that is not known here",
            f"write schema: {SCHEMA}, or use the software that knows the other version",
            ("schema",),
        )


def _provision(document: Document, path: Path, key: str, known: Mapping[str, ClauseType]) -> Provision:
    value = document.at(path)
    if key not in value:
        document.refuse("MISSING_FIELD", f"the field {key} is missing", f"add {key}: one of {', '.join(known)}", path)
    declared = known.get(value[key]) if isinstance(value[key], str) else None
    if declared is None:
        code, what = ("UNKNOWN_CLAUSE", "clause type") if key == "type" else ("UNKNOWN_ACTION", "action")
        document.refuse(
            code, f"the {what} {str(value[key])[:80]!r} is not known here", f"known: {', '.join(known)}", (*path, key)
        )
    clause = validate_model(document, declared.model, path)
    return Provision(declared, clause, declared.held(clause))


def _check_whole(document: Document) -> None:
    # Cut in the middle of its last line, ``audit_years: 10`` is ``audit_years: 1``, and nothing else would show it.
    *before, last = document.data.decode("utf-8").split("\n")
    if last:
        raise BadDocumentError(
            "CUT_OFF",
            "the file does not end with a new line: it may have been cut off",
            "compare its end with the original; if nothing is missing, press Enter after the last line",
            file=document.name,
            line=len(before) + 1,
            column=len(last) + 1,
        )


def _check_complete(document: Document, always: tuple[Provision, ...]) -> None:
    seen: set[str] = set()
    for index, provision in enumerate(always):
        if provision.type in seen:
            document.refuse(
                "DUPLICATE_CLAUSE",
                f"the clause type {provision.type} stands in the policy twice",
                "say everything about it in one clause",
                ("always", index, "type"),
            )
        seen.add(provision.type)
    missing = [name for name in ALWAYS if name not in seen]
    if missing:
        document.refuse(
            "MISSING_CLAUSE",
            f"the policy has no clause of type {', '.join(missing)}",
            "add it under always; silence would permit nothing, and nobody could read why",
            ("always",),
            key=True,
        )


def _check_ids(document: Document, always: tuple[Provision, ...], grants: tuple[Provision, ...]) -> None:
    seen: set[str] = set()
    for part, provisions in (("always", always), ("grants", grants)):
        for index, provision in enumerate(provisions):
            if provision.id in seen:
                document.refuse(
                    "DUPLICATE_ID",
                    f"two clauses are numbered {provision.id}",
                    "give every clause and every grant its own id",
                    (part, index, "id"),
                )
            seen.add(provision.id)
