"""One site of a real run at the moment when the outcome of a step is due: others can be tried on a copy of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sekisho.core.messages import SignedMessage, sign_message
from sekisho.core.pilot.federation import Federation
from sekisho.core.site import opening
from sekisho.core.site.state import RunState
from sekisho.governance.signing.keys import demo_key
from sekisho.governance.signing.roster import Roster
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.encryption import frame
from sekisho.privacy.encryption.ciphertext import Ciphertext
from sekisho.privacy.encryption.presets import PRESETS, Preset
from sekisho.privacy.keys.runkeys import RunSecret
from sekisho.privacy.keys.secretkey import StepSecret

from .hostile import Attack, attack, parts_of

SITE, STEP = "hana", 2


@dataclass(frozen=True)
class Outcome:
    """The outcome of step 2 as ``site`` is to open it, the frames that went into it, and every site's keys then."""

    message: SignedMessage
    state: RunState
    secret: bytes
    plan: Plan
    roster: Roster
    site: str = SITE
    frames: dict[str, Ciphertext] = field(default_factory=dict)
    pair_keys: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, bytes]:
        """The honest parts: ``sum``, and for each signer ``header:`` and ``seeds:``."""
        return parts_of(self.message)

    @property
    def preset(self) -> Preset:
        return PRESETS[self.plan.preset]

    def step_secret(self) -> StepSecret:
        """The key of the step, which every site holds and the coordinator does not."""
        return StepSecret.derive(RunSecret(self.secret), self.state.step_transcript)

    def with_sum(self, words: NDArray[np.uint64]) -> dict[str, bytes]:
        """The honest parts with another sum."""
        return {**self.parts, "sum": frame.encode_sum(words, self.preset, self.plan.dimension)}

    def open(
        self,
        parts: dict[str, bytes] | None = None,
        *,
        roster: Roster | None = None,
        signers: tuple[str, ...] | None = None,
        cohort: tuple[str, ...] | None = None,
    ) -> NDArray[np.int64]:
        """What a copy of the site opens, which takes ``cohort`` for the step's. Raises what the site raises."""
        there = self.state
        state = replace(there, run_secret=RunSecret(self.secret), history=[], step_cohort=cohort or there.step_cohort)
        names = {"study": self.message.header.study, "run": self.message.header.run, "sender": "coordinator"}
        body = self.message.body.model_copy(update={} if signers is None else {"signers": signers})
        message = sign_message(
            body, **names, key=demo_key("coordinator"), parts=self.parts if parts is None else parts
        )
        opened = opening.open_previous(
            message,
            state,
            plan=self.plan,
            roster=roster or self.roster,
            site=self.site,
            remember=lambda heads: None,
            openings=opening.Openings(),
        )
        assert opened is not None
        return opened


def record(study: Path) -> Outcome:
    """Run ``study`` honestly to its end, and keep what there was when the sum of step 2 came back."""
    found: list[Outcome] = []

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == SITE and message.body.kind == "step" and message.body.step == STEP + 1:
            found.append(_noted(message, ongoing))
        return None

    with attack(study, change) as ongoing:
        assert ongoing.result is not None
    return found[0]


def _noted(message: SignedMessage, ongoing: Attack) -> Outcome:
    federation: Federation = ongoing.federation
    there = federation.sites[SITE]
    assert there.state is not None and there.tools is not None
    plan = there.tools.plan
    preset = PRESETS[plan.preset]
    frames = {
        site: frame.decode(
            ongoing.sent_by(site, "frame")[STEP - 1].part("frame"), preset=preset, dimension=plan.dimension
        )
        for site in federation.sites
    }
    pair_keys = {name: dict(site.state.pair_keys) for name, site in federation.sites.items() if site.state}
    secret = there.state.secret().to_bytes()
    state = replace(there.state, pair_keys={}, run_secret=None)
    return Outcome(message, state, secret, plan, there.folder.roster, SITE, frames, pair_keys)
