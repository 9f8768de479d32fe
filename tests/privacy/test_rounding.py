"""Sensitivity as a checked integer inequality, and a grid that is as fine as the fields allow and no
finer."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sekisho.privacy.encryption.presets import MANY_PLAIN_BITS, MANY_SITES, MAXIMUM_SITES, PRESETS
from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.mechanism import rounding
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.privacy.mechanism.rotation import block_size
from sekisho.privacy.mechanism.rounding import (
    FIELD_WIDTHS,
    MOST_SITES,
    ROTATED,
    checked_rounding,
    choose_grid,
    grid_bound_squared,
    largest_sum,
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


def best_of(preset: str, monkeypatch: pytest.MonkeyPatch, **figures: Any) -> float:
    """f of the finest grid of one preset, whatever it wastes."""
    with monkeypatch.context() as patch:
        patch.setattr(rounding, "FIELD_WIDTHS", {preset: FIELD_WIDTHS[preset]})
        patch.setattr(rounding, "MAXIMUM_INFLATION", Fraction(1000))
        patch.setattr(rounding, "MINIMUM_NOISE_VARIANCE", 1)
        patch.setattr(rounding, "MINIMUM_SHARE_VARIANCE", 1)
        return choose_grid(**figures).inflation


def figures(sigma: str, dimension: int, sample: int, least: int = 5) -> dict[str, Any]:
    """Of K = 5 and T = 1."""
    return {"sigma": Fraction(sigma), "dimension": dimension, "expected_sample": sample,
            "observers": 1, "sites": 5, "minimum_sites": least}  # fmt: skip


def test_the_worked_example_of_lora(monkeypatch: pytest.MonkeyPatch) -> None:
    """DESIGN 5: d = 74,498, mean sample 400, σ = 1: 3×16 would double the noise, rotated it wastes less than 1 %."""
    # n = 400, the mean itself, and n = 400 + 7·√400, which a Poisson sample of that mean does not exceed
    for sample, alone, rotated in ((400, 2.07, 1.005), (540, 2.63, 1.007)):
        of = figures("1", 74_498, sample)
        assert round(best_of("3x16", monkeypatch, **of), 2) == alone
        assert round(best_of("3x16-rotated", monkeypatch, **of), 3) == rotated
        choice = choose_grid(**of)
        assert choice.preset == "3x16-rotated" and choice.inflation <= 1.01


def test_more_noise_or_a_larger_sample_takes_the_wider_fields() -> None:
    """DESIGN 5: LoRA at σ = 2 and a mean sample of 400: rotated fields of 16 bits waste 1.3 %, hence 24."""
    choice = choose_grid(**figures("2", 74_498, 540, least=3))
    assert choice.preset == "2x24" and choice.inflation <= 1.01


@pytest.mark.parametrize(
    ("sigma", "dimension", "sample", "narrow", "rotated", "wide"),
    [
        ("14", 385, 1000, 1.20, 1.069, 1.001),  # the review has 1.19, 1.07, 1.000
        ("14", 385, 4000, 2.28, 1.361, 1.002),  # 2.12, 1.34, 1.002
        ("1", 25_000, 400, 1.47, 1.006, 1.000),
        ("2", 74_498, 400, 2.13, 1.009, 1.000),  # 2.12, 1.009, 1.000
        ("2", 74_498, 1000, 4.78, 1.022, 1.001),  # 4.7, 1.022, 1.001
        ("6", 74_498, 4000, 23.32, 1.252, 1.004),  # 21, 1.25, 1.004
    ],
)
def test_the_table_of_the_review(
    sigma: str, dimension: int, sample: int, narrow: float, rotated: float, wide: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Extra noise f at K = m = 5, T = 1. Where the review differs, its u is no integer: 7.74, not 7, gives 2.12."""
    of = figures(sigma, dimension, sample)
    found = [best_of(preset, monkeypatch, **of) for preset in ("3x16", "3x16-rotated", "2x24")]
    assert (round(found[0], 2), round(found[1], 3), round(found[2], 3)) == (narrow, rotated, wide)


