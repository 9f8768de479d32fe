"""A wrong key opens uniform garbage; nothing but the public bound on a sum keeps a site from applying it.

In narrow fields the noise fills most of the room, so the bound has to be sharp: were it as wide as a field, garbage
would pass. Every kind of packing is tried, and honest sums at their very largest.
"""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest

from sekisho.core.site import opening
from sekisho.privacy.accounting.accountant import build_plan
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.budget import Unit
from sekisho.privacy.encryption.packing import unpack
from sekisho.privacy.encryption.presets import PRESETS

# (dimension, subjects a site, sampling rate, steps) and the packing that the figures lead to
PLANS = {
    "3x16-rotated": (74_498, 80, "0.1", 100),
    "2x24": (385, 800, "1", 30),
    "2x24-rotated": (300_000, 8_000, "0.1", 100),
}


def plan_of(name: str) -> Plan:
    dimension, subjects, rate, steps = PLANS[name]
    plan = build_plan(
        unit=Unit.SUBJECT,
        epsilon=Decimal(3),
        delta=Decimal("0.00001"),
        steps=steps,
        allowance=1,
        sampling_rate=Decimal(rate),
        clipping_norm=Decimal(1),
        dimension=dimension,
        sites=5,
        minimum_sites=3,
        observers=1,
        subjects=[subjects] * 5,
        records_per_subject=4,
    )
    assert plan.preset == name
    return plan


def garbage(plan: Plan) -> np.ndarray:
    """What a wrong key opens: uniform words."""
    preset = PRESETS[plan.preset]
    words = np.random.default_rng(1).integers(0, 1 << 48, preset.words(plan.dimension), dtype=np.uint64)
    return unpack(words, preset, plan.dimension)


def largest(plan: Plan) -> np.ndarray:
    """n subjects who all want one thing, and all shares of the noise."""
    rng = np.random.default_rng(2)
    one = rng.standard_normal(plan.dimension)
    clean = one * (plan.expected_sample * math.sqrt(plan.grid_bound_squared) / np.linalg.norm(one))
    noise = rng.standard_normal(plan.dimension) * math.sqrt(plan.sites * plan.share_variance(plan.sites))
    return np.rint(clean + noise).astype(np.int64)


@pytest.mark.parametrize("name", PLANS)
def test_what_a_wrong_key_opens_is_outside_and_the_largest_honest_sum_is_not(name: str) -> None:
    plan = plan_of(name)
    for cohort, _ in plan.share_variances:
        assert opening._rms(garbage(plan)) > 1.2 * opening.rms_bound(plan, cohort)
    assert opening._rms(largest(plan)) < opening.rms_bound(plan, plan.sites)


def test_control_seven_deviations_at_every_coordinate_let_garbage_pass() -> None:
    plan = plan_of("3x16-rotated")
    slack = 7 * math.sqrt(plan.sites * plan.share_variance(plan.sites))
    assert opening._rms(garbage(plan)) < slack


@pytest.mark.parametrize("dimension", [1, 17, 385])
def test_noise_alone_stays_within_however_few_coordinates_there_are(dimension: int) -> None:
    rows = np.random.default_rng(3).standard_normal((200_000 // dimension + 1, dimension))
    assert np.sqrt(np.mean(rows**2, axis=1)).max() < 1 + opening.NOISE_DEVIATIONS / math.sqrt(dimension)
