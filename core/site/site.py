"""``handle(message) -> Sealed``: a site's end of the channel. Verifies, then dispatches; decides nothing itself.

Every message must be signed by the roster's coordinator and belong to this study; after the offer, to the one run that
is open. A policy refusal is answered with a ``Decline`` that carries a code and a clause; every other fault raises, and
the engine reports that this site did not deliver.
"""

from __future__ import annotations

from ...governance.errors import Refused as GovernanceRefused
from ...governance.policy.request import Request
from ...governance.provenance.provenance import epsilon_text
from ...governance.signing.envelope import write_time
from ...privacy.budget import decimal_text
from ...privacy.errors import BudgetExceededError
from ...privacy.keys.runkeys import JoinPublic
from ..errors import ProtocolError, Refused
from ..gate.gate import Gate
from ..gate.sealed import Sealed
from ..messages import Body, Decline, LogHead, Offer, SignedMessage, Stop, Stopped
from ..training.optimizer import Momentum
from ..training.task import Rows
from ..training.tasks import Tasks, adapter_of
from ..training.training import TrainingData, load_training_data
from . import joining, step, voting
from .considering import Considered, consider
from .folder import SiteFolder
from .reach import RunReach
from .state import AGREEMENT, RunState
from .witnessing import SiteWatch

# After these nothing of the run can be trusted to go on here: a sum was opened that is no sum.
ENDS_THE_RUN = frozenset({"SUM_OUT_OF_BOUNDS", "OPENED_ALREADY"})


PUBLIC_RECORDS = 128  # of the public ones: their median lies within a twentieth of that of all, and they cost little


class Site:
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

    def consider(self, offer: Offer, run: str) -> Considered:
        """Preflight: everything that would refuse this offer, without sending, charging or reserving."""
        return consider(self.folder, offer, self._gate(run), dimension=self._dimension(offer))

    def handle(self, message: bytes) -> Sealed:
        """Answer one message of the coordinator. Raises coded errors; see the module's docstring."""
        received = SignedMessage.from_bytes(message)
        # 1. from the roster's coordinator, about this study
        received.verify(self.folder.roster.coordinator.key)
        if received.header.sender != self.folder.roster.coordinator.id or received.header.study != self.folder.study.id:
            raise ProtocolError("MESSAGE_FOREIGN", "the message is not from this study's coordinator")
        # 2. about the run that is open; a stop of a run that is not open has nothing left to do
        body, run = received.body, received.header.run
        gate = self._gate(run)
        known = self.state is not None and run == self.state.run
        if isinstance(body, Stop) and not (known and self._running()):
            return gate.tell(Stopped())
        if not isinstance(body, Offer) and not known:
            raise ProtocolError("RUN_UNKNOWN", "the message is about a run that is not open here")
        try:
            return self._dispatch(received, gate)
        except (Refused, GovernanceRefused, BudgetExceededError) as refused:
            # a refusal is this site's last word in the run: what was never started is given back, the keys are dropped
            self._end(run, refused.code)
            clause = refused.clause if isinstance(refused, Refused) else ""
            return gate.tell(Decline(code=refused.code, clause=clause))
        except ProtocolError as error:
            if error.code in ENDS_THE_RUN:
                self._end(run, error.code)
            raise

    def _dispatch(self, message: SignedMessage, gate: Gate) -> Sealed:
        kind = message.body.kind
        if kind == "offer":
            return self._join(message, gate)
        state, tools = self._open_run()
        _check_due(kind, state)
        # 3. everybody's log goes on from where it was seen, before anything is opened, charged or touched
        if self._watch is not None:
            self._watch.hear(message)
        if kind in AGREEMENT:
            return gate.tell(self._agree(message, state, tools), request=self._request(tools))
        if kind == "stop":
            return self._stop(state, gate)
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
        if self._running():
            raise ProtocolError("RUN_OPEN", "a run is open here; one run at a time")
        considered = consider(self.folder, body, gate, dimension=self._dimension(body))
        # where the coordinator's log stands, before anything is reserved
        self._watch = SiteWatch(self.folder, message.header.run)
        self._watch.hear(message)
        # what counts are held against is looked for before anything is charged
        self._texts = self.folder.public_texts()[:PUBLIC_RECORDS] if considered.counted is not None else ()
        settings = self.folder.study.settings(body.method)
        initial = self._tasks.initial(settings)
        sealed, self.state, admitted = joining.join(self.folder, message, considered, gate, initial=initial)
        # who is held out is in the run, too: what is counted of them decides what stays
        self.folder.reach.admit(
            _reach_of(message.header.run, considered, self.state), {*admitted.trained, *admitted.held_out}
        )
        self._offer, self.data, self._held_out = message, None, None
        self._public = None
        self.tools = step.StepTools(
            folder=self.folder,
            gate=gate,
            considered=considered,
            admitted=admitted.trained,
            held_out=admitted.held_out,
            optimizer=Momentum.for_plan(considered.plan, settings, self._tasks.schedule(settings)),
        )
        return sealed

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

    def _stop(self, state: RunState, gate: Gate) -> Sealed:
        self._end(state.run, "STOPPED_BY_COORDINATOR")
        return gate.tell(Stopped())

    def _running(self) -> bool:
        return self.state is not None and not self.state.finished

    def _end(self, run: str, code: str) -> None:
        self.folder.record("run.stopped", refs={"run": run}, data={"code": code})
        state = self.state
        if state is not None and state.run == run and not state.finished:
            self.folder.close_charges(run)
            state.wipe()
            self.state = self.data = self._held_out = self._public = None

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

    def _gate(self, run: str) -> Gate:
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
            show=self._show,
        )

    def _show(self, body: Body) -> LogHead | None:
        return None if self._watch is None else self._watch.show(body)


def _reach_of(run: str, considered: Considered, state: RunState) -> RunReach:
    return RunReach(
        run=run,
        method=considered.offer.method,
        epsilon=epsilon_text(considered.run_epsilon),
        delta=decimal_text(considered.run_delta),
        joined=write_time(state.started),
    )


def _check_due(kind: str, state: RunState) -> None:
    """Keys are agreed once, before the first step; a count ends before a step; a run may be ended at any time."""
    between = ("step", "readies", "count", "finish") if state.count is None else ("readies", "judge")
    due = AGREEMENT[state.agreed : state.agreed + 1] or between
    if kind not in (*due, "stop"):
        raise ProtocolError("MESSAGE_UNEXPECTED", f"a {kind} message is not due at this point of the run")
