"""How one run's updates were packed, noised and sent: from its plan, and from the messages that were counted.

For: ``packing_of``. Not for: choosing a packing (privacy/mechanism/rounding.py), or the words for it (guarantees.py).

What was sent is measured. What it would have been with the packing that runs had before (``FORMER``) is computed from
the frame's format, inside the same messages: fields say which is which.
"""

from __future__ import annotations

import math

from ...privacy.accounting.plan import Plan
from ...privacy.encryption.facts import packing_facts
from ...privacy.encryption.frame import ciphertext_length, sum_length
from ...privacy.encryption.presets import PRESETS, SEED_BYTES
from ..coordinator.collecting import Traffic
from .findings import Packing

FORMER = "2x24"  # what both methods of the example were packed with before presets were rotated


def packing_of(plan: Plan, *, cohort: int, traffic: Traffic | None) -> Packing:
    """The packing of a run whose last step had ``cohort`` sites; ``traffic`` is None where the run did not finish."""
    facts = packing_facts(plan)
    deviation = math.sqrt(plan.share_variance(cohort)) / plan.grid
    own, former = _lengths(plan.preset, plan.dimension, cohort), _lengths(FORMER, plan.dimension, cohort)
    if traffic is None:
        down = former_up = former_down = 0
    else:
        down = traffic.sum_bytes
        former_up = traffic.frame_bytes - own[0] + former[0]
        former_down = down - own[1] + former[1]
    return Packing(
        preset=facts.preset,
        fields=facts.fields,
        width=facts.width,
        rotated=facts.rotated,
        inflation=facts.inflation,
        share_deviation=deviation,
        sum_deviation=deviation * math.sqrt(cohort),
        overflow_step=facts.overflow_step,
        overflow_run=facts.overflow_run,
        exact_sites=facts.maximum_sites,
        down_step_bytes=down,
        former=FORMER,
        former_up_computed=former_up,
        former_down_computed=former_down,
    )


def _lengths(preset: str, dimension: int, cohort: int) -> tuple[int, int]:
    """Bytes of a site's frame, and of the sum with the cohort's seeds, without the signed messages around them."""
    packed = PRESETS[preset]
    seeds = SEED_BYTES * packed.blocks(dimension)
    return ciphertext_length(packed, dimension), sum_length(packed, dimension) + cohort * seeds
