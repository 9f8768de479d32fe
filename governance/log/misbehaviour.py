"""Portable proofs that a party's log lied: signed by the party itself, checked by anybody, believed from nobody.

For: writing down a contradiction so that whoever has the party's public key finds it again, years later and without
this software (docs/formats/misbehaviour.md; the stand-alone verifier has its own reader). Not for: noticing one in a
run (core/site/witnessing.py, core/coordinator/witnessing.py), or what follows from it: there the run stops.

Order of calls: ``Proof(...)`` → ``check(proof, key)`` → ``store(folder, proof)``; later ``Proof.parse`` → ``check``.

What convicts is an order, or a head of one size that has two roots. Two heads alone have no order: an old one that
somebody replays is honest. So a rollback is shown by two numbered messages of one run, or by one message that
commits, by digest, to an earlier head of its own signer and then denies it.

Source: Go sumdb's proofs of misbehaviour; RFC 6962; C2SP tlog-checkpoint.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..canonical import canonical_bytes, digest_bytes
from ..errors import BadSignatureError, BrokenLogError, GovernanceError
from ..signing.keys import PublicKey
from .checkpoint import Checkpoint, verify_checkpoint
from .shown import SHOWING, Said, Shown, holds, malformed, owed, unproven
from .witness import Kind, contradiction

SCHEMA = "sekisho-misbehaviour/1"
MAX_BYTES = 16 * 2**20   # four messages of the longest header, in base64
NAME_DIGITS = 16         # of its digest: enough that no two proofs of one party share a name
MODE = 0o600


class Charge(StrEnum):
    """What a proof accuses of."""

    FORK = "fork"                  # two heads of one size, with two roots
    ROLLBACK = "rollback"          # a later message of one run shows fewer entries than an earlier one
    INCONSISTENT = "inconsistent"  # the next message of one run does not show that its head continues the last
    WITHHELD = "withheld"          # a message does not show its sender's log, or not the entry for what it says it did
    DISOWNED = "disowned"          # a message commits to an earlier head of its sender and does not continue it


CODES = {
    Charge.FORK: str(Kind.FORK),
    Charge.ROLLBACK: str(Kind.ROLLBACK),
    Charge.INCONSISTENT: str(Kind.INCONSISTENT),
    Charge.WITHHELD: "LOG_WITHHELD",
    Charge.DISOWNED: "LOG_DISOWNED",
}


@dataclass(frozen=True)
class Finding:
    """Of what a proof convicts the owner of the log ``origin``."""

    charge: Charge
    origin: str

    @property
    def code(self) -> str:
        """The code by which the run stopped."""
        return CODES[self.charge]


@dataclass(frozen=True)
class Proof:
    """An accusation and its evidence: signed notes (text) and signed messages (bytes), in the order of the format."""

    charge: Charge
    origin: str
    evidence: tuple[str | bytes, ...]

    def to_bytes(self) -> bytes:
        """Its RFC 8785 bytes."""
        return canonical_bytes(
            {
                "schema": SCHEMA,
                "kind": str(self.charge),
                "origin": self.origin,
                "evidence": [
                    {"note": one} if isinstance(one, str) else {"message": base64.b64encode(one).decode("ascii")}
                    for one in self.evidence
                ],
            }
        )

    @property
    def digest(self) -> str:
        """SHA-256 over its bytes."""
        return digest_bytes(self.to_bytes())

    @property
    def file_name(self) -> str:
        """Where it lies, in a folder or in a bundle's ``misbehaviour/``."""
        return f"{self.digest.removeprefix('sha256:')[:NAME_DIGITS]}.json"

    @classmethod
    def parse(cls, data: bytes) -> Proof:
        """Read one; only bytes that ``to_bytes`` could have written are accepted.

        Raises:
            BrokenLogError: MISBEHAVIOUR_MALFORMED.
        """
        if len(data) > MAX_BYTES:
            raise malformed("it is too large")
        try:
            value = json.loads(data)
            proof = cls(Charge(value["kind"]), str(value["origin"]), tuple(map(_read_piece, value["evidence"])))
            same = proof.to_bytes() == data
        except (ValueError, KeyError, TypeError, RecursionError, GovernanceError) as error:
            raise malformed("it is not of the form that one has") from error
        if not same:
            raise malformed("it is not written in its one form")
        return proof


def check(proof: Proof, key: PublicKey) -> Finding:
    """Of what ``proof`` convicts the party whose key is ``key``. Pure, and fails closed.

    Raises:
        BrokenLogError: MISBEHAVIOUR_MALFORMED, MISBEHAVIOUR_UNPROVEN.
    """
    rule = {
        Charge.FORK: _check_fork,
        Charge.ROLLBACK: _check_rollback,
        Charge.INCONSISTENT: _check_inconsistent,
        Charge.WITHHELD: _check_withheld,
        Charge.DISOWNED: _check_disowned,
    }[proof.charge]
    try:
        rule(proof, key)
    except (KeyError, TypeError, ValueError, BadSignatureError) as error:
        raise unproven("its evidence is not of the form that convicts") from error
    return Finding(proof.charge, proof.origin)


def convicts(proof: Proof, key: PublicKey) -> bool:
    """Whether ``check`` finds anything."""
    try:
        check(proof, key)
    except BrokenLogError:
        return False
    return True


