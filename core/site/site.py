"""``handle(message) -> Sealed``: a site's end of the channel. Verifies, then dispatches; decides nothing itself.

Every message must be signed by the roster's coordinator and belong to this study; after the offer, to the one run that
is open. A policy refusal is answered with a ``Decline`` that carries a code and a clause; every other fault raises, and
the engine reports that this site did not deliver.

A message moves a run as a whole: state and answer are kept together before the answer is handed out, and what could
not be answered has moved nothing but what was charged, sealed or opened. So the message that was answered last is
answered with the same bytes, and one that was cut off, by an error or a kill, may come again (resuming.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from ...governance.errors import Refused as GovernanceRefused
from ...governance.policy.request import Request
from ...privacy.errors import BudgetExceededError
from ...privacy.keys.runkeys import JoinPublic
from ..errors import CoreError, Interrupted, ProtocolError, Refused
from ..gate.gate import Gate
from ..gate.sealed import Sealed
from ..messages import Body, Decline, Offer, SignedMessage, Stop, Stopped
from ..training.going_on import ENDING, STOPPED
from ..training.optimizer import Momentum
from ..training.task import Rows
from ..training.tasks import Tasks, adapter_of
from ..training.training import TrainingData, load_training_data
from . import joining, resuming, step, voting
from .answers import Answers, Standing, openings_of
from .considering import Considered, consider
from .folder import SiteFolder
from .interrupting import Interruptible
from .keeping import CannotResumeError, KeptRun
from .record import Acts
from .state import AGREEMENT, RunState, check_due
from .stops import take_stops
from .witnessing import SiteWatch

# After these nothing of the run can be trusted to go on here: a sum was opened that is no sum.
ENDS_THE_RUN = frozenset({"SUM_OUT_OF_BOUNDS", "OPENED_ALREADY"})
PUBLIC_RECORDS = 128  # of the public ones: their median lies within a twentieth of that of all, and they cost little


class Site(Interruptible):
    """One site in one federation. ``tasks`` are the ways of training; they are shared by all sites of a process."""

    def __init__(self, folder: SiteFolder, tasks: Tasks) -> None:
        self.folder = folder
        self._tasks = tasks
        self._offer: SignedMessage | None = None
        self._watch: SiteWatch | None = None
        self._publics: dict[str, JoinPublic] = {}
        self.data: TrainingData | None = None
        self._held_out: TrainingData | None = None
        self._texts: tuple[str, ...] = ()
        self._public: Rows | None = None
        self.state: RunState | None = None
        self.tools: step.StepTools | None = None
        self._working = threading.Lock()
        self._answers = Answers(folder)
        if folder.kept is not None:
            self._go_on(folder.kept)

    def consider(self, offer: Offer, run: str) -> Considered:
        """Preflight: everything that would refuse this offer, without sending, charging or reserving."""
        return consider(self.folder, offer, self._gate(run), dimension=self._dimension(offer))

    def handle(self, message: bytes) -> Sealed:
        """Answer one message of the coordinator. Raises coded errors; see the module's docstring.

        From several threads one is answered after the other; one that comes while it is worked on waits for its answer.
        """
        received = SignedMessage.from_bytes(message)
        # 1. from the roster's coordinator, about this study
        self._check_sender(received)
        with self._working:
            return self._answer(received)

    def _answer(self, received: SignedMessage) -> Sealed:
        # 2. about the run that is open; a stop of a run that is not open has nothing left to do
        body, run = received.body, received.header.run
        gate = self._gate(run)
        self._tasks.going_on.work_on(run)
        told = self._answers.told(received)
        known = self.state is not None and run == self.state.run
        if isinstance(body, Stop) and not (known and self._running()):
            return gate.tell(Stopped())
        if not isinstance(body, Offer) and not known and told is None:
            raise ProtocolError("RUN_UNKNOWN", "the message is about a run that is not open here")
        before = Standing.of(self.state, self._watch)
        try:
            if told is not None:
                sealed = self._tell_again(told, gate)
            else:
                sealed = self._dispatch(received, gate)
                # 5. kept, and only then handed out
                self._answers.keep(received, sealed, self.state, self.tools, self._watch, self._offer)
        except (Refused, GovernanceRefused, BudgetExceededError) as refused:
            # a refusal is this site's last word in the run: what was never started is given back, the keys are dropped
            before.again(self.state, self._watch)
            self._end(run, refused.code)
            clause = refused.clause if isinstance(refused, Refused) else ""
            declined = gate.tell(Decline(code=refused.code, clause=clause))
            self._answers.keep_last(received, declined, before, self._watch, refused.code)
            return declined
        except Interrupted as interrupted:
            before.again(self.state, self._watch)
            if interrupted.code == ENDING:  # the run is taken up again by the next process
                raise
            self._end(run, interrupted.code)
            raise
        except BaseException as error:
            before.again(self.state, self._watch)
            if isinstance(error, ProtocolError) and error.code in ENDS_THE_RUN:
                self._end(run, error.code)
            raise
        # 6. a run that is over, and whose end is kept, is closed
        if self.state is not None and self.tools is not None and self.state.finished:
            resuming.conclude(self.folder, self.tools.acts, step=self.state.step, completed=self.state.completed)
            self.state.wipe()
        return sealed

    def _dispatch(self, message: SignedMessage, gate: Gate) -> Sealed:
        kind = message.body.kind
        if kind == "offer" and self._running():  # first: whatever else it brings is nothing to the run that is open
            raise ProtocolError("RUN_OPEN", "a run is open here; one run at a time")
        # what must be fresh comes with the message; nothing is decided before it was looked at
        take_stops(
            message, self.folder.study_folder, self.folder.roster, drafts=self.folder.runs.parent,
            now=self.folder.clock(),
        )  # fmt: skip
        if kind == "offer":
            return self._join(message, gate)
        state, tools = self._open_run()
        check_due(kind, state)
        # 3. everybody's log goes on from where it was seen, before anything is opened, charged or touched
        if self._watch is not None:
            self._watch.hear(message)
        # 4. what the message asks for, told or disclosed through the gate
        if kind in AGREEMENT:
            return gate.tell(self._agree(message, state, tools), request=self._request(tools))
        if kind == "stop":
            self._end(state.run, STOPPED)
            return gate.tell(Stopped())
        if kind in ("count", "judge") or state.count is not None:
            return self._count(message, state, tools)
        return self._step(message, state, tools)

    def _step(self, message: SignedMessage, state: RunState, tools: step.StepTools) -> Sealed:
        match message.body.kind:
            case "step":
                return step.begin(message, state, tools)
            case "readies":
                return step.take(message, state, tools, lambda: self._training_data(tools))
            case "finish":
                return self._finish(message, state, tools)
        raise ProtocolError("MESSAGE_UNEXPECTED", f"a {message.body.kind} message is not for a site")

    def _count(self, message: SignedMessage, state: RunState, tools: step.StepTools) -> Sealed:
        match message.body.kind:
            case "count":
                return voting.begin(message, state, tools)
            case "readies":
                return voting.take(
                    message, state, tools, lambda: self._counted_data(tools), lambda: self._public_rows(tools)
                )
        return voting.judge(message, state, tools)

    def _agree(self, message: SignedMessage, state: RunState, tools: step.StepTools) -> Body:
        body: Body
        match message.body.kind:
            case "cohort":
                body, self._publics = joining.meet(self.folder, message, state, tools.considered, self._offered())
            case "kems":
                body = joining.exchange(
                    self.folder, message, state, self._publics, observers=tools.plan.observers
                )
            case _:
                body = joining.receive_secret(self.folder, message, state)
        state.agreed += 1
        return body

    def _join(self, message: SignedMessage, gate: Gate) -> Sealed:
        body = message.body
        if not isinstance(body, Offer):
            raise ProtocolError("MESSAGE_UNEXPECTED", "a run begins with an offer")
        considered = consider(self.folder, body, gate, dimension=self._dimension(body))
        # where the coordinator's log stands, before anything is reserved
        self._watch = SiteWatch(self.folder, message.header.run)
        self._watch.hear(message)
        # what counts are held against is looked for before anything is charged
        self._texts = self._public_texts(considered)
        settings = self.folder.study.settings(body.method)
        initial = self._tasks.initial(settings)
        sealed, self.state, admitted = joining.join(self.folder, message, considered, gate, initial=initial)
        # who is held out is in the run, too: what is counted of them decides what stays
        self.folder.reach.admit(
            joining.reach_of(message.header.run, considered, self.state), {*admitted.trained, *admitted.held_out}
        )
        self._offer, self.data, self._held_out = message, None, None
        self._public = None
        self.tools = self._tools_of(
            message.header.run, considered, admitted.trained, admitted.held_out, since=self.folder.log.size
        )
        return sealed

    def _tools_of(
        self,
        run: str,
        considered: Considered,
        trained: tuple[str, ...],
        held_out: tuple[str, ...],
        *,
        since: int,
        left: Iterable[str] = (),
        opened: tuple[str, str] = ("", ""),
        sealed_at: Iterable[bytes] = (),
    ) -> step.StepTools:
        settings = self.folder.study.settings(considered.offer.method)
        return step.StepTools(
            folder=self.folder,
            gate=self._gate(run, sealed_at=sealed_at),
            considered=considered,
            admitted=trained,
            held_out=held_out,
            optimizer=Momentum.for_plan(considered.plan, settings, self._tasks.schedule(settings)),
            acts=Acts(self.folder, run, since=since),
            openings=openings_of(self.folder, run, opened),
            check=self._tasks.going_on.check,
            left=set(left),
        )

    def _finish(self, message: SignedMessage, state: RunState, tools: step.StepTools) -> Sealed:
        sealed = step.finish(message, state, tools)
        settings = self.folder.study.settings(tools.considered.offer.method)
        adapter = adapter_of(self.folder.base_model, settings, state.optimizer.vector)
        self.folder.reach.finish(state.run, adapter.digest)
        self._held_out = self._public = None
        if not self.folder.study.personal_heads:  # those train on them once more, and then drop them (personal.py)
            self.data = None
        return sealed

    def _training_data(self, tools: step.StepTools) -> TrainingData:
        if self.data is None:
            # whoever withdrew between the join and the first step is not even read
            self.data = self._load(tools, tools.staying())
        return self.data

    def _counted_data(self, tools: step.StepTools) -> TrainingData:
        if self._held_out is None:
            self._held_out = self._load(tools, tuple(one for one in tools.held_out if one not in tools.left))
        return self._held_out

    def _public_texts(self, considered: Considered) -> tuple[str, ...]:
        return self.folder.public_texts()[:PUBLIC_RECORDS] if considered.counted is not None else ()

    def _public_rows(self, tools: step.StepTools) -> Rows:
        if self._public is None:
            settings = self.folder.study.settings(tools.considered.offer.method)
            self._public = self._tasks.public_rows(settings, self._texts)
        return self._public

    def _load(self, tools: step.StepTools, subjects: tuple[str, ...]) -> TrainingData:
        task = self._tasks.of(self.folder.study.settings(tools.considered.offer.method))
        return load_training_data(self.folder.dataset(), subjects, self.folder.study.labels, task)

    def _dimension(self, offer: Offer) -> int:
        # a method that the study does not have is refused when the offer is considered; no plan is of size 0
        methods = self.folder.study.methods.items()
        settings = next((settings for name, settings in methods if name == offer.method), None)
        return self._tasks.dimension(settings) if settings is not None else 0

    def _running(self) -> bool:
        return self.state is not None and not self.state.finished

    def _end(self, run: str, code: str) -> None:
        self.folder.record("run.stopped", refs={"run": run}, data={"code": code})
        state = self.state
        if state is not None and state.run == run and not state.finished:
            self.folder.files.drop_keys(run)  # first: a run that has ended is not gone on with, whatever comes now
            self.folder.close_charges(run)
            state.wipe()
            self.state = self.data = self._held_out = self._public = None

    # -- what outlives this process --------------------------------------------------------------------------------

    def _go_on(self, kept: KeptRun) -> None:
        """Stand where the process before this one did when it answered last; or close what cannot be gone on with."""
        folder, now = self.folder, kept.document.going_on
        self._answers = Answers(folder, now.answered)
        if now.ended:
            return
        try:
            found = resuming.restored(folder, kept)
            if found.considered.plan.dimension != self._dimension(found.considered.offer):
                raise CannotResumeError("PLAN_DIFFERS", "the kept plan is not the one that the study's figures give")
            watch = SiteWatch(folder, found.state.run)
            watch.go_on(now.watched, found.own_join)
        except CoreError as error:
            self._answers = Answers(folder)
            resuming.give_up(folder, kept, error.code)
            return
        self.state, self._offer, self._watch = found.state, found.offer, watch
        self._texts = self._public_texts(found.considered)
        self.tools = self._tools_of(
            found.state.run, found.considered, found.admitted, found.held_out, since=now.entries, left=found.left,
            opened=kept.opening, sealed_at=found.state.sealed_at,
        )  # fmt: skip

    def _tell_again(self, told: bytes, gate: Gate) -> Sealed:
        if self.tools is not None and self._running():  # a stop that came since outruns it
            self.tools.gate.decide(self._request(self.tools))
        return gate.resend(told)

    def _request(self, tools: step.StepTools) -> Request:
        return self.folder.request_for_plan(tools.plan, tools.considered.epsilon, tools.considered.offer)

    def _open_run(self) -> tuple[RunState, step.StepTools]:
        if self.state is None or self.tools is None:
            raise ProtocolError("RUN_UNKNOWN", "no run is open here")
        return self.state, self.tools

    def _offered(self) -> SignedMessage:
        if self._offer is None:
            raise ProtocolError("RUN_UNKNOWN", "no offer was accepted here")
        return self._offer

    def _gate(self, run: str, *, sealed_at: Iterable[bytes] = ()) -> Gate:
        folder = self.folder
        return Gate(
            site=folder.site,
            study=folder.study.id,
            run=run,
            policy=folder.policy,
            stage=folder.study.current_stage,
            earlier_runs=folder.runs_of_stage(besides=run),
            key=folder.key,
            ledger=folder.ledger,
            log=folder.log,
            clock=folder.clock,
            show=lambda body: None if self._watch is None else self._watch.show(body),
            check=self._tasks.going_on.check,
            sealed_at=sealed_at,
        )
