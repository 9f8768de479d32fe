"""What a signed message of a run shows of its sender's log, and what it owes: rules over the bytes that travelled.

For: whoever judges a message long after the run, with nothing but its bytes and the sender's public key. Not for: who
may send which message when (core/), remembering heads (``witness``), or naming a contradiction (``misbehaviour``).

Order of calls: ``Said.parse`` → ``verify`` → ``shown`` → ``owed`` and ``holds``.

A message is read here once more and by itself, because those who re-check a proof have no protocol to run: its frame,
one canonical JSON header, one Ed25519 signature. docs/formats/misbehaviour.md has all of it.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..canonical import canonical_bytes, digest_bytes
from ..errors import BadSignatureError, BrokenLogError, GovernanceError
from ..signing.keys import SIGNATURE_BYTES, PublicKey
from .checkpoint import Checkpoint, log_origin, verify_checkpoint
from .entries import Entry
from .merkle import HASH_BYTES, leaf_hash, verify_inclusion
from .witness import MAX_PROOF

# As in core/messages.py, which this house cannot import; a test holds them to each other.
MAGIC = b"SKM1"
SIGNATURE_CONTEXT = b"sekisho-message-v1\x00"
MAX_HEADER_BYTES = 4 * 2**20
HEARD_BY_ALL = 256       # messages: two rounds of 127 sites
VERSION = 2              # of the header; earlier messages owed nothing of their sender's log
_LENGTH = struct.Struct("<I")
# Who sends one of these shows its log in it. All others (sealed shares, key checks, refusals, stops) show nothing.
COORDINATORS = ("offer", "cohort", "kems", "secrets", "step", "count", "readies", "judge", "finish")
SITES = ("join", "kem", "ready")
SHOWING = frozenset((*COORDINATORS, *SITES))


@dataclass(frozen=True)
class ShownEntry:
    """One entry of the log, with the audit path from it to the head of the same message."""

    index: int
    body: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class Shown:
    """A sender's log in one message: the ``number``-th such message of this sender in this run.

    ``continued``: size -> proof that the head continues the head of that size. ``seen``: party -> the newest signed
    head of its log that the sender has. ``answers``: the digest of the message that this one answers, "" for none.
    """

    number: int
    note: str
    head: Checkpoint
    continued: Mapping[int, tuple[bytes, ...]]
    entries: tuple[ShownEntry, ...]
    seen: Mapping[str, str]
    answers: str

    def proof_from(self, size: int) -> tuple[bytes, ...]:
        """The proof from the head of ``size``; empty where there is none, which proves nothing but an equal head."""
        return self.continued.get(size, ())


@dataclass(frozen=True)
class Owed:
    """An entry that a message owes: of this type, and holding at least these references and figures."""

    type: str
    refs: Mapping[str, str]
    data: Mapping[str, int]

    def met_by(self, entry: Entry) -> bool:
        """Whether ``entry`` is one."""
        return (
            entry.type == self.type
            and self.refs.items() <= entry.refs.items()
            and self.data.items() <= entry.data.items()
        )


@dataclass(frozen=True)
class Said:
    """One message as it was signed; of its payload only what the header says. Unverified until ``verify``."""

    raw: bytes
    header_bytes: bytes
    signature: bytes
    header: Mapping[str, Any]

    @classmethod
    def parse(cls, raw: bytes) -> Said:
        """Read a message without its payload: header and signature, nothing behind them.

        Raises:
            BrokenLogError: MISBEHAVIOUR_MALFORMED.
        """
        if raw[:4] != MAGIC or len(raw) < 8 + SIGNATURE_BYTES:
            raise malformed("a message in it is none")
        (length,) = _LENGTH.unpack_from(raw, 4)
        if length > MAX_HEADER_BYTES or len(raw) != 8 + length + SIGNATURE_BYTES:
            raise malformed("a message in it is longer or shorter than it says")
        header_bytes = raw[8 : 8 + length]
        try:
            header = json.loads(header_bytes)
            one_form = canonical_bytes(header)
        except (ValueError, RecursionError, GovernanceError) as error:
            raise malformed("a message's header is not JSON") from error
        if one_form != header_bytes or not _is_header(header):
            raise malformed("a message's header is not a header in its one form")
        return cls(raw, header_bytes, raw[8 + length :], header)

    @classmethod
    def of(cls, header_bytes: bytes, signature: bytes, *, once: bool = False) -> Said:
        """A message that core/messages.py has read and verified already: its form is not looked at again.

        Of equal arguments the same value, which nobody changes: each of n parties keeps the last message of each other,
        and where they share a process, they share those bytes. ``once``: nobody else here reads it.
        """
        return _read(header_bytes, signature) if once else _said_of(header_bytes, signature)

    @property
    def digest(self) -> str:
        """SHA-256 over the header: by this a message is answered and cited."""
        return digest_bytes(self.header_bytes)

    @property
    def origin(self) -> str:
        """The origin of the sender's log. Raises as ``parse`` does."""
        try:
            return log_origin(self.header["study"], self.header["sender"])
        except BadSignatureError as error:
            raise malformed("a message's study or sender cannot be one") from error

    @property
    def kind(self) -> str:
        """The kind of its body."""
        return str(self.header["body"]["kind"])

    def verify(self, origin: str, key: PublicKey) -> None:
        """Return if it is ``key``'s, whose log is ``origin``.

        Raises:
            BrokenLogError: MISBEHAVIOUR_UNPROVEN.
        """
        try:
            key.verify(self.signature, SIGNATURE_CONTEXT + self.header_bytes)
        except GovernanceError as error:
            raise unproven("a message in it is not signed by whom it accuses") from error
        if self.origin != origin:
            raise unproven("a message in it is of another party or study")

    def part(self, name: str) -> str | None:
        """The digest of one part of its payload; None where it has no such part."""
        return next((one["digest"] for one in self.header["parts"] if one["name"] == name), None)

    def shown(self, key: PublicKey) -> Shown | None:
        """What it shows of its sender's log; None where that is nothing, or no head that ``key`` signed."""
        log = self.header.get("log")
        if not isinstance(log, dict):
            return None
        try:
            return Shown(
                number=_whole(log["number"]),
                note=str(log["note"]),
                head=verify_checkpoint(str(log["note"]), self.origin, key),
                continued={int(size): _hashes(proof) for size, proof in log["continued"].items()},
                entries=tuple(
                    ShownEntry(_whole(one["index"]), str(one["entry"]).encode("utf-8"), _hashes(one["proof"]))
                    for one in log["entries"]
                ),
                seen={str(party): str(note) for party, note in log["seen"].items()},
                answers=str(log["answers"] or ""),
            )
        except (BadSignatureError, KeyError, TypeError, ValueError, AttributeError):
            return None


