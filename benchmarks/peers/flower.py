"""Flower's SecAgg+ (flwr 1.42) by its own library functions, in the order in which its client and server call them.

Timed: quantise, private and pairwise masks, serialise (client); read, add, unmask, dequantise (server). Left out, as on
our side: key agreement, secret sharing and transport, so its messages are the arrays' bytes alone. Parameters are the
defaults of ``SecAggPlusWorkflow`` with every site a neighbour of every other; all weights are equal and the largest
allowed. flwr is no dependency of this repository: where it is not installed, the benchmark says so and goes on.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sekisho.benchmarks.peers.scheme import Scheme, Vector

CLIPPING_RANGE, QUANTIZATION_RANGE, MODULUS_RANGE = 8.0, 4_194_304, 4_294_967_296
SEED_BYTES = 32


class SecAggPlus(Scheme):
    """Raises ImportError where flwr is not there."""

    opener = "server"

    def __init__(self, sites: int, dimension: int) -> None:
        super().__init__(sites, dimension)
        from flwr.common import bytes_to_ndarray, ndarray_to_bytes
        from flwr.common.secure_aggregation import ndarrays_arithmetic, quantization, secaggplus_utils

        self.name = "Flower SecAgg+, functions"
        self._to_bytes, self._from_bytes = ndarray_to_bytes, bytes_to_ndarray
        self._arithmetic, self._quantization = ndarrays_arithmetic, quantization
        self._masks = secaggplus_utils.pseudo_rand_gen
        self._private = [os.urandom(SEED_BYTES) for _ in range(sites)]
        self._pairs = {(a, b): os.urandom(SEED_BYTES) for b in range(sites) for a in range(b)}

    def upload(self, site: int, values: Vector) -> bytes:
        arithmetic = self._arithmetic
        parameters = arithmetic.parameters_multiply([values], 1.0)
        arrays = self._quantization.quantize(parameters, CLIPPING_RANGE, QUANTIZATION_RANGE)
        arrays = arithmetic.factor_combine(QUANTIZATION_RANGE, arrays)
        shapes = [array.shape for array in arrays]
        arrays = arithmetic.parameters_addition(arrays, self._masks(self._private[site], MODULUS_RANGE, shapes))
        for peer in range(self.sites):
            if peer != site:
                mask = self._masks(self._pairs[min(site, peer), max(site, peer)], MODULUS_RANGE, shapes)
                combine = arithmetic.parameters_addition if site > peer else arithmetic.parameters_subtraction
                arrays = combine(arrays, mask)
        factor, vector = arithmetic.parameters_mod(arrays, MODULUS_RANGE)
        self._factor = self._to_bytes(factor)
        return self._factor + self._to_bytes(vector)

    def total(self) -> list[NDArray[Any]]:
        return [np.zeros(1, np.int64), np.zeros(self.dimension, np.int64)]

    def add(self, total: list[NDArray[Any]], site: int, wire: bytes) -> list[NDArray[Any]]:
        cut = len(self._factor)
        arrays = [self._from_bytes(wire[:cut]), self._from_bytes(wire[cut:])]
        summed: list[NDArray[Any]] = self._arithmetic.parameters_addition(total, arrays)
        return summed

    def down(self, total: list[NDArray[Any]]) -> bytes:
        # what the server sends is the mean that it has unmasked
        self._summed = total
        return bytes(self._to_bytes(self._unmasked()))

    def open(self, data: bytes) -> NDArray[Any]:
        return self._unmasked()

    def _unmasked(self) -> NDArray[Any]:
        arithmetic, arrays = self._arithmetic, self._arithmetic.parameters_mod(self._summed, MODULUS_RANGE)
        for seed in self._private:
            mask = self._masks(seed, MODULUS_RANGE, arithmetic.get_parameters_shape(arrays))
            arrays = arithmetic.parameters_subtraction(arrays, mask)
        factor, rest = arithmetic.factor_extract(arithmetic.parameters_mod(arrays, MODULUS_RANGE))
        (mean,) = self._quantization.dequantize(rest, CLIPPING_RANGE, QUANTIZATION_RANGE)
        mean -= (self.sites - 1) * CLIPPING_RANGE
        mean *= QUANTIZATION_RANGE / factor
        result: NDArray[Any] = mean
        return result
