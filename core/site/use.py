"""May this site use this adapter, now, for this: every check that a released folder has to pass at whoever received it.

For: ``sekisho site use``, before anybody loads the weights. Not for: loading them (no torch here), or enforcing what
somebody does who does not ask: weights that were released cannot be recalled.

Order of calls: ``use(study_folder, site, folder, ...)`` -> the record of the release, after ADAPTER_USED is logged; or
a refusal by its own code, which is logged as well. Nothing of the folder is believed before its signature was verified.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.canonical import digest_bytes
from ...governance.errors import BadDocumentError, BadSignatureError
from ...governance.errors import Refused as GovernanceRefused
from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry, EntryType, Value
from ...governance.provenance.provenance import ADAPTER_FILE
from ...governance.provenance.refusing import refusal
from ...governance.provenance.release import (
    RECORD,
    STATEMENT,
    ReleaseRecord,
    check_approved,
    check_use,
    read_record,
    release_approvals,
)
from ...governance.signing.envelope import PREDICATES, Statement, read_envelopes, verify_envelope
from ...governance.signing.roster import Roster
from ..data.intake import BaseModelFacts
from ..errors import Refused
from ..parties import LOG_NAME, StateLock, load_key, log_origin, make_private_folder, state_folder
from ..study import Study
from .candidate import APPROVALS, PROVENANCE, approvals_asked, parties_of, terms_of
from .memory import stops_now
from .papers import read_policy, read_roster, read_study
from .put_back import Clock
from .revoking import judge

MAX_FILES = 100
MAX_FILE_BYTES = 2**32  # an adapter is a small part of its model; nothing larger is read into memory


@dataclass(frozen=True)
class Received:
    """A folder whose signature and files have been verified; ``publisher`` is the site that signed it."""

    record: ReleaseRecord
    files: Mapping[str, bytes]
    publisher: str


def use(
    study_folder: Path,
    site: str,
    folder: Path,
    *,
    purpose: str,
    base_model: BaseModelFacts,
    clock: Callable[[], datetime],
) -> ReleaseRecord:
    """Return what was released if ``site`` may use it now for ``purpose`` (a downstream use; empty: as permitted).

    Raises:
        Refused: USE_STOPPED, USE_MALFORMED, USE_UNSIGNED, USE_CHANGED, USE_CONDITION_FAILED, USE_NOT_APPROVED, those of
            ``check_use`` and ``revocations.judge``; CLOCK_SET_BACK; those of roster and key.
    """
    now = clock()
    roster, study = read_roster(study_folder, now=now), read_study(study_folder)
    key = load_key(study_folder, site, demo=roster.demo)
    roster.check_own_key(site, key)
    state = state_folder(study_folder, site)
    make_private_folder(state)
    lock = StateLock(state, site)
    try:
        log = AuditLog.open(state / LOG_NAME, origin=log_origin(study.id, site), key=key)
        try:
            # what has ended would go on if the clock could be set back
            Clock.of_log(site, state / LOG_NAME).check(now)
            asked = _Asked(study_folder, site, folder, roster, study, purpose, base_model.digest, now)
            return _logged(log, asked)
        finally:
            log.close()
    finally:
        lock.release()


@dataclass(frozen=True)
class _Asked:
    """One use, as it is asked for: by whom, of what, for what, on which weights (digest), and when."""

    study_folder: Path
    site: str
    folder: Path
    roster: Roster
    study: Study
    purpose: str
    base_model: str
    now: datetime


def _logged(log: AuditLog, asked: _Asked) -> ReleaseRecord:
    try:
        record = _judged(log, asked)
    except (Refused, GovernanceRefused) as refused:
        log.append(Entry("decision.refuse", asked.site, asked.now, data={"codes": [refused.code]}))
        raise
    refs = {"adapter": record.adapter, "release": record.digest, "run": record.run}
    data: dict[str, Value] = {"use": asked.purpose} if asked.purpose else {}
    log.append(Entry(str(EntryType.ADAPTER_USED), asked.site, asked.now, refs=refs, data=data))
    return record


def _judged(log: AuditLog, asked: _Asked) -> ReleaseRecord:
    # 0. an emergency stop stops this too
    stops = stops_now(
        log, asked.study_folder, asked.site, asked.roster, asked.study,
        read_policy(asked.study_folder, asked.site), now=asked.now,
    )  # fmt: skip
    if stops.stopped:
        raise refusal("USE_STOPPED", of=stops.code)
    # 1. whose it is, and that nothing was changed, taken away or added
    received = receive(asked.folder, asked.roster)
    record = received.record
    # 2. what the study asks of a release was kept, by the record's own account and by the signatures beside it
    _check_earned(received, asked.roster, asked.study, asked.now)
    # 3. it is for this site, now, for this use, on these weights
    check_use(record, party=asked.site, use=asked.purpose, base_model=asked.base_model, now=asked.now)
    # 4. nobody has revoked it, by a list that is fresh
    judge(asked.study_folder, asked.site, asked.roster, log, record.adapter, now=asked.now)
    return record


def receive(folder: Path, roster: Roster) -> Received:
    """The released folder, verified: signed by a site of its run, every file as it was signed, no file beside.

    Raises:
        Refused: USE_MALFORMED, USE_UNSIGNED, USE_CHANGED.
    """
    files = _files_of(folder)
    # 1. signed as a release, by a site of the roster
    publisher, statement = _signed(files.get(STATEMENT), "release", roster)
    named = {subject.name: subject.digest for subject in statement.subjects}
    # 2. every file is the one that was signed, and there is none beside
    for name in sorted(set(named) | (set(files) - {STATEMENT})):
        if name not in files or digest_bytes(files[name]) != named.get(name):
            raise refusal("USE_CHANGED", of=name)
    # 3. the record is what the signature speaks of, and names these files
    try:
        record = read_record(files.get(RECORD, b""))
    except BadDocumentError:
        raise refusal("USE_MALFORMED", of=RECORD) from None
    said = {name: value for name, value in statement.predicate.items() if name not in ("record", "approved")}
    beside = set(named) - {RECORD, APPROVALS}
    if statement.predicate.get("record") != record.digest or said != record.model_dump(mode="json"):
        raise refusal("USE_CHANGED", of=RECORD)
    if {name: named[name] for name in beside} != dict(record.files) or named.get(ADAPTER_FILE) != record.adapter:
        raise refusal("USE_CHANGED", of=RECORD)
    # 4. the same site says where the adapter came from, and took part there
    if record.provenance != named.get(PROVENANCE):
        raise refusal("USE_CHANGED", of=PROVENANCE)
    origin, run = _signed(files[PROVENANCE], "training-run", roster)
    took_part = {part["id"] for part in run.predicate.get("sites", [])}
    if origin != publisher or publisher not in took_part:
        raise refusal("USE_UNSIGNED")
    weights = run.predicate.get("base_model", {}).get("weights")
    if run.predicate.get("run") != record.run or weights != record.base_model:
        raise refusal("USE_CHANGED", of=PROVENANCE)
    if {subject.name: subject.digest for subject in run.subjects}.get(ADAPTER_FILE) != record.adapter:
        raise refusal("USE_CHANGED", of=ADAPTER_FILE)
    return Received(record, files, publisher)


def _check_earned(received: Received, roster: Roster, study: Study, now: datetime) -> None:
    record = received.record
    try:
        record.check()
    except GovernanceRefused as refused:
        raise refusal("USE_CONDITION_FAILED", of=refused.code) from None
    # the publisher could have asked for less than the study does; which study it was is the publisher's word, too, so
    # an adapter of an earlier one is used only while it meets what is asked now
    held = {condition.name for condition in record.conditions if condition.outcome == "passed"}
    lacking = sorted(terms_of(study).required - {"approvals"} - held)
    if lacking:
        raise refusal("USE_CONDITION_FAILED", of=", ".join(lacking))
    if any(record.approvals.get(role, 0) < number for role, number in approvals_asked(study).items()):
        raise refusal("USE_NOT_APPROVED", of=RECORD)
    run = Statement.from_bytes(read_envelopes(received.files[PROVENANCE], name=PROVENANCE)[0].payload)
    if run.predicate.get("study") == study.digest and not set(record.parties) <= set(parties_of(study)):
        raise refusal("USE_NOT_APPROVED", of=RECORD)
    data = received.files.get(APPROVALS)
    try:
        envelopes = read_envelopes(data, name=APPROVALS) if data is not None else ()
        approved = release_approvals(roster, record, envelopes, requester=study.requester, now=now)
        check_approved(record, approved)
    except BadDocumentError:
        raise refusal("USE_MALFORMED", of=APPROVALS) from None
    except GovernanceRefused:
        raise refusal("USE_NOT_APPROVED", of=", ".join(record.approvals)) from None


def _files_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder; a link, a folder or anything else in it is no part of a release."""
    try:
        paths = sorted(folder.iterdir())
        if not paths or len(paths) > MAX_FILES:
            raise refusal("USE_MALFORMED", of=folder.name)
        for path in paths:
            if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
                raise refusal("USE_MALFORMED", of=path.name)
        return {path.name: path.read_bytes() for path in paths}
    except OSError:
        raise refusal("USE_MALFORMED", of=folder.name) from None


def _signed(data: bytes | None, kind: str, roster: Roster) -> tuple[str, Statement]:
    """The site that signed the one statement in a file, of this kind. Raises ``Refused`` USE_UNSIGNED."""
    keys = {site.key.key_id: site for site in roster.sites}
    try:
        envelopes = read_envelopes(data or b"", name=kind)
        statement, signers = verify_envelope(envelopes[0], {name: party.key for name, party in keys.items()})
    except (BadDocumentError, BadSignatureError):
        raise refusal("USE_UNSIGNED") from None
    if len(envelopes) != 1 or len(signers) != 1 or statement.predicate_type != PREDICATES[kind]:
        raise refusal("USE_UNSIGNED")
    return keys[min(signers)].id, statement
