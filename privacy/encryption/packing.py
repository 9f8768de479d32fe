"""Signed integers into the coefficients of a plaintext polynomial, and back.

For: ``pack`` before masking and encrypting, ``unpack`` after opening the sum.
Not for: clipping, noise or the choice of a preset; rotation is not built yet.
Order of calls: pack → (+ mask, encrypt, sum over sites, decrypt) → unpack.

Word j holds the integers j, W + j, 2W + j, … (W words), each in its own field, as one sum Σ v·2^(width·field)
mod 2^48. Packing is linear: adding words adds integers, and borrows from negative fields cancel when the sum
is unpacked. So only the *sum* must fit its field. One that does not wraps, and moves the next field of its
word by one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import BadParametersError
from .ciphertext import Words
from .presets import Preset

Integers = npt.NDArray[np.int64]

_PIECE = 1 << 15  # words at a time: what a piece needs besides input and output stays in a processor's cache


def pack(values: Integers, preset: Preset) -> Words:
    """int64[d] → uint64[W], each word below t; beyond them memory holds one piece.

    Any other array: BadParametersError (VALUES_SHAPE).
    """
    if values.ndim != 1 or values.dtype != np.int64:
        raise BadParametersError("VALUES_SHAPE", "values to pack are one flat vector of 64-bit integers")
    words = preset.words(values.size)
    packed = np.zeros(words, np.uint64)
    for start in range(0, words, _PIECE):
        piece = packed[start : start + _PIECE]
        for field in range(preset.fields):
            first = field * words + start
            part = values[first : first + piece.size]
            # Two's complement: uint64 wraps modulo 2^64, and the final mask reduces that modulo t.
            piece[: part.size] += part.view(np.uint64) << np.uint64(preset.width * field)
        piece &= np.uint64(preset.plain_mask)
    return packed


def unpack(words: Words, preset: Preset, dimension: int) -> Integers:
    """uint64[W] → int64[d], each in [-2^(width-1), 2^(width-1)); beyond them memory holds one piece.

    Raises BadParametersError (WORDS_SHAPE).
    """
    count = preset.words(dimension)
    if words.dtype != np.uint64 or words.shape != (count,):
        raise BadParametersError("WORDS_SHAPE", f"{dimension} integers are packed into {count} words")
    above = np.int64(64 - preset.width)
    values = np.empty(dimension, np.int64)
    for start in range(0, count, _PIECE):
        rest = words[start : start + _PIECE].view(np.int64)
        for field in range(preset.fields):
            low = (rest << above) >> above  # sign-extend the lowest field
            first = field * count + start
            part = values[first : first + low.size]  # the last field is shorter where fields do not divide d
            part[:] = low[: part.size]
            rest = (rest - low) >> np.int64(preset.width)  # taking it off also repays what it had borrowed
    return values
