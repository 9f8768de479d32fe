"""Before the first step at a site: offer -> own certificate of its plan -> decision -> join -> cohort -> run secret.

Order of calls: ``consider`` (preflight and offer; decides before a record is read, reads records, reserves nothing),
``join`` (reserves the whole run and draws keys), ``meet`` (verifies every join and its own ledger, sends ML-KEM
ciphertexts), ``exchange`` (the others' ledgers, pair keys; the lowest site draws the run secret), ``receive_secret``
(the others open it).

The run secret travels only under keys that two roster-signed joins authenticate: the coordinator cannot substitute its
own (tests/attacks/test_substituted_run_secret.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...governance.provenance.provenance import SitePart, epsilon_text, size_bucket
from ...privacy.accounting.accountant import step_cost, worst_certificate
from ...privacy.accounting.plan import Plan
from ...privacy.errors import BadParametersError
from ...privacy.keys.runkeys import JoinKeys, JoinPublic, RunSecret, pair_key
from ..data.eligible import eligible_subjects
from ..errors import ProtocolError, Refused
from ..gate.gate import Gate
from ..gate.sealed import Sealed
from ..messages import Body, Join, Kem, Keyed, LedgerHeadSeen, Offer, Secret, SignedMessage
from ..planning import plan_of
from ..training.optimizer import OptimizerState
from .folder import SiteFolder, rounded_up
from .heads import Claim, answers, claims_about, judge_own, judge_peer
from .life import check_may_start
from .state import RunState, Transcript

BodyT = TypeVar("BodyT", bound=Body)


@dataclass(frozen=True)
class Considered:
    """An offer that this site can accept: its plan, the site's own certificate, and who would take part."""

    offer: Offer
    plan: Plan
    epsilon: float
    step_cost: int
    subjects: tuple[str, ...]
    excluded: dict[str, int]
    dataset: str


def consider(folder: SiteFolder, offer: Offer, gate: Gate, *, dimension: int) -> Considered:
    """Everything that can refuse an offer, in order. Charges nothing, sends nothing."""
    # 1. the offer is about the papers that this site accepted
    if offer.study_bytes != folder.study.digest or offer.roster != folder.roster.fingerprint:
        raise Refused(
            "OFFER_FOREIGN",
            f"{folder.site}: the offer is for another study or roster than the one approved here",
            hint="compare the digests of study.yaml and roster.yaml with the coordinator",
            site=folder.site,
        )
    same_sites = offer.sites == tuple(sorted(folder.study.sites))
    if not same_sites or offer.method not in folder.study.methods or offer.base_model != folder.base_model.digest:
        raise Refused(
            "OFFER_FOREIGN",
            f"{folder.site}: the offer has other sites, methods or weights than the study",
            hint="coordinator and site must run the same version on the same study.yaml",
            site=folder.site,
        )
    # 2. the plan is the one that the study's figures give, certified here
    plan = _certified(folder, offer, dimension=dimension)
    epsilon = worst_certificate(plan, plan.observers)
    if epsilon > float(plan.epsilon):
        raise Refused(
            "PLAN_NOT_CERTIFIED",
            f"{folder.site}: the offered plan costs more than it says",
            hint="lower epsilon or the number of steps in study.yaml, and have it approved again",
            site=folder.site,
        )
    cost = step_cost(plan, observers=plan.observers, order=folder.ledger_order)
    # 3. decide, before a record is read
    standing = folder.standing(
        cohort=offer.sites,
        observers=plan.observers,
        epsilon=rounded_up(epsilon),
        delta=plan.delta,
        steps=plan.total_steps,
        lifetime_fits=folder.lifetime_fits(cost * plan.total_steps),
    )
    gate.decide(folder.request(standing, method=offer.method))
    # what could never be released is not worth anybody's budget
    gate.decide(folder.request(standing, method=offer.method, action="release"))
    # 4. legal and IT, always, and no stop, whatever the policy asks for
    check_may_start(folder, gate.record_refusal)
    # 5. records, and who of them may be used now
    eligible = eligible_subjects(
        folder.dataset().subjects,
        folder.register,
        scope=folder.study.legal_basis_scope,
        now=folder.clock(),
        site=folder.site,
    )
    return Considered(offer, plan, epsilon, cost, eligible.subjects, dict(eligible.excluded), folder.dataset_digest())


