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
from pathlib import Path

from ...governance.canonical import digest_bytes
from ...governance.errors import GovernanceError
from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry, Value
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
    Finish,
    Finished,
    Frame,
    Join,
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
from .state import CoordinatorState, Outcome
from .stop_list import StopListKeeper
from .summing import PART, StepSum

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
        self._key = key
        self._log = log
        self._clock = clock
        self._runs = runs
        self._stops = stops
        self._progress = progress
        self._collector = Collector(channel, study=study.id, roster=roster, key=key)

    def offer(self, method: str, plan: Plan) -> Offer:
        """What every site is asked; fixed for the run."""
        return Offer(
            study_bytes=self._study.digest,
            roster=self._roster.fingerprint,
            method=method,
            base_model=self._study.base_model.digest,
            sites=tuple(sorted(self._study.sites)),
            plan=plan.to_json(),
        )

    def run(self, run: str, offer: Offer, plan: Plan) -> RunResult:
        """Offer to finish. Raises ``Refused`` (naming site, code and clause) when the run cannot go on."""
        state = CoordinatorState(run=run, method=offer.method, cohort=offer.sites)
        seconds: dict[str, float] = {}
        started = time.monotonic()
        try:
            self._stops.keep()
            self._agree_on_keys(state, offer)
            seconds["joining"] = time.monotonic() - started
            started = time.monotonic()
            finished = self._train(state, plan)
            seconds["steps"] = time.monotonic() - started
        except (CoreError, GovernanceError, PrivacyError) as error:
            self._stop(state, error.code)
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

    def _train(self, state: CoordinatorState, plan: Plan) -> list[Finished]:
        body: Step | Finish
        previous: tuple[Outcome | None, dict[str, bytes]] = (None, {})
        step = 0
        while state.completed < plan.steps:
            step += 1
            self._check_can_go_on(state, plan, step)
            self._stops.keep()
            previous = self._one_step(state, plan, step, previous)
            state.save(self._runs)
            self._progress("steps", state.completed, plan.steps)
        outcome, parts = previous
        if outcome is None:
            raise ProtocolError("NO_STEPS", "the plan has no steps")
        self._stops.keep()
        body = Finish(step=step, previous=outcome.status, signers=outcome.cohort)
        gathered = self._collector.gather(state.run, state.cohort, body, Finished, parts=parts)
        self._stop_if(gathered.missing, state, plan)
        self._record("run.finished", state, data={"completed": state.completed, "abandoned": state.abandoned})
        return [message.body for message in gathered.messages.values() if isinstance(message.body, Finished)]

    def _one_step(
        self, state: CoordinatorState, plan: Plan, step: int, previous: tuple[Outcome | None, dict[str, bytes]]
    ) -> tuple[Outcome, dict[str, bytes]]:
        cohort = state.cohort
        last, parts = previous
        begin = Step(
            step=step,
            cohort=cohort,
            previous="none" if last is None else last.status,
            signers=last.cohort if last is not None and last.status == "summed" else (),
        )
        # 1. every site opens the step before and says where it stands; nothing is charged before all have
        ready = self._collector.gather(state.run, cohort, begin, Ready, parts=parts)
        if ready.missing:
            return self._abandon(state, step, ready.missing), {}
        # one that stands apart would make every other refuse the step: it is the one that did not deliver
        if strays := apart({site: _place(message) for site, message in ready.messages.items()}):
            return self._abandon(state, step, strays), {}
        parts.clear()  # heard by everybody: let go before frames come
        # 2. every site sees every ready, and sends its share, which is added and let go as it arrives; the seeds are
        # forwarded, signed, for the sites to expand themselves
        total = StepSum(PRESETS[plan.preset], plan.dimension, step=step, readies=ready.messages)
        missing = self._collect_frames(state, plan, step, _whole("ready", ready.messages), total)
        failed = tuple(site for site in cohort if site in {*missing, *total.wrong()})
        if failed:
            return self._abandon(state, step, failed), {}
        forwarded = total.parts()
        outcome = Outcome(step, "summed", cohort, total=digest_bytes(forwarded["sum"]))
        state.outcomes.append(outcome)
        self._record("step.summed", state, refs={"sum": outcome.total}, data={"step": step, "cohort": len(cohort)})
        return outcome, forwarded

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
            # measured, not what was expected: the report's check of it must be able to fail
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
        if missing and self._study.on_drop == "stop":
            raise Refused(
                "SITE_DROPPED",
                f"{', '.join(missing)} did not deliver, and the study stops then",
                hint="what was started stays charged; `on_drop: continue` in an approved study goes on without them",
            )
        if len(state.cohort) < plan.minimum_sites:
            raise Refused(
                "COHORT_TOO_SMALL",
                f"{len(state.cohort)} sites are left and the study's minimum_sites is {plan.minimum_sites}",
                hint="what was started stays charged; the run ends here",
                clause="study/minimum_sites",
            )

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
        entry = Entry(
            type=kind,
            party=self._roster.coordinator.id,
            at=self._clock(),
            refs={"run": state.run, **(refs or {})},
            data=data or {},
        )
        self._log.append(entry)


def _place(ready: SignedMessage) -> tuple[int, str]:
    body = ready.body
    return (body.step, body.transcript) if isinstance(body, Ready) else (0, "")


def _whole(name: str, messages: Mapping[str, SignedMessage]) -> dict[str, bytes]:
    return {f"{name}:{site}": message.to_bytes() for site, message in messages.items()}
