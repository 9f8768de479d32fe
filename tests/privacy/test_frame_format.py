"""docs/formats/frame.md: the program, the vectors and a second reader written from the page agree, bit for bit."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.messages import Frame, SignedMessage
from sekisho.core.site.state import Transcript
from sekisho.core.study import MOST_SITES
from sekisho.governance.signing.keys import PublicKey
from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.ciphertext import Ciphertext
from sekisho.privacy.encryption.manifest import Manifest, SeedList
from sekisho.privacy.encryption.packing import pack, unpack
from sekisho.privacy.encryption.presets import MANY_SITES, MAXIMUM_SITES, PRESETS, PRIME, RING_DEGREE, Preset
from sekisho.privacy.errors import CiphertextError
from sekisho.privacy.keys.masks import step_mask
from sekisho.privacy.keys.runkeys import PAIR_LABEL, RunSecret, derive
from sekisho.privacy.keys.secretkey import GOLDEN_DIGEST, STEP_KEY_LABEL, golden_vector_holds
from sekisho.privacy.mechanism.rotation import Rotation

from ..oracles import frame_reader as other

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "frame.json").read_text("utf-8"))
PAGE = (Path(__file__).parents[2] / "docs" / "formats" / "frame.md").read_text("utf-8")
KINDS = {"share": other.SHARE, "sum": other.SUM}


def ours(shape: dict[str, Any]) -> Preset:
    return next(preset for preset in PRESETS.values() if shape_of(preset) == shape)


def shape_of(preset: Preset) -> dict[str, Any]:
    return {"fields": preset.fields, "width": preset.width, "rotated": preset.rotated}


def theirs(preset: Preset) -> other.Preset:
    return other.Preset(**shape_of(preset))


def words_of(vector: dict[str, Any], count: int) -> list[int]:
    if "words" in vector:
        return [int(word) for word in vector["words"]]
    texts = (f"{vector['words_from']}/w{place}/0".encode() for place in range(count))
    return [int.from_bytes(hashlib.sha256(text).digest()[:16], "little") % PRIME for text in texts]


def code_here(data: bytes, kind: str, preset: Preset, dimension: int) -> str:
    try:
        if kind == "share":
            frame.decode(data, preset=preset, dimension=dimension)
        else:
            frame.decode_sum(data, preset, dimension)
    except CiphertextError as refusal:
        return refusal.code
    return "accepted"


def code_there(data: bytes, kind: str, preset: Preset, dimension: int) -> str:
    try:
        other.read(data, KINDS[kind], theirs(preset), dimension)
    except other.RefusedFrame as refusal:
        return str(refusal)
    return "accepted"


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: str(vector["dimension"]))
def test_frames_and_their_digests(vector: dict[str, Any]) -> None:
    preset, dimension = ours(vector["preset"]), vector["dimension"]
    words, seeds = words_of(vector, preset.words(dimension)), bytes.fromhex(vector["seeds"])
    single = [seeds[place : place + 64] for place in range(0, len(seeds), 64)]
    sealed = Ciphertext(preset, dimension, np.array(words, np.uint64), seeds)
    share, total = frame.encode(sealed), frame.encode_sum(sealed.c0, preset, dimension)
    if "share" in vector:
        assert (share.hex(), total.hex()) == (vector["share"], vector["sum"])
    else:
        found = hashlib.sha256(share).hexdigest(), hashlib.sha256(total).hexdigest()
        assert found == (vector["share_sha256"], vector["sum_sha256"])
    shape = theirs(preset)
    assert other.read(share, other.SHARE, shape, dimension) == (words, single)
    assert other.read(total, other.SUM, shape, dimension) == (words, [])
    assert other.write(words, single, other.SHARE, shape, dimension) == share
    assert other.write(words, [], other.SUM, shape, dimension) == total
    assert vector["seeds_digest"] == frame.seeds_digest(sealed) == other.seeds_digest(single)
    assert vector["c0_digest"] == frame.c0_digest(sealed) == other.c0_digest(words, shape, dimension)


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["why"])
def test_broken_frames_have_the_codes_of_the_page(vector: dict[str, Any]) -> None:
    arguments = bytes.fromhex(vector["bytes"]), vector["kind"], ours(vector["preset"]), vector["dimension"]
    assert vector["code"] == code_here(*arguments) == code_there(*arguments)
    assert f"`{vector['code']}`" in PAGE


def test_a_repeated_seed() -> None:
    vector = VECTORS["repeated_seed"]
    preset, dimension = ours(vector["preset"]), vector["dimension"]
    twice = [bytes.fromhex(vector["seed"])] * 2
    data = other.write([0] * preset.words(dimension), twice, other.SHARE, theirs(preset), dimension)
    for code in (code_here, code_there):
        assert code(data, "share", preset, dimension) == vector["code"]


def test_every_code_of_a_frame_has_a_vector() -> None:
    held = {vector["code"] for vector in VECTORS["refused"]} | {VECTORS["repeated_seed"]["code"]}
    table = PAGE.split("### What a reader checks")[1].split("## What the words hold")[0]
    assert held == {line.split("`")[-2] for line in table.splitlines() if line.startswith("| ") and "`" in line}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_two_readers_agree_on_any_frame(data: st.DataObject) -> None:
    preset = data.draw(st.sampled_from(list(PRESETS.values())))
    dimension = data.draw(st.integers(1, 40))
    kind = data.draw(st.sampled_from(["share", "sum"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    words = rng.integers(0, PRIME, preset.words(dimension), dtype=np.uint64)
    sealed = Ciphertext(preset, dimension, words, rng.bytes(64 * preset.blocks(dimension)))
    written = frame.encode(sealed) if kind == "share" else frame.encode_sum(words, preset, dimension)
    assert other.read(written, KINDS[kind], theirs(preset), dimension)[0] == words.tolist()
    broken = bytearray(written)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(broken) - 1))
        broken[place] = data.draw(st.integers(0, 255))
    broken = broken[: data.draw(st.sampled_from([len(broken), len(broken), len(broken) - 1, 11]))]
    arguments = bytes(broken), kind, preset, dimension
    assert code_here(*arguments) == code_there(*arguments)


@pytest.mark.parametrize("vector", VECTORS["packing"], ids=lambda vector: str(vector["preset"]))
def test_packing(vector: dict[str, Any]) -> None:
    preset = ours(vector["preset"])
    for texts, words in zip(vector["values"], vector["words"], strict=True):
        values = [int(text) for text in texts]
        assert words == [str(word) for word in other.pack(values, theirs(preset))]
        assert words == [str(word) for word in pack(np.array(values, np.int64), preset).tolist()]
    total = [int(word) for word in vector["sum_words"]]
    assert total == [sum(map(int, column)) % theirs(preset).t for column in zip(*vector["words"], strict=True)]
    dimension = len(vector["sum"])
    assert vector["sum"] == [str(value) for value in other.unpack(total, theirs(preset), dimension)]
    assert vector["sum"] == [str(value) for value in unpack(np.array(total, np.uint64), preset, dimension).tolist()]
    assert vector["sum"] == [str(sum(map(int, column))) for column in zip(*vector["values"], strict=True)]


@pytest.mark.parametrize("vector", VECTORS["rotation"], ids=lambda vector: str(vector["dimension"]))
def test_rotation(vector: dict[str, Any]) -> None:
    seed, dimension = bytes.fromhex(vector["transcript"]), vector["dimension"]
    values = [float.fromhex(text) for text in vector["vector"]]
    here = Rotation(dimension, seed)
    forward, back = here.forward(np.array(values)), here.back(np.array(values))
    for name, found, there in (("forward", forward, other.rotated), ("back", back, other.unrotated)):
        assert vector[name] == [value.hex() for value in found.tolist()] == [v.hex() for v in there(values, seed)]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**32))
def test_two_programs_rotate_to_the_same_bits(dimension: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vector, transcript = rng.normal(size=dimension), rng.bytes(32)
    here = Rotation(dimension, transcript)
    assert here.forward(vector).tolist() == other.rotated(vector.tolist(), transcript)
    assert here.back(vector).tolist() == other.unrotated(vector.tolist(), transcript)


def test_keys_of_a_run_and_a_step() -> None:
    vector = VECTORS["run_keys"]
    secret, h = bytes.fromhex(vector["run_secret"]), bytes.fromhex(vector["transcript"])
    here = RunSecret(secret)
    check = other.derive(secret, h, "sekisho/key-check/v1").hex()
    assert vector["key_check"] == here.key_check(h) == check
    seed = other.derive(secret, h, "sekisho/step-secret-key/v1", length=64).hex()
    assert vector["step_key_seed"] == here.derive(STEP_KEY_LABEL, h, length=64).hex() == seed
    assert vector["step_key_sha256"] == GOLDEN_DIGEST and golden_vector_holds()
    mac = hmac.new(other.derive(secret, h, "sekisho/state-mac/v1"), vector["state_digest"].encode(), hashlib.sha256)
    assert vector["state_mac"] == here.state_mac(vector["state_digest"], h) == mac.hexdigest()


def test_keys_of_a_pair_and_the_secret_in_its_box() -> None:
    vector = VECTORS["pair"]
    low, high, h0 = vector["low"], vector["high"], bytes.fromhex(vector["h0"])
    shared = bytes.fromhex(vector["x25519_shared"]) + bytes.fromhex(vector["mlkem_shared"])
    key = other.derive(shared, h0, "sekisho/pair-key/v1", low, high)
    assert vector["pair_key"] == derive(shared, h0, PAIR_LABEL, low, high).hex() == key.hex()
    wrapped = bytes.fromhex(vector["wrapped"])
    assert vector["run_secret"] == other.unwrap(key, wrapped, h0, low, high).hex()
    opened = RunSecret.unwrap(key, wrapped, h0=h0, sender=low, recipient=high)
    assert vector["run_secret"] == opened.to_bytes().hex()


def test_masks() -> None:
    vector = VECTORS["masks"]
    cohort, h, count = vector["cohort"], bytes.fromhex(vector["transcript"]), vector["words"]
    for site in cohort:
        keys = {
            (set(pair.split("|")) - {site}).pop(): bytes.fromhex(key)
            for pair, key in vector["pair_keys"].items()
            if site in pair.split("|")
        }
        here = step_mask(site, keys, cohort, h, count, PRESETS["3x16"]).tolist()
        assert vector["masks"][site] == [str(word) for word in here]
        for preset in PRESETS.values():
            drawn = step_mask(site, keys, cohort, h, count, preset).tolist()
            assert drawn == other.mask(site, keys, cohort, h, count, 1 << preset.plain_bits)
            assert 1 << preset.plain_bits == theirs(preset).t
    assert all(sum(map(int, column)) % (1 << 48) == 0 for column in zip(*vector["masks"].values(), strict=True))


def test_transcript() -> None:
    vector = VECTORS["transcript"]
    names = {"run": vector["run"], "roster": vector["roster"]}
    h0 = other.transcript_hash({**names, "offer": vector["offer"], "joins": sorted(map(list, vector["joins"].items()))})
    here = Transcript.begin(**names, offer=vector["offer"], joins=list(vector["joins"].items()))
    assert vector["h0"] == h0.hex() == here.h0.hex()
    cohort, mac = vector["cohort"], vector["state_mac"]
    h1 = other.transcript_hash({**names, "running": h0.hex(), "cohort": cohort, "step": 1, "state": mac})
    assert vector["h1"] == h1.hex() == here.at(1, cohort, mac).hex()
    headers = sorted(vector["headers"].items())
    value = {"status": "summed", "manifest": list(map(list, headers)), "sum": vector["sum"]}
    summed = other.transcript_hash({**value, "running": h0.hex(), "step": 1})
    after = here.after(1, "summed", headers, vector["sum"])
    assert vector["after_summed"] == summed.hex() == after.running.hex()
    value = {"status": "abandoned", "manifest": [], "sum": ""}
    lost = other.transcript_hash({**value, "running": summed.hex(), "step": 2})
    assert vector["after_abandoned"] == lost.hex() == after.after(2, "abandoned", (), "").running.hex()


def test_manifest() -> None:
    vector = VECTORS["manifest"]
    seeds = {site: bytes.fromhex(text) for site, text in vector["seeds"].items()}
    here = Manifest(tuple(SeedList(site, data) for site, data in seeds.items())).digest
    assert vector["digest"] == here == other.manifest_digest(seeds)


def test_message() -> None:
    vector = VECTORS["message"]
    data, key = bytes.fromhex(vector["bytes"]), bytes.fromhex(vector["public_key"])
    header, parts = other.read_message(data, key)
    message = SignedMessage.from_bytes(data)
    message.verify(PublicKey(key))
    assert message.header.model_dump(mode="json") == header
    assert set(header["body"]) == set(Frame.model_fields)  # type: ignore[arg-type]  # a mapping, as the next line shows
    assert message.header_bytes.decode() == vector["header"]
    assert {"frame": message.part("frame")} == parts
    assert parts["frame"].hex() == VECTORS["frames"][0]["share"]
    assert message.detached().hex() == vector["detached"]
    assert message.digest == vector["digest"] == other.digest(vector["header"].encode())


def test_the_page_has_the_numbers_of_the_program() -> None:
    assert f"| q | {PRIME} =" in PAGE and f"| N | {RING_DEGREE}," in PAGE
    assert f"| 3 to {MAXIMUM_SITES} with t = 2^48; 3 to {MANY_SITES} with t = 2^46, of which a study may" in PAGE
    assert f"a study may have {MOST_SITES} |" in PAGE
    assert (other.Q, other.N) == (PRIME, RING_DEGREE)
    for name, preset in PRESETS.items():
        rotated = "yes" if preset.rotated else "no"
        assert f"| `{name}` | {preset.fields} | {preset.width} | {rotated} | 2^{preset.plain_bits} |" in PAGE
