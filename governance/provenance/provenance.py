"""The signed statement of one run: which adapter came out of which model, papers, data, steps and guarantee.

What it is for: one in-toto Statement per run (predicate urn:sekisho:attestation:training-run:v1), whose first subject
is the adapter as it was trained, and whose others are the files released with it (the same adapter in another form, or
what goes with it); the source of every later view of a model's history. What it is NOT for: proving what happened. It
says what the signer claims; the verifier of an evidence bundle holds the claims against papers and logs.

Datasets and consent appear as keyed commitments and size buckets: neither a record nor an exact count leaves a site in
a statement. Its fields, one by one: docs/formats/training-run.md.

Order of calls: each site's `SitePart` (`commitment`, `size_bucket`), `StepPart`s, `training_run(...)` -> `Statement`,
signed with `governance.signing.envelope.sign_statement`.
Sources: in-toto Attestation Framework, Statement v1; SLSA provenance v1 (the split of parameters and dependencies).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from importlib import metadata
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..canonical import canonical_bytes, digest_bytes
from ..canonical import digest as digest_of
from ..errors import BadDocumentError, BadSignatureError
from ..signing.envelope import PREDICATES, Statement, Subject, read_envelopes, read_time, write_time
from .disclosure import BaseModelRecord
from .records import check_key

ADAPTER_FILE = "adapter.safetensors"

NO_FILES: Mapping[str, str] = MappingProxyType({})

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")      # as in the stand-alone verifier, one part
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Commitment = Annotated[str, Field(pattern=r"^hmac-sha256:[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=200)]
ExactNumber = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,40})?$")]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ConsentPart(_Strict):
    """What one site says of consent in a run: for what, and its register at the first and the last step that it began.

    Each is the register's commitment under a key of that site and step: the site can open it to whom it chooses, and
    two of them show nobody whether anything changed in between. How many people there are stands nowhere.
    """

    scope: Name
    first: Commitment
    last: Commitment


class SitePart(_Strict):
    """One site's part: the policy it decided by, its data as a commitment, the guarantee it certified itself."""

    id: Name
    policy: Digest                  # of the bytes that were signed and enforced
    dataset: Commitment             # to every record, see records.py
    subjects: Annotated[str, Field(pattern=r"^[0-9]+(-[0-9]+)?$")]     # a bucket, see size_bucket
    epsilon: ExactNumber            # certificate of the whole run, rounded up
    consent: ConsentPart | None = None      # None: it joined and began no step


class StepPart(_Strict):
    """One step: its ordered cohort, and the digest of the encrypted sum as the coordinator logged it."""

    step: Annotated[int, Field(ge=0)]
    cohort: tuple[Name, ...]
    outcome: Literal["completed", "abandoned", "rolled-back"]
    sum: Digest | None              # None exactly when the step was abandoned; one that was rolled back has its own


class ValidationPart(_Strict):
    """One validation in a run, as all sites opened it: noised counts of held-out people, and what followed from them.

    ``cells``: people by class and by how many of label and order are right; ``one_is``: which of the two where one is.
    ``after_step``: the block's last, 0 for the start. ``accepted`` False: all since the last accepted was rolled back.
    """

    after_step: Annotated[int, Field(ge=0)]
    cohort: tuple[Name, ...]
    cells: Mapping[str, int]
    one_is: Mapping[str, Literal["order", "label"]]
    standard_error: ExactNumber
    right: ExactNumber              # share ordered rightly, 0 to 1, with its 95 % bounds
    low: ExactNumber
    high: ExactNumber
    labels: ExactNumber             # labelled rightly, likewise
    labels_low: ExactNumber
    labels_high: ExactNumber
    accepted: bool
    sum: Digest                     # of the encrypted sum, as the coordinator logged it


class Guarantee(_Strict):
    """What the run promises about one person, beside each site's own epsilon."""

    unit: Literal["subject", "record"]
    adjacency: Literal["add-or-remove-one"]
    delta: ExactNumber
    observers: Annotated[int, Field(ge=1)]
    max_sites_per_subject: Annotated[int, Field(ge=1)]


class Packing(_Strict):
    """How each update was packed into encrypted fields. It follows from the plan, which a reader may not hold."""

    preset: Name
    fields: Annotated[int, Field(ge=1)]     # integers a coefficient
    width: Annotated[int, Field(ge=1)]      # bits of each
    rotated: bool


