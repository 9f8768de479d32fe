"""Signed heads of logs: C2SP signed notes, checkpoints and witness cosignatures, as text.

For: saying in one signed text "my log has this size and this root", and "I have seen it say so". Not for: the
tree itself (``merkle``), the entries (``auditlog``) or remembering what was seen (``witness``).

Order of calls: a log's owner ``sign_checkpoint``; anyone ``verify_checkpoint(text, origin, key)``; a witness
``cosign`` and appends the line; anyone ``verify_cosignature``.

The texts that one party's key signs cannot be mistaken for each other: a checkpoint begins with its origin, a
cosignature with ``cosignature/v1``, an envelope with ``DSSEv1``.

Sources: C2SP signed-note v1.0, tlog-checkpoint v1.0, tlog-cosignature v1.0 (Ed25519, timestamped).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from ..errors import BadSignatureError
from ..signing.keys import SIGNATURE_BYTES, PublicKey, SigningKey
from .merkle import HASH_BYTES

ED25519 = 0x01              # signature type bytes of signed-note
COSIGNATURE_V1 = 0x04
ORIGIN_HOST = "sekisho.example"
MAX_NOTE_BYTES = 64 * 2**10
VERIFIED_HEADS = 1024       # the heads of 127 sites in the messages of a few rounds; a note has 300 characters
MAX_SIGNATURES = 128        # 127 sites and the coordinator may cosign one head
MAX_SIZE = 2**53 - 1        # what every JSON reader has exactly
_DASH = "\u2014"
# Printable ASCII alone: languages differ in what else is a space, and all readers must know the same heads.
_NAME = re.compile(r"[!-*,-~]+")
_SIGNATURE_LINE = re.compile(_DASH + f" ({_NAME.pattern}) " + r"([A-Za-z0-9+/]+={0,2})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: whose it claims to be, and its bytes behind the four of the key id."""

    name: str
    key_id: bytes
    value: bytes

    def to_line(self) -> str:
        """The line, with its newline."""
        return f"{_DASH} {self.name} {base64.b64encode(self.key_id + self.value).decode('ascii')}\n"


