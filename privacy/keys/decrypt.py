"""The sum of one step, opened from Σ c0 and the seed manifest.

For: opening at a site, once per step. Not for: opening anything else. There is no function that decrypts a
ciphertext: whoever could have two crafted halves decrypted would learn the key in one query, so the public
half c1 is never accepted but expanded here from the signers' seeds.
Order of calls: ``frame.decode_sum`` and a ``Manifest`` whose signers are this step's cohort → ``open_sum`` →
bound on the opened sum, which is the caller's: a wrong key or cohort does not fail here, it opens as noise.
"""

from __future__ import annotations

from ..encryption.ciphertext import Words, check_half
from ..encryption.manifest import Manifest
from ..encryption.packing import Integers, unpack
from ..encryption.parallel import Progress, nothing_shown, open_words
from ..encryption.presets import Preset
from ..errors import CiphertextError
from .secretkey import StepSecret, golden_vector_holds

__all__ = ["StepSecret", "golden_vector_holds", "open_sum"]


def open_sum(
    c0_sum: Words,
    manifest: Manifest,
    preset: Preset,
    dimension: int,
    *,
    secret: StepSecret,
    workers: int | None = None,
    progress: Progress = nothing_shown,
) -> Integers:
    """uint64[W] below q and everybody's seeds → int64[d], the exact sum of the manifest's sites.

    Exact for 3 to ``preset.maximum_sites`` sites while every sum fits its field. Shows nothing but the sum: no noise
    level, no failure. ``workers``, ``progress``: as in ``encrypt``. Beyond arguments and result, memory holds the W
    opened words and what ``parallel.py`` says.
    Raises BadParametersError (TOO_FEW_SITES, TOO_MANY_SITES, WORKER_LOST, WORKER_STALLED), CiphertextError
    (HALF_SHAPE, WORD_OUT_OF_RANGE, MANIFEST_LENGTHS) and KeyAgreementError (SECRET_WIPED).
    """
    # 1. a cohort that hides its members and decrypts exactly
    preset.check_sites(len(manifest.lists))
    # 2. coefficients of this vector, each below q
    check_half(c0_sum, preset, dimension)
    # 3. a seed for every block of this vector
    if manifest.blocks != preset.blocks(dimension):
        raise CiphertextError(
            "MANIFEST_LENGTHS", "the seed lists do not have one seed per block of this vector"
        )
    # 4. expand and add c1, decrypt
    seed_lists = [one.seeds for one in manifest.lists]
    words = open_words(c0_sum, seed_lists, preset, secret.use(), workers=workers, progress=progress)
    # 5. unpack
    return unpack(words, preset, dimension)
