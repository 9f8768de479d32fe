"""THE door: the only way out of a site. Decide, charge, noise, seal, log, hand over.

Two entries:

* ``disclose`` for anything computed from data: all six steps.
* ``tell`` for control messages: decide, closed schema, sign, log, hand over; no payload can pass.

Rules that this file alone holds:

* nothing is handed over that was not decided, charged and logged, durably and in that order;
* the noise that is added is the noise that was charged, checked by comparing the two events, and what it costs by
  comparing it with what the ledger holds;
* a request speaks of what is to leave: gradients, counts and votes are decided apart;
* a step is sealed once, and so is a transcript, which makes the step's key and masks; the sealed bytes are kept by the
  ledger and re-sent unchanged, never computed again;
* a refusal is logged, costs nothing, and says which clause stood in the way.

Not here: records, models, torch, engines, files. The gate takes values and returns a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Concatenate, ParamSpec

from ...governance.errors import BrokenLogError, GovernanceError
from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry, Value
from ...governance.policy.decide import Decision, decide
from ...governance.policy.explain import denials
from ...governance.policy.policy import Policy
from ...governance.policy.request import Request
from ...governance.signing.keys import SigningKey
from ...privacy.accounting.accountant import event_cost
from ...privacy.accounting.ledger import Ledger
from ...privacy.accounting.plan import Plan
from ...privacy.encryption import frame
from ...privacy.encryption.presets import PRESETS
from ...privacy.errors import PrivacyError
from ...privacy.keys.encrypt import StepSecret, encrypt
from ...privacy.keys.masks import step_mask
from ...privacy.keys.runkeys import RunSecret
from ...privacy.mechanism.mechanism import add_share
from ...privacy.mechanism.randomness import SecretStream
from ..errors import CoreError, Interrupted, ProtocolError, Refused
from ..messages import (
    Body,
    Decline,
    Finished,
    Frame,
    Join,
    Judged,
    Kem,
    Keyed,
    LedgerHeadSeen,
    LogHead,
    Ready,
    ReleaseNotice,
    Secret,
    SignedMessage,
    Stopped,
    sign_message,
)
from ..study import Stage
from ..training.going_on import never_stops
from ..training.update import Update
from .artefacts import artefact_of, charge_of
from .facts import ARTEFACT
from .sealed import Sealed
from .stages import CapExceeded, exceeded

# What may be told. None of these bodies has a field that training could fill.
TELLABLE: tuple[type[Body], ...] = (Join, Kem, Secret, Keyed, Ready, Judged, Finished, ReleaseNotice, Decline, Stopped)
# A refusal and the end of a run must be tellable when everything else is denied; they carry a code at most.
TELLABLE_WITHOUT_DECISION: tuple[type[Body], ...] = (Decline, Stopped)


@dataclass(frozen=True)
class StepContext:
    """What binds one disclosure to one place in one run: transcript hash H_t, ordered cohort, and the run's keys."""

    step: int
    transcript: bytes
    cohort: tuple[str, ...]
    run_secret: RunSecret
    pair_keys: Mapping[str, bytes]


P = ParamSpec("P")


def refusals_logged(method: Callable[Concatenate[Gate, P], Sealed]) -> Callable[Concatenate[Gate, P], Sealed]:
    """Every refusal leaves one entry that says why; a policy's is there already, with its decision."""

    @wraps(method)
    def guarded(gate: Gate, /, *arguments: P.args, **named: P.kwargs) -> Sealed:
        try:
            return method(gate, *arguments, **named)
        except (Refused, BrokenLogError, Interrupted):  # who was told to end has refused nothing
            raise
        except (CoreError, PrivacyError, GovernanceError) as error:
            gate.record_refusal(error.code)
            raise

    return guarded


