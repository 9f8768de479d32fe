"""A site's state of one run as a file: the safetensors format, written in pieces straight from the arrays.

For: ``pieces``, which never holds a second copy of the state. Not for: what the state means (state.py), or the atomic
and durable replacement (parties.py). Fields lie as in an adapter's file (training/adapter.py): float64 little endian.
Source: the safetensors format, https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

PIECE = 1 << 17  # numbers, one MiB: what is copied at a time on a machine whose bytes lie the other way round


def pieces(arrays: Mapping[str, NDArray[np.float64]], about: Mapping[str, object]) -> Iterator[bytes]:
    """The file in order. ``arrays`` float64 [d] each; ``about`` goes into the header's metadata as one JSON text."""
    header: dict[str, object] = {"__metadata__": {"state": json.dumps(about)}}
    start = 0
    for name, array in arrays.items():
        end = start + 8 * array.size
        header[name] = {"dtype": "F64", "shape": list(array.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for array in arrays.values():
        for first in range(0, array.size, PIECE):
            yield array[first : first + PIECE].astype("<f8").tobytes()
