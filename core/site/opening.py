"""Opening one sum at a site, of a step or a count: by seed manifest, signers = exactly its cohort, one sum, once.

The coordinator forwards the sum of the c0 halves and, for each signer, the signed header and the seeds. The site counts
the signers itself and expands c1 from their seeds, so a crafted "aggregate" does not decrypt to anything
(tests/attacks/test_crafted_aggregate.py). Nothing about a failure travels back but a code.

Order of calls: ``open_previous`` once per outcome of a step (of a count: voting.py, with ``read_sum``,
``Openings.note`` and ``opened``); the caller saves the state before it answers.
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
from ..messages import Count, Finish, Frame, LedgerHeadSeen, SignedMessage, Step
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


@dataclass(frozen=True)
class Place:
    """Where a sum belongs: the number of its step or count, and the transcript and cohort that it was sealed at.

    ``sealed``: this site sealed its share there.
    """

    number: int
    transcript: bytes
    cohort: tuple[str, ...]
    sealed: bool


class Openings:
    """Which message's sum this site opens at the place that it opened last. There is one a place, for good.

    ``keep(place, message)`` makes it durable before anything is opened: a site that was killed meanwhile may open the
    same sum again, which says nothing new, and no other one. ``noted`` is what was kept before.
    """

    def __init__(
        self, keep: Callable[[str, str], None] = lambda place, message: None, noted: tuple[str, str] = ("", "")
    ) -> None:
        self._keep = keep
        self._noted = noted

    def check(self, place: str, message: str) -> None:
        """Return if nothing else was opened at ``place``. Raises ``ProtocolError`` OPENED_ALREADY."""
        if self._noted[0] == place and self._noted[1] != message:
            raise ProtocolError("OPENED_ALREADY", f"a sum of {place} was opened before; there is one sum each")

    def note(self, place: str, message: str) -> None:
        """The sum of ``message`` (digest) is about to be opened. Raises as ``check``, and where it cannot be kept."""
        self.check(place, message)
        if self._noted != (place, message):
            self._keep(place, message)
            self._noted = place, message


@dataclass(frozen=True)
class SumRead:
    """A sum that has the form of one, of exactly these signers; not opened. ``total`` is the digest of its bytes."""

    c0_sum: np.ndarray
    manifest: Manifest
    heads: Mapping[str, LedgerHeadSeen]
    headers: tuple[tuple[str, str], ...]
    total: str


def open_previous(
    message: SignedMessage,
    state: RunState,
    *,
    plan: Plan,
    roster: Roster,
    site: str,
    remember: Callable[[Mapping[str, LedgerHeadSeen]], None],
    openings: Openings,
    judged: bool = False,
) -> np.ndarray | None:
    """The opened integer sum (int64, shape (d,)) of the step before, or None when there is nothing to apply.

    Advances ``state.transcript``. ``remember`` keeps the signers' ledger heads, ``openings`` what is opened.
    ``judged``: blocks are judged in this run, so a sum outside its bound spoils the block and does not end the run.
    Raises ``ProtocolError`` for every outcome that is not exactly this step's; after SUM_OUT_OF_BOUNDS nothing of the
    step can be opened any more.
    """
    body = message.body
    if not isinstance(body, Step | Count | Finish):
        raise ProtocolError("MESSAGE_UNEXPECTED", f"a {body.kind} message carries no outcome")
    step = state.step
    # 1. an outcome is due exactly when a step is open
    if body.previous == "none":
        if state.outcome_due:
            raise ProtocolError("OUTCOME_MISSING", f"the outcome of step {step} is missing")
        return None
    if not state.outcome_due:
        raise ProtocolError("OUTCOME_UNEXPECTED", "an outcome came where no step was open")
    if body.previous == "abandoned":
        openings.check(f"step {step}", message.digest)
        state.transcript = state.transcript.after(step, "abandoned", (), "")
        state.outcome_due = False
        state.abandoned += 1
        state.history.append(StepPart(step=step, cohort=state.step_cohort, outcome="abandoned", sum=None))
        return None
    place = Place(step, state.step_transcript, state.step_cohort, state.step_sealed)
    read = read_sum(message, body.signers, place, state, plan=plan, roster=roster, site=site)
    remember(read.heads)
    # 6. open, under the key of this transcript; once, whatever comes of it: a second sum would be the sender's choice
    openings.note(f"step {step}", message.digest)
    values = opened(read, place, state, plan)
    # 7. a public bound: a wrong key or an overflow would otherwise be applied as an update
    outside = out_of_bounds(values, plan, len(body.signers))
    if outside and not judged:
        raise ProtocolError("SUM_OUT_OF_BOUNDS", f"the sum of step {step} is larger than the plan allows")
    state.spoilt |= outside
    state.transcript = state.transcript.after(step, "summed", read.headers, read.total)
    state.outcome_due = False
    state.completed += 1
    state.history.append(StepPart(step=step, cohort=state.step_cohort, outcome="completed", sum=read.total))
    return None if outside else values


def read_sum(
    message: SignedMessage,
    signers: tuple[str, ...],
    place: Place,
    state: RunState,
    *,
    plan: Plan,
    roster: Roster,
    site: str,
) -> SumRead:
    """The sum in ``message``, checked to be that of ``place`` and nothing else. Opens nothing."""
    # 2. the signers are exactly the cohort, in order, and this site is one of them
    if signers != place.cohort:
        raise ProtocolError("COHORT_DIFFERS", f"the signers of sum {place.number} are not its cohort")
    if site not in signers or not place.sealed:
        raise ProtocolError("NOT_A_SIGNER", f"this site did not seal its share of sum {place.number}")
    # 3. every header is signed by its site, for this run, step, transcript and key
    frames = _signed_frames(message, signers, place, state, roster=roster)
    manifest = _seed_manifest(message, frames)
    # 4. behind the signers stand enough organisations: who holds two of the sites subtracts both
    if not enough_controllers(signers, plan, roster):
        raise ProtocolError("CONTROLLERS_TOO_FEW", f"too few organisations stand behind sum {place.number}")
    # 5. the sum has the form of a sum
    data = message.part("sum")
    return SumRead(
        c0_sum=frame.decode_sum(data, preset=PRESETS[plan.preset], dimension=plan.dimension),
        manifest=manifest,
        heads={signer: signed.body.head for signer, signed in frames.items()},
        headers=tuple((signer, signed.digest) for signer, signed in frames.items()),
        total=digest_bytes(data),
    )


def opened(read: SumRead, place: Place, state: RunState, plan: Plan) -> np.ndarray:
    """The integers in it, int64 [d], under the key of its transcript; the caller sees to it that this happens once."""
    secret = StepSecret.derive(state.secret(), place.transcript)
    try:
        return open_sum(read.c0_sum, read.manifest, PRESETS[plan.preset], plan.dimension, secret=secret)
    finally:
        secret.wipe()


def out_of_bounds(values: np.ndarray, plan: Plan, cohort: int) -> bool:
    """Whether an opened sum of ``cohort`` sites is larger than any honest one (``rms_bound``)."""
    return _rms(values) > rms_bound(plan, cohort)


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
    message: SignedMessage, signers: tuple[str, ...], place: Place, state: RunState, *, roster: Roster
) -> dict[str, SignedFrame]:
    frames: dict[str, SignedFrame] = {}
    for signer in signers:
        header = SignedMessage.from_bytes(message.part(f"header:{signer}"), detached=True)
        header.verify(roster.party(signer).key)
        body = header.body
        if not isinstance(body, Frame) or not header.is_from(signer, study=message.header.study, run=state.run):
            raise ProtocolError("MANIFEST_FOREIGN", f"the header listed for '{signer}' is not its frame of this run")
        if body.step != place.number or body.transcript != place.transcript.hex():
            raise ProtocolError("MANIFEST_REPLAYED", f"the frame of '{signer}' belongs to another step or view")
        if body.key_check != state.secret().key_check(place.transcript):
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
