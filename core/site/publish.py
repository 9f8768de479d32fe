"""After the last step: release conditions -> approvals -> gate -> a signed folder with everything that goes with it.

A recipient site does this, never the coordinator, which holds no model. The adapter is post-processing of sums that
were charged, so publishing costs no budget; that it may be published, and to whom, is the policy's release grant; what
else a release depends on is governance/provenance/conditions.py. Nothing is handed over unless the gate has told it.

Order of calls: ``publish(site, folder)`` after a run. Where the release itself needs approvals it keeps a candidate in
the site's state and refuses with RELEASE_APPROVALS_MISSING; ``finish(owner, run, folder)`` releases that candidate once
they lie beside its record.

Files written: ``adapter.safetensors`` (what trained; for LoRA also the files that peft loads), ``provenance.dsse.json``
(in-toto, signed by this site, naming each of them by digest), ``LICENCE``, ``NOTICE.md``, ``release.json`` with its
approvals, and last ``release.dsse.json``, signed by this site, about every file of the folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from ...governance.canonical import digest_bytes
from ...governance.errors import Refused as GovernanceRefused
from ...governance.log.entries import EntryType
from ...governance.policy.request import Request
from ...governance.provenance.conditions import AuditResult, Found, conditions, expiry
from ...governance.provenance.provenance import ADAPTER_FILE
from ...governance.provenance.refusing import refusal
from ...governance.provenance.release import (
    RECORD,
    STATEMENT,
    ReleaseRecord,
    check_approved,
    release_approvals,
    release_statement,
)
from ...governance.signing.envelope import Statement, read_time, sign_statement, write_envelopes, write_time
from ...governance.signing.lifecycle import Act
from ..errors import ProtocolError, Refused
from ..gate.facts import request_for
from ..gate.gate import Gate
from ..messages import ReleaseNotice
from ..training.adapter import Adapter
from ..training.tasks import adapter_files
from .candidate import (
    APPROVALS,
    PROVENANCE,
    Candidate,
    Decided,
    approvals_asked,
    approvals_beside,
    keep,
    parties_of,
    read_candidate,
    terms_of,
)
from .folder import SiteFolder, rounded_up
from .life import check
from .notices import LICENCE, NOTICE, licence_text, notice
from .revocations import revoke
from .site import Site
from .statement import run_statement


@dataclass(frozen=True)
class Published:
    """A released adapter, the record of its release, and the signed provenance statement that names it."""

    adapter: Adapter
    record: ReleaseRecord
    provenance: bytes


def publish(site: Site, folder: Path, *, audit: AuditResult | None = None) -> Published:
    """Release the adapter that ``site`` holds into ``folder``.

    ``audit`` is what the checks of this run found. Raises ``Refused`` when no release grant holds, and the code of the
    first condition that does not; every refusal is in the site's log with all its codes.
    """
    state, tools = site.state, site.tools
    if state is None or tools is None or state.completed == 0:
        raise ProtocolError("NOTHING_TO_PUBLISH", "there is no finished run at this site")
    owner = site.folder
    decided = Decided(
        method=tools.considered.offer.method,
        cohort=tuple(state.step_cohort),
        observers=tools.plan.observers,
        epsilon=str(rounded_up(tools.considered.epsilon)),
        delta=str(tools.plan.delta),
        steps=tools.plan.total_steps,
    )
    with _refusals_logged(owner, state.run) as codes:
        # 1. decide: the release grant, before a file is written
        request = _request(owner, decided)
        grant = tools.gate.decide(request).grant or ""
        check(owner, Act.PUBLISH, tools.gate.record_refusal)
        # 2. the adapter, where it came from, and every condition with its outcome
        adapter, candidate = _candidate(site, decided, grant, audit)
        codes.update(candidate.record.refused_by)
        candidate.record.check()
        # 3. the people who must approve the release itself
        if candidate.record.approvals:
            keep(candidate, owner.candidates / state.run)
        # 4. tell and log through the gate; only then is it handed over
        _hand_over(tools.gate, owner, candidate, request, folder)
    return Published(adapter, candidate.record, candidate.files[PROVENANCE])


def finish(owner: SiteFolder, run: str, folder: Path) -> ReleaseRecord:
    """Release the candidate of ``run`` into ``folder``, if it is approved, and permitted, now.

    Raises:
        Refused: of the policy; RELEASE_APPROVALS_MISSING, RELEASE_CANDIDATE_CHANGED and the codes of conditions.
        BadInputError: CANDIDATE_MISSING.
    """
    candidate = read_candidate(owner.candidates / run)
    with _refusals_logged(owner, run):
        # 1. it is what this study asked for: a record that asks for fewer signatures is another one's
        if candidate.record.run != run or dict(candidate.record.approvals) != approvals_asked(owner.study):
            raise refusal("RELEASE_CANDIDATE_CHANGED", of=RECORD)
        # 2. decide anew: policy, papers and stops may have changed since
        gate = _gate(owner, run)
        request = _request(owner, candidate.decided)
        gate.decide(request)
        check(owner, Act.PUBLISH, gate.record_refusal)
        # 3. every condition, then as before
        candidate.record.check()
        _hand_over(gate, owner, candidate, request, folder)
    return candidate.record


def _candidate(site: Site, decided: Decided, grant: str, audit: AuditResult | None) -> tuple[Adapter, Candidate]:
    state, owner, study = site.state, site.folder, site.folder.study
    assert state is not None
    settings = study.settings(decided.method)
    adapter, files = adapter_files(
        owner.base_model, settings, state.optimizer.vector, name=study.base_model.name
    )
    statement = run_statement(site, adapter, files)
    provenance = write_envelopes([sign_statement(statement, [owner.key])])
    terms, issued = terms_of(study), owner.clock()
    found = Found(
        grant=grant,
        provenance=digest_bytes(provenance),
        recipients=study.recipients,
        parties=parties_of(study),
        base_licence=owner.papers.base_model.licence,
        release_licence=study.release_licence,
        sites=tuple(state.parts),
        steps=state.history,
        validations=state.validations,
        audit=audit,
        issued=issued,
    )
    draft = ReleaseRecord(
        run=state.run,
        adapter=adapter.digest,
        provenance=found.provenance,
        base_model=owner.base_model.digest,
        base_licence=found.base_licence,
        grant=grant or "-",
        recipients=tuple(sorted(study.recipients)),
        parties=tuple(found.parties),
        permitted=tuple(sorted(study.downstream_uses)),
        prohibited=terms.prohibited,
        restrictions=owner.papers.base_model.use_restrictions,
        licence=study.release_licence,
        data_licences=terms.data_licences,
        files={},
        issued=write_time(issued),
        expires=write_time(expiry(terms, issued)),
        conditions=conditions(terms, found),
        approvals=approvals_asked(study),
    )
    whole = {**files, ADAPTER_FILE: adapter.to_safetensors(), PROVENANCE: provenance, **_read(draft, statement)}
    record = draft.model_copy(update={"files": {name: digest_bytes(whole[name]) for name in sorted(whole)}})
    return adapter, Candidate(record, whole, decided)


def _read(draft: ReleaseRecord, statement: Statement) -> Mapping[str, bytes]:
    """What people and their tools read beside the adapter."""
    return {LICENCE: licence_text(draft), NOTICE: notice(draft, statement.predicate)}


def _request(owner: SiteFolder, decided: Decided) -> Request:
    """The request to release, with what holds now; the budget of the run was charged long ago, so it fits."""
    standing = owner.standing(
        cohort=decided.cohort,
        observers=decided.observers,
        epsilon=Decimal(decided.epsilon),
        delta=Decimal(decided.delta),
        steps=decided.steps,
        lifetime_fits=True,
    )
    # consent was judged at every step; whoever withdrew since is a matter of remedies
    return request_for(owner.study, replace(standing, consent_eligible=True), method=decided.method, action="release")


def _hand_over(gate: Gate, owner: SiteFolder, candidate: Candidate, request: Request, folder: Path) -> None:
    record, beside = candidate.record, owner.candidates / candidate.record.run
    # 1. the approvals of this very record
    envelopes = approvals_beside(beside) if record.approvals else ()
    approved = release_approvals(
        owner.roster, record, envelopes, requester=owner.study.requester, now=owner.clock()
    )
    check_approved(record, approved)
    # 2. it has not ended while people were signing
    if owner.clock() >= read_time(record.expires):
        raise refusal("RELEASE_EXPIRY")
    # 3. tell and log
    gate.tell(ReleaseNotice(adapter=record.adapter, provenance=record.provenance), request=request)
    owner.record(
        str(EntryType.RELEASE_PUBLISHED),
        refs={
            "run": record.run, "adapter": record.adapter, "provenance": record.provenance, "release": record.digest,
        },
        data={"recipients": sorted(record.recipients)},
    )  # fmt: skip
    # 4. the files, and last the signature without which nobody uses them
    files = {**candidate.files, RECORD: record.to_bytes()}
    if envelopes:
        files[APPROVALS] = write_envelopes(envelopes)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    counted = {role: number for role, number in approved.by_role.items() if number}
    statement = release_statement(record, files, counted)
    (folder / STATEMENT).write_bytes(write_envelopes([sign_statement(statement, [owner.key])]))
    # 5. a fresh list of revocations, so that recipients can use it; one that cannot be relied on stays for them to see
    with contextlib.suppress(GovernanceRefused):
        revoke(
            owner.study_folder, owner.roster, owner.key, adapter="", reason="", now=owner.clock(), site=owner.site
        )


def _gate(owner: SiteFolder, run: str) -> Gate:
    return Gate(
        site=owner.site,
        study=owner.study.id,
        run=run,
        policy=owner.policy,
        stage=owner.study.current_stage,
        earlier_runs=owner.runs_of_stage(besides=run),
        key=owner.key,
        ledger=owner.ledger,
        log=owner.log,
        clock=owner.clock,
    )


@contextlib.contextmanager
def _refusals_logged(owner: SiteFolder, run: str) -> Iterator[set[str]]:
    """Whatever refuses the release leaves one entry with its code, and with those that the caller adds."""
    codes: set[str] = set()
    try:
        yield codes
    except (Refused, GovernanceRefused) as refused:
        refs, found = {"run": run}, sorted(codes | {refused.code})
        owner.record(str(EntryType.RELEASE_REFUSED), refs=refs, data={"codes": list(found)})
        raise
