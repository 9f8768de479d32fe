"""The coordinator: offer, collect, sum, forward, next step; blind.

It sees who takes part and when, sizes, and ciphertext halves that it adds with numpy. It holds no key but its own
signing key, and no path of imports leads from here to a secret key, a record or a model
(tests/test_architecture.py). What it forwards is signed by the sites; it cannot open it, nor pass off anything else.

Order of calls: ``offer`` builds the message that sites may consider beforehand; ``run`` does the rest. Where its
process was killed, ``resume`` in another one goes on: what comes next follows from the state alone, and what was asked
already is asked again to the byte (resuming.py). ``give_up`` ends a run that cannot go on.

A step that fails stays failed: it is abandoned, step numbers only rise, and the next step has a smaller cohort. What is
done is durable in this order: the sum, the state that counts it, the log that says so, the message that brings it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal

from ...governance.canonical import digest_bytes
from ...governance.errors import GovernanceError
from ...governance.log.auditlog import AuditLog
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Roster
from ...privacy.accounting.plan import Plan
from ...privacy.errors import PrivacyError
from ..engines.channel import Channel
from ..errors import BadInputError, CoreError, ProtocolError, Refused
from ..messages import Count, Finish, Finished, Judge, Judged, Offer, SignedMessage, Step, Stop
from ..study import Study
from .agreeing import agree_on_keys
from .collecting import Collector, Traffic, apart
from .endings import dropped, early_end, left_behind
from .entries import Told, of_count, of_end, of_step
from .keeping import SUM, RunFiles
from .resuming import Standing, offer_of, standing_of
from .rounds import Progress, Rounds
from .state import FINISHED, CoordinatorState, CountOutcome, Judging, Outcome, Pending, earlier_states
from .status import StatusFile
from .stop_list import StopListKeeper
from .witnessing import CoordinatorWatch, witnessed


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
        halted: Callable[[], str] = str,
        status: StatusFile | None = None,
    ) -> None:
        """``halted``: the code by which somebody here wants the run stopped, or nothing; asked all the time."""
        self._study = study
        self._roster = roster
        self._key = key
        self._log = log
        self._runs = runs
        self._stops = stops
        self._progress = progress
        self._status = status
        self._collector = Collector(
            channel,
            study=study.id,
            sites=sorted(study.sites),
            roster=roster,
            key=key,
            papers=stops.papers,
            halted=halted,
            heard=self._heard,
        )
        self._witnessed = partial(
            witnessed, study=study, roster=roster, key=key, log=log, clock=clock, state=runs.parent
        )
        self._watch: CoordinatorWatch
        self._files: RunFiles
        self._standing: Standing
        self._rounds: Rounds

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
        # who did not hear how an earlier run ended, for it was out of reach or its disk was full, stands in it still
        self._collector.tell_all(*left_behind(earlier_states(self._runs)))
        with self._witnessed(run) as self._watch:
            state = CoordinatorState.begin(
                self._runs,
                run=run,
                method=offer.method,
                cohort=offer.sites,
                offer=offer.model_dump(mode="json"),
                since=self._log.size,
            )
            self._take_up(state, Standing())
            return self._until_the_end(state, offer, plan, counts)

    def resume(self, run: str) -> RunResult:
        """Go on with a run whose process was killed, at the very phase that it was in; the result of one that finished.

        Raises:
            Refused: RUN_NOT_BEGUN (keys were being agreed on: the run is stopped, and another may begin), RUN_ENDED
                (it was stopped, as sites hear once more), RUN_STATE_BEHIND, RUN_OF_ANOTHER_STUDY, LOG_BEHIND.
            BadInputError: RUN_UNKNOWN, RUN_UNREADABLE. And as ``run`` does.
        """
        state = CoordinatorState.load(self._runs, run)
        with self._witnessed(run) as self._watch:
            # 1. what was asked last, and what the log says: both are this run's, and the state is not behind them
            files, logged = RunFiles(self._runs, run), self._watch.logged(state.since)
            standing = standing_of(state, files, logged, study=self._study, roster=self._roster, key=self._key.public)
            # 2. the log goes on where it was shown last, and has what the state says
            self._watch.go_on(standing.shown, logged)
            self._take_up(state, standing)
            for told in standing.owed:
                self._record(told)
            # 3. nothing is left to do, or nothing was begun
            if standing.refused is not None:
                self._end(state, standing.refused.code)
                raise standing.refused
            # 4. the same course as ever, from here
            offer = offer_of(state)
            counts = None if offer.counts_plan is None else Plan.from_json(offer.counts_plan)
            return self._until_the_end(state, offer, Plan.from_json(offer.plan), counts)

    def give_up(self, run: str, code: str) -> None:
        """Stop a run of this coordinator that nobody is at work on, also one that cannot be read any more."""
        with self._witnessed(run) as self._watch:
            try:
                state = CoordinatorState.load(self._runs, run)
            except BadInputError as error:
                if error.code != "RUN_UNREADABLE":
                    raise
                RunFiles(self._runs, run).drop()
                self._collector.tell_all((run, Stop(code=code)))
                return
            self._watch.go_on(None, self._watch.logged(state.since))
            self._take_up(state, Standing())
            self._end(state, code)

    def _take_up(self, state: CoordinatorState, standing: Standing) -> None:
        self._standing, self._files = standing, RunFiles(self._runs, state.run)
        self._rounds = Rounds(self._collector, standing, self._progress)
        self._collector.begin(self._watch, self._files, after=standing.asked)
        self._collector.traffic = Traffic(**state.traffic)

    def _until_the_end(self, state: CoordinatorState, offer: Offer, plan: Plan, counts: Plan | None) -> RunResult:
        seconds = {"joining": 0.0, "steps": 0.0}
        started = time.monotonic()
        if state.ended:
            self._files.drop()
            return self._result(state, offer, plan, seconds)
        try:
            self._stops.keep()
            if not state.agreed:
                agree_on_keys(self._collector, self._watch, state.run, offer)
                state.agreed = True
                self._save(state)
                seconds["joining"] = time.monotonic() - started
            started = time.monotonic()
            self._train(state, plan, counts)
            seconds["steps"] = time.monotonic() - started
        except (CoreError, GovernanceError, PrivacyError) as error:
            self._end(state, error.code)  # who has finished already has nothing left to stop
            raise
        return self._result(state, offer, plan, seconds)

    def _result(self, state: CoordinatorState, offer: Offer, plan: Plan, seconds: dict[str, float]) -> RunResult:
        return RunResult(state.run, offer.method, plan, state, self._collector.traffic, seconds, state.alike)

    # -- steps -----------------------------------------------------------------------------------------------------

    def _train(self, state: CoordinatorState, plan: Plan, counts: Plan | None) -> None:
        settings, pending = self._study.validation, self._standing.pending
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
        told = {message.body.state_mac for message in gathered.messages.values() if isinstance(message.body, Finished)}
        state.alike = len(told) == 1
        self._end(state, FINISHED)

    def _one_step(self, state: CoordinatorState, plan: Plan, step: int, pending: Pending) -> Pending:
        cohort = state.cohort
        begin = Step(step=step, cohort=cohort, previous=pending.previous, signers=pending.signers)
        failed, forwarded = self._rounds.one_sum(state, plan, begin, step, pending.parts)
        if failed:
            outcome = Outcome(step, "abandoned", cohort, missing=failed)
            state.cohort = tuple(site for site in cohort if site not in failed)
        else:
            outcome = Outcome(step, "summed", cohort, total=digest_bytes(forwarded[SUM]))
            self._files.keep_sum(f"step {step}", forwarded, outcome.total)
        state.outcomes.append(outcome)
        self._save(state)
        self._record(of_step(outcome))
        return Pending(outcome, forwarded)

    # -- counts ----------------------------------------------------------------------------------------------------

    def _count_is_due(self, state: CoordinatorState, plan: Plan, counts: Plan | None) -> bool:
        settings = self._study.validation
        if counts is None or settings is None:
            return False
        return state.count_is_due(every=settings.every, steps=plan.steps)

    def _validate(self, state: CoordinatorState, plan: Plan, counts: Plan, pending: Pending) -> None:
        """One count of those held out, and the sites' verdict on the block, which most of them must sign alike."""
        parts = self._standing.take_count() if state.judging else self._one_count(state, plan, counts, pending)
        count = state.judging
        if count is None:
            raise ProtocolError("NO_COUNT", "no count is open to be judged")
        number, step, cohort, failed, total = count.number, count.step, count.cohort, count.failed, count.total
        body = Judge(number=number, previous="abandoned" if failed else "summed", signers=() if failed else cohort)
        answers = self._collector.gather(state.run, state.cohort, body, Judged, parts=parts)
        said = {site: _verdict(message) for site, message in answers.messages.items()}
        strays = apart(said)
        self._leave_out(state, (*answers.missing, *strays), plan)
        verdict, _ = next(said[site] for site in said if site not in strays)
        judged = CountOutcome(number, step, verdict, cohort, (*failed, *answers.missing, *strays), total)
        state.judged(judged)
        self._save(state)
        self._record(of_count(judged))

    def _one_count(self, state: CoordinatorState, plan: Plan, counts: Plan, pending: Pending) -> dict[str, bytes]:
        """The sum of the counts, which is to be judged; nothing where somebody failed it."""
        cohort, number, step = state.cohort, len(state.counts) + 1, state.step
        begin = Count(number=number, step=step, cohort=cohort, previous=pending.previous, signers=pending.signers)
        failed, parts = self._rounds.one_sum(state, counts, begin, number, pending.parts)
        self._leave_out(state, failed, plan)
        total = digest_bytes(parts[SUM]) if parts else ""
        if parts:
            self._files.keep_sum(f"count {number}", parts, total)
        state.judging = Judging(number, step, cohort, failed, total)
        self._save(state)
        return parts

    def _leave_out(self, state: CoordinatorState, missing: Sequence[str], plan: Plan) -> None:
        state.cohort = tuple(site for site in state.cohort if site not in missing)
        self._stop_if(missing, state, plan)

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

    # -- what is written down --------------------------------------------------------------------------------------

    def _end(self, state: CoordinatorState, code: str) -> None:
        """The run has ended: finished, or stopped by a code, which every site hears."""
        state.ended = state.ended or code
        self._save(state)
        self._record(of_end(state))
        if state.ended != FINISHED:
            self._collector.tell_all((state.run, Stop(code=state.ended)))
        self._files.drop()

    def _save(self, state: CoordinatorState) -> None:
        state.traffic = asdict(self._collector.traffic)
        state.save(self._runs)
        if self._status is not None:
            self._status.stands(state)

    def _record(self, told: Told) -> None:
        self._watch.record(told.kind, told.refs, told.data)

    def _heard(self, phase: str, heard: int, of: int) -> None:
        if self._status is not None:
            self._status.heard(phase, heard, of, self._collector.traffic)


def _verdict(judged: SignedMessage) -> tuple[Literal["accepted", "rejected", "lost"], str]:
    body = judged.body
    return (body.verdict, body.state_mac) if isinstance(body, Judged) else ("lost", "")
