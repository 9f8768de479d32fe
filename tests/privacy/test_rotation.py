"""The public rotation is orthogonal, undone exactly, the same everywhere, and spreads as far as it says."""

from __future__ import annotations

import hashlib
import math
import tracemalloc
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.mechanism import rotation
from sekisho.privacy.mechanism.rotation import LARGEST_BLOCK, Rotation, block_size, spread

SEED = hashlib.sha256(b"a transcript").digest()
# below, at and above powers of two; one block, many, and many with one that overlaps
DIMENSIONS = (1, 2, 3, 4, 5, 7, 8, 9, 385, 1023, 1024, 1025, 65_535, 65_536, 65_537, 74_498, 131_072, 150_000)

seeds = st.binary(min_size=32, max_size=32)
small = st.integers(1, 600)


def some_vector(dimension: int, draw: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng([dimension, draw]).standard_normal(dimension)


def norm(vector: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(vector).sum()))


@pytest.fixture
def blocks_of_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, so that a vector of a few dozen has many of them."""
    monkeypatch.setattr(rotation, "LARGEST_BLOCK", 8)


def sylvester(size: int) -> NDArray[np.float64]:
    """H from its formula: (−1)^(ones in i AND j)."""
    return np.array([[(-1.0) ** (i & j).bit_count() for j in range(size)] for i in range(size)])


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_norms_stay_and_the_way_back_is_the_inverse(dimension: int) -> None:
    step, vector = Rotation(dimension, SEED), some_vector(dimension)
    rotated = step.forward(vector)
    assert abs(norm(rotated) / norm(vector) - 1) < 1e-12
    assert np.abs(step.back(rotated) - vector).max() < 1e-12
    assert np.abs(step.forward(step.back(vector)) - vector).max() < 1e-12


@settings(max_examples=80, deadline=None)
@given(small, seeds, st.integers(0, 100), st.integers(-150, 150))
def test_any_vector_keeps_its_norm_and_comes_back(dimension: int, seed: bytes, draw: int, power: int) -> None:
    step, vector = Rotation(dimension, seed), some_vector(dimension, draw) * 10.0**power
    rotated = step.forward(vector)
    scale = norm(vector / 10.0**power)
    assert abs(norm(rotated / 10.0**power) / scale - 1) < 1e-12
    assert np.abs(step.back(rotated) - vector).max() <= 1e-12 * scale * 10.0**power


@settings(max_examples=60, deadline=None)
@given(small, seeds, st.floats(-1000, 1000))
def test_it_is_linear_so_a_sum_can_be_rotated_back(dimension: int, seed: bytes, factor: float) -> None:
    step, one, other = Rotation(dimension, seed), some_vector(dimension, 1), some_vector(dimension, 2)
    together = step.forward(one + factor * other)
    assert np.abs(together - step.forward(one) - factor * step.forward(other)).max() < 1e-9 * (1 + abs(factor))


@pytest.mark.usefixtures("blocks_of_eight")
@pytest.mark.parametrize("dimension", [8, 13, 16, 24, 27, 31])
def test_it_is_the_product_of_the_blocks_that_are_written_down(dimension: int) -> None:
    """Signs, then Sylvester's matrix over the root of b, at 0, b, 2b, … and, where b does not divide d, at d − b."""
    step = Rotation(dimension, SEED)
    starts = [*range(0, dimension - 7, 8), *([dimension - 8] if dimension % 8 else [])]
    assert [start for start, _ in step._blocks] == starts
    whole = np.eye(dimension)
    for start, signs in step._blocks:
        block = np.eye(dimension)
        block[start : start + 8, start : start + 8] = sylvester(8) * signs / np.sqrt(8)
        whole = block @ whole
    columns = np.stack([step.forward(row) for row in np.eye(dimension)], axis=1)
    assert np.abs(columns - whole).max() < 1e-15
    assert np.abs(whole @ whole.T - np.eye(dimension)).max() < 1e-14
    # an overlapping block has signs of its own
    assert len({signs.tobytes() for _, signs in step._blocks}) == len(starts)