class Gate:
    """One site's door for one run. Holds no record and no model."""

    def __init__(
        self,
        *,
        site: str,
        study: str,
        run: str,
        policy: Policy,
        stage: Stage,
        earlier_runs: int,
        key: SigningKey,
        ledger: Ledger,
        log: AuditLog,
        clock: Callable[[], datetime],
        show: Callable[[Body], LogHead | None] = lambda body: None,
        check: Callable[[], None] = never_stops,
        sealed_at: Iterable[bytes] = (),
    ) -> None:
        self._site = site
        self._study = study
        self._run = run
        self._policy = policy
        self._stage = stage
        self._earlier_runs = earlier_runs  # of this study in this stage, at this site
        self._key = key
        self._ledger = ledger
        self._log = log
        self._clock = clock
        self._check = check  # whether to go on, before every few blocks of a ciphertext
        self._show = show  # this site's log as its messages of a run show it to those who witness it
        # under which something was sealed: in this process, or in the one before it, as a site that goes on says
        self._transcripts = set(sealed_at)

    def decide(self, request: Request) -> Decision:
        """Decide and log, without sending: the site's policy, and the caps of the study's stage.

        Raises ``Refused`` with the first failed clause's code, or else that of the first cap.
        """
        decision = decide(self._policy, request)
        beyond = exceeded(self._stage, request, runs=self._earlier_runs + 1)
        codes = {result.code for result in decision.failed if result.code} | {cap.code for cap in beyond}
        self._record(
            "decision.refuse" if codes else "decision.permit",
            refs={"policy": self._policy.bytes_digest, "decision": decision.digest},
            data={"codes": sorted(codes)},
        )
        if not decision.permitted:
            raise refusal(self._site, self._policy, decision)
        if beyond:
            raise beyond_the_stage(self._site, beyond[0])
        return decision

    @refusals_logged
    def tell(self, body: Body, *, request: Request | None = None) -> Sealed:
        """Send a control message. Raises ``Refused``, or ``ProtocolError`` for a body that is not a control message."""
        # 1. closed schema: no other type, no payload, so no data can pass
        if type(body) not in TELLABLE:
            raise ProtocolError("NOT_TELLABLE", f"a {type(body).__name__} is not a control message")
        # 2. decide
        if type(body) not in TELLABLE_WITHOUT_DECISION:
            if request is None:
                raise ProtocolError("NOT_DECIDED", f"a {body.kind} message needs a decision")
            self.decide(request)
        # 3. sign
        shown = self._show(body)
        message = sign_message(body, study=self._study, run=self._run, sender=self._site, key=self._key, log=shown)
        # 4. log, durably
        self._record("control.told", refs={"message": message.digest}, data={"kind": body.kind})
        # 5. hand over
        return Sealed(message)

    @refusals_logged
    def disclose(
        self, update: Update, *, request: Request, plan: Plan, context: StepContext, stream: SecretStream
    ) -> Sealed:
        """Send one step's clipped integer sum, noised, masked and encrypted: of gradients, counts or votes alike.

        ``update.clipped.total`` is int64 of shape (plan.dimension,) in grid units; ``context.step`` counts the plan's
        own disclosures. Raises ``Refused`` when the policy denies, ``LedgerError`` when the step was not started or was
        sealed before, ``BadParametersError`` when the cohort does not carry enough noise, ``BrokenLogError`` when the
        log cannot be written.
        """
        artefact, charge = artefact_of(plan), charge_of(self._run, plan)
        if type(update) is not Update or update.plan != plan or update.step != context.step:
            raise ProtocolError("UPDATE_FOREIGN", "the update does not belong to this step and plan")
        # 1. decide: policy, approvals, consent, stop; default deny; and on this very thing
        self.decide(request)
        asked = request.get("transfer.artefacts")
        if asked is None or asked.value != frozenset({artefact}):
            raise ProtocolError("REQUEST_FOREIGN", f"what was decided on is not what is to leave: {artefact}")
        plan.check_sealing_rule(len(context.cohort))
        # 2. charge: the step's cost moved from reserved to started before its data were touched, and is this one's
        self._ledger.require_started(charge, context.step)
        charged, order = self._ledger.charged(charge)
        event = plan.event(len(context.cohort), context.step)
        if event_cost(event, order) > charged:
            raise ProtocolError("CHARGED_TOO_LITTLE", "this step costs more than was reserved for it")
        if context.transcript in self._transcripts:
            raise ProtocolError("TRANSCRIPT_SEALED", "something was sealed at this transcript: its masks would cancel")
        # 3. noise: added here, and its event is the one that was charged
        noised = add_share(
            update.clipped.total, plan, cohort=len(context.cohort), step=context.step, stream=stream
        )
        if noised.event != event:
            raise ProtocolError("NOISE_NOT_AS_CHARGED", "the noise added is not the noise that was charged")
        # 4. seal: pack, mask, encrypt, sign; marked sealed in the transaction that marks it disclosed
        preset = PRESETS[plan.preset]
        masks = step_mask(
            self._site, context.pair_keys, context.cohort, context.transcript, preset.words(plan.dimension), preset
        )
        secret = StepSecret.derive(context.run_secret, context.transcript)
        try:
            ciphertext = encrypt(noised.values, preset, secret=secret, masks=masks, progress=self._between_blocks)
        finally:
            secret.wipe()
            masks.fill(0)  # they would take this site's share apart; noise and sum are merely let go of
        del masks, noised  # as long as the vector each, and no longer needed
        head = self._ledger.head()
        body = Frame(
            step=context.step,
            transcript=context.transcript.hex(),
            key_check=context.run_secret.key_check(context.transcript),
            seeds=frame.seeds_digest(ciphertext),
            c0=frame.c0_digest(ciphertext),
            head=LedgerHeadSeen(entries=head.entries, mac=head.mac),
        )
        sealed = Sealed(
            sign_message(
                body,
                study=self._study,
                run=self._run,
                sender=self._site,
                key=self._key,
                parts={"frame": frame.encode(ciphertext)},
            )
        )
        self._ledger.disclose(charge, context.step, sealed.to_bytes())
        self._transcripts.add(context.transcript)
        # 5. log, durably
        kind, refs, where = _disclosure(sealed.message, plan, context.step, len(context.cohort))
        self._record(kind, refs=refs, data=where)
        # 6. hand over
        return sealed

    @refusals_logged
    def resend(self, kept: bytes) -> Sealed:
        """An answer of this run as it was kept, a step's sealed bytes for one: unchanged, so nothing new leaves."""
        message = SignedMessage.from_bytes(kept)
        if message.header.sender != self._site or message.header.run != self._run:
            raise ProtocolError("RESEND_FOREIGN", "the kept bytes are not this site's answer in this run")
        self._record("control.told", refs={"message": message.digest}, data={"kind": "RESENT"})
        return Sealed(message)

    def _between_blocks(self, done: int, total: int) -> None:
        self._check()

    def record_refusal(self, code: str) -> None:
        """Log that something was refused before a decision was asked for, or after it was given."""
        self._record("decision.refuse", refs={}, data={"codes": [code]})

    def _record(self, kind: str, *, refs: dict[str, str], data: dict[str, Value]) -> None:
        refs = {"run": self._run, **refs}
        self._log.append(Entry(type=kind, party=self._site, at=self._clock(), refs=refs, data=data))


