"""BFV through numpy: fresh randomness, exact sums at the bound, and no trace outside memory."""

import os
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tenseal.sealapi as seal
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.privacy.encryption import bfv
from sekisho.privacy.encryption.presets import PRESETS, PRIME, Preset
from sekisho.privacy.errors import BadParametersError

PRESET = PRESETS["1x48"]
SEED = bytes(range(64))
T = 1 << 48


@pytest.fixture(scope="module")
def key():
    return bfv.seeded_key(PRESET, SEED)


def some_words(count: int, number: int = 0) -> np.ndarray:
    return np.random.default_rng(number).integers(0, T, count, dtype=np.uint64)


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a + b) % np.uint64(PRIME)


def shifted(c0: np.ndarray, by: np.ndarray) -> np.ndarray:
    return ((c0.astype(object) + by.astype(object)) % PRIME).astype(np.uint64)


def largest_harmless_shift(
    c0: np.ndarray, seeds: list[bytes], key: object, sign: int, preset: Preset = PRESET
) -> np.ndarray:
    """Per coefficient, the largest error that can be added without changing what it decrypts to."""
    right = bfv.open_words(c0, seeds, preset, key)
    low, high = np.zeros(c0.size, np.int64), np.full(c0.size, PRIME >> preset.plain_bits << 1, np.int64)
    while (high - low > 1).any():
        middle = (low + high) // 2
        same = bfv.open_words(shifted(c0, sign * middle), seeds, preset, key) == right
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return low


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 9000), st.integers(1, 4))
def test_sums_of_any_shape_are_exact(count, sites):
    key = bfv.seeded_key(PRESET, SEED)
    total, words, seeds = np.zeros(count, np.uint64), np.zeros(count, np.uint64), []
    for number in range(sites):
        own = some_words(count, number)
        c0, its_seeds = bfv.encrypt_words(own, PRESET, key)
        assert c0.size == count
        assert int(c0.max()) < PRIME
        total, words, seeds = add(total, c0), words + own, [*seeds, its_seeds]
    assert (bfv.open_words(total, seeds, PRESET, key) == words % np.uint64(T)).all()


def test_two_encryptions_of_one_plaintext_share_nothing(key):
    # Would fail if anything but the seeded context's secret key came from the seeded generator.
    words = some_words(4097)
    runs = [bfv.encrypt_words(words, PRESET, bfv.seeded_key(PRESET, SEED)) for _ in range(3)]
    blocks = [seeds[i : i + 64] for _, seeds in runs for i in (0, 64)]
    assert len(set(blocks)) == 6
    for a in range(3):
        for b in range(a):
            assert (runs[a][0] != runs[b][0]).all()


def test_the_guard_above_catches_encryption_under_a_seeded_context(key):
    # Positive control: the mistake that must never be made repeats every seed and every word.
    context = bfv._context(PRESET, seal.Blake2xbPRNGFactory(list(range(8))))
    ring = bfv._ring(PRESET.degree, PRESET.modulus, PRESET.plain_bits)
    with bfv._Stream() as stream:
        plaintext = stream.plaintext(ring, PRESET, some_words(4096))
        bodies = [stream.save(seal.Encryptor(context, key.seal).encrypt_symmetric(plaintext)) for _ in range(2)]
    assert bodies[0] == bodies[1]


def test_the_same_seed_gives_the_same_key_and_another_seed_another():
    # ours for every packing: what is encrypted with does not depend on the plaintext modulus
    assert {bfv.seeded_key_digest(preset, SEED) for preset in PRESETS.values()} == {bfv.seeded_key_digest(PRESET, SEED)}
    assert bfv.seeded_key_digest(PRESET, SEED) != bfv.seeded_key_digest(PRESET, SEED[::-1])
    with pytest.raises(BadParametersError):
        bfv.seeded_key(PRESET, SEED[:32])


def test_keys_from_one_seed_open_each_others_sums():
    c0, seeds = bfv.encrypt_words(some_words(100), PRESET, bfv.seeded_key(PRESET, SEED))
    assert (bfv.open_words(c0, [seeds], PRESET, bfv.seeded_key(PRESET, SEED)) == some_words(100)).all()
    other = bfv.open_words(c0, [seeds], PRESET, bfv.seeded_key(PRESET, SEED[::-1]))
    assert not (other == some_words(100)).any()


def test_coefficients_past_the_data_do_not_matter(key):
    # The same ciphertext, whole and cut: every remaining coefficient opens to the same word.
    words = some_words(4096)
    c0, seeds = bfv.encrypt_words(words, PRESET, key)
    for count in (1, 7, 2048, 4095):
        assert (bfv.open_words(c0[:count], [seeds], PRESET, key) == words[:count]).all()


def test_fresh_noise_never_passes_its_bound(key):
    # Measured from outside, by how far a ciphertext can be shifted either way: width 2·q/2t, centre −e.
    for number in range(4):
        c0, seeds = bfv.encrypt_words(some_words(4096, number), PRESET, key)
        up, down = (largest_harmless_shift(c0, [seeds], key, sign) for sign in (1, -1))
        error = (down - up) / 2
        assert 5 < np.abs(error).max() <= 21.5
        assert set((up + down).tolist()) <= {4094, 4095, 4096}


