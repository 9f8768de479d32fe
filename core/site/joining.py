"""Before the first step at a site: a considered offer (considering.py) -> join -> cohort -> run secret.

Order of calls: ``join`` (reserves the whole run and draws keys), ``meet`` (verifies every join and its own ledger,
sends ML-KEM ciphertexts), ``exchange`` (the others' ledgers, pair keys; the lowest site draws the run secret),
``receive_secret`` (the others open it).

The run secret travels only under keys that two roster-signed joins authenticate: the coordinator cannot substitute its
own (tests/attacks/test_substituted_run_secret.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...governance.log.entries import Value
from ...governance.provenance.provenance import SitePart, epsilon_text, size_bucket
from ...governance.signing.envelope import write_time
from ...privacy.accounting.plan import Plan
from ...privacy.budget import decimal_text
from ...privacy.keys.runkeys import JoinKeys, JoinPublic, RunSecret, pair_key
from ..errors import ProtocolError
from ..gate.artefacts import charge_of
from ..gate.gate import Gate
from ..gate.sealed import Sealed
from ..messages import Body, Join, Kem, Keyed, LedgerHeadSeen, Secret, SignedMessage
from ..training.optimizer import OptimizerState
from .budget import lifetime_figures
from .considering import Considered
from .folder import SiteFolder
from .heads import Claim, answers, claims_about, judge_own, judge_peer
from .reach import RunReach
from .state import RunState, Transcript

BodyT = TypeVar("BodyT", bound=Body)


@dataclass(frozen=True)
class Admitted:
    """Who is in the run here: those that train, and those that are counted."""

    trained: tuple[str, ...]
    held_out: tuple[str, ...]


def join(
    folder: SiteFolder, message: SignedMessage, considered: Considered, gate: Gate, *, initial: NDArray[np.float64]
) -> tuple[Sealed, RunState, Admitted]:
    """Reserve the whole run and take part from the public state ``initial`` on (float64 [d]).

    Returns the sealed join, the run's state, and who was admitted.
    """
    run, counted = message.header.run, considered.counted
    # 1. reserve before data are touched; the budget of all runs has room (``consider``), so everybody can pay
    admitted = _reserve(folder, run, considered.plan, considered.step_cost, considered.subjects, counted is not None)
    held_out: tuple[str, ...] = ()
    try:
        if counted is not None:
            charge = charge_of(run, counted.plan)
            held_out = _reserve(folder, charge, counted.plan, counted.step_cost, counted.subjects, True)
        sealed, state = _tell_join(folder, message, considered, gate, initial)
    except BaseException:
        folder.close_charges(run)  # no step was started, so nothing of the reservations stays
        raise
    return sealed, state, Admitted(admitted, held_out)


def _reserve(
    folder: SiteFolder, charge: str, plan: Plan, cost: int, subjects: Sequence[str], nobody: bool
) -> tuple[str, ...]:
    """Who can pay for all of ``plan``, in order of id. ``nobody``: where people are divided, a side may be empty."""
    prints = {folder.subject_key.fingerprint(subject): subject for subject in subjects}
    admitted = folder.ledger.reserve(
        charge, step_cost=cost, steps=plan.total_steps, subjects=list(prints), nobody=nobody
    )
    return tuple(sorted(prints[mark] for mark in admitted))


def _tell_join(
    folder: SiteFolder, message: SignedMessage, considered: Considered, gate: Gate, initial: NDArray[np.float64]
) -> tuple[Sealed, RunState]:
    plan, counted = considered.plan, considered.counted
    records = folder.committed_records(message.header.run).commitment
    refs = {"run": message.header.run, "plan": plan.digest(), "dataset": records}
    data: dict[str, Value] = {
        "steps": plan.total_steps,
        "step_cost": considered.step_cost,
        "preset": plan.preset,
        "study": folder.study.id,
        "stage": folder.study.stage,
    }
    if counted is not None:
        refs["counts"] = counted.plan.digest()
        data |= {"counts": counted.plan.total_steps, "count_cost": counted.step_cost}
    # what the run is certified to cost, and what the life has spent should all of it be used: for whoever reads the log
    data |= {"epsilon": epsilon_text(considered.run_epsilon), "delta": f"{plan.delta:f}"}
    data |= lifetime_figures(folder.ledger.balance(), folder.budget)
    folder.record("budget.reserved", refs=refs, data=data)
    # 2. fresh keys of this run
    keys = JoinKeys.generate()
    public = keys.public
    head = folder.ledger.head()
    body = Join(
        offer=message.digest,
        plan=plan.digest(),
        counts_plan=None if counted is None else counted.plan.digest(),
        x25519=public.x25519.hex(),
        mlkem=public.mlkem.hex(),
        head=LedgerHeadSeen(entries=head.entries, mac=head.mac),
        seen=folder.heads.seen(),
        policy=folder.policy.bytes_digest,
        dataset=records,
        epsilon=epsilon_text(considered.run_epsilon),
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
    # 0. the joins of those who were asked, and nothing else: the answer commits to every part, and a part that nobody
    # reads could show any old head of this site's log as one that it goes back on (misbehaviour.py, disowned)
    asked = {f"join:{site}" for site in considered.offer.sites}
    if {part.name for part in message.header.parts} - asked:
        raise ProtocolError("JOIN_FOREIGN", "the cohort holds other parts than the joins of those who were asked")
    for site in considered.offer.sites:
        # 1. signed by that site's roster key, for this run and this very offer
        received = SignedMessage.from_bytes(message.part(f"join:{site}"))
        received.verify(folder.roster.party(site).key)
        body = received.body
        if not isinstance(body, Join) or not received.is_from(site, study=folder.study.id, run=state.run):
            raise ProtocolError("JOIN_FOREIGN", f"what is listed for '{site}' is not its join of this run")
        counts = None if considered.counted is None else considered.counted.plan.digest()
        if body.offer != offer.digest or (body.plan, body.counts_plan) != (considered.plan.digest(), counts):
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
    if publics[folder.site] != state.own_keys().public:
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
            ciphertext, shared = state.own_keys().encapsulate(publics[peer])
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
            shared = state.own_keys().decapsulate(bytes.fromhex(ciphertext))
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
    state.join_keys = None  # whoever finds what is kept of the run later cannot agree on its keys anew
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
        state.own_keys(), public, shared, h0=state.transcript.h0, low=min(own, peer), high=max(own, peer)
    )



def reach_of(run: str, considered: Considered, state: RunState) -> RunReach:
    """What the site notes of a run for those who ask later which runs their records were in."""
    return RunReach(
        run=run,
        method=considered.offer.method,
        epsilon=epsilon_text(considered.run_epsilon),
        delta=decimal_text(considered.run_delta),
        joined=write_time(state.started),
    )
