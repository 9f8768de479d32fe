"""An event says what was done; what is not known is refused, never counted as zero."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.event import NoiseEvent

EVENT = NoiseEvent(
    variance=1000,
    cohort=5,
    observers=1,
    grid_bound_squared=2**59 + 1,
    sampling_rate="0.25",
    dimension=385,
    step=7,
)


def test_an_event_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(BadParametersError) as refused:
        dataclasses.replace(EVENT, kind="laplace")
    assert refused.value.code == "UNKNOWN_EVENT"


@pytest.mark.parametrize(
    "change",
    [
        {"variance": 0},
        {"variance": 4.0},
        {"cohort": True},
        {"observers": 0},
        {"observers": 5},
        {"step": 0},
        {"dimension": -1},
        {"sampling_rate": "1.5"},
        {"sampling_rate": "0"},
        {"sampling_rate": "0.250"},
        {"sampling_rate": 0.25},
    ],
)
def test_an_event_that_describes_no_share_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadParametersError):
        dataclasses.replace(EVENT, **change)


def test_every_field_moves_the_digest() -> None:
    changes: list[dict[str, Any]] = [
        {"variance": 1001}, {"cohort": 6}, {"observers": 2}, {"grid_bound_squared": 2**59},
        {"sampling_rate": "0.26"}, {"dimension": 386}, {"step": 8},
    ]  # fmt: skip
    digests = {dataclasses.replace(EVENT, **change).digest() for change in changes} | {EVENT.digest()}
    assert len(digests) == len(changes) + 1
    assert EVENT.digest() == dataclasses.replace(EVENT).digest()
