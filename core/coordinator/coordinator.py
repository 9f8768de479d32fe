"""The coordinator: offer, collect, sum, forward, next step; blind.

It sees who takes part and when, sizes, and ciphertext halves that it adds with numpy. It holds no key but its own
signing key, and no path of imports leads from here to a secret key, a record or a model
(tests/test_architecture.py). What it forwards is signed by the sites; it cannot open it, nor pass off anything else.

Order of calls: ``offer`` builds the message that sites may consider beforehand; ``run`` does the rest.
A step that fails stays failed: it is abandoned, step numbers only rise, and the next step has a smaller cohort.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal

from ...governance.canonical import digest_bytes
from ...governance.errors import GovernanceError
from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Value
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster
from ...privacy.accounting.plan import Plan
from ...privacy.encryption.frame import ciphertext_length
from ...privacy.encryption.presets import PRESETS
from ...privacy.errors import PrivacyError
from ..engines.channel import Channel
from ..errors import CoreError, ProtocolError, Refused
from ..messages import (
    Body,
    Cohort,
    Count,
    Finish,
    Finished,
    Frame,
    Join,
    Judge,
    Judged,
    Kem,
    Kems,
    Keyed,
    Offer,
    Readies,
    Ready,
    Secret,
    Secrets,
    SignedMessage,
    Step,
    Stop,
)
from ..study import Study
from .collecting import Collector, Expected, Traffic, apart
from .endings import dropped, early_end
from .state import CoordinatorState, CountOutcome, Outcome, Pending
from .stop_list import StopListKeeper
from .summing import PART, StepSum
from .witnessing import CoordinatorWatch, witnessed

Progress = Callable[[str, int, int], None]

RESENDS = 1  # a lost frame is asked for once more: a second loss is a site that is gone, and waiting has a price
SLOW_SECONDS = 10.0  # a step that takes longer shows how many sites have been heard; sixty short ones show one line


@dataclass(frozen=True)
class RunResult:
    """What the coordinator knows at the end of a run."""

    run: str
    method: str
    plan: Plan
    state: CoordinatorState
    traffic: Traffic
    seconds: Mapping[str, float]
    state_macs_agree: bool


class Coordinator:
    """Runs one method of one study over a channel."""

    def __init__(
        self,
        channel: Channel,
        *,
        study: Study,
        roster: Roster,
        key: SigningKey,
        log: AuditLog,
        clock: Callable[[], datetime],
        runs: Path,
        stops: StopListKeeper,
        progress: Progress = lambda stage, done, total: None,
    ) -> None:
        self._channel = channel
        self._study = study
        self._roster = roster
        self._runs = runs
        self._stops = stops
        self._progress = progress
        self._collector = Collector(channel, study=study.id, roster=roster, key=key)
        self._witnessed = partial(
            witnessed, study=study, roster=roster, key=key, log=log, clock=clock, state=runs.parent
        )
        self._watch: CoordinatorWatch

    def offer(self, method: str, plan: Plan, counts: Plan | None = None) -> Offer:
        """What every site is asked; fixed for the run."""
        return Offer(
            study_bytes=self._study.digest,
            roster=self._roster.fingerprint,
            method=method,
            base_model=self._study.base_model.digest,
            sites=tuple(sorted(self._study.sites)),
            plan=plan.to_json(),
            counts_plan=None if counts is None else counts.to_json(),
        )

    def run(self, run: str, offer: Offer, plan: Plan, counts: Plan | None = None) -> RunResult:
        """Offer to finish. Raises ``Refused`` (naming site, code and clause) when the run cannot go on."""
        with self._witnessed(run) as self._watch:
            self._collector.watch(self._watch)
            return self._run(run, offer, plan, counts)

    def _run(self, run: str, offer: Offer, plan: Plan, counts: Plan | None) -> RunResult:
        state = CoordinatorState.begin(self._runs, run=run, method=offer.method, cohort=offer.sites)
        seconds: dict[str, float] = {}
        started = time.monotonic()
        try:
            self._stops.keep()
            self._agree_on_keys(state, offer)
            seconds["joining"] = time.monotonic() - started
            started = time.monotonic()
            finished = self._train(state, plan, counts)
            seconds["steps"] = time.monotonic() - started
        except (CoreError, GovernanceError, PrivacyError) as error:
            self._stop(state, error.code)  # who has finished already has nothing left to stop
            raise
        macs = {body.state_mac for body in finished}
        return RunResult(run, offer.method, plan, state, self._collector.traffic, seconds, len(macs) == 1)

    # -- before the first step -------------------------------------------------------------------------------------

    def _agree_on_keys(self, state: CoordinatorState, offer: Offer) -> None:
        sites = state.cohort
        self._record("study.offered", state, data={"sites": len(sites)}, refs={"study": offer.study_bytes})
        # the run starts with every site of the study or not at all: nobody is left out silently
        joins = self._all(state, offer, Join)
        for site in sites:
            self._record("run.joined", state, refs={"message": joins[site].digest, "site": site})
        kems = self._all(state, Cohort(sites=sites), Kem, parts=_whole("join", joins))
        secrets = self._all(state, Kems(sites=sites), Secret, parts=_whole("kem", kems))
        lowest = min(sites)
        self._all(
            state, Secrets(sites=(lowest,)), Keyed, parts=_whole("secret", {lowest: secrets[lowest]})
        )

    # -- steps -----------------------------------------------------------------------------------------------------

    def _train(self, state: CoordinatorState, plan: Plan, counts: Plan | None) -> list[Finished]:
        settings, pending = self._study.validation, Pending()
        ended: Refused | None = None
        while state.completed < plan.steps or self._count_is_due(state, plan, counts):
            if counts is not None and settings is not None:
                ended = early_end(state, plan, counts, settings)
                if ended is not None:
                    break
            self._stops.keep()
            if counts is not None and self._count_is_due(state, plan, counts):
                self._validate(state, plan, counts, pending)
                pending = Pending()
            else:
                self._check_can_go_on(state, plan, state.step + 1)
                pending = self._one_step(state, plan, state.step + 1, pending)
            state.save(self._runs)
            self._progress("steps", state.completed, plan.steps)
        if ended is not None and state.last_accepted is None:
            raise ended  # not even the start was counted: there is nothing to keep
        if not state.outcomes and ended is None:
            raise ProtocolError("NO_STEPS", "the plan has no steps")
        self._stops.keep()
        body = Finish(step=state.step, previous=pending.previous, signers=pending.signers)
        gathered = self._collector.gather(state.run, state.cohort, body, Finished, parts=pending.parts)
        self._stop_if(gathered.missing, state, plan)
        if ended is not None:
            raise ended
        self._record("run.finished", state, data={"completed": state.completed, "abandoned": state.abandoned})
        return [message.body for message in gathered.messages.values() if isinstance(message.body, Finished)]

    def _one_step(self, state: CoordinatorState, plan: Plan, step: int, pending: Pending) -> Pending:
        cohort = state.cohort
        begin = Step(step=step, cohort=cohort, previous=pending.previous, signers=pending.signers)
        failed, forwarded = self._sum(state, plan, begin, step, pending.parts)
        if failed:
            return Pending(self._abandon(state, step, failed))
        outcome = Outcome(step, "summed", cohort, total=digest_bytes(forwarded["sum"]))
        state.outcomes.append(outcome)
        self._record("step.summed", state, refs={"sum": outcome.total}, data={"step": step, "cohort": len(cohort)})
        return Pending(outcome, forwarded)

    def _sum(
        self, state: CoordinatorState, plan: Plan, begin: Step | Count, number: int, parts: dict[str, bytes]
    ) -> tuple[tuple[str, ...], dict[str, bytes]]:
        """One sum, of a step or a count; returns who failed it, or else what is forwarded."""
        # 1. every site opens the step before and says where it stands; nothing is charged before all have
        ready = self._collector.gather(state.run, state.cohort, begin, Ready, parts=parts)
        if ready.missing:
            return ready.missing, {}
        # one that stands apart would make every other refuse the step: it is the one that did not deliver
        if strays := apart({site: _place(message) for site, message in ready.messages.items()}):
            return strays, {}
        parts.clear()  # heard by everybody: let go before frames come
        # 2. every site sees every ready, and sends its share, which is added and let go; sites expand the seeds
        total = StepSum(PRESETS[plan.preset], plan.dimension, step=number, readies=ready.messages)
        whole = _whole("ready", ready.messages)
        del ready  # what was read of them is let go of before frames come, too
        missing = self._collect_frames(state, plan, number, whole, total)
        failed = tuple(site for site in state.cohort if site in {*missing, *total.wrong()})
        return (failed, {}) if failed else ((), total.parts())

    def _collect_frames(
        self, state: CoordinatorState, plan: Plan, step: int, readies: Mapping[str, bytes], total: StepSum
    ) -> tuple[str, ...]:
        """Every frame into ``total``; returns who did not deliver, after having been asked once more.

        A site that has sealed the step sends the same bytes again and charges nothing. One whose signed frame is wrong
        is not asked: it would send the same. Where there is one the step is lost, and nobody is asked.
        """
        body = Readies(step=step, cohort=state.cohort)
        length = ciphertext_length(PRESETS[plan.preset], plan.dimension)
        expected = Expected(Frame, {PART: length})
        arrived, began = 0, time.monotonic()

        def take(site: str, message: SignedMessage) -> None:
            nonlocal arrived
            total.add(site, message)
            if not plan.cells:  # measured, not what was expected: the report's check of it must be able to fail
                self._collector.traffic.frame_payload = len(message.payload)
                self._collector.traffic.frame_bytes = len(message.detached()) + len(message.payload)
            arrived += 1
            # the last one is the end of the step, which is shown as such
            if arrived < len(state.cohort) and time.monotonic() - began > SLOW_SECONDS:
                self._progress(f"sites heard in step {step}", arrived, len(state.cohort))

        missing = state.cohort
        for _ in range(1 + RESENDS):
            if not missing or total.wrong():
                break
            missing = self._collector.each(state.run, missing, body, expected, take, parts=readies)
        return missing

    # -- counts ----------------------------------------------------------------------------------------------------

    def _count_is_due(self, state: CoordinatorState, plan: Plan, counts: Plan | None) -> bool:
        settings = self._study.validation
        if counts is None or settings is None:
            return False
        return state.count_is_due(every=settings.every, steps=plan.steps)

    def _validate(self, state: CoordinatorState, plan: Plan, counts: Plan, pending: Pending) -> None:
        """One count of those held out, and the sites' verdict on the block, which most of them must sign alike."""
        cohort, number, step = state.cohort, len(state.counts) + 1, state.step
        begin = Count(number=number, step=step, cohort=cohort, previous=pending.previous, signers=pending.signers)
        failed, parts = self._sum(state, counts, begin, number, pending.parts)
        self._leave_out(state, failed, plan)
        body = Judge(number=number, previous="abandoned" if failed else "summed", signers=() if failed else cohort)
        answers = self._collector.gather(state.run, state.cohort, body, Judged, parts=parts)
        said = {site: _verdict(message) for site, message in answers.messages.items()}
        strays = apart(said)
        self._leave_out(state, (*answers.missing, *strays), plan)
        verdict, _ = next(said[site] for site in said if site not in strays)
        total = digest_bytes(parts["sum"]) if parts else ""
        count = CountOutcome(number, step, verdict, cohort, (*failed, *answers.missing, *strays), total)
        state.judged(count)
        data: dict[str, Value] = {"count": number, "step": step, "cohort": len(cohort), "verdict": verdict}
        self._record("validation.opened", state, refs={"sum": total} if total else {}, data=data)

    def _leave_out(self, state: CoordinatorState, missing: Sequence[str], plan: Plan) -> None:
        state.cohort = tuple(site for site in state.cohort if site not in missing)
        self._stop_if(missing, state, plan)

    def _abandon(self, state: CoordinatorState, step: int, missing: Sequence[str]) -> Outcome:
        outcome = Outcome(step, "abandoned", state.cohort, missing=tuple(missing))
        state.outcomes.append(outcome)
        state.cohort = tuple(site for site in state.cohort if site not in missing)
        self._record(
            "step.abandoned", state, data={"step": step, "missing": list(missing), "cohort": len(state.cohort)}
        )
        return outcome

    def _check_can_go_on(self, state: CoordinatorState, plan: Plan, step: int) -> None:
        last = state.outcomes[-1] if state.outcomes else None
        if last is not None and last.missing:
            self._stop_if(last.missing, state, plan)
        if step > plan.total_steps:
            raise Refused(
                "ALLOWANCE_SPENT",
                f"{state.abandoned} steps were abandoned; the study allows for {plan.allowance}",
                hint="what was started stays charged; find out why sites did not deliver before a new run",
            )

    def _stop_if(self, missing: Sequence[str], state: CoordinatorState, plan: Plan) -> None:
        refused = dropped(missing, state, plan, self._study)
        if refused is not None:
            raise refused

    # -- messages --------------------------------------------------------------------------------------------------

    def _all(
        self, state: CoordinatorState, body: Body, expected: type[Body], parts: Mapping[str, bytes] | None = None
    ) -> dict[str, SignedMessage]:
        gathered = self._collector.gather(state.run, state.cohort, body, expected, parts=parts)
        if gathered.missing:
            raise Refused(
                "SITE_MISSING",
                f"{', '.join(gathered.missing)} did not answer the {body.kind} message; all sites start or none",
                hint="the site's own log says why; nothing was sent that is computed from data",
            )
        return gathered.messages

    def _stop(self, state: CoordinatorState, code: str) -> None:
        self._record("run.stopped", state, data={"code": code, "completed": state.completed})
        self._collector.tell_all(state.run, Stop(code=code))

    def _record(
        self,
        kind: str,
        state: CoordinatorState,
        *,
        refs: dict[str, str] | None = None,
        data: dict[str, Value] | None = None,
    ) -> None:
        self._watch.record(kind, refs or {}, data or {})


def _place(ready: SignedMessage) -> tuple[int, str]:
    body = ready.body
    return (body.step, body.transcript) if isinstance(body, Ready) else (0, "")


def _verdict(judged: SignedMessage) -> tuple[Literal["accepted", "rejected", "lost"], str]:
    body = judged.body
    return (body.verdict, body.state_mac) if isinstance(body, Judged) else ("lost", "")


def _whole(name: str, messages: Mapping[str, SignedMessage]) -> dict[str, bytes]:
    return {f"{name}:{site}": message.to_bytes() for site, message in messages.items()}
