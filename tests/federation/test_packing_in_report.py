"""What a report says of a run's packing: measured on the wire, and computed as another packing would have been sent."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sekisho.core.pilot.packing import FORMER, packing_of
from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.ciphertext import Ciphertext
from sekisho.privacy.encryption.presets import PRESETS, SEED_BYTES, Preset

from .books import open_federation


def encoded(preset: Preset, dimension: int) -> tuple[int, int]:
    """Bytes of a frame and of a sum that are really encoded."""
    c0 = np.zeros(preset.words(dimension), np.uint64)
    seeds = b"".join(bytes([number]) * SEED_BYTES for number in range(preset.blocks(dimension)))
    return len(frame.encode(Ciphertext(preset, dimension, c0, seeds))), len(frame.encode_sum(c0, preset, dimension))


def test_what_was_sent_is_measured_and_what_would_have_been_is_computed_from_the_format(study: Path) -> None:
    federation = open_federation(study)
    try:
        result = federation.run("probe")
    finally:
        federation.close()
    plan, traffic, sites = result.plan, result.traffic, len(result.state.cohort)
    found = packing_of(plan, cohort=sites, traffic=traffic)
    preset = PRESETS[plan.preset]
    assert (found.preset, found.fields, found.width) == (preset.name, preset.fields, preset.width)
    up, down = encoded(preset, plan.dimension)
    assert traffic.frame_payload == up
    # the messages around them: a signed header up; down, every site's header and seeds
    assert 0 < traffic.frame_bytes - up < 4096
    seeds = SEED_BYTES * preset.blocks(plan.dimension)
    assert 0 < found.down_step_bytes - down - sites * seeds < 4096 * (sites + 1)
    former_up, former_down = encoded(PRESETS[FORMER], plan.dimension)
    more_seeds = SEED_BYTES * (PRESETS[FORMER].blocks(plan.dimension) - preset.blocks(plan.dimension))
    assert found.former_up_computed - traffic.frame_bytes == former_up - up
    assert found.former_down_computed - found.down_step_bytes == former_down - down + sites * more_seeds
    # one site's noise, and that of all, in units of the clipping norm
    assert found.share_deviation == plan.share_variance(sites) ** 0.5 / plan.grid
    assert found.sum_deviation == found.share_deviation * sites**0.5
    assert found.exact_sites == 95
    unfinished = packing_of(plan, cohort=sites, traffic=None)
    assert (unfinished.down_step_bytes, unfinished.former_up_computed, unfinished.former_down_computed) == (0, 0, 0)
