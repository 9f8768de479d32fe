"""Equal seeds: two ciphertexts with one public half subtract to the difference of what they hide."""

from __future__ import annotations

import numpy as np
import pytest
import tenseal.sealapi as seal

from sekisho.privacy.encryption import bfv, frame
from sekisho.privacy.encryption.aggregation import Aggregator
from sekisho.privacy.encryption.ciphertext import Ciphertext
from sekisho.privacy.encryption.manifest import Manifest, SeedList
from sekisho.privacy.encryption.presets import PRIME
from sekisho.privacy.errors import CiphertextError


def refusal_code(call) -> str:
    with pytest.raises(CiphertextError) as refusal:
        call()
    return refusal.value.code


def test_what_equal_seeds_would_give_away(step):
    # Positive control, built with a seeded context: without any key, c0 − c0' shows m − m'.
    context = bfv._context(step.preset, seal.Blake2xbPRNGFactory(list(range(8))))
    ring = bfv._ring(step.preset.degree, step.preset.modulus, step.preset.plain_bits)
    words = [
        (step.values[site].view(np.uint64) + step.mask(site)) % np.uint64(1 << 48)
        for site in ("kohi", "wanko")
    ]
    halves = []
    for one in words:
        encryptor = seal.Encryptor(context, step.secret().use().seal)
        with bfv._Stream() as stream:
            body = stream.save(encryptor.encrypt_symmetric(stream.plaintext(ring, step.preset, one)))
        halves.append(bfv._split_ciphertext(ring, step.preset, body))
    assert halves[0][1] == halves[1][1]
    difference = (halves[0][0].astype(object) - halves[1][0].astype(object)) % PRIME
    seen = [(int(x) * (1 << 48) + PRIME // 2) // PRIME % (1 << 48) for x in difference]
    true = ((words[0] - words[1]) % np.uint64(1 << 48)).tolist()
    assert seen == true
    one, other = (Ciphertext(step.preset, step.dimension, c0, seeds) for c0, seeds in halves)
    aggregator = Aggregator(step.preset, step.dimension)
    aggregator.add("kohi", one)
    assert refusal_code(lambda: aggregator.add("wanko", other)) == "SEED_DUPLICATE"


def test_a_seed_copied_from_another_site_is_refused_everywhere(step):
    victim, copier = step.ciphertexts["kohi"], step.ciphertexts["wanko"]
    copied = Ciphertext(step.preset, step.dimension, copier.c0, victim.seeds)
    aggregator = Aggregator(step.preset, step.dimension)
    aggregator.add("kohi", victim)
    assert refusal_code(lambda: aggregator.add("wanko", copied)) == "SEED_DUPLICATE"
    lists = (
        SeedList("kohi", victim.seeds),
        SeedList("wanko", victim.seeds),
        SeedList("okashi", copier.seeds),
    )
    assert refusal_code(lambda: Manifest(lists)) == "SEED_DUPLICATE"


def test_a_seed_repeated_within_a_frame_is_refused(step):
    seeds = step.ciphertexts["kohi"].seeds
    data = (
        b"SKF1" + bytes([1, 1, 48, 0]) + (4097).to_bytes(4, "little") + seeds * 2 + bytes(-(-4097 * 60 // 8))
    )
    assert refusal_code(lambda: frame.decode(data, preset=step.preset, dimension=4097)) == "SEED_DUPLICATE"


def test_one_repeated_block_among_many_is_found(step):
    rng = np.random.default_rng(0)
    lists = [SeedList(site, rng.bytes(64 * 40)) for site in step.sites]
    seeds = bytearray(lists[-1].seeds)
    seeds[64 * 17 : 64 * 18] = lists[0].seeds[64 * 3 : 64 * 4]
    assert refusal_code(lambda: Manifest((*lists[:-1], SeedList("other", bytes(seeds))))) == "SEED_DUPLICATE"
