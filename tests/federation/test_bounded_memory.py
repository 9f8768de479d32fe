"""What parties hold in memory: the coordinator no more for many sites than for few, a site no second copy of its state.

The coordinator is the product's. Its sites only speak as sites do, signed, with frames of random numbers: the
coordinator cannot tell, and what real sites hold in the same process is kept out of the figures.
"""

from __future__ import annotations

import os
import tracemalloc
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sekisho.core.coordinator.coordinator import Coordinator, RunResult
from sekisho.core.coordinator.stop_list import KNOWN, StopListKeeper
from sekisho.core.coordinator.summing import StepSum
from sekisho.core.engines.channel import Reply
from sekisho.core.errors import Refused
from sekisho.core.messages import (
    Body,
    Finished,
    Frame,
    Join,
    Kem,
    Keyed,
    LedgerHeadSeen,
    Ready,
    Secret,
    SignedMessage,
    sign_message,
)
from sekisho.core.parties import replace_file
from sekisho.core.pilot.canary_study import Design, write_study
from sekisho.core.planning import plan_of
from sekisho.core.site.papers import read_study
from sekisho.core.site.saved import pieces
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.signing.keys import demo_key
from sekisho.governance.signing.roster import Roster
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.ciphertext import Ciphertext
from sekisho.privacy.encryption.presets import PRESETS, SEED_BYTES

DIMENSION, STEPS = 200_000, 2
FEW, MANY = 3, 12
DECLARED = 40  # subjects a site: enough that few and many sites need fields of the same width, so frames of one length
DIGEST = "sha256:" + "0" * 64
HEAD = LedgerHeadSeen(entries=1, mac="00" * 32)
# Per site beside its seeds: header, control messages and roster entry as Python objects. A frame is 40 times as much.
SMALL = 48 * 1024
SEED_OBJECTS = 6  # a seed in bytes, in the set of all seeds, in the message forwarded, twice while it is put together


@dataclass
class Speaking:
    """A channel whose sites answer as sites do. ``hoards`` keeps every reply, as the coordinator must not."""

    plan: Plan
    names: tuple[str, ...]
    hoards: bool = False
    too_long: str = ""
    waiting: deque[tuple[int, str, bytes]] = field(default_factory=deque)
    hoard: list[bytes] = field(default_factory=list)
    tickets: int = 0

    def __post_init__(self) -> None:
        self.preset = PRESETS[self.plan.preset]
        self.c0 = np.arange(self.preset.words(self.plan.dimension), dtype=np.uint64)

    def sites(self) -> tuple[str, ...]:
        return self.names

    def post(self, site: str, message: bytes, ttl: float) -> int:
        self.tickets += 1
        self.waiting.append((self.tickets, site, message))
        return self.tickets

    def poll(self) -> tuple[Reply, ...]:
        if not self.waiting:
            return ()
        ticket, site, message = self.waiting.popleft()
        data = self.answer(site, SignedMessage.from_bytes(message))
        if self.hoards:
            self.hoard.append(data)
        return (Reply(ticket, site, data),)

    def answer(self, site: str, asked: SignedMessage) -> bytes:
        parts: dict[str, bytes] = {}
        step = getattr(asked.body, "step", 1)
        match asked.body.kind:
            case "offer":
                dataset = "hmac-" + DIGEST
                body: Body = Join(
                    offer=DIGEST, plan=DIGEST, x25519="00" * 32, mlkem="00" * 1184, head=HEAD, seen={}, policy=DIGEST,
                    dataset=dataset, epsilon="1.0",
                )  # fmt: skip
            case "cohort":
                body = Kem(had={}, ciphertexts={})
            case "kems":
                body = Secret(wrapped={})
            case "secrets":
                body = Keyed(key_check="00")
            case "step":
                body = Ready(step=step, transcript="00" * 32)
            case "readies":
                seeds = os.urandom(SEED_BYTES * self.preset.blocks(self.plan.dimension))
                ciphertext = Ciphertext(self.preset, self.plan.dimension, self.c0, seeds)
                halves = frame.seeds_digest(ciphertext), frame.c0_digest(ciphertext)
                body = Frame(
                    step=step, transcript="00" * 32, key_check="00", seeds=halves[0], c0=halves[1], head=HEAD
                )
                longer = bytes(len(self.c0) * 32) if site == self.too_long else b""
                parts = {"frame": frame.encode(ciphertext) + longer}
            case _:
                body = Finished(step=step, state_mac="00")
        key, header = demo_key(site), asked.header
        return sign_message(body, study=header.study, run=header.run, sender=site, key=key, parts=parts).to_bytes()