def test_the_largest_block_is_sylvesters_too() -> None:
    """One unit vector through 65,536 coordinates is one column of the matrix."""
    step, place = Rotation(LARGEST_BLOCK, SEED), 40_961
    unit = np.zeros(LARGEST_BLOCK)
    unit[place] = 1.0
    ((_, signs),) = step._blocks
    ones = np.array([(row & place).bit_count() for row in range(LARGEST_BLOCK)])
    assert np.array_equal(step.forward(unit), signs[place] * (1.0 - 2.0 * (ones % 2)) / 256)


def written_out(vector: NDArray[np.float64], seed: bytes) -> NDArray[np.float64]:
    """The map once more, from its description alone, one number at a time in Python's own floats."""
    dimension, size = len(vector), block_size(len(vector))
    key = hashlib.sha256(b"sekisho/rotation/v1\0" + dimension.to_bytes(8, "little") + seed).digest()
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
    values = vector.tolist()
    for start in [*range(0, dimension - size + 1, size), *([dimension - size] if dimension % size else [])]:
        flips = int.from_bytes(stream.update(bytes(size // 8)), "little")
        block = [
            (-x if flips >> place & 1 else x) * (1.0 / math.sqrt(size))
            for place, x in enumerate(values[start : start + size])
        ]
        half = size // 2
        while half:
            for low in (place for place in range(size) if not place & half):
                block[low], block[low + half] = block[low] + block[low + half], block[low] - block[low + half]
            half //= 2
        values[start : start + size] = block
    return np.array(values)


@pytest.mark.parametrize("dimension", [8, 100, 385, 1024, 5000])
def test_it_is_what_is_written_down_to_the_last_bit(dimension: int) -> None:
    vector = some_vector(dimension)
    assert np.array_equal(Rotation(dimension, SEED).forward(vector), written_out(vector, SEED))


def test_the_same_bits_everywhere() -> None:
    """Golden vectors, there and back: of many blocks, of one that overlaps, and of an odd power of two."""
    real = np.sqrt(np.arange(1.0, 150_001.0))
    found = {
        (d, way): hashlib.sha256(getattr(Rotation(d, SEED), way)(real[:d]).astype("<f8").tobytes()).hexdigest()[:32]
        for d in (385, 32_768, 74_498, 150_000)
        for way in ("forward", "back")
    }
    assert found == GOLDEN


GOLDEN = {
    (385, "forward"): "ffe449d66bf9973f8a943fcf8e52a654",
    (385, "back"): "29bcde4ec6a08829cbd75435acfb55a7",
    (32_768, "forward"): "981171266adc964ddc7adcb1adb15d6d",
    (32_768, "back"): "5378d5f9f43a3878ff17eec9d14f404e",
    (74_498, "forward"): "d293161f8a999b9ca70aa241bc644fde",
    (74_498, "back"): "aad17af70e7a7c39f21a9c2166e8c841",
    (150_000, "forward"): "b34cd00dc434fa006d700b33dd65dae7",
    (150_000, "back"): "41eeea043d10dd64c0f6ee4683efbf9c",
}


@settings(max_examples=40, deadline=None)
@given(small, st.integers(0, 8))
def test_where_a_vector_lies_in_memory_does_not_matter(dimension: int, shift: int) -> None:
    vector, step = some_vector(dimension), Rotation(dimension, SEED)
    room = np.zeros(dimension + 8)
    room[shift : shift + dimension] = vector
    strided = np.stack([vector, vector + 1], axis=1)[:, 0]
    for placed in (room[shift : shift + dimension], strided):
        assert np.array_equal(step.forward(placed), step.forward(vector))
        assert np.array_equal(step.back(placed), step.back(vector))
    assert np.array_equal(vector, some_vector(dimension))


def test_each_step_has_signs_of_its_own_and_every_site_the_same() -> None:
    vector = some_vector(1000)
    other = hashlib.sha256(b"the next transcript").digest()
    assert np.array_equal(Rotation(1000, SEED).forward(vector), Rotation(1000, SEED).forward(vector))
    assert not np.allclose(Rotation(1000, SEED).forward(vector), Rotation(1000, other).forward(vector))
    # signs of one step undo nothing of another
    mixed = Rotation(1000, other).back(Rotation(1000, SEED).forward(vector))
    assert abs(float(mixed @ vector)) < 0.2 * float(vector @ vector)


def test_signs_are_even_coins() -> None:
    signs = np.concatenate([signs for _, signs in Rotation(10**6, SEED)._blocks])
    assert signs.size == 16 * 65_536 and set(signs.tolist()) == {-1, 1}
    assert abs(signs.mean()) < 5 / np.sqrt(signs.size)


# -- how far it spreads


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_the_spread_is_the_formula_rounded_up(dimension: int) -> None:
    with localcontext() as context:
        context.prec = 60
        exact = (2 * (2 * 10**6 * Decimal(dimension)).ln() / block_size(dimension)).sqrt()
        stated = spread(dimension)
        assert exact <= Decimal(stated.numerator) / Decimal(stated.denominator) <= exact + Decimal("1e-12")
    assert stated * 10**12 == int(stated * 10**12)


def test_the_spread_of_the_design() -> None:
    assert spread(74_498) == Fraction(28_020_196_060, 10**12)
    assert [block_size(d) for d in (1, 2, 3, 385, 65_535, 65_536, 10**8)] == [1, 2, 2, 256, 32_768, 65_536, 65_536]


@pytest.mark.parametrize(
    "kind", ["one coordinate", "the last coordinate", "all alike", "the overlap alone", "a row of the matrix"]
)
@pytest.mark.parametrize("dimension", [385, 1000, 74_498])
def test_no_coordinate_reaches_beyond_the_spread(kind: str, dimension: int) -> None:
    """The worst directions: what one step in a million may exceed, forty steps do not."""
    size = block_size(dimension)
    vector = np.zeros(dimension)
    if kind == "one coordinate":
        vector[dimension // 2] = 1.0
    elif kind == "the last coordinate":
        vector[-1] = 1.0
    elif kind == "all alike":
        vector[:] = 1.0
    elif kind == "the overlap alone":
        vector[dimension - size : size] = 1.0
    else:
        vector[:size] = np.array([(-1.0) ** ((place & 5).bit_count()) for place in range(size)])
    vector /= norm(vector)
    for step in range(40):
        seed = hashlib.sha256(b"%d" % step).digest()
        assert np.abs(Rotation(dimension, seed).forward(vector)).max() <= float(spread(dimension))


def test_a_vector_chosen_after_its_signs_would_pile_up() -> None:
    """A control: with signs that are known beforehand one coordinate can hold it all, so they are no constant."""
    step = Rotation(1024, SEED)
    target = np.zeros(1024)
    target[17] = 1.0
    assert np.abs(step.forward(step.back(target))).max() > 0.999 > float(spread(1024))


# -- the rest


@pytest.mark.parametrize("dimension", [0, -1])
def test_nothing_is_not_rotated(dimension: int) -> None:
    with pytest.raises(BadParametersError) as refused:
        Rotation(dimension, SEED)
    assert refused.value.code == "BAD_ROTATION"


@pytest.mark.parametrize("vector", [np.zeros(8), np.zeros((9, 1)), np.zeros(9, dtype=np.float32), np.zeros(9, int)])
def test_what_is_not_a_vector_of_this_length_is_refused(vector: NDArray[np.float64]) -> None:
    for turn in (Rotation(9, SEED).forward, Rotation(9, SEED).back):
        with pytest.raises(BadParametersError) as refused:
            turn(vector)
        assert refused.value.code == "BAD_ROTATION"


def test_nothing_overflows_on_the_way() -> None:
    huge = np.full(70_000, 1e305)
    with np.errstate(all="raise"):
        assert np.isfinite(Rotation(70_000, SEED).forward(huge)).all()


@pytest.mark.proof
def test_ten_million_coordinates_pass_in_bounded_memory() -> None:
    dimension = 10_000_000
    step, vector = Rotation(dimension, SEED), some_vector(dimension)
    tracemalloc.start()
    rotated = step.forward(vector)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (8 + 1.1) * dimension + 2**23  # the result, one byte a coordinate, two blocks
    assert abs(norm(rotated) / norm(vector) - 1) < 1e-12
    assert np.abs(step.back(rotated) - vector).max() < 1e-12
