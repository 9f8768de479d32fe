"""A hostile site that makes honest ones look as if they had not delivered.

A step at which sites stand apart is lost, and costs nobody anything. But the coordinator's signed log names who was
missing, and the next step goes on without them: so it has to be the one that stands apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sekisho.core.coordinator import rounds
from sekisho.core.coordinator.collecting import apart
from sekisho.core.coordinator.coordinator import RunResult
from sekisho.core.engines.channel import Reply
from sekisho.core.errors import Refused
from sekisho.core.messages import SignedMessage
from sekisho.core.pilot.federation import Federation
from sekisho.governance.signing.keys import demo_key

from ..federation import study_folder
from ..federation.books import Spent, books, entries, open_federation, steps_of
from ..federation.channels import Recording
from ..federation.study_folder import SITES
from .hostile import resigned

LIAR = "ame"  # the lowest id, so that a rule by order would favour it
LEFT = tuple(site for site in SITES if site != LIAR)
Lie = Callable[[SignedMessage], bytes]


@dataclass
class Lying(Recording):
    """``lie`` answers in the liar's place when it is asked where it stands in step 2."""

    lie: Lie = lambda own: own.to_bytes()

    def poll(self) -> tuple[Reply, ...]:
        return tuple(self._spoiled(reply) for reply in super().poll())

    def _spoiled(self, reply: Reply) -> Reply:
        own = None if reply.data is None else SignedMessage.from_bytes(reply.data)
        if reply.site != LIAR or own is None or own.body.kind != "ready" or own.body.step != 2:
            return reply
        return Reply(reply.ticket, reply.site, self.lie(own))


def at_another_transcript(own: SignedMessage) -> bytes:
    return resigned(own, body={"transcript": "ab" * 32}, key=demo_key(LIAR))


def at_another_step(own: SignedMessage) -> bytes:
    return resigned(own, body={"step": 3}, key=demo_key(LIAR))


def run_with(study: Path, lie: Lie) -> tuple[Federation, RunResult | None]:
    study_folder.change(study / "study.yaml", "on_drop: stop", "on_drop: continue")
    study_folder.sign_study(study)
    federation = open_federation(study, lambda channel: Lying(channel, lie=lie))
    try:
        return federation, federation.run("probe", run="blamed")
    except Refused:
        return federation, None


@pytest.mark.parametrize("lie", [at_another_transcript, at_another_step])
def test_the_site_that_stands_apart_is_named_and_nobody_else(study: Path, lie: Lie) -> None:
    federation, result = run_with(study, lie)
    try:
        assert result is not None
        lost = [(outcome.step, outcome.missing) for outcome in result.state.outcomes if outcome.status == "abandoned"]
        assert lost == [(2, (LIAR,))]
        assert result.state.cohort == LEFT and result.state.completed == 3 and result.state_macs_agree
        # nobody had been asked for a share, so the lost step cost nobody anything
        assert {tuple(steps_of(federation, site, "step.started")) for site in LEFT} == {(1, 3, 4)}
        assert {books(federation)[site] for site in LEFT} == {Spent(3, 3, "closed", 3)}
    finally:
        federation.close()


def test_control_without_the_comparison_the_honest_are_named(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "apart", lambda said: ())
    federation, result = run_with(study, at_another_transcript)
    try:
        assert result is None
        (lost,) = entries(federation, "coordinator", "step.abandoned")
        assert set(lost["data"]["missing"]) >= set(LEFT)
    finally:
        federation.close()


def test_where_no_half_agrees_all_are_named() -> None:
    assert apart({"a": 1, "b": 1, "c": 2}) == ("c",)
    assert apart({"a": 2, "b": 1, "c": 1}) == ("a",)
    assert apart({"a": 1, "b": 1, "c": 2, "d": 2}) == ("a", "b", "c", "d")
    assert apart({"a": 1, "b": 2, "c": 3}) == ("a", "b", "c")
    assert apart({"a": 1, "b": 1}) == () == apart({})
