"""A coordinator that guesses the model: can it tell a right guess by anything that it has seen?

It knows every public input of the transcript and can recompute all but one: the model state enters as a MAC under the
run secret. The attacker below tries its guesses on every digest-like text that it received and on every transcript that
sites signed. Where the state entered as a plain digest (the control), it is right every time.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from sekisho.core.messages import Ready, SignedMessage, Step
from sekisho.core.site.state import RunState, Transcript
from sekisho.governance.canonical import digest_bytes

from ..federation.study_folder import SITES
from .hostile import Attack, attack

STEPS = 3
HEX = re.compile(rb"[0-9a-f]{64}")


class Seen:
    """All that the coordinator sent and received, and the model after each step, which it did not."""

    def __init__(self, ongoing: Attack, models: Mapping[int, str]) -> None:
        self.models = dict(models)
        self.posted = [SignedMessage.from_bytes(data) for _, data in ongoing.channel.posted]
        self.received = [SignedMessage.from_bytes(data) for _, data in ongoing.channel.received]
        self.roster = ongoing.federation.roster.fingerprint

    def texts(self) -> set[str]:
        """Every run of 64 hex digits in what was received."""
        return {text.decode() for message in self.received for text in HEX.findall(message.header_bytes)}

    def start(self) -> Transcript:
        """H0, from the joins that passed through its hands."""
        offer = next(message for message in self.posted if message.body.kind == "offer")
        joins = {message.header.sender: message.digest for message in self.received if message.body.kind == "join"}
        return Transcript.begin(
            run=offer.header.run, roster=self.roster, offer=offer.digest, joins=sorted(joins.items())
        )

    def steps(self) -> dict[int, Step]:
        return {message.body.step: message.body for message in self.posted if isinstance(message.body, Step)}

    def transcripts(self, step: int) -> set[str]:
        """What sites said that they stand at."""
        bodies = (message.body for message in self.received)
        return {body.transcript for body in bodies if isinstance(body, Ready) and body.step == step}

    def after(self, transcript: Transcript, step: int) -> Transcript:
        frames = [message for message in self.received if getattr(message.body, "step", 0) == step]
        headers = sorted((one.header.sender, one.digest) for one in frames if one.body.kind == "frame")
        outcome = next(one for one in self.posted if isinstance(one.body, Step) and one.body.step == step + 1)
        return transcript.after(step, "summed", headers, digest_bytes(outcome.part("sum")))


def confirmed(seen: Seen) -> set[int]:
    """After which steps a right guess of the model can be told from a wrong one."""
    found = set()
    texts = seen.texts()
    transcript = seen.start()
    for step, body in sorted(seen.steps().items()):
        guess = seen.models[step - 1]
        bare = guess.removeprefix("sha256:")
        variants = {bare, hashlib.sha256(bare.encode()).hexdigest(), hashlib.sha256(guess.encode()).hexdigest()}
        stands_at = {transcript.at(step, body.cohort, form).hex() for form in (guess, bare)}
        if variants & texts or stands_at & seen.transcripts(step):
            found.add(step - 1)
        if step < STEPS:
            transcript = seen.after(transcript, step)
    if seen.models[STEPS].removeprefix("sha256:") in texts:
        found.add(STEPS)
    return found


def watched(study: Path) -> Seen:
    models: dict[int, str] = {}

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == SITES[0] and message.body.kind == "readies":
            state = ongoing.federation.sites[site].state
            assert state is not None
            models[message.body.step - 1] = state.optimizer.digest()
        return None

    with attack(study, change) as ongoing:
        assert ongoing.result is not None and ongoing.result.state_macs_agree
        state = ongoing.federation.sites[SITES[0]].state
        assert state is not None
        models[STEPS] = state.optimizer.digest()
        return Seen(ongoing, models)


def test_a_guessed_model_cannot_be_confirmed_by_what_a_coordinator_sees(study: Path) -> None:
    seen = watched(study)
    assert len(set(seen.models.values())) == STEPS + 1
    assert confirmed(seen) == set()


def test_control_a_plain_state_digest_confirms_every_guess(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunState, "state_mac", lambda state: state.optimizer.digest().removeprefix("sha256:"))
    assert confirmed(watched(study)) == set(range(STEPS + 1))


def test_control_a_digest_that_enters_the_transcript_alone_confirms_guesses_too(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if only what is sent in the clear were keyed: H_t is public, and everything else in it is known.
    keyed, at = RunState.state_mac, Transcript.at
    digests: dict[str, str] = {}

    def noted(state: RunState) -> str:
        mac = keyed(state)
        digests[mac] = state.optimizer.digest()
        return mac

    monkeypatch.setattr(RunState, "state_mac", noted)
    with monkeypatch.context() as patch:
        patch.setattr(
            Transcript, "at", lambda transcript, step, cohort, mac: at(transcript, step, cohort, digests[mac])
        )
        seen = watched(Path(shutil.copytree(study, tmp_path / "again")))
    assert confirmed(seen) == set(range(STEPS))
