"""An approval that vanishes in the middle of a run stops it at every site, whatever the policies ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.core.messages import SignedMessage

from ..federation.books import Spent, steps_of
from ..federation.study_folder import SITES
from ..federation.test_study_life import take_back, want_two_of_it
from .hostile import Attack, attack


@pytest.mark.parametrize(
    ("kind", "step", "opened", "frames"),
    [
        ("step", 2, [], 1),  # the sum of step 1 is not opened
        ("readies", 2, [1], 1),  # no data are touched for step 2
        ("finish", 3, [1, 2], 3),  # the last sum is not opened
    ],
)
def test_nothing_is_opened_and_no_data_are_touched_without_everybody(
    study: Path, kind: str, step: int, opened: list[int], frames: int
) -> None:
    want_two_of_it(study)

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == SITES[0] and (message.body.kind, getattr(message.body, "step", 0)) == (kind, step):
            take_back(study)
        return None

    with attack(study, change) as ongoing:
        assert ongoing.refused is not None and ongoing.refused.code == "STUDY_NOT_APPROVED"
        assert ongoing.books() == dict.fromkeys(SITES, Spent(frames, frames, "closed", frames))
        for site in SITES:
            assert steps_of(ongoing.federation, site, "step.opened") == opened
