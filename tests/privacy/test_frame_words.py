"""Sixty-bit words as bytes: the same as one long integer written out, whatever the number of words."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.presets import PRESETS, PRIME
from sekisho.privacy.errors import CiphertextError

WORDS = st.lists(st.integers(0, (1 << 60) - 1), min_size=1, max_size=40)


def written_out(words: list[int]) -> bytes:
    """The definition: word j takes bits 60·j and up of one number, lowest byte first."""
    number = sum(word << 60 * at for at, word in enumerate(words))
    return number.to_bytes((60 * len(words) + 7) // 8, "little")


@given(WORDS)
def test_words_are_written_as_one_number_and_read_back(words):
    packed = frame.pack_words(np.array(words, np.uint64))
    assert packed == written_out(words)
    assert frame.unpack_words(memoryview(packed), len(words)).tolist() == words


@given(WORDS.filter(lambda words: len(words) % 2 == 1), st.integers(1, 15))
def test_no_bit_past_the_last_word_is_read_over(words, extra):
    packed = bytearray(written_out(words))
    packed[-1] |= extra << 4
    with pytest.raises(CiphertextError) as refusal:
        frame.unpack_words(memoryview(packed), len(words))
    assert refusal.value.code == "FRAME_PADDING"


@pytest.mark.parametrize("words", [1, 65_535, 65_536, 65_537, 131_073])
def test_a_digest_taken_in_pieces_is_that_of_the_whole(words):
    preset = PRESETS["1x48"]
    c0 = np.random.default_rng(words).integers(0, PRIME, words, dtype=np.uint64)
    label = b"sekisho/frame/c0/v1\0" + bytes([1, 48]) + words.to_bytes(4, "little")
    whole = hashlib.sha256(label + frame.pack_words(c0)).hexdigest()
    assert frame.half_digest(c0, preset, words) == "sha256:" + whole
