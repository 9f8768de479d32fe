"""The header of a safetensors file, held against every byte of the file, without reading a tensor.

For: ``count_elements(name, path)``. Not for: loading weights (training/model.py), other formats: there are none.

Source: the safetensors format, https://huggingface.co/docs/safetensors (8 bytes of length, a JSON header that begins
with a brace, one buffer in which the tensors lie one behind the other).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from .files import refuse

LARGEST_HEADER = 10 << 20  # a header names tensors; a model of 100 billion parameters needs 1 MiB
MOST_AXES = 16  # tensors of models have four; a product of very many large numbers would take very long
METADATA = "__metadata__"

ELEMENT_BYTES: Mapping[str, int] = MappingProxyType(
    {
        "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
        "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
    }
)  # fmt: skip


def count_elements(name: str, path: Path) -> int:
    """The number of stored elements of the file ``path``, which is called ``name`` in a refusal.

    Raises:
        BaseModelRefusedError: BASE_MODEL_HEADER unless the header describes every byte of the buffer exactly once.
        OSError: what cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= size - 8:
            _bad(name, "its length is impossible")
        if length > LARGEST_HEADER:
            _bad(name, f"it is larger than {LARGEST_HEADER >> 20} MiB")
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        _bad(name, "it is not JSON")
    if not isinstance(header, dict):
        _bad(name, "it is not a table of tensors")
    _check_metadata(name, header.pop(METADATA, {}))
    spans: list[tuple[int, int]] = []
    elements = 0
    for entry in header.values():
        count, begin, end = _tensor(name, entry)
        spans.append((begin, end))
        elements += count
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            _bad(name, "tensors overlap or leave a gap")
        position = end
    if not spans or position != size - 8 - length:
        _bad(name, "it does not describe the whole file")
    return elements


def _check_metadata(name: str, metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _bad(name, "its remarks are not text")


def _tensor(name: str, entry: Any) -> tuple[int, int, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        _bad(name, "a tensor is not described as the format says")
    width = ELEMENT_BYTES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    shape, offsets = entry["shape"], entry["data_offsets"]
    if width is None or not _whole(shape) or not _whole(offsets) or len(offsets) != 2:
        _bad(name, "a tensor is not described as the format says")
    count = math.prod(shape)
    if offsets[1] - offsets[0] != count * width:
        _bad(name, "a tensor's size does not fit its shape")
    return count, offsets[0], offsets[1]


def _whole(values: Any) -> bool:
    if not isinstance(values, list) or len(values) > MOST_AXES:
        return False
    return all(type(value) is int and 0 <= value < 2**48 for value in values)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError
    return table


def _bad(name: str, why: str) -> NoReturn:
    refuse("BASE_MODEL_HEADER", f"the header of {name} is not sound: {why}", "restore the weights from their source",
           file=name, why=why)
