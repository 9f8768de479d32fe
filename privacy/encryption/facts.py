"""What a plan's packing is, what it costs and how surely it holds: figures for a run's records and its reader.

For: :func:`packing_facts`, from the plan alone, so that every party has the same. Not for: choosing a preset
(``mechanism/rounding.py``) or packing (``packing.py``).

Order of calls: ``packing_facts(plan)`` once a run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..accounting.plan import Plan
from ..mechanism.rotation import MISSES_ONE_IN
from ..mechanism.rounding import largest_sum
from .frame import ciphertext_length, sum_length
from .presets import PRESETS, SEED_BYTES, overflow_probability

ROUNDING_VARIANCE = 0.25  # of one rounded entry, in squared grid units, at most (Hoeffding 1963)


@dataclass(frozen=True)
class PackingFacts:
    """One run's packing. It follows from the plan, which is what is signed and has the digest.

    Attributes:
        preset, fields, width, rotated: how integers are packed (``presets.py``).
        inflation: f = C_grid/u, how much more noise there is than without a grid.
        bytes_up, bytes_down: a site's frame, and what it is sent to open the sum of all K sites: the sum and K seed
            lists; without the signed messages around them.
        bytes_per_parameter: ``bytes_up`` over d.
        overflow_step, overflow_run: bounds on the probability that a sum overflows anywhere, in one step of the
            worst cohort and in all steps, while no sample has more than n units. Utility, never privacy.
        maximum_sites: the largest K whose sum decrypts exactly, for certain.
    """

    preset: str
    fields: int
    width: int
    rotated: bool
    inflation: float
    bytes_up: int
    bytes_down: int
    bytes_per_parameter: float
    overflow_step: float
    overflow_run: float
    maximum_sites: int

    def to_json(self) -> dict[str, Any]:
        """As JSON, named as here."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def packing_facts(plan: Plan) -> PackingFacts:
    """The packing of a run of ``plan``."""
    preset = PRESETS[plan.preset]
    seeds = SEED_BYTES * preset.blocks(plan.dimension)
    up = ciphertext_length(preset, plan.dimension)
    step = _overflow(plan)
    return PackingFacts(
        preset=preset.name,
        fields=preset.fields,
        width=preset.width,
        rotated=preset.rotated,
        inflation=math.sqrt(plan.grid_bound_squared) / plan.grid,
        bytes_up=up,
        bytes_down=sum_length(preset, plan.dimension) + plan.sites * seeds,
        bytes_per_parameter=up / plan.dimension,
        overflow_step=step,
        overflow_run=min(1.0, plan.total_steps * step),
        maximum_sites=preset.maximum_sites,
    )


def _overflow(plan: Plan) -> float:
    largest = largest_sum(
        plan.grid, dimension=plan.dimension, expected_sample=plan.expected_sample, rotated=plan.rotated
    )
    # Unrotated, a rounded entry stays within u as the entry does; rotated, the bound is of the sum before rounding.
    rounding = ROUNDING_VARIANCE * plan.expected_sample if plan.rotated else 0.0
    noise = max(cohort * variance for cohort, variance in plan.share_variances)
    return overflow_probability(
        PRESETS[plan.preset],
        dimension=plan.dimension,
        largest_sum=largest,
        noise_deviation=math.sqrt(noise + rounding),
        missed=1 / MISSES_ONE_IN if plan.rotated else 0.0,
    )
