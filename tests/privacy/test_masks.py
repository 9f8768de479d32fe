"""Masks: zero over the whole cohort, noise over anything less."""

import hashlib
import itertools

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.privacy.encryption.presets import PRESETS
from sekisho.privacy.errors import BadParametersError, KeyAgreementError
from sekisho.privacy.keys import masks
from sekisho.privacy.keys.masks import step_mask

PRESET = PRESETS["2x24"]
T = np.uint64(1 << 48)
H = hashlib.sha256(b"step 1").digest()


def pair_keys(sites) -> dict[str, dict[str, bytes]]:
    keys = {site: {} for site in sites}
    for low, high in itertools.combinations(sorted(sites), 2):
        keys[low][high] = keys[high][low] = hashlib.sha256(f"{low}|{high}".encode()).digest()
    return keys


def cohort_masks(sites, words: int, h_of=lambda site: H) -> dict[str, np.ndarray]:
    keys = pair_keys(sites)
    return {site: step_mask(site, keys[site], sites, h_of(site), words, PRESET) for site in sites}


@settings(max_examples=25, deadline=None)
@given(st.sets(st.text(min_size=1, max_size=6), min_size=3, max_size=7), st.integers(1, 300))
def test_masks_cancel_over_the_cohort_whatever_the_ids(sites, words):
    ordered = list(sites)
    drawn = cohort_masks(ordered, words)
    assert all(int(mask.max()) < 1 << 48 for mask in drawn.values())
    assert not (sum(drawn.values()) % T).any()


def test_masks_cancel_over_95_sites_and_over_pieces():
    assert not (sum(cohort_masks([f"s{i:02}" for i in range(95)], 5).values()) % T).any()
    long = masks._PIECE_WORDS * 2 + 3
    drawn = cohort_masks(["a", "b", "c"], long)
    assert not (sum(drawn.values()) % T).any()
    assert len(np.unique(drawn["a"])) > long - 3


def test_one_missing_site_leaves_noise():
    drawn = cohort_masks(["a", "b", "c", "d"], 4000)
    del drawn["c"]
    rest = sum(drawn.values()) % T
    assert abs(np.mean(rest / float(T)) - 0.5) < 5 * np.sqrt(1 / 12 / 4000)
    assert len(np.unique(rest)) == 4000


def test_sites_with_different_transcripts_do_not_cancel():
    other = hashlib.sha256(b"step 2").digest()
    drawn = cohort_masks(["a", "b", "c"], 1000, lambda site: other if site == "b" else H)
    assert np.count_nonzero(sum(drawn.values()) % T) == 1000


def test_one_step_is_not_masked_alike_under_two_cohorts():
    # What one pair contributes is what changes with its key; under equal transcripts it still differs by cohort.
    contributions = []
    for cohort in ("abc", "abcd"):
        keys = pair_keys(cohort)["a"]
        changed = keys | {"b": bytes(32)}
        one, other = (step_mask("a", its, cohort, H, 100, PRESET) for its in (keys, changed))
        contributions.append((one - other) % T)
    assert (contributions[0] != contributions[1]).all()


def test_the_order_of_the_cohort_does_not_matter():
    keys = pair_keys("abc")
    assert (step_mask("b", keys["b"], "abc", H, 9, PRESET) == step_mask("b", keys["b"], "cab", H, 9, PRESET)).all()


def test_no_site_can_compute_anothers_mask():
    keys = pair_keys("abc")
    with pytest.raises(KeyAgreementError) as refusal:
        step_mask("b", keys["a"], "abc", H, 9, PRESET)
    assert refusal.value.code == "PAIR_KEY_MISSING"
    # Knowing one of b's two pair keys is not enough either: the other stream is missing.
    guess = {"a": keys["b"]["a"], "c": bytes(32)}
    assert (step_mask("b", guess, "abc", H, 100, PRESET) != step_mask("b", keys["b"], "abc", H, 100, PRESET)).all()


def test_the_keystream_goes_on_from_piece_to_piece():
    words = np.zeros(2 * masks._PIECE_WORDS + 5, np.uint64)
    masks._add_keystream(words, bytes(range(32)), subtract=False)
    whole = Cipher(ChaCha20(bytes(range(32)), bytes(16)), mode=None).encryptor().update(bytes(8 * words.size))
    # Compared as numbers: half a megabyte of differing bytes takes pytest minutes to describe.
    assert np.array_equal(words, np.frombuffer(whole, "<u8"))


def test_keystream_is_chacha20():
    # RFC 8439, appendix A.1, test vector 1: key, counter and nonce zero.
    words = np.zeros(2, np.uint64)
    masks._add_keystream(words, bytes(32), subtract=False)
    assert words.tobytes().hex() == "76b8e0ada0f13d90405d6ae55386bd28"
    masks._add_keystream(words, bytes(32), subtract=True)
    assert not words.any()


@pytest.mark.parametrize(
    ("site", "cohort", "error", "code"),
    [
        ("a", "ab", BadParametersError, "TOO_FEW_SITES"),
        ("a", "aabc", KeyAgreementError, "COHORT_DUPLICATE"),
        ("d", "abc", KeyAgreementError, "NOT_IN_COHORT"),
        ("a", [f"{i}" for i in range(95)] + ["a"], BadParametersError, "TOO_MANY_SITES"),
        ("a", "abcd", KeyAgreementError, "PAIR_KEY_MISSING"),
    ],
)
def test_unsound_cohorts_are_refused(site, cohort, error, code):
    keys = pair_keys("abc").get(site, {})
    with pytest.raises(error) as refusal:
        step_mask(site, keys, list(cohort), H, 9, PRESET)
    assert refusal.value.code == code


def test_short_pair_keys_and_transcripts_are_refused():
    with pytest.raises(KeyAgreementError) as refusal:
        step_mask("a", {"b": bytes(32), "c": bytes(16)}, "abc", H, 9, PRESET)
    assert refusal.value.code == "PAIR_KEY_MISSING"
    with pytest.raises(KeyAgreementError) as refusal:
        step_mask("a", {"b": bytes(32), "c": bytes(32)}, "abc", b"", 9, PRESET)
    assert refusal.value.code == "TRANSCRIPT_HASH"
