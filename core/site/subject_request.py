"""What one person asks a site for: their consent history, the runs that reached them, and the log entries of these.

For: answering a request for access in a bundle of its own, which the site signs and the person can have verified. Not
for: anybody else: it holds the person's pseudonym and consents, so the file is its owner's alone (mode 0600) and goes
to that person. Nothing of anybody else is in it: the log's entries name nobody, and other sites' policies stay away.

What the log says of withdrawals is a commitment; the key that opens it is given to the person it is about.

Order of calls: ``answer_request``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...governance.canonical import canonical_bytes, digest
from ...governance.consent.record import ConsentEvent
from ...governance.evidence import verifier
from ...governance.evidence.bundle import Member, write_bundle
from ...governance.evidence.selection import Scope, ScopeKind, survey, wanted
from ...governance.log.entries import Entry, EntryType
from ...governance.provenance.provenance import commitment
from ...governance.signing.envelope import write_time
from ...governance.signing.roster import Roster
from ..errors import BadInputError
from ..parties import PRIVATE, load_key
from .exporting import OpenLog, keys_lie_together, open_logs, papers_of, selected_log
from .papers import read_file
from .reach import RunReach
from .remedy import Desk, write_entries


@dataclass(frozen=True)
class Answer:
    """A bundle on disk: the roster's fingerprint that verifies it, and how much it tells; never whom."""

    root: str
    size: int
    consent: int
    runs: int
    withdrawals: int


@dataclass(frozen=True)
class _Withdrawal:
    case: str
    key: bytes
    index: int


def answer_request(study_folder: Path, site: str, subject: str, out: Path) -> Answer:
    """Write ``out`` for the person whose pseudonym at ``site`` is ``subject``.

    Raises:
        BadInputError: SUBJECT_UNKNOWN, when the site holds nothing under it; NO_LOG. Also what ``write_bundle`` raises.
    """
    roster = Roster.parse(read_file(study_folder / "roster.yaml"), "roster.yaml")
    desk = Desk.open(study_folder, site)
    try:
        # 1. what the site holds of the person
        events, reached, keys = desk.register.events(subject), desk.reach.of(subject), desk.reach.case_keys(subject)
        if not events and not reached:
            raise BadInputError(
                "SUBJECT_UNKNOWN",
                f"{site} holds neither a consent nor a use under this pseudonym",
                hint="check how it is written; what was erased is not held any more",
            )
        # 2. what waits for the log is about people, too
        write_entries(desk)
    finally:
        desk.close()
    with (
        tempfile.TemporaryDirectory(prefix=".evidence-", dir=desk.state) as folder,
        open_logs(study_folder, desk.study.id, roster, [site]) as (own,),
    ):
        # 3. what the log says of it
        scope = Scope(ScopeKind.SUBJECT, site)
        found = survey(own.rows(), scope)
        want = wanted([found], scope, [one.run for one in reached])
        withdrawn = tuple(_withdrawals(own, subject, keys))
        members: dict[str, Member] = dict(papers_of(study_folder, [site]))
        also = [one.index for one in withdrawn]
        members |= selected_log(own, found, want, Path(folder), also=also)
        # 4. in the words of the request, each pointing at its entries
        said = _said(site, subject, events, [(one, _entries_of(own, one.run)) for one in reached], withdrawn)
        members[verifier.SUBJECT] = canonical_bytes(said) + b"\n"
        key = load_key(study_folder, site, demo=roster.demo)
        together = keys_lie_together(study_folder, roster, [party.id for party in roster.parties])
        write_bundle(out, members=members, key=key, scope=scope, together=together, mode=PRIVATE)
    return Answer(roster.fingerprint, out.stat().st_size, len(events), len(reached), len(withdrawn))


def _withdrawals(own: OpenLog, subject: str, keys: Sequence[tuple[str, bytes]]) -> Iterator[_Withdrawal]:
    """The entries that are about this person's withdrawals, found by the keys that only this site has."""
    for index, body in own.log.rows():
        if str(EntryType.CONSENT_WITHDRAWN).encode("ascii") not in body:
            continue
        entry = Entry.from_bytes(body)
        for case, key in keys:
            told = {"at": write_time(entry.at), "case": case, "reason": entry.data.get("reason"), "subject": subject}
            if entry.refs.get("commitment") == commitment(key, digest(told)):
                yield _Withdrawal(case, key, index)


def _entries_of(own: OpenLog, run: str) -> list[int]:
    return [row.index for row in own.rows() if row.run == run]


def _said(
    site: str,
    subject: str,
    events: Sequence[ConsentEvent],
    reached: Sequence[tuple[RunReach, list[int]]],
    withdrawn: Sequence[_Withdrawal],
) -> dict[str, Any]:
    return {
        "schema": verifier.SUBJECT_SCHEMA,
        "site": site,
        "subject": subject,
        "consent": [_event(one) for one in sorted(events, key=lambda one: (one.at, one.scope, one.kind))],
        "runs": [_run(one, entries) for one, entries in reached],
        "withdrawals": [{"case": one.case, "key": one.key.hex(), "index": one.index} for one in withdrawn],
    }


def _event(one: ConsentEvent) -> dict[str, Any]:
    said: dict[str, Any] = {
        "kind": one.kind.value, "scope": one.scope, "at": write_time(one.at), "notice": one.notice,
        "record": one.header.written(),
    }  # fmt: skip
    return said if one.expires is None else {**said, "expires": write_time(one.expires)}


def _run(one: RunReach, entries: list[int]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "run": one.run, "method": one.method, "epsilon": one.epsilon, "delta": one.delta, "joined": one.joined,
        "adapter": one.adapter, "recipients": list(one.recipients), "entries": entries,
    }  # fmt: skip
    return said if one.gone_at is None else {**said, "left_before_step": one.gone_at}
