"""One site's ciphertext of one step, as a value: the half c0 and the seeds of the half c1.

For: what ``keys/encrypt.py`` returns, ``frame.py`` carries and ``aggregation.py`` sums.
Not for: keys, signatures or the bytes on the wire.
Order of calls: none; a value that exists has been checked.

c1 is uniform and expanded from one 64-byte seed per block; it is never sent. Coefficient k of a plaintext
depends on c0 only through c0[k], so the c0 coefficients past the data are not kept either: whoever opens
fills in zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import CiphertextError
from .presets import SEED_BYTES, Preset

Words = npt.NDArray[np.uint64]


def check_half(c0: Words, preset: Preset, dimension: int) -> None:
    """Refuse an array that is not W coefficients modulo q (c0 of one site, or a sum of them)."""
    if c0.dtype != np.uint64 or c0.shape != (preset.words(dimension),):
        raise CiphertextError("HALF_SHAPE", "the coefficients are not those of a vector of this dimension")
    if int(c0.max()) >= preset.modulus:
        raise CiphertextError(
            "WORD_OUT_OF_RANGE",
            "a coefficient is not below the modulus",
            "the sender did not follow the format",
        )


def split_seeds(seeds: bytes) -> tuple[bytes, ...]:
    """The single 64-byte seeds; none or a ragged one is SEEDS_LENGTH, a repeated one SEED_DUPLICATE."""
    if not seeds or len(seeds) % SEED_BYTES:
        raise CiphertextError(
            "SEEDS_LENGTH", f"a seed list is a whole number of {SEED_BYTES}-byte seeds, at least one"
        )
    single = tuple(seeds[i : i + SEED_BYTES] for i in range(0, len(seeds), SEED_BYTES))
    if len(set(single)) != len(single):
        raise CiphertextError(
            "SEED_DUPLICATE",
            "a seed occurs twice",
            "a repeated seed lets two ciphertext blocks be subtracted",
        )
    return single


def check_seeds(seeds: bytes, preset: Preset, dimension: int) -> None:
    """Refuse a seed list that does not hold exactly one new seed per block of the vector."""
    if len(split_seeds(seeds)) != preset.blocks(dimension):
        raise CiphertextError("SEEDS_LENGTH", "the seed list does not have one seed per ciphertext block")


@dataclass(frozen=True, slots=True, eq=False)
class Ciphertext:
    """c0: uint64[W] below q, read-only; seeds: 64 bytes per block. Anything else is a CiphertextError."""

    preset: Preset
    dimension: int
    c0: Words
    seeds: bytes

    def __post_init__(self) -> None:
        check_half(self.c0, self.preset, self.dimension)
        check_seeds(self.seeds, self.preset, self.dimension)
        own = self.c0.view()
        own.flags.writeable = False
        object.__setattr__(self, "c0", own)
