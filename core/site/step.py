"""One training step at a site, read top to bottom: open, apply, agree, start, eligible, train, gate.

``begin`` answers a step message: it opens the step before, applies it, and tells at which transcript this site stands;
nothing is charged yet. ``take`` answers the readies of the whole cohort: only when every site stands at the same
transcript is the step's cost marked started, and only then are data touched.

A step that fails stays failed: what was started stays charged, what was sealed is re-sent unchanged.

Each may be asked once more with the same message, after a kill at any point of it: what is durable outside of the run's
state (ledger, heads, log) is then found as it is, and not done twice. The state itself is kept by site.py, with the
answer, before that is handed out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ...governance.provenance.provenance import ConsentPart
from ...governance.signing.lifecycle import Act
from ...privacy.accounting.plan import Plan
from ...privacy.mechanism.randomness import SecretStream
from ..data.eligible import still_eligible
from ..errors import ProtocolError, Refused
from ..gate.gate import Gate, StepContext, disclosure
from ..gate.sealed import Sealed
from ..messages import Count, Finish, Finished, Readies, Ready, SignedMessage, Step
from ..training.going_on import never_stops
from ..training.optimizer import Momentum
from ..training.training import TrainingData, train_step
from .blocks import count_is_due
from .consents import snapshot
from .considering import Considered
from .folder import SiteFolder
from .life import check
from .opening import Openings, enough_controllers, open_previous
from .record import Acts
from .state import RunState


@dataclass(frozen=True)
class StepTools:
    """What one run's steps work with at this site; fixed from the join on."""

    folder: SiteFolder
    gate: Gate
    considered: Considered
    admitted: tuple[str, ...]
    optimizer: Momentum
    acts: Acts
    openings: Openings
    held_out: tuple[str, ...] = ()
    left: set[str] = field(default_factory=set)
    check: Callable[[], None] = never_stops

    @property
    def plan(self) -> Plan:
        """The plan of the run."""
        return self.considered.plan

    def staying(self) -> tuple[str, ...]:
        """Those admitted who have not left the run by the last time they were looked at."""
        return tuple(subject for subject in self.admitted if subject not in self.left)

    def usable(self, run: str, step: int, among: tuple[str, ...]) -> tuple[str, ...]:
        """Who of ``among`` may be used in ``step``. Who once could not stays out of this run, whatever they grant."""
        folder = self.folder
        kept = still_eligible(among, folder.register, scope=folder.study.legal_basis_scope, now=folder.clock())
        kept = folder.reach.stay(run, step, among, kept)
        folder.reach.take_entries(folder.log.append)
        self.left.update(set(among) - set(kept))
        return kept


def begin(message: SignedMessage, state: RunState, tools: StepTools) -> Sealed:
    """Open the step before, apply it, and say where this site stands."""
    body = message.body
    if not isinstance(body, Step):
        raise ProtocolError("MESSAGE_UNEXPECTED", f"a {body.kind} message does not begin a step")
    folder = tools.folder
    # 1. the step that comes next, with nobody new and this site in it; what is refused here has moved nothing
    if body.step > tools.plan.total_steps:
        raise ProtocolError("STEP_BEYOND_PLAN", f"step {body.step} was never reserved")
    if body.step != state.step + 1:
        raise ProtocolError("STEP_OUT_OF_ORDER", f"step {body.step} was asked for, step {state.step + 1} comes next")
    validation = folder.study.validation
    if validation is not None and count_is_due(
        state, every=validation.every, steps=tools.plan.steps, summed=body.previous == "summed"
    ):
        raise ProtocolError("VALIDATION_DUE", f"the block before step {body.step} is to be judged first")
    if validation is not None and state.rejected > validation.rejections:
        raise ProtocolError("TOO_MANY_REJECTED", f"no step comes after {state.rejected} rejected blocks; the run ends")
    cohort = cohort_of(body, state, folder)
    # 2. the stop comes first: it is honoured before opening, too
    request = folder.request_for_plan(tools.plan, tools.considered.epsilon, tools.considered.offer, cohort=cohort)
    tools.gate.decide(request)
    check(folder, Act.OPEN_SUM, tools.gate.record_refusal)
    # 3. open and apply
    apply(message, state, tools)
    state.step, state.step_cohort, state.step_started, state.step_sealed = body.step, cohort, False, False
    state.cohort, state.outcome_due = cohort, True
    state.step_transcript = state.transcript.at(body.step, cohort, state.state_mac())
    # 4. what consent stands as the step begins; whoever leaves after this is left out all the same
    consent = _record_consent(state, tools)
    # 5. tell; nothing has been charged
    ready = Ready(step=body.step, transcript=state.step_transcript.hex(), consent=consent)
    return tools.gate.tell(ready, request=request)


