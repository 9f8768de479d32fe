"""Bytes or views of another step, run or cohort: they open as noise."""

from __future__ import annotations

import hashlib

import numpy as np

from sekisho.privacy.encryption.aggregation import Aggregator

OTHER = hashlib.sha256(b"another view of the same step").digest()


def mixed(step, **replaced):
    aggregator = Aggregator(step.preset, step.dimension)
    for site in step.sites:
        aggregator.add(site, replaced.get(site, step.ciphertexts[site]))
    return aggregator.result()


def test_a_ciphertext_replayed_into_the_next_step_spoils_it(step, next_step, looks_random):
    aggregate = mixed(next_step, kohi=step.ciphertexts["kohi"])
    opened = next_step.open(aggregate.c0_sum, aggregate.manifest)
    assert looks_random(opened, step.values["kohi"], next_step.true_sum())


def test_a_whole_step_replayed_opens_noise_under_the_next_key(step, next_step, looks_random):
    aggregate = step.aggregate()
    assert looks_random(next_step.open(aggregate.c0_sum, aggregate.manifest), step.true_sum())


def test_sites_shown_different_models_do_not_open(step, looks_random):
    # Model inconsistency (Pasquini, Francati, Ateniese, 2022): another view, other masks and key.
    aggregate = mixed(step, kohi=step.seal("kohi", OTHER))
    for secret in (step.secret(), step.secret(OTHER)):
        opened = step.open(aggregate.c0_sum, aggregate.manifest, secret)
        assert looks_random(opened, step.values["kohi"], step.true_sum())


def test_two_steps_masks_do_not_cancel(step, next_step):
    for site in step.sites:
        assert not np.intersect1d(step.mask(site), next_step.mask(site)).size


def test_resealing_one_step_shows_the_coordinator_nothing(step, looks_random):
    # It is not done (sealed bytes are kept); if it were, equal masks would still be freshly encrypted.
    again = step.seal("kohi")
    difference = (again.c0.astype(object) - step.ciphertexts["kohi"].c0.astype(object)) % (1 << 48)
    assert looks_random(np.array(difference, np.int64), step.values["kohi"])
    assert again.seeds != step.ciphertexts["kohi"].seeds
