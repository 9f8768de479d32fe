"""One made-up step of five sites on the real parts, and what the coordinator saw of it, to the last byte.

For: blindness.py, which tries to open it, and the doctor's other checks, which share its plan.
Not for: a user's study or data, which are out of reach from here.
Order of calls: ``exchange()``, or ``exchanged(values)`` for other updates than the made-up ones.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

import numpy as np

from ...governance.signing.keys import SigningKey
from ...privacy.accounting.accountant import build_plan
from ...privacy.accounting.plan import Plan
from ...privacy.budget import Unit
from ...privacy.encryption import frame
from ...privacy.encryption.aggregation import Aggregator
from ...privacy.encryption.ciphertext import Ciphertext, Words
from ...privacy.encryption.manifest import Manifest
from ...privacy.encryption.packing import Integers
from ...privacy.encryption.presets import PRESETS, Preset
from ...privacy.keys.encrypt import StepSecret, encrypt
from ...privacy.keys.masks import step_mask
from ...privacy.keys.runkeys import JoinKeys, RunSecret, pair_key
from ..messages import Frame, LedgerHeadSeen, sign_message

SITES = ("a", "b", "c", "d", "e")
TRANSCRIPT = bytes(range(32))


@cache
def plan() -> Plan:
    """The plan of the made-up step, in which the doctor's other checks work too."""
    return build_plan(
        unit=Unit.SUBJECT,
        epsilon=Decimal(3),
        delta=Decimal("0.00001"),
        steps=10,
        allowance=1,
        sampling_rate=Decimal(1),
        clipping_norm=Decimal("0.4"),
        dimension=4000,
        sites=len(SITES),
        minimum_sites=3,
        observers=1,
        subjects=[100] * len(SITES),
        records_per_subject=4,
    )


@dataclass(frozen=True, eq=False)
class View:
    """What the coordinator has of one step: every byte that reached it, and the words of the frames among them."""

    received: tuple[bytes, ...]
    words: Mapping[str, Words]
    modulus: int


@dataclass(frozen=True, eq=False)
class Exchange:
    """One step of five sites: what they alone know, and what the coordinator saw of it."""

    values: Mapping[str, Integers]
    pairs: Mapping[str, Mapping[str, bytes]]
    secret: RunSecret
    model: str  # digest of the model's state, of which only a MAC was sent
    mac: str
    manifest: Manifest
    c0_sum: Words
    view: View

    def step_secret(self) -> StepSecret:
        """The key of the step, at a site."""
        return StepSecret.derive(self.secret, TRANSCRIPT)

    def truth(self, sites: Collection[str] = SITES) -> Integers:
        """The sum of the updates of ``sites``."""
        total = np.zeros(plan().dimension, np.int64)
        for site in sites:
            total += self.values[site]
        return total


def preset() -> Preset:
    return PRESETS[plan().preset]


@cache
def exchange() -> Exchange:
    generator = np.random.default_rng(1)  # public test values, not noise
    return exchanged({site: generator.integers(-1000, 1001, plan().dimension) for site in SITES})


def exchanged(values: Mapping[str, Integers]) -> Exchange:
    its, dimension = preset(), plan().dimension
    received: list[bytes] = []
    # 1. keys: what joins and ML-KEM ciphertexts show, and the run secret under pair keys
    pairs = _pair_keys(received)
    secret = RunSecret.generate()
    received += [
        secret.wrap(pairs[SITES[0]][site], h0=TRANSCRIPT, sender=SITES[0], recipient=site) for site in SITES[1:]
    ]
    # 2. where the sites stand
    model = "sha256:" + hashlib.sha256(b"a model's state").hexdigest()
    mac = secret.state_mac(model, TRANSCRIPT)
    received.append(mac.encode())
    # 3. frames, signed
    total = Aggregator(its, dimension)
    words = {}
    for site in SITES:
        masks = step_mask(site, pairs[site], SITES, TRANSCRIPT, its.words(dimension), its)
        share = encrypt(values[site], its, secret=StepSecret.derive(secret, TRANSCRIPT), masks=masks)
        received.append(_signed(site, share, secret))
        words[site] = share.c0
        total.add(site, share)
    # 4. their sum
    result = total.result()
    received.append(frame.encode_sum(result.c0_sum, its, dimension))
    view = View(tuple(received), words, its.modulus)
    return Exchange(values, pairs, secret, model, mac, result.manifest, result.c0_sum, view)


def _pair_keys(received: list[bytes]) -> dict[str, dict[str, bytes]]:
    joins = {site: JoinKeys.generate() for site in SITES}
    received += [key for join in joins.values() for key in (join.public.x25519, join.public.mlkem)]
    pairs: dict[str, dict[str, bytes]] = {site: {} for site in SITES}
    for low, high in itertools.combinations(SITES, 2):
        sent, kept = joins[low].encapsulate(joins[high].public)
        received.append(sent)
        shared = joins[high].decapsulate(sent)
        pairs[low][high] = pair_key(joins[low], joins[high].public, kept, h0=TRANSCRIPT, low=low, high=high)
        pairs[high][low] = pair_key(joins[high], joins[low].public, shared, h0=TRANSCRIPT, low=low, high=high)
    return pairs


def _signed(site: str, share: Ciphertext, secret: RunSecret) -> bytes:
    body = Frame(
        step=1,
        transcript=TRANSCRIPT.hex(),
        key_check=secret.key_check(TRANSCRIPT),
        seeds=frame.seeds_digest(share),
        c0=frame.c0_digest(share),
        head=LedgerHeadSeen(entries=1, mac="0" * 64),
    )
    key, parts = SigningKey.generate(), {"frame": frame.encode(share)}
    return sign_message(body, study="doctor", run="doctor", sender=site, key=key, parts=parts).to_bytes()
