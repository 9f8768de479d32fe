"""What a lineage is held against, gathered from folders: the adapter's files, papers, logs, and this machine's own.

For: ``sekisho compliance provenance``. Not for: verdicts (governance/provenance/tracing.py). Reads an evidence bundle
in place of a study folder, too. Whatever is not there is left out: that it is missing is a finding, not a fault.

Nothing here needs a key: logs are read up to the last head that their party signed. It reads no record, no vault, no
ledger.

Order of calls: ``material_of(adapter, study)`` -> ``trace(material)``; ``about_of(material)`` for the exports.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ...governance.errors import BrokenLogError, GovernanceError
from ...governance.evidence import verifier
from ...governance.log.copy import LogCopy, read_copy
from ...governance.provenance.about import About
from ...governance.provenance.disclosure import BaseModelRecord
from ...governance.provenance.material import (
    BASE_MODEL,
    PROVENANCE_FILE,
    REVOCATIONS,
    ROSTER,
    STUDY,
    Here,
    Material,
)
from ...governance.provenance.software import code_digest
from ..data.intake import inspect, locate
from ..errors import BadInputError, CoreError
from ..parties import LOG_NAME
from ..site.about import about
from ..site.papers import ROSTERS, SIGNATURES, read_file
from ..study import Study

UNREADABLE = LogCopy((), "")  # of a log that is there and damaged: no head fits it, so every edge on it is broken


def material_of(adapter: Path, study: Path, *, root: str | None = None) -> Material:
    """All that is at hand. ``study``: the study's folder, or an evidence.zip.

    Raises:
        BadInputError: PROVENANCE_MISSING (no released adapter's folder), FILE_UNREADABLE, EVIDENCE_UNREADABLE.
    """
    released = _released(adapter)
    papers, logs = _from_bundle(study) if study.is_file() else _from_folder(study)
    return Material(released, papers, logs, Here(code_digest(), _weights(papers, study), datetime.now(UTC)), root)


def about_of(material: Material) -> About:
    """The words of study and base-model record for the exports.

    Raises:
        BadInputError: PAPERS_MISSING. BadDocumentError: one that cannot be read.
    """
    for name in (STUDY, BASE_MODEL):
        if name not in material.papers:
            raise BadInputError("PAPERS_MISSING", f"{name} is not there, from which the export takes its words",
                                "give --study the folder of the study, or an evidence.zip")
    study = Study.parse(material.papers[STUDY], STUDY)
    return about(study, BaseModelRecord.parse(material.papers[BASE_MODEL], BASE_MODEL))


def _released(adapter: Path) -> dict[str, bytes]:
    if not (adapter / PROVENANCE_FILE).is_file():
        below = ", ".join(sorted({path.parent.name for path in adapter.glob(f"*/{PROVENANCE_FILE}")}))
        hint = f"below it lie {below}: name one of them" if below else "every released adapter has such a folder"
        raise BadInputError(
            "PROVENANCE_MISSING",
            f"{adapter.name} is not the folder of one released adapter: there is no {PROVENANCE_FILE} in it",
            hint,
        )
    files = (path for path in sorted(adapter.iterdir()) if path.is_file() and not path.is_symlink())
    return {path.name: read_file(path) for path in files}


def _from_folder(study: Path) -> tuple[dict[str, bytes], dict[str, LogCopy]]:
    papers: dict[str, bytes] = {}
    for name, path in _paper_files(study):
        for end in ("", SIGNATURES):
            beside = path.with_name(path.name + end)
            if beside.is_file():
                papers[name + end] = read_file(beside)
    if (study / REVOCATIONS).is_file():
        papers[REVOCATIONS] = read_file(study / REVOCATIONS)
    logs: dict[str, LogCopy] = {}
    for party, path in _log_files(study):
        copy = _copy(path)
        if copy is not None:
            logs[party] = copy
    return papers, logs


def _paper_files(study: Path) -> Iterator[tuple[str, Path]]:
    for name in (ROSTER, STUDY, BASE_MODEL):
        yield name, study / name
    for path in sorted((study / ROSTERS).glob("*.yaml")):
        yield f"{ROSTERS}/{path.name}", path
    for path in sorted((study / "sites").glob("*/policy.yaml")):
        yield f"policies/{path.parent.name}.yaml", path


def _log_files(study: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted((study / "sites").glob(f"*/state/{LOG_NAME}")):
        yield path.parent.parent.name, path
    for path in sorted(study.glob(f"*/state/{LOG_NAME}")):
        yield path.parent.parent.name, path


def _copy(path: Path) -> LogCopy | None:
    try:
        return read_copy(path)
    except BrokenLogError:
        return UNREADABLE


def _from_bundle(bundle: Path) -> tuple[dict[str, bytes], dict[str, LogCopy]]:
    try:
        members = verifier.read_container(read_file(bundle))
    except (verifier.Found, *verifier.MALFORMED):
        raise BadInputError("EVIDENCE_UNREADABLE", f"{bundle.name} cannot be read as an evidence bundle",
                            "give the folder of the study, or an evidence.zip as it was exported") from None
    logs = {
        name.removeprefix("logs/").removesuffix(".jsonl"): LogCopy(
            data.removesuffix(b"\n").split(b"\n") if data else (),
            members.get(name.removesuffix("jsonl") + "checkpoint", b"").decode("utf-8", "replace"),
        )
        for name, data in members.items()
        # of a selection a log is not at hand: what it does not show may stand in it
        if name.startswith("logs/") and name.endswith(".jsonl") and not name.endswith(".selected.jsonl")
    }
    return {name: data for name, data in members.items() if not name.startswith("logs/")}, logs


def _weights(papers: dict[str, bytes], study: Path) -> str | None:
    """The digest of the base model's weights, where this machine has them."""
    try:
        return inspect(locate(Study.parse(papers[STUDY], STUDY).base_model, study)).digest
    except (KeyError, GovernanceError, CoreError):
        return None
