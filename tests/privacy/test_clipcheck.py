"""The clipping oracle: it agrees with the product on hard gradients, and disagrees with each way to be wrong."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sekisho.privacy.auditing.clipcheck import Clipping, _bound_squared, _target, check_clipping
from sekisho.privacy.gradients.clipping import NORM_MARGIN
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.privacy.mechanism.rounding import grid_bound_squared, to_grid

RULE = Clipping(norm=Decimal("0.4"), grid=700, bound_squared=grid_bound_squared(700, 40))
RECORDS = [np.random.default_rng(seed).normal(size=(1 + seed % 3, 40)) * 10.0 ** (seed % 5 - 3) for seed in range(40)]


def rounded(records: list[NDArray[np.float64]], norm: float = 0.4) -> NDArray[np.int64]:
    """What the product does, written down again: sum, clip, round."""
    vectors = []
    for own in records:
        total = own.sum(axis=0)
        length = float(np.sqrt((total * total).sum()))
        clipped = total * min(1.0, norm * NORM_MARGIN / length) * (0.4 / max(norm, 0.4))
        vector = to_grid(clipped, clipping_norm=0.4, grid=700, stream=SecretStream())
        vectors.append(np.rint(vector * max(norm, 0.4) / 0.4).astype(np.int64))
    return np.stack(vectors)


def test_right_vectors_pass() -> None:
    vectors = rounded(RECORDS)
    finding = check_clipping(RECORDS, vectors, vectors.sum(axis=0), RULE)
    assert finding.held, finding.seen


def test_each_way_to_be_wrong_is_found() -> None:
    vectors = rounded(RECORDS)
    total = vectors.sum(axis=0)
    off = vectors.copy()
    off[7, 3] += 2
    swapped = vectors.copy()
    swapped[[0, 4]] = swapped[[4, 0]]
    lower = np.stack([np.floor(np.array([float(y) for y in _target(own, RULE)])) for own in RECORDS]).astype(np.int64)
    wrong = {
        "one number two units off": (off, off.sum(axis=0), RULE),
        "a sum that is not the vectors'": (vectors, total + 1, RULE),
        "a subject's vector that is another's": (swapped, total, RULE),
        "clipped at twice the norm": (rounded(RECORDS, 0.8), rounded(RECORDS, 0.8).sum(axis=0), RULE),
        "always rounded down": (lower, lower.sum(axis=0), RULE),
        "a bound that is not the formula's": (vectors, total, replace(RULE, bound_squared=RULE.bound_squared * 2)),
        "a bound of C and not of C_grid": (vectors, total, replace(RULE, bound_squared=RULE.grid**2)),
    }
    for what, (changed, its_sum, rule) in wrong.items():
        assert not check_clipping(RECORDS, changed, its_sum, rule).held, what


@given(grid=st.integers(1, 2**20), dimension=st.integers(1, 10**6))
@settings(max_examples=200, deadline=None)
def test_both_formulas_of_the_bound_agree(grid: int, dimension: int) -> None:
    assert 0 <= grid_bound_squared(grid, dimension) - _bound_squared(grid, dimension) <= 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_counts_as_zero(bad: float) -> None:
    own = np.array([[0.1, 0.2], [bad, 0.3]])
    assert [float(y) for y in _target(own, RULE)] == pytest.approx([175.0, 350.0])
