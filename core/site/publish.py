"""After the last step: release conditions -> approvals -> gate -> a signed folder with everything that goes with it.

A recipient site does this, never the coordinator, which holds no model. The adapter is post-processing of sums that
were charged, so publishing costs no budget; that it may be published, and to whom, is the policy's release grant; what
else a release depends on is governance/provenance/conditions.py. Nothing is handed over unless the gate has told it.

Order of calls: ``publish(site, folder)`` after a run. Where the release itself needs approvals it keeps a candidate in
the site's state and refuses with RELEASE_APPROVALS_MISSING; ``releasing.finish`` releases that candidate once they lie
beside its record.

Files written: ``adapter.safetensors`` (what trained; for LoRA also the files that peft loads),
``provenance.dsse.json`` (in-toto, signed by this site, naming each of them by digest), ``LICENCE``, ``NOTICE.md``,
``README.md`` (model card), ``bom.json`` (CycloneDX), ``release.json`` with its approvals, and last
``release.dsse.json``, signed by this site, about every file of the folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ...governance.canonical import digest_bytes
from ...governance.errors import Refused as GovernanceRefused
from ...governance.language import Catalogue
from ...governance.provenance.conditions import AuditResult, Found, conditions, expiry
from ...governance.provenance.mlbom import document, to_bytes
from ...governance.provenance.modelcard import card
from ...governance.provenance.provenance import ADAPTER_FILE
from ...governance.provenance.release import ReleaseRecord
from ...governance.signing.envelope import Statement, read_time, sign_statement, write_envelopes, write_time
from ...governance.signing.lifecycle import Act
from ..errors import ProtocolError
from ..training.adapter import Adapter
from ..training.tasks import adapter_files
from .about import about
from .candidate import PROVENANCE, Candidate, Decided, approvals_asked, keep, parties_of, terms_of
from .folder import rounded_up
from .life import check
from .notices import LICENCE, NOTICE, licence_text, notice
from .releasing import hand_over, refusals_logged, release_request
from .site import Site
from .statement import run_statement

GOVERNANCE = card.__module__.removesuffix(".provenance.modelcard")  # whose catalogue has the card's words
CARD, BILL = "README.md", "bom.json"


@dataclass(frozen=True)
class Published:
    """A released adapter, the record of its release, and the signed provenance statement that names it.

    ``withheld`` is the code of the condition by which it was not released after all; empty where it was.
    """

    adapter: Adapter
    record: ReleaseRecord
    provenance: bytes
    withheld: str = ""


def publish(site: Site, folder: Path, *, audit: AuditResult | None = None) -> Published:
    """Release the adapter that ``site`` holds into ``folder``.

    ``audit`` is what the checks of this run found. Raises ``Refused`` when no release grant holds, and the code of the
    first condition that does not; every refusal is in the site's log with all its codes.
    """
    published, refused = _publish(site, folder, audit)
    if refused is not None:
        raise refused
    return published


def publish_or_withhold(site: Site, folder: Path, *, audit: AuditResult | None = None) -> Published:
    """As ``publish``, but a run whose release has yet to be earned keeps its adapter and says so in ``withheld``.

    Raises ``Refused`` when no release grant holds: then the policies never meant this adapter to leave.
    """
    published, refused = _publish(site, folder, audit)
    return published if refused is None else replace(published, withheld=refused.code)


def _publish(site: Site, folder: Path, audit: AuditResult | None) -> tuple[Published, GovernanceRefused | None]:
    state, tools = site.state, site.tools
    if state is None or tools is None or state.completed == 0:
        raise ProtocolError("NOTHING_TO_PUBLISH", "there is no finished run at this site")
    owner, decided = site.folder, _decided(site)
    with refusals_logged(owner, state.run):
        # 1. decide: the release grant, before a file is written
        request = release_request(owner, decided)
        grant = tools.gate.decide(request).grant or ""
        check(owner, Act.PUBLISH, tools.gate.record_refusal)
    # 2. the adapter, where it came from, and every condition with its outcome
    adapter, candidate = _candidate(site, decided, grant, audit)
    published = Published(adapter, candidate.record, candidate.files[PROVENANCE])
    try:
        with refusals_logged(owner, state.run) as codes:
            codes.update(candidate.record.refused_by)
            candidate.record.check()
            # 3. the people who must approve the release itself find it in the site's state
            if candidate.record.approvals:
                keep(candidate, owner.candidates / state.run)
            # 4. tell and log through the gate; only then is it handed over
            hand_over(tools.gate, owner, candidate, request, folder)
    except GovernanceRefused as refused:
        return published, refused
    return published, None


def _decided(site: Site) -> Decided:
    """The run's own figures, for the decision now and for one when people have signed."""
    state, tools = site.state, site.tools
    assert state is not None and tools is not None
    return Decided(
        method=tools.considered.offer.method,
        cohort=tuple(state.step_cohort),
        observers=tools.plan.observers,
        epsilon=str(rounded_up(tools.considered.run_epsilon)),
        delta=str(tools.considered.run_delta),
        steps=tools.plan.total_steps,
    )


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
    whole = {**files, ADAPTER_FILE: adapter.to_safetensors(), PROVENANCE: provenance, **_read(site, draft, statement)}
    record = draft.model_copy(update={"files": {name: digest_bytes(whole[name]) for name in sorted(whole)}})
    return adapter, Candidate(record, whole, decided)


def _read(site: Site, draft: ReleaseRecord, statement: Statement) -> Mapping[str, bytes]:
    """What people and their tools read beside the adapter: all of it follows from the record and the statement."""
    owner = site.folder
    told = replace(about(owner.study, owner.papers.base_model), expires=read_time(draft.expires))
    return {
        LICENCE: licence_text(draft),
        NOTICE: notice(draft, statement.predicate),
        CARD: card(statement, told, Catalogue.load(GOVERNANCE, "texts")).encode("utf-8"),
        BILL: to_bytes(document(statement, told)),
    }
