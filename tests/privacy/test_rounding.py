"""Sensitivity as a checked integer inequality, and a grid that is as fine as the fields allow and no
finer."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.mechanism import rounding
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.privacy.mechanism.rounding import (
    FIELD_WIDTHS,
    checked_rounding,
    choose_grid,
    grid_bound_squared,
    share_variance,
    to_grid,
)


class _AlwaysUp(SecretStream):
    """The unluckiest stream: every fraction is rounded up."""

    def uint64(self, count: int) -> NDArray[np.uint64]:
        return np.zeros(count, dtype=np.uint64)


@settings(max_examples=60, deadline=None)
@given(
    dimension=st.integers(1, 400),
    grid=st.integers(1, 100_000),
    bound=st.floats(0.001, 1000),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
    unlucky=st.booleans(),
)
def test_no_vector_leaves_its_bound(
    *, dimension: int, grid: int, bound: float, share: float, seed: int, unlucky: bool
) -> None:
    rng = np.random.default_rng(seed)
    vector = rng.standard_normal(dimension) ** 3
    vector *= share * bound * (1 - 1e-12) / np.linalg.norm(vector)
    stream = _AlwaysUp() if unlucky else SecretStream()
    whole = to_grid(vector, clipping_norm=bound, grid=grid, stream=stream)
    assert whole.dtype == np.int64
    assert sum(int(z) ** 2 for z in whole) <= grid_bound_squared(grid, dimension)
    assert (np.abs(whole - vector * (grid / bound)) < 1 + 1e-6).all()


def test_an_unlucky_rounding_is_cut_towards_zero() -> None:
    vector = np.full(10_000, 1e-6)
    whole, truncated = checked_rounding(vector, clipping_norm=1.0, grid=10, stream=_AlwaysUp())
    assert truncated and not whole.any()
    _, truncated = checked_rounding(vector, clipping_norm=1.0, grid=10, stream=SecretStream())
    assert not truncated


def test_a_vector_that_was_not_clipped_is_refused() -> None:
    for value in (1.5, 1e10, 1e300, np.inf, np.nan):
        vector = np.zeros(8)
        vector[3] = value
        with pytest.raises(BadParametersError) as refused, np.errstate(all="ignore"):
            to_grid(vector, clipping_norm=1.0, grid=1000, stream=SecretStream())
        assert refused.value.code == "NORM_ABOVE_BOUND"


def test_rounding_is_unbiased() -> None:
    vector = np.linspace(-0.5, 0.5, 11) / 4
    scaled = vector * 7
    mean = np.mean([to_grid(vector, clipping_norm=1.0, grid=7, stream=SecretStream()) for _ in range(4000)], axis=0)
    assert np.abs(mean - scaled).max() < 6 * 0.5 / np.sqrt(4000)


def test_the_bound_is_the_formula_in_exact_arithmetic() -> None:
    with localcontext() as context:
        context.prec = 60
        tail = (2 * Decimal(10**9).ln()).sqrt()
        for grid in (1, 7, 2053, 15_279, 2**29 + 12_345):
            for dimension in (1, 2, 385, 74_498, 10**6):
                exact = grid**2 + Decimal(dimension) / 4 + tail * (grid + Decimal(dimension).sqrt() / 2)
                bound = grid_bound_squared(grid, dimension)
                assert exact <= bound < exact + 1 + Decimal("0.001")


def test_rounded_vectors_meet_the_bound_without_being_cut() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        vector = rng.standard_normal(2000)
        vector *= (1 - 1e-12) / np.linalg.norm(vector)
        assert not checked_rounding(vector, clipping_norm=1.0, grid=300, stream=SecretStream())[1]


def test_the_worked_example_of_the_probe() -> None:
    """DESIGN 5: d = 385, n = 4000, K = 5, T = 1, σ = 10.8: 2×24, C_grid = 2057, f = 1.002."""
    choice = choose_grid(
        sigma=Fraction("10.7781"), dimension=385, expected_sample=4000, observers=1, sites=5, minimum_sites=5
    )
    bound = grid_bound_squared(choice.grid, 385)
    assert (choice.preset, choice.grid) == ("2x24", 2053)
    assert np.ceil(np.sqrt(bound)) == 2057
    assert round(choice.inflation, 3) == 1.002
    assert abs(share_variance(Fraction("10.7781"), bound, cohort=5, observers=1) ** 0.5 - 11_084) < 5


def test_the_worked_example_of_lora_refuses_the_narrow_fields() -> None:
    """DESIGN 5: d = 74,498, mean sample 400: 3×16 without rotation would double the noise."""
    choice = choose_grid(
        sigma=Fraction(2), dimension=74_498, expected_sample=540, observers=1, sites=5, minimum_sites=3
    )
    assert choice.preset == "2x24" and choice.inflation <= 1.01


@settings(max_examples=40, deadline=None)
@given(st.integers(50, 2000), st.integers(1, 80_000), st.integers(1, 5000), st.integers(3, 12), st.integers(0, 9))
def test_the_grid_is_the_finest_that_fits(
    sigma_percent: int, dimension: int, sample: int, sites: int, fewer: int
) -> None:
    sigma, least = Fraction(sigma_percent, 100), max(3, sites - fewer)
    try:
        choice = choose_grid(
            sigma=sigma,
            dimension=dimension,
            expected_sample=sample,
            observers=1,
            sites=sites,
            minimum_sites=least,
        )
    except BadParametersError as error:
        assert error.code == "NO_PRESET_FITS"
        return

    def fits(grid: int) -> bool:
        bound = grid_bound_squared(grid, dimension)
        shares = [(size, share_variance(sigma, bound, cohort=size, observers=1)) for size in range(least, sites + 1)]
        room = 2 ** (FIELD_WIDTHS[choice.preset] - 1) - 1
        return bound < 2**60 and all(
            s2 <= 16384**2 and sample * grid + 7 * (size * s2) ** 0.5 <= room * (1 + 1e-12) for size, s2 in shares
        )

    assert fits(choice.grid) and not fits(choice.grid + 1)
    assert grid_bound_squared(choice.grid, dimension) <= (Decimal("1.01") * choice.grid) ** 2


def test_where_no_packing_fits_the_plan_is_refused() -> None:
    with pytest.raises(BadParametersError) as refused:
        choose_grid(sigma=Fraction(1000), dimension=385, expected_sample=4000, observers=1, sites=5, minimum_sites=3)
    assert refused.value.code == "NO_PRESET_FITS"


def test_the_share_carries_the_noise_of_the_grid_not_of_the_clip() -> None:
    bound = grid_bound_squared(100, 1000)
    variance = share_variance(Fraction(10), bound, cohort=5, observers=1)
    assert 4 * variance >= 100 * bound + rounding.CERTIFICATE_VARIANCE > 100 * 100**2
