"""One step sealed twice, or for two cohorts: two frames under one mask subtract, and a key holder reads the difference.

A site seals a step once. Here its keys live in memory and end with the process, so neither a site that starts again nor
a copy of its folder can seal the step anew; the sealed bytes are kept and sent again unchanged. Where an agent goes on
with runs, the ledger says so (tests/federation/test_site_resumes.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.core.errors import CoreError
from sekisho.core.messages import SignedMessage
from sekisho.core.site import step
from sekisho.core.site.site import Site
from sekisho.core.training.training import TrainingData
from sekisho.privacy.accounting.ledger import Ledger
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.encryption import bfv, frame
from sekisho.privacy.encryption.packing import unpack
from sekisho.privacy.encryption.presets import PRESETS
from sekisho.privacy.keys.runkeys import RunSecret
from sekisho.privacy.keys.secretkey import StepSecret

from ..federation import study_folder
from ..federation.books import Spent, books, entries, open_federation, spent
from ..federation.study_folder import SITES
from .hostile import Answer, Attack, attack, parts_of, resigned

VICTIM = "hana"
SMALLER = tuple(site for site in SITES if site != "yuki")

Integers = NDArray[np.int64]


@pytest.fixture
def killed(study: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """A study in which everybody was killed after sealing step 2, and the coordinator's messages of that step."""
    sent: list[bytes] = []

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and getattr(message.body, "step", 0) == 2:
            sent.append(message.to_bytes())
        if site == VICTIM and getattr(message.body, "step", 0) == 3:
            raise KeyboardInterrupt
        return None

    with pytest.raises(KeyboardInterrupt), attack(study, change):
        pass
    yield study, sent


def answers(site: Site, messages: list[bytes]) -> list[str]:
    """The code with which ``site`` refuses each message."""
    codes = []
    for data in messages:
        with pytest.raises(CoreError) as refusal:
            site.handle(data)
        codes.append(refusal.value.code)
    return codes


def test_a_site_killed_and_started_again_does_not_seal_the_step_anew(killed: tuple[Path, list[bytes]]) -> None:
    study, sent = killed
    again = open_federation(study)
    try:
        assert answers(again.sites[VICTIM], sent) == ["RUN_UNKNOWN", "RUN_UNKNOWN"]
        # its run was closed when it opened: what was started stays charged
        assert spent(again.sites[VICTIM].folder.ledger) == Spent(2, 2, "closed", 2)
        assert entries(again, VICTIM, "run.stopped")[-1]["data"] == {"code": "ORPHAN_CLOSED"}
        assert len(entries(again, VICTIM, "step.disclosed")) == 2
    finally:
        again.close()


def test_a_copy_of_a_sites_folder_cannot_seal_the_step_that_the_site_seals(study: Path, tmp_path: Path) -> None:
    copies: list[list[str]] = []

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "readies" and message.body.step == 2:
            # the site stands before its second share, with everything agreed and nothing sealed
            twin = Path(shutil.copytree(study, tmp_path / "twin"))
            shown = [message.to_bytes() for kind in ("step", "readies") for message in ongoing.sent_to(VICTIM, kind)]
            other = open_federation(twin)
            try:
                copies.append(answers(other.sites[VICTIM], [*shown, message.to_bytes()]))
            finally:
                other.close()
        return None

    with attack(study, change) as ongoing:
        assert ongoing.result is not None and ongoing.result.state_macs_agree
    assert len(copies) == 1 and set(copies[0]) == {"RUN_UNKNOWN"}


def forget(patch: pytest.MonkeyPatch) -> None:
    """A ledger that was put back to the moment before the step: it knows of no share and lets another out."""
    patch.setattr(Ledger, "sealed", lambda ledger, run, number: None)
    patch.setattr(Ledger, "start", lambda ledger, run, number: None)
    patch.setattr(Ledger, "require_started", lambda ledger, run, number: None)
    patch.setattr(Ledger, "disclose", lambda ledger, run, number, sealed: None)


