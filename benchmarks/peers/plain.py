"""Vectors sent as they are, in float32 or float16: no protection at all, the bytes to measure against."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sekisho.benchmarks.peers.scheme import Scheme, Vector


class Plain(Scheme):
    """Little-endian floats; the server adds in float32 and sends the mean back as it came."""

    def __init__(self, kind: DTypeLike, sites: int, dimension: int) -> None:
        super().__init__(sites, dimension)
        self._kind = np.dtype(kind).newbyteorder("<")
        self.name = f"plain {np.dtype(kind).name}"

    def upload(self, site: int, values: Vector) -> bytes:
        return values.astype(self._kind).tobytes()

    def total(self) -> Vector:
        return np.zeros(self.dimension, np.float32)

    def add(self, total: Vector, site: int, wire: bytes) -> Vector:
        return np.add(total, np.frombuffer(wire, self._kind), out=total)

    def down(self, total: Vector) -> bytes:
        return (total / np.float32(self.sites)).astype(self._kind).tobytes()

    def open(self, data: bytes) -> NDArray[Any]:
        return np.frombuffer(data, self._kind)