@lru_cache(maxsize=HEARD_BY_ALL)
def _said_of(header_bytes: bytes, signature: bytes) -> Said:
    return _read(header_bytes, signature)


def _read(header_bytes: bytes, signature: bytes) -> Said:
    raw = MAGIC + _LENGTH.pack(len(header_bytes)) + header_bytes + signature
    return Said(raw, header_bytes, signature, json.loads(header_bytes))


def owed(said: Said) -> tuple[Owed, ...]:
    """The entries that a message owes by what it says itself: its sender did this before, and so logged it.

    Raises:
        KeyError, TypeError, ValueError: the body lacks what a body of its kind has.
    """
    body, run = said.header["body"], str(said.header["run"])
    match said.kind:
        case "offer":
            return (Owed("study.offered", {"run": run, "study": str(body["study_bytes"])}, {}),)
        case "cohort":
            return tuple(Owed("run.joined", {"run": run, "site": str(site)}, {}) for site in body["sites"])
        case "step" | "count" | "finish":
            return _owed_of_outcome(said, body, run)
    return ()


def _owed_of_outcome(said: Said, body: Mapping[str, Any], run: str) -> tuple[Owed, ...]:
    last = _whole(body["step"]) - (said.kind == "step")  # a step message names the step that it begins
    if body["previous"] == "summed":
        return (Owed("step.summed", {"run": run, "sum": said.part("sum") or ""}, {"step": last}),)
    if body["previous"] == "abandoned":
        return (Owed("step.abandoned", {"run": run}, {"step": last}),)
    # Nothing is open and it is not the beginning: a count came before, and what became of it is logged.
    if said.kind == "step" and last > 0:
        return (Owed("validation.opened", {"run": run}, {"step": last}),)
    if said.kind == "count" and _whole(body["number"]) > 1:
        return (Owed("validation.opened", {"run": run}, {"count": _whole(body["number"]) - 1}),)
    return ()


def holds(shown: Shown, debts: Sequence[Owed]) -> bool:
    """Whether each of ``debts`` is among the shown entries that are where the head says.

    A cohort owes an entry for each of its n sites and shows n: each is looked for in the log once, not for each debt.
    """
    if not debts:
        return True
    there = [entry for one in shown.entries if (entry := _in_log(one, shown.head)) is not None]
    return all(any(debt.met_by(entry) for entry in there) for debt in debts)


def _in_log(one: ShownEntry, head: Checkpoint) -> Entry | None:
    try:
        verify_inclusion(one.index, head.size, leaf_hash(one.body), one.proof, head.root)
        return Entry.from_bytes(one.body)
    except BrokenLogError:
        return None


def malformed(sentence: str) -> BrokenLogError:
    """Bytes that are no proof of misbehaviour at all."""
    return BrokenLogError("MISBEHAVIOUR_MALFORMED", f"a proof of misbehaviour cannot be read: {sentence}", "")


def unproven(sentence: str) -> BrokenLogError:
    """A proof that proves nothing: it convicts nobody."""
    hint = "it accuses without showing; do not pass it on"
    return BrokenLogError("MISBEHAVIOUR_UNPROVEN", f"a proof of misbehaviour does not hold: {sentence}", hint)


def _is_header(header: Any) -> bool:
    """Of the form that is read here; whoever signs anything else has signed no message."""
    if not isinstance(header, dict) or header.get("version") != VERSION:
        return False
    if not all(isinstance(header.get(name), str) for name in ("study", "run", "sender")):
        return False
    body, parts = header.get("body"), header.get("parts")
    if not isinstance(body, dict) or not isinstance(body.get("kind"), str) or not isinstance(parts, list):
        return False
    return all(
        isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("digest"), str)
        for one in parts
    )


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _hashes(values: Any) -> tuple[bytes, ...]:
    if not isinstance(values, list) or len(values) > MAX_PROOF:
        raise ValueError
    try:
        read = tuple(base64.b64decode(value, validate=True) for value in values)
    except binascii.Error as error:
        raise ValueError from error
    if any(len(one) != HASH_BYTES for one in read):
        raise ValueError
    return read
