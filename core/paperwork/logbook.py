"""A party's log looked at by somebody who holds no key: all of it recomputed, or one entry handed over with its proof.

For: ``sekisho compliance fsck`` and ``proof``. Not for: writing or signing anything, or judging what entries say; the
files are opened for reading alone, also while a run is going on.

Order of calls: ``check_log(folder, party, progress)``; ``prove_entry(folder, party, index)`` -> ``write_proof``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...governance.errors import BrokenLogError
from ...governance.log.checkpoint import verify_checkpoint
from ...governance.log.copy import LAST_HEAD
from ...governance.log.fsck import FsckReport, Witnessed, recompute, recompute_witnessed
from ...governance.log.logfile import check_claim, open_to_read, stored_node
from ...governance.log.merkle import inclusion_proof
from ...governance.log.proofs import TlogProof, verify_proof
from ...governance.signing.roster import Party, Roster
from ..errors import BadInputError, CheckFailedError
from ..parties import LOG_NAME, READABLE, log_origin, state_folder, write_whole
from ..site.papers import read_file, read_study

WITNESS_NAME = "witness.sqlite"
ENTRY = "SELECT body FROM entries WHERE i = ?"


@dataclass(frozen=True)
class Checked:
    """What was recomputed of one party's files. ``witnessed`` None: it has witnessed nobody yet."""

    party: str
    log: FsckReport
    witnessed: Witnessed | None


def parties_with_logs(study_folder: Path) -> tuple[str, ...]:
    """Those of the study's sites and the coordinator whose log is here. Raises as reading the papers does."""
    roster = _roster(study_folder)
    everybody = (*read_study(study_folder).sites, roster.coordinator.id)
    return tuple(party for party in everybody if _path_of(study_folder, roster, party).exists())


def check_log(study_folder: Path, party: str, progress: Callable[[int, int], None] | None = None) -> Checked:
    """Recompute a party's log and hold every head that it witnessed against its signature.

    Raises:
        BadInputError: NO_LOG. Refused: PARTY_UNKNOWN.
        CheckFailedError: LOG_DAMAGED, LOG_OF_ANOTHER, ENTRY_MALFORMED, each naming the party.
    """
    roster, study = _roster(study_folder), read_study(study_folder)
    path, owner = _log_of(study_folder, roster, party)
    origin = log_origin(study.id, party)
    keys = {log_origin(study.id, one.id): one.key for one in roster.parties}
    try:
        with closing(open_to_read(path)) as connection:
            check_claim(connection, origin, owner.key.key_id)
            report = recompute(connection, origin, owner.key, progress=progress)
        seen = path.with_name(WITNESS_NAME)
        if not seen.exists():
            return Checked(party, report, None)
        with closing(open_to_read(seen)) as connection:
            return Checked(party, report, recompute_witnessed(connection, keys))
    except BrokenLogError as error:
        raise CheckFailedError(error.code, f"{party}: {error.sentence}", error.hint) from error


def prove_entry(study_folder: Path, party: str, index: int) -> TlogProof:
    """Entry ``index`` of a party's log, its proof, and the last signed head, which it was verified against.

    Raises:
        BadInputError: NO_LOG, NO_SUCH_ENTRY (none, or none that a head covers yet). Refused: PARTY_UNKNOWN.
        BrokenLogError: LOG_DAMAGED, LOG_OF_ANOTHER, INCLUSION_INVALID. BadSignatureError: of the head.
    """
    roster, study = _roster(study_folder), read_study(study_folder)
    path, owner = _log_of(study_folder, roster, party)
    origin = log_origin(study.id, party)
    with closing(open_to_read(path)) as connection:
        check_claim(connection, origin, owner.key.key_id)
        try:
            head, row = connection.execute(LAST_HEAD).fetchone(), connection.execute(ENTRY, (index,)).fetchone()
        except sqlite3.Error as error:
            raise BrokenLogError("LOG_DAMAGED", "a log cannot be read", "run fsck on it") from error
        if head is None or row is None or index >= head[0]:
            hint = "`sekisho compliance export` signs a head over everything that is there"
            raise BadInputError("NO_SUCH_ENTRY", f"'{party}' has signed for no entry {index} of its log", hint)
        size = verify_checkpoint(head[1], origin, owner.key).size
        hashes = inclusion_proof(index, size, partial(stored_node, connection))
    proof = TlogProof(index, hashes, str(head[1]), bytes(row[0]))
    verify_proof(proof, origin=origin, key=owner.key)
    return proof


def write_proof(path: Path, proof: TlogProof) -> None:
    """Write a proof for others to read. Raises BadInputError: FILE_UNWRITABLE."""
    try:
        write_whole(path, proof.to_text().encode("utf-8"), READABLE)
    except OSError as error:
        sentence = f"{path.name} cannot be written ({error.strerror})"
        raise BadInputError("FILE_UNWRITABLE", sentence, "give --out a place that can be") from error


def _roster(study_folder: Path) -> Roster:
    return Roster.parse(read_file(study_folder / "roster.yaml"), "roster.yaml")


def _path_of(study_folder: Path, roster: Roster, party: str) -> Path:
    return state_folder(study_folder, party, coordinator=party == roster.coordinator.id) / LOG_NAME


def _log_of(study_folder: Path, roster: Roster, party: str) -> tuple[Path, Party]:
    owner = roster.party(party)
    path = _path_of(study_folder, roster, party)
    if not path.exists():
        sentence = f"'{party}' has no log beside this study"
        raise BadInputError("NO_LOG", sentence, "it has one once a run was asked for, on the machine of that party")
    return path, owner
