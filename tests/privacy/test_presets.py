"""Presets: the bounds that the constants promise."""

import dataclasses
import json
import math
from decimal import Decimal

import numpy as np
import pytest

from sekisho.privacy.accounting.accountant import build_plan
from sekisho.privacy.budget import Unit
from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.ciphertext import Ciphertext
from sekisho.privacy.encryption.facts import packing_facts
from sekisho.privacy.encryption.presets import (
    MANY_PLAIN_BITS,
    MANY_SITES,
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
from sekisho.privacy.errors import BadParametersError, CiphertextError


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


def test_two_bits_less_add_up_four_times_as_many_sites():
    assert MANY_SITES == 381
    assert decrypts_exactly(381, plain_bits=MANY_PLAIN_BITS)
    assert not decrypts_exactly(382, plain_bits=MANY_PLAIN_BITS)
    for one in PRESETS.values():
        assert one.maximum_sites == (381 if one.plain_bits == MANY_PLAIN_BITS else 95)
    with pytest.raises(BadParametersError) as refusal:
        preset("2x23").check_sites(382)
    assert refusal.value.code == "TOO_MANY_SITES"
    preset("2x23").check_sites(381)


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


# -- what a run's records say of its packing


@pytest.fixture(scope="module")
def adapter():
    """The worked example of LoRA: d = 74,498, a mean sample of 400, σ near 1."""
    return build_plan(
        unit=Unit.SUBJECT, epsilon=Decimal(8), delta=Decimal("0.00001"), steps=60, allowance=5,
        sampling_rate=Decimal("0.1"), clipping_norm=Decimal(1), dimension=74_498, sites=5, minimum_sites=3,
        observers=1, subjects=[800] * 5, records_per_subject=6,
    )  # fmt: skip


def test_the_adapter_of_the_design_is_sent_in_2_7_bytes_a_parameter(adapter):
    facts = packing_facts(adapter)
    assert (facts.preset, facts.fields, facts.width, facts.rotated) == ("3x16-rotated", 3, 16, True)
    assert adapter.expected_sample == 540 and facts.inflation <= 1.01 and facts.maximum_sites == 95
    assert facts.bytes_per_parameter < 2.51
    # no padding is sent: a frame is as long as the facts say, to the byte
    preset, words = PRESETS["3x16-rotated"], PRESETS["3x16-rotated"].words(74_498)
    seeds = b"".join(block.to_bytes(64, "big") for block in range(preset.blocks(74_498)))
    sent = Ciphertext(preset, 74_498, np.zeros(words, np.uint64), seeds)
    assert len(frame.encode(sent)) == facts.bytes_up
    assert len(frame.encode_sum(sent.c0, preset, 74_498)) + 5 * len(seeds) == facts.bytes_down


def test_a_step_overflows_as_rarely_as_is_said(adapter):
    facts = packing_facts(adapter)
    # the rotation's own bound, and seven deviations on both sides of each coordinate (with room where 7 do not fit)
    assert 1e-6 < facts.overflow_step <= 1e-6 + 2 * 74_498 * math.exp(-24.4)
    assert facts.overflow_run == pytest.approx(65 * facts.overflow_step)
    plain = packing_facts(dataclasses.replace(adapter, preset="2x24"))
    assert plain.overflow_step < 1e-300 and not plain.rotated
    assert packing_facts(dataclasses.replace(adapter, preset="3x16")).overflow_step == 1.0


def test_the_facts_are_a_value_that_can_be_recorded(adapter):
    facts = packing_facts(adapter)
    assert facts == packing_facts(adapter)
    assert json.loads(json.dumps(facts.to_json())) == facts.to_json()
    assert set(facts.to_json()) == {field.name for field in dataclasses.fields(facts)}


def test_a_bound_that_may_be_missed_is_part_of_the_overflow():
    figures = {"dimension": 1000, "largest_sum": 10, "noise_deviation": 0}
    assert overflow_probability(preset("3x16-rotated"), **figures, missed=1e-6) == 1e-6
    assert overflow_probability(preset("3x16"), **figures) == 0.0


def test_a_frame_says_whether_it_is_rotated():
    rotated, plain = preset("3x16-rotated"), preset("3x16")
    data = frame.encode_sum(np.zeros(rotated.words(9), np.uint64), rotated, 9)
    assert data[7] == 1 and frame.encode_sum(np.zeros(3, np.uint64), plain, 9)[7] == 0
    for sent, wanted in ((data, plain), (data[:7] + b"\0" + data[8:], rotated)):
        with pytest.raises(CiphertextError) as refusal:
            frame.decode_sum(sent, wanted, 9)
        assert refusal.value.code == "FRAME_PRESET"
