"""Canonical bytes: the published vectors, and that a digest names a value and not a way to print it."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.canonical import canonical_bytes, digest, digest_bytes
from sekisho.governance.errors import BadDocumentError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "rfc8785.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS["documents"])
def test_published_documents_have_their_published_bytes(vector: dict[str, str]) -> None:
    assert canonical_bytes(json.loads(vector["input"])) == vector["canonical"].encode()


@pytest.mark.parametrize(("bits", "text"), VECTORS["numbers"])
def test_published_numbers_have_their_published_bytes(bits: str, text: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_bytes(value) == text.encode()


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60)
@given(JSON_VALUES)
def test_bytes_read_back_as_the_value_and_stay_the_same(value: object) -> None:
    data = canonical_bytes(value)
    assert json.loads(data) == value
    assert canonical_bytes(json.loads(data)) == data


def test_order_of_fields_does_not_change_the_digest_and_order_of_a_list_does() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_digest_is_the_sha256_of_the_bytes() -> None:
    assert digest({}) == digest_bytes(b"{}") == "sha256:" + hashlib.sha256(b"{}").hexdigest()


@pytest.mark.parametrize(
    "value",
    [2**53, -(2**53), math.nan, math.inf, "\ud800", {1: "a"}, {"a": {1, 2}}, b"bytes", Decimal("1.0"), [object()]],
)
def test_a_value_without_a_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(BadDocumentError) as refusal:
        canonical_bytes(value)
    assert refusal.value.code == "NOT_CANONICAL"
    assert refusal.value.hint