class Software(_Strict):
    """The signer's own program: its files, all that is installed beside it, and the versions that decide numbers."""

    code: Digest                    # see software.py
    environment: Digest
    dependencies: Mapping[str, str]


class Parameters(_Strict):
    """What the run was asked to do: the method's settings as the study has them, and the plan in full."""

    settings: Mapping[str, Any]
    plan: Mapping[str, Any]
    validation: Mapping[str, Any] | None = None


class BaseModelPart(_Strict):
    """The base model as its record names it; ``weights`` and ``record`` are digests of files."""

    name: Name
    version: Name
    weights: Digest
    record: Digest
    licence: Name
    disclosure: Name


class TrainingRun(_Strict):
    """The predicate of a run's statement, read: every field in its form, none missing, none more."""

    run: Name
    method: Name
    started: str
    finished: str
    roster: Digest
    study: Digest
    plan: Digest
    base_model: BaseModelPart
    guarantee: Guarantee
    packing: Packing
    sites: tuple[SitePart, ...]
    steps: tuple[StepPart, ...]
    validations: tuple[ValidationPart, ...]
    parameters: Parameters
    approvals: Mapping[str, tuple[Digest, ...]]
    software: Software

    @classmethod
    def of(cls, statement: Statement) -> TrainingRun:
        """What a verified statement says.

        Raises:
            BadDocumentError: PROVENANCE_MALFORMED, PROVENANCE_INCONSISTENT.
        """
        try:
            read = cls.model_validate_json(canonical_bytes(statement.predicate))
            read_time(read.started), read_time(read.finished)
        except (ValidationError, BadSignatureError):
            raise BadDocumentError("PROVENANCE_MALFORMED", "a statement of a run does not have the fields that one has",
                                   "have the site that released write it again with this version") from None
        _check_steps(read.sites, read.steps)
        return read


def training_run(
    *,
    run: str,
    method: str,
    adapter: str,
    roster: str,
    study: str,
    plan: str,
    base_model: BaseModelRecord,
    sites: Sequence[SitePart],
    steps: Sequence[StepPart],
    guarantee: Guarantee,
    packing: Packing,
    software: Software,
    parameters: Parameters,
    approvals: Mapping[str, Sequence[str]],
    validations: Sequence[ValidationPart],
    started: datetime,
    finished: datetime,
    files: Mapping[str, str] = NO_FILES,
) -> Statement:
    """The statement of one run. ``adapter``, ``roster``, ``study``: digests of file bytes; ``plan``: of the plan.

    ``approvals``: by paper, the digests of the signatures (lines of its .dsse.json) under which the signer acted; those
    on another site's policy are that site's to show. ``files``: the other files that are released, digest by name.

    Raises:
        BadDocumentError: PROVENANCE_MALFORMED (a digest, field or file name of the wrong form),
            PROVENANCE_INCONSISTENT (a cohort with a site that took no part, a step that was opened without a sum, steps
            out of order, no step at all, another plan than its digest, the adapter among the other files).
    """
    _check_steps(sites, steps)
    _check_approvals(approvals)
    predicate = {
        "run": run,
        "method": method,
        "started": write_time(started),
        "finished": write_time(finished),
        "roster": roster,
        "study": study,
        "plan": plan,
        "base_model": {
            "name": base_model.name,
            "version": base_model.version,
            "weights": base_model.digest,
            "record": base_model.bytes_digest,
            "licence": base_model.licence,
            "disclosure": str(base_model.disclosure),
        },
        "guarantee": guarantee.model_dump(),
        "packing": packing.model_dump(),
        "sites": [site.model_dump() for site in sites],
        "steps": [step.model_dump(mode="json") for step in steps],
        "validations": [one.model_dump(mode="json") for one in validations],
        "parameters": _plain(parameters.model_dump()),
        "approvals": {paper: sorted(approvals[paper]) for paper in sorted(approvals)},
        "software": {**software.model_dump(), "dependencies": dict(sorted(software.dependencies.items()))},
    }
    try:
        _RunDigests(adapter=adapter, roster=roster, study=study, plan=plan)
    except ValidationError as error:
        field = error.errors()[0]["loc"][0]
        raise BadDocumentError("PROVENANCE_MALFORMED", f"the statement's {field} is not a sha256 digest",
                               "pass the digest as sha256: and 64 hexadecimal digits") from None
    if digest_of(parameters.plan) != plan:
        raise _inconsistent("the plan among the parameters is not the one that the digest names")
    released = (Subject(ADAPTER_FILE, adapter), *_with_it(files))
    return Statement(released, PREDICATES["training-run"], predicate)


