"""The record of one release: what is handed over, to whom, for what, until when, and each condition with its outcome.

What it is for: one value that lists every condition with what was found, refuses while one that is required is failed
or unchecked, says in its own record what was not checked, and is what people approve and the publisher signs. What it
is NOT for: judging a condition (conditions.py, licences.py), files, or revocation (revocation.py).

Order of calls: ``ReleaseRecord(...)`` -> ``record.check()`` -> people approve ``record.digest`` ->
``check_approved(record, ...)`` -> ``release_statement(record, ...)`` is signed; whoever receives the folder calls
``read_record`` and ``check_use``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from ..canonical import canonical_bytes, digest, digest_bytes
from ..errors import BadDocumentError, Refused
from ..language import Text
from ..signing.approvals import Approved, approvals
from ..signing.envelope import PREDICATES, Envelope, Statement, Subject, read_time
from ..signing.roster import Roster
from .refusing import refusal

RECORD = "release.json"
STATEMENT = "release.dsse.json"
MAX_RECORD_BYTES = 2**20

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=200)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def _frozen(value: Mapping[_Key, _Value]) -> Mapping[_Key, _Value]:
    return MappingProxyType(dict(value))


Frozen = (AfterValidator(_frozen), PlainSerializer(dict))


class Condition(BaseModel):
    """One condition of a release. ``code`` says why it did not pass, ``evidence`` what it was judged by: a digest, an
    identifier or a figure."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,49}$")]
    required: bool
    outcome: Literal["passed", "failed", "not-checked"]
    code: Annotated[str, Field(pattern=r"^([A-Z][A-Z0-9_]{2,63})?$")] = ""
    evidence: Annotated[str, Field(max_length=200)] = ""


class ReleaseRecord(BaseModel):
    """One adapter, whom it goes to, for what and how long, and under which conditions.

    ``recipients`` are terms of the vocabulary, ``parties`` those of the roster that they mean. ``permitted`` are terms
    of downstream uses; ``prohibited`` are sentences of the study, ``restrictions`` those of the base model's record.
    ``files``: everything in the folder but this record, its approvals and the signed statement. ``approvals``: how many
    people of each role must sign this very record.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    run: Name
    adapter: Digest
    provenance: Digest
    base_model: Digest
    base_licence: Name
    grant: Annotated[str, Field(min_length=1, max_length=40)]
    recipients: tuple[Name, ...]
    parties: tuple[Name, ...]
    permitted: tuple[Name, ...]
    prohibited: tuple[Text, ...] = ()
    restrictions: tuple[Text, ...] = ()
    licence: Name
    data_licences: Annotated[Mapping[str, Name], *Frozen] = Field(default_factory=dict)
    files: Annotated[Mapping[FileName, Digest], *Frozen]
    issued: str
    expires: str
    conditions: tuple[Condition, ...]
    approvals: Annotated[Mapping[str, Annotated[int, Field(ge=1, le=10)]], *Frozen] = Field(default_factory=dict)

    def check(self) -> None:
        """Return if every required condition passed and no condition failed.

        Raises:
            Refused: RELEASE_NO_CONDITION, RELEASE_CONDITION_TWICE, the failed or unchecked condition's own code (or
                RELEASE_CONDITION_FAILED, RELEASE_CONDITION_UNCHECKED where it has none), RELEASE_NO_RECIPIENT,
                RELEASE_EXPIRY.
        """
        names = [condition.name for condition in self.conditions]
        # 1. An empty list is a missing list.
        if not any(condition.required for condition in self.conditions):
            raise Refused("RELEASE_NO_CONDITION", "a release names no required condition",
                          "list the conditions of the grant")
        # 2. One outcome for each condition.
        if len(set(names)) != len(names):
            raise Refused("RELEASE_CONDITION_TWICE", "a release condition has two outcomes", "keep the later check")
        # 3. Nothing failed, required or not.
        for condition in self.conditions:
            if condition.outcome == "failed":
                raise refusal(condition.code or "RELEASE_CONDITION_FAILED", name=condition.name, of=condition.evidence)
        # 4. What is required was checked.
        for condition in self.conditions:
            if condition.required and condition.outcome != "passed":
                raise refusal(
                    condition.code or "RELEASE_CONDITION_UNCHECKED", name=condition.name, of=condition.evidence
                )
        # 5. Somebody receives it.
        if not self.recipients or not self.parties:
            raise refusal("RELEASE_NO_RECIPIENT")
        # 6. It ends.
        if read_time(self.issued) >= read_time(self.expires):
            raise refusal("RELEASE_EXPIRY")

    @property
    def refused_by(self) -> tuple[str, ...]:
        """The code of every condition that stands in the way."""
        return tuple(
            condition.code or "RELEASE_CONDITION_FAILED" for condition in self.conditions
            if condition.outcome == "failed" or (condition.required and condition.outcome != "passed")
        )

    @property
    def digest(self) -> str:
        """Of the record's RFC 8785 form."""
        return digest(self.model_dump(mode="json"))

    def to_bytes(self) -> bytes:
        """The file: RFC 8785 and one line break."""
        return canonical_bytes(self.model_dump(mode="json")) + b"\n"


