"""A ciphertext that exists is well formed, and stays as it is."""

import numpy as np
import pytest

from sekisho.privacy.encryption.ciphertext import Ciphertext
from sekisho.privacy.encryption.presets import PRESETS, PRIME
from sekisho.privacy.errors import CiphertextError

PRESET = PRESETS["1x48"]
SEEDS = bytes(range(128))


def test_a_well_formed_ciphertext_cannot_be_changed():
    ciphertext = Ciphertext(PRESET, 4097, np.full(4097, PRIME - 1, np.uint64), SEEDS)
    with pytest.raises(ValueError, match="read-only"):
        ciphertext.c0[0] = 0
    with pytest.raises(AttributeError):
        ciphertext.seeds = b""


@pytest.mark.parametrize(
    ("c0", "seeds", "code"),
    [
        (np.zeros(4096, np.uint64), SEEDS, "HALF_SHAPE"),
        (np.zeros(4097, np.int64), SEEDS, "HALF_SHAPE"),
        (np.zeros((4097, 1), np.uint64), SEEDS, "HALF_SHAPE"),
        (np.full(4097, PRIME, np.uint64), SEEDS, "WORD_OUT_OF_RANGE"),
        (np.zeros(4097, np.uint64), b"", "SEEDS_LENGTH"),
        (np.zeros(4097, np.uint64), SEEDS[:64], "SEEDS_LENGTH"),
        (np.zeros(4097, np.uint64), SEEDS[:127], "SEEDS_LENGTH"),
        (np.zeros(4097, np.uint64), SEEDS[:64] * 2, "SEED_DUPLICATE"),
    ],
)
def test_malformed_ciphertexts_do_not_exist(c0, seeds, code):
    with pytest.raises(CiphertextError) as refusal:
        Ciphertext(PRESET, 4097, c0, seeds)
    assert refusal.value.code == code
