"""A site that was killed goes on with its run, or closes it: what is kept of it, held to papers, records and ledger.

For: ``SiteFolder.open(..., open_runs=go_on)``, which an agent asks for; and from what was kept the values that ``Site``
works with. Not for: the files (keeping.py), or anything of a run whose keys were not agreed: that is closed.

    go_on           this process answers the coordinator: the run that can go on stays open, every other is closed
    leave_to_agent  another command of this site: it refuses while a run here can go on, and closes what cannot
    (close_runs, in folder.py: everybody in one process, as the pilot is; there is nobody to go on with)

What was charged stays charged, whatever is found. What is odd in any way is closed, and the log says by which code.

Order of calls: ``go_on`` → ``restored`` once the ways of training are known → ``SiteWatch.go_on``. While the run goes
on: ``fixed`` with the first answer that is kept, ``moving`` with each.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ...governance.errors import GovernanceError
from ...governance.signing.envelope import read_time
from ...privacy.accounting.plan import Plan
from ...privacy.errors import PrivacyError
from ...privacy.mechanism.judged import JudgedCounts
from ...privacy.mechanism.opened import OpenedCounts
from ..errors import CoreError, Refused
from ..gate.artefacts import charge_of, run_of
from ..messages import Join, Offer, SignedMessage
from ..planning import DOMAIN
from ..training.optimizer import OptimizerState
from . import kept as forms
from .budget import lifetime_figures
from .considering import Considered, Counted
from .folder import SiteFolder
from .keeping import DAMAGED, NOT_KEPT, CannotResumeError, KeptRun, to_bytes, to_text
from .record import Acts
from .state import AGREEMENT, Accepted, CountRound, RunState, Transcript

ORPHAN = "ORPHAN_CLOSED"
BEHIND, PAPERS, DATA = "RUN_STATE_BEHIND", "RUN_PAPERS_CHANGED", "RUN_DATA_CHANGED"
CODED = (CoreError, GovernanceError, PrivacyError)


@dataclass(frozen=True)
class Restored:
    """A run as ``Site`` had it when it answered last."""

    state: RunState
    offer: SignedMessage
    considered: Considered
    admitted: tuple[str, ...]
    held_out: tuple[str, ...]
    left: frozenset[str]
    own_join: bytes


def go_on(folder: SiteFolder) -> None:
    """Leave the run open that can go on, as ``folder.kept``; close all others. From here on the site keeps its runs."""
    folder.resumes = True
    folder.kept, why = _found(folder)
    _close_others(folder, folder.kept, why)
    if folder.kept is not None and not folder.kept.over:
        # which acts were cut off, and so may stand in the log from that entry on without having been answered
        run, now = folder.kept.begun.run, folder.kept.document.going_on
        folder.record("run.resumed", refs={"run": run}, data={"step": now.step, "answered_at": now.entries})


def leave_to_agent(folder: SiteFolder) -> None:
    """Refuse where a run of this site can go on; the agent's process alone may, or it would be closed here.

    Raises:
        Refused: RUN_INTERRUPTED.
    """
    found, why = _found(folder)
    if found is not None and not found.over:
        raise Refused(
            "RUN_INTERRUPTED",
            f"{folder.site}: the run '{found.begun.run}' was cut off here and can go on",
            hint=f"`sekisho site serve {folder.site}` goes on with it; do this when it has ended",
            site=folder.site,
        )
    _close_others(folder, found, why)


def conclude(folder: SiteFolder, acts: Acts, *, step: int, completed: int) -> None:
    """The run has ended well, and its last answer is kept: give back what was never started, and drop the keys.

    Twice is once. Not before that answer is kept: a run that the log calls finished may open nothing any more.
    """
    folder.close_charges(acts.run)
    if not acts.said("run.finished"):
        # also where a kill came between the ledger and the log
        acts.record("budget.settled", data=lifetime_figures(folder.ledger.balance(), folder.budget))
        acts.record("run.finished", data={"step": step, "completed": completed})
    folder.files.drop_keys(acts.run)


def give_up(folder: SiteFolder, kept: KeptRun, code: str) -> None:
    """What was found to be whole cannot be gone on with after all."""
    if not kept.over:
        _close(folder, kept.begun.run, code)
    folder.files.discard(kept.begun.run)


def _found(folder: SiteFolder) -> tuple[KeptRun | None, dict[str, str]]:
    """The run that can go on here or else the last that is over, and why others cannot."""
    found: KeptRun | None = None
    why: dict[str, str] = {}
    for run in folder.files.begun():
        try:
            kept = folder.files.read(run)
            if not kept.over:
                _check_still(folder, kept)
        except CODED as error:
            why[run] = ORPHAN if error.code == NOT_KEPT else error.code
            continue
        if found is None or found.over:
            found = kept
    return found, why


def _close_others(folder: SiteFolder, found: KeptRun | None, why: dict[str, str]) -> None:
    """Close every run that was cut off but ``found``; of that, where it ended well, what a kill left undone is done."""
    run = None if found is None else found.begun.run
    opened = {run_of(row.run) for row in folder.ledger.balance().runs if row.state == "open"}
    for other in sorted(opened - {run}):
        _close(folder, other, why.get(other, ORPHAN))
    for other in sorted(set(folder.files.begun()) - {run}):
        folder.files.discard(other)
    if found is not None and found.document.going_on.finished:
        now = found.document.going_on
        acts = Acts(folder, found.begun.run, since=now.entries)
        conclude(folder, acts, step=now.step, completed=found.document.completed)


def _close(folder: SiteFolder, run: str, code: str) -> None:
    folder.close_charges(run)
    folder.record("run.stopped", refs={"run": run}, data={"code": code})


def _check_still(folder: SiteFolder, kept: KeptRun) -> None:
    """Raises ``CannotResumeError`` unless everything under which the run began is as it was."""
    begun, now, run = kept.begun, kept.document.going_on, kept.begun.run
    offer = _offer(folder, kept)
    plan, counts = _plans(offer)
    # 1. the papers and the weights
    papers = (folder.study.digest, folder.roster.fingerprint, folder.base_model.digest, folder.policy.bytes_digest)
    if (offer.study_bytes, offer.roster, offer.base_model, begun.policy) != papers:
        raise CannotResumeError(PAPERS, f"the run '{run}' began under other papers than lie here now")
    join = SignedMessage.from_bytes(to_bytes(begun.join), detached=True)
    join.verify(folder.key.public)
    body = join.body
    if not isinstance(body, Join) or (body.plan, body.counts_plan) != (plan.digest(), counts and counts.digest()):
        raise CannotResumeError(DAMAGED, f"the join of the run '{run}' is not the one that was kept")
    # 2. the records that the join committed to
    if folder.dataset_digest() != begun.dataset:
        raise CannotResumeError(DATA, f"the records are others than as the run '{run}' was joined")
    # 3. the log has at least what it had; the ledger has what was started, and at most one start that was cut off
    rows = {row.run: row for row in folder.ledger.balance().runs if row.state == "open"}
    charges = {run: now.starts} if counts is None else {run: now.starts, charge_of(run, counts): now.count_starts}
    borne_out = all(name in rows and 0 <= rows[name].started - starts <= 1 for name, starts in charges.items())
    if not borne_out or now.entries > folder.log.size:
        raise CannotResumeError(BEHIND, f"what was kept of the run '{run}' is behind the ledger or before the log")


def restored(folder: SiteFolder, kept: KeptRun) -> Restored:
    """The run's values from what was kept. Raises ``CannotResumeError``, ``BadInputError``."""
    message = SignedMessage.from_bytes(to_bytes(kept.begun.offer))
    offer = _offer(folder, kept)
    plan, counts = _plans(offer)
    run = kept.begun.run
    # who was admitted is the ledger's to say, who left since the store's that forgets nobody in a run
    marks = {folder.subject_key.fingerprint(subject): subject for subject in folder.dataset().subjects}
    admitted = _named(marks, folder.ledger.admitted(run))
    held_out = () if counts is None else _named(marks, folder.ledger.admitted(charge_of(run, counts)))
    considered = Considered(
        offer,
        plan,
        kept.begun.figures.epsilon,
        kept.begun.figures.step_cost,
        subjects=admitted,
        excluded=dict(kept.begun.excluded),
        dataset=kept.begun.dataset,
        counted=_counted(kept, counts, held_out),
    )
    left = frozenset(marks[mark] for mark in folder.reach.gone(run) if mark in marks)
    return Restored(_state(folder, kept), message, considered, admitted, held_out, left, to_bytes(kept.begun.join))


