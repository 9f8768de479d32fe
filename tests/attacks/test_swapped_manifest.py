"""A manifest that is not the one of the sum: it opens as noise, or the signed digests convict it."""

from __future__ import annotations

from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.manifest import Manifest, SeedList


def test_the_right_manifest_opens_the_sum(step):
    aggregate = step.aggregate()
    assert (step.open(aggregate.c0_sum, aggregate.manifest) == step.true_sum()).all()


def test_a_manifest_of_another_step_opens_noise(step, next_step, looks_random):
    opened = step.open(step.aggregate().c0_sum, next_step.aggregate().manifest)
    assert looks_random(opened, step.true_sum())


def test_a_site_left_out_of_or_added_to_the_manifest_opens_noise(step, looks_random):
    lists = step.aggregate().manifest.lists
    without = Manifest(lists[1:])
    assert looks_random(
        step.open(step.aggregate().c0_sum, without), step.true_sum(), step.true_sum(*without.sites)
    )
    added = Manifest((*lists, SeedList("stranger", bytes(range(64)))))
    assert looks_random(step.open(step.aggregate().c0_sum, added), step.true_sum())


def test_one_changed_bit_of_a_seed_opens_noise(step, looks_random):
    first, *rest = step.aggregate().manifest.lists
    changed = SeedList(first.site, bytes([first.seeds[0] ^ 1]) + first.seeds[1:])
    opened = step.open(step.aggregate().c0_sum, Manifest((changed, *rest)))
    assert looks_random(opened, step.true_sum())


def test_seeds_under_another_name_are_convicted_by_digest(step):
    # The sum cannot tell who is who, so the names are held by the digest that each site signed.
    first, second, *rest = step.aggregate().manifest.lists
    swapped = Manifest((SeedList(first.site, second.seeds), SeedList(second.site, first.seeds), *rest))
    assert (step.open(step.aggregate().c0_sum, swapped) == step.true_sum()).all()
    assert swapped.digest != step.aggregate().manifest.digest
    signed = {site: frame.seeds_digest(ciphertext) for site, ciphertext in step.ciphertexts.items()}
    convicted = {one.site for one in swapped.lists if frame.seeds_digest(one) != signed[one.site]}
    assert convicted == {first.site, second.site}


def test_a_subset_and_its_own_manifest_opens_noise(step, looks_random):
    # Encryption alone would open this; the masks of those who are missing do not cancel.
    chosen = step.sites[:3]
    aggregate = step.aggregate(*chosen)
    assert looks_random(
        step.open(aggregate.c0_sum, aggregate.manifest), step.true_sum(*chosen), step.true_sum()
    )
