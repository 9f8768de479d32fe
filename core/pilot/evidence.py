"""Everything a third party needs, gathered from the parties' folders into one canonical bundle.

Reads papers, logs and the provenance statement of each released adapter; not records, not the consent vault, not the
ledger, no key but the coordinator's signing key for the manifest. The bundle verifies with the ``verify.py`` that
travels in it.

Used by the pilot at its end and by ``sekisho compliance export`` at any time after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...governance.evidence.bundle import provenance_member, write_bundle
from ...governance.log.auditlog import AuditLog
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster
from ..errors import BadInputError
from ..parties import LOG_NAME, load_key, log_origin, state_folder
from ..site.papers import ROSTERS, SIGNATURES, earlier_rosters, read_file, read_study

PROVENANCE = "provenance.dsse.json"  # beside each released adapter


@dataclass(frozen=True)
class Written:
    """A bundle on disk: its size, its digest, the roster's fingerprint that verifies it, its provenance statements."""

    size: int
    digest: str
    root: str
    provenance: tuple[str, ...]


def export_evidence(study_folder: Path, out: Path, *, provenance: Sequence[Path] = ()) -> Written:
    """Write ``out``, with the statements in the files ``provenance``, one a run.

    Raises ``BadInputError`` when the study has no logs yet or a run would have two statements, ``BrokenLogError`` for a
    damaged log, ``BadDocumentError`` for a statement that is not one of this study.
    """
    roster = Roster.parse(read_file(study_folder / "roster.yaml"), "roster.yaml")
    members = papers_of(study_folder)
    members.update(logs_of(study_folder, roster))
    statements = provenance_of(provenance, roster)
    members.update(statements)
    key = load_key(study_folder, roster.coordinator.id, demo=roster.demo)
    digest = write_bundle(out, members=members, key=key)
    return Written(out.stat().st_size, digest, roster.fingerprint, tuple(sorted(statements)))


def statements_at(path: Path) -> list[Path]:
    """Every provenance statement below a folder of released adapters, or the one file; none where nothing is."""
    if path.is_dir():
        return sorted(path.rglob(PROVENANCE))
    return [path] if path.exists() else []


def provenance_of(paths: Sequence[Path], roster: Roster) -> dict[str, bytes]:
    """Each run's statement. The same bytes may lie in two places; two different statements of one run may not."""
    members: dict[str, bytes] = {}
    for path in paths:
        data = read_file(path)
        name = provenance_member(data, roster, file=f"{path.parent.name}/{path.name}")
        if members.setdefault(name, data) != data:
            raise BadInputError(
                "PROVENANCE_TWICE",
                f"{path.parent.name}/{path.name} is a second, different statement of a run that has one already",
                hint="give --provenance only the adapters that were released",
            )
    return members


def papers_of(study_folder: Path) -> dict[str, bytes]:
    """Roster and those before it, study, base-model record and every site's policy, each with its signatures."""
    study = read_study(study_folder)
    paths: Mapping[str, Path] = {
        **{name: study_folder / name for name in ("roster.yaml", "study.yaml", "base-model.yaml")},
        **{f"policies/{site}.yaml": study_folder / "sites" / site / "policy.yaml" for site in study.sites},
    }
    roster = Roster.parse(read_file(paths["roster.yaml"]), "roster.yaml")
    earlier = [f"{ROSTERS}/{one.roster.version}.yaml" for one in earlier_rosters(study_folder, roster)]
    members: dict[str, bytes] = {}
    for name, path in (*paths.items(), *((name, study_folder / name) for name in earlier)):
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
