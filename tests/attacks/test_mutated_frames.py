"""A hundred thousand hostile inputs to everything that reads bytes of a peer's ciphertext, guided by coverage.

Four readers: a site's frame and the sum (privacy/encryption/frame.py), the whole signed message as the coordinator
takes it, and the outcome as a site opens it. Each input is refused with a code or means exactly what it says: what was
read, written again, is the same bytes, and an outcome opens only with every signed header and every seed unchanged.
Nothing else is raised, nothing hangs (fuzzing.DEADLINE_SECONDS), and memory stays within a multiple of the permitted
length.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
import pytest

from sekisho.core import messages
from sekisho.core.messages import Frame, SignedMessage, sign_message
from sekisho.core.site import opening
from sekisho.governance.signing.keys import demo_key
from sekisho.privacy.encryption import ciphertext, frame, manifest
from sekisho.privacy.encryption.ciphertext import Ciphertext
from sekisho.privacy.encryption.presets import PRESETS, PRIME

from .fuzzing import DEADLINE_SECONDS, Hang, Report, deadline, fuzz, mutated_bytes, mutated_json
from .hostile import parts_of, resigned
from .outcome import Outcome

PRESET = PRESETS["3x16"]
DIMENSIONS = (50, 3 * 4096 + 1)  # 17 words, so that padding is there; two blocks, so that seeds can repeat
SHARE, SUM, MESSAGE, OUTCOME = 45_000, 20_000, 25_000, 10_000  # a hundred thousand together
SHORT = 100  # the default tests take one in so many
SENDER = "ame"
FRIEND = "yuki"  # signs whatever the coordinator asks for

Mutate = Callable[[bytes, Random, Sequence[bytes]], bytes]


def a_ciphertext(dimension: int) -> Ciphertext:
    rng = np.random.default_rng(dimension)
    c0 = rng.integers(0, PRIME, PRESET.words(dimension), dtype=np.uint64)
    return Ciphertext(PRESET, dimension, c0, rng.bytes(64 * PRESET.blocks(dimension)))


# -- readers: each returns where it accepts, having checked that the bytes mean exactly what they say ------------------


def read_share(data: bytes) -> None:
    dimension = DIMENSIONS[len(data) > 20_000]
    assert frame.encode(frame.decode(data, preset=PRESET, dimension=dimension)) == data


def read_sum(data: bytes) -> None:
    dimension = DIMENSIONS[len(data) > 20_000]
    assert frame.encode_sum(frame.decode_sum(data, PRESET, dimension), PRESET, dimension) == data


def read_message(data: bytes) -> None:
    """What the coordinator does with an answer before it adds it (coordinator/collecting.py and coordinator.py)."""
    message = SignedMessage.from_bytes(data)
    message.verify(demo_key(SENDER).public)
    part = message.part("frame")
    received = frame.decode(part, preset=PRESET, dimension=DIMENSIONS[0])
    assert message.to_bytes() == data
    assert frame.encode(received) == part


# -- mutations that keep more of the form than single bytes do ---------------------------------------------------------


def mutated_share(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """As bytes; or one whole seed over another, which chance does not find."""
    seeds = range(frame.HEADER.size, frame.HEADER.size + 64 * PRESET.blocks(DIMENSIONS[1]), 64)
    if len(data) > 20_000 and random.random() < 0.02:
        source, target = random.choice(seeds), random.choice(seeds)
        return data[:target] + data[source : source + 64] + data[target + 64 :]
    return mutated_bytes(data, random, others)


def mutated_message(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Bytes of the whole; or its payload, or a field of its header, signed anew by the site itself."""
    how = random.random()
    try:
        message = SignedMessage.from_bytes(data)
    except Exception:  # noqa: BLE001  an input of the corpus that is no message is mutated as bytes
        return mutated_bytes(data, random, others)
    if how < 0.4:
        return mutated_bytes(data, random, others)
    if how < 0.7:
        pieces = {name: mutated_bytes(part, random) for name, part in parts_of(message).items()}
        return resigned(message, parts=pieces, key=demo_key(SENDER))
    header = mutated_json(json.loads(message.header_bytes), random)
    return with_header(message, header, SENDER).to_bytes()