@dataclass(frozen=True)
class Note:
    """A text that ends in a newline, and its signature lines; unverified until a key has been tried."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def to_text(self) -> str:
        """The signed note as it is stored and sent."""
        return self.text + "\n" + "".join(signature.to_line() for signature in self.signatures)

    @classmethod
    def parse(cls, text: str) -> Note:
        """Split a note at its last empty line.

        Raises:
            BadSignatureError: NOTE_MALFORMED.
        """
        if len(text.encode("utf-8", "replace")) > MAX_NOTE_BYTES:
            raise _malformed("a signed note is too large")
        if any(character < " " and character != "\n" for character in text) or not _is_unicode(text):
            raise _malformed("a signed note holds control characters")
        body, gap, tail = text.rpartition("\n\n")
        if not gap or not body or not tail.endswith("\n"):
            raise _malformed("a signed note has no signatures after an empty line")
        lines = tail.removesuffix("\n").split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise _malformed(f"a signed note has more than {MAX_SIGNATURES} signatures")
        return cls(body + "\n", tuple(_read_line(line) for line in lines))


@dataclass(frozen=True)
class Checkpoint:
    """A log's head: who the log is, how many entries it has, and their root hash (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.origin):
            raise _malformed("a checkpoint's origin is empty or holds spaces or plus signs")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise _malformed("a checkpoint's size or root is out of range")

    def to_text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the three lines. Extension lines are refused: ours have none, and nobody audits them.

        Raises:
            BadSignatureError: NOTE_MALFORMED.
        """
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] != "" or not _SIZE.fullmatch(lines[1]):
            raise _malformed("a checkpoint is not origin, size and root on three lines")
        checkpoint = cls(lines[0], int(lines[1]), _read_base64(lines[2]))
        if checkpoint.to_text() != text:
            raise _malformed("a checkpoint is not written in its one form")
        return checkpoint


def log_origin(study: str, party: str) -> str:
    """The origin line of a party's log: ``sekisho.example/<study>/<party>``.

    Raises:
        BadSignatureError: NOTE_MALFORMED.
    """
    if not _PART.fullmatch(study) or not _PART.fullmatch(party):
        raise _malformed("a study or party id cannot stand in a log's origin")
    return f"{ORIGIN_HOST}/{study}/{party}"


def note_key_id(name: str, key: PublicKey, kind: int = ED25519) -> bytes:
    """Four bytes that name a key in a signature line: SHA-256(name || newline || kind || key)[:4]."""
    return hashlib.sha256(name.encode("utf-8") + b"\n" + bytes((kind,)) + key.raw).digest()[:4]


def verifier_key(name: str, key: PublicKey, kind: int = ED25519) -> str:
    """The C2SP text of a public key: ``name+id+base64``."""
    material = base64.b64encode(bytes((kind,)) + key.raw).decode("ascii")
    return f"{name}+{note_key_id(name, key, kind).hex()}+{material}"


def sign_note(text: str, name: str, key: SigningKey) -> Note:
    """Sign ``text`` (ends in a newline) as ``name``.

    Raises:
        BadSignatureError: NOTE_MALFORMED.
    """
    if not _NAME.fullmatch(name) or not text.endswith("\n"):
        raise _malformed("a note's name or text cannot be signed")
    signature = NoteSignature(name, note_key_id(name, key.public), key.sign(text.encode("utf-8")))
    return Note.parse(Note(text, (signature,)).to_text())


def verify_note(note: Note, name: str, key: PublicKey) -> None:
    """Return if ``key``, known as ``name``, signed the note; other lines are ignored.

    Raises:
        BadSignatureError: NOTE_UNSIGNED (no line of this key), SIGNATURE_INVALID.
    """
    for signature in _lines_of(note, name, note_key_id(name, key)):
        key.verify(signature.value, note.text.encode("utf-8"))


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> str:
    """The log's own signature under its head; the key's name is the origin."""
    return sign_note(checkpoint.to_text(), checkpoint.origin, key).to_text()


@lru_cache(maxsize=VERIFIED_HEADS)
def verify_checkpoint(text: str, origin: str, key: PublicKey) -> Checkpoint:
    """The head of the log ``origin``, signed by ``key``.

    A function of its arguments alone: whoever asks for the same text, origin and key again is answered from memory.
    What is refused is not kept.

    Raises:
        BadSignatureError: NOTE_MALFORMED, NOTE_UNSIGNED, SIGNATURE_INVALID, ORIGIN_WRONG.
    """
    # 1. The signature: until it holds, the text says nothing.
    note = Note.parse(text)
    verify_note(note, origin, key)
    # 2. The text is a checkpoint, and of this log.
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != origin:
        raise BadSignatureError(
            "ORIGIN_WRONG", "a checkpoint belongs to another log", "ask the party for its own log's head"
        )
    return checkpoint


def cosign(text: str, name: str, key: SigningKey, at: datetime) -> str:
    """A witness's signature line over a note's text: as of ``at``, the largest consistent head it has seen.

    The caller has verified and persisted the checkpoint first (``witness``).
    """
    note = Note.parse(text)
    seconds = int(at.timestamp())
    value = key.sign(_cosigned_message(note.text, seconds))
    return NoteSignature(
        name, note_key_id(name, key.public, COSIGNATURE_V1), seconds.to_bytes(8, "big") + value
    ).to_line()


def with_cosignature(text: str, line: str) -> str:
    """The note with one more signature line."""
    return Note.parse(text + line).to_text()


def verify_cosignature(text: str, name: str, key: PublicKey) -> datetime:
    """When the witness ``name`` says it saw this head.

    Raises:
        BadSignatureError: NOTE_MALFORMED, NOTE_UNSIGNED, SIGNATURE_INVALID.
    """
    note = Note.parse(text)
    seconds = 0
    for signature in _lines_of(note, name, note_key_id(name, key, COSIGNATURE_V1)):
        if len(signature.value) != 8 + SIGNATURE_BYTES:
            raise BadSignatureError("SIGNATURE_INVALID", "a cosignature has the wrong length", "")
        seconds = int.from_bytes(signature.value[:8], "big")
        key.verify(signature.value[8:], _cosigned_message(note.text, seconds))
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise _malformed("a cosignature's time is out of range") from error


def _cosigned_message(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def _lines_of(note: Note, name: str, key_id: bytes) -> list[NoteSignature]:
    """The lines that claim this key: every one of them must verify, and there must be one."""
    lines = [line for line in note.signatures if line.name == name and line.key_id == key_id]
    if not lines:
        raise BadSignatureError(
            "NOTE_UNSIGNED", "a signed note lacks the signature of the key that was asked for",
            "ask the party to sign again with the key in the roster",
        )
    return lines


def _read_line(line: str) -> NoteSignature:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None or not _NAME.fullmatch(match[1]):
        raise _malformed("a signature line is not dash, name and base64")
    raw = _read_base64(match[2])
    if len(raw) <= 4:
        raise _malformed("a signature line holds no signature")
    return NoteSignature(match[1], raw[:4], raw[4:])


def _read_base64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed("a signed note holds something that is not base64") from error
    if base64.b64encode(raw).decode("ascii") != text:  # unused bits could spell one value in several ways
        raise _malformed("a signed note holds base64 in an unusual form")
    return raw


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _malformed(sentence: str) -> BadSignatureError:
    return BadSignatureError("NOTE_MALFORMED", sentence, "fetch it again from the log's owner")