@dataclass
class Tried:
    """What was tried on one living site, in one run: its answers, and the difference of two frames of one step."""

    answers: dict[str, Answer] = field(default_factory=dict)
    differences: list[tuple[Integers, Integers]] = field(default_factory=list)

    def change(self, site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site != VICTIM or message.body.kind not in {"step", "readies"}:
            return None
        if (message.body.kind, message.body.step) == ("readies", 2):  # begun with all, nothing sealed
            begun = ongoing.sent_to(VICTIM, "step")[-1]
            self.answers["step again, before it is sealed"] = ongoing.aside(VICTIM, smaller(begun))
            self.answers["readies, before it is sealed"] = ongoing.aside(VICTIM, smaller(message))
        if (message.body.kind, message.body.step) == ("step", 3):  # sealed with all
            begun, readies = (ongoing.sent_to(VICTIM, kind)[-1] for kind in ("step", "readies"))
            self.answers["step again, after it was sealed"] = ongoing.aside(VICTIM, smaller(begun))
            self.answers["readies, after it was sealed"] = ongoing.aside(VICTIM, smaller(readies))
            absent = {name: None for name in parts_of(message) if name.endswith(":yuki")}
            fewer = resigned(message, body={"signers": SMALLER}, parts=absent)
            self.answers["its sum, of fewer"] = ongoing.aside(VICTIM, fewer)
            with pytest.MonkeyPatch.context() as patch:
                forget(patch)
                self.answers["readies, after the ledger was put back"] = ongoing.aside(VICTIM, readies.to_bytes())
                self.differences.append(sealed_again(readies, ongoing, patch))
        return None


def smaller(message: SignedMessage) -> bytes:
    """The same step for a smaller cohort."""
    absent = {"ready:yuki": None} if message.body.kind == "readies" else {}
    return resigned(message, body={"cohort": SMALLER}, parts=absent)


def sealed_again(readies: SignedMessage, ongoing: Attack, patch: pytest.MonkeyPatch) -> tuple[Integers, Integers]:
    """The last step once more, with the gate forgetting as the ledger does: the difference of both frames."""
    there = ongoing.federation.sites[VICTIM]
    assert there.state is not None and there.tools is not None
    patch.setattr(there.tools.gate, "_transcripts", set())

    def load() -> TrainingData:
        assert there.data is not None  # trained in this step, so it is there
        return there.data

    first = ongoing.sent_by(VICTIM, "frame")[-1]
    second = step.take(readies, replace(there.state), there.tools, load).message
    return subtracted(first, second, there.state.secret(), there.state.step_transcript, there.tools.plan)


def subtracted(
    first: SignedMessage, second: SignedMessage, secret: RunSecret, transcript: bytes, plan: Plan
) -> tuple[Integers, Integers]:
    """The difference of two frames as the coordinator sees it, and as a site that holds the step's key does."""
    preset = PRESETS[plan.preset]
    one, other = (
        frame.decode(message.part("frame"), preset=preset, dimension=plan.dimension) for message in (first, second)
    )
    assert one.seeds != other.seeds
    plain = 1 << preset.plain_bits
    halves = (one.c0.astype(object) - other.c0.astype(object)) % preset.modulus
    seen = np.array([(int(half) * plain + preset.modulus // 2) // preset.modulus % plain for half in halves], np.uint64)
    key = StepSecret.derive(secret, transcript).use()
    words = [bfv.open_words(sealed.c0, [sealed.seeds], preset, key) for sealed in (one, other)]
    bare = (words[0] - words[1]) & np.uint64(preset.plain_mask)
    return unpack(seen, preset, plan.dimension), unpack(bare, preset, plan.dimension)


@pytest.fixture(scope="module")
def tried(signed_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    study = Path(shutil.copytree(signed_study, tmp_path_factory.mktemp("tried") / "study"))
    study_folder.change(study / "study.yaml", "on_drop: stop", "on_drop: continue")
    study_folder.sign_study(study)
    found = Tried()
    with attack(study, found.change) as ongoing:
        assert ongoing.result is not None and ongoing.result.state_macs_agree
        assert books(ongoing.federation) == {site: Spent(3, 3, "closed", 3) for site in SITES}
        assert ongoing.frames() == 3 * len(SITES)
    return found


def test_a_ledger_put_back_under_a_living_site_lets_no_second_share_out(tried: Tried) -> None:
    answer = tried.answers["readies, after the ledger was put back"]
    assert (answer.code, answer.kind) == ("TRANSCRIPT_SEALED", None)


def test_control_two_frames_of_one_step_show_a_key_holder_their_difference(tried: Tried) -> None:
    """With ledger and gate both forgetting, masks cancel; encryption alone still keeps the coordinator out."""
    ((without_key, with_key),) = tried.differences
    # both frames hold one sum of gradients and a share of noise each: what is left is noise, far below a whole field
    assert np.abs(with_key).max() < 1 << 19
    assert np.abs(without_key).max() > 1 << 20


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("step again, before it is sealed", "STEP_OUT_OF_ORDER"),
        ("readies, before it is sealed", "READIES_FOREIGN"),
        ("step again, after it was sealed", "STEP_OUT_OF_ORDER"),
        ("readies, after it was sealed", "READIES_FOREIGN"),
        ("its sum, of fewer", "COHORT_DIFFERS"),
    ],
)
def test_the_same_step_under_two_cohorts(tried: Tried, name: str, code: str) -> None:
    assert tried.answers[name] == Answer(code, kind=None, moved=())


def test_control_a_step_opened_under_two_cohorts_shows_who_is_in_one_of_them(step: Any) -> None:
    # Arithmetic alone, were a step's values sealed for both: the larger sum less the smaller is the site.
    fewer = type(step)(sites=tuple(site for site in step.sites if site != "kohi"))
    fewer.values = {site: step.values[site] for site in fewer.sites}
    fewer.ciphertexts = {site: fewer.seal(site) for site in fewer.sites}
    sums = [part.open(total.c0_sum, total.manifest) for part in (step, fewer) for total in (part.aggregate(),)]
    assert (sums[0] - sums[1] == step.values["kohi"]).all()

