"""An adapter is one vector with names; equal adapters are equal files at every site."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from sekisho.core.errors import BadInputError
from sekisho.core.training.adapter import Adapter

VECTOR = np.linspace(-1.0, 1.0, 7)


def test_a_probe_is_a_weight_row_and_a_bias() -> None:
    parts = Adapter.for_probe(VECTOR).named()
    assert parts["probe.weight"].shape == (1, 6) and parts["probe.bias"].shape == (1,)
    assert np.array_equal(np.concatenate([part.ravel() for part in parts.values()]), VECTOR)


@settings(max_examples=50, deadline=None)
@given(
    shapes=st.lists(st.lists(st.integers(1, 4), min_size=0, max_size=3), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_file_is_read_by_the_published_library_and_by_us(shapes: list[list[int]], seed: int) -> None:
    arrays = tuple((f"layer.{index}", tuple(shape)) for index, shape in enumerate(shapes))
    adapter = Adapter(arrays, np.random.default_rng(seed).normal(size=Adapter.zeros(arrays).vector.size))
    data = adapter.to_safetensors()
    for name, array in load(data).items():
        assert np.array_equal(array, adapter.named()[name]) and array.dtype == np.float64
    again = Adapter.from_safetensors(data)
    assert again.arrays == arrays and again.digest == adapter.digest
    assert again.vector.tobytes() == adapter.vector.tobytes()


def test_one_changed_bit_is_another_digest() -> None:
    changed = VECTOR.copy()
    changed[3] = np.nextafter(changed[3], 1)
    assert Adapter.for_probe(changed).digest != Adapter.for_probe(VECTOR).digest
    assert Adapter((("probe.weight", (6, 1)), ("probe.bias", (1,))), VECTOR).digest != Adapter.for_probe(VECTOR).digest


def test_an_adapter_does_not_change_with_the_array_it_was_made_from() -> None:
    source = VECTOR.copy()
    adapter = Adapter.for_probe(source)
    before = adapter.digest
    source[0] = 9.0
    assert adapter.digest == before
    with pytest.raises(ValueError, match="read-only"):
        adapter.vector[0] = 9.0


def test_parts_must_fill_the_vector_and_be_finite() -> None:
    for arrays, vector in (
        ((("a", (2,)),), np.zeros(3)),
        ((), np.zeros(0)),
        ((("a", (3,)),), np.zeros(3, dtype=np.float32)),
        ((("a", (1,)),), np.array([np.nan])),
    ):
        with pytest.raises(BadInputError) as caught:
            Adapter(arrays, vector)  # type: ignore[arg-type]
        assert caught.value.code == "ADAPTER_SHAPE"


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 10_000), change=st.integers(1, 255))
def test_a_changed_file_is_refused_or_is_another_adapter(position: int, change: int) -> None:
    data = bytearray(Adapter.for_probe(VECTOR).to_safetensors())
    data[position % len(data)] ^= change
    try:
        read = Adapter.from_safetensors(bytes(data))
    except BadInputError:
        return
    assert read.digest != Adapter.for_probe(VECTOR).digest


def test_a_file_written_another_way_is_refused() -> None:
    header = json.dumps({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}).encode()
    for data in (b"", b"\x00" * 8, len(header).to_bytes(8, "little") + header + bytes(8)):
        with pytest.raises(BadInputError) as caught:
            Adapter.from_safetensors(data)
        assert caught.value.code == "ADAPTER_UNREADABLE"
