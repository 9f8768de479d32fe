"""Everything a third party needs, gathered from the parties' folders into one canonical bundle.

Reads papers, logs, what parties saw of each other's logs, and the provenance statement of each released adapter; not
records, not the consent vault, not the ledger, and of keys only those that sign heads and the manifest. The bundle
verifies with the ``verify.py`` that travels in it.

Used by the pilot at its end and by ``sekisho compliance export`` at any time after. A person's own request is answered
at a site (site/subject_request.py), which alone can open the vault.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ...governance.errors import BadDocumentError
from ...governance.evidence import verifier
from ...governance.evidence.bundle import Member, provenance_member, write_bundle
from ...governance.evidence.selection import EVERYTHING, Scope, ScopeKind, survey, wanted
from ...governance.signing.envelope import Statement, read_envelopes
from ...governance.signing.roster import Roster
from ..errors import BadInputError
from ..parties import load_key
from ..site.exporting import (
    OpenLog,
    contradictions,
    keys_lie_together,
    merged,
    misbehaviour_of,
    open_logs,
    papers_of,
    selected_log,
    whole_log,
    witnessed_heads,
)
from ..site.papers import read_file, read_study

PROVENANCE = "provenance.dsse.json"  # beside each released adapter


@dataclass(frozen=True)
class Written:
    """A bundle on disk: its size, its digest, the roster's fingerprint that verifies it, its provenance statements.

    ``scope``: what it holds; a period where everything was asked for and a log has let go of what is past its term.
    ``lacking``: parties of the study whose logs are not in it, where it was put together of parts.
    """

    size: int
    digest: str
    root: str
    provenance: tuple[str, ...]
    scope: Scope = EVERYTHING
    lacking: tuple[str, ...] = ()


def export_evidence(
    study_folder: Path, out: Path, *, provenance: Sequence[Path] = (), scope: Scope = EVERYTHING
) -> Written:
    """Write ``out``: everything, or what ``scope`` selects, with the statements in the files ``provenance``.

    Raises ``BadInputError`` when the study has no logs yet or a run would have two statements, ``BrokenLogError`` for a
    damaged log, ``BadDocumentError`` for a statement that is not one of this study, for a run or model that no log
    knows (EVIDENCE_NOTHING), and for evidence that would not verify.
    """
    roster = Roster.parse(read_file(study_folder / "roster.yaml"), "roster.yaml")
    sites = read_study(study_folder).sites
    parties = (*sites, roster.coordinator.id)
    members: dict[str, Member] = dict(papers_of(study_folder, sites))
    with _work_folder(out) as folder:
        # the logs first: where there are none, that is what has to be said, whatever lies in the folder of adapters
        scope, logs, runs = _logs_of(study_folder, roster, parties, scope, Path(folder))
        statements = {
            name: data
            for name, data in provenance_of(provenance, roster).items()
            if runs is None or _run_of(name) in runs
        }
        members |= {**logs, **statements}
        key = load_key(study_folder, roster.coordinator.id, demo=roster.demo)
        together = keys_lie_together(study_folder, roster, parties)
        digest = write_bundle(out, members=members, key=key, scope=scope, together=together)
    return Written(out.stat().st_size, digest, roster.fingerprint, tuple(sorted(statements)), scope)


def _work_folder(out: Path) -> tempfile.TemporaryDirectory[str]:
    """Where logs are laid down until the bundle is written: beside it, where there must be room for them anyway."""
    try:
        return tempfile.TemporaryDirectory(prefix=".evidence-", dir=out.parent)
    except OSError as error:
        raise BadDocumentError("EVIDENCE_UNWRITABLE", f"the evidence cannot be written ({error.strerror})",
                               "choose a folder that you may write to and that has room", file=out.name) from None


def _logs_of(
    study_folder: Path, roster: Roster, parties: Sequence[str], scope: Scope, folder: Path
) -> tuple[Scope, dict[str, Member], frozenset[str] | None]:
    """The scope that can be given, what of the logs belongs to it, and which runs; None where it is all of them."""
    with open_logs(study_folder, read_study(study_folder).id, roster, parties) as logs:
        scope = _still_there(scope, logs)
        beside = {**witnessed_heads(logs, whole=scope.whole), **contradictions(logs), **misbehaviour_of(logs)}
        if scope.whole:
            return scope, {**merged(whole_log(one, folder) for one in logs), **beside}, None
        surveys = [survey(one.rows(), scope) for one in logs]
        want = wanted(surveys, scope)
        parts = [selected_log(one, found, want, folder) for one, found in zip(logs, surveys, strict=True)]
        return scope, {**merged(parts), **beside}, want.runs


def _still_there(scope: Scope, logs: Sequence[OpenLog]) -> Scope:
    """All that is left of everything: the time since the last entries that a log has let go of."""
    begins = max((begin for one in logs if (begin := one.log.whole_since()) is not None), default=None)
    if not scope.whole or begins is None:
        return scope
    return Scope(ScopeKind.PERIOD, since=begins, until=datetime.now(UTC) + timedelta(seconds=1))


def _run_of(member: str) -> str:
    match = verifier.PROVENANCE.fullmatch(member)
    return match[1] if match else ""


def adapter_digest(named: str) -> str:
    """The digest of an adapter, given as such, or as the folder of a released one.

    Raises:
        BadInputError: MODEL_UNKNOWN.
    """
    if verifier.DIGEST.fullmatch(named):
        return named
    path = Path(named) / PROVENANCE
    if path.is_file():
        for envelope in read_envelopes(read_file(path), name=path.name):
            for subject in Statement.from_bytes(envelope.payload).subjects:
                if subject.name == verifier.ADAPTER:
                    return subject.digest
    raise BadInputError("MODEL_UNKNOWN", "this names no model: neither a digest nor the folder of a released adapter",
                        hint=f"give sha256:… or a folder that holds {PROVENANCE}")


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
