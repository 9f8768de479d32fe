"""Papers, one party's log, and what it saw of others' logs, as members of an evidence bundle.

For: `compliance export` over all parties (pilot/evidence.py) and a person's request at one site (subject_request.py).
Not for: which entries a scope holds (governance/evidence/selection.py), or writing the bundle. Logs are written into a
folder of the caller's own, entry by entry, so that none has to fit memory.

Order of calls: `open_logs` -> `whole_log` or `selected_log` of each -> `witnessed_heads`, `contradictions`,
`misbehaviour_of`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...governance.errors import BadDocumentError, BadSignatureError
from ...governance.evidence.bundle import Member, consistency_member, selected_line
from ...governance.evidence.selection import Row, Survey, Wanted, selected
from ...governance.log.auditlog import AuditLog
from ...governance.log.checkpoint import Checkpoint, Note, sign_checkpoint, verify_cosignature
from ...governance.log.misbehaviour import Charge, Proof
from ...governance.log.witness import Witness
from ...governance.signing.keys import PublicKey, SigningKey
from ...governance.signing.roster import Party, Roster
from ..errors import BadInputError
from ..parties import LOG_NAME, key_path, load_key, log_origin, state_folder
from ..watching import PROOFS, WITNESS_NAME
from .papers import ROSTERS, SIGNATURES, earlier_rosters, read_file

_PROOF_NAME = re.compile(r"[0-9a-f]{16}\.json")


@dataclass(frozen=True)
class OpenLog:
    """A party's log, its signed head of now, and the folder that it lies in."""

    party: Party
    log: AuditLog
    note: str
    state: Path
    key: SigningKey

    def head_at(self, size: int) -> str:
        """The log's own signed head at ``size`` entries, as its message of that moment showed it."""
        return sign_checkpoint(Checkpoint(self.log.origin, size, self.log.root(size)), self.key)

    def rows(self) -> Iterator[Row]:
        """What the rules of a selection read, entry by entry."""
        return (Row.read(index, body) for index, body in self.log.rows())


def keys_lie_together(study_folder: Path, roster: Roster, parties: Sequence[str]) -> bool:
    """Whether this machine has the keys of all of them: then nothing shows that they were apart."""
    return all(key_path(study_folder, party, demo=roster.demo).exists() for party in parties)


@contextmanager
def open_logs(study_folder: Path, study: str, roster: Roster, parties: Sequence[str]) -> Iterator[list[OpenLog]]:
    """The logs of these parties.

    Raises:
        BadInputError: NO_LOG. BrokenLogError: a damaged log. Refused: KEY_MISSING.
    """
    with ExitStack() as stack:
        found = []
        for name in parties:
            state = state_folder(study_folder, name, coordinator=name == roster.coordinator.id)
            if not (state / LOG_NAME).exists():
                raise BadInputError(
                    "NO_LOG",
                    f"'{name}' has no log beside this study yet",
                    hint="evidence exists once a run was asked for: run the pilot first",
                )
            key = load_key(study_folder, name, demo=roster.demo)
            log = stack.enter_context(AuditLog.open(state / LOG_NAME, origin=log_origin(study, name), key=key))
            found.append(OpenLog(roster.party(name), log, log.checkpoint(), state, key))
        yield found


def whole_log(one: OpenLog, folder: Path) -> dict[str, Member]:
    """Every entry, one a line, and the head."""
    path = folder / f"{one.party.id}.jsonl"
    _write_lines(path, (body + b"\n" for body in one.log.entries()))
    return {f"logs/{one.party.id}.jsonl": path, f"logs/{one.party.id}.checkpoint": one.note.encode("utf-8")}


def selected_log(
    one: OpenLog, found: Survey, want: Wanted, folder: Path, *, also: Collection[int] = ()
) -> dict[str, Member]:
    """The entries of the selection and those numbered ``also``, each with its proof, and the head."""
    chosen = frozenset(selected(one.rows(), found, want)) | frozenset(also)
    path = folder / f"{one.party.id}.selected.jsonl"
    _write_lines(path, (
        selected_line(index, body, one.log.inclusion(index))
        for index, body in one.log.rows() if index in chosen
    ))  # fmt: skip
    return {f"logs/{one.party.id}.selected.jsonl": path, f"logs/{one.party.id}.checkpoint": one.note.encode("utf-8")}