def join(
    folder: SiteFolder, message: SignedMessage, considered: Considered, gate: Gate, *, initial: NDArray[np.float64]
) -> tuple[Sealed, RunState, tuple[str, ...]]:
    """Reserve the whole run and take part from the public state ``initial`` on (float64 [d]).

    Returns the sealed join, the run's state, and the admitted subjects.
    """
    plan = considered.plan
    prints = {folder.subject_key.fingerprint(subject): subject for subject in considered.subjects}
    # 1. reserve before data are touched; the budget of all runs has room (``consider``), so everybody can pay
    admitted = folder.ledger.reserve(
        message.header.run, step_cost=considered.step_cost, steps=plan.total_steps, subjects=list(prints)
    )
    try:
        sealed, state = _tell_join(folder, message, considered, gate, initial)
    except BaseException:
        folder.ledger.close(message.header.run)  # no step was started, so nothing of the reservation stays
        raise
    return sealed, state, tuple(sorted(prints[mark] for mark in admitted))


def _tell_join(
    folder: SiteFolder, message: SignedMessage, considered: Considered, gate: Gate, initial: NDArray[np.float64]
) -> tuple[Sealed, RunState]:
    plan = considered.plan
    records = folder.committed_records(message.header.run).commitment
    folder.record(
        "budget.reserved",
        refs={"run": message.header.run, "plan": plan.digest(), "dataset": records},
        data={
            "steps": plan.total_steps,
            "step_cost": considered.step_cost,
            "preset": plan.preset,
            "study": folder.study.id,
            "stage": folder.study.stage,
        },
    )
    # 2. fresh keys of this run
    keys = JoinKeys.generate()
    public = keys.public
    head = folder.ledger.head()
    body = Join(
        offer=message.digest,
        plan=plan.digest(),
        x25519=public.x25519.hex(),
        mlkem=public.mlkem.hex(),
        head=LedgerHeadSeen(entries=head.entries, mac=head.mac),
        seen=folder.heads.seen(),
        policy=folder.policy.bytes_digest,
        dataset=records,
        epsilon=epsilon_text(considered.epsilon),
    )
    # 3. tell
    sealed = gate.tell(body, request=folder.request_for_plan(considered.plan, considered.epsilon, considered.offer))
    state = RunState(
        run=message.header.run,
        transcript=Transcript(message.header.run, folder.roster.fingerprint, b"", b""),
        optimizer=OptimizerState.start(initial),
        cohort=considered.offer.sites,
        join_keys=keys,
        started=folder.clock(),
    )
    return sealed, state


def meet(
    folder: SiteFolder, message: SignedMessage, state: RunState, considered: Considered, offer: SignedMessage
) -> tuple[Kem, dict[str, JoinPublic]]:
    """Verify every join of the cohort and encapsulate to every site with a higher id."""
    publics: dict[str, JoinPublic] = {}
    digests: list[tuple[str, str]] = []
    joins: dict[str, Join] = {}
    for site in considered.offer.sites:
        # 1. signed by that site's roster key, for this run and this very offer
        received = SignedMessage.from_bytes(message.part(f"join:{site}"))
        received.verify(folder.roster.party(site).key)
        body = received.body
        if not isinstance(body, Join) or not received.is_from(site, study=folder.study.id, run=state.run):
            raise ProtocolError("JOIN_FOREIGN", f"what is listed for '{site}' is not its join of this run")
        if body.offer != offer.digest or body.plan != considered.plan.digest():
            raise ProtocolError("JOIN_FOREIGN", f"'{site}' joined another offer or plan")
        # 2. its ledger is not behind where this site saw it
        if site != folder.site:
            folder.heads.check_join(site, body.head)
        publics[site] = JoinPublic(bytes.fromhex(body.x25519), bytes.fromhex(body.mlkem))
        digests.append((site, received.digest))
        state.parts[site] = SitePart(
            id=site,
            policy=body.policy,
            dataset=body.dataset,
            subjects=size_bucket(folder.study.subjects[site]),  # the declared public number, not a count
            epsilon=body.epsilon,
        )
        joins[site] = body
    # 3. own join is among them unchanged
    if publics[folder.site] != state.join_keys.public:
        raise ProtocolError("JOIN_FOREIGN", "this site's own join was exchanged")
    state.joins = joins
    # 4. this site's own ledger is where the others saw it
    claims = claims_about(folder.site, joins, folder.roster)
    _check_own_ledger(folder, state.run, claims, observers=considered.plan.observers)
    state.transcript = Transcript.begin(
        run=state.run, roster=folder.roster.fingerprint, offer=offer.digest, joins=digests
    )
    ciphertexts = {}
    for peer in considered.offer.sites:
        if peer > folder.site:
            ciphertext, shared = state.join_keys.encapsulate(publics[peer])
            state.pair_keys[peer] = _pair(folder.site, peer, state, publics[peer], shared)
            ciphertexts[peer] = ciphertext.hex()
    return Kem(ciphertexts=ciphertexts, had=answers(claims, folder.ledger.head_at)), publics


