"""Encryption parameters that anyone may hold: one BFV parameter set and the field widths packed into it.

For: the numbers every party must agree on, beside the bounds that make them safe.
Not for: keys, the packing itself (packing.py), or choosing a preset for a plan (mechanism/rounding.py).
Order of calls: ``preset(name)`` once a run, then its ``words``, ``blocks`` and ``check_sites``.

All presets share one ring: N = 4096, one 60-bit prime q; and have one of two plaintext moduli, t = 2^48, or 2^46 for
more than 95 sites. A ternary secret with log2 q = 60 lies below the 75 bits that the homomorphic encryption standard
(Albrecht et al., 2018, table 1) allows for 192-bit classical security at N = 4096, whatever t is. Integers go straight
into polynomial coefficients: addition needs no batching.

No decryption failure. A fresh symmetric ciphertext carries per coefficient a centred binomial error of at
most 21 (SEAL 4, ``sample_poly_cbd``: the difference of two 21-bit Hamming weights; its clipped Gaussian stays
below 20) and a rounding of q·m/t of at most 1/2. Sums only add. BFV decrypts a coefficient exactly while its
error is below q/(2t), so K sites are exact for certain when 21.5·K < q/(2t), in integers 43·K·t < q: K ≤ 95 with
t = 2^48, K ≤ 381 with t = 2^46.
That failures are impossible, not improbable, is also what makes showing the decryption safe (Cheon et al.,
ePrint 2024/127; Bultel et al., 2025/2288).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ..errors import BadParametersError

RING_DEGREE: Final = 4096  # N: smallest ring that holds a 60-bit prime at 192-bit security
PRIME: Final = 1152921504606830593  # q = 2^60 - 16383, the largest 60-bit prime with q = 1 mod 2N
PRIME_BITS: Final = 60
PLAIN_BITS: Final = 48  # log2 t: divisible by 1, 2 and 3 fields, and leaves room for 95 sites
TWICE_ERROR_PER_SITE: Final = 43  # 2 · 21.5, kept doubled so that the bound stays in integers
MAXIMUM_SITES: Final = 95  # the largest K with 43·K·t < q
MANY_PLAIN_BITS: Final = 46  # a bit of each of two fields, or of each of three, less: room for four times as many sites
MANY_SITES: Final = 381  # the largest K with 43·K·2^46 < q
MINIMUM_SITES: Final = 3  # with two, each site learns the other's update by subtracting its own
SEED_BYTES: Final = 64  # SEAL's seed for the public half c1 of one ciphertext block
MAXIMUM_DIMENSION: Final = 1 << 28  # 268 million parameters: bounds what a frame may ask a reader to hold


def decrypts_exactly(sites: int, *, modulus: int = PRIME, plain_bits: int = PLAIN_BITS) -> bool:
    """True if a sum over ``sites`` fresh ciphertexts can never decrypt wrongly: 21.5·K < q/(2t)."""
    return TWICE_ERROR_PER_SITE * sites * (1 << plain_bits) < modulus


@dataclass(frozen=True, slots=True)
class Preset:
    """One way of packing signed integers: ``fields`` integers of ``width`` bits in each coefficient.

    Only the *sum* over all sites has to fit a field, each in [-2^(width-1), 2^(width-1)). ``rotated``: each vector was
    rotated before it was rounded (mechanism/rotation.py), so that a sum needs narrower fields.
    Raises BadParametersError if fields do not fit a coefficient or the no-failure bound does not hold.
    """

    name: str
    fields: int
    width: int
    degree: int = RING_DEGREE
    modulus: int = PRIME
    plain_bits: int = PLAIN_BITS
    maximum_sites: int = MAXIMUM_SITES
    rotated: bool = False

    def __post_init__(self) -> None:
        if self.fields < 1 or self.width < 1 or self.fields * self.width > self.plain_bits:
            raise BadParametersError(
                "PRESET_FIELDS",
                f"{self.fields} × {self.width} bits do not fit into a coefficient of {self.plain_bits} bits",
                "take a preset from the table",
            )
        if not decrypts_exactly(self.maximum_sites, modulus=self.modulus, plain_bits=self.plain_bits):
            raise BadParametersError(
                "PRESET_NOISE",
                f"a sum over {self.maximum_sites} sites could decrypt wrongly",
                "lower the number of sites or the plaintext modulus",
            )

    @property
    def plain_mask(self) -> int:
        """t - 1: the bits of a packed word."""
        return (1 << self.plain_bits) - 1

    def words(self, dimension: int) -> int:
        """Packed words (= coefficients sent) for ``dimension`` integers; outside 1..2^28 is refused."""
        if not 1 <= dimension <= MAXIMUM_DIMENSION:
            raise BadParametersError(
                "DIMENSION",
                f"a vector has between 1 and {MAXIMUM_DIMENSION} entries",
                "split the adapter or check the study",
            )
        return -(-dimension // self.fields)

    def blocks(self, dimension: int) -> int:
        """Ciphertext blocks (polynomials of N coefficients) for ``dimension`` integers."""
        return -(-self.words(dimension) // self.degree)

    def check_sites(self, sites: int) -> None:
        """Refuse a cohort too small to hide in (below 3) or too large to decrypt for certain (``maximum_sites``)."""
        if sites < MINIMUM_SITES:
            raise BadParametersError(
                "TOO_FEW_SITES",
                f"a step needs at least {MINIMUM_SITES} sites",
                "with two sites each learns the other's update by subtraction",
            )
        if sites > self.maximum_sites:
            raise BadParametersError(
                "TOO_MANY_SITES",
                f"a sum over more than {self.maximum_sites} sites could decrypt wrongly",
                "split the federation or ask for a preset with a smaller plaintext modulus",
            )


def _for_many(name: str, fields: int, width: int, *, rotated: bool = False) -> Preset:
    return Preset(
        name, fields, width, plain_bits=MANY_PLAIN_BITS, maximum_sites=MANY_SITES, rotated=rotated
    )


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        p.name: p
        for p in (
            Preset("3x16", 3, 16),
            Preset("3x16-rotated", 3, 16, rotated=True),
            Preset("2x24", 2, 24),
            Preset("2x24-rotated", 2, 24, rotated=True),
            Preset("1x48", 1, 48),
            _for_many("3x15", 3, 15),
            _for_many("3x15-rotated", 3, 15, rotated=True),
            _for_many("2x23", 2, 23),
            _for_many("2x23-rotated", 2, 23, rotated=True),
            _for_many("1x46", 1, 46),
        )
    }
)


def preset(name: str) -> Preset:
    """The preset of that name; an unknown name is refused (PRESET_UNKNOWN)."""
    if name not in PRESETS:
        raise BadParametersError(
            "PRESET_UNKNOWN", "no preset of that name", f"known presets: {', '.join(PRESETS)}"
        )
    return PRESETS[name]


def overflow_probability(
    preset: Preset, *, dimension: int, largest_sum: float, noise_deviation: float, missed: float = 0.0
) -> float:
    """Upper bound on the probability that any field of one opened sum overflows.

    ``largest_sum``: bound on the absolute exact sum in any coordinate, in grid units; ``missed``: the probability that
    it does not hold, which is not zero of a rotated sum (``rounding.largest_sum``). ``noise_deviation``: standard
    deviation parameter of everything random in the sum, in grid units: the shares and, where it can leave that bound,
    rounding. A sum of discrete Gaussians is sub-Gaussian with the summed variance (Canonne, Kamath, Steinke, 2020), so
    P(noise > m) ≤ exp(-m²/2σ²); the rest is a union bound over both signs and all coordinates. An overflow costs
    utility, never privacy: it happens after the noise.
    """
    room = (1 << (preset.width - 1)) - 1 - largest_sum
    if room <= 0:
        return 1.0
    if noise_deviation <= 0:
        return missed
    return min(1.0, missed + 2.0 * dimension * math.exp(-((room / noise_deviation) ** 2) / 2))