def test_the_presets_are_tried_from_the_fewest_bytes_on() -> None:
    few = ["3x16", "3x16-rotated", "2x24", "2x24-rotated", "1x48"]
    many = ["3x15", "3x15-rotated", "2x23", "2x23-rotated", "1x46"]
    assert list(FIELD_WIDTHS) == list(PRESETS) == [*few, *many]
    assert {name: preset.maximum_sites for name, preset in PRESETS.items()} == MOST_SITES
    assert {name: (preset.width, preset.rotated) for name, preset in PRESETS.items()} == {
        name: (width, name in ROTATED) for name, width in FIELD_WIDTHS.items()
    }


def test_every_preset_is_somebodys_choice() -> None:
    chosen = [
        choose_grid(**of).preset
        for of in (
            figures("1", 1000, 20),
            figures("1", 74_498, 540),
            figures("10.7781", 385, 4000),
            figures("4", 74_498, 20_000) | {"sites": 95, "minimum_sites": 95},
            figures("4", 2000, 200_000) | {"sites": 95, "minimum_sites": 95},
            figures("1", 1000, 20) | {"sites": 96, "minimum_sites": 96},
            figures("1", 74_498, 200) | {"sites": 96, "minimum_sites": 96},
            figures("10.7781", 385, 2000) | {"sites": 100, "minimum_sites": 60},
            figures("4", 74_498, 10_000) | {"sites": 381, "minimum_sites": 381},
            figures("4", 2000, 200_000) | {"sites": 381, "minimum_sites": 381},
        )
    ]
    assert chosen == list(FIELD_WIDTHS)


@settings(max_examples=60, deadline=None)
@given(st.integers(50, 2000), st.integers(1, 80_000), st.integers(1, 5000), st.integers(3, 400), st.integers(0, 9))
def test_a_packing_for_many_sites_is_taken_by_many_sites_alone(
    sigma_percent: int, dimension: int, sample: int, sites: int, fewer: int
) -> None:
    try:
        choice = choose_grid(
            sigma=Fraction(sigma_percent, 100), dimension=dimension, expected_sample=sample,
            observers=1, sites=sites, minimum_sites=max(3, sites - fewer),
        )  # fmt: skip
    except BadParametersError as error:
        assert error.code == ("TOO_MANY_SITES" if sites > MANY_SITES else "NO_PRESET_FITS")
        return
    assert (PRESETS[choice.preset].plain_bits == MANY_PLAIN_BITS) == (sites > MAXIMUM_SITES)


def test_counts_are_never_rotated() -> None:
    of = figures("1", 74_498, 540)
    assert choose_grid(**of).preset == "3x16-rotated"
    assert choose_grid(**of, may_rotate=False).preset == "2x24"


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 2**20), st.integers(1, 10**7), st.integers(1, 10**6))
def test_the_largest_sum_is_an_integer_on_the_safe_side(grid: int, dimension: int, sample: int) -> None:
    assert largest_sum(grid, dimension=dimension, expected_sample=sample, rotated=False) == sample * grid
    rotated = largest_sum(grid, dimension=dimension, expected_sample=sample, rotated=True)
    with localcontext() as context:
        context.prec = 60
        exact = sample * grid * (2 * (2 * 10**6 * Decimal(dimension)).ln() / block_size(dimension)).sqrt()
        assert exact <= rotated <= exact + Decimal(1) + sample * grid * Decimal("1e-12")


def test_where_rotating_spreads_nothing_it_is_not_chosen() -> None:
    """In few dimensions the bound of a rotated sum is above that of an aligned one."""
    for dimension in (1, 4, 32):
        plain, rotated = (
            largest_sum(10, dimension=dimension, expected_sample=7, rotated=rotated) for rotated in (False, True)
        )
        assert plain < rotated


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
        largest = largest_sum(grid, dimension=dimension, expected_sample=sample, rotated=choice.preset in ROTATED)
        return bound < 2**60 and all(
            s2 <= 16384**2 and largest + 7 * (size * s2) ** 0.5 <= room * (1 + 1e-12) for size, s2 in shares
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
