"""No sum ever opens wrongly: every preset, every size of cohort, any shape, at the largest noise there can be.

Encryption noise is random and small; what decides is the worst that it could be. So each test measures the error that a
sum of fresh ciphertexts really carries, coefficient by coefficient, from outside (how far the sum can be shifted until
it opens differently), and then moves every coefficient to the bound of 21.5 a site, upwards and downwards.
"""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.privacy.encryption.aggregation import Aggregator
from sekisho.privacy.encryption.ciphertext import Ciphertext
from sekisho.privacy.encryption.manifest import Manifest, SeedList
from sekisho.privacy.encryption.presets import MAXIMUM_SITES, PRESETS, PRIME, Preset
from sekisho.privacy.errors import BadParametersError, CiphertextError
from sekisho.privacy.keys.decrypt import open_sum
from sekisho.privacy.keys.encrypt import StepSecret, encrypt
from sekisho.privacy.keys.masks import step_mask
from sekisho.privacy.keys.runkeys import RunSecret

COHORTS = (3, 8, 16, 64, 95)
ERROR_PER_SITE = 21.5  # a centred binomial of at most 21, and half a unit of rounding
H = bytes(range(32))


class Cohort:
    """K sites of one step: vectors whose sum reaches both ends of its fields, sealed, and summed in numpy."""

    def __init__(self, preset: Preset, sites: int, dimension: int, number: int = 0):
        self.preset, self.sites, self.dimension = preset, sites, dimension
        self.fails_from = fails_from(preset)
        self.secret = StepSecret.derive(RunSecret(bytes(range(64))), H)
        self.values = vectors(preset, sites, dimension, number)
        self.sum = self.values.sum(axis=0)
        ids = [f"site-{number:02}" for number in range(sites)]
        key = os.urandom(32)  # one for all pairs: what a mask hides is another test's business
        aggregator = Aggregator(preset, dimension)
        for name, own in zip(ids, self.values, strict=True):
            pair_keys = {peer: key for peer in ids if peer != name}
            masks = step_mask(name, pair_keys, ids, H, preset.words(dimension), preset)
            aggregator.add(name, encrypt(own, preset, secret=self.secret, masks=masks))
        result = aggregator.result()
        self.c0_sum, self.manifest = result.c0_sum, result.manifest

    def opened(self, shift: np.ndarray | int = 0) -> np.ndarray:
        """The sum as it opens when so much is added to each coefficient of c0."""
        shifted = (self.c0_sum.astype(object) + np.asarray(shift).astype(object)) % PRIME
        return open_sum(
            shifted.astype(np.uint64), self.manifest, self.preset, self.dimension, secret=self.secret
        )

    def errors(self) -> np.ndarray:
        """The error that each coefficient carries, to within one: it opens right up to q/2t - error."""
        reach = int(ERROR_PER_SITE * self.sites) + 2
        low = np.full(self.c0_sum.size, self.fails_from - reach, np.int64)
        high = np.full(self.c0_sum.size, self.fails_from + reach, np.int64)
        while (high - low > 1).any():
            middle = (low + high) // 2
            right = self.of_words(self.opened(middle) == self.sum)
            low, high = np.where(right, middle, low), np.where(right, high, middle)
        return self.fails_from - low

    def of_words(self, right: np.ndarray) -> np.ndarray:
        """A word is right when all the integers in it are."""
        padded = np.ones(self.preset.fields * self.c0_sum.size, bool)
        padded[: right.size] = right
        return padded.reshape(self.preset.fields, -1).all(axis=0)


def fails_from(preset: Preset) -> int:
    """q/2t: the error at which a coefficient opens as its neighbour."""
    return round(PRIME / (2 << preset.plain_bits))


