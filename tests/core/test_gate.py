"""The door, one refusal at a time: nothing leaves, nothing is spent, and one entry in the log says why.

Each test is named after what is refused. The site is a real one with its own policy, ledger, log and keys; every test
has a run of its own, whose first step is started.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sekisho.core.data.intake import inspect, locate
from sekisho.core.engines.channel import carry
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.errors import CoreError, ProtocolError, Refused
from sekisho.core.gate import gate
from sekisho.core.gate.gate import TELLABLE, TELLABLE_WITHOUT_DECISION, Gate, StepContext
from sekisho.core.gate.sealed import Sealed
from sekisho.core.messages import (
    Body,
    Cohort,
    Decline,
    Finish,
    Frame,
    Kems,
    Keyed,
    LedgerHeadSeen,
    Offer,
    Readies,
    Ready,
    Secrets,
    SignedMessage,
    Step,
    Stop,
    Stopped,
)
from sekisho.core.planning import plan_of
from sekisho.core.site.folder import SiteFolder
from sekisho.core.site.papers import read_study
from sekisho.core.study import Stage
from sekisho.core.training.update import Update
from sekisho.governance.errors import BrokenLogError, GovernanceError
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.entries import Entry
from sekisho.governance.policy.request import Fact, Request
from sekisho.privacy.accounting.accountant import event_cost, step_cost
from sekisho.privacy.accounting.ledger import Ledger
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.encryption import bfv, frame
from sekisho.privacy.encryption.packing import unpack
from sekisho.privacy.encryption.presets import PRESETS
from sekisho.privacy.errors import BadParametersError, LedgerError, PrivacyError
from sekisho.privacy.event import NoiseEvent
from sekisho.privacy.gradients.clipping import ClippedSum
from sekisho.privacy.keys.masks import step_mask
from sekisho.privacy.keys.runkeys import RunSecret
from sekisho.privacy.keys.secretkey import StepSecret
from sekisho.privacy.mechanism.randomness import SecretStream

from ..federation import study_folder
from ..federation.study_folder import SITES

SITE = "hana"
DIMENSION = 17
STEPS = 3
NOW = datetime(2027, 1, 1, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64
HEAD = LedgerHeadSeen(entries=1, mac="00")
READY = Ready(step=1, transcript="00" * 32, consent="hmac-sha256:" + "c0" * 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteFolder]:
    study = study_folder.build(tmp_path_factory.mktemp("gate") / "study", steps=STEPS, allowance=1)
    base_model = inspect(locate(read_study(study).base_model, study))
    study_folder.sign_stop_list(study, NOW)
    folder = SiteFolder.open(study, SITE, base_model=base_model, clock=lambda: NOW)
    yield folder
    folder.close()


@dataclass
class Desk:
    """One run at the gate: what a site holds when it comes to disclose step 1."""

    folder: SiteFolder
    run: str
    plan: Plan
    gate: Gate
    log: AuditLog
    ledger: Ledger
    context: StepContext
    request: Request

    @property
    def update(self) -> Update:
        return Update(ClippedSum(np.arange(DIMENSION, dtype=np.int64), 3, 0), self.plan, 1)

    def disclose(self, update: Any = None, **named: Any) -> Sealed:
        """Step 1 as it should be, but for what ``named`` says."""
        given: dict[str, Any] = {
            "request": self.request,
            "plan": self.plan,
            "context": self.context,
            "stream": SecretStream(),
            **named,
        }
        return self.gate.disclose(self.update if update is None else update, **given)

    def context_with(self, **changes: Any) -> StepContext:
        return dataclasses.replace(self.context, **changes)

    def request_with(self, **facts: Fact | None) -> Request:
        changed = {name.replace("__", "."): fact for name, fact in facts.items()}
        kept = {name: fact for name, fact in self.request.facts.items() if name not in changed}
        return Request(kept | {name: fact for name, fact in changed.items() if fact is not None})

    def entries(self, start: int = 0) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.entries(start)]

    @contextmanager
    def refuses(self, *codes: str) -> Iterator[None]:
        """The block is refused with the first of ``codes``; nothing left or was spent; one entry says all of them."""
        size, balance, head = self.log.size, self.ledger.balance(), self.ledger.head()
        kept = self.ledger.sealed(self.run, 1)
        with pytest.raises((CoreError, GovernanceError, PrivacyError)) as caught:
            yield
        assert caught.value.code == codes[0]
        assert (self.ledger.balance(), self.ledger.head()) == (balance, head)
        assert self.ledger.sealed(self.run, 1) == kept
        new = self.entries(size)
        assert [entry["type"] for entry in new if entry["type"] != "decision.permit"] == ["decision.refuse"]
        assert new[-1]["data"] == {"codes": sorted(codes)} and new[-1]["refs"]["run"] == self.run


class Clock:
    """A clock that does something at a given look, so that a test can come between two entries of the log."""

    def __init__(self, looks: int = 0, then: Callable[[], None] = lambda: None) -> None:
        self.looks, self.then = looks, then

    def __call__(self) -> datetime:
        self.looks -= 1
        if self.looks == 0:
            self.then()
        return NOW


def desk_of(
    folder: SiteFolder,
    *,
    started: bool = True,
    log: AuditLog | None = None,
    ledger: Ledger | None = None,
    clock: Clock | None = None,
    stage: Stage | None = None,
    earlier_runs: int = 0,
    cost: int | None = None,
) -> Desk:
    run = f"run-{hashlib.sha256(str(folder.log.size).encode()).hexdigest()[:12]}"
    plan = plan_of(folder.study, "probe", dimension=DIMENSION)
    ledger, log = ledger or folder.ledger, log or folder.log
    order = ledger.balance().order
    cost = step_cost(plan, observers=plan.observers, order=order) if cost is None else cost
    subject = hashlib.sha256(run.encode()).digest()  # of this run alone, so that no other has spent its budget
    ledger.reserve(run, step_cost=cost, steps=plan.total_steps, subjects=[subject])
    if started:
        ledger.start(run, 1)
    gate = Gate(
        site=SITE,
        study=folder.study.id,
        run=run,
        policy=folder.policy,
        stage=stage or folder.study.current_stage,
        earlier_runs=earlier_runs,
        key=folder.key,
        ledger=ledger,
        log=log,
        clock=clock or Clock(),
    )
    offer = Offer(
        study_bytes=DIGEST, roster=DIGEST, method="probe", base_model=DIGEST, sites=SITES, plan=plan.to_json()
    )
    context = StepContext(
        step=1,
        transcript=hashlib.sha256(run.encode()).digest(),
        cohort=SITES,
        run_secret=RunSecret.generate(),
        pair_keys={peer: hashlib.sha256(peer.encode()).digest() for peer in SITES if peer != SITE},
    )
    folder.record("control.told", refs={"run": run}, data={"kind": "TEST"})  # so that the next run has another id
    return Desk(folder, run, plan, gate, log, ledger, context, folder.request_for_plan(plan, 2.9, offer))


@pytest.fixture
def desk(folder: SiteFolder) -> Desk:
    return desk_of(folder)


# -- what passes -----------------------------------------------------------------------------------------------------


def test_what_leaves_was_decided_charged_noised_sealed_and_logged(desk: Desk) -> None:
    size = desk.log.size
    sealed = desk.disclose()
    assert type(sealed) is Sealed and carry(sealed) == sealed.to_bytes()
    # decided first, logged last; both name the run
    decided, disclosed = desk.entries(size)
    assert (decided["type"], disclosed["type"]) == ("decision.permit", "step.disclosed")
    assert disclosed["refs"]["message"] == sealed.message.digest
    assert disclosed["refs"]["event"] == desk.plan.event(len(SITES), 1).digest()
    # charged before, and marked with the very bytes
    row = next(row for row in desk.ledger.balance().runs if row.run == desk.run)
    assert (row.started, row.disclosed) == (1, 1)
    assert desk.ledger.sealed(desk.run, 1) == sealed.to_bytes()
    # whoever holds every key finds the update with noise on it: not the update, and not far from it
    preset = PRESETS[desk.plan.preset]
    body = frame.decode(sealed.message.part("frame"), preset=preset, dimension=DIMENSION)
    key = StepSecret.derive(desk.context.run_secret, desk.context.transcript)
    masks = step_mask(
        SITE, desk.context.pair_keys, SITES, desk.context.transcript, preset.words(DIMENSION), preset
    )
    words = (bfv.open_words(body.c0, [body.seeds], preset, key.use()) - masks) & np.uint64(preset.plain_mask)
    noise = unpack(words, preset, DIMENSION) - desk.update.clipped.total
    assert 0.05 < float(np.mean(noise * noise)) / desk.plan.share_variance(len(SITES)) < 5  # 17 squares: p < 1e-7


def test_a_refusal_and_an_end_can_be_told_when_everything_else_is_denied(desk: Desk) -> None:
    for body in (Decline(code="STOPPED", clause="2"), Stopped()):
        assert desk.gate.tell(body).message.payload == b""
        assert desk.entries()[-1]["data"] == {"kind": body.kind}


# -- tell ------------------------------------------------------------------------------------------------------------


class ReadyWithLoss(Ready):
    """What somebody might add one day."""

    loss: float = 0.25


UNTELLABLE: list[Body] = [
    Frame(step=1, transcript="00", key_check="00", seeds=DIGEST, c0=DIGEST, head=HEAD),
    Offer(study_bytes=DIGEST, roster=DIGEST, method="probe", base_model=DIGEST, sites=SITES, plan={}),
    Cohort(sites=SITES),
    Kems(sites=SITES),
    Secrets(sites=SITES),
    Step(step=1, cohort=SITES, previous="none"),
    Readies(step=1, cohort=SITES),
    Finish(step=1, previous="summed"),
    Stop(code="X"),
    ReadyWithLoss(step=1, transcript="00", consent="hmac-sha256:" + "c0" * 32),
]


@pytest.mark.parametrize("body", UNTELLABLE, ids=lambda body: type(body).__name__)
def test_a_body_that_is_no_control_message(desk: Desk, body: Body) -> None:
    with desk.refuses("NOT_TELLABLE"):
        desk.gate.tell(body, request=desk.request)


def test_a_control_message_without_a_decision(desk: Desk) -> None:
    assert set(TELLABLE_WITHOUT_DECISION) == {Decline, Stopped}
    for body in (READY, Keyed(key_check="00")):
        assert type(body) in TELLABLE
        with desk.refuses("NOT_DECIDED"):
            desk.gate.tell(body)


def test_a_control_message_that_the_policy_denies(desk: Desk) -> None:
    with desk.refuses("STOPPED"):
        desk.gate.tell(READY, request=desk.request_with(stop__active=Fact(True, "roster")))


# -- disclose: the decision ------------------------------------------------------------------------------------------

DENIED: dict[str, tuple[dict[str, Fact | None], str, str]] = {
    "too few sites": ({"cohort__sites": Fact(2, "roster")}, "COHORT_TOO_SMALL", "6"),
    "a fact missing": ({"budget__run_epsilon": None}, "FACT_MISSING", "8"),
    "a fact on the coordinators word": ({"budget__run_epsilon": Fact(1, "study")}, "FACT_SOURCE", "8"),
    "no facts at all": ({}, "FACT_MISSING", "1"),
}


@pytest.mark.parametrize("name", DENIED)
def test_a_disclosure_that_the_policy_denies(desk: Desk, name: str) -> None:
    facts, code, clause = DENIED[name]
    request = desk.request_with(**facts) if facts else Request({})
    size = desk.log.size
    with pytest.raises(Refused) as caught:
        desk.disclose(request=request)
    assert (caught.value.code, caught.value.clause, caught.value.site) == (code, clause, SITE)
    assert caught.value.hint
    (refused,) = desk.entries(size)
    assert refused["type"] == "decision.refuse" and code in refused["data"]["codes"]
    assert desk.ledger.sealed(desk.run, 1) is None


def test_a_disclosure_after_a_stop(desk: Desk) -> None:
    with desk.refuses("STOPPED"):
        desk.disclose(request=desk.request_with(stop__active=Fact(True, "roster")))


def test_a_disclosure_after_the_policy_has_expired(desk: Desk) -> None:
    with desk.refuses("POLICY_EXPIRED"):
        desk.disclose(request=desk.request_with(time=Fact(datetime(2101, 1, 1, tzinfo=UTC), "clock")))


# -- disclose: the charge --------------------------------------------------------------------------------------------


def test_a_step_that_was_not_started(folder: SiteFolder) -> None:
    desk = desk_of(folder, started=False)
    with desk.refuses("STEP_NOT_STARTED"):
        desk.disclose()


def test_another_step_than_the_one_that_was_started(desk: Desk) -> None:
    with desk.refuses("STEP_NOT_STARTED"):
        desk.disclose(dataclasses.replace(desk.update, step=2), context=desk.context_with(step=2))


def test_a_run_that_is_closed(desk: Desk) -> None:
    desk.ledger.close(desk.run)
    with desk.refuses("RUN_CLOSED"):
        desk.disclose()


def test_a_step_that_was_settled(desk: Desk) -> None:
    desk.disclose()
    desk.ledger.settle(desk.run, 1)
    with desk.refuses("ALREADY_SEALED"):
        desk.disclose()


@pytest.mark.parametrize("fails", [False, True], ids=["sealed", "refused"])
def test_masks_and_key_are_gone_whether_or_not_the_step_was_sealed(
    fails: bool, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as a process can clear its own buffers: the masks' words and the key's seed."""
    masks: list[np.ndarray] = []
    secrets: list[StepSecret] = []
    encrypt = gate.encrypt

    def noted(*arguments: Any, **named: Any) -> Any:
        masks.append(named["masks"])
        secrets.append(named["secret"])
        assert masks[0].any() and any(secrets[0].use().seed)
        if fails:
            raise BadParametersError("WORKER_LOST", "a worker ended before its work did")
        return encrypt(*arguments, **named)

    monkeypatch.setattr(gate, "encrypt", noted)
    with pytest.raises(BadParametersError) if fails else nullcontext():
        desk.disclose()
    assert not any(mask.any() for mask in masks) and len(masks) == 1
    assert all(secret._key is None for secret in secrets)