@pytest.mark.parametrize(("name", "sites"), [("1x48", 95), ("1x46", 381)])
def test_so_many_sites_at_their_largest_possible_noise_are_exact(key, name, sites):
    preset, count = PRESETS[name], 512
    words, total, seeds = np.zeros(count, np.uint64), np.zeros(count, np.uint64), []
    for number in range(sites):
        own = some_words(count, number) & np.uint64(preset.plain_mask)
        c0, its_seeds = bfv.encrypt_words(own, preset, key)
        total, words, seeds = add(total, c0), words + own, [*seeds, its_seeds]
    words &= np.uint64(preset.plain_mask)
    up, down = (largest_harmless_shift(total, seeds, key, sign, preset) for sign in (1, -1))
    error = (down - up) // 2
    bound = int(21.5 * sites)
    for worst in (bound, -bound):
        assert (bfv.open_words(shifted(total, worst - error), seeds, preset, key) == words).all()
    # Positive control: just beyond q/2t, where the next site or the one after may come to, it does fail.
    beyond = (PRIME >> preset.plain_bits + 1) + 3
    assert beyond <= 21.5 * (sites + 2)
    assert not (bfv.open_words(shifted(total, beyond - error), seeds, preset, key) == words).any()


def test_adding_halves_in_numpy_equals_seals_own_addition(key):
    ring = bfv._ring(PRESET.degree, PRESET.modulus, PRESET.plain_bits)
    halves = [bfv.encrypt_words(some_words(4096, number), PRESET, key) for number in range(3)]
    with bfv._Stream() as stream:
        loaded = [stream.ciphertext(ring, PRESET, c0, seeds) for c0, seeds in halves]
        for other in loaded[1:]:
            seal.Evaluator(ring.context).add_inplace(loaded[0], other)
        body = stream.save(loaded[0])
    by_seal = np.frombuffer(body, np.uint64, 4096, len(ring.cipher_fixed))
    assert (add(add(halves[0][0], halves[1][0]), halves[2][0]) == by_seal).all()


@pytest.fixture
def without_memory_files(monkeypatch, tmp_path):
    monkeypatch.setattr(bfv, "STREAM_IN_MEMORY", False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bfv._ring.cache_clear()
    yield tmp_path
    bfv._ring.cache_clear()


def test_without_memory_files_results_are_the_same_and_nothing_stays(without_memory_files):
    words = some_words(5000)
    key = bfv.seeded_key(PRESET, SEED)
    c0, seeds = bfv.encrypt_words(words, PRESET, key)
    assert (bfv.open_words(c0, [seeds], PRESET, key) == words).all()
    assert bfv.seeded_key_digest(PRESET, SEED)
    assert list(without_memory_files.iterdir()) == []


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_sum_of_four_sites_over_several_blocks_opens(in_memory, key, request):
    if not in_memory:
        request.getfixturevalue("without_memory_files")
    count = 2 * 4096 + 5
    total, words, seeds = np.zeros(count, np.uint64), np.zeros(count, np.uint64), []
    for number in range(4):
        own = some_words(count, number)
        c0, its_seeds = bfv.encrypt_words(own, PRESET, key)
        total, words, seeds = add(total, c0), words + own, [*seeds, its_seeds]
    assert (bfv.open_words(total, seeds, PRESET, key) == words % np.uint64(T)).all()


def test_the_file_is_private_and_overwritten_before_it_goes(without_memory_files):
    ring = bfv._ring(PRESET.degree, PRESET.modulus, PRESET.plain_bits)
    link = without_memory_files / "second-name"
    with bfv._Stream() as stream:
        stream.plaintext(ring, PRESET, some_words(4096))
        path = Path(stream._path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        os.link(path, link)
        assert any(link.read_bytes())
    assert not path.exists()
    assert link.stat().st_size > 32_000
    assert not any(link.read_bytes())


def test_the_file_goes_when_seal_fails(without_memory_files):
    ring = bfv._ring(PRESET.degree, PRESET.modulus, PRESET.plain_bits)
    too_large = np.full(4096, T, np.uint64)
    with pytest.raises((RuntimeError, ValueError)), bfv._Stream() as stream:
        stream.plaintext(ring, PRESET, too_large)
    assert list(without_memory_files.iterdir()) == []


def test_an_unknown_build_of_seal_is_refused(monkeypatch):
    monkeypatch.setattr(bfv, "_CIPHER_FIXED", bfv._CIPHER_FIXED - 8)
    bfv._ring.cache_clear()
    with pytest.raises(BadParametersError) as refusal:
        bfv.encrypt_words(some_words(10), PRESET, bfv.seeded_key(PRESET, SEED))
    assert refusal.value.code == "SEAL_STREAM"
    bfv._ring.cache_clear()
