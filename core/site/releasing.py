"""A candidate leaves the site: approvals of its very record -> gate -> a signed folder.

For: ``publish`` after a run, and ``sekisho site release`` for a candidate that waited for signatures. Not for: making
an adapter or judging conditions (publish.py), or using one (use.py). No torch: what was trained is bytes by now.

Order of calls: ``release_request`` -> ``gate.decide`` -> ``record.check()`` -> ``hand_over``; ``finish(owner, run,
folder)`` does all of it for a candidate. Nothing is handed over unless the gate has told it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from ...governance.errors import Refused as GovernanceRefused
from ...governance.log.entries import EntryType
from ...governance.policy.request import Request
from ...governance.provenance.refusing import refusal
from ...governance.provenance.release import (
    RECORD,
    STATEMENT,
    ReleaseRecord,
    check_approved,
    release_approvals,
    release_statement,
)
from ...governance.signing.envelope import Statement, read_envelopes, read_time, sign_statement, write_envelopes
from ..errors import Refused
from ..gate.facts import request_for
from ..gate.gate import Gate
from ..messages import ReleaseNotice
from .candidate import APPROVALS, PROVENANCE, Candidate, Decided, approvals_asked, approvals_beside, read_candidate
from .folder import SiteFolder
from .life import check_candidate
from .revoking import remember, revoke


def finish(owner: SiteFolder, run: str, folder: Path) -> ReleaseRecord:
    """Release the candidate of ``run`` into ``folder``, if it is approved, and permitted, now.

    Raises:
        Refused: of the policy; RELEASE_APPROVALS_MISSING, RELEASE_CANDIDATE_CHANGED and the codes of conditions.
        BadInputError: CANDIDATE_MISSING.
    """
    candidate = read_candidate(owner.candidates / run)
    with refusals_logged(owner, run):
        # 1. it is what this study asked for: a record that asks for fewer signatures is another one's
        if candidate.record.run != run or dict(candidate.record.approvals) != approvals_asked(owner.study):
            raise refusal("RELEASE_CANDIDATE_CHANGED", of=RECORD)
        #    and of this very study: recipients, terms and conditions of its record are those of the study it ran under
        (envelope,) = read_envelopes(candidate.files.get(PROVENANCE, b""), name=PROVENANCE)
        if Statement.from_bytes(envelope.payload).predicate.get("study") != owner.study.digest:
            raise refusal("RELEASE_OTHER_STUDY")
        # 2. decide anew: policy, papers and stops may have changed since
        gate = _gate(owner, run)
        request = release_request(owner, candidate.decided)
        gate.decide(request)
        check_candidate(owner, run, gate.record_refusal)
        # 3. every condition, then as before
        candidate.record.check()
        hand_over(gate, owner, candidate, request, folder)
    return candidate.record


def release_request(owner: SiteFolder, decided: Decided) -> Request:
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


def hand_over(gate: Gate, owner: SiteFolder, candidate: Candidate, request: Request, folder: Path) -> None:
    """Release a candidate whose conditions hold and whose grant was decided.

    Raises ``Refused`` RELEASE_APPROVALS_MISSING, RELEASE_EXPIRY, and whatever the gate refuses.
    """
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
    owner.reach.released(record.run, record.recipients)  # a later withdrawal asks for it
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
        state = revoke(
            owner.study_folder, owner.roster, owner.key, adapter="", reason="", now=owner.clock(), site=owner.site
        )
        # what it signed for once is on every list that it signs later, whichever older one lies here then
        remember(owner.study_folder, owner.site, state)


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
def refusals_logged(owner: SiteFolder, run: str) -> Iterator[set[str]]:
    """Whatever refuses the release leaves one entry with its code, and with those that the caller adds."""
    codes: set[str] = set()
    try:
        yield codes
    except (Refused, GovernanceRefused) as refused:
        refs, found = {"run": run}, sorted(codes | {refused.code})
        owner.record(str(EntryType.RELEASE_REFUSED), refs=refs, data={"codes": list(found)})
        raise
