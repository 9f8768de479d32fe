"""Opening one step's sum at a site: by seed manifest, signers = exactly the step's cohort, one sum per step, once.

The coordinator forwards the sum of the c0 halves and, for each signer, the signed header and the seeds. The site counts
the signers itself and expands c1 from their seeds, so a crafted "aggregate" does not decrypt to anything
(tests/attacks/test_crafted_aggregate.py). Nothing about a failure travels back but a code.

Order of calls: ``open_previous`` once per outcome message; the caller saves the state before it answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...governance.canonical import digest_bytes
from ...governance.provenance.provenance import StepPart
from ...governance.signing.roster import Roster
from ...privacy.accounting.plan import Plan
from ...privacy.encryption import frame
from ...privacy.encryption.manifest import Manifest, SeedList
from ...privacy.encryption.presets import PRESETS
from ...privacy.keys.decrypt import StepSecret, open_sum
from ..errors import ProtocolError
from ..messages import Finish, Frame, LedgerHeadSeen, SignedMessage, Step
from .state import RunState

PIECE = 1 << 16  # coordinates looked at a time: the sum is not doubled in memory to be measured
# In lengths of the noise. A field has room for 7 deviations, so garbage in it is 4 times as long as the noise; what is
# only too much noise is for an audit to name (core/pilot/deep.py).
NOISE_FACTOR = 2
NOISE_DEVIATIONS = 7  # how far the length of the noise may lie above its deviation times √d: below e^-24 a step


@dataclass(frozen=True)
class SignedFrame:
    """One signer's frame header, verified: its body, and the digest of what was signed."""

    body: Frame
    digest: str


def open_previous(
    message: SignedMessage,
    state: RunState,
    *,
    plan: Plan,
    roster: Roster,
    site: str,
    remember: Callable[[Mapping[str, LedgerHeadSeen]], None],
) -> np.ndarray | None:
    """The opened integer sum (int64, shape (d,)) of the step before, or None when it was abandoned.

    Advances ``state.transcript``. ``remember`` keeps the signers' ledger heads. Raises ``ProtocolError`` for every
    outcome that is not exactly this step's; after SUM_OUT_OF_BOUNDS nothing of the step can be opened any more.
    """
    body = message.body
    if not isinstance(body, Step | Finish):
        raise ProtocolError("MESSAGE_UNEXPECTED", f"a {body.kind} message carries no outcome")
    step = state.step
    # 1. an outcome is due exactly when a step is open
    if body.previous == "none":
        if step != 0:
            raise ProtocolError("OUTCOME_MISSING", f"the outcome of step {step} is missing")
        return None
    if step == 0:
        raise ProtocolError("OUTCOME_UNEXPECTED", "an outcome came before the first step")
    if body.previous == "abandoned":
        state.transcript = state.transcript.after(step, "abandoned", (), "")
        state.abandoned += 1
        state.history.append(StepPart(step=step, cohort=state.step_cohort, outcome="abandoned", sum=None))
        return None
    # 2. the signers are exactly this step's cohort, in order, and this site is one of them
    if body.signers != state.step_cohort:
        raise ProtocolError("COHORT_DIFFERS", f"the signers of step {step} are not its cohort")
    if site not in body.signers or not state.step_sealed:
        raise ProtocolError("NOT_A_SIGNER", f"this site did not seal step {step}")
    # 3. every header is signed by its site, for this run, step, transcript and key
    frames = _signed_frames(message, body.signers, state, roster=roster)
    manifest = _seed_manifest(message, frames)
    # 4. behind the signers stand enough organisations: who holds two of the sites subtracts both
    if not enough_controllers(body.signers, plan, roster):
        raise ProtocolError("CONTROLLERS_TOO_FEW", f"too few organisations stand behind the signers of step {step}")
    # 5. the sum has the form of a sum
    preset = PRESETS[plan.preset]
    data = message.part("sum")
    c0_sum = frame.decode_sum(data, preset=preset, dimension=plan.dimension)
    remember({signer: signed.body.head for signer, signed in frames.items()})
    # 6. open, under the key of this transcript; once, whatever comes of it: a second sum would be the sender's choice
    if state.opened_step == step:
        raise ProtocolError("OPENED_ALREADY", f"a sum of step {step} was opened before; there is one sum a step")
    state.opened_step = step
    secret = StepSecret.derive(state.secret(), state.step_transcript)
    try:
        opened = open_sum(c0_sum, manifest, preset, plan.dimension, secret=secret)
    finally:
        secret.wipe()
    # 7. a public bound: a wrong key or an overflow would otherwise be applied as an update
    if _rms(opened) > rms_bound(plan, len(body.signers)):
        raise ProtocolError("SUM_OUT_OF_BOUNDS", f"the sum of step {step} is larger than the plan allows")
    total = digest_bytes(data)
    headers = tuple((signer, signed.digest) for signer, signed in frames.items())
    state.transcript = state.transcript.after(step, "summed", headers, total)
    state.completed += 1
    state.history.append(StepPart(step=step, cohort=state.step_cohort, outcome="completed", sum=total))
    return opened