def with_header(message: SignedMessage, header: object, signer: str) -> SignedMessage:
    """``message`` under any other header, well signed: what a changed program would send."""
    # RFC 8785 for all that it has a form for, and something near it for the rest
    data = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    signature = demo_key(signer).sign(messages.SIGNATURE_CONTEXT + data)
    return SignedMessage(data, signature, message.payload, message.header)


SHARES = [frame.encode(a_ciphertext(dimension)) for dimension in DIMENSIONS]
SUMS = [frame.encode_sum(a_ciphertext(dimension).c0, PRESET, dimension) for dimension in DIMENSIONS]


def a_message() -> bytes:
    sealed = a_ciphertext(DIMENSIONS[0])
    body = Frame.model_validate(
        {
            "step": 1,
            "transcript": "ab" * 32,
            "key_check": "cd" * 32,
            "seeds": frame.seeds_digest(sealed),
            "c0": frame.c0_digest(sealed),
            "head": {"entries": 3, "mac": "ef" * 32},
        }
    )
    names = {"study": "small-study", "run": "r", "sender": SENDER}
    return sign_message(body, **names, key=demo_key(SENDER), parts={"frame": SHARES[0]}).to_bytes()


TARGETS: dict[str, tuple[list[bytes], Mutate, Callable[[bytes], None], int]] = {
    "share": (SHARES, mutated_share, read_share, SHARE),
    "sum": (SUMS, mutated_bytes, read_sum, SUM),
    "message": ([a_message()], mutated_message, read_message, MESSAGE),
}
FRAME_CODES = {
    "FRAME_TRUNCATED", "FRAME_MAGIC", "FRAME_KIND", "FRAME_PRESET", "FRAME_RESERVED", "FRAME_DIMENSION",
    "FRAME_TRAILING", "FRAME_PADDING", "WORD_OUT_OF_RANGE", "SEED_DUPLICATE",
}  # fmt: skip
MESSAGE_CODES = {
    "MESSAGE_MALFORMED", "MESSAGE_SCHEMA", "MESSAGE_NOT_CANONICAL", "MESSAGE_FORGED", "PART_MISSING", "PART_CHANGED",
    "PART_TWICE",
}  # fmt: skip
REACHED = {  # what every whole run must have come across: a fuzzer that stays at the door shows nothing
    "share": FRAME_CODES,
    "sum": FRAME_CODES - {"SEED_DUPLICATE"},
    "message": (FRAME_CODES - {"SEED_DUPLICATE"}) | MESSAGE_CODES,
}


