"""Sealing one site's integers: always masked, always randomised."""

import hashlib

import numpy as np
import pytest

from sekisho.privacy.encryption.presets import PRESETS
from sekisho.privacy.errors import BadParametersError, KeyAgreementError
from sekisho.privacy.keys.encrypt import StepSecret, encrypt
from sekisho.privacy.keys.runkeys import RunSecret

PRESET = PRESETS["2x24"]
MASKS = np.random.default_rng(1).integers(0, 1 << 48, 5, dtype=np.uint64)
VALUES = np.arange(9, dtype=np.int64) - 4


@pytest.fixture(scope="module")
def secret():
    return StepSecret.derive(RunSecret(bytes(64)), hashlib.sha256(b"step").digest())


def test_sealing_twice_repeats_nothing(secret):
    one, two = (encrypt(VALUES, PRESET, secret=secret, masks=MASKS) for _ in range(2))
    assert one.seeds != two.seeds
    assert (one.c0 != two.c0).all()


def test_only_the_coefficients_of_the_data_are_there(secret):
    ciphertext = encrypt(VALUES, PRESET, secret=secret, masks=MASKS)
    assert ciphertext.c0.size == 5
    assert len(ciphertext.seeds) == 64
    assert ciphertext.dimension == 9


@pytest.mark.parametrize(
    ("masks", "code"),
    [
        (np.zeros(5, np.uint64), "MASK_MISSING"),
        (MASKS[:4], "MASK_SHAPE"),
        (MASKS.astype(np.int64), "MASK_SHAPE"),
        (MASKS | np.uint64(1 << 48), "MASK_SHAPE"),
    ],
)
def test_there_is_no_way_to_leave_the_masks_out(secret, masks, code):
    with pytest.raises(KeyAgreementError) as refusal:
        encrypt(VALUES, PRESET, secret=secret, masks=masks)
    assert refusal.value.code == code


def test_only_flat_integers_are_sealed(secret):
    with pytest.raises(BadParametersError) as refusal:
        encrypt(VALUES.astype(np.float64), PRESET, secret=secret, masks=MASKS)
    assert refusal.value.code == "VALUES_SHAPE"


def test_a_wiped_secret_seals_nothing():
    secret = StepSecret.derive(RunSecret(bytes(64)), hashlib.sha256(b"step").digest())
    secret.wipe()
    with pytest.raises(KeyAgreementError) as refusal:
        encrypt(VALUES, PRESET, secret=secret, masks=MASKS)
    assert refusal.value.code == "SECRET_WIPED"