def enough_controllers(cohort: Sequence[str], plan: Plan, roster: Roster) -> bool:
    """Whether ``cohort`` (site ids) counts as the plan's minimum when sites under one controller count once."""
    return roster.distinct_controllers(cohort) >= plan.minimum_sites


def rms_bound(plan: Plan, cohort: int) -> float:
    """Public bound on the root mean square of an opened sum, in grid units.

    n subjects of norm at most C_grid give rms n·C_grid/√d. The shares add √(cohort·s²)·(1 + 7/√d) at most: a sum of
    discrete Gaussians is sub-Gaussian, and of such a vector P(‖x‖ > σ(√d + √(2t))) ≤ e^−t (Hsu, Kakade, Zhang 2012).

    What opens under a wrong key has rms 2^(w−1)/√3. Seven deviations at every coordinate at once would let it pass
    where a field holds hardly more than noise (3x16-rotated).
    """
    clean = plan.expected_sample * math.sqrt(plan.grid_bound_squared) / math.sqrt(plan.dimension)
    deviation = math.sqrt(cohort * plan.share_variance(cohort))
    return clean + deviation * (NOISE_FACTOR + NOISE_DEVIATIONS / math.sqrt(plan.dimension))


def _rms(values: np.ndarray) -> float:
    pieces = (values[start : start + PIECE].astype(np.float64) for start in range(0, values.size, PIECE))
    return math.sqrt(sum(float(np.add.reduce(piece * piece)) for piece in pieces) / values.size)


def _signed_frames(
    message: SignedMessage, signers: tuple[str, ...], state: RunState, *, roster: Roster
) -> dict[str, SignedFrame]:
    frames: dict[str, SignedFrame] = {}
    for signer in signers:
        header = SignedMessage.from_bytes(message.part(f"header:{signer}"), detached=True)
        header.verify(roster.party(signer).key)
        body = header.body
        if not isinstance(body, Frame) or not header.is_from(signer, study=message.header.study, run=state.run):
            raise ProtocolError("MANIFEST_FOREIGN", f"the header listed for '{signer}' is not its frame of this run")
        if body.step != state.step or body.transcript != state.step_transcript.hex():
            raise ProtocolError("MANIFEST_REPLAYED", f"the frame of '{signer}' belongs to another step or view")
        if body.key_check != state.secret().key_check(state.step_transcript):
            raise ProtocolError("KEY_CHECK_DIFFERS", f"'{signer}' sealed under another key")
        frames[signer] = SignedFrame(body, header.digest)
    return frames


def _seed_manifest(message: SignedMessage, frames: Mapping[str, SignedFrame]) -> Manifest:
    lists = []
    for signer, signed in frames.items():
        seeds = SeedList(site=signer, seeds=message.part(f"seeds:{signer}"))
        if frame.seeds_digest(seeds) != signed.body.seeds:
            raise ProtocolError("SEEDS_SWAPPED", f"the seeds listed for '{signer}' are not the ones it signed")
        lists.append(seeds)
    return Manifest(lists=tuple(lists))
