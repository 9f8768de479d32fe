"""Everything the coordinator received in a run, searched for updates, sums and differences between steps.

The run is real; the truth is noted at the gate's own entrance. Every control removes a protection inside the test and
is judged by the very same function (``eavesdropper.alarms``): a detector that cannot fail shows nothing.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.core.data.dataset import Dataset
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.gate.gate import Gate
from sekisho.core.gate.sealed import Sealed
from sekisho.core.messages import Frame, SignedMessage
from sekisho.core.training.adapter import Adapter
from sekisho.core.training.update import Update
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.encryption import bfv, frame
from sekisho.privacy.encryption.packing import pack
from sekisho.privacy.encryption.presets import PRESETS, Preset
from sekisho.privacy.keys.masks import step_mask
from sekisho.privacy.keys.runkeys import RunSecret
from sekisho.privacy.keys.secretkey import StepSecret
from sekisho.privacy.mechanism.mechanism import add_share
from sekisho.privacy.mechanism.randomness import SecretStream

from ..federation import study_folder
from ..federation.books import open_federation
from ..federation.channels import Recording
from ..federation.study_folder import SITES
from .eavesdropper import FALSE_ALARM, Key, View, alarms

STEPS = 6
TESTS = 11  # how many tests one look makes
IN_SUMS = {"bytes of sums", "sum, in sums of frames"}

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]


class DenseFeatures:
    """Rows of length one with weight everywhere; texts of one opinion lean one way, so that updates are large."""

    width = 383

    def of(self, texts: Iterable[str]) -> NDArray[np.float64]:
        rows = [self._direction(text.split()[0]) + self._direction(text) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows]).reshape(-1, self.width)

    def _direction(self, text: str) -> NDArray[np.float64]:
        return np.random.default_rng(list(text.encode())).normal(size=self.width)


@dataclass
class Truth:
    """What only sites know: their clipped integer sums and keys in each step, and every digest of their states."""

    updates: dict[Key, Integers] = field(default_factory=dict)
    transcripts: dict[Key, bytes] = field(default_factory=dict)
    pair_keys: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    run_secret: bytes = b""
    state_digests: set[str] = field(default_factory=set)
    private_words: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Run:
    """One whole run: what the coordinator received, and what it must not have learned."""

    received: tuple[tuple[str, bytes], ...]
    truth: Truth
    plan: Plan

    @property
    def preset(self) -> Preset:
        return PRESETS[self.plan.preset]

    def messages(self) -> list[SignedMessage]:
        return [SignedMessage.from_bytes(data) for _, data in self.received]

    def view(self) -> View:
        """The words of all frames, as the coordinator decodes them."""
        words = {}
        for message in self.messages():
            if isinstance(message.body, Frame):
                sent = frame.decode(message.part("frame"), preset=self.preset, dimension=self.plan.dimension)
                words[message.header.sender, message.body.step] = sent.c0
        assert set(words) == {(site, step) for site in SITES for step in range(1, STEPS + 1)}
        return View(words, self.preset.modulus, self.preset, self.plan.dimension)

    # -- what the controls are made of -----------------------------------------------------------------------------

    def rebuilt(self, make: Callable[[Key, Words], Words], *, modulus: int, noise: bool = True) -> View:
        """The same dump with frames made by ``make`` from the packed, unmasked words of each site and step."""
        words = {key: make(key, self.packed(key, noise=noise)) for key in self.truth.updates}
        return View(words, modulus, self.preset, self.plan.dimension)

    def packed(self, key: Key, *, noise: bool) -> Words:
        values = self.truth.updates[key]
        if noise:
            values = add_share(values, self.plan, cohort=len(SITES), step=key[1], stream=SecretStream()).values
        return pack(values, self.preset)

    def mask(self, key: Key, step: int | None = None) -> Words:
        """The mask that this site really used in this step (or in ``step``)."""
        site = key[0]
        transcript = self.truth.transcripts[site, step or key[1]]
        return step_mask(
            site, self.truth.pair_keys[site], SITES, transcript, self.preset.words(self.plan.dimension), self.preset
        )

    def key(self, key: Key) -> StepSecret:
        """The secret key of this step, which every site holds and the coordinator does not."""
        return StepSecret.derive(RunSecret(self.truth.run_secret), self.truth.transcripts[key])

    def scaled(self, words: Words) -> Words:
        """c0 of a ciphertext without encryption: round(q/t · m)."""
        q, t = self.preset.modulus, 1 << self.preset.plain_bits
        return np.array([(int(word) * q + t // 2) // t for word in words], dtype=np.uint64)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    study = study_folder.build(tmp_path_factory.mktemp("view") / "study", steps=STEPS, allowance=1)
    # sampled by halves, so that a site's update is another one in each step
    study_folder.change(study / "study.yaml", 'sampling_rate: "1"', 'sampling_rate: "0.5"')
    study_folder.sign_study(study)
    truth, channels = Truth(), []
    disclose = Gate.disclose

    def noted(gate: Gate, update: Update, **named: Any) -> Sealed:
        context = named["context"]
        sealed = disclose(gate, update, **named)
        key = (sealed.message.header.sender, context.step)
        truth.updates[key], truth.transcripts[key] = update.clipped.total.copy(), context.transcript
        truth.pair_keys[key[0]], truth.run_secret = dict(context.pair_keys), context.run_secret.to_bytes()
        return sealed

    def wrap(channel: EmbeddedChannel) -> Recording:
        channels.append(Recording(channel))
        return channels[0]

    def progress(stage: str, done: int, total: int) -> None:
        truth.state_digests |= {site.state.optimizer.digest() for site in federation.sites.values() if site.state}

    federation = open_federation(study, wrap, features=DenseFeatures(), progress=progress)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gate, "disclose", noted)
        result = federation.run("probe")
    assert result.state.completed == STEPS and result.state_macs_agree
    for name, site in federation.sites.items():
        assert site.state is not None
        truth.state_digests |= {site.state.optimizer.digest(), Adapter.for_probe(site.state.optimizer.vector).digest}
        truth.state_digests.add(site.folder.dataset_digest())
        records = Dataset.load(study / "sites" / name / "records.jsonl.gz", labels=site.folder.study.labels).records
        for record in (record for of_subject in records.values() for record in of_subject):
            truth.private_words |= {record.id, record.subject, record.text, record.label, *record.text.split()} - {name}
            truth.state_digests.add("sha256:" + site.folder.subject_key.fingerprint(record.subject).hex())
    yield Run(tuple(channels[0].received), truth, result.plan)
    federation.close()


# -- the promise -----------------------------------------------------------------------------------------------------


def test_nothing_of_updates_sums_or_differences_shows_in_what_the_coordinator_received(run: Run) -> None:
    # false alarm: once in a million runs (FALSE_ALARM)
    assert all(update.any() for update in run.truth.updates.values())
    assert alarms(run.view(), run.truth.updates) == {}


def test_a_site_that_opens_every_frame_for_the_coordinator_shows_it_the_sums_and_nothing_else(run: Run) -> None:
    # The coordinator and one site together: the site's key takes the encryption off, the masks stay. That the sums do
    # raise the alarm is a control on real bytes: every site opens them, that is what it takes part for.
    received = {
        (message.header.sender, message.body.step): frame.decode(
            message.part("frame"), preset=run.preset, dimension=run.plan.dimension
        )
        for message in run.messages()
        if isinstance(message.body, Frame)
    }
    opened = {
        key: bfv.open_words(sent.c0, [sent.seeds], run.preset, run.key(key).use()) for key, sent in received.items()
    }
    masked = View(opened, 1 << run.preset.plain_bits, run.preset, run.plan.dimension)
    assert set(alarms(masked, run.truth.updates)) == IN_SUMS


def test_seeds_of_all_frames_are_fresh(run: Run) -> None:
    seeds = [
        frame.decode(message.part("frame"), preset=run.preset, dimension=run.plan.dimension).seeds
        for message in run.messages()
        if isinstance(message.body, Frame)
    ]
    assert len(set(seeds)) == len(seeds) == STEPS * len(SITES)
    assert {len(one) for one in seeds} == {64}


# -- controls: each takes a protection away, and the same function must see it ---------------------------------------


def test_control_words_in_the_clear_raise_the_alarm(run: Run) -> None:
    view = run.rebuilt(lambda key, words: words, modulus=run.preset.modulus)
    assert {"bytes of words", "bits of words"} <= set(alarms(view, run.truth.updates))


def test_control_without_masks_and_encryption_the_noised_values_raise_the_alarm(run: Run) -> None:
    view = run.rebuilt(lambda key, words: run.scaled(words), modulus=run.preset.modulus)
    assert {
        "bytes of words",
        "bytes of differences between steps",
        "bytes of sums",
        "sizes of fields",
        "own update",
        "sum, in single frames",
        "sum, in sums of frames",
    } <= set(alarms(view, run.truth.updates))


def test_control_without_masks_encryption_and_noise_every_single_test_raises_the_alarm(run: Run) -> None:
    view = run.rebuilt(lambda key, words: run.scaled(words), modulus=run.preset.modulus, noise=False)
    found = alarms(view, run.truth.updates)
    # a rotated update is as often below zero as above, so its single bits may look even; one that is stuck does not
    stuck = run.rebuilt(lambda key, words: run.scaled(words) | np.uint64(1 << 20), modulus=run.preset.modulus)
    assert run.preset.rotated
    assert len(found.keys() | (alarms(stuck, run.truth.updates).keys() & {"bits of words"})) == TESTS


@pytest.mark.parametrize("noise", [True, False], ids=["noised", "without noise"])
def test_control_without_masks_a_key_that_is_known_raises_the_alarm(run: Run, noise: bool) -> None:
    def known(key: Key, words: Words) -> Words:
        secret = run.key(key).use()
        c0, seeds = bfv.encrypt_words(words, run.preset, secret)
        return bfv.open_words(c0, [seeds], run.preset, secret)

    view = run.rebuilt(known, modulus=1 << run.preset.plain_bits, noise=noise)
    assert {"own update", "sum, in single frames", "bytes of words"} <= set(alarms(view, run.truth.updates))


def test_control_without_encryption_the_masks_hide_single_sites_and_the_sums_raise_the_alarm(run: Run) -> None:
    modulus = 1 << run.preset.plain_bits
    view = run.rebuilt(lambda key, words: (words + run.mask(key)) % np.uint64(modulus), modulus=modulus)
    assert set(alarms(view, run.truth.updates)) == IN_SUMS


@pytest.mark.parametrize("noise", [True, False], ids=["noised", "without noise"])
def test_control_one_mask_for_all_steps_shows_in_their_differences(run: Run, noise: bool) -> None:
    modulus = 1 << run.preset.plain_bits
    view = run.rebuilt(
        lambda key, words: (words + run.mask(key, step=1)) % np.uint64(modulus), modulus=modulus, noise=noise
    )
    raised = set(alarms(view, run.truth.updates))
    assert "bytes of differences between steps" in raised
    # how one update differs from the next is below the noise, which is what noise is for
    assert noise or "differences between steps" in raised


def test_control_an_update_in_another_sites_frame_raises_the_alarm(run: Run) -> None:
    # what one site sends is its neighbour's update: a test that compared each frame with its own site would miss it
    follows = dict(zip(SITES, (*SITES[1:], SITES[0]), strict=True))
    words = {(follows[site], step): run.packed((site, step), noise=False) for site, step in run.truth.updates}
    view = View(words, 1 << run.preset.plain_bits, run.preset, run.plan.dimension)
    assert "one update of another site" in alarms(view, run.truth.updates)


def test_encryption_alone_hides_everything_from_those_without_the_key(run: Run) -> None:
    # not a control but the other layer by itself: no masks, and still nothing shows without the key
    view = run.rebuilt(
        lambda key, words: bfv.encrypt_words(words, run.preset, run.key(key).use())[0], modulus=run.preset.modulus
    )
    assert alarms(view, run.truth.updates) == {}


def test_uniform_words_raise_an_alarm_no_more_often_than_said(run: Run) -> None:
    # 20 looks at true randomness; at the stated probability even one alarm is a 1 in 50,000 event
    assert FALSE_ALARM <= 1e-6
    for seed in range(20):
        rng = np.random.default_rng(seed)
        words = {
            key: rng.integers(0, run.preset.modulus, run.preset.words(run.plan.dimension), dtype=np.uint64)
            for key in run.truth.updates
        }
        assert alarms(View(words, run.preset.modulus, run.preset, run.plan.dimension), run.truth.updates) == {}


# -- words -----------------------------------------------------------------------------------------------------------


LONG = 8  # characters: so many given ones of random base64 stand there once in 10^14


def found(dump: Iterable[bytes], needles: Iterable[bytes]) -> set[bytes]:
    """The needles that stand in the dump: as bytes, as hex, or in base64 at any offset.

    Short words only by themselves, and not in base64: of some 18,000 random characters four given ones are among them
    in one run of fifty.
    """
    whole = b"\x00".join(dump)
    decoded = whole + b"\x00" + b"\x00".join(_hex_strings(whole))
    return {needle for needle in needles if any(_stands(form, decoded) for form in _forms(needle))}


def _stands(form: bytes, data: bytes) -> bool:
    if len(form) >= LONG:
        return form in data
    return re.search(rb"(?<![A-Za-z0-9+/])" + re.escape(form) + rb"(?![A-Za-z0-9+/=])", data) is not None


def _forms(needle: bytes) -> Iterator[bytes]:
    yield needle
    yield needle.hex().encode()
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + needle + b"\0" * ((-len(needle) - shift) % 3))
        piece = coded[4 if shift else 0 : len(coded) - 4 if (len(needle) + shift) % 3 else None]
        if len(piece) >= LONG:
            yield piece


def _hex_strings(data: bytes) -> Iterator[bytes]:
    for piece in data.split(b'"'):
        try:
            yield bytes.fromhex(piece.decode("ascii"))
        except ValueError:
            continue


def test_no_record_subject_label_or_plain_digest_is_in_the_dump(run: Run) -> None:
    dump = [data for _, data in run.received]
    words = {word.encode() for word in run.truth.private_words}
    digests = {bytes.fromhex(digest.removeprefix("sha256:")) for digest in run.truth.state_digests}
    assert len(words) > 300 and len(digests) > STEPS
    assert found(dump, words | digests) == set()
    # control: each of these, hidden in one more message, is found
    for needle in (*sorted(words)[:3], *sorted(digests)[:3]):
        for hidden in (needle, needle.hex().encode(), base64.b64encode(b"x" + needle + b"y")):
            assert found([*dump[:5], b"some " + hidden + b" more"], {needle}) == {needle}


def test_the_only_numbers_in_the_clear_are_places_lengths_and_ledger_entries(run: Run) -> None:
    # no count of records, subjects, labels or samples has a field to stand in
    named: dict[str, set[int]] = {}
    for message in run.messages():
        for name, number in numbers(json.loads(message.header_bytes)):
            named.setdefault(name, set()).add(number)
    lengths = named.pop("length")
    assert set(named) == {"version", "step", "entries", "number"}
    assert named["step"] == set(range(1, STEPS + 1)) and named["version"] == {2}
    assert named["number"] == set(range(1, STEPS + 3))  # a join, a kem and a ready a step show the site's log
    # one length for all frames of all sites, whatever they hold
    assert len(lengths) == 1


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Every number of a JSON value with the name it stands under."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value
