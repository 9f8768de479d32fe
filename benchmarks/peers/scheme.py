"""What benchmarks/aggregation.py asks of every way to sum vectors: the same acts, so that one clock times them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


class Scheme(ABC):
    """One way for ``sites`` sites to have the mean of their float32[d] vectors."""

    name: str
    opener = "site"  # who undoes the protection of the sum: every site, or the server once
    exact_integers = False  # True where ``grid`` makes integers whose sum must come out as it is

    def __init__(self, sites: int, dimension: int) -> None:
        self.sites = sites
        self.dimension = dimension

    def grid(self, vector: Vector) -> NDArray[Any]:
        """What is handed to ``upload``. Not part of the sum, not timed with it: training makes it."""
        return vector

    @abstractmethod
    def upload(self, site: int, values: NDArray[Any]) -> bytes:
        """A site's bytes on the wire."""

    @abstractmethod
    def total(self) -> Any:
        """An empty sum at the coordinator."""

    @abstractmethod
    def add(self, total: Any, site: int, wire: bytes) -> Any:
        """The sum with one more site's bytes, read and checked as far as the scheme does."""

    @abstractmethod
    def down(self, total: Any) -> bytes:
        """The bytes that every site gets."""

    @abstractmethod
    def open(self, data: bytes) -> NDArray[Any]:
        """The sum (of integers) or the mean (of floats) from these bytes."""

    def mean(self, opened: NDArray[Any]) -> NDArray[np.float64]:
        """The mean as float64[d]."""
        return np.asarray(opened, np.float64)
