"""CKKS through TenSEAL's own interface: as NVFLARE provisions and uses it by default, and tuned for bytes.

NVFLARE 2.9: ``HEBuilder`` makes the context (8192, [60, 40, 40], scale 2^40, symmetric) and keeps the secret key from
the server; ``HEModelEncryptor`` calls ``ts.ckks_vector(context, values)`` on each tensor's weighted float64 values; its
decomposer serialises each vector; the server loads, adds, and multiplies the sum with 1/K. This file makes the same
calls of the same library on one flat vector, which is the kindest case: every tensor of its own is padded to whole
ciphertexts. What NVFLARE sends besides (its decomposer writes the context, too, beside each vector) is not counted.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tenseal as ts
from numpy.typing import NDArray

from sekisho.benchmarks.peers.scheme import Scheme, Vector

SCALE_BITS = 40


@contextlib.contextmanager
def warnings_unseen() -> Iterator[None]:
    """TenSEAL prints three lines on every vector that takes more than one ciphertext."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)


class Ckks(Scheme):
    """One symmetric CKKS key for all sites. ``divides``: the server forms the mean, which costs it one level."""

    def __init__(
        self, name: str, sites: int, dimension: int, *, degree: int, primes: list[int], divides: bool
    ) -> None:
        super().__init__(sites, dimension)
        self.name = name
        self._divides = divides
        symmetric = ts.ENCRYPTION_TYPE.SYMMETRIC
        self._client = ts.context(ts.SCHEME_TYPE.CKKS, degree, coeff_mod_bit_sizes=primes, encryption_type=symmetric)
        self._client.generate_relin_keys()
        self._client.global_scale = 2**SCALE_BITS
        public = {"save_public_key": False, "save_secret_key": False, "save_galois_keys": False}
        self._server = ts.context_from(self._client.serialize(save_relin_keys=True, **public))

    def upload(self, site: int, values: Vector) -> bytes:
        with warnings_unseen():
            return ts.ckks_vector(self._client, values * np.float64(1.0)).serialize()

    def total(self) -> Any:
        return None

    def add(self, total: Any, site: int, wire: bytes) -> Any:
        vector = ts.ckks_vector_from(self._server, wire)
        return vector if total is None else total + vector

    def down(self, total: Any) -> bytes:
        return (total * (1.0 / self.sites) if self._divides else total).serialize()

    def open(self, data: bytes) -> NDArray[Any]:
        values = np.array(ts.ckks_vector_from(self._client, data).decrypt())
        return values if self._divides else values / self.sites


def nvflare_default(sites: int, dimension: int) -> Ckks:
    """As NVFLARE's HEBuilder provisions it when nothing is said."""
    name = "CKKS as NVFLARE's default"
    return Ckks(name, sites, dimension, degree=8192, primes=[60, 40, 40], divides=True)


def tuned(sites: int, dimension: int) -> Ckks:
    """The smallest that this interface accepts at 128-bit security; no level to divide, so sites do."""
    return Ckks("CKKS tuned, TenSEAL", sites, dimension, degree=4096, primes=[60, 49], divides=False)
