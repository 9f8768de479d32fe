"""Presets: the bounds that the constants promise."""

import math

import pytest

from sekisho.privacy.encryption.presets import (
    MAXIMUM_DIMENSION,
    MAXIMUM_SITES,
    PLAIN_BITS,
    PRESETS,
    PRIME,
    Preset,
    decrypts_exactly,
    overflow_probability,
    preset,
)
from sekisho.privacy.errors import BadParametersError


def is_prime(n: int) -> bool:
    """Miller-Rabin with the first twelve primes: exact below 3.3 · 10^24 (Sorenson, Webster 2015)."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        x = pow(base, odd, n)
        if x in {1, n - 1}:
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def test_modulus_is_the_largest_60_bit_prime_that_the_ring_allows():
    assert is_prime(PRIME)
    assert PRIME % (2 * 4096) == 1
    assert not any(is_prime(n) for n in range(PRIME + 8192, 1 << 60, 8192))


def test_95_sites_is_the_largest_sum_that_cannot_fail():
    assert MAXIMUM_SITES == 95
    assert decrypts_exactly(95)
    assert not decrypts_exactly(96)
    assert 21.5 * 95 < PRIME / 2 ** (PLAIN_BITS + 1) < 21.5 * 96


@pytest.mark.parametrize(("sites", "code"), [(0, "TOO_FEW_SITES"), (2, "TOO_FEW_SITES"), (96, "TOO_MANY_SITES")])
def test_cohorts_outside_the_bounds_are_refused(sites, code):
    with pytest.raises(BadParametersError) as refusal:
        preset("2x24").check_sites(sites)
    assert refusal.value.code == code
    preset("2x24").check_sites(3)
    preset("2x24").check_sites(95)


def test_a_preset_that_could_decrypt_wrongly_does_not_exist():
    with pytest.raises(BadParametersError) as refusal:
        Preset("4x12", 4, 12, plain_bits=49)
    assert refusal.value.code == "PRESET_NOISE"
    with pytest.raises(BadParametersError) as refusal:
        Preset("4x16", 4, 16)
    assert refusal.value.code == "PRESET_FIELDS"


def test_an_unknown_preset_is_refused():
    with pytest.raises(BadParametersError) as refusal:
        preset("4x12")
    assert refusal.value.code == "PRESET_UNKNOWN"
    with pytest.raises(TypeError):
        PRESETS["4x12"] = PRESETS["3x16"]


@pytest.mark.parametrize(
    ("name", "dimension", "words", "blocks"),
    [
        ("3x16", 1, 1, 1),
        ("3x16", 74_498, 24_833, 7),
        ("2x24", 385, 193, 1),
        ("1x48", 4096, 4096, 1),
        ("1x48", 4097, 4097, 2),
    ],
)
def test_words_and_blocks_hold_the_vector(name, dimension, words, blocks):
    assert preset(name).words(dimension) == words
    assert preset(name).blocks(dimension) == blocks


@pytest.mark.parametrize("dimension", [0, -1, MAXIMUM_DIMENSION + 1])
def test_dimensions_without_bound_are_refused(dimension):
    with pytest.raises(BadParametersError) as refusal:
        preset("3x16").words(dimension)
    assert refusal.value.code == "DIMENSION"


def test_overflow_probability_of_the_probe_example():
    # The rule for fields leaves seven standard deviations of the whole noise beside the largest sum.
    deviation = 11_084 * math.sqrt(5)
    room = 2**23 - 1
    probability = overflow_probability(
        preset("2x24"), dimension=385, largest_sum=room - 7 * deviation, noise_deviation=deviation
    )
    assert probability == pytest.approx(2 * 385 * math.exp(-24.5), rel=1e-6)
    assert overflow_probability(preset("2x24"), dimension=385, largest_sum=2.0**23, noise_deviation=1) == 1.0
    assert overflow_probability(preset("2x24"), dimension=385, largest_sum=0, noise_deviation=0) == 0.0
