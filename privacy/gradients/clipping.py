"""From per-record gradients to one integer sum in which every subject is bounded.

For: :func:`subject_sums` (records → subjects) and :func:`clipped_integer_sum` (clip to C, rotate, round, check, add).
Not for: computing gradients (core/training), noise (``mechanism/``).

Order of calls: ``subject_sums`` → ``clipped_integer_sum`` → the gate.

A subject's integer vector depends on nothing but that subject's own rows, public parameters and its own
secret stream, to the last bit: each row is reduced by itself, in the order of its records, without BLAS and
without threads. Whatever is not finite contributes zero; nothing raises because of what a record holds, for
a refusal would tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..accounting.plan import Plan
from ..errors import BadParametersError
from ..mechanism.randomness import SecretStream
from ..mechanism.rotation import Rotation
from ..mechanism.rounding import checked_rounding

# √Σx² may come out a few units in the last place short; clipping to a hair less than C keeps the norm at or
# below it.
NORM_MARGIN = 1.0 - 2.0**-40


@dataclass(frozen=True)
class ClippedSum:
    """``total``: int64[d] in grid units. The counts are for this site's own eyes and must not leave it."""

    total: NDArray[np.int64]
    subjects: int
    truncated: int


def subject_sums(
    gradients: NDArray[np.float64], subject_of_row: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """float64[count, d]: each subject's rows of ``gradients`` (float64[n, d]) added in the order in which
    they stand.

    Args:
        subject_of_row: int64[n], the subject (0 … count − 1) of each row. A subject without rows has a zero
            sum.

    Raises:
        BadParametersError: ``BAD_GRADIENTS`` when the shapes or the subjects do not fit.
    """
    rows, dimension = gradients.shape
    outside = subject_of_row.size > 0 and not 0 <= subject_of_row.min() <= subject_of_row.max() < count
    if subject_of_row.shape != (rows,) or outside:
        raise BadParametersError("BAD_GRADIENTS", "gradients and subjects do not belong together")
    sums = np.zeros((count, dimension))
    with np.errstate(over="ignore"):
        for row, subject in enumerate(subject_of_row):
            # One addition a coordinate, so no other row can change the order or the rounding.
            if np.isfinite(gradients[row]).all():
                sums[subject] += gradients[row]
    return sums


def integer_vectors(
    sums: NDArray[np.float64], *, plan: Plan, streams: Sequence[SecretStream], rotation: Rotation | None = None
) -> NDArray[np.int64]:
    """int64[S, d]: each subject's clipped, rotated, rounded vector; what :func:`clipped_integer_sum` adds."""
    vectors = np.zeros(sums.shape, dtype=np.int64)
    for place, (vector, _) in enumerate(_each(sums, plan, streams, rotation)):
        vectors[place] = vector
    return vectors


def clipped_integer_sum(
    sums: NDArray[np.float64], *, plan: Plan, streams: Sequence[SecretStream], rotation: Rotation | None = None
) -> ClippedSum:
    """Clip each subject's sum (float64[S, d]) to the plan's C, rotate it where the plan does, round it to the grid,
    check its integer norm, add.

    Args:
        streams: one for each subject, its own for this step.
        rotation: this step's, ``plan.rotation(H_t)``: the same for every subject and site.

    Raises:
        BadParametersError: ``BAD_GRADIENTS`` when the shapes do not fit, or plan and rotation.
    """
    total = np.zeros(plan.dimension, dtype=np.int64)
    truncated = 0
    for vector, was_truncated in _each(sums, plan, streams, rotation):
        total += vector
        truncated += was_truncated
    return ClippedSum(total=total, subjects=len(sums), truncated=truncated)


def _each(
    sums: NDArray[np.float64], plan: Plan, streams: Sequence[SecretStream], rotation: Rotation | None
) -> Iterator[tuple[NDArray[np.int64], bool]]:
    if sums.ndim != 2 or sums.shape[1] != plan.dimension or len(streams) != len(sums):
        raise BadParametersError("BAD_GRADIENTS", "sums, plan and streams do not belong together")
    if (rotation.dimension if rotation else None) != (plan.dimension if plan.rotated else None):
        raise BadParametersError("BAD_GRADIENTS", "plan and rotation do not belong together")
    norm = float(plan.clipping_norm)
    for row, stream in zip(sums, streams, strict=True):
        clipped = _clipped(np.ascontiguousarray(row), norm)
        # Before rounding, so that the integers that are checked are the ones that are added.
        placed = clipped if rotation is None else rotation.forward(clipped)
        yield checked_rounding(placed, clipping_norm=norm, grid=plan.grid, stream=stream)


def _clipped(row: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """One vector, float64[d], scaled down to norm ≤ ``bound``; zero if it holds anything that is not
    finite."""
    if not np.isfinite(row).all():
        return np.zeros_like(row)
    # Scaled by its largest entry first, so that no square overflows or vanishes.
    largest = float(np.abs(row).max(initial=0.0))
    if largest == 0.0:
        return np.zeros_like(row)
    direction = row / largest
    length = float(np.sqrt(np.add.reduce(direction * direction)))
    if largest * length <= bound * NORM_MARGIN:
        return row
    return direction * (bound * NORM_MARGIN / length)
