"""Contributions made for one public rotation, so that they add up in one coordinate: an overflow, and no more.

H_t is known to every site before it trains, so whoever writes its own contributions can undo the rotation in advance.
The checked norm of every subject's integers does not move, so neither does what the noise hides; what is lost is the
use of the fields that overflow. A site can add any vector anyway (docs/threats.md, not promised).
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from sekisho.privacy.encryption.packing import pack, unpack
from sekisho.privacy.encryption.presets import PRESETS
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.privacy.mechanism.rotation import Rotation
from sekisho.privacy.mechanism.rounding import checked_rounding, choose_grid, grid_bound_squared

DIMENSION, SUBJECTS = 6000, 400  # one block, and one that overlaps it
NOW, OTHER = bytes(range(32)), bytes(range(1, 33))  # transcript hashes of two steps
CHOICE = choose_grid(
    sigma=Fraction(2), dimension=DIMENSION, expected_sample=SUBJECTS, observers=1, sites=5, minimum_sites=3
)
PRESET = PRESETS[CHOICE.preset]
BOUND = grid_bound_squared(CHOICE.grid, DIMENSION)


def made_for(transcript: bytes) -> NDArray[np.float64]:
    """A vector of norm one that this step's rotation gathers in its first coordinate."""
    target = np.zeros(DIMENSION)
    target[0] = 1.0
    return Rotation(DIMENSION, transcript).back(target) * (1 - 1e-12)


def integers_of(vector: NDArray[np.float64]) -> NDArray[np.int64]:
    """What a site makes of every subject's equal vector in the step ``NOW``: int64[subjects, d]."""
    rotated = Rotation(DIMENSION, NOW).forward(vector)
    stream = SecretStream(bytes(32))
    return np.array(
        [
            checked_rounding(rotated, clipping_norm=1.0, grid=CHOICE.grid, stream=stream.derive(b"%d" % one))[0]
            for one in range(SUBJECTS)
        ]
    )


def opened(integers: NDArray[np.int64]) -> NDArray[np.int64]:
    return unpack(pack(integers.sum(axis=0), PRESET), PRESET, DIMENSION)


def test_the_rule_takes_a_rotated_preset_here() -> None:
    assert PRESET.rotated and CHOICE.inflation <= 1.01


def test_contributions_aligned_with_the_rotation_keep_the_bound_and_overflow_one_field() -> None:
    integers = integers_of(made_for(NOW))
    # what bounds a person holds for each, as for anybody
    assert int((integers**2).sum(axis=1).max()) <= BOUND
    # all of it in one coordinate, beyond what a field holds
    total = integers.sum(axis=0)
    assert abs(int(total[0])) >= 1 << (PRESET.width - 1)
    wrong = np.flatnonzero(opened(integers) != total)
    # that coordinate is lost, and the next field of its word is off by what was carried; nothing else is
    words = PRESET.words(DIMENSION)
    assert 0 in wrong and set(wrong.tolist()) <= {0, words, 2 * words}
    assert np.abs((opened(integers) - total)[wrong[wrong > 0]]).max(initial=0) <= SUBJECTS


def test_control_without_knowing_the_rotation_nothing_overflows() -> None:
    integers = integers_of(made_for(OTHER))
    assert int((integers**2).sum(axis=1).max()) <= BOUND
    assert (opened(integers) == integers.sum(axis=0)).all()
