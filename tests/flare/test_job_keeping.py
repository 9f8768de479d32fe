"""When another job of NVIDIA FLARE's is submitted in the place of one, and when that one is given its time to start.

FLARE itself is not asked here: what its server would say is said by the test (test_pipe_survives.py asks FLARE).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sekisho.core.flare import jobs
from sekisho.core.flare.jobs import DEAF_LOOKS, LOOK_SECONDS, SETTLE_SECONDS, JobKeeper
from sekisho.core.flare.kits import coordinator_kit

from .test_kits import NOW

SITES = ("alpha", "beta")


class Channel:
    """The coordinator's socket, as the keeper sees it."""

    def __init__(self) -> None:
        self.relay = False

    def connected(self) -> bool:
        return self.relay


class Keeper(JobKeeper):
    """A keeper whose FLARE has every site in the job as soon as it is submitted, as the real one says."""

    asked: list[str]

    def _ask(self, do: str, **more: str) -> dict[str, Any] | None:
        self.asked.append(do)
        if do == "submit":
            return {"job": f"job-{self.asked.count('submit')}"}
        job = f"job-{self.asked.count('submit')}"
        now = jobs.time.monotonic()
        return {"clients": dict.fromkeys(SITES, now), "jobs": {job: list(SITES)} if job != "job-0" else {}}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Keeper, Channel, Any]:
    """A keeper whose job was just submitted, its channel, and how time passes."""
    clock = [0.0]
    monkeypatch.setattr(jobs.time, "monotonic", lambda: clock[0])
    coordinator_kit(tmp_path / "flare", host="hub.example", now=NOW)
    channel = Channel()
    keeper = Keeper(tmp_path / "flare", channel, sites=SITES)  # type: ignore[arg-type]
    keeper.asked = []

    def look(seconds: float) -> None:
        until = clock[0] + seconds
        while clock[0] < until:
            clock[0] += LOOK_SECONDS
            keeper._look()

    look(LOOK_SECONDS)
    assert keeper.asked.count("submit") == 1
    return keeper, channel, look


def test_a_job_whose_server_process_is_still_starting_is_not_ended(kept: tuple[Keeper, Channel, Any]) -> None:
    """On a busy machine it starts in more than ten seconds: ended for that each time, it would never be there."""
    keeper, channel, look = kept
    look(SETTLE_SECONDS - 2 * LOOK_SECONDS)
    channel.relay = True
    look(10 * SETTLE_SECONDS)
    assert keeper.asked.count("submit") == 1 and "abort" not in keeper.asked


def test_a_relay_that_was_there_and_is_gone_is_replaced_within_seconds(kept: tuple[Keeper, Channel, Any]) -> None:
    keeper, channel, look = kept
    channel.relay = True
    look(LOOK_SECONDS)
    channel.relay = False
    look((DEAF_LOOKS - 1) * LOOK_SECONDS)
    assert "abort" not in keeper.asked
    look(LOOK_SECONDS)
    assert keeper.asked[-2:] == ["abort", "submit"]


def test_a_server_process_that_never_comes_is_replaced(kept: tuple[Keeper, Channel, Any]) -> None:
    keeper, _, look = kept
    look(SETTLE_SECONDS + DEAF_LOOKS * LOOK_SECONDS)
    assert keeper.asked.count("submit") == 2
