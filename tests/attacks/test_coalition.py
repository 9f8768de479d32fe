"""Coordinator and K − 2 sites together: holding the step's key and their pair keys, they see noise."""

from __future__ import annotations

import numpy as np

from sekisho.privacy.encryption import bfv
from sekisho.privacy.encryption.packing import unpack
from sekisho.privacy.keys import masks

T = np.uint64(1 << 48)


def coalition_view(step, victim: str, corrupt: tuple[str, ...]) -> np.ndarray:
    """The victim's words with encryption removed and every mask that a corrupt site shares with it."""
    sealed = step.ciphertexts[victim]
    words = bfv.open_words(sealed.c0, [sealed.seeds], step.preset, step.secret().use())
    for site in corrupt:
        low, high = min(site, victim), max(site, victim)
        key = masks.derive(
            step.pair_keys(site)[victim], step.transcript, masks.MASK_LABEL, low, high, *sorted(step.sites)
        )
        masks._add_keystream(words, key, subtract=victim < site)
    return unpack(words % T, step.preset, step.dimension)


def test_coordinator_with_all_but_two_sites_sees_noise(step, looks_random):
    view = coalition_view(step, "kohi", ("okashi", "shokuhin", "daidokoro"))
    assert looks_random(view, step.values["kohi"], step.values["wanko"])


def test_with_one_more_site_nothing_hides_the_last(step):
    # Positive control, and the limit that is promised: two honest sites have to remain.
    view = coalition_view(step, "kohi", ("okashi", "shokuhin", "daidokoro", "wanko"))
    assert (view == step.values["kohi"]).all()


def test_the_coalition_gets_the_sum_of_the_two_honest_sites(step):
    # Whoever knows all other values subtracts them from the sum. That is what differential privacy is for.
    aggregate = step.aggregate()
    rest = step.true_sum("okashi", "shokuhin", "daidokoro")
    opened = step.open(aggregate.c0_sum, aggregate.manifest)
    assert (opened - rest == step.values["kohi"] + step.values["wanko"]).all()


def test_what_the_coordinator_holds_is_uniform(step):
    # c0 in 64 equal bins: chi-square with 63 degrees of freedom stays below its 1 - 10^-6 quantile.
    for sealed in step.ciphertexts.values():
        counts = np.bincount((sealed.c0 >> np.uint64(54)).astype(np.int64), minlength=64)
        expected = step.dimension / 64
        assert ((counts - expected) ** 2 / expected).sum() < 132
        assert abs(np.corrcoef(sealed.c0.astype(np.float64), step.true_sum())[0, 1]) < 5 / np.sqrt(
            step.dimension
        )