def read_record(data: bytes) -> ReleaseRecord:
    """The record in a file. Raises ``BadDocumentError`` RELEASE_MALFORMED; only what ``to_bytes`` writes is read."""
    try:
        if len(data) > MAX_RECORD_BYTES:
            raise ValueError("too large")
        record = ReleaseRecord.model_validate_json(data)
        read_time(record.issued), read_time(record.expires)
        whole = record.to_bytes() == data
    except (ValueError, RecursionError, ValidationError):
        whole = False
    if not whole:
        raise BadDocumentError("RELEASE_MALFORMED", "a release's record does not have its form",
                               "fetch the folder again from its publisher", file=RECORD)
    return record


def check_approved(record: ReleaseRecord, approved: Approved) -> None:
    """Return if as many distinct people as the record asks for have approved it, role by role.

    Raises:
        Refused: RELEASE_APPROVALS_MISSING, naming the roles.
    """
    if record.approvals and not approved.reaches(record.approvals):
        raise refusal("RELEASE_APPROVALS_MISSING", of=", ".join(approved.missing(record.approvals)))


def release_approvals(
    roster: Roster, record: ReleaseRecord, envelopes: Sequence[Envelope], *, requester: str | None, now: datetime
) -> Approved:
    """Who approved exactly this record, by the rule of every approval; ``requester`` asked for the study."""
    return approvals(
        roster,
        envelopes,
        subjects=frozenset({digest_bytes(record.to_bytes()), record.digest}),
        predicate_type=PREDICATES["release-approval"],
        now=now,
        requester=requester,
    )


def release_statement(record: ReleaseRecord, files: Mapping[str, bytes], approved: Mapping[str, int]) -> Statement:
    """What the publisher signs: the record's content, about every file of the folder (``files``, by name)."""
    subjects = tuple(Subject(name, digest_bytes(files[name])) for name in sorted(files))
    said = {"record": record.digest, **record.model_dump(mode="json")}
    return Statement(subjects, PREDICATES["release"], said | {"approved": dict(sorted(approved.items()))})


def check_use(record: ReleaseRecord, *, party: str, use: str, base_model: str, now: datetime) -> None:
    """Return if ``party`` may use what the record releases, now, for ``use`` (empty: for what is permitted).

    Raises:
        Refused: USE_WRONG_RECIPIENT, USE_NOT_YET_ISSUED, USE_EXPIRED, USE_PROHIBITED, USE_NOT_PERMITTED,
            USE_OTHER_BASE_MODEL.
    """
    # 1. It was handed to this party.
    if party not in record.parties:
        raise refusal("USE_WRONG_RECIPIENT", of=party)
    # 2. It has begun, and not ended.
    if now < read_time(record.issued):
        raise refusal("USE_NOT_YET_ISSUED")
    if now >= read_time(record.expires):
        raise refusal("USE_EXPIRED", of=record.expires)
    # 3. What is forbidden is said to be forbidden; what is not permitted is not.
    if any(use in (text.en, text.ja) for text in (*record.prohibited, *record.restrictions)):
        raise refusal("USE_PROHIBITED", of=use)
    if not record.permitted or (use and use not in record.permitted):
        raise refusal("USE_NOT_PERMITTED", of=use, name=", ".join(record.permitted))
    # 4. On the weights that it was trained on: on others nobody has looked at what it does.
    if base_model != record.base_model:
        raise refusal("USE_OTHER_BASE_MODEL", of=record.base_model, name=base_model)
