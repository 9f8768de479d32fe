"""Opening: the exact sum over the whole way, and refusals in numbered order."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.aggregation import Aggregator
from sekisho.privacy.encryption.manifest import Manifest, SeedList
from sekisho.privacy.encryption.presets import PRESETS, PRIME
from sekisho.privacy.errors import BadParametersError, CiphertextError
from sekisho.privacy.keys.decrypt import StepSecret, open_sum
from sekisho.privacy.keys.encrypt import encrypt
from sekisho.privacy.keys.masks import step_mask
from sekisho.privacy.keys.runkeys import RunSecret

H = hashlib.sha256(b"step 1").digest()
RUN = bytes(range(64))


def whole_step(preset, vectors: list[np.ndarray]) -> np.ndarray:
    """Every site packs, masks, encrypts and frames; the coordinator adds; a site opens."""
    sites = [f"site-{number:02}" for number in range(len(vectors))]
    keys: dict[str, dict[str, bytes]] = {site: {} for site in sites}
    for low, high in itertools.combinations(sites, 2):
        keys[low][high] = keys[high][low] = hashlib.sha256(f"{low}{high}".encode()).digest()
    dimension = vectors[0].size
    secret = StepSecret.derive(RunSecret(RUN), H)
    aggregator = Aggregator(preset, dimension)
    for site, values in zip(sites, vectors, strict=True):
        masks = step_mask(site, keys[site], sites, H, preset.words(dimension), preset)
        sent = frame.encode(encrypt(values, preset, secret=secret, masks=masks))
        aggregator.add(site, frame.decode(sent, preset=preset, dimension=dimension))
    total = aggregator.result()
    received = frame.decode_sum(frame.encode_sum(total.c0_sum, preset, dimension), preset, dimension)
    return open_sum(received, total.manifest, preset, dimension, secret=StepSecret.derive(RunSecret(RUN), H))


@pytest.mark.parametrize(
    ("sites", "name"),
    [
        *((sites, name) for name in ("3x16", "2x24", "1x48") for sites in (3, 5, 8, 64, 95)),
        *((sites, name) for name in ("3x15", "2x23", "1x46") for sites in (96, 127)),
    ],
)
def test_sums_are_exact(sites, name):
    preset = PRESETS[name]
    rng = np.random.default_rng(sites)
    limit = ((1 << (preset.width - 1)) - 1) // sites
    vectors = [rng.integers(-limit, limit + 1, 385) for _ in range(sites)]
    assert (whole_step(preset, vectors) == sum(vectors)).all()


def test_sums_at_the_edge_of_a_field_are_exact():
    preset = PRESETS["3x16"]
    low = [np.full(7, part, np.int64) for part in (-32_768, 0, 0)]
    high = [np.full(7, part, np.int64) for part in (32_767, 5, -5)]
    assert whole_step(preset, low).tolist() == [-32_768] * 7
    assert whole_step(preset, high).tolist() == [32_767] * 7


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9000), st.sampled_from(list(PRESETS.values())), st.integers(3, 5))
def test_sums_of_any_shape_are_exact(dimension, preset, sites):
    rng = np.random.default_rng(dimension)
    limit = ((1 << (preset.width - 1)) - 1) // sites
    vectors = [rng.integers(-limit, limit + 1, dimension) for _ in range(sites)]
    assert (whole_step(preset, vectors) == sum(vectors)).all()


def manifest(sites: int, blocks: int = 1) -> Manifest:
    rng = np.random.default_rng(0)
    return Manifest(tuple(SeedList(f"site-{number:02}", rng.bytes(64 * blocks)) for number in range(sites)))


@pytest.mark.parametrize(
    ("c0", "seeds", "error", "code"),
    [
        (np.zeros(5, np.uint64), manifest(2), BadParametersError, "TOO_FEW_SITES"),
        (np.zeros(5, np.uint64), manifest(96), BadParametersError, "TOO_MANY_SITES"),
        (np.zeros(4, np.uint64), manifest(3), CiphertextError, "HALF_SHAPE"),
        (np.zeros(5, np.int64), manifest(3), CiphertextError, "HALF_SHAPE"),
        (np.full(5, PRIME, np.uint64), manifest(3), CiphertextError, "WORD_OUT_OF_RANGE"),
        (np.zeros(5, np.uint64), manifest(3, blocks=2), CiphertextError, "MANIFEST_LENGTHS"),
    ],
)
def test_what_is_not_the_sum_of_a_cohort_is_refused(c0, seeds, error, code):
    secret = StepSecret.derive(RunSecret(RUN), H)
    with pytest.raises(error) as refusal:
        open_sum(c0, seeds, PRESETS["2x24"], 9, secret=secret)
    assert refusal.value.code == code
