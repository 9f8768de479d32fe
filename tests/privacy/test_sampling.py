"""Poisson or everybody, at 64 bits, from a secret stream, never truncated."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.privacy.mechanism.sampling import poisson_sample


class _Given(SecretStream):
    """A stream that reads out what it was given."""

    def __init__(self, words: list[int]) -> None:
        super().__init__()
        self._words = words

    def uint64(self, count: int) -> NDArray[np.uint64]:
        return np.array(self._words[:count], dtype=np.uint64)


def test_rate_one_is_everybody() -> None:
    assert poisson_sample(SecretStream(), 1000, Decimal(1)).all()


def test_the_coin_has_64_bits() -> None:
    rate = Decimal("0.0001")
    edge = int(rate * 2**64)
    assert poisson_sample(_Given([edge - 1, edge, 0, 2**64 - 1]), 4, rate).tolist() == [
        True,
        False,
        True,
        False,
    ]
    edge = 2**44
    assert poisson_sample(_Given([edge - 1, edge]), 2, Decimal(1) / 2**20).tolist() == [True, False]


def test_the_sample_size_is_binomial_and_never_truncated() -> None:
    sizes = np.array([poisson_sample(SecretStream(), 400, Decimal("0.1")).sum() for _ in range(3000)])
    assert abs(sizes.mean() - 40) < 6 * 6 / np.sqrt(3000)
    assert abs(sizes.var() - 36) < 6 * 36 * np.sqrt(2 / 3000)
    assert sizes.max() > 55  # a cut at 1.35 times the mean would show here: missed once in 10^9


def test_an_empty_sample_is_a_sample() -> None:
    assert poisson_sample(SecretStream(), 3, Decimal("0.0000000000001")).sum() == 0
    assert poisson_sample(SecretStream(), 0, Decimal("0.5")).shape == (0,)


def test_one_subjects_coin_moves_no_other() -> None:
    key = bytes(range(32))
    whole = poisson_sample(SecretStream(key), 100, Decimal("0.5"))
    assert (poisson_sample(SecretStream(key), 60, Decimal("0.5")) == whole[:60]).all()


@pytest.mark.parametrize("rate", ["0", "-0.1", "1.0001", "NaN", "Infinity"])
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(BadParametersError) as refused:
        poisson_sample(SecretStream(), 3, Decimal(rate))
    assert refused.value.code == "BAD_RATE"