def store(folder: Path, proof: Proof) -> Path:
    """Write a proof into ``folder``, for its owner alone and durably; one that lies there already stays as it is.

    Raises:
        BrokenLogError: MISBEHAVIOUR_UNWRITABLE.
    """
    path = folder / proof.file_name
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if path.exists():
            return path
        draft = path.with_suffix(".part")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(proof.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        _sync(folder)
    except OSError as error:
        raise BrokenLogError(
            "MISBEHAVIOUR_UNWRITABLE", "a proof of misbehaviour cannot be stored",
            "free some space beside the study; the signed heads are kept in the witness file",
        ) from error
    return path


def read_all(folder: Path) -> tuple[Proof, ...]:
    """The proofs in ``folder``, by name; none where there is no folder. Raises as ``Proof.parse`` does."""
    if not folder.is_dir():
        return ()
    return tuple(Proof.parse(path.read_bytes()) for path in sorted(folder.glob("*.json")))


# --- the rules, one a charge ------------------------------------------------------------------------------------------


def _check_fork(proof: Proof, key: PublicKey) -> None:
    # 1. two heads of this log, signed by its key
    one, other = (verify_checkpoint(note, proof.origin, key) for note in _notes(proof, 2))
    # 2. of one size, and yet not of one history
    if one.size != other.size or one.root == other.root:
        raise unproven("its two heads do not contradict each other")


def _check_rollback(proof: Proof, key: PublicKey) -> None:
    # 1. two messages of the party, in one run, whose order it signed itself
    earlier, later = _ordered(proof, key)
    if earlier.number >= later.number:
        raise unproven("its messages are not in order")
    # 2. and the later log is shorter
    if later.head.size >= earlier.head.size:
        raise unproven("the log did not become shorter")


def _check_inconsistent(proof: Proof, key: PublicKey) -> None:
    # 1. two messages of the party, in one run, one right after the other
    earlier, later = _ordered(proof, key)
    if later.number != earlier.number + 1:
        raise unproven("its messages are not one right after the other")
    # 2. the later one owes a proof that its head continues the earlier one, and its proof is none
    if not _denies(earlier.head, later):
        raise unproven("the later head is shown to continue the earlier one")


def _check_withheld(proof: Proof, key: PublicKey) -> None:
    # 1. a message of the party, of a kind that shows its log
    (said,) = _messages(proof, 1)
    said.verify(proof.origin, key)
    if said.kind not in SHOWING:
        raise unproven("its message is of a kind that shows no log")
    # 2. and it shows no head, or lacks an entry for what it says itself
    shown = said.shown(key)
    if shown is not None and holds(shown, owed(said)):
        raise unproven("its message shows all that it owes")


def _check_disowned(proof: Proof, key: PublicKey) -> None:
    """The party committed to a message that holds an earlier head of its own, and owed the proof from it.

    Only the two messages in which that proof is due count: the coordinator's ``cohort``, which carries the joins, and
    a site's ``kem``, which answers the cohort. Through any other commitment a party could be shown what it never read.
    """
    messages = _messages(proof)
    said = messages[0]
    # 1. the message of the party
    said.verify(proof.origin, key)
    shown = said.shown(key)
    if shown is None:
        raise unproven("its message shows no log")
    # 2. it commits to the cohort: as its sender, or in answer to it
    if said.kind == "cohort":
        cohort, rest = said, messages[1:]
    elif said.kind == "kem" and len(messages) > 1 and messages[1].digest == shown.answers:
        cohort, rest = messages[1], messages[2:]
    else:
        raise unproven("its first message commits to no cohort")
    if cohort.kind != "cohort":
        raise unproven("what its first message answers is no cohort")
    # 3. the cohort says itself, or one of its joins says, which head of the party was seen
    witness = cohort
    if rest:
        (witness,) = rest
        if witness.kind != "join" or cohort.part(f"join:{witness.header['sender']}") != digest_bytes(witness.raw):
            raise unproven("its join is not in that cohort")
    if witness is said:
        raise unproven("nobody but the party itself says which head was seen")
    log = witness.header["log"]
    seen = verify_checkpoint(str(log["seen"][said.header["sender"]]), proof.origin, key)
    # 4. and the party's head is not shown to continue it
    if not _denies(seen, shown):
        raise unproven("the head is shown to continue the one that was seen")


def _denies(earlier: Checkpoint, later: Shown) -> bool:
    return contradiction(earlier, later.head, later.proof_from(earlier.size)) is not None


def _ordered(proof: Proof, key: PublicKey) -> tuple[Shown, Shown]:
    messages = _messages(proof, 2)
    for said in messages:
        said.verify(proof.origin, key)
    if messages[0].header["run"] != messages[1].header["run"]:
        raise unproven("its messages are of two runs")
    earlier, later = (said.shown(key) for said in messages)
    if earlier is None or later is None:
        raise unproven("a message in it shows no log")
    return earlier, later


def _notes(proof: Proof, count: int) -> list[str]:
    notes = [one for one in proof.evidence if isinstance(one, str)]
    if len(notes) != count or len(proof.evidence) != count:
        raise unproven("its evidence is not two signed heads")
    return notes


def _messages(proof: Proof, count: int | None = None) -> Sequence[Said]:
    messages = [Said.parse(one) for one in proof.evidence if isinstance(one, bytes)]
    if not messages or len(messages) != len(proof.evidence) or count not in (None, len(messages)):
        raise unproven("its evidence is not so many signed messages")
    return messages


def _read_piece(piece: Any) -> str | bytes:
    if isinstance(piece, dict) and set(piece) == {"note"} and isinstance(piece["note"], str):
        return str(piece["note"])
    if isinstance(piece, dict) and set(piece) == {"message"} and isinstance(piece["message"], str):
        try:
            return base64.b64decode(piece["message"], validate=True)
        except binascii.Error as error:
            raise ValueError from error
    raise ValueError


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
