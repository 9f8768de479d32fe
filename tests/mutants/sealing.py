"""Mistakes in masks, encryption and opening: randomness that repeats, masks that do not mask, a seed that is kept."""

from __future__ import annotations

from .mutant import Edit, Mutant

BFV = "privacy/encryption/bfv.py"
DECRYPT = "privacy/keys/decrypt.py"
GATE = "core/gate/gate.py"
MASKS = "privacy/keys/masks.py"
PACKING = "privacy/encryption/packing.py"
PARALLEL = "privacy/encryption/parallel.py"
OPENING = "core/site/opening.py"
ROUNDS = "core/coordinator/rounds.py"

SEALING = (
    Mutant(
        "a generator that every encryption and every worker starts anew",
        (
            Edit(
                BFV,
                "context = _context(preset)\n",
                "context = _context(preset, seal.Blake2xbPRNGFactory(list(range(8))))\n",
            ),
        ),
        (
            "tests/privacy/test_bfv.py::test_two_encryptions_of_one_plaintext_share_nothing",
            "tests/privacy/test_parallel.py::test_every_worker_draws_randomness_of_its_own",
        ),
        ("assert len(set(blocks)) == 6", "assert len({seed for _, seeds in runs"),
    ),
    Mutant(
        "a seed of c1 that stays from one site to the next",
        (Edit(BFV, "os.write(self._descriptor, seed)", "os.write(self._descriptor, bytes(len(seed)))"),),
        ("tests/privacy/test_bfv.py::test_a_sum_of_four_sites_over_several_blocks_opens[True]",),
        "== words % np.uint64(T)",
    ),
    Mutant(
        "the same keystream for every piece of a mask",
        (
            Edit(
                MASKS,
                "        stream.update_into(",
                "        Cipher(ChaCha20(key, _ZERO_NONCE), mode=None).encryptor().update_into(",
            ),
        ),
        ("tests/privacy/test_masks.py::test_the_keystream_goes_on_from_piece_to_piece",),
        "assert np.array_equal(words",
    ),
    Mutant(
        "masks that both sites of a pair add",
        (Edit(MASKS, "subtract=site > peer", "subtract=False"),),
        ("tests/privacy/test_masks.py::test_masks_cancel_over_95_sites_and_over_pieces",),
        "assert not (sum(",
    ),
    Mutant(
        "masks that are kept after sealing",
        (Edit(GATE, "            masks.fill(0)", "            masks.view()"),),
        ("tests/core/test_gate.py::test_masks_and_key_are_gone_whether_or_not_the_step_was_sealed[sealed]",),
        "assert not any(mask.any()",
    ),
    Mutant(
        "a key that is kept where sealing fails",
        (Edit(GATE, "        finally:\n            secret.wipe()\n", "        finally:\n"),),
        ("tests/core/test_gate.py::test_masks_and_key_are_gone_whether_or_not_the_step_was_sealed[refused]",),
        "assert all(secret._key is None",
    ),
    Mutant(
        "a cohort that is not counted when its sum is opened",
        (Edit(DECRYPT, "preset.check_sites(len(manifest.lists))", "preset.check_sites(3)"),),
        ("tests/privacy/test_decrypt.py::test_what_is_not_the_sum_of_a_cohort_is_refused[c00-seeds0-BadParametersError-TOO_FEW_SITES]",),
        "DID NOT RAISE",
    ),
    Mutant(
        "a field's borrow that is not repaid",
        (Edit(PACKING, "rest = (rest - low) >>", "rest = rest >>"),),
        ("tests/privacy/test_packing.py::test_extremes_of_a_field_survive",),
        "assert (unpack(",
    ),
    Mutant(
        "a worker that is left behind after a refusal",
        (
            Edit(PARALLEL, "        self.process.terminate()\n        self._wait()\n", "        self.process.poll()\n"),
            Edit(PARALLEL, "            hand.close()\n", "            hand.process.poll()\n"),
        ),
        ("tests/privacy/test_parallel.py::test_a_mistake_in_a_worker_ends_the_call",),
        "assert all(hand.process.returncode is not None",
    ),
    Mutant(
        "a bound on an opened sum that allows every coordinate seven deviations at once",
        (Edit(OPENING, "(NOISE_FACTOR + NOISE_DEVIATIONS / math.sqrt(plan.dimension))", "NOISE_DEVIATIONS"),),
        ("tests/attacks/test_garbage_within_bounds.py::test_what_a_wrong_key_opens_is_outside_and_the_largest_honest_sum_is_not[3x16-rotated]",),
        "> (1.2 *",
    ),
    Mutant(
        "a site that stands apart is not told from those that refuse because of it",
        (Edit(ROUNDS, "apart({site: _place(message)", "apart({site: 0"),),
        ("tests/attacks/test_blamed_for_another.py::test_the_site_that_stands_apart_is_named_and_nobody_else[at_another_transcript]",),
        "assert None is not None",
    ),
)
