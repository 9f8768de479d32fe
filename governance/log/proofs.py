"""One entry's proof as a text file: C2SP tlog-proof, which other people's tools read as well.

For: handing somebody one entry of a log and what shows that it is in there, without the log. Not for: whole logs
(``evidence``), or whether the log's signed head was ever withdrawn, which only its witnesses can say.

Order of calls: ``TlogProof(...).to_text()`` writes; ``TlogProof.parse(text)`` reads, and proves nothing;
``verify_proof(proof, ...)`` returns the entry's bytes or raises.

The entry travels in the ``extra`` line. The format does not authenticate that line, and need not: its hash is the leaf
that the proof begins with.

Source: C2SP tlog-proof v1; RFC 6962 section 2.1.1. Stricter than the format's Go reader where the format says MUST: no
leading zero, no carriage return, base64 in its one form.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import BadSignatureError
from ..signing.keys import PublicKey
from .checkpoint import MAX_NOTE_BYTES, Checkpoint, verify_checkpoint, verify_cosignature
from .entries import MAX_ENTRY_BYTES
from .merkle import HASH_BYTES, MAX_LEVELS, leaf_hash, verify_inclusion

HEADER = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
# Base64 makes four characters of three bytes; a hash and its newline are 45.
MAX_PROOF_BYTES = MAX_ENTRY_BYTES * 4 // 3 + MAX_LEVELS * 45 + MAX_NOTE_BYTES + 128
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
_MAX_INDEX = 2**63 - 1
_EXTRA = "extra "


@dataclass(frozen=True)
class TlogProof:
    """Entry ``index`` of a log, hashes from its sibling to the root's child, and the head that they lead to.

    ``checkpoint`` is a signed note, verbatim, with as many cosignatures as were given. ``extra`` None: no such line.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index <= _MAX_INDEX or len(self.hashes) > MAX_LEVELS:
            raise _malformed("a proof's index or number of hashes is out of range")
        if any(len(one) != HASH_BYTES for one in self.hashes):
            raise _malformed(f"a proof holds a hash that is not {HASH_BYTES} bytes")
        if not self.checkpoint.endswith("\n"):
            raise _malformed("a proof holds no checkpoint that ends in a newline")

    def to_text(self) -> str:
        """The proof as it is stored (``.tlog-proof``) and sent."""
        extra = [] if self.extra is None else [_EXTRA + _base64(self.extra)]
        lines = [HEADER, *extra, f"index {self.index}", *map(_base64, self.hashes), "", self.checkpoint]
        return "\n".join(lines)

    @classmethod
    def parse(cls, text: str) -> TlogProof:
        """Read a proof; only what ``to_text`` could have written is accepted.

        Raises:
            BadSignatureError: PROOF_MALFORMED.
        """
        if len(text) > MAX_PROOF_BYTES:
            raise _malformed("a proof is too large")
        head, gap, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if lines.pop(0) != HEADER:
            raise _malformed(f"a proof does not begin with {HEADER}")
        extra = _read_base64(lines.pop(0)[len(_EXTRA) :]) if lines and lines[0].startswith(_EXTRA) else None
        index = _INDEX.fullmatch(lines.pop(0)) if lines else None
        if index is None:
            raise _malformed("a proof has no line with the index of its entry")
        if not gap or not checkpoint:
            raise _malformed("a proof has no checkpoint after an empty line")
        return cls(int(index[1]), tuple(map(_read_base64, lines)), checkpoint, extra)


def verify_proof(
    proof: TlogProof,
    *,
    origin: str,
    key: PublicKey,
    entry: bytes | None = None,
    witnesses: Mapping[str, PublicKey] | None = None,
) -> tuple[bytes, Checkpoint]:
    """The entry's bytes and the head of the log ``origin``, signed by ``key``, that it is in.

    ``entry`` is what you hold already; without it the one in the proof is taken. Every one of ``witnesses`` (name ->
    key) must have cosigned the head.

    Raises:
        BadSignatureError: PROOF_MALFORMED, PROOF_OF_ANOTHER (not of ``entry``), the codes of ``verify_checkpoint`` and
            ``verify_cosignature``.
        BrokenLogError: INCLUSION_INVALID.
    """
    # 1. The head is this log's, and was seen by those who should have seen it.
    head = verify_checkpoint(proof.checkpoint, origin, key)
    for name, witness in (witnesses or {}).items():
        verify_cosignature(proof.checkpoint, name, witness)
    # 2. What is proved is the entry that was asked about.
    body = proof.extra if entry is None else entry
    if body is None:
        raise _malformed("a proof does not hold its entry, and none was given beside it")
    if proof.extra is not None and body != proof.extra:
        hint = "ask for the proof of your entry"
        raise BadSignatureError("PROOF_OF_ANOTHER", "a proof holds another entry than the one that was given", hint)
    # 3. Its hash leads to the root that was signed.
    verify_inclusion(proof.index, head.size, leaf_hash(body), proof.hashes, head.root)
    return body, head


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _read_base64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed("a proof holds something that is not base64") from error
    if _base64(raw) != text:  # unused bits could spell one value in several ways
        raise _malformed("a proof holds base64 in an unusual form")
    return raw


def _malformed(sentence: str) -> BadSignatureError:
    return BadSignatureError("PROOF_MALFORMED", sentence, "ask for it again")
