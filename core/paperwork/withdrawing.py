"""One person takes an approval back, or says no to a paper: signed as the approval was, and written beside it.

For: ``sekisho legal revoke``. Not for: an emergency stop, which anybody of the roster can give alone (signing/stop.py);
a paper that falls below what it needs simply no longer counts, at every site, from its next decision on.

Order of calls: ``open_paper(path)`` -> ``check_withdrawer`` -> shown to the person -> ``add_no``.

A no is about the paper as it stands, not about what was on a screen, and holds whatever its dates: an older approval
that somebody puts back does not undo it, a newer approval by the same person does. It is not heard where its line is
taken out of the file of signatures: whoever may write in a site's folder is trusted with that site's own papers.
"""

from __future__ import annotations

from datetime import datetime

from ...governance.signing.approvals import REJECT, REVOKE, approval_statement
from ...governance.signing.envelope import Envelope, sign_statement
from ...governance.signing.roster import Person, Roster
from ...governance.signing.signer import Signer
from ..errors import Refused
from .paper import Paper, append_signature, approved, open_paper, subjects_of
from .signing import check_own_key, check_same, entitled


def check_withdrawer(paper: Paper, roster: Roster, *, person: str, role: str, reject: bool, now: datetime) -> Person:
    """The person of the roster whose no, in this role, would be heard. Needs no key.

    Raises:
        Refused: PERSON_UNKNOWN, ROLE_NOT_HELD, NOT_ACTING_FOR, OWN_REQUEST, NOTHING_TO_REVOKE.
    """
    found = entitled(paper, roster, person=person, role=role)
    if not reject and (person, role) not in approved(paper, roster, now=now).people:
        raise Refused(
            "NOTHING_TO_REVOKE",
            f"no approval of '{person}' as {role} counts for {paper.name} as it stands",
            "nothing was added; to say no to it in advance, add --reject",
        )
    return found


def add_no(
    paper: Paper, roster: Roster, *, signer: Person, role: str, key: Signer, reject: bool, now: datetime
) -> Envelope:
    """Sign the no and write it beside the paper.

    Raises:
        Refused: DEMO_KEY_REFUSED, KEY_NOT_IN_ROSTER, FILE_CHANGED, NO_NOT_HEARD. BadInputError: SIGNATURES_UNWRITABLE.
    """
    # 1. this person's own key
    check_own_key(roster, signer, key)
    # 2. about the file that was shown
    check_same(paper.path, paper.bytes_digest, open_paper(paper.path).bytes_digest)
    statement = approval_statement(
        roster,
        role=role,
        subjects=subjects_of(paper),
        predicate_type=paper.predicate,
        issued=now,
        expires=roster.expires,
        decision=REJECT if reject else REVOKE,
    )
    envelope = sign_statement(statement, [key])
    # 3. it is heard by the rule that sites use: the person counts in no role, and no approval is dated after the no
    counted = approved(paper, roster, now=now, more=(envelope,))
    keys = {one.key_id for one in signer.keys}
    own = {one.code for one in counted.ignored if one.key_id in keys}
    standing = signer.pseudonym in {name for name, _ in counted.people} or "NOT_YET_ISSUED" in own
    if standing or "NOT_AN_APPROVAL" not in own:
        raise Refused(
            "NO_NOT_HEARD",
            f"the no would not be heard ({', '.join(sorted(own)) or 'unknown'}); nothing was written",
            "a clock that is behind the approval's stands in its way; an emergency stop needs no approval to be there",
        )
    append_signature(paper.path, paper.name, envelope, roster=roster)
    return envelope
