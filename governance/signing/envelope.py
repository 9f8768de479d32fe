"""DSSE envelopes around in-toto Statements: every signed document of governance is signed and verified here.

For: turning a statement (these digests, this claim) into signed bytes, and back. Not for: deciding whose
signature counts, which is ``approvals``; nor for the messages of a run or a log's signed heads.

Order of calls: ``sign_statement(Statement(...), [key])`` -> ``Envelope.to_bytes()`` beside the signed file;
later ``read_envelopes(data)`` -> ``verify_envelope(envelope, keys)`` -> statement and the ids of the keys
that really signed. Nothing of a payload is read before a signature over it has verified.

A file of signatures holds one envelope a line (the in-toto bundle form): people can sign on different days.

Sources: DSSE v1.0 protocol.md and envelope.md; in-toto Attestation Framework, Statement v1; RFC 8785.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NoReturn, TypeGuard

from ..canonical import canonical_bytes, is_digest
from ..errors import BadDocumentError, BadSignatureError, GovernanceError
from .keys import PublicKey
from .signer import Signer

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATES: Mapping[str, str] = MappingProxyType(
    {
        name: f"urn:sekisho:attestation:{name}:v1"
        for name in (
            "policy-approval", "study-approval", "release-approval", "roster", "training-run", "base-model",
            "stop", "stop-list", "evidence", "release", "revocation-list",
        )
    }
)
MAX_ENVELOPE_BYTES = 4 * 2**20   # a training run's statement for 127 sites is far below 1 MiB
MAX_SIGNATURES = 64              # more signers than any roster threshold asks for
MAX_ENVELOPES = 256              # lines in one file of signatures
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class Subject:
    """What a statement is about: a name for people and the ``sha256:`` digest that counts."""

    name: str
    digest: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or not is_digest(self.digest):
            raise _bad_statement("a subject is not a name and sha256 with 64 hex digits")


@dataclass(frozen=True)
class Statement:
    """An in-toto Statement v1. ``predicate`` is a JSON object without floating-point numbers.

    Raises:
        BadSignatureError: STATEMENT_MALFORMED.
    """

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.subjects:
            raise _bad_statement("a statement has no subject")
        if not isinstance(self.predicate_type, str) or not isinstance(self.predicate, Mapping):
            raise _bad_statement("a statement's predicate or its type is malformed")

    @property
    def digests(self) -> frozenset[str]:
        """The digests of the subjects; names are for people and never compared."""
        return frozenset(subject.digest for subject in self.subjects)

    def to_bytes(self) -> bytes:
        """The RFC 8785 bytes that are signed."""
        return canonical_bytes(
            {
                "_type": STATEMENT_TYPE,
                "subject": [
                    {"name": subject.name, "digest": {"sha256": subject.digest.removeprefix("sha256:")}}
                    for subject in self.subjects
                ],
                "predicateType": self.predicate_type,
                "predicate": dict(self.predicate),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Statement:
        """Read a payload strictly: exactly these fields, and exactly the canonical bytes.

        Raises:
            BadSignatureError: STATEMENT_MALFORMED.
        """
        value = _read_json(data)
        if not isinstance(value, dict) or set(value) != {"_type", "subject", "predicateType", "predicate"}:
            raise _bad_statement("a statement does not have exactly the four fields of in-toto v1")
        if value["_type"] != STATEMENT_TYPE or not isinstance(value["subject"], list):
            raise _bad_statement("a statement is not of in-toto's first version")
        subjects = tuple(_read_subject(item) for item in value["subject"])
        statement = cls(subjects, value["predicateType"], value["predicate"])
        try:
            canonical = statement.to_bytes()
        except GovernanceError as error:  # a number or a text that RFC 8785 cannot write
            raise _bad_statement(error.sentence) from error
        if canonical != data:  # one statement, one spelling: no duplicate keys, no hidden white space
            raise _bad_statement("a statement is not written in its canonical form")
        return statement


@dataclass(frozen=True)
class Signature:
    """64 bytes, and a hint which key made them; the hint decides nothing."""

    key_id: str
    value: bytes


@dataclass(frozen=True)
class Envelope:
    """A DSSE envelope; what is in it is unverified until ``verify_envelope`` returns."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def to_bytes(self) -> bytes:
        """One line of JSON, ending in a newline."""
        return canonical_bytes(
            {
                "payloadType": self.payload_type,
                "payload": base64.b64encode(self.payload).decode("ascii"),
                "signatures": [
                    {"keyid": item.key_id, "sig": base64.b64encode(item.value).decode("ascii")}
                    for item in self.signatures
                ],
            }
        ) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Read one envelope. Unknown fields are ignored, as DSSE demands; duplicate ones are refused.

        Raises:
            BadSignatureError: ENVELOPE_MALFORMED.
        """
        value = _read_json(data)
        if not isinstance(value, dict):
            raise _bad_envelope("an envelope is not a JSON object")
        payload_type, payload, signatures = (value.get(k) for k in ("payloadType", "payload", "signatures"))
        if not _is_ascii(payload_type) or not isinstance(payload, str):
            raise _bad_envelope("an envelope lacks its payload or payload type")
        if not isinstance(signatures, list) or not 1 <= len(signatures) <= MAX_SIGNATURES:
            raise _bad_envelope(f"an envelope does not hold between 1 and {MAX_SIGNATURES} signatures")
        return cls(payload_type, _read_base64(payload), tuple(_read_signature(item) for item in signatures))

    def signed_by(self, key: Signer) -> Envelope:
        """The same envelope with one more signature over the same payload."""
        text = pre_authentication(self.payload_type, self.payload)
        signature = Signature(key.public.key_id, key.sign(text))
        others = tuple(item for item in self.signatures if item.key_id != signature.key_id)
        return Envelope(self.payload_type, self.payload, (*others, signature))


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """DSSE's PAE: what is really signed. Lengths are counted in bytes, not characters."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_statement(statement: Statement, keys: Sequence[Signer]) -> Envelope:
    """Sign ``statement`` with every key in ``keys``.

    Raises:
        BadSignatureError: NO_SIGNER.
    """
    if not keys:
        raise BadSignatureError("NO_SIGNER", "a statement was to be signed without a key", "name a key file")
    payload = statement.to_bytes()
    Statement.from_bytes(payload)  # never sign what no reader would accept
    envelope = Envelope(PAYLOAD_TYPE, payload, ())
    for key in keys:
        envelope = envelope.signed_by(key)
    return envelope