def ran(folder: Path, count: int, *, hoards: bool = False, too_long: str = "") -> tuple[RunResult, int, Speaking]:
    """One run over ``count`` sites: what came of it, the peak of memory in bytes, and the channel."""
    keepers = tuple(f"keeper-{number:02d}" for number in range(count - 1))
    design = Design("5", STEPS, canaries=DECLARED * len(keepers), keepers=keepers)
    write_study(folder, design, np.zeros(design.canaries, dtype=np.bool_))
    study = read_study(folder)
    roster = Roster.parse((folder / "roster.yaml").read_bytes(), "roster.yaml")
    plan = plan_of(study, "probe", dimension=DIMENSION)
    channel = Speaking(plan, design.sites, hoards=hoards, too_long=too_long)
    key, state = demo_key("coordinator"), folder / "coordinator-state"
    state.mkdir()

    def clock() -> datetime:
        return datetime(2026, 11, 1, tzinfo=UTC)

    stops = StopListKeeper(
        folder / "stops", roster=roster, key=key, clock=clock, allowed=[24], memory=state / KNOWN
    )
    log = AuditLog.open(state / "log.sqlite", origin="sekisho.example/memory", key=key)
    coordinator = Coordinator(
        channel, study=study, roster=roster, key=key, log=log, clock=clock, runs=state / "runs", stops=stops
    )
    offer = coordinator.offer("probe", plan)
    tracemalloc.start()
    try:
        result = coordinator.run("memory", offer, plan)
        return result, tracemalloc.get_traced_memory()[1], channel
    finally:
        tracemalloc.stop()
        log.close()


def frame_bytes(plan: Plan) -> int:
    return StepSum.frame_length(PRESETS[plan.preset], plan.dimension)


def allowed(plan: Plan) -> int:
    """What nine sites more may cost: their seeds, and small things."""
    seeds = SEED_BYTES * PRESETS[plan.preset].blocks(plan.dimension)
    return (MANY - FEW) * (SEED_OBJECTS * seeds + SMALL)


def test_the_coordinators_memory_does_not_grow_with_the_number_of_sites(tmp_path: Path) -> None:
    few, peak_of_few, _ = ran(tmp_path / "few", FEW)
    many, peak_of_many, _ = ran(tmp_path / "many", MANY)
    assert few.state.completed == many.state.completed == STEPS
    assert len(many.state.cohort) == MANY
    assert few.plan.preset == many.plan.preset
    assert allowed(many.plan) < (MANY - FEW) * frame_bytes(many.plan) / 2
    grown = peak_of_many - peak_of_few
    assert grown < allowed(many.plan), f"{grown} bytes for {MANY - FEW} more sites"


def test_a_coordinator_that_kept_frames_would_be_found_out(tmp_path: Path) -> None:
    _, peak_of_few, _ = ran(tmp_path / "few", FEW, hoards=True)
    many, peak_of_many, _ = ran(tmp_path / "many", MANY, hoards=True)
    assert peak_of_many - peak_of_few > allowed(many.plan)


def test_a_reply_longer_than_a_frame_can_be_is_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:  # the study stops on a drop
        ran(tmp_path / "study", 5, too_long="keeper-00")
    assert caught.value.code == "SITE_DROPPED" and str(caught.value).startswith("keeper-00 did not")


def test_a_sites_state_is_written_in_pieces_and_reads_back_bit_for_bit(tmp_path: Path) -> None:
    arrays = {name: np.random.default_rng(1).standard_normal(1_000_003) for name in ("vector", "velocity")}
    path = tmp_path / "run.safetensors"
    tracemalloc.start()
    try:
        replace_file(path, pieces(arrays, {"run": "run", "updates": 3}))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < arrays["vector"].nbytes / 2, f"{peak} bytes"
    assert path.stat().st_mode & 0o777 == 0o600
    read = load_file(path)
    assert all(np.array_equal(read[name], array) for name, array in arrays.items()) and read.keys() == arrays.keys()


@pytest.mark.parametrize("left", ["nothing", "a draft"])
def test_a_state_that_cannot_be_written_whole_leaves_the_last_one(tmp_path: Path, left: str) -> None:
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"the last one")
    if left == "a draft":
        path.with_name(path.name + ".part").write_bytes(b"half")

    def breaks() -> object:
        yield b"one piece"
        raise MemoryError

    with pytest.raises(MemoryError):
        replace_file(path, breaks())  # type: ignore[arg-type]  # a generator that never gets to its second piece
    assert path.read_bytes() == b"the last one"
