"""The list of revoked adapters: the signed and fresh word on which releases are no longer to be used.

For: telling whether an adapter is revoked, how old the newest list is, and what the next list must say. Not for: who
reads or writes the file (core/site/revocations.py), or whether an adapter is used (core/site/use.py).

Order of calls: ``list_state(roster, data, now=...)`` -> ``check_may_follow(state)`` -> ``next_list(roster, ...)``,
which a person of legal or it signs, or a site; a user of an adapter: ``list_state``, ``check_not_revoked``.

A list only grows: whoever signs the next one repeats all that the last one named, and its version is one higher. A
user remembers the highest version and every adapter that it has ever seen on a list, so an older list, or one that
leaves something out, is refused. Without a list, or with an old one, nothing is used: whoever withholds the list gains
nothing. Weights that somebody has copied are not recalled by this; it tells those who ask.

Sources of the model: The Update Framework (freeze and roll-back attacks); RFC 5280, 5 (lists with an issue time).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..canonical import is_digest
from ..errors import BadDocumentError, BadSignatureError, Refused
from ..signing.envelope import PREDICATES, Statement, Subject, read_envelopes, read_time, verify_envelope, write_time
from ..signing.keys import PublicKey
from ..signing.roster import Roster
from .refusing import refusal

LIST = "list.dsse.json"
REVOKING_ROLES = frozenset({"legal", "it"})  # as an emergency stop is lifted by them: one of either is enough to warn
MAX_AGE_HOURS = 168  # a week: a site that is offline over a holiday still works, a withheld revocation does not last
MAX_REVOKED = 1000
REASONS = frozenset({"WITHDRAWAL", "SUPERSEDED", "QUALITY", "SECURITY", "LEGAL_ORDER", "LICENCE", "OTHER"})
SECONDS_AN_HOUR = 3600
_FIELDS = {"issued", "version", "revoked", "roster"}
_ENTRY_FIELDS = {"adapter", "reason", "at"}


@dataclass(frozen=True)
class Revoked:
    """One adapter that is not to be used any more, why (a code of REASONS), and since when."""

    adapter: str
    reason: str
    at: datetime


@dataclass(frozen=True)
class ListState:
    """What the file of the list says. ``code`` is empty, or says why nothing can be taken from it:
    REVOCATION_LIST_MISSING, REVOCATION_LIST_UNREADABLE, REVOCATION_LIST_UNVERIFIED, ROSTER_OUT_OF_DATE.

    ``revoked`` maps an adapter's digest to its revocation; ``version`` is 0 where there is no list.
    """

    version: int
    issued: datetime | None
    revoked: Mapping[str, Revoked] = field(default_factory=dict)
    code: str = ""

    def age_hours(self, now: datetime) -> int | None:
        """Hours since the list was signed, rounded up; None without a list."""
        return None if self.issued is None else math.ceil((now - self.issued).total_seconds() / SECONDS_AN_HOUR)


def list_state(roster: Roster, data: bytes | None, *, now: datetime) -> ListState:
    """Read the file of the list; ``data`` is None where no file lies. Nothing is raised: doubt has a code."""
    if data is None:
        return ListState(0, None, code="REVOCATION_LIST_MISSING")
    try:
        return _verified(roster, data, now)
    except (BadDocumentError, BadSignatureError) as error:
        known = error.code in ("REVOCATION_LIST_UNREADABLE", "ROSTER_OUT_OF_DATE")
        return ListState(0, None, code=error.code if known else "REVOCATION_LIST_UNVERIFIED")


def _verified(roster: Roster, data: bytes, now: datetime) -> ListState:
    # 1. One envelope that can be read.
    try:
        envelopes = read_envelopes(data, name=LIST)
    except BadDocumentError:
        envelopes = ()
    if len(envelopes) != 1:
        raise BadDocumentError("REVOCATION_LIST_UNREADABLE", "the file holds no list", "fetch it anew")
    # 2. Signed by somebody who may revoke, and of the form of a list.
    statement, _ = verify_envelope(envelopes[0], signers(roster))
    read, (version, fingerprint) = _read(statement)
    # 3. Under no later roster than is known here: who may revoke could have changed.
    if version > roster.version:
        raise BadSignatureError("ROSTER_OUT_OF_DATE", "the list is of a later roster", "fetch the latest roster")
    # 4. Under no other roster of this version.
    if version == roster.version and fingerprint != roster.fingerprint:
        raise _malformed()
    # 5. Not from the future, or it would stay fresh for as long as somebody likes.
    if read.issued is None or read.issued > now:
        raise _malformed()
    return read


def check_not_revoked(
    state: ListState, adapter: str, *, now: datetime, max_age_hours: int, seen_version: int, seen: Set[str]
) -> None:
    """Return if a fresh list that is no older than what was seen before does not name ``adapter``.

    ``seen`` are the adapters that any earlier list named, ``seen_version`` is the highest version that was seen.

    Raises:
        Refused: USE_REVOKED, USE_LIST_MISSING, USE_LIST_UNVERIFIED, USE_LIST_OLDER, USE_LIST_STALE.
    """
    # 1. Once revoked, always revoked: whatever became of the list since.
    if adapter in seen or adapter in state.revoked:
        raise refusal("USE_REVOKED")
    # 2. There is a list.
    if state.code == "REVOCATION_LIST_MISSING":
        raise refusal("USE_LIST_MISSING")
    # 3. Somebody who may has signed it, under a roster that is known here.
    if state.code:
        raise refusal("USE_LIST_UNVERIFIED", of=state.code)
    # 4. It is not one from before what was seen here.
    if state.version < seen_version or seen - set(state.revoked):
        raise refusal("USE_LIST_OLDER")
    # 5. It is fresh.
    age = state.age_hours(now)
    if age is None or age > max_age_hours:
        raise refusal("USE_LIST_STALE", of=str(max_age_hours))


def check_may_follow(state: ListState) -> None:
    """Return if a new list may take the place of this one. Over one that cannot be read, none is signed: it could
    cover up what that one names.

    Raises:
        Refused: REVOCATION_LIST_UNREADABLE, REVOCATION_LIST_UNVERIFIED, ROSTER_OUT_OF_DATE.
    """
    if state.code and state.code != "REVOCATION_LIST_MISSING":
        raise Refused(state.code, "the list of revoked adapters that lies here cannot be relied on, so none follows it",
                      "fetch it anew from a partner, and the latest roster with it")


def next_list(
    roster: Roster,
    state: ListState,
    *,
    issued: datetime,
    adapter: str = "",
    reason: str = "",
    known: Set[str] = frozenset(),
    seen_version: int = 0,
) -> Statement:
    """What is signed: all that ``state`` names, the adapter to revoke (none to renew the list), one version higher.

    ``known`` are adapters that were on a list before, whatever became of it, ``seen_version`` its version.

    Raises:
        BadDocumentError: REVOCATION_MALFORMED, REVOCATION_LIST_FULL.
    """
    if adapter and (not is_digest(adapter) or reason not in REASONS):
        raise BadDocumentError("REVOCATION_MALFORMED", "a revocation lacks the adapter's digest or a known reason",
                               f"give sha256: and 64 digits, and one of {', '.join(sorted(REASONS))}")
    entries = dict(state.revoked)
    for digest in known - set(entries):
        entries[digest] = Revoked(digest, "OTHER", issued)
    if adapter and adapter not in entries:
        entries[adapter] = Revoked(adapter, reason, issued)
    if len(entries) > MAX_REVOKED:  # written, nobody could read it, and no list could follow it
        raise BadDocumentError("REVOCATION_LIST_FULL", f"a list names at most {MAX_REVOKED} adapters",
                               "the roster's sites begin an empty list together; what was revoked stays remembered")
    return Statement(
        (Subject("roster.yaml", roster.fingerprint),),
        PREDICATES["revocation-list"],
        {
            "issued": write_time(issued),
            "version": max(state.version, seen_version) + 1,
            "revoked": [
                {"adapter": one.adapter, "reason": one.reason, "at": write_time(one.at)}
                for one in sorted(entries.values(), key=lambda one: one.adapter)
            ],
            "roster": {"version": roster.version, "fingerprint": roster.fingerprint},
        },
    )


def signers(roster: Roster) -> dict[str, PublicKey]:
    """The keys that count under a list: every site's, and those of people in REVOKING_ROLES; never the coordinator's,
    which is trusted with no release."""
    people = [person for person in roster.people if REVOKING_ROLES.intersection(person.roles)]
    keys = [site.key for site in roster.sites] + [key for person in people for key in person.keys]
    return {key.key_id: key for key in keys}


def _read(statement: Statement) -> tuple[ListState, tuple[int, str]]:
    predicate: Mapping[str, Any] = statement.predicate
    if statement.predicate_type != PREDICATES["revocation-list"] or set(predicate) != _FIELDS:
        raise _malformed()
    under, entries, version = predicate["roster"], predicate["revoked"], predicate["version"]
    if not isinstance(under, dict) or set(under) != {"version", "fingerprint"} or type(under["version"]) is not int:
        raise _malformed()
    if not isinstance(entries, list) or len(entries) > MAX_REVOKED or type(version) is not int or version < 1:
        raise _malformed()
    revoked: dict[str, Revoked] = {}
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != _ENTRY_FIELDS:
            raise _malformed()
        if not is_digest(entry["adapter"]) or entry["reason"] not in REASONS:
            raise _malformed()
        revoked[entry["adapter"]] = Revoked(entry["adapter"], entry["reason"], read_time(entry["at"]))
    state = ListState(version, read_time(predicate["issued"]), revoked)
    return state, (under["version"], str(under["fingerprint"]))


def _malformed() -> BadSignatureError:
    return BadSignatureError("REVOCATION_LIST_MALFORMED", "a list of revoked adapters does not have its form",
                             "have it signed anew")