def take(message: SignedMessage, state: RunState, tools: StepTools, load: Callable[[], TrainingData]) -> Sealed:
    """All sites stand at one transcript: start, ``load`` the data, train, disclose."""
    body = message.body
    if not isinstance(body, Readies) or body.step != state.step or body.cohort != state.step_cohort:
        raise ProtocolError("READIES_FOREIGN", "the readies are not those of the step that is open")
    folder = tools.folder
    # 1. every site of the cohort, signed, at this very transcript
    for site in state.step_cohort:
        check_ready(message, site, state.step, state.step_transcript, state, folder)
    # 2. decide before the charge, so that a refusal costs nothing, and before a re-send, so that a stop outruns it
    request = folder.request_for_plan(
        tools.plan, tools.considered.epsilon, tools.considered.offer, cohort=state.step_cohort
    )
    tools.gate.decide(request)
    check(folder, Act.TOUCH_DATA, tools.gate.record_refusal)
    # 3. a step that was sealed is re-sent unchanged, never computed again
    kept = folder.ledger.sealed(state.run, state.step)
    if kept is not None:
        if not state.step_sealed:  # a kill came between the ledger's mark and the log, or the state
            state.note_start(sealed=True)
            tools.acts.record(*disclosure(kept, tools.plan, state.step, len(state.step_cohort)))
        return tools.gate.resend(kept)
    tools.plan.check_sealing_rule(len(state.step_cohort))
    check_controllers(state.step_cohort, tools)
    # 4. enough noise in this cohort; then the cost moves from reserved to started, durably, before data are touched;
    # where a kill came between here and the seal, nothing has left, and the step that is charged is computed anew
    if not folder.ledger.is_started(state.run, state.step):
        folder.ledger.start(state.run, state.step)
    state.note_start()
    tools.acts.record("step.started", data={"step": state.step})
    # 5. who may still be used; nobody enters; nobody at all is an empty sample, which discloses noise and is charged
    subjects = tools.usable(state.run, state.step, tools.admitted)
    stream = SecretStream()
    data, model = load(), state.optimizer
    data.task.linearise(data.rows, model.reference)
    update = train_step(
        data,
        subjects,
        model.vector,
        plan=tools.plan,
        step=state.step,
        stream=stream.derive(b"training"),
        rotation=tools.plan.rotation(state.step_transcript),
        check=tools.check,
    )
    # 6. the gate
    sealed = tools.gate.disclose(
        update,
        request=request,
        plan=tools.plan,
        context=StepContext(
            step=state.step,
            transcript=state.step_transcript,
            cohort=state.step_cohort,
            run_secret=state.secret(),
            pair_keys=state.pair_keys,
        ),
        stream=stream.derive(b"noise"),
    )
    state.note_start(sealed=True)
    return sealed


def finish(message: SignedMessage, state: RunState, tools: StepTools) -> Sealed:
    """Open the last step, and prove to hold the common state: the last accepted one. Then the run is to be closed."""
    body = message.body
    if not isinstance(body, Finish) or body.step != state.step:
        raise ProtocolError("MESSAGE_UNEXPECTED", "this is not the end of the step that is open")
    folder = tools.folder
    request = folder.request_for_plan(
        tools.plan, tools.considered.epsilon, tools.considered.offer, cohort=state.step_cohort
    )
    tools.gate.decide(request)
    check(folder, Act.OPEN_SUM, tools.gate.record_refusal)
    apply(message, state, tools)
    if folder.study.validation is not None:
        _keep_accepted(state, tools.acts)
    state.finished = True
    return tools.gate.tell(Finished(step=state.step, state_mac=state.state_mac()), request=request)


def _keep_accepted(state: RunState, acts: Acts) -> None:
    # what was not judged, because the run ended before, is nobody's result
    # a sum that was outside its bound moved nothing, and is a step of no result all the same
    if state.accepted is None or state.moves != state.accepted.moves or state.spoilt:
        state.roll_back()
        acts.record("block.rolled-back", data={"step": state.step, "completed": state.completed})


