"""Shares that are not what the step asked for: of another site, step or run, or packed otherwise.

They reach the coordinator as a site's answer, from a hostile site or from whoever carries the messages. A coordinator
that follows the protocol takes none of them for a delivery; the step is lost and the run goes on without that site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from sekisho.core.coordinator.coordinator import RunResult
from sekisho.core.engines.channel import Reply
from sekisho.core.errors import Refused
from sekisho.core.messages import SignedMessage
from sekisho.core.pilot.federation import Federation
from sekisho.governance.signing.keys import demo_key
from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.ciphertext import Ciphertext
from sekisho.privacy.encryption.presets import PRESETS

from ..federation import study_folder
from ..federation.books import open_federation
from ..federation.channels import Recording
from ..federation.study_folder import SITES
from .conftest import Earlier
from .hostile import resigned

LIAR, OTHER = "yuki", "mori"
LEFT = tuple(site for site in SITES if site != LIAR)
PRESET, DIMENSION = PRESETS["2x24"], 17  # what the study's plan has

Lie = Callable[[SignedMessage, dict[str, SignedMessage]], bytes]


@dataclass
class Lying(Recording):
    """In step 2 ``lie`` answers in the liar's place: from its own share, and from every share so far."""

    lie: Lie = lambda own, shares: own.to_bytes()
    shares: dict[str, SignedMessage] = field(default_factory=dict)

    def poll(self) -> tuple[Reply, ...]:
        replies = super().poll()
        for reply in replies:
            if reply.data is not None:
                message = SignedMessage.from_bytes(reply.data)
                if message.body.kind == "frame":
                    self.shares[f"{reply.site}/{message.body.step}"] = message
        return tuple(self._spoiled(reply) for reply in replies)

    def _spoiled(self, reply: Reply) -> Reply:
        own = self.shares.get(f"{LIAR}/2")
        if reply.site != LIAR or own is None or reply.data != own.to_bytes():
            return reply
        return Reply(reply.ticket, reply.site, self.lie(own, self.shares))


@dataclass
class Ended:
    federation: Federation
    result: RunResult | None = None
    refused: Refused | None = None


@contextmanager
def run_with(study: Path, lie: Lie) -> Iterator[Ended]:
    study_folder.change(study / "study.yaml", "on_drop: stop", "on_drop: continue")
    study_folder.sign_study(study)
    federation = open_federation(study, lambda channel: Lying(channel, lie=lie))
    ended = Ended(federation)
    try:
        try:
            ended.result = federation.run("probe", run="lied")
        except Refused as refused:
            ended.refused = refused
        yield ended
    finally:
        federation.close()


def signed_anew(own: SignedMessage, ciphertext: Ciphertext, **changes: object) -> bytes:
    """The liar's own header around another ciphertext, all digests right, signed by the liar."""
    digests = {"seeds": frame.seeds_digest(ciphertext), "c0": frame.c0_digest(ciphertext)}
    parts = {"frame": frame.encode(ciphertext)}
    return resigned(own, body={**digests, **changes}, parts=parts, key=demo_key(LIAR))


def held_by(message: SignedMessage) -> Ciphertext:
    return frame.decode(message.part("frame"), preset=PRESET, dimension=DIMENSION)


def repacked(own: SignedMessage, preset: str, dimension: int) -> bytes:
    shape = PRESETS[preset]
    rng = np.random.default_rng(1)
    words = rng.integers(0, shape.modulus, shape.words(dimension), dtype=np.uint64)
    return signed_anew(own, Ciphertext(shape, dimension, words, rng.bytes(64)))


def another_sites_share(own: SignedMessage, shares: dict[str, SignedMessage]) -> bytes:
    return shares[f"{OTHER}/2"].to_bytes()


def another_sites_ciphertext_as_its_own(own: SignedMessage, shares: dict[str, SignedMessage]) -> bytes:
    return signed_anew(own, held_by(shares[f"{OTHER}/2"]))


def its_own_share_of_the_step_before(own: SignedMessage, shares: dict[str, SignedMessage]) -> bytes:
    return shares[f"{LIAR}/1"].to_bytes()


def a_share_packed_under_another_preset(own: SignedMessage, shares: dict[str, SignedMessage]) -> bytes:
    return repacked(own, "3x16", DIMENSION)


def a_share_of_a_rotated_vector(own: SignedMessage, shares: dict[str, SignedMessage]) -> bytes:
    return repacked(own, "2x24-rotated", DIMENSION)


def a_share_of_another_dimension(own: SignedMessage, shares: dict[str, SignedMessage]) -> bytes:
    return repacked(own, "2x24", DIMENSION + 1)


def its_own_share_for_another_study(own: SignedMessage, shares: dict[str, SignedMessage]) -> bytes:
    return resigned(own, study="other", key=demo_key(LIAR))


NOT_DELIVERED = (
    another_sites_share,
    another_sites_ciphertext_as_its_own,
    pytest.param(a_share_of_another_dimension, marks=pytest.mark.proof),
    pytest.param(its_own_share_for_another_study, marks=pytest.mark.proof),
    pytest.param(its_own_share_of_the_step_before, marks=pytest.mark.proof),
    pytest.param(a_share_packed_under_another_preset, marks=pytest.mark.proof),
    pytest.param(a_share_of_a_rotated_vector, marks=pytest.mark.proof),
)


def lost_without_the_liar(ended: Ended) -> None:
    assert ended.result is not None, ended.refused
    outcomes = [(outcome.step, outcome.status, outcome.missing) for outcome in ended.result.state.outcomes]
    assert outcomes == [(1, "summed", ()), (2, "abandoned", (LIAR,)), (3, "summed", ()), (4, "summed", ())]
    assert ended.result.state.cohort == LEFT and ended.result.state_macs_agree


@pytest.mark.parametrize("lie", NOT_DELIVERED, ids=lambda lie: lie.__name__)
def test_something_else_in_place_of_a_share_is_no_delivery(study: Path, lie: Lie) -> None:
    with run_with(study, lie) as ended:
        lost_without_the_liar(ended)


@pytest.mark.proof
def test_a_share_of_an_earlier_run_of_the_same_study_is_no_delivery(earlier: Earlier) -> None:
    old = earlier.sent_by(LIAR, "frame")[1]  # step 2, well signed, and by whom it says
    with run_with(earlier.study, lambda own, shares: old.to_bytes()) as ended:
        lost_without_the_liar(ended)


@pytest.mark.proof
def test_control_the_liars_own_share_is_one(study: Path) -> None:
    with run_with(study, lambda own, shares: own.to_bytes()) as ended:
        assert ended.result is not None and ended.result.state.cohort == SITES


def test_an_old_ciphertext_under_a_new_header_opens_as_noise_and_ends_the_run(study: Path) -> None:
    """Not prevented (docs/threats.md): a site can wreck a step. What opens is refused and nobody applies it."""

    def lie(own: SignedMessage, shares: dict[str, SignedMessage]) -> bytes:
        return signed_anew(own, held_by(shares[f"{LIAR}/1"]))

    with run_with(study, lie) as ended:
        assert ended.result is None
        assert {error.code for error in ended.federation.embedded.failures.values()} == {"SUM_OUT_OF_BOUNDS"}
        assert set(ended.federation.embedded.failures) == set(SITES)
