"""The adapter as a value: named arrays <-> one flat vector <-> a safetensors file, and the digest of that file.

For: what a run trains and a release carries. Not for: how it changes (optimizer.py), or the base model it belongs to,
which is named beside it in the provenance statement.

Order of calls: ``Adapter.for_probe(vector)`` or ``Adapter(arrays, vector)`` -> ``to_safetensors`` / ``digest``.

The bytes are written here, not by a library, so that equal adapters have equal files at every site: fields in the
order of the vector, float64 little endian, header padded to eight bytes.
Source: the safetensors format, https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError

Arrays = tuple[tuple[str, tuple[int, ...]], ...]

FORMAT = "sekisho-adapter/1"
LARGEST_HEADER = 1 << 20  # names and shapes of a few thousand arrays


@dataclass(frozen=True, eq=False)
class Adapter:
    """``arrays`` names the parts and their shapes in the order in which they lie in ``vector``, float64 [d].

    Raises:
        BadInputError: ADAPTER_SHAPE when the parts do not fill the vector, or a number is not finite.
    """

    arrays: Arrays
    vector: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = sum(math.prod(shape) for _, shape in self.arrays)
        if self.vector.dtype != np.float64 or self.vector.shape != (count,) or not self.arrays:
            _refuse("ADAPTER_SHAPE", "the parts of the adapter do not fill its vector")
        if not np.isfinite(self.vector).all():
            _refuse("ADAPTER_SHAPE", "the adapter holds a number that is not finite")
        frozen = self.vector.copy()
        frozen.setflags(write=False)
        object.__setattr__(self, "vector", frozen)

    @classmethod
    def for_probe(cls, vector: NDArray[np.float64]) -> Adapter:
        """A linear head [w; b]: ``probe.weight`` (1, d − 1) and ``probe.bias`` (1,), as a torch Linear names them."""
        return cls((("probe.weight", (1, vector.size - 1)), ("probe.bias", (1,))), vector)

    @classmethod
    def for_head(cls, vector: NDArray[np.float64]) -> Adapter:
        """A head by itself, [w; b], as a LoRA release names it."""
        return cls((("head.weight", (1, vector.size - 1)), ("head.bias", (1,))), vector)

    @classmethod
    def zeros(cls, arrays: Arrays) -> Adapter:
        """An adapter of zeros: where every site starts."""
        return cls(arrays, np.zeros(sum(math.prod(shape) for _, shape in arrays)))

    def named(self) -> dict[str, NDArray[np.float64]]:
        """Each part in its shape; read-only views of the vector."""
        parts: dict[str, NDArray[np.float64]] = {}
        start = 0
        for name, shape in self.arrays:
            end = start + math.prod(shape)
            parts[name] = self.vector[start:end].reshape(shape)
            start = end
        return parts

    def to_safetensors(self) -> bytes:
        """The adapter as a safetensors file; the same bytes for the same adapter on every machine."""
        header: dict[str, object] = {"__metadata__": {"format": FORMAT}}
        start = 0
        for name, shape in self.arrays:
            end = start + 8 * math.prod(shape)
            header[name] = {"dtype": "F64", "shape": list(shape), "data_offsets": [start, end]}
            start = end
        text = json.dumps(header, separators=(",", ":")).encode("utf-8")
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text + self.vector.astype("<f8").tobytes()

    @classmethod
    def from_safetensors(cls, data: bytes) -> Adapter:
        """Read what ``to_safetensors`` wrote. Raises ``BadInputError`` ADAPTER_UNREADABLE for anything else."""
        length = int.from_bytes(data[:8], "little")
        if len(data) < 8 or not 2 <= length <= min(LARGEST_HEADER, len(data) - 8):
            _refuse("ADAPTER_UNREADABLE", "the file is not an adapter of this software")
        try:
            header: dict[str, Any] = json.loads(data[8 : 8 + length])
            arrays = tuple((name, tuple(entry["shape"])) for name, entry in header.items() if name != "__metadata__")
            adapter = cls(arrays, np.frombuffer(data[8 + length :], dtype="<f8").astype(np.float64))
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            _refuse("ADAPTER_UNREADABLE", "the file is not an adapter of this software")
        # One form only: whatever else the header may say, the same adapter has the same bytes.
        if adapter.to_safetensors() != data:
            _refuse("ADAPTER_UNREADABLE", "the file is not written as this software writes adapters")
        return adapter

    @property
    def digest(self) -> str:
        """ "sha256:<hex>" of the file that ``to_safetensors`` gives."""
        return "sha256:" + hashlib.sha256(self.to_safetensors()).hexdigest()


def _refuse(code: str, sentence: str) -> NoReturn:
    raise BadInputError(code, sentence, "take the adapter from the run that made it") from None