def _record_consent(state: RunState, tools: StepTools) -> str:
    # under a key of this step, so that not even a change of the register since the last step shows in the log
    folder = tools.folder
    told = snapshot(folder.register, folder.subject_key, f"{state.run}/{state.step}")
    tools.acts.record("consent.snapshot", {"snapshot": told}, {"step": state.step})
    return told


def apply(message: SignedMessage, state: RunState, tools: StepTools) -> None:
    """Open the outcome of the step before, where the message brings one, settle its charge, and move the state."""
    step, due = state.step, state.outcome_due
    folder = tools.folder
    opened = open_previous(
        message, state, plan=tools.plan, roster=folder.roster, site=folder.site, remember=folder.heads.remember,
        openings=tools.openings, judged=folder.study.validation is not None,
    )  # fmt: skip
    if not due:
        return
    if state.step_started:  # a step that fell before its readies came round was never started: nothing to settle
        folder.ledger.settle(state.run, step)
    if state.history[-1].outcome == "abandoned":
        tools.acts.record("step.abandoned", data={"step": step})
        return
    if opened is not None:  # a sum outside its bound moves nothing: its block will be rejected
        state.optimizer = tools.optimizer.step(
            state.optimizer, _gradient_sum(opened, tools.plan, state.step_transcript)
        )
    tools.acts.record("step.opened", {"message": message.digest}, {"step": step})


def _gradient_sum(opened: np.ndarray, plan: Plan, transcript: bytes) -> np.ndarray:
    # rotated coordinates -> the adapter's own, where the plan rotates: under the transcript that sealed the step
    values, rotation = opened.astype(np.float64), plan.rotation(transcript)
    own = values if rotation is None else rotation.back(values)
    # grid units -> gradient units: gamma = C / u
    own *= float(plan.clipping_norm) / plan.grid
    return own


def cohort_of(body: Step | Count, state: RunState, folder: SiteFolder) -> tuple[str, ...]:
    """The cohort that a message names: nobody new, this site in it, and everybody where the study stops otherwise."""
    cohort, site = body.cohort, folder.site
    if cohort != tuple(sorted(set(cohort))) or not set(cohort) <= set(state.cohort) or site not in cohort:
        raise ProtocolError("COHORT_DIFFERS", "the cohort is not an ordered part of the last one with this site in it")
    if folder.study.on_drop == "stop" and set(cohort) != set(folder.study.sites):
        raise Refused(
            "SITE_DROPPED",
            f"{site}: a site is missing, and the study stops then",
            hint="sums with and without a site would show its share under little more noise",
            site=site,
            clause="study/on_drop",
        )
    return cohort


def check_controllers(cohort: tuple[str, ...], tools: StepTools) -> None:
    """Return if enough organisations stand behind ``cohort``. Raises ``Refused`` CONTROLLERS_TOO_FEW."""
    folder = tools.folder
    if not enough_controllers(cohort, tools.plan, folder.roster):
        raise Refused(
            "CONTROLLERS_TOO_FEW",
            f"{folder.site}: fewer organisations than the study's minimum stand behind the sites that are left",
            hint="sites under one controller count once; wait for the others, or lower minimum_sites in study.yaml",
            site=folder.site,
            clause="study/minimum_sites",
        )


def check_ready(
    message: SignedMessage, site: str, number: int, transcript: bytes, state: RunState, folder: SiteFolder
) -> None:
    """Return if ``site`` signed that it stands at ``transcript`` of this step or count. Raises ``ProtocolError``."""
    received = SignedMessage.from_bytes(message.part(f"ready:{site}"))
    received.verify(folder.roster.party(site).key)
    body = received.body
    if not isinstance(body, Ready) or not received.is_from(site, study=folder.study.id, run=state.run):
        raise ProtocolError("READY_FOREIGN", f"what is listed for '{site}' is not its ready of this run")
    if body.step != number or body.transcript != transcript.hex():
        raise ProtocolError("TRANSCRIPTS_DIFFER", f"'{site}' stands at another transcript; nothing was charged")
    before = state.consents.get(site)
    state.consents[site] = ConsentPart(
        scope=folder.study.legal_basis_scope,
        first=body.consent if before is None else before.first,
        last=body.consent,
    )