def disclosure(kept: bytes, plan: Plan, step: int, cohort: int) -> tuple[str, dict[str, str], dict[str, Value]]:
    """What the log says of a disclosure, from its sealed bytes: type, references, figures.

    For a site that was killed between the ledger's mark and the log: it says so before the bytes are sent again.
    """
    return _disclosure(SignedMessage.from_bytes(kept), plan, step, cohort)


def _disclosure(
    message: SignedMessage, plan: Plan, step: int, cohort: int
) -> tuple[str, dict[str, str], dict[str, Value]]:
    refs = {"message": message.digest, "event": plan.event(cohort, step).digest(), "plan": plan.digest()}
    data: dict[str, Value] = {"step": step, "cohort": cohort}
    artefact = artefact_of(plan)
    if artefact == ARTEFACT:
        return "step.disclosed", refs, data
    return "counts.disclosed", refs, {**data, "artefact": artefact}


def refusal(site: str, policy: Policy, decision: Decision) -> Refused:
    """The refusal that a decision amounts to: the first failed clause names it, all are in the log by code."""
    first, *others = denials(policy, decision)
    more = f" (that is not all: `sekisho legal decide` shows {len(others)} more)" if others else ""
    return Refused(
        first.code,
        f"{site}: clause {first.clause}, {first.name.en}: {first.reason.en}",
        hint=f"{first.fix.en}{more}",
        site=site,
        clause=first.clause,
    )


def beyond_the_stage(site: str, cap: CapExceeded) -> Refused:
    """The refusal that an exceeded cap amounts to."""
    observed = "not known" if cap.observed is None else cap.observed
    return Refused(
        cap.code,
        f"{site}: the stage '{cap.stage}' of the study is capped at {cap.cap} {cap.allowed}, and this is {observed}",
        hint="stay within the stage, or have legal and IT sign the study in its next stage or with another cap",
        site=site,
    )
