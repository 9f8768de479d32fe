"""One encrypted step of a small federation, and whole signed studies, for the attacks on them."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from sekisho.core.messages import SignedMessage
from sekisho.privacy.encryption.aggregation import Aggregate, Aggregator
from sekisho.privacy.encryption.ciphertext import Ciphertext
from sekisho.privacy.encryption.presets import PRESETS, Preset
from sekisho.privacy.keys.decrypt import open_sum
from sekisho.privacy.keys.encrypt import encrypt
from sekisho.privacy.keys.masks import step_mask
from sekisho.privacy.keys.runkeys import RunSecret
from sekisho.privacy.keys.secretkey import StepSecret

from ..federation import study_folder
from . import outcome
from .hostile import attack


@dataclass
class EncryptedStep:
    """What sites, coordinator and attacker hold in one step. Values are small: noise shows."""

    number: int = 1
    sites: tuple[str, ...] = ("daidokoro", "kohi", "okashi", "shokuhin", "wanko")
    preset: Preset = PRESETS["1x48"]
    dimension: int = 4096
    run_secret: bytes = bytes(range(64))
    values: dict[str, np.ndarray] = field(init=False)
    ciphertexts: dict[str, Ciphertext] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.number)
        self.values = {site: rng.integers(-1000, 1001, self.dimension) for site in self.sites}
        self.ciphertexts = {site: self.seal(site) for site in self.sites}

    @property
    def transcript(self) -> bytes:
        return hashlib.sha256(f"step {self.number}".encode()).digest()

    def secret(self, transcript: bytes | None = None) -> StepSecret:
        return StepSecret.derive(RunSecret(self.run_secret), transcript or self.transcript)

    def pair_keys(self, site: str) -> dict[str, bytes]:
        keys = {}
        for low, high in itertools.combinations(sorted(self.sites), 2):
            if site in {low, high}:
                keys[high if site == low else low] = hashlib.sha256(f"{low}|{high}".encode()).digest()
        return keys

    def mask(self, site: str, transcript: bytes | None = None) -> np.ndarray:
        words = self.preset.words(self.dimension)
        return step_mask(
            site, self.pair_keys(site), self.sites, transcript or self.transcript, words, self.preset
        )

    def seal(self, site: str, transcript: bytes | None = None) -> Ciphertext:
        return encrypt(
            self.values[site], self.preset, secret=self.secret(transcript), masks=self.mask(site, transcript)
        )

    def aggregate(self, *sites: str) -> Aggregate:
        aggregator = Aggregator(self.preset, self.dimension)
        for site in sites or self.sites:
            aggregator.add(site, self.ciphertexts[site])
        return aggregator.result()

    def open(self, c0_sum: np.ndarray, manifest, secret: StepSecret | None = None) -> np.ndarray:
        return open_sum(c0_sum, manifest, self.preset, self.dimension, secret=secret or self.secret())

    def true_sum(self, *sites: str) -> np.ndarray:
        return sum(self.values[site] for site in sites or self.sites)


@pytest.fixture(scope="session")
def step() -> EncryptedStep:
    """Step 1, five sites, sealed once."""
    return EncryptedStep()


@pytest.fixture(scope="session")
def next_step() -> EncryptedStep:
    """Step 2 of the same run."""
    return EncryptedStep(number=2)


@pytest.fixture(scope="session")
def looks_random():
    """True if an opened vector is spread over all 48 bits and follows none of the given vectors."""

    def judge(opened: np.ndarray, *followed: np.ndarray) -> bool:
        spread = np.abs(opened) > 1 << 40  # true sums are below 2^13; of uniform values 2^-7 lie below 2^40
        correlated = [abs(np.corrcoef(opened, one)[0, 1]) * np.sqrt(opened.size) for one in followed]
        return bool(spread.mean() > 0.95) and all(value < 5 for value in correlated)

    return judge


@pytest.fixture(scope="session")
def signed_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps, one may fail; the study stops at the first site that does not deliver."""
    folder = study_folder.build(tmp_path_factory.mktemp("attacked") / "study", steps=3, allowance=1)
    study_folder.change(folder / "study.yaml", "on_drop: continue", "on_drop: stop")
    study_folder.sign_study(folder)
    return folder


@pytest.fixture
def study(signed_study: Path, tmp_path: Path) -> Path:
    """A fresh copy of the signed study: nothing spent, nothing logged."""
    return Path(shutil.copytree(signed_study, tmp_path / "study"))


@dataclass(frozen=True)
class Earlier:
    """A study in which one run has ended, and every message of it."""

    study: Path
    posted: tuple[tuple[str, SignedMessage], ...]
    received: tuple[tuple[str, SignedMessage], ...]

    def sent_by(self, site: str, kind: str) -> list[SignedMessage]:
        """What ``site`` sent in the earlier run."""
        return [message for name, message in self.received if name == site and message.body.kind == kind]


@pytest.fixture(scope="session")
def earlier_run(signed_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    study = Path(shutil.copytree(signed_study, tmp_path_factory.mktemp("earlier") / "study"))
    with attack(study, lambda site, message, ongoing: None, run="earlier") as run:
        assert run.result is not None
        posted = tuple((site, SignedMessage.from_bytes(data)) for site, data in run.channel.posted)
        received = tuple((site, SignedMessage.from_bytes(data)) for site, data in run.channel.received)
    return Earlier(study, posted, received)


@pytest.fixture(scope="session")
def due(signed_study: Path, tmp_path_factory: pytest.TempPathFactory) -> outcome.Outcome:
    """A site of a real run to which the sum of step 2 is due."""
    return outcome.record(Path(shutil.copytree(signed_study, tmp_path_factory.mktemp("due") / "study")))


@pytest.fixture
def earlier(earlier_run: Earlier, tmp_path: Path) -> Earlier:
    """The earlier run and a copy of its study, to run once more."""
    return replace(earlier_run, study=Path(shutil.copytree(earlier_run.study, tmp_path / "study")))
