"""Pairwise masks that cancel in the sum over one step's cohort (Bonawitz et al., CCS 2017, without recovery).

For: hiding one site's packed words from the coordinator and from every other site.
Not for: hiding the sum (that is the encryption), or a step with a missing site: a step that fails stays
failed, its masks are never revealed and never used again.
Order of calls: ``step_mask`` once per site and step, added to the packed words before they are encrypted.

Two sites that agree on pair key, step transcript and cohort draw the same keystream; the one with the lower
id adds it, the other subtracts it. Any other transcript gives unrelated masks, so views that differ never
cancel. To compute one site's mask takes *all* of its pair keys: what others than the victim and one honest
site know leaves a full keystream.

Memory: beyond the mask itself, one piece of keystream; it is overwritten before the call ends. That is all that
can be wiped: the derived keys are immutable bytes, and the cipher's own state belongs to its library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from ..encryption.ciphertext import Words
from ..encryption.presets import Preset
from ..errors import KeyAgreementError
from .runkeys import KEY_BYTES, check_transcript, derive

MASK_LABEL: Final = b"sekisho/mask/v1"
_WORD_BYTES: Final = 8
_PIECE_WORDS: Final = 1 << 15  # keystream is drawn a quarter of a megabyte at a time, which a processor's cache holds
_PIECE_ZEROS: Final = bytes(_WORD_BYTES * _PIECE_WORDS)  # what is encrypted to get the keystream itself
_ZERO_NONCE: Final = bytes(16)  # each key is used for one keystream only, so counter and nonce start at zero


def step_mask(
    site: str, pair_keys: Mapping[str, bytes], cohort: Sequence[str], h: bytes, words: int, preset: Preset
) -> Words:
    """uint64[words] below 2^48 for ``site``; over the whole cohort these add to zero modulo 2^48.

    ``pair_keys``: the site's own key with every other site of the cohort, by id. ``h``: the step's transcript
    hash H_t, never used for a second message. Raises BadParametersError (TOO_FEW_SITES, TOO_MANY_SITES) and
    KeyAgreementError (COHORT_DUPLICATE, NOT_IN_COHORT, PAIR_KEY_MISSING, TRANSCRIPT_HASH).
    """
    # 1. a transcript to bind to
    check_transcript(h)
    # 2. each site once: a pair counted twice would cancel its own mask
    if len(set(cohort)) != len(cohort):
        raise KeyAgreementError("COHORT_DUPLICATE", "a site is named twice in the cohort")
    # 3. we are in it
    if site not in cohort:
        raise KeyAgreementError("NOT_IN_COHORT", "this site is not in the step's cohort")
    # 4. enough sites to hide among, no more than decrypt exactly
    preset.check_sites(len(cohort))
    # 5. a whole key for every pair
    peers = sorted(set(cohort) - {site})
    if any(len(pair_keys.get(peer, b"")) != KEY_BYTES for peer in peers):
        raise KeyAgreementError("PAIR_KEY_MISSING", "there is no pair key with one of the cohort's sites")
    mask = np.zeros(words, np.uint64)
    for peer in peers:
        add_pair(mask, site, peer, pair_keys[peer], cohort, h)
    mask &= np.uint64(preset.plain_mask)
    return mask


def add_pair(mask: Words, site: str, peer: str, pair_key: bytes, cohort: Sequence[str], h: bytes) -> None:
    """Add to ``mask`` in place, modulo 2^64, what one pair contributes to the mask of ``site``: all that ``peer``
    could take off again."""
    # The cohort stands in H_t already; naming it here too costs nothing and survives a caller's mistake.
    key = derive(pair_key, h, MASK_LABEL, min(site, peer), max(site, peer), *sorted(cohort))
    _add_keystream(mask, key, subtract=site > peer)


def _add_keystream(mask: Words, key: bytes, *, subtract: bool) -> None:
    """Add or subtract 64-bit words of ChaCha20 keystream (RFC 8439) in place, modulo 2^64."""
    stream = Cipher(ChaCha20(key, _ZERO_NONCE), mode=None).encryptor()
    keystream = bytearray(_WORD_BYTES * min(mask.size, _PIECE_WORDS))
    words = np.frombuffer(keystream, "<u8")
    for start in range(0, mask.size, _PIECE_WORDS):
        piece = mask[start : start + _PIECE_WORDS]
        stream.update_into(memoryview(_PIECE_ZEROS)[: _WORD_BYTES * piece.size], keystream)
        if subtract:
            np.subtract(piece, words[: piece.size], out=piece)
        else:
            np.add(piece, words[: piece.size], out=piece)
    words[:] = 0
