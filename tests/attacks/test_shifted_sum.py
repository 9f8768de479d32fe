"""Not prevented (docs/threats.md): a coordinator that adds δ to Σ c0 for everybody moves the sum by δ."""

from __future__ import annotations

import numpy as np

from sekisho.privacy.encryption.presets import PRIME


def test_a_sum_shifted_equally_for_all_opens_shifted(step):
    aggregate = step.aggregate()
    delta = 777
    added = (delta * PRIME + (1 << 47)) >> 48  # round(δ · q / t)
    shifted = (aggregate.c0_sum + np.uint64(added)) % np.uint64(PRIME)
    assert (step.open(shifted, aggregate.manifest) == step.true_sum() + delta).all()


def test_a_site_can_recompute_the_sum_if_it_is_shown_all_halves(step):
    # What would prevent it: one site that gets every c0, whose digests the sites have signed.
    recomputed = np.zeros(step.dimension, np.uint64)
    for sealed in step.ciphertexts.values():
        recomputed = (recomputed + sealed.c0) % np.uint64(PRIME)
    assert (recomputed == step.aggregate().c0_sum).all()
