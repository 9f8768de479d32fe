"""An adapter on its way out: its files and the record of its release, kept at the site until everybody has approved.

For: ``publish``, which makes one, and ``sekisho site release``, which finishes it. Not for: deciding (the gate),
conditions (governance/provenance/conditions.py), or handing over (publish.py).

Order of calls: ``Candidate(...)`` -> ``keep`` -> people sign release.json where it lies -> ``read_candidate``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ...governance.canonical import canonical_bytes, digest_bytes
from ...governance.provenance.conditions import Terms
from ...governance.provenance.refusing import refusal
from ...governance.provenance.release import RECORD, ReleaseRecord, read_record
from ...governance.signing.envelope import Envelope, read_envelopes
from ..errors import BadInputError
from ..parties import make_private_folder, replace_file
from ..study import Study
from .papers import SIGNATURES

DECIDED = "decided.json"
PROVENANCE = "provenance.dsse.json"
APPROVALS = RECORD + SIGNATURES
PARTICIPANTS = "participants"  # of policies/terms/recipients.toml: the sites of the study


class Decided(BaseModel):
    """The run's own figures on which the policy's grant is decided again when the candidate is finished."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    cohort: tuple[str, ...]
    observers: int
    epsilon: str
    delta: str
    steps: int


@dataclass(frozen=True)
class Candidate:
    """``files`` are those that the record names, by name."""

    record: ReleaseRecord
    files: Mapping[str, bytes]
    decided: Decided


def keep(candidate: Candidate, folder: Path) -> None:
    """Write the candidate for the site's owner alone, its record last. Raises ``BadInputError`` STATE_UNWRITABLE."""
    make_private_folder(folder)
    for name, data in candidate.files.items():
        replace_file(folder / name, data)
    replace_file(folder / DECIDED, canonical_bytes(candidate.decided.model_dump(mode="json")))
    replace_file(folder / RECORD, candidate.record.to_bytes())


def read_candidate(folder: Path) -> Candidate:
    """The candidate in a folder, every file as its record names it.

    Raises:
        BadInputError: CANDIDATE_MISSING. Refused: RELEASE_CANDIDATE_CHANGED. BadDocumentError: RELEASE_MALFORMED.
    """
    if not (folder / RECORD).is_file():
        raise BadInputError(
            "CANDIDATE_MISSING",
            f"there is no candidate '{folder.name}' at this site",
            hint="a run whose release needs approvals leaves one; its folder is named after the run",
        )
    record = read_record((folder / RECORD).read_bytes())
    files: dict[str, bytes] = {}
    for name, expected in record.files.items():
        path = folder / name
        data = path.read_bytes() if path.is_file() else b""
        if digest_bytes(data) != expected:
            raise refusal("RELEASE_CANDIDATE_CHANGED", of=name)
        files[name] = data
    try:
        decided = Decided.model_validate_json((folder / DECIDED).read_bytes())
    except (OSError, ValidationError):
        raise refusal("RELEASE_CANDIDATE_CHANGED", of=DECIDED) from None
    return Candidate(record, files, decided)


def approvals_beside(folder: Path) -> tuple[Envelope, ...]:
    """The signatures over the candidate's record; none where nobody has signed. Raises ``BadDocumentError``."""
    path = folder / APPROVALS
    return read_envelopes(path.read_bytes(), name=APPROVALS) if path.is_file() else ()


def terms_of(study: Study) -> Terms:
    """What the study asks of a release."""
    asked = study.release
    if asked is None:
        return Terms()
    return Terms(
        required=frozenset(asked.conditions),
        class_drop=asked.class_drop,
        data_licences=asked.data_licences,
        prohibited=asked.prohibited_uses,
        valid_days=asked.valid_days,
    )


def approvals_asked(study: Study) -> Mapping[str, int]:
    """How many people of each role must approve the release itself."""
    return dict(study.release.approvals) if study.release is not None else {}


def parties_of(study: Study) -> Sequence[str]:
    """The parties of the roster whom the study's recipients mean; a term that means none of them stands for nobody."""
    return sorted(study.sites) if PARTICIPANTS in study.recipients else []