def vectors(preset: Preset, sites: int, dimension: int, number: int) -> np.ndarray:
    """int64[K, d]: arbitrary vectors, but for the last, which brings their sum to random values and to both ends."""
    random = np.random.default_rng(number)
    least, most = -(1 << (preset.width - 1)), (1 << (preset.width - 1)) - 1
    target = random.integers(least, most + 1, dimension)
    target[:: 7], target[3:: 7] = least, most
    values = random.integers(least, most + 1, (sites, dimension))
    values[-1] = target - values[:-1].sum(axis=0)
    return values


@pytest.mark.parametrize("sites", COHORTS)
@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_sums_are_exact_at_the_largest_noise_that_can_be(preset, sites):
    dimension = int(np.random.default_rng(sites).integers(1, 600)) * preset.fields + preset.fields // 2
    cohort = Cohort(preset, sites, dimension)
    assert (cohort.opened() == cohort.sum).all()
    errors = cohort.errors()
    bound = int(ERROR_PER_SITE * sites)
    assert np.abs(errors).max() <= bound + 1
    for worst in (bound, -bound):
        assert (cohort.opened(worst - errors) == cohort.sum).all()
    # Positive control: a little past q/2t no word opens right, so it is the bound that was reached above.
    for wrong in (cohort.fails_from + 2, -cohort.fails_from - 2):
        assert not cohort.of_words(cohort.opened(wrong - errors) == cohort.sum).any()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(list(PRESETS)), st.sampled_from((3, 5, 8)), st.integers(1, 26_000), st.integers(0, 2**32))
def test_sums_of_any_shape_are_exact(name, sites, dimension, number):
    cohort = Cohort(PRESETS[name], sites, dimension, number)
    assert (cohort.opened() == cohort.sum).all()


@pytest.mark.proof
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(list(PRESETS)), st.integers(3, MAXIMUM_SITES), st.integers(1, 20_000), st.integers(0, 2**32))
def test_sums_of_any_shape_and_any_cohort_are_exact_and_so_they_are_at_the_largest_noise(
    name, sites, dimension, number
):
    cohort = Cohort(PRESETS[name], sites, dimension, number)
    assert (cohort.opened() == cohort.sum).all()
    errors = cohort.errors()
    bound = int(ERROR_PER_SITE * sites)
    for worst in (bound, -bound):
        assert (cohort.opened(worst - errors) == cohort.sum).all()


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_one_site_above_the_bound_is_refused_at_every_door(preset):
    ids = [f"site-{number:02}" for number in range(preset.maximum_sites + 1)]
    words = preset.words(10)
    # 1. it would not be exact, and a preset that claims so cannot be made
    with pytest.raises(BadParametersError) as refusal:
        Preset(
            "wide", preset.fields, preset.width, plain_bits=preset.plain_bits, maximum_sites=preset.maximum_sites + 1,
            rotated=preset.rotated,
        )  # fmt: skip
    assert refusal.value.code == "PRESET_NOISE"
    # 2. a site does not mask for it
    with pytest.raises(BadParametersError) as refusal:
        step_mask(ids[0], {peer: bytes(32) for peer in ids[1:]}, ids, H, words, preset)
    assert refusal.value.code == "TOO_MANY_SITES"
    # 3. the coordinator does not add it
    aggregator = Aggregator(preset, 10)
    for name in ids[:-1]:
        aggregator.add(name, Ciphertext(preset, 10, np.zeros(words, np.uint64), os.urandom(64)))
    with pytest.raises(CiphertextError) as over:
        aggregator.add(ids[-1], Ciphertext(preset, 10, np.zeros(words, np.uint64), os.urandom(64)))
    assert over.value.code == "TOO_MANY_SITES"
    # 4. and nobody opens it
    manifest = Manifest(tuple(SeedList(name, os.urandom(64)) for name in ids))
    with pytest.raises(BadParametersError) as refusal:
        open_sum(np.zeros(words, np.uint64), manifest, preset, 10, secret=StepSecret.derive(RunSecret.generate(), H))
    assert refusal.value.code == "TOO_MANY_SITES"
