"""RFC 8785 bytes and digests: the one form in which a value is signed, hashed or compared.

Not for: reading files (document.py), signing (signing/envelope.py).

    canonical_bytes(value) -> digest_bytes(data) = digest(value)

The same bytes come out on every machine, so a digest names a value, not one program's way to print it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import rfc8785

from .errors import BadDocumentError

JSON_TYPES = "null, true or false, whole number, text, list or mapping"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def canonical_bytes(value: Any) -> bytes:
    """UTF-8 bytes of a JSON value as RFC 8785 writes them.

    ``value``: mappings with text keys, lists or tuples, text, whole numbers up to 2^53 - 1, finite binary
    floats, booleans, None. Exact decimals are text. Raises BadDocumentError NOT_CANONICAL for anything else.
    """
    _refuse_foreign_types(value)
    try:
        return bytes(rfc8785.dumps(value))
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise BadDocumentError(
            "NOT_CANONICAL",
            "a value has no canonical JSON form",
            "write whole numbers beyond 2^53 and exact decimals as text",
        ) from error


def digest_bytes(data: bytes | memoryview) -> str:
    """SHA-256 of bytes as ``"sha256:" + 64 hex digits``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """SHA-256 over the RFC 8785 bytes of a JSON value."""
    return digest_bytes(canonical_bytes(value))


def is_digest(text: object) -> bool:
    """Whether this is a digest as it is written here."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def _refuse_foreign_types(value: Any) -> None:
    # Enumerations of text or int are fine; bytes and sets are not: they have no JSON form or no order.
    if value is None or isinstance(value, str | bool | int | float):
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise BadDocumentError("NOT_CANONICAL", "a key of a mapping is not text", "use text keys")
            _refuse_foreign_types(item)
        return
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        for item in value:
            _refuse_foreign_types(item)
        return
    raise BadDocumentError(
        "NOT_CANONICAL", f"a value of type {type(value).__name__} has no canonical JSON form", f"use {JSON_TYPES}"
    )
