"""A share that was lost, damaged, sent late or sent twice: it is asked for once more, and is the same share.

What was sealed is sent again, so nothing is charged twice and no second share leaves; what comes under another number
than the one that is awaited counts for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sekisho.core.coordinator import rounds
from sekisho.core.engines.channel import Reply
from sekisho.core.messages import SignedMessage

from ..federation import study_folder
from ..federation.books import Spent, books, entries, open_federation
from ..federation.channels import Recording
from ..federation.study_folder import SITES

SITE, STEP = "mori", 2
LEFT = tuple(site for site in SITES if site != SITE)
Fault = Callable[["Faulty", Reply], tuple[Reply, ...]]


@dataclass
class Faulty(Recording):
    """``fault`` says what comes of the site's first share of step 2; whatever is sent after it comes through."""

    fault: Fault = lambda channel, reply: (reply,)
    late: list[Reply] = field(default_factory=list)
    shares: list[bytes] = field(default_factory=list)

    def poll(self) -> tuple[Reply, ...]:
        return tuple(other for reply in super().poll() for other in self._told(reply))

    def _told(self, reply: Reply) -> tuple[Reply, ...]:
        if reply.site != SITE or reply.data is None:
            return (reply,)
        body = SignedMessage.from_bytes(reply.data).body
        if body.kind != "frame" or body.step != STEP:
            return (reply,)
        self.shares.append(reply.data)
        if len(self.shares) == 1:
            return self.fault(self, reply)
        late, self.late = self.late, []
        return (*late, reply)


def lost(channel: Faulty, reply: Reply) -> tuple[Reply, ...]:
    return (Reply(reply.ticket, reply.site, None),)


def damaged(channel: Faulty, reply: Reply) -> tuple[Reply, ...]:
    assert reply.data is not None
    return (Reply(reply.ticket, reply.site, reply.data[:-1] + bytes([reply.data[-1] ^ 1])),)


def late(channel: Faulty, reply: Reply) -> tuple[Reply, ...]:
    channel.late.append(reply)  # under the number that nobody waits for any more
    return lost(channel, reply)


def damaged_and_then_whole(channel: Faulty, reply: Reply) -> tuple[Reply, ...]:
    return (*damaged(channel, reply), reply)  # a number is answered once


def twice(channel: Faulty, reply: Reply) -> tuple[Reply, ...]:
    return (reply, reply)


ASKED_AGAIN = (lost, damaged, late, damaged_and_then_whole)


@pytest.fixture
def tolerant(study: Path) -> Path:
    study_folder.change(study / "study.yaml", "on_drop: stop", "on_drop: continue")
    study_folder.sign_study(study)
    return study


def faulty_run(study: Path, fault: Fault) -> tuple[list[tuple[int, tuple[str, ...]]], dict[str, Spent], Faulty, int]:
    """(abandoned steps with who was missing, books, the channel, how often the site sent what it had sealed)."""
    channels: list[Faulty] = []

    def wrap(channel):  # type: ignore[no-untyped-def]  # as Wrap
        channels.append(Faulty(channel, fault=fault))
        return channels[0]

    federation = open_federation(study, wrap)
    try:
        result = federation.run("probe", run="faulty")
        assert result.state_macs_agree and result.state.completed == 3
        lost = [(outcome.step, outcome.missing) for outcome in result.state.outcomes if outcome.missing]
        told = [entry["data"]["kind"] for entry in entries(federation, SITE, "control.told")]
        return lost, books(federation), channels[0], told.count("RESENT")
    finally:
        federation.close()


@pytest.mark.parametrize("fault", ASKED_AGAIN)
def test_it_is_asked_for_once_more_and_is_the_same_share(tolerant: Path, fault: Fault) -> None:
    lost, spent, channel, resent = faulty_run(tolerant, fault)
    assert lost == [] and resent == 1
    assert len(channel.shares) == 2 and channel.shares[0] == channel.shares[1]
    assert spent == dict.fromkeys(SITES, Spent(3, 3, "closed", 3))


def test_one_that_comes_twice_counts_once(tolerant: Path) -> None:
    lost, spent, channel, resent = faulty_run(tolerant, twice)
    assert lost == [] and resent == 0 and len(channel.shares) == 1
    assert spent == dict.fromkeys(SITES, Spent(3, 3, "closed", 3))


def test_control_unless_it_is_asked_for_again_the_step_is_lost(
    tolerant: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "RESENDS", 0)
    lost, spent, channel, resent = faulty_run(tolerant, damaged)
    assert lost == [(STEP, (SITE,))] and resent == 0 and len(channel.shares) == 1
    assert {spent[site] for site in LEFT} == {Spent(4, 4, "closed", 4)}