def verify_envelope(envelope: Envelope, keys: Mapping[str, PublicKey]) -> tuple[Statement, frozenset[str]]:
    """The statement, and the ids of those of ``keys`` that signed it (at least one).

    A signature whose hint names none of ``keys`` is skipped: a stranger may sign too, and does not count.

    Raises:
        BadSignatureError: PAYLOAD_TYPE_WRONG, SIGNATURE_MISSING (none by these keys), STATEMENT_MALFORMED.
    """
    # 1. The type is inside what is signed, and we read one type only.
    if envelope.payload_type != PAYLOAD_TYPE:
        raise BadSignatureError(
            "PAYLOAD_TYPE_WRONG", "an envelope holds something else than an in-toto statement",
            "have the people whom the roster names sign the file as it stands",
        )
    # 2. At least one of these keys signed exactly these bytes.
    signed_by = verified_keys(envelope, keys.values())
    if not signed_by:
        raise BadSignatureError(
            "SIGNATURE_MISSING", "no signature of an envelope fits a known key",
            "the signed text was changed, or its signer is not in the roster",
        )
    # 3. Only now are the bytes read.
    return Statement.from_bytes(envelope.payload), signed_by


def verified_keys(envelope: Envelope, keys: Iterable[PublicKey]) -> frozenset[str]:
    """The ids of those of ``keys`` that signed ``envelope``; other signatures are passed over."""
    known = {key.key_id: key for key in keys}  # computed again: a caller's table cannot rename a key
    text = pre_authentication(envelope.payload_type, envelope.payload)
    found: set[str] = set()
    for signature in envelope.signatures:
        candidates = known.values() if not signature.key_id else filter(None, [known.get(signature.key_id)])
        found.update(key.key_id for key in candidates if _fits(key, signature.value, text))
    return frozenset(found)