def run_target(name: str, inputs: int) -> Report[bytes]:
    seeds, mutate, read, _ = TARGETS[name]
    modules = [frame, ciphertext, manifest, messages]
    report = fuzz(seeds, mutate, read, modules=modules, inputs=inputs, seed=20261129)
    print(f"\n{name}: {report}")
    assert sum(report.ended.values()) == inputs
    assert report.codes <= FRAME_CODES | MESSAGE_CODES | {"NOT_CANONICAL"}
    assert report.peak < 12 * max(map(len, seeds)) + 300_000
    return report


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_bytes_are_refused_with_a_code_or_mean_what_they_say(name: str) -> None:
    report = run_target(name, TARGETS[name][3] // SHORT)
    assert len(report.codes) > 5
    assert len(report.corpus) > len(TARGETS[name][0])  # coverage guided it


@pytest.mark.proof
@pytest.mark.parametrize("name", TARGETS)
def test_a_hundred_thousand_mutated_frames(name: str) -> None:
    report = run_target(name, TARGETS[name][3])
    assert report.codes >= REACHED[name]
    assert report.ended["accepted"] > 0  # other seeds and words below q are another ciphertext, and as good as any


# -- an outcome, as a site opens it ------------------------------------------------------------------------------------


def read_outcome(due: Outcome) -> Callable[[dict[str, bytes]], None]:
    """Open parts at a copy of the site; what is accepted has everything that sites signed unchanged."""
    honest = due.parts

    def read(parts: dict[str, bytes]) -> None:
        opened = due.open(parts)
        total = frame.decode_sum(parts["sum"], due.preset, due.plan.dimension)
        assert frame.encode_sum(total, due.preset, due.plan.dimension) == parts["sum"]
        rms = float(np.sqrt(np.mean(opened.astype(float) ** 2)))
        assert rms <= opening.rms_bound(due.plan, len(due.frames))
        for name in honest:
            if name.startswith("seeds:") or (name.startswith("header:") and name != f"header:{FRIEND}"):
                assert parts[name] == honest[name]

    return read


def mutated_parts(
    parts: dict[str, bytes], random: Random, others: Sequence[dict[str, bytes]]
) -> dict[str, bytes]:
    """One or two parts: bytes changed, exchanged with another part's, left out, or the friend's header signed anew."""
    changed = dict(parts)
    for _ in range(random.choice((1, 1, 2))):
        name = random.choice(sorted(changed))
        if random.random() < 0.3 and "sum" in changed:
            name = "sum"  # one part of many, and the only one that nobody signed
        match random.randrange(6):
            case 0:
                other = random.choice(sorted(changed))
                changed[name], changed[other] = changed[other], changed[name]
            case 1 if len(changed) > 1:
                del changed[name]
            case 2 if f"header:{FRIEND}" in changed:
                changed[f"header:{FRIEND}"] = friends_header(changed[f"header:{FRIEND}"], random)
            case 3 if name in random.choice(others):
                changed[name] = random.choice([other for other in others if name in other])[name]
            case _:
                changed[name] = mutated_bytes(changed[name], random)
    return changed


def friends_header(data: bytes, random: Random) -> bytes:
    try:
        message = SignedMessage.from_bytes(data, detached=True)
    except Exception:  # noqa: BLE001  it was mutated before
        return mutated_bytes(data, random)
    return with_header(message, mutated_json(json.loads(message.header_bytes), random), FRIEND).detached()


def run_outcome(due: Outcome, inputs: int) -> Report[dict[str, bytes]]:
    modules = [frame, ciphertext, manifest, messages, opening]
    report = fuzz([due.parts], mutated_parts, read_outcome(due), modules=modules, inputs=inputs, seed=20261130)
    print(f"\noutcome: {report}")
    assert sum(report.ended.values()) == inputs
    assert report.peak < 40 * sum(map(len, due.parts.values())) + 2_000_000  # one ring of the library's, both halves
    return report


def test_mutated_outcomes_open_only_with_all_that_sites_signed(due: Outcome) -> None:
    report = run_outcome(due, OUTCOME // SHORT)
    assert {"MESSAGE_FORGED", "SEEDS_SWAPPED", "PART_MISSING"} <= report.codes


@pytest.mark.proof
def test_mutated_outcomes_the_last_of_the_hundred_thousand(due: Outcome) -> None:
    report = run_outcome(due, OUTCOME)
    assert report.codes >= {
        "MESSAGE_FORGED", "SEEDS_SWAPPED", "SEEDS_LENGTH", "SUM_OUT_OF_BOUNDS", "PART_MISSING", "MANIFEST_FOREIGN",
        "MANIFEST_REPLAYED", "KEY_CHECK_DIFFERS", "MESSAGE_SCHEMA", "FRAME_TRUNCATED", "FRAME_DIMENSION",
    }  # fmt: skip


# -- controls: the fuzzer sees what it is there for --------------------------------------------------------------------


def test_control_a_reader_without_its_padding_check_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    unpack = frame.unpack_words

    def careless(data: memoryview, count: int) -> frame.Words:
        cut = bytearray(data)
        cut[-1] &= 0x0F  # 17 words end in the middle of a byte
        return unpack(memoryview(cut), count)

    monkeypatch.setattr(frame, "unpack_words", careless)
    with pytest.raises(AssertionError):
        fuzz(SHARES[:1], mutated_bytes, read_share, modules=[frame], inputs=20_000, seed=1)


def test_control_an_error_without_a_code_a_hang_and_a_hoard_are_found() -> None:
    def crash(data: bytes) -> None:
        if data[4] != 1:
            raise IndexError

    with pytest.raises(IndexError):
        fuzz(SHARES[:1], mutated_bytes, crash, modules=[frame], inputs=20_000, seed=1)

    def endless() -> None:
        while True:
            pass

    with pytest.raises(Hang), deadline(0.05):
        endless()
    assert DEADLINE_SECONDS < 60

    def hoarding(data: bytes) -> None:
        assert bytearray(5_000_000)

    hoard = fuzz([b"x"], mutated_bytes, hoarding, modules=[], inputs=3, seed=1)
    assert hoard.peak >= 5_000_000
