"""One site's integers, packed, masked and encrypted: the last thing done to them before signing.

For: the gate, which uses this and no other way into a ciphertext.
Not for: noise (already in the values), signatures, or sending anything twice: a step is encrypted once and
the bytes kept.
Order of calls: ``StepSecret.derive`` → ``masks.step_mask`` → ``encrypt`` → ``frame.encode``.
"""

from __future__ import annotations

import numpy as np

from ..encryption.ciphertext import Ciphertext, Words
from ..encryption.packing import Integers, pack
from ..encryption.parallel import Progress, encrypt_words, nothing_shown
from ..encryption.presets import Preset
from ..errors import KeyAgreementError
from .secretkey import StepSecret, golden_vector_holds

__all__ = ["StepSecret", "encrypt", "golden_vector_holds"]


def encrypt(
    values: Integers,
    preset: Preset,
    *,
    secret: StepSecret,
    masks: Words,
    workers: int | None = None,
    progress: Progress = nothing_shown,
) -> Ciphertext:
    """int64[d] with their noise, and uint64[W] masks → this site's ciphertext of the step.

    Randomised: the same values and masks give another ciphertext and other seeds each time. There is no way
    to leave the masks out. ``workers``: processes, by default as many as cores and work make worth while;
    ``progress(done, total)`` counts blocks of 4,096 words. Beyond arguments and result, memory holds the
    W masked words and what ``parallel.py`` says. Raises BadParametersError (VALUES_SHAPE, DIMENSION,
    WORKER_LOST, WORKER_STALLED) and KeyAgreementError (MASK_SHAPE, MASK_MISSING, SECRET_WIPED).
    """
    # 1. pack
    words = pack(values, preset)
    # 2. a mask word for every packed word
    if masks.dtype != np.uint64 or masks.shape != words.shape or int(masks.max()) > preset.plain_mask:
        raise KeyAgreementError(
            "MASK_SHAPE", f"there is not one mask of {preset.plain_bits} bits for every packed word"
        )
    # 3. and it masks: all zeros happens by chance with probability 1/t at most
    if not masks.any():
        raise KeyAgreementError(
            "MASK_MISSING", "the masks are all zero", "derive them from the pair keys of this step"
        )
    # 4. mask
    np.add(words, masks, out=words)
    np.bitwise_and(words, np.uint64(preset.plain_mask), out=words)
    # 5. encrypt
    c0, seeds = encrypt_words(words, preset, secret.use(), workers=workers, progress=progress)
    return Ciphertext(preset, values.size, c0, seeds)