def test_a_step_sealed_twice(desk: Desk) -> None:
    first = desk.disclose()
    with desk.refuses("ALREADY_SEALED"):
        desk.disclose()
    # what may be sent again is what was sent: the same bytes, and the log says so
    kept = desk.ledger.sealed(desk.run, 1)
    assert kept is not None
    size = desk.log.size
    assert [desk.gate.resend(kept).to_bytes() for _ in range(2)] == [first.to_bytes()] * 2
    assert [entry["data"]["kind"] for entry in desk.entries(size)] == ["RESENT", "RESENT"]


def test_no_noise_is_drawn_for_a_step_that_may_not_be_sealed(folder: SiteFolder) -> None:
    # a stream that was read for one frame and read again for the next would show their difference
    for desk in (desk_of(folder, started=False), desk_of(folder)):
        desk.ledger.close(desk.run)
        stream = SecretStream(bytes(32))
        with desk.refuses("RUN_CLOSED"):
            desk.disclose(stream=stream)
        assert stream.bytes(64) == SecretStream(bytes(32)).bytes(64)


def test_bytes_to_send_again_that_are_not_this_sites_frame_of_this_run(desk: Desk, folder: SiteFolder) -> None:
    other = desk_of(folder).disclose()
    with desk.refuses("RESEND_FOREIGN"):
        desk.gate.resend(other.to_bytes())
    with desk.refuses("MESSAGE_MALFORMED"):
        desk.gate.resend(b"SKM1 and nothing more")


