"""Every message between coordinator and site, as a value.

A message is a canonical JSON header (RFC 8785), an Ed25519 signature over that header, and a payload whose parts the
header names by length and SHA-256. The header's body belongs to the closed set of models in bodies.py.

    wire = "SKM1" | header length, uint32 little endian | header | signature, 64 bytes | payload

Not here: who may send which message when (site/, coordinator/), and what may leave a site (gate/). Parsing never
executes, never allocates more than it was given, and knows no tensor and no key but signing keys.

Order of calls: ``sign_message`` at the sender; ``SignedMessage.from_bytes`` then ``verify`` at the receiver.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..governance.canonical import canonical_bytes, digest_bytes
from ..governance.errors import GovernanceError
from ..governance.signing.keys import PublicKey, SigningKey
from .bodies import (
    AnyBody,
    Body,
    Cohort,
    Count,
    Decline,
    Digest,
    Finish,
    Finished,
    Frame,
    Join,
    Judge,
    Judged,
    Kem,
    Kems,
    Keyed,
    LedgerHeadSeen,
    LogHead,
    Offer,
    Readies,
    Ready,
    ReleaseNotice,
    RunId,
    Secret,
    Secrets,
    SiteId,
    Step,
    Stop,
    Stopped,
)
from .errors import ProtocolError

# Bodies are asked for here: whoever needs one signs it or reads it.
__all__ = [
    "Body",
    "Cohort",
    "Count",
    "Decline",
    "Finish",
    "Finished",
    "Frame",
    "Header",
    "Join",
    "Judge",
    "Judged",
    "Kem",
    "Kems",
    "Keyed",
    "LedgerHeadSeen",
    "LogHead",
    "Offer",
    "Part",
    "Readies",
    "Ready",
    "ReleaseNotice",
    "Secret",
    "Secrets",
    "SignedMessage",
    "Step",
    "Stop",
    "Stopped",
    "sign_message",
]

MAGIC = b"SKM1"
SIGNATURE_CONTEXT = b"sekisho-message-v1\x00"  # domain separation: no other signed thing starts so
SIGNATURE_BYTES = 64
# Every site reads what every other says, twice (its log, its place): of n sites in one process 2n² parses of n
# messages. Two rounds of them from 127 sites are kept, but nothing with a payload: no share of a vector, however short.
# The longest honest one has 126 ML-KEM ciphertexts, 280 KiB; what is kept can never be more than 75 MiB.
KEPT_BYTES, KEPT_MESSAGES = 300 * 1024, 256
# The longest honest one lists 127 sites and is under 300 KiB (docs/scale.md); this bounds hostile input.
MAX_HEADER_BYTES = 4 * 1024 * 1024

class Part(BaseModel):
    """One piece of the payload, in order."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._:-]{0,95}$")
    length: int = Field(ge=0)
    digest: Digest


