"""Noise and the event that describes it come out together, and the noise is the one that was charged."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.mechanism.mechanism import add_share
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.tests.privacy.test_plan import PLAN

ZEROS = np.zeros(PLAN.dimension, dtype=np.int64)
WIDE = dataclasses.replace(PLAN, dimension=74_498)


@pytest.mark.parametrize("cohort", [3, 4, 5])
def test_the_event_is_the_one_that_was_charged(cohort: int) -> None:
    noised = add_share(ZEROS, PLAN, cohort=cohort, step=7, stream=SecretStream())
    assert noised.event == PLAN.event(cohort, 7)
    assert noised.event.variance == PLAN.share_variance(cohort)


@pytest.mark.parametrize("cohort", [3, 4, 5])
def test_an_empty_sample_is_noised_like_any_other(cohort: int) -> None:
    """Noise off, halved or scaled by another cohort's size would each show here at once."""
    zeros = np.zeros(WIDE.dimension, dtype=np.int64)
    values = add_share(zeros, WIDE, cohort=cohort, step=1, stream=SecretStream()).values
    assert values.dtype == np.int64
    ratio = values.var() / WIDE.share_variance(cohort)
    assert abs(ratio - 1) < 6 * np.sqrt(2 / WIDE.dimension)


def test_the_noise_is_added_to_the_sum_and_to_nothing_else() -> None:
    total = np.arange(PLAN.dimension, dtype=np.int64)
    before, key = total.copy(), bytes(range(32))
    with_sum = add_share(total, PLAN, cohort=5, step=1, stream=SecretStream(key)).values
    alone = add_share(ZEROS, PLAN, cohort=5, step=1, stream=SecretStream(key)).values
    assert (with_sum - alone == total).all() and (total == before).all()


def test_no_two_steps_share_their_noise() -> None:
    first = add_share(ZEROS, PLAN, cohort=5, step=1, stream=SecretStream()).values
    second = add_share(ZEROS, PLAN, cohort=5, step=2, stream=SecretStream()).values
    assert abs(np.corrcoef(first, second)[0, 1]) < 6 / np.sqrt(PLAN.dimension)


def test_a_sum_that_the_plan_does_not_speak_of_is_refused() -> None:
    for total in (ZEROS[:-1], ZEROS.astype(np.float64), ZEROS.astype(np.int32), ZEROS.reshape(5, 77)):
        with pytest.raises(BadParametersError) as refused:
            add_share(total, PLAN, cohort=5, step=1, stream=SecretStream())
        assert refused.value.code == "BAD_SUM"


def test_nothing_is_noised_for_a_cohort_or_a_step_outside_the_plan() -> None:
    for cohort, step, code in ((2, 1, "NO_SUCH_COHORT"), (5, 66, "NO_SUCH_STEP"), (5, 0, "NO_SUCH_STEP")):
        with pytest.raises(BadParametersError) as refused:
            add_share(ZEROS, PLAN, cohort=cohort, step=step, stream=SecretStream())
        assert refused.value.code == code
    narrow = dataclasses.replace(PLAN, share_variances=((5, 500), (4, 600), (3, 700)))
    with pytest.raises(BadParametersError) as refused:
        add_share(ZEROS, narrow, cohort=5, step=1, stream=SecretStream())
    assert refused.value.code == "NOISE_TOO_SMALL"