def _check_own_ledger(folder: SiteFolder, run: str, claims: Sequence[Claim], *, observers: int) -> None:
    disputed = judge_own(
        folder.site,
        claims,
        controller=folder.roster.party(folder.site).controller,
        entries=folder.ledger.head().entries,
        head_at=folder.ledger.head_at,
        observers=observers,
    )
    if disputed:  # too few to be believed: whoever claims it is named, and the run goes on
        folder.record(
            "ledger.disputed",
            refs={"run": run},
            data={
                "code": "HEAD_DISPUTED",
                "witnesses": [claim.witness for claim in disputed],
                "entries": [claim.head.entries for claim in disputed],
            },
        )


def exchange(
    folder: SiteFolder,
    message: SignedMessage,
    state: RunState,
    publics: dict[str, JoinPublic],
    *,
    observers: int,
) -> Secret:
    """Decapsulate from every site with a lower id; the lowest site draws the run secret and wraps it for each other.

    Before that, every other's ledger must be the one that was seen; only then are the joins' heads remembered.
    """
    bodies = {peer: _from_peer(folder, message, f"kem:{peer}", peer, state, Kem) for peer in state.cohort}
    for peer in sorted(set(state.cohort) - {folder.site}):
        judge_peer(
            folder.site,
            peer,
            claims_about(peer, state.joins, folder.roster),
            controller=folder.roster.party(peer).controller,
            joined=state.joins[peer].head,
            answered=bodies[peer].had,
            observers=observers,
        )
    folder.heads.remember({peer: join.head for peer, join in state.joins.items()})
    for peer in state.cohort:
        if peer < folder.site:
            body = bodies[peer]
            ciphertext = body.ciphertexts.get(folder.site)
            if ciphertext is None:
                raise ProtocolError("KEM_MISSING", f"'{peer}' sent no ciphertext for this site")
            shared = state.join_keys.decapsulate(bytes.fromhex(ciphertext))
            state.pair_keys[peer] = _pair(folder.site, peer, state, publics[peer], shared)
    if folder.site != min(state.cohort):
        return Secret(wrapped={})
    state.run_secret = RunSecret.generate()
    return Secret(
        wrapped={
            peer: state.run_secret.wrap(
                state.pair_keys[peer], h0=state.transcript.h0, sender=folder.site, recipient=peer
            ).hex()
            for peer in state.cohort
            if peer != folder.site
        }
    )


def receive_secret(folder: SiteFolder, message: SignedMessage, state: RunState) -> Keyed:
    """Open the run secret under the authenticated pair key, and prove to hold it."""
    lowest = min(state.cohort)
    if folder.site != lowest:
        body = _from_peer(folder, message, f"secret:{lowest}", lowest, state, Secret)
        wrapped = body.wrapped.get(folder.site)
        if wrapped is None:
            raise ProtocolError("SECRET_MISSING", f"'{lowest}' sent no run secret for this site")
        state.run_secret = RunSecret.unwrap(
            state.pair_keys[lowest],
            bytes.fromhex(wrapped),
            h0=state.transcript.h0,
            sender=lowest,
            recipient=folder.site,
        )
    return Keyed(key_check=state.secret().key_check(state.transcript.h0))


def _from_peer(
    folder: SiteFolder, message: SignedMessage, part: str, peer: str, state: RunState, model: type[BodyT]
) -> BodyT:
    received = SignedMessage.from_bytes(message.part(part))
    received.verify(folder.roster.party(peer).key)
    body = received.body
    if not isinstance(body, model) or not received.is_from(peer, study=folder.study.id, run=state.run):
        raise ProtocolError("PEER_FOREIGN", f"what is listed for '{peer}' is not its message of this run")
    return body


def _pair(own: str, peer: str, state: RunState, public: JoinPublic, shared: bytes) -> bytes:
    return pair_key(
        state.join_keys, public, shared, h0=state.transcript.h0, low=min(own, peer), high=max(own, peer)
    )


def _certified(folder: SiteFolder, offer: Offer, *, dimension: int) -> Plan:
    try:
        plan = Plan.from_json(dict(offer.plan))
    except BadParametersError as error:
        raise Refused(error.code, f"{folder.site}: {error.sentence}", error.hint, site=folder.site) from None
    own = plan_of(folder.study, offer.method, dimension=dimension)
    if plan != own:
        raise Refused(
            "PLAN_DIFFERS",
            f"{folder.site}: the offered plan is not the one that the study's figures give",
            hint="coordinator and site must run the same version on the same study.yaml",
            site=folder.site,
        )
    return own