def witnessed_heads(logs: Sequence[OpenLog], *, whole: bool) -> dict[str, Member]:
    """What each of these parties saw of each other's logs; in a selection with proofs that they go on from there."""
    members: dict[str, Member] = {}
    for witness in logs:
        for one in logs:
            note = _cosigned(witness, one) if one is not witness else None
            if note is None:
                continue
            name = f"witnessed/{witness.party.id}/{one.party.id}"
            members[f"{name}.checkpoint"] = note.encode("utf-8")
            if not whole:
                size = Checkpoint.parse(Note.parse(note).text).size
                # a head beyond the log is what the verifier must see; no proof leads there
                proof = one.log.consistency(size) if size <= one.log.size else ()
                members[f"{name}.consistency"] = consistency_member(proof)
    return members


def heads_of_others(one: OpenLog, study: str, roster: Roster) -> dict[str, Member]:
    """What one party saw of everybody else's logs, also of those that lie on other machines."""
    members: dict[str, Member] = {}
    for party in roster.parties:
        note = None if party.id == one.party.id else _seen_by(one, log_origin(study, party.id), party.key)
        if note is not None:
            members[f"witnessed/{one.party.id}/{party.id}.checkpoint"] = note.encode("utf-8")
    return members


def contradictions(logs: Sequence[OpenLog]) -> dict[str, Member]:
    """Forks that nobody noticed in a run: to export is to compare, too.

    Where a witness saw, signed, another head than the log has at that size, the party's two heads are the proof.
    """
    members: dict[str, Member] = {}
    for witness in logs:
        for one in logs:
            note = _cosigned(witness, one) if one is not witness else None
            seen = Checkpoint.parse(Note.parse(note).text) if note is not None else None
            if note is None or seen is None or seen.size > one.log.size or one.log.root(seen.size) == seen.root:
                continue
            proof = Proof(Charge.FORK, one.log.origin, (note, one.head_at(seen.size)))
            members[f"misbehaviour/{proof.file_name}"] = proof.to_bytes()
    return members


def misbehaviour_of(logs: Iterable[OpenLog]) -> dict[str, Member]:
    """The proofs of misbehaviour that these parties keep, as they lie there."""
    return {
        f"misbehaviour/{path.name}": read_file(path)
        for one in logs
        for path in sorted((one.state / PROOFS).glob("*.json"))
        if _PROOF_NAME.fullmatch(path.name)
    }


def _cosigned(witness: OpenLog, one: OpenLog) -> str | None:
    return _seen_by(witness, one.log.origin, one.party.key)


def _seen_by(witness: OpenLog, origin: str, key: PublicKey) -> str | None:
    """The newest head of a log that a party saw and cosigned; None where it saw none, or signed under an older key."""
    path = witness.state / WITNESS_NAME
    if not path.exists():
        return None
    with closing(Witness(path)) as seen:
        note = seen.cosigned(origin, key)
    return note if note is not None and _carries(note, witness.log.origin, witness.party.key) else None


def _carries(note: str, name: str, key: PublicKey) -> bool:
    try:
        verify_cosignature(note, name, key)
    except BadSignatureError:
        return False
    return True


def _write_lines(path: Path, lines: Iterable[bytes]) -> None:
    try:
        with path.open("wb") as file:
            file.writelines(lines)
    except OSError as error:
        raise BadDocumentError(
            "EVIDENCE_UNWRITABLE", f"the evidence cannot be written ({error.strerror})",
            "choose a folder that you may write to and that has room", file=path.name,
        ) from None


def merged(parts: Iterable[Mapping[str, Member]]) -> dict[str, Member]:
    """Members of several logs together; they never share a name."""
    return {name: member for part in parts for name, member in part.items()}


def papers_of(study_folder: Path, sites: Sequence[str]) -> dict[str, bytes]:
    """Roster and those before it, study, base-model record and the policies of ``sites``, each with its signatures."""
    paths: Mapping[str, Path] = {
        **{name: study_folder / name for name in ("roster.yaml", "study.yaml", "base-model.yaml")},
        **{f"policies/{site}.yaml": study_folder / "sites" / site / "policy.yaml" for site in sites},
    }
    roster = Roster.parse(read_file(paths["roster.yaml"]), "roster.yaml")
    earlier = [f"{ROSTERS}/{one.roster.version}.yaml" for one in earlier_rosters(study_folder, roster)]
    members: dict[str, bytes] = {}
    for name, path in (*paths.items(), *((name, study_folder / name) for name in earlier)):
        members[name] = read_file(path)
        members[name + SIGNATURES] = read_file(path.with_name(path.name + SIGNATURES))
    return members
