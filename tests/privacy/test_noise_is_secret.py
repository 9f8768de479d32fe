"""Noise comes from the secret stream alone: whoever knows plan, cohort and step knows nothing of it."""

from __future__ import annotations

import numpy as np

from sekisho.privacy.mechanism.mechanism import add_share
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.tests.privacy.test_plan import PLAN

ZEROS = np.zeros(PLAN.dimension, dtype=np.int64)


def test_the_same_step_of_the_same_plan_is_never_noised_alike() -> None:
    first, second = (add_share(ZEROS, PLAN, cohort=5, step=3, stream=SecretStream()).values for _ in range(2))
    spread = first.std() * second.std()
    assert abs(float(np.mean(first * second / spread))) < 7 / np.sqrt(PLAN.dimension)  # falsely once in 10^11


def test_all_of_the_noise_comes_from_the_stream() -> None:
    first, second = (
        add_share(ZEROS, PLAN, cohort=5, step=step, stream=SecretStream(bytes(range(32)))).values for step in (3, 4)
    )
    assert (first == second).all() and len(np.unique(first)) > 1
