"""Whether a version of a policy that another has replaced was ever signed, and by whom it could be.

For: ``read_before`` (papers.py), which reads the files. Not for: the policy in force, whose signatures must hold now;
which version comes after which (governance/policy/signoff.py); what a site remembers (memory.py).

Order of calls: ``accepted_rosters(roster, earlier)`` -> ``check_once_signed(...)`` for each earlier version.

Whoever signs version 3 is shown what differs from version 2, and nothing else. If nobody had signed version 2, what
it changed would have been shown to nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...governance.errors import GovernanceError
from ...governance.policy.policy import Policy
from ...governance.signing.approvals import Shown, once_approved
from ...governance.signing.envelope import PREDICATES, Envelope
from ...governance.signing.roster import Roster
from ...governance.signing.succession import INSTANT, SignedRoster, verify_roster
from ..errors import Refused


def accepted_rosters(roster: Roster, earlier: Sequence[SignedRoster]) -> tuple[Roster, ...]:
    """The present roster, and those before it that were accepted in their time; ``earlier`` has the latest first."""
    return (roster, *once_accepted(earlier))


def once_accepted(rosters: Sequence[SignedRoster]) -> tuple[Roster, ...]:
    """Those that were accepted in their time, until one that was not; ``rosters`` has the latest first."""
    found = []
    for number, one in enumerate(rosters, start=1):
        try:
            verify_roster(one.roster, one.envelopes, rosters[number:], now=one.roster.expires - INSTANT)
        except GovernanceError:
            break  # nobody accepted it, so nobody of it could sign
        found.append(one.roster)
    return tuple(found)


def check_once_signed(
    policy: Policy,
    envelopes: Sequence[Envelope],
    *,
    site: str,
    seen: Shown,
    rosters: Sequence[tuple[Roster, Mapping[str, int]]],
) -> None:
    """Return if the people of one of ``rosters``, each with the numbers that it asks for, once approved the version.

    Raises:
        Refused: POLICY_PREDECESSOR_UNSIGNED.
    """
    subjects, kind = frozenset({policy.bytes_digest, policy.canonical_digest}), PREDICATES["policy-approval"]
    for roster, needed in rosters:
        people = roster.acting_for(site)
        if once_approved(people, envelopes, subjects=subjects, predicate_type=kind, shown=seen).reaches(needed):
            return
    raise Refused(
        "POLICY_PREDECESSOR_UNSIGNED",
        f"{site}: version {policy.version} was never signed, "
        "so a comparison with it would hide what was changed before",
        hint="keep the version that was in force, with its signatures, in the folder of earlier ones (`sekisho legal "
        "amend` does); one that was only a draft, or whose approval was taken back, is none to follow",
        site=site,
    )
