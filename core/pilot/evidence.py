"""Everything a third party needs, gathered from the parties' folders into one canonical bundle.

Reads papers, logs and the released provenance statement; not records, not the consent vault, not the ledger, no key but
the coordinator's signing key for the manifest. The bundle verifies with the ``verify.py`` that travels in it.

Used by the pilot at its end and by ``sekisho compliance export`` at any time after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...governance.evidence.bundle import write_bundle
from ...governance.log.auditlog import AuditLog
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster
from ..errors import BadInputError
from ..parties import LOG_NAME, load_key, log_origin, state_folder
from ..site.papers import SIGNATURES, read_file, read_study

STATEMENT = "provenance.dsse.json"


@dataclass(frozen=True)
class Written:
    """A bundle on disk: its size, its digest, and the roster's fingerprint that verifies it."""

    size: int
    digest: str
    root: str


def export_evidence(study_folder: Path, out: Path, *, provenance: Path | None = None) -> Written:
    """Write ``out``. ``provenance``: a statement, or the folder that holds a folder with one for each released adapter.

    Raises ``BadInputError`` when the study has no logs yet, ``BrokenLogError`` for a damaged one.
    """
    roster = Roster.parse(read_file(study_folder / "roster.yaml"), "roster.yaml")
    members = papers_of(study_folder)
    members.update(logs_of(study_folder, roster))
    statements = statements_of(provenance)
    if statements:
        members[STATEMENT] = statements
    key = load_key(study_folder, roster.coordinator.id, demo=roster.demo)
    digest = write_bundle(out, members=members, key=key)
    return Written(out.stat().st_size, digest, roster.fingerprint)


def statements_of(provenance: Path | None) -> bytes:
    """The released adapters' signed statements, one a line; empty where nothing was released."""
    if provenance is None or not provenance.exists():
        return b""
    if provenance.is_dir():
        return b"".join(read_file(path) for path in sorted(provenance.glob(f"*/{STATEMENT}")))
    return read_file(provenance)


def papers_of(study_folder: Path) -> dict[str, bytes]:
    """Roster, study, base-model record and every site's policy, each with its signatures."""
    study = read_study(study_folder)
    paths: Mapping[str, Path] = {
        **{name: study_folder / name for name in ("roster.yaml", "study.yaml", "base-model.yaml")},
        **{f"policies/{site}.yaml": study_folder / "sites" / site / "policy.yaml" for site in study.sites},
    }
    members: dict[str, bytes] = {}
    for name, path in paths.items():
        members[name] = read_file(path)
        members[name + SIGNATURES] = read_file(path.with_name(path.name + SIGNATURES))
    return members


def logs_of(study_folder: Path, roster: Roster) -> dict[str, bytes]:
    """Each party's entries, one canonical line each, and its signed head."""
    study = read_study(study_folder)
    members: dict[str, bytes] = {}
    for party in (*study.sites, roster.coordinator.id):
        path = state_folder(study_folder, party, coordinator=party == roster.coordinator.id) / LOG_NAME
        if not path.exists():
            raise BadInputError(
                "NO_LOG",
                f"'{party}' has no log beside this study yet",
                hint="evidence exists once a run was asked for: run the pilot first",
            )
        key: SigningKey = load_key(study_folder, party, demo=roster.demo)
        with AuditLog.open(path, origin=log_origin(study.id, party), key=key) as log:
            members[f"logs/{party}.jsonl"] = b"".join(line + b"\n" for line in log.entries())
            members[f"logs/{party}.checkpoint"] = log.checkpoint().encode("utf-8")
    return members
