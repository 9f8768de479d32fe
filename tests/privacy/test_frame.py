"""Frames: one encoding per value, and a code for every other byte string."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.ciphertext import Ciphertext
from sekisho.privacy.encryption.manifest import SeedList
from sekisho.privacy.encryption.presets import PRESETS, PRIME
from sekisho.privacy.errors import CiphertextError

CODES = {
    "FRAME_TRUNCATED",
    "FRAME_MAGIC",
    "FRAME_KIND",
    "FRAME_PRESET",
    "FRAME_RESERVED",
    "FRAME_DIMENSION",
    "FRAME_TRAILING",
    "FRAME_PADDING",
    "WORD_OUT_OF_RANGE",
    "SEED_DUPLICATE",
}
PRESET = PRESETS["3x16"]


def some_ciphertext(dimension: int, preset=PRESET) -> Ciphertext:
    rng = np.random.default_rng(dimension)
    c0 = rng.integers(0, PRIME, preset.words(dimension), dtype=np.uint64)
    return Ciphertext(preset, dimension, c0, rng.bytes(64 * preset.blocks(dimension)))


def refusal_code(data: bytes, dimension: int = 9, preset=PRESET) -> str:
    with pytest.raises(CiphertextError) as refusal:
        frame.decode(data, preset=preset, dimension=dimension)
    return refusal.value.code


def test_a_frame_byte_by_byte():
    # Written out by hand for other implementations: c0 = (1, q-1, 2), seeds 00 01 … 3f.
    ciphertext = Ciphertext(PRESET, 7, np.array([1, PRIME - 1, 2], np.uint64), bytes(range(64)))
    packed = 1 | (PRIME - 1) << 60 | 2 << 120
    expected = b"SKF1" + bytes([1, 3, 16, 0]) + (7).to_bytes(4, "little") + bytes(range(64))
    expected += packed.to_bytes(23, "little")
    assert frame.encode(ciphertext) == expected


@settings(max_examples=60)
@given(st.integers(1, 30_000), st.sampled_from(list(PRESETS.values())))
@example(4096 * 3, PRESET)
@example(4096 * 3 + 1, PRESET)
def test_every_ciphertext_comes_back(dimension, preset):
    ciphertext = some_ciphertext(dimension, preset)
    data = frame.encode(ciphertext)
    again = frame.decode(data, preset=preset, dimension=dimension)
    assert (again.c0 == ciphertext.c0).all()
    assert again.seeds == ciphertext.seeds
    assert frame.encode(again) == data
    total = frame.encode_sum(ciphertext.c0, preset, dimension)
    assert (frame.decode_sum(total, preset, dimension) == ciphertext.c0).all()


def test_padding_is_not_sent():
    ciphertext = some_ciphertext(385, PRESETS["2x24"])
    assert len(frame.encode(ciphertext)) == 12 + 64 + -(-193 * 60 // 8)
    per_parameter = len(frame.encode(some_ciphertext(74_498))) / 74_498
    assert per_parameter < 2.51


@pytest.mark.parametrize(
    ("place", "value", "code"),
    [
        (0, 0, "FRAME_MAGIC"),
        (4, 2, "FRAME_KIND"),
        (5, 2, "FRAME_PRESET"),
        (6, 24, "FRAME_PRESET"),
        (7, 1, "FRAME_PRESET"),
        (7, 2, "FRAME_RESERVED"),
        (8, 8, "FRAME_DIMENSION"),
        (11, 255, "FRAME_DIMENSION"),
    ],
)
def test_each_wrong_header_field_has_its_code(place, value, code):
    data = bytearray(frame.encode(some_ciphertext(9)))
    data[place] = value
    assert refusal_code(bytes(data)) == code


def test_wrong_lengths_words_and_seeds_have_their_codes():
    data = frame.encode(some_ciphertext(9))
    assert refusal_code(b"") == "FRAME_TRUNCATED"
    assert refusal_code(data[:11]) == "FRAME_TRUNCATED"
    assert refusal_code(data[:-1]) == "FRAME_TRUNCATED"
    assert refusal_code(data + b"\0") == "FRAME_TRAILING"
    assert refusal_code(data[:-1] + bytes([data[-1] | 0x80])) == "FRAME_PADDING"
    body = 12 + 64
    assert refusal_code(data[:body] + b"\xff" * 8 + data[body + 8 :]) == "WORD_OUT_OF_RANGE"
    two_blocks = frame.encode(some_ciphertext(3 * 4096 + 1))
    doubled = two_blocks[:76] + two_blocks[12:76] + two_blocks[140:]
    assert refusal_code(doubled, dimension=3 * 4096 + 1) == "SEED_DUPLICATE"


def test_a_word_equal_to_the_modulus_is_refused():
    packed = PRIME.to_bytes(8, "little")
    head = b"SKF1" + bytes([2, 1, 48, 0]) + (1).to_bytes(4, "little")
    with pytest.raises(CiphertextError) as refusal:
        frame.decode_sum(head + packed, PRESETS["1x48"], 1)
    assert refusal.value.code == "WORD_OUT_OF_RANGE"
    assert frame.decode_sum(head + (PRIME - 1).to_bytes(8, "little"), PRESETS["1x48"], 1).tolist() == [PRIME - 1]


def test_a_site_frame_is_no_sum_and_a_sum_no_site_frame():
    ciphertext = some_ciphertext(9)
    with pytest.raises(CiphertextError) as refusal:
        frame.decode_sum(frame.encode(ciphertext), PRESET, 9)
    assert refusal.value.code == "FRAME_KIND"
    assert refusal_code(frame.encode_sum(ciphertext.c0, PRESET, 9)) == "FRAME_KIND"


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_with_a_code(data):
    assert refusal_code(data) in CODES


@settings(max_examples=400)
@given(st.data())
def test_mutated_frames_are_refused_or_mean_exactly_what_they_say(data):
    dimension = data.draw(st.sampled_from([1, 9, 12_289]))
    good = bytearray(frame.encode(some_ciphertext(dimension)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(good) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                good[place] ^= data.draw(st.integers(1, 255))
            case "cut":
                del good[place : place + data.draw(st.integers(1, 70))]
            case "insert":
                good[place:place] = data.draw(st.binary(min_size=1, max_size=70))
        if not good:
            break
    mutated = bytes(good)
    try:
        ciphertext = frame.decode(mutated, preset=PRESET, dimension=dimension)
    except CiphertextError as refusal:
        assert refusal.code in CODES
    else:
        assert frame.encode(ciphertext) == mutated  # no second encoding of any value
        assert int(ciphertext.c0.max()) < PRIME


@pytest.mark.proof
def test_a_hundred_thousand_mutated_frames_are_refused_or_mean_what_they_say():
    rng = np.random.default_rng(20260101)
    good = np.frombuffer(frame.encode(some_ciphertext(50)), np.uint8)  # 17 words: padding too
    seen = set()
    for _ in range(100_000):
        mutated = good.copy()
        places = rng.integers(0, good.size if rng.random() < 0.7 else 12, rng.integers(1, 4))
        mutated[places] = rng.integers(0, 256, places.size)
        if rng.random() < 0.1:
            start = rng.integers(76, good.size - 15)
            mutated[start : start + 16] = 255  # holds a whole word beyond the modulus
        data = mutated[: rng.integers(0, good.size)].tobytes() if rng.random() < 0.2 else mutated.tobytes()
        try:
            assert frame.encode(frame.decode(data, preset=PRESET, dimension=50)) == data
        except CiphertextError as refusal:
            seen.add(refusal.code)
    assert seen == CODES - {"SEED_DUPLICATE", "FRAME_TRAILING"}


def test_memory_follows_the_run_and_not_the_sender():
    dimension = 300_000
    good = frame.encode(some_ciphertext(dimension))
    huge = b"SKF1" + bytes([1, 3, 16, 0]) + b"\xff" * 4 + bytes(30_000_000)
    tracemalloc.start()
    frame.decode(good, preset=PRESET, dimension=dimension)
    _, usual = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    assert refusal_code(huge, dimension=dimension) == "FRAME_DIMENSION"
    _, refused = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert usual < 10 * len(good)
    assert refused < 1_000_000


def test_digests_of_the_two_halves_are_separate():
    ciphertext = some_ciphertext(9)
    other_seeds = Ciphertext(PRESET, 9, ciphertext.c0, bytes(64))
    assert frame.c0_digest(ciphertext) == frame.c0_digest(other_seeds)
    assert frame.seeds_digest(ciphertext) != frame.seeds_digest(other_seeds)
    assert frame.seeds_digest(ciphertext) == frame.seeds_digest(SeedList("kohi", ciphertext.seeds))
    for place in range(64):
        changed = bytearray(ciphertext.seeds)
        changed[place] ^= 1
        assert frame.seeds_digest(SeedList("kohi", bytes(changed))) != frame.seeds_digest(ciphertext)
    assert frame.half_digest(ciphertext.c0, PRESET, 9) == frame.c0_digest(ciphertext)
    assert frame.half_digest(ciphertext.c0, PRESET, 8) != frame.c0_digest(ciphertext)