# -- disclose: update, noise, keys -----------------------------------------------------------------------------------


class ChattyUpdate(Update):
    """An update that brings more along."""


def test_an_update_of_another_step_plan_or_type(desk: Desk) -> None:
    other_plan = dataclasses.replace(desk.plan, steps=desk.plan.steps + 1)
    foreign: list[Any] = [
        dataclasses.replace(desk.update, step=2),
        dataclasses.replace(desk.update, plan=other_plan),
        ChattyUpdate(desk.update.clipped, desk.plan, 1),
        desk.update.clipped,
        desk.update.clipped.total,
    ]
    for update in foreign:
        with desk.refuses("UPDATE_FOREIGN"):
            desk.disclose(update)
    with desk.refuses("UPDATE_FOREIGN"):
        desk.disclose(plan=other_plan)


class ForgetfulPlan(Plan):
    """Draws a quarter of the noise, and remembers the right event when it is charged and compared."""

    asked = 0

    def event(self, cohort: int, step: int, *, observers: int | None = None) -> NoiseEvent:
        event = super().event(cohort, step, observers=observers)
        ForgetfulPlan.asked += 1
        return dataclasses.replace(event, variance=event.variance // 4) if ForgetfulPlan.asked == 2 else event


def test_noise_that_is_not_the_noise_that_was_charged(desk: Desk) -> None:
    values = {field.name: getattr(desk.plan, field.name) for field in dataclasses.fields(Plan)}
    forgetful = ForgetfulPlan(**values)
    with desk.refuses("NOISE_NOT_AS_CHARGED"):
        desk.disclose(Update(desk.update.clipped, forgetful, 1), plan=forgetful)
    assert ForgetfulPlan.asked == 2


def test_a_gradient_step_that_was_charged_less_than_it_costs(folder: SiteFolder) -> None:
    plan = plan_of(folder.study, "probe", dimension=DIMENSION)
    cost = event_cost(plan.event(len(SITES), 1), folder.ledger.balance().order)
    desk, stream = desk_of(folder, cost=cost - 1), SecretStream(bytes(32))
    assert desk.plan == plan and not plan.cells  # of gradients, not of counts
    with desk.refuses("CHARGED_TOO_LITTLE"):
        desk.disclose(stream=stream)
    assert stream.bytes(64) == SecretStream(bytes(32)).bytes(64)  # and no noise was drawn for it
    # the control: one unit of the ledger more, and it leaves
    assert desk_of(folder, cost=cost).disclose()


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_cohort_below_the_minimum(desk: Desk, size: int) -> None:
    cohort = (SITE, *(site for site in SITES if site != SITE))[:size]
    with desk.refuses("NO_SUCH_COHORT"):
        desk.disclose(context=desk.context_with(cohort=tuple(sorted(cohort))))


def test_a_cohort_without_this_site_or_with_one_twice(desk: Desk) -> None:
    without = tuple(site for site in SITES if site != SITE)
    with desk.refuses("NOT_IN_COHORT"):
        desk.disclose(context=desk.context_with(cohort=without))
    with desk.refuses("COHORT_DUPLICATE"):
        desk.disclose(context=desk.context_with(cohort=(SITE, *without[:3], without[0])))


def test_keys_that_are_missing_or_wiped(desk: Desk) -> None:
    with desk.refuses("PAIR_KEY_MISSING"):
        desk.disclose(context=desk.context_with(pair_keys={"ame": bytes(32)}))
    wiped = RunSecret.generate()
    wiped.wipe()
    with desk.refuses("RUN_SECRET_WIPED"):
        desk.disclose(context=desk.context_with(run_secret=wiped))
    with desk.refuses("TRANSCRIPT_HASH"):
        desk.disclose(context=desk.context_with(transcript=b""))


# -- log and ledger that cannot be written ---------------------------------------------------------------------------


@pytest.fixture
def own_log(folder: SiteFolder, tmp_path: Path) -> AuditLog:
    return AuditLog.open(tmp_path / "log.sqlite", origin="sekisho.example/small-study/hana", key=folder.key)


def test_a_log_that_cannot_be_written_lets_nothing_out(folder: SiteFolder, own_log: AuditLog) -> None:
    desk = desk_of(folder, log=own_log)
    balance, head = desk.ledger.balance(), desk.ledger.head()
    own_log.close()
    attempts: list[Callable[[], Sealed]] = [
        desk.disclose,
        lambda: desk.gate.tell(READY, request=desk.request),
        lambda: desk.gate.tell(Stopped()),
    ]
    for attempt in attempts:
        with pytest.raises(BrokenLogError) as caught:
            attempt()
        assert caught.value.code == "LOG_UNWRITABLE"
    assert (desk.ledger.balance(), desk.ledger.head()) == (balance, head)
    assert desk.ledger.sealed(desk.run, 1) is None


def test_a_log_that_fails_at_the_last_moment_lets_nothing_out_and_forgets_no_charge(
    folder: SiteFolder, tmp_path: Path
) -> None:
    # Between the decision's entry and the disclosure's, somebody else writes to the log: it refuses from then on.
    path = tmp_path / "log.sqlite"
    origin = "sekisho.example/small-study/hana"
    log = AuditLog.open(path, origin=origin, key=folder.key)

    def interfere() -> None:
        with AuditLog.open(path, origin=origin, key=folder.key) as other:
            other.append(Entry(type="control.told", party=SITE, at=NOW))

    desk = desk_of(folder, log=log, clock=Clock(2, interfere))
    with pytest.raises(BrokenLogError) as caught:
        desk.disclose()
    assert caught.value.code == "LOG_UNWRITABLE"
    # the ledger knows that it was sealed: it counts as spent, and only these bytes could ever be sent for this step
    row = next(row for row in desk.ledger.balance().runs if row.run == desk.run)
    assert (row.started, row.disclosed) == (1, 1)
    with pytest.raises(BrokenLogError):
        desk.disclose()
    with pytest.raises(BrokenLogError):
        desk.gate.resend(desk.ledger.sealed(desk.run, 1) or b"")


def test_a_ledger_that_cannot_be_written_lets_nothing_out(folder: SiteFolder, tmp_path: Path) -> None:
    ledger = Ledger.open(
        tmp_path / "ledger.sqlite", dataset="d", budget=folder.budget, order=8, cap=2**50, key=bytes(32)
    )
    desk = desk_of(folder, ledger=ledger)
    size, balance, head = desk.log.size, ledger.balance(), ledger.head()
    ledger._db.execute("pragma query_only = 1")  # as on a disk that was mounted again, read-only
    with pytest.raises(LedgerError) as caught:
        desk.disclose()
    assert caught.value.code == "LEDGER_UNWRITABLE"
    assert desk.entries(size)[-1]["data"] == {"codes": ["LEDGER_UNWRITABLE"]}
    ledger._db.execute("pragma query_only = 0")
    assert (ledger.balance(), ledger.head(), ledger.sealed(desk.run, 1)) == (balance, head, None)
    ledger.shut()


# -- what an engine carries ------------------------------------------------------------------------------------------


class SealedToo(Sealed):
    """Not made by the gate."""


def test_an_engine_carries_sealed_and_nothing_else(desk: Desk) -> None:
    sealed = desk.disclose()
    message = sealed.message
    for answer in (message, sealed.to_bytes(), desk.update, desk.update.clipped.total, SealedToo(message), None, ""):
        with pytest.raises(ProtocolError) as caught:
            carry(answer)
        assert caught.value.code == "NOT_SEALED"

    class LeakySite:
        def handle(self, data: bytes) -> Any:
            return message

    channel = EmbeddedChannel({SITE: LeakySite()})
    channel.post(SITE, b"", 60.0)
    (reply,) = channel.poll()
    assert reply.data is None
    assert channel.failures[SITE].code == "NOT_SEALED"


def test_what_arrives_from_a_peer_cannot_be_handed_on_as_sealed(desk: Desk) -> None:
    received = SignedMessage.from_bytes(desk.disclose().to_bytes())
    with pytest.raises(ProtocolError):
        carry(received)


# The caps of the study's stage: the policy permits, and the gate refuses all the same.

CAPS: dict[str, tuple[dict[str, Any], int, str]] = {
    "sites": ({"sites": 3}, 0, "STAGE_SITES"),
    "people": ({"subjects": 10}, 0, "STAGE_SUBJECTS"),
    "epsilon": ({"epsilon_per_run": Decimal("2.8999")}, 0, "STAGE_EPSILON"),
    "runs": ({"runs": 2}, 2, "STAGE_RUNS"),
}


@pytest.mark.parametrize("name", CAPS)
def test_beyond_a_cap_of_the_stage_nothing_leaves(name: str, folder: SiteFolder) -> None:
    narrower, earlier, code = CAPS[name]
    stage = folder.study.current_stage
    capped = stage.model_copy(update={"caps": stage.caps.model_copy(update=narrower)})
    desk = desk_of(folder, stage=capped, earlier_runs=earlier)
    with desk.refuses(code):
        desk.disclose()
    with desk.refuses(code):
        desk.gate.tell(READY, request=desk.request)


def test_at_the_caps_of_the_stage_a_step_leaves(folder: SiteFolder) -> None:
    stage, study = folder.study.current_stage, folder.study
    exact = {"sites": len(study.sites), "subjects": study.declared_subjects, "runs": 3}
    caps = stage.caps.model_copy(update=exact | {"epsilon_per_run": Decimal("3.0")})
    assert desk_of(folder, stage=stage.model_copy(update={"caps": caps}), earlier_runs=2).disclose()


@pytest.mark.parametrize("fact", ["stage.sites", "stage.subjects"])
def test_a_cap_whose_fact_is_missing_is_exceeded(fact: str, folder: SiteFolder) -> None:
    desk = desk_of(folder)
    with desk.refuses(f"STAGE_{fact.split('.')[1].upper()}"):
        desk.disclose(request=desk.request_with(**{fact.replace(".", "__"): None}))