def _with_it(files: Mapping[str, str]) -> list[Subject]:
    """The files beside the adapter as subjects, in order of name."""
    if ADAPTER_FILE in files:
        raise _inconsistent("the adapter is named a second time among the files released with it")
    if not all(_FILE.fullmatch(name) and _DIGEST.fullmatch(digest) for name, digest in files.items()):
        raise BadDocumentError("PROVENANCE_MALFORMED", "a file beside the adapter lacks a plain name or its digest",
                               "pass each as its name and its digest: sha256: and 64 hexadecimal digits")
    return [Subject(name, files[name]) for name in sorted(files)]


def envelope_digests(signatures: bytes, name: str) -> tuple[str, ...]:
    """The digest of each envelope in a file of signatures, in its one written form: what ``approvals`` names.

    Raises:
        BadDocumentError: SIGNATURES_UNREADABLE.
    """
    return tuple(digest_bytes(one.to_bytes().removesuffix(b"\n")) for one in read_envelopes(signatures, name=name))


def _check_approvals(approvals: Mapping[str, Sequence[str]]) -> None:
    digests = [digest for named in approvals.values() for digest in named]
    if not all(approvals.values()) or not all(map(_DIGEST.fullmatch, digests)):
        raise BadDocumentError("PROVENANCE_MALFORMED", "a paper's approvals are not the digests of its signatures",
                               "pass the envelope_digests of what lies beside the paper")


def _plain(value: Any) -> Any:
    """Mappings of any kind as JSON objects."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


class _RunDigests(_Strict):
    adapter: Digest
    roster: Digest
    study: Digest
    plan: Digest


def commitment(key: bytes, digest: str) -> str:
    """A digest under the site's own key: says that it is the same thing again, and nothing else."""
    check_key(key)
    message = b"sekisho dataset commitment v1\0" + digest.encode()
    return "hmac-sha256:" + hmac.new(key, message, hashlib.sha256).hexdigest()


def size_bucket(count: int) -> str:
    """A count as the bucket it falls in, bounds 1, 2, 5 times powers of ten: 230 -> "200-499"; 0 -> "0"."""
    if count < 0:
        raise BadDocumentError("COUNT_NEGATIVE", "a count is negative", "pass the number of subjects")
    if count == 0:
        return "0"
    low = 10 ** (len(str(count)) - 1)
    lead = count // low
    factor = 5 if lead >= 5 else 2 if lead >= 2 else 1
    high = {1: 2, 2: 5, 5: 10}[factor] * low - 1
    return f"{factor * low}-{high}" if high > factor * low else f"{factor * low}"


def epsilon_text(value: float) -> str:
    """A certificate as an exact decimal, rounded up to four places: never below what it is."""
    return str(Decimal(repr(value)).quantize(Decimal("0.0001"), rounding="ROUND_CEILING"))


def dependency_versions(names: Sequence[str]) -> dict[str, str]:
    """The installed versions of these distributions; one that is not installed is left out."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _check_steps(sites: Sequence[SitePart], steps: Sequence[StepPart]) -> None:
    known = {site.id for site in sites}
    numbers = [step.step for step in steps]
    if len(known) != len(sites) or not steps or numbers != sorted(set(numbers)):
        raise _inconsistent("sites must each appear once and step numbers must rise")
    for step in steps:
        if not step.cohort or len(set(step.cohort)) != len(step.cohort) or not set(step.cohort) <= known:
            raise _inconsistent("a step's cohort names a site twice, or one that took no part")
        if (step.sum is None) != (step.outcome == "abandoned"):
            raise _inconsistent("a step that was summed has a sum and an abandoned one has none")


def _inconsistent(sentence: str) -> BadDocumentError:
    return BadDocumentError("PROVENANCE_INCONSISTENT", sentence, "build the statement from the run's own outcomes")
