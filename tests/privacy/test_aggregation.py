"""The coordinator's sum: modular, one add per site, and without any key or HE library."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.privacy.encryption.aggregation import Aggregator
from sekisho.privacy.encryption.ciphertext import Ciphertext
from sekisho.privacy.encryption.presets import PRESETS, PRIME
from sekisho.privacy.errors import CiphertextError

PRESET = PRESETS["2x24"]
ROOT = Path(__file__).resolve().parents[2]


def ciphertext(number: int, dimension: int = 9, preset=PRESET) -> Ciphertext:
    rng = np.random.default_rng(number)
    c0 = rng.integers(0, PRIME, preset.words(dimension), dtype=np.uint64)
    return Ciphertext(preset, dimension, c0, rng.bytes(64 * preset.blocks(dimension)))


@settings(max_examples=40)
@given(
    st.lists(
        st.lists(st.integers(PRIME - 50, PRIME - 1) | st.integers(0, PRIME - 1), min_size=3, max_size=3),
        max_size=9,
        min_size=1,
    )
)
def test_the_sum_is_the_sum_modulo_q(halves):
    aggregator = Aggregator(PRESET, 6)
    for number, half in enumerate(halves):
        seeds = np.random.default_rng(number).bytes(64)
        aggregator.add(f"site-{number}", Ciphertext(PRESET, 6, np.array(half, np.uint64), seeds))
    expected = [sum(column) % PRIME for column in zip(*halves, strict=True)]
    assert aggregator.result().c0_sum.tolist() == expected


def test_a_sum_of_exactly_q_is_zero():
    aggregator = Aggregator(PRESET, 2)
    for number, half in enumerate((1, PRIME - 1)):
        aggregator.add(f"{number}", Ciphertext(PRESET, 2, np.array([half], np.uint64), bytes([number]) * 64))
    assert aggregator.result().c0_sum.tolist() == [0]


def test_what_does_not_belong_changes_nothing():
    aggregator = Aggregator(PRESET, 9)
    aggregator.add("kohi", ciphertext(1))
    before = aggregator.result()
    same_seeds = Ciphertext(PRESET, 9, ciphertext(2).c0, ciphertext(1).seeds)
    for site, wrong, code in [
        ("kohi", ciphertext(2), "DUPLICATE_SITE"),
        ("wanko", same_seeds, "SEED_DUPLICATE"),
        ("wanko", ciphertext(2, dimension=10), "CIPHERTEXT_SHAPE"),
        ("wanko", ciphertext(2, preset=PRESETS["3x16"]), "CIPHERTEXT_SHAPE"),
        ("", ciphertext(2), "MANIFEST_SITE"),
    ]:
        with pytest.raises(CiphertextError) as refusal:
            aggregator.add(site, wrong)
        assert refusal.value.code == code
    after = aggregator.result()
    assert (after.c0_sum == before.c0_sum).all()
    assert after.manifest == before.manifest
    assert aggregator.sites == ("kohi",)


def test_the_96th_site_is_refused():
    aggregator = Aggregator(PRESET, 9)
    for number in range(95):
        aggregator.add(f"site-{number:02}", ciphertext(number))
    with pytest.raises(CiphertextError) as refusal:
        aggregator.add("site-95", ciphertext(95))
    assert refusal.value.code == "TOO_MANY_SITES"


def test_an_empty_sum_is_refused():
    with pytest.raises(CiphertextError) as refusal:
        Aggregator(PRESET, 9).result()
    assert refusal.value.code == "MANIFEST_EMPTY"


def test_the_coordinator_needs_numpy_only():
    heavy = ("tenseal", "torch", "cryptography", "zstandard", "sekisho.privacy.keys")
    script = (
        "import sys, sekisho.privacy.encryption.aggregation, sekisho.privacy.encryption.frame;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT / ".namespace"
    )
    assert shown.stdout.strip() == "[]"