class Header(BaseModel):
    """What is signed. ``study`` is the study's id, ``run`` the run's, ``sender`` a party of the roster.

    ``log``: the sender's own log, in the messages that show it (governance/log/shown.py has which).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    version: Literal[2] = 2
    study: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    run: RunId
    sender: SiteId
    body: AnyBody
    parts: tuple[Part, ...] = ()
    log: LogHead | None = None


@dataclass(frozen=True)
class SignedMessage:
    """A message as it travels; ``parts`` maps each part's name to its bytes. Not verified until ``verify``."""

    header_bytes: bytes
    signature: bytes
    payload: bytes | memoryview  # of what was received it is a view: a sum of ten million parameters is not copied
    header: Header

    @property
    def body(self) -> Body:
        """The closed body of this message."""
        return self.header.body

    @property
    def digest(self) -> str:
        """SHA-256 over the header; the payload is bound by the header's parts."""
        return digest_bytes(self.header_bytes)

    def part(self, name: str) -> bytes:
        """One part of the payload, a copy. Raises ``ProtocolError`` when the header does not name it."""
        return bytes(self.view(name))

    def view(self, name: str) -> memoryview:
        """As ``part``, and nothing is copied: for what is as long as the vector. Holds the payload while it lives."""
        start = 0
        for part in self.header.parts:
            if part.name == name:
                return memoryview(self.payload)[start : start + part.length]
            start += part.length
        raise ProtocolError("PART_MISSING", f"the {self.header.body.kind} message has no part '{name}'")

    def is_from(self, sender: str, *, study: str, run: str) -> bool:
        """Whether its header names this sender, study and run; whose signature it is, ``verify`` says."""
        return (self.header.sender, self.header.study, self.header.run) == (sender, study, run)

    def to_bytes(self) -> bytes:
        """The wire form."""
        return b"".join((self.detached(), self.payload))

    def detached(self) -> bytes:
        """The wire form without payload: what a manifest forwards, header and signature only."""
        return b"".join((MAGIC, struct.pack("<I", len(self.header_bytes)), self.header_bytes, self.signature))

    @classmethod
    def from_bytes(cls, data: bytes, *, detached: bool = False, once: bool = False) -> SignedMessage:
        """Parse the wire form; ``once``: nobody here reads these bytes again, so nothing of them is remembered.

        Raises ``ProtocolError`` for anything that is not exactly one message.
        """
        # of bytes this is no copy, and of a buffer that its owner may write to again, the only safe one
        data = bytes(data)
        return cls._read(data, detached) if once or not _may_be_kept(data) else _read_again(data, detached)

    @classmethod
    def _read(cls, data: bytes, detached: bool) -> SignedMessage:
        # 1. frame
        if len(data) < len(MAGIC) + 4 + SIGNATURE_BYTES or data[:4] != MAGIC:
            raise ProtocolError("MESSAGE_MALFORMED", "the bytes are not a message of this protocol")
        (length,) = struct.unpack("<I", data[4:8])
        if length > MAX_HEADER_BYTES or len(data) < 8 + length + SIGNATURE_BYTES:
            raise ProtocolError("MESSAGE_MALFORMED", "the message is shorter than its header says")
        header_bytes = data[8 : 8 + length]
        signature = data[8 + length : 8 + length + SIGNATURE_BYTES]
        payload = memoryview(data)[8 + length + SIGNATURE_BYTES :]
        # 2. closed schema
        try:
            header = Header.model_validate_json(header_bytes, strict=True)
        except ValidationError as error:
            where = ".".join(str(step) for step in error.errors()[0]["loc"][:4])
            raise ProtocolError("MESSAGE_SCHEMA", f"the message's header is not of a known form at '{where}'") from None
        # 3. one canonical form, so that one meaning has one signature
        if canonical_bytes(header.model_dump(mode="json")) != header_bytes:
            raise ProtocolError("MESSAGE_NOT_CANONICAL", "the message's header is not in canonical form")
        # 4. the payload is what the header says
        if detached and payload:
            raise ProtocolError("MESSAGE_MALFORMED", "a detached header carries a payload")
        if not detached:
            _check_parts(header, payload)
        return cls(header_bytes, signature, payload, header)

    def verify(self, key: PublicKey) -> None:
        """Raises ``ProtocolError`` unless the signature over the header is by ``key``."""
        try:
            key.verify(self.signature, SIGNATURE_CONTEXT + self.header_bytes)
        except GovernanceError:
            told = f"the {self.header.body.kind} message is not signed by '{self.header.sender}'"
            raise ProtocolError("MESSAGE_FORGED", told) from None


def _may_be_kept(data: bytes) -> bool:
    """Whether ``data`` is a header and its signature, and nothing behind them."""
    return len(data) <= KEPT_BYTES and len(data) == 8 + int.from_bytes(data[4:8], "little") + SIGNATURE_BYTES


@lru_cache(maxsize=KEPT_MESSAGES)
def _read_again(data: bytes, detached: bool) -> SignedMessage:
    """A function of the bytes alone, and what it gives is frozen: who reads the same bytes again need not parse them.

    What is refused is not kept, and a signature is verified by each reader.
    """
    return SignedMessage._read(data, detached)


def _check_parts(header: Header, payload: memoryview) -> None:
    start = 0
    if len({part.name for part in header.parts}) != len(header.parts):
        raise ProtocolError("PART_TWICE", "the message names one part twice")
    for part in header.parts:
        piece = payload[start : start + part.length]
        if len(piece) != part.length or digest_bytes(piece) != part.digest:
            raise ProtocolError("PART_CHANGED", f"part '{part.name}' is not what the signed header says")
        start += part.length
    if start != len(payload):
        raise ProtocolError("MESSAGE_MALFORMED", "the message carries bytes that its header does not name")


def sign_message(
    body: Body,
    *,
    study: str,
    run: str,
    sender: str,
    key: SigningKey,
    parts: Mapping[str, bytes] | None = None,
    log: LogHead | None = None,
) -> SignedMessage:
    """Sign ``body`` and its ``parts`` (in the mapping's order) as ``sender``, who shows ``log``."""
    pieces = dict(parts or {})
    listed = tuple(Part(name=name, length=len(data), digest=digest_bytes(data)) for name, data in pieces.items())
    header = Header.model_validate(
        {"study": study, "run": run, "sender": sender, "body": body, "parts": listed, "log": log}
    )
    header_bytes = canonical_bytes(header.model_dump(mode="json"))
    return SignedMessage(header_bytes, key.sign(SIGNATURE_CONTEXT + header_bytes), b"".join(pieces.values()), header)