def read_envelopes(data: bytes, *, name: str) -> tuple[Envelope, ...]:
    """A file of signatures: one envelope a line, at least one.

    Raises:
        BadDocumentError: SIGNATURES_UNREADABLE with file name and line.
    """
    if len(data) > MAX_ENVELOPE_BYTES or data.count(b"\n") > MAX_ENVELOPES:
        raise _unreadable(name, 0, f"a file of signatures is too large or has over {MAX_ENVELOPES} lines")
    envelopes = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            envelopes.append(Envelope.from_bytes(line))
        except BadSignatureError as error:
            raise _unreadable(name, number, error.sentence) from error
    return tuple(envelopes)


def write_envelopes(envelopes: Sequence[Envelope]) -> bytes:
    """The bytes of a file of signatures."""
    return b"".join(envelope.to_bytes() for envelope in envelopes)


def read_time(text: object) -> datetime:
    """An RFC 3339 time with its zone, as aware UTC.

    Raises:
        BadSignatureError: TIME_MALFORMED.
    """
    if isinstance(text, str) and _TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    sentence, hint = "a time is not RFC 3339 with a zone", "write it like 2099-12-31T00:00:00+00:00"
    raise BadSignatureError("TIME_MALFORMED", sentence, hint)


def write_time(moment: datetime) -> str:
    """An aware time as RFC 3339 in UTC; one without a zone raises BadSignatureError TIME_MALFORMED."""
    if moment.tzinfo is None:
        raise BadSignatureError("TIME_MALFORMED", "a time has no zone", "use aware datetimes")
    return moment.astimezone(UTC).isoformat()


def _fits(key: PublicKey, signature: bytes, text: bytes) -> bool:
    try:
        key.verify(signature, text)
    except BadSignatureError:
        return False
    return True


def _is_ascii(value: object) -> TypeGuard[str]:
    """Our payload types and key ids are ASCII; JSON could also smuggle halves of characters."""
    return isinstance(value, str) and value.isascii()


def _read_json(data: bytes) -> Any:
    """JSON without duplicate keys, floats, or a size and depth that could hurt."""
    if len(data) > MAX_ENVELOPE_BYTES:
        raise _bad_envelope("an envelope is too large")
    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float
        )
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _bad_envelope("an envelope or its payload is not plain JSON") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value


def _no_float(_: str) -> NoReturn:
    raise ValueError("floating-point number")


def _read_base64(text: str) -> bytes:
    """Standard or URL-safe alphabet: DSSE verifiers must accept both."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad_envelope("an envelope holds something that is not base64") from error


def _read_signature(item: object) -> Signature:
    if not isinstance(item, dict) or not isinstance(item.get("sig"), str):
        raise _bad_envelope("an envelope's signature is malformed")
    key_id = item.get("keyid", "")
    if not _is_ascii(key_id):
        raise _bad_envelope("an envelope's key id is malformed")
    return Signature(key_id, _read_base64(item["sig"]))


def _read_subject(item: object) -> Subject:
    if not isinstance(item, dict) or set(item) != {"name", "digest"}:
        raise _bad_statement("a subject does not have exactly a name and a digest")
    digest = item["digest"]
    if not isinstance(digest, dict) or set(digest) != {"sha256"}:
        raise _bad_statement("a subject's digest is not sha256 alone")
    return Subject(item["name"], f"sha256:{digest['sha256']}")


def _bad_statement(sentence: str) -> BadSignatureError:
    return BadSignatureError("STATEMENT_MALFORMED", sentence, "sign the file again as it stands")


def _bad_envelope(sentence: str) -> BadSignatureError:
    return BadSignatureError("ENVELOPE_MALFORMED", sentence, "restore the file of signatures from its signer")


def _unreadable(name: str, line: int, sentence: str) -> BadDocumentError:
    hint = "restore the file of signatures from its signer"
    return BadDocumentError("SIGNATURES_UNREADABLE", sentence, hint, file=name, line=line)
