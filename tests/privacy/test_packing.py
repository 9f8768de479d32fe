"""Packing: integers survive, and sums of packed words are packed sums."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.privacy.encryption import packing
from sekisho.privacy.encryption.packing import pack, unpack
from sekisho.privacy.encryption.presets import PRESETS
from sekisho.privacy.errors import BadParametersError

presets = st.sampled_from(list(PRESETS.values()))


@st.composite
def packed_vectors(draw, sites=1):
    preset = draw(presets)
    limit = (1 << (preset.width - 1)) // sites
    dimension = draw(st.integers(1, 40))
    one = st.lists(st.integers(-limit, limit - 1), min_size=dimension, max_size=dimension)
    return preset, [np.array(draw(one), np.int64) for _ in range(sites)]


@settings(max_examples=80)
@given(packed_vectors())
def test_every_vector_comes_back(case):
    preset, [values] = case
    words = pack(values, preset)
    assert words.dtype == np.uint64
    assert words.size == preset.words(values.size)
    assert int(words.max()) <= preset.plain_mask
    assert (unpack(words, preset, values.size) == values).all()


@settings(max_examples=80, deadline=None)
@given(packed_vectors(), st.integers(1, 9))
def test_the_pieces_in_which_a_vector_is_packed_do_not_show(case, piece):
    preset, [values] = case
    whole = pack(values, preset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_PIECE", piece)
        assert (pack(values, preset) == whole).all()
        assert (unpack(whole, preset, values.size) == values).all()


@settings(max_examples=80)
@given(packed_vectors(sites=5))
def test_a_sum_of_packed_words_is_the_packed_sum(case):
    preset, vectors = case
    total = sum(pack(values, preset) for values in vectors) & np.uint64(preset.plain_mask)
    assert (unpack(total, preset, vectors[0].size) == sum(vectors)).all()


def test_only_the_sum_must_fit_a_field():
    # Each site's value alone is beyond the field; together they are not.
    preset = PRESETS["3x16"]
    vectors = [np.array([40_000, -1, 5], np.int64), np.array([-39_999, 3, -7], np.int64)]
    total = (pack(vectors[0], preset) + pack(vectors[1], preset)) & np.uint64(preset.plain_mask)
    assert unpack(total, preset, 3).tolist() == [1, 2, -2]


def test_an_overflow_wraps_and_moves_its_neighbour_by_one():
    preset = PRESETS["2x24"]
    assert unpack(pack(np.array([1 << 23, 10], np.int64), preset), preset, 2).tolist() == [-(1 << 23), 11]


def test_extremes_of_a_field_survive():
    for preset in PRESETS.values():
        low, high = -(1 << (preset.width - 1)), (1 << (preset.width - 1)) - 1
        values = np.array([low, high, low, high, -1, 0, high], np.int64)
        assert (unpack(pack(values, preset), preset, 7) == values).all()


@pytest.mark.parametrize("values", [np.zeros((2, 2), np.int64), np.zeros(3, np.int32), np.zeros(3), np.zeros(3, ">i8")])
def test_other_arrays_are_refused(values):
    with pytest.raises(BadParametersError) as refusal:
        pack(values, PRESETS["2x24"])
    assert refusal.value.code == "VALUES_SHAPE"


def test_words_of_another_dimension_are_refused():
    with pytest.raises(BadParametersError) as refusal:
        unpack(np.zeros(3, np.uint64), PRESETS["2x24"], 4)
    assert refusal.value.code == "WORDS_SHAPE"
