"""One site's ciphertext in place of the sum: neither under everybody's manifest nor under its own."""

from __future__ import annotations

import numpy as np
import pytest

from sekisho.privacy.encryption import bfv
from sekisho.privacy.encryption.packing import unpack
from sekisho.privacy.errors import BadParametersError


def test_one_ciphertext_under_a_larger_manifest_opens_noise(step, looks_random):
    opened = step.open(step.ciphertexts["kohi"].c0, step.aggregate().manifest)
    assert looks_random(opened, step.values["kohi"])


def test_one_or_two_ciphertexts_under_their_own_manifest_are_refused(step):
    for sites in (("kohi",), ("kohi", "wanko")):
        alone = step.aggregate(*sites)
        with pytest.raises(BadParametersError) as refusal:
            step.open(alone.c0_sum, alone.manifest)
        assert refusal.value.code == "TOO_FEW_SITES"


def test_even_without_the_refusal_the_masks_hide_the_site(step, looks_random):
    # A corrupt site holds the step's key; this is what it gets if coordinator and key holder work together.
    victim = step.ciphertexts["kohi"]
    words = bfv.open_words(victim.c0, [victim.seeds], step.preset, step.secret().use())
    assert looks_random(unpack(words, step.preset, step.dimension), step.values["kohi"])
    # Positive control: with the mask taken off, the site's values are there.
    bare = (words - step.mask("kohi")) % np.uint64(1 << 48)
    assert (unpack(bare, step.preset, step.dimension) == step.values["kohi"]).all()
