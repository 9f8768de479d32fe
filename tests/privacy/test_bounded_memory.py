"""Noise, masks, packing, sealing and opening hold a small multiple of the vector, whatever its length.

What a function holds is its peak above what it was called with, in bytes a parameter; numpy tells tracemalloc what it
takes. What SEAL takes it does not tell, hence the child process, whose resident size counts all.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sekisho.privacy.encryption import parallel
from sekisho.privacy.encryption.manifest import Manifest, SeedList
from sekisho.privacy.encryption.packing import pack, unpack
from sekisho.privacy.encryption.presets import PRESETS
from sekisho.privacy.keys.decrypt import StepSecret, open_sum
from sekisho.privacy.keys.encrypt import encrypt
from sekisho.privacy.keys.masks import step_mask
from sekisho.privacy.keys.runkeys import RunSecret
from sekisho.privacy.mechanism.gaussian import DiscreteGaussian
from sekisho.privacy.mechanism.randomness import SecretStream

ROOT = Path(__file__).resolve().parents[2]
DIMENSION = 2_000_000
VALUES = 8.0  # bytes a parameter of a vector of integers
PIECES = 4_000_000  # bytes: a few pieces, and the objects of a few blocks
H = hashlib.sha256(b"step").digest()


def peak(work: Callable[[], object]) -> int:
    """The most bytes that were held at once while ``work`` ran, its result among them."""
    tracemalloc.start()
    try:
        kept = work()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    del kept
    return most


def values() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1001, DIMENSION)


def test_control_a_temporary_as_long_as_the_vector_is_seen() -> None:
    vector = values()
    assert peak(lambda: vector + 1) == pytest.approx(VALUES * DIMENSION, rel=0.01)
    assert peak(lambda: np.negative(vector) * np.negative(vector)) > 1.9 * VALUES * DIMENSION


def test_noise_is_drawn_in_pieces() -> None:
    # an eighth of a byte: the signs
    noise = DiscreteGaussian(2500)
    assert peak(lambda: noise.sample(SecretStream(), DIMENSION)) < (VALUES + 1 / 8) * DIMENSION + PIECES


@pytest.mark.parametrize("name", ["3x16", "2x24", "1x48"])
def test_masking_and_packing_hold_their_results_and_a_piece(name: str) -> None:
    preset, vector = PRESETS[name], values()
    words = preset.words(DIMENSION)
    packed = pack(vector, preset)
    keys = {"b": bytes(32), "c": bytes(range(32))}
    assert peak(lambda: pack(vector, preset)) < 8 * words + PIECES
    assert peak(lambda: unpack(packed, preset, DIMENSION)) < VALUES * DIMENSION + PIECES
    assert peak(lambda: step_mask("a", keys, "abc", H, words, preset)) < 8 * words + PIECES


@pytest.mark.parametrize("workers", [1, 2])
def test_sealing_and_opening_hold_one_more_vector_of_words(workers: int) -> None:
    preset, vector = PRESETS["3x16"], values()
    words, secret = preset.words(DIMENSION), StepSecret.derive(RunSecret(bytes(64)), H)
    masks = np.random.default_rng(1).integers(0, 1 << 48, words, dtype=np.uint64)
    pieces = PIECES + workers * 3 * 8 * preset.degree * parallel.PIECE_BLOCKS
    sealing = peak(lambda: encrypt(vector, preset, secret=secret, masks=masks, workers=workers))
    assert sealing < 2 * 8 * words + pieces  # the masked words and c0
    seeds = [np.random.default_rng(site).bytes(64 * preset.blocks(DIMENSION)) for site in range(3)]
    manifest = Manifest(tuple(SeedList(f"site-{site}", one) for site, one in enumerate(seeds)))
    opening = peak(lambda: open_sum(masks, manifest, preset, DIMENSION, secret=secret, workers=workers))
    assert opening < 8 * words + VALUES * DIMENSION + pieces  # the opened words and the values


CHILD = """
    import hashlib, json, sys
    from pathlib import Path
    import numpy as np
    from sekisho.privacy.encryption.manifest import Manifest, SeedList
    from sekisho.privacy.encryption.presets import PRESETS
    from sekisho.privacy.keys.decrypt import StepSecret, open_sum
    from sekisho.privacy.keys.encrypt import encrypt
    from sekisho.privacy.keys.masks import step_mask
    from sekisho.privacy.keys.runkeys import RunSecret
    from sekisho.privacy.mechanism.gaussian import DiscreteGaussian
    from sekisho.privacy.mechanism.randomness import SecretStream

    def resident():
        # the peak since the last reset, in bytes
        status = Path("/proc/self/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])

    def whole(dimension):
        preset, h = PRESETS["3x16"], hashlib.sha256(b"step").digest()
        secret = StepSecret.derive(RunSecret(bytes(64)), h)
        values = DiscreteGaussian(2500).sample(SecretStream(), dimension)
        masks = step_mask("a", {"b": bytes(32), "c": bytes(range(32))}, "abc", h, preset.words(dimension), preset)
        sealed = encrypt(values, preset, secret=secret, masks=masks, workers=1)
        lists = [SeedList("a", sealed.seeds)]
        lists += [SeedList(site, np.random.default_rng(ord(site)).bytes(len(sealed.seeds))) for site in "bc"]
        open_sum(sealed.c0, Manifest(tuple(lists)), preset, dimension, secret=secret, workers=1)

    whole(10_000)
    before = resident()
    whole(int(sys.argv[1]))
    print(json.dumps((resident() - before) / int(sys.argv[1])))
"""


def bytes_a_parameter(dimension: int) -> float:
    """How much a site's peak grows by noising, masking, sealing and opening one vector, all of it counted."""
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(dimension)],
        env={**os.environ, "PYTHONPATH": str(ROOT / ".namespace"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return float(json.loads(said.stdout))


WITH_STATUS = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="this system does not tell its peak")
# values 8, masks 8/3, c0 8/3, opened words 8/3 and opened values 8 are 24 bytes; the rest is pieces and what the
# allocator keeps
MOST = 28.0


@WITH_STATUS
def test_a_sites_peak_is_a_small_multiple_of_two_million_parameters() -> None:
    assert bytes_a_parameter(2_000_000) < MOST


@WITH_STATUS
@pytest.mark.proof
def test_a_sites_peak_is_the_same_multiple_of_ten_million_parameters() -> None:
    assert bytes_a_parameter(10_000_000) < MOST
