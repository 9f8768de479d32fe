"""A stop that is ordered in the middle of a run is asked for at every site before it opens, charges or finishes.

The coordinator's word plays no part in it: the order lies in each site's own study folder, signed by one person.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sekisho.core.messages import SignedMessage
from sekisho.core.site.papers import read_study
from sekisho.governance.signing.envelope import Subject, sign_statement, write_envelopes
from sekisho.governance.signing.stop import stop_statement

from ..federation import study_folder
from ..federation.books import Spent, entries, steps_of
from ..federation.study_folder import SITES
from .hostile import Attack, attack


def order_stop(study: Path) -> None:
    """One person of the roster stops the study."""
    subject = Subject("study.yaml", read_study(study).digest)
    order = stop_statement(
        role="business", subjects=[subject], reason="INCIDENT", issued=datetime(2026, 11, 2, tzinfo=UTC)
    )
    (study / "stops").mkdir(exist_ok=True)
    envelope = sign_statement(order, [study_folder.person_key("business")])
    (study / "stops" / "stop.dsse.json").write_bytes(write_envelopes([envelope]))


@pytest.mark.parametrize(
    ("kind", "step", "opened", "frames"),
    [
        ("step", 2, [], 1),  # the sum of step 1 is not even opened
        ("readies", 2, [1], 1),  # all were ready; nobody starts
        ("finish", 3, [1, 2], 3),  # all three were sent; the last one is not opened
    ],
)
def test_a_stop_comes_before_whatever_is_due(
    study: Path, kind: str, step: int, opened: list[int], frames: int
) -> None:
    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        due = (message.body.kind, getattr(message.body, "step", 0))
        if site == SITES[0] and due == (kind, step):
            order_stop(study)
        return None

    with attack(study, change) as ongoing:
        assert ongoing.refused is not None
        assert (ongoing.refused.code, ongoing.refused.site, ongoing.refused.clause) == ("STOPPED", SITES[0], "2")
        assert ongoing.frames() == frames * len(SITES)
        # what was started stays charged, what was not comes back
        assert ongoing.books() == dict.fromkeys(SITES, Spent(frames, frames, "closed", frames))
        for site in SITES:
            assert steps_of(ongoing.federation, site, "step.opened") == opened
            (refusal,) = entries(ongoing.federation, site, "decision.refuse")
            assert refusal["data"] == {"codes": ["STOPPED"]}


def test_the_end_of_a_run_is_told_although_everything_is_stopped(study: Path) -> None:
    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == SITES[0] and message.body.kind == "step" and message.body.step == 1:
            order_stop(study)
        return None

    with attack(study, change) as ongoing:
        answers = [SignedMessage.from_bytes(data).body.kind for _, data in ongoing.channel.received[-2 * len(SITES) :]]
        assert answers == ["decline"] * len(SITES) + ["stopped"] * len(SITES)
        assert ongoing.books() == dict.fromkeys(SITES, Spent(0, 0, "closed", 0))
