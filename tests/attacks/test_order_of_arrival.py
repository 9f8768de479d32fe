"""A coordinator that adds shares as they arrive: whom it names and what it gives out must not follow from their order.

The shares are those of a real run; the liar's are signed anew by the liar. ``StepSum`` is the coordinator's own.
"""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pytest

from sekisho.core.coordinator.summing import StepSum
from sekisho.core.messages import SignedMessage
from sekisho.governance.signing.keys import demo_key
from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.ciphertext import Ciphertext
from sekisho.privacy.encryption.presets import PRESETS

from ..federation.study_folder import SITES
from .conftest import Earlier
from .hostile import parts_of, resigned

LIAR, STEP = "kaze", 2  # in the middle of the sites' order
PRESET, DIMENSION = PRESETS["2x24"], 17
ORDERS = list(itertools.permutations(SITES))

Lie = Callable[[SignedMessage], bytes]


@dataclass(frozen=True)
class Step:
    readies: dict[str, SignedMessage]
    shares: dict[str, SignedMessage]

    def summed(self, order: Iterable[str], *, by_liar: bytes | None = None) -> StepSum:
        total = StepSum(PRESET, DIMENSION, step=STEP, readies=self.readies)
        for site in order:
            share = SignedMessage.from_bytes(by_liar) if site == LIAR and by_liar else self.shares[site]
            total.add(site, share)
        return total


@pytest.fixture(scope="module")
def real(earlier_run: Earlier) -> Step:
    readies = {site: earlier_run.sent_by(site, "ready")[STEP - 1] for site in SITES}
    shares = {site: earlier_run.sent_by(site, "frame")[STEP - 1] for site in SITES}
    return Step(readies, shares)


def held_by(message: SignedMessage) -> Ciphertext:
    return frame.decode(message.part("frame"), preset=PRESET, dimension=DIMENSION)


def under_another_key(own: SignedMessage) -> bytes:
    return resigned(own, body={"key_check": "00" * 32}, key=demo_key(LIAR))


def at_another_transcript(own: SignedMessage) -> bytes:
    return resigned(own, body={"transcript": "00" * 32}, key=demo_key(LIAR))


def with_another_half(own: SignedMessage) -> bytes:
    sealed = held_by(own)
    words = sealed.c0.copy()
    words[0] ^= np.uint64(1)
    other = Ciphertext(PRESET, DIMENSION, words, sealed.seeds)
    return resigned(own, parts={"frame": frame.encode(other)}, key=demo_key(LIAR))


def with_other_seeds(own: SignedMessage) -> bytes:
    sealed = held_by(own)
    other = Ciphertext(PRESET, DIMENSION, sealed.c0, bytes(reversed(sealed.seeds)))
    return resigned(own, parts={"frame": frame.encode(other)}, key=demo_key(LIAR))


def of_no_form(own: SignedMessage) -> bytes:
    return resigned(own, parts={"frame": b"nothing"}, key=demo_key(LIAR))


LIES = (under_another_key, at_another_transcript, with_another_half, with_other_seeds, of_no_form)


def test_the_sum_and_all_that_is_forwarded_are_the_same_in_every_order(real: Step) -> None:
    seen = set()
    for order in ORDERS:
        total = real.summed(order)
        assert total.wrong() == ()
        seen.add(tuple(sorted(total.parts().items())))
    assert len(seen) == 1


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_the_liar_is_named_in_every_order_and_nobody_else(real: Step, lie: Lie) -> None:
    forged = lie(real.shares[LIAR])
    assert {real.summed(order, by_liar=forged).wrong() for order in ORDERS} == {(LIAR,)}


def test_whoever_comes_second_with_the_same_seeds_is_named(real: Step) -> None:
    """Not prevented: seeds show in a share on its way, so a thief must be faster than whom it robs to get it blamed.

    Only the coordinator sees shares before it has them; one that wants a site out can leave it out anyway.
    """
    robbed = "ame"
    stolen = held_by(real.shares[robbed])
    digests = {"seeds": frame.seeds_digest(stolen), "c0": frame.c0_digest(stolen)}
    forged = resigned(real.shares[LIAR], body=digests, parts=parts_of(real.shares[robbed]), key=demo_key(LIAR))
    for order in ORDERS:
        second = max((robbed, LIAR), key=order.index)
        assert real.summed(order, by_liar=forged).wrong() == (second,)


def test_a_refused_share_leaves_nothing_behind(real: Step) -> None:
    """Of a site that sends nonsense the name is kept, however much it sends."""
    forged = SignedMessage.from_bytes(
        resigned(real.shares[LIAR], parts={"frame": bytes(5_000_000)}, key=demo_key(LIAR))
    )
    total = real.summed(("ame", "hana"))
    tracemalloc.start()
    try:
        total.add(LIAR, forged)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total.wrong() == (LIAR,)
    assert held < 10_000
    assert peak < 3 * 5_000_000  # control: it was in hand, once
