"""The product's own way to sum, as benchmarks/aggregation.py times it: everything through the product's functions.

An upload is what the gate does once noise is in: masks from the pair keys, pack, mask, encrypt, frame, both digests,
signature. The coordinator reads and verifies the message, decodes the frame in numpy, compares its digests and adds.
Opening is what a site does with the message that comes back: every signature and digest, the seeds of all sites
expanded, decrypted, unpacked. Encryption and opening run in this process alone (``workers=1``): the clock is the
processor's, and worker processes have their own.

Not timed with it: training, clipping, rounding and noise, which are there whatever sums; joining, once a run. The
rotation is once a subject (and back once a step), so the benchmark shows what one vector costs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sekisho.benchmarks.peers.scheme import Scheme, Vector
from sekisho.core.messages import Frame, LedgerHeadSeen, SignedMessage, Step, sign_message
from sekisho.governance.signing.keys import SigningKey
from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.aggregation import Aggregator
from sekisho.privacy.encryption.manifest import Manifest, SeedList
from sekisho.privacy.encryption.presets import PRESETS
from sekisho.privacy.keys.decrypt import open_sum
from sekisho.privacy.keys.encrypt import StepSecret, encrypt
from sekisho.privacy.keys.masks import step_mask
from sekisho.privacy.keys.runkeys import RunSecret
from sekisho.privacy.mechanism.rotation import Rotation

STUDY, RUN, STEP = "aggregation", "benchmark-1", 1
COORDINATOR = "coordinator"
HEAD = LedgerHeadSeen(entries=1000, mac="00" * 32)


@dataclass
class Total:
    """The coordinator's side of one step."""

    aggregator: Aggregator
    parts: dict[str, bytes] = field(default_factory=dict)


class BlindSum(Scheme):
    """BFV over masks, in signed messages, with one preset. ``largest`` bounds a coordinate of the clean sum."""

    exact_integers = True

    def __init__(self, preset: str, sites: int, dimension: int, *, largest: float) -> None:
        super().__init__(sites, dimension)
        self.name = f"ours {preset}"
        self.preset = PRESETS[preset]
        self.ids = [f"site-{number:02}" for number in range(sites)]
        # a coordinate of the sum of rounded integers moves by at most half a unit a site
        self.scale = ((1 << (self.preset.width - 1)) - 1 - sites) / largest
        self.keys = {name: SigningKey.generate() for name in (*self.ids, COORDINATOR)}
        self.pairs = {
            (low, high): os.urandom(32) for at, low in enumerate(self.ids) for high in self.ids[at + 1 :]
        }
        self.run_secret, self.transcript = RunSecret.generate(), os.urandom(32)
        self.rotation = Rotation(dimension, self.transcript) if self.preset.rotated else None

    def grid(self, vector: Vector) -> NDArray[np.int64]:
        """Nearest integers on the grid that the preset's fields allow for sums up to ``largest``."""
        values = np.asarray(vector, np.float64)
        if self.rotation is not None:
            values = self.rotation.forward(values)
        return np.rint(values * self.scale).astype(np.int64)

    def upload(self, site: int, values: NDArray[np.int64]) -> bytes:
        name, preset, h = self.ids[site], self.preset, self.transcript
        pair_keys = {peer: self.pairs[min(name, peer), max(name, peer)] for peer in self.ids if peer != name}
        masks = step_mask(name, pair_keys, self.ids, h, preset.words(self.dimension), preset)
        secret = StepSecret.derive(self.run_secret, h)
        ciphertext = encrypt(values, preset, secret=secret, masks=masks, workers=1)
        secret.wipe()
        body = Frame(
            step=STEP,
            transcript=h.hex(),
            key_check=self.run_secret.key_check(h),
            seeds=frame.seeds_digest(ciphertext),
            c0=frame.c0_digest(ciphertext),
            head=HEAD,
        )
        return self.signed(body, name, {"frame": frame.encode(ciphertext)})

    def total(self) -> Total:
        return Total(Aggregator(self.preset, self.dimension))

    def add(self, total: Total, site: int, wire: bytes) -> Total:
        name = self.ids[site]
        message = SignedMessage.from_bytes(wire)
        message.verify(self.keys[name].public)
        ciphertext = frame.decode(message.part("frame"), preset=self.preset, dimension=self.dimension)
        body = message.body
        halves = frame.seeds_digest(ciphertext), frame.c0_digest(ciphertext)
        if not isinstance(body, Frame) or (body.seeds, body.c0) != halves:
            raise ValueError("the digests are not those that were signed")
        total.aggregator.add(name, ciphertext)
        total.parts[f"header:{name}"] = message.detached()
        total.parts[f"seeds:{name}"] = ciphertext.seeds
        return total

    def down(self, total: Total) -> bytes:
        c0_sum = total.aggregator.result().c0_sum
        return self.outcome({**total.parts, "sum": frame.encode_sum(c0_sum, self.preset, self.dimension)})

    def outcome(self, parts: dict[str, bytes]) -> bytes:
        """The message that carries a sum back to every site."""
        cohort = tuple(self.ids)
        return self.signed(Step(step=STEP + 1, cohort=cohort, previous="summed", signers=cohort), COORDINATOR, parts)

    def open(self, data: bytes) -> NDArray[np.int64]:
        message = SignedMessage.from_bytes(data)
        message.verify(self.keys[COORDINATOR].public)
        lists = tuple(self._seeds_of(message, name) for name in self.ids)
        c0_sum = frame.decode_sum(message.part("sum"), self.preset, self.dimension)
        secret = StepSecret.derive(self.run_secret, self.transcript)
        opened = open_sum(c0_sum, Manifest(lists), self.preset, self.dimension, secret=secret, workers=1)
        secret.wipe()
        return opened

    def mean(self, opened: NDArray[np.int64]) -> NDArray[np.float64]:
        mean = np.asarray(opened / (self.scale * self.sites), np.float64)
        return mean if self.rotation is None else self.rotation.back(mean)

    def _seeds_of(self, message: SignedMessage, name: str) -> SeedList:
        seeds = SeedList(name, message.part(f"seeds:{name}"))
        if self.header_of(message, name).seeds != frame.seeds_digest(seeds):
            raise ValueError("the seeds are not those that were signed")
        return seeds

    def header_of(self, message: SignedMessage, name: str) -> Frame:
        """What one site signed of its frame, verified, from the message that carries the sum."""
        header = SignedMessage.from_bytes(message.part(f"header:{name}"), detached=True)
        header.verify(self.keys[name].public)
        if not isinstance(header.body, Frame):
            raise TypeError("what is listed for a site is not its frame")
        return header.body

    def signed(self, body: Frame | Step, sender: str, parts: dict[str, bytes]) -> bytes:
        """One message on the wire."""
        key = self.keys[sender]
        return sign_message(body, study=STUDY, run=RUN, sender=sender, key=key, parts=parts).to_bytes()
