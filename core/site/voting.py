"""One count at a site, and what follows from it: open the step, agree, count held-out people, judge, stay or go back.

``begin`` and ``take`` are those of a step (step.py) under the plan of counts and a transcript of their own; ``judge``
opens the sum, decides by the public rule (privacy/mechanism/verdict.py), and accepts the block or rolls it back.

Not here: when a count is due (blocks.py), who is held out (data/held_out.py), the rule itself.

The coordinator sees encrypted counts, and is told accepted, rejected or lost. A site that counts falsely can bend the
sum by as much as it likes within the bound; what it cannot do is make honest sites judge the same sum differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, Decimal

from ...governance.policy.request import Request
from ...governance.provenance.provenance import ValidationPart
from ...governance.signing.lifecycle import Act
from ...privacy.mechanism.judged import JudgedCounts
from ...privacy.mechanism.opened import OpenedCounts
from ...privacy.mechanism.randomness import SecretStream
from ...privacy.mechanism.verdict import Verdict, verdict_on
from ..conditions import ValidationSettings
from ..errors import ProtocolError
from ..gate.artefacts import charge_of
from ..gate.gate import StepContext, disclosure
from ..gate.sealed import Sealed
from ..messages import Count, Judge, Judged, Readies, Ready, SignedMessage
from ..planning import DOMAIN
from ..training.counting import count_step, is_above, middle_of
from ..training.movement import Push, pushes_of, too_far
from ..training.task import Rows
from ..training.training import TrainingData
from .blocks import count_is_due
from .consents import snapshot
from .considering import Counted
from .life import check
from .opening import Place, SumRead, opened, out_of_bounds, read_sum
from .state import CountRound, RunState
from .step import StepTools, apply, check_controllers, check_ready, cohort_of

LOST = "lost"
PLACES = Decimal("0.0001")


def begin(message: SignedMessage, state: RunState, tools: StepTools) -> Sealed:
    """Open the step before, apply it, and say where this site stands. Nothing is charged yet."""
    body = message.body
    if not isinstance(body, Count):
        raise ProtocolError("MESSAGE_UNEXPECTED", f"a {body.kind} message does not begin a count")
    folder, (settings, counted) = tools.folder, _validation(tools)
    # 1. the count that comes next, after a whole block, with nobody new; what is refused here has moved nothing
    if body.number > counted.plan.total_steps:
        raise ProtocolError("COUNT_BEYOND_PLAN", f"count {body.number} was never reserved")
    if state.count is not None or body.number != state.transcript.next_count or body.step != state.step:
        raise ProtocolError("COUNT_OUT_OF_ORDER", f"count {body.number} after step {body.step} does not come next")
    summed = body.previous == "summed"
    if not count_is_due(state, every=settings.every, steps=tools.plan.steps, summed=summed):
        raise ProtocolError("COUNT_NOT_DUE", f"the block that step {body.step} is in is not over")
    cohort = cohort_of(body, state, folder)
    # 2. the stop comes first: it is honoured before opening, too
    request = _request(tools, counted, cohort)
    tools.gate.decide(request)
    check(folder, Act.OPEN_SUM, tools.gate.record_refusal)
    # 3. open and apply the step
    apply(message, state, tools)
    state.cohort = cohort
    transcript = state.transcript.at_count(body.number, cohort, state.state_mac())
    state.count = CountRound(body.number, transcript, cohort)
    # 4. what consent stands as the count begins; whoever leaves after this is left out all the same
    consent = _record_consent(state, state.count, tools)
    # 5. tell; nothing has been charged
    return tools.gate.tell(Ready(step=body.number, transcript=transcript.hex(), consent=consent), request=request)


def take(
    message: SignedMessage,
    state: RunState,
    tools: StepTools,
    load: Callable[[], TrainingData],
    public: Callable[[], Rows],
) -> Sealed:
    """All sites stand at one transcript: start, ``load`` the data of those held out, count, disclose.

    ``public``: rows of public records as the task takes them; the middle of their scores orders them.
    """
    body, count = message.body, _open_count(state)
    if not isinstance(body, Readies) or body.step != count.number or body.cohort != count.cohort:
        raise ProtocolError("READIES_FOREIGN", "the readies are not those of the count that is open")
    folder, (_, counted) = tools.folder, _validation(tools)
    charge = charge_of(state.run, counted.plan)
    # 1. every site of the cohort, signed, at this very transcript
    for site in count.cohort:
        check_ready(message, site, count.number, count.transcript, state, folder)
    # 2. decide before the charge, so that a refusal costs nothing, and before a re-send, so that a stop outruns it
    request = _request(tools, counted, count.cohort)
    tools.gate.decide(request)
    check(folder, Act.TOUCH_DATA, tools.gate.record_refusal)
    # 3. a count that was sealed is re-sent unchanged, never computed again
    kept = folder.ledger.sealed(charge, count.number)
    if kept is not None:
        if not count.sealed:  # a kill came between the ledger's mark and the state; the middle is public
            count.middle_above = is_above(_middle(load(), public(), state))
            state.note_count_start(count, sealed=True)
            tools.acts.record(*disclosure(kept, counted.plan, count.number, len(count.cohort)))
        return tools.gate.resend(kept)
    counted.plan.check_sealing_rule(len(count.cohort))
    check_controllers(count.cohort, tools)
    # 4. the cost moves from reserved to started, durably, before data are touched; or it did before a kill (step.py)
    if not folder.ledger.is_started(charge, count.number):
        folder.ledger.start(charge, count.number)
    state.note_count_start(count)
    # 5. who may still be used; nobody enters; nobody at all discloses noise and is charged
    # what was sealed and lost before the first step reached somebody, too
    place = max(state.step, count.number - 1) + 1
    subjects = tools.usable(state.run, place, tools.held_out)
    stream = SecretStream()
    data = load()
    middle = _middle(data, public(), state)
    count.middle_above = is_above(middle)
    update = count_step(
        data,
        subjects,
        state.optimizer.vector,
        domain=DOMAIN,
        plan=counted.plan,
        step=count.number,
        stream=stream.derive(b"counting"),
        middle=middle,
    )
    # 6. the gate
    sealed = tools.gate.disclose(
        update,
        request=request,
        plan=counted.plan,
        context=StepContext(
            step=count.number,
            transcript=count.transcript,
            cohort=count.cohort,
            run_secret=state.secret(),
            pair_keys=state.pair_keys,
        ),
        stream=stream.derive(b"noise"),
    )
    state.note_count_start(count, sealed=True)
    return sealed


def judge(message: SignedMessage, state: RunState, tools: StepTools) -> Sealed:
    """Open the counts, judge the block that they are of, keep it or go back, and tell which."""
    body, count = message.body, _open_count(state)
    if not isinstance(body, Judge) or body.number != count.number:
        raise ProtocolError("MESSAGE_UNEXPECTED", "this is not the end of the count that is open")
    folder, (settings, counted) = tools.folder, _validation(tools)
    request = _request(tools, counted, count.cohort)
    tools.gate.decide(request)
    check(folder, Act.OPEN_SUM, tools.gate.record_refusal)
    # 1. open, where every site counted
    read, counts = None, None
    if body.previous == "summed":
        read, counts = _opened_counts(message, body, count, state, tools)
    else:
        tools.openings.check(f"count {count.number}", message.digest)
    # 2. the charge is settled whatever came of it; a count that never began has none
    if count.started:
        folder.ledger.settle(charge_of(state.run, counted.plan), count.number)
    # 3. judge; where nothing is known nothing is accepted, and the same block is counted again
    verdict = LOST
    if read is not None and counts is not None:
        pushes = _pushes(state, tools)
        found = _verdict(counts, pushes, state, settings)
        verdict = "accepted" if found.accept else "rejected"
        _note(read, counts, found, count, state, tools)
        _move(counts, pushes, found, state, tools)
    headers, total = ((), "") if read is None else (read.headers, read.total)
    state.transcript = state.transcript.after_count(count.number, verdict, headers, total)
    state.count = None
    # 4. tell the verdict alone
    judged = Judged.model_validate({"number": count.number, "verdict": verdict, "state_mac": state.state_mac()})
    return tools.gate.tell(judged, request=request)


def _opened_counts(
    message: SignedMessage, body: Judge, count: CountRound, state: RunState, tools: StepTools
) -> tuple[SumRead | None, JudgedCounts | None]:
    """The counts, under the rules of every sum; nothing where the sum is larger than any count."""
    folder, (_, counted) = tools.folder, _validation(tools)
    place = Place(count.number, count.transcript, count.cohort, count.sealed)
    read = read_sum(
        message, body.signers, place, state, plan=counted.plan, roster=folder.roster, site=folder.site
    )
    folder.heads.remember(read.heads)
    tools.openings.note(f"count {count.number}", message.digest)
    values = opened(read, place, state, counted.plan)
    if out_of_bounds(values, counted.plan, len(count.cohort)):
        return read, None
    counts = OpenedCounts.read(values, DOMAIN, counted.plan, len(count.cohort))
    return read, JudgedCounts(counts, count.middle_above)


def _pushes(state: RunState, tools: StepTools) -> tuple[Push, Push] | None:
    """What pushed the state since it was last accepted; None at the start, and where a sum was not applied."""
    kept = state.accepted
    if kept is None or state.spoilt:
        return None
    return pushes_of(
        kept.optimizer,
        state.optimizer,
        optimizer=tools.optimizer,
        plan=tools.plan,
        cohorts=[len(part.cohort) for part in state.history if part.step > kept.step and part.outcome == "completed"],
    )


def _verdict(
    counts: JudgedCounts, pushes: tuple[Push, Push] | None, state: RunState, settings: ValidationSettings
) -> Verdict:
    kept = state.accepted
    if kept is None:
        return Verdict(())  # the start is what every site begins with: there is nothing to go back to
    return verdict_on(
        counts,
        kept.counts,
        least=float(settings.least),
        trained=kept.completed > 0,
        spoilt=state.spoilt,
        far=pushes is not None and too_far(pushes, kept.farthest),
    )


def _note(
    read: SumRead, judged: JudgedCounts, found: Verdict, count: CountRound, state: RunState, tools: StepTools
) -> None:
    counts, order, labels = judged.counts, judged.right("order"), judged.right("label")
    people = [round(value) for value in counts.values]
    state.validations.append(
        ValidationPart(
            after_step=state.step,
            cohort=count.cohort,
            cells=dict(zip(counts.domain.cells, people, strict=True)),
            one_is=dict(judged.one_is),
            standard_error=_text(counts.standard_error),
            right=_text(order.value),
            low=_text(order.low),
            high=_text(order.high),
            labels=_text(labels.value),
            labels_low=_text(labels.low),
            labels_high=_text(labels.high),
            accepted=found.accept,
            sum=read.total,
        )
    )
    tools.acts.record(
        "validation.opened",
        {"sum": read.total},
        {
            "count": count.number,
            "step": state.step,
            "cells": [*people],
            "middle_above": judged.middle_above,
            "accepted": found.accept,
            "reasons": [*found.reasons],
        },
    )


def _move(
    counts: JudgedCounts, pushes: tuple[Push, Push] | None, found: Verdict, state: RunState, tools: StepTools
) -> None:
    if found.accept:
        state.accept(counts, pushes)
        return
    state.roll_back()
    state.rejected += 1
    tools.acts.record("block.rolled-back", data={"step": state.step, "completed": state.completed})


def _record_consent(state: RunState, count: CountRound, tools: StepTools) -> str:
    # under a key of this count, as of a step: not even a change of the register shows in the log
    folder = tools.folder
    told = snapshot(folder.register, folder.subject_key, f"{state.run}/count/{count.number}")
    tools.acts.record("consent.snapshot", {"snapshot": told}, {"count": count.number})
    return told


def _middle(data: TrainingData, public: Rows, state: RunState) -> float:
    return middle_of(data.task.scores(public, state.optimizer.vector))


def _request(tools: StepTools, counted: Counted, cohort: Sequence[str]) -> Request:
    return tools.folder.request_for_plan(counted.plan, counted.epsilon, tools.considered.offer, cohort=cohort)


def _validation(tools: StepTools) -> tuple[ValidationSettings, Counted]:
    settings, counted = tools.folder.study.validation, tools.considered.counted
    if settings is None or counted is None:
        raise ProtocolError("MESSAGE_UNEXPECTED", "no block of this run is judged")
    return settings, counted


def _open_count(state: RunState) -> CountRound:
    if state.count is None:
        raise ProtocolError("MESSAGE_UNEXPECTED", "no count is open here")
    return state.count


def _text(value: float) -> str:
    return str(Decimal(repr(value)).quantize(PLACES, rounding=ROUND_CEILING))