def fixed(offer: SignedMessage, considered: Considered, policy: str, own_join: bytes) -> dict[str, Any]:
    """The fields of ``Begun`` that a run's state does not hold."""
    counted = considered.counted
    return {
        "offer": to_text(offer.to_bytes()),
        "join": to_text(own_join),
        "policy": policy,
        "dataset": considered.dataset,
        "figures": forms.Figures(epsilon=considered.epsilon, step_cost=considered.step_cost),
        "counted": None if counted is None else forms.Figures(epsilon=counted.epsilon, step_cost=counted.step_cost),
        "excluded": considered.excluded,
    }


def moving(
    state: RunState, watched: forms.Watched, answered: forms.Answered, *, entries: int, ended: str = ""
) -> forms.GoingOn:
    """All of a run that moves, beside what its document holds anyway."""
    return forms.GoingOn(
        cohort=state.cohort,
        consents=state.consents,
        next_count=state.transcript.next_count,
        step=state.step,
        step_transcript=state.step_transcript.hex(),
        step_cohort=state.step_cohort,
        step_started=state.step_started,
        step_sealed=state.step_sealed,
        starts=state.starts,
        count_starts=state.count_starts,
        outcome_due=state.outcome_due,
        finished=state.finished,
        count=None if state.count is None else _round(state.count),
        accepted=None if state.accepted is None else _accepted(state.accepted),
        rejected=state.rejected,
        undone=state.undone,
        spoilt=state.spoilt,
        watched=watched,
        entries=entries,
        answered=answered,
        ended=ended,
    )


def _state(folder: SiteFolder, kept: KeptRun) -> RunState:
    document, now, begun = kept.document, kept.document.going_on, kept.begun
    transcript = Transcript(
        begun.run, folder.roster.fingerprint, bytes.fromhex(begun.h0), bytes.fromhex(document.running),
        document.next_step, now.next_count,
    )  # fmt: skip
    state = RunState(
        run=begun.run,
        transcript=transcript,
        optimizer=kept.optimizer,
        cohort=now.cohort,
        join_keys=None,
        started=_time(begun.started),
        agreed=len(AGREEMENT),
        pair_keys={} if kept.keys is None else dict(kept.keys.pairs),
        run_secret=None if kept.keys is None else kept.keys.secret,
        step=now.step,
        step_transcript=bytes.fromhex(now.step_transcript),
        step_cohort=now.step_cohort,
        step_started=now.step_started,
        step_sealed=now.step_sealed,
        starts=now.starts,
        count_starts=now.count_starts,
        outcome_due=now.outcome_due,
        finished=now.finished,
        completed=document.completed,
        abandoned=document.abandoned,
        parts=dict(begun.parts),
        consents=dict(now.consents),
        history=list(document.history),
        validations=list(document.validations),
        rejected=now.rejected,
        undone=now.undone,
        spoilt=now.spoilt,
        saved=frozenset({document.arrays} | ({document.accepted.arrays} if document.accepted is not None else set())),
    )
    if now.count is not None:
        fields = now.count.model_dump() | {"transcript": bytes.fromhex(now.count.transcript)}
        state.count = CountRound(**fields)
    if now.accepted is not None and document.accepted is not None and kept.accepted is not None:
        counts = tuple(_judged(one) for one in now.accepted.counts)
        state.accepted = Accepted(
            _shared(kept.accepted, state.optimizer), document.accepted.step, now.accepted.completed,
            now.accepted.moves, counts, now.accepted.farthest,
        )  # fmt: skip
    return state


def _shared(accepted: OptimizerState, current: OptimizerState) -> OptimizerState:
    # one copy in memory while the accepted state is the one that the run stands at
    return current if accepted.digest() == current.digest() else accepted


def _offer(folder: SiteFolder, kept: KeptRun) -> Offer:
    message = SignedMessage.from_bytes(to_bytes(kept.begun.offer))
    message.verify(folder.roster.coordinator.key)
    body = message.body
    if not isinstance(body, Offer) or message.header.run != kept.begun.run:
        raise CannotResumeError(DAMAGED, f"the offer of the run '{kept.begun.run}' is not the one that was kept")
    return body


def _plans(offer: Offer) -> tuple[Plan, Plan | None]:
    counts = None if offer.counts_plan is None else Plan.from_json(dict(offer.counts_plan))
    return Plan.from_json(dict(offer.plan)), counts


def _counted(kept: KeptRun, counts: Plan | None, held_out: tuple[str, ...]) -> Counted | None:
    figures = kept.begun.counted
    if counts is None or figures is None:
        return None
    return Counted(counts, figures.epsilon, figures.step_cost, held_out)


def _named(marks: dict[bytes, str], admitted: frozenset[bytes]) -> tuple[str, ...]:
    if not admitted <= marks.keys():
        raise CannotResumeError(DATA, "somebody was admitted to the run who has no record here now")
    return tuple(sorted(marks[mark] for mark in admitted))


def _round(count: CountRound) -> forms.Round:
    return forms.Round(
        number=count.number, transcript=count.transcript.hex(), cohort=count.cohort, started=count.started,
        sealed=count.sealed, middle_above=count.middle_above,
    )  # fmt: skip


def _accepted(accepted: Accepted) -> forms.AcceptedState:
    counts = tuple(
        forms.Counted(
            values=one.counts.values, standard_error=one.counts.standard_error, middle_above=one.middle_above
        )
        for one in accepted.counts
    )
    return forms.AcceptedState(
        completed=accepted.completed, moves=accepted.moves, counts=counts, farthest=accepted.farthest
    )


def _judged(kept: forms.Counted) -> JudgedCounts:
    return JudgedCounts(OpenedCounts(DOMAIN, kept.values, kept.standard_error), kept.middle_above)


def _time(text: str) -> datetime:
    try:
        return read_time(text)
    except (GovernanceError, ValueError):
        raise CannotResumeError(DAMAGED, "the time at which the run began cannot be read") from None
