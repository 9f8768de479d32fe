"""One person signs one paper of a study with that person's own key; and one site signs the roster.

For: ``sekisho legal sign`` and ``sekisho site sign-roster``, and for saying whose signatures a paper has already.
Not for: counting them for a decision (site/papers.py does, at the site, each time), words on a screen (summary.py),
or where a key comes from (passphrases.py).

Order of calls: ``open_paper(path)`` -> ``check_signer``, ``check_weights`` -> shown to the person -> ``add_approval``;
``open_roster`` -> ``add_acceptance``. Taking an approval back is withdrawing.py.

A signature is refused where it would not count, each reason with its own code, since a paper that looks signed and is
not costs people days. The last word has the rule that sites use themselves: what ``approvals`` would leave out is not
written. What was shown is what is signed: the file is read once more and must have the same digest.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from ...governance.errors import BadSignatureError
from ...governance.policy.policy import Policy
from ...governance.policy.signoff import check_controller
from ...governance.provenance.disclosure import BaseModelRecord
from ...governance.signing.approvals import approval_statement
from ...governance.signing.envelope import Envelope, read_time, sign_statement, verified_keys, write_time
from ...governance.signing.keys import SigningKey
from ...governance.signing.roster import Person, Roster, roster_statement
from ...governance.signing.signer import Signer
from ...governance.vocabulary import known, label
from ..data.intake import inspect, locate
from ..errors import BadInputError, Refused
from ..site.papers import read_file, read_study
from .paper import ROSTER, Paper, append_signature, approved, open_paper, signatures_of, subjects_of


def check_signer(paper: Paper, roster: Roster, *, person: str, role: str, now: datetime) -> Person:
    """The person of the roster whose signature, in this role, would count. Needs no key.

    Raises:
        Refused: PERSON_UNKNOWN, ROLE_NOT_HELD, NOT_ACTING_FOR, OWN_REQUEST, POLICY_OF_ANOTHER, ALREADY_SIGNED,
            ONE_PERSON_TWO_ROLES.
    """
    # 1. to 4. somebody who may speak on this paper in this role
    found = entitled(paper, roster, person=person, role=role)
    # 5. a policy of the site at which it lies
    if isinstance(paper.content, Policy):
        check_controller(paper.content, roster.party(paper.site))
    # 6. once, and in one role
    for pseudonym, signed_as in approved(paper, roster, now=now).people:
        if pseudonym == person and signed_as == role:
            raise Refused(
                "ALREADY_SIGNED",
                f"'{person}' has signed {paper.name} as it stands, as {role}",
                "nothing was added; `sekisho study status` says whose signature is missing",
            )
        if pseudonym == person:
            raise Refused(
                "ONE_PERSON_TWO_ROLES",
                f"'{person}' has signed {paper.name} as {signed_as} and cannot sign it as {role} as well",
                "one person counts in one role; signing in both would count in neither",
            )
    return found


def entitled(paper: Paper, roster: Roster, *, person: str, role: str) -> Person:
    """The person of the roster whose yes or no on this paper, in this role, is heard.

    Raises:
        Refused: PERSON_UNKNOWN, ROLE_NOT_HELD, NOT_ACTING_FOR, OWN_REQUEST.
    """
    # 1. somebody whom every site has accepted
    found = next((one for one in roster.people if one.pseudonym == person), None)
    if found is None:
        raise Refused(
            "PERSON_UNKNOWN",
            f"the roster lists no person '{person[:40]}'",
            f"it lists {', '.join(one.pseudonym for one in roster.people)}; sites sign the roster, people sign papers",
        )
    # 2. in a role of theirs
    may = [
        one.pseudonym
        for one in (roster.acting_for(paper.site) if paper.site else roster).people
        if role in one.roles and one.pseudonym != paper.requester
    ]
    if role not in found.roles:
        held = ", ".join(f"{label('roles', one).en} ({one})" if known("roles", one) else one for one in found.roles)
        raise Refused(
            "ROLE_NOT_HELD",
            f"'{person}' does not hold the role '{role[:40]}'",
            f"by the roster '{person}' signs as {held or 'nothing'}; "
            f"in the role {role[:40]} this paper is signed by {' or '.join(may) or 'nobody in the roster'}",
        )
    # 3. for the site whose paper it is
    if paper.site and paper.site not in found.acts_for:
        raise Refused(
            "NOT_ACTING_FOR",
            f"'{person}' does not act for {paper.site}, whose policy this is",
            f"in the role {role} it is signed by {' or '.join(may) or 'nobody in the roster'}",
            site=paper.site,
        )
    # 4. not one's own request
    if person == paper.requester:
        raise Refused(
            "OWN_REQUEST", f"'{person}' asks for this study and cannot approve it", "somebody else of that role signs"
        )
    return found


def check_weights(paper: Paper) -> None:
    """Return if the base-model record is about the weights on this machine; other papers are about no weights.

    Raises:
        Refused: BASE_MODEL_DIFFERS. BadInputError: the codes of ``intake``.
    """
    if isinstance(paper.content, BaseModelRecord):
        here = inspect(locate(read_study(paper.folder).base_model, paper.folder)).digest
        if here != paper.content.digest:
            raise Refused(
                "BASE_MODEL_DIFFERS",
                "the base model on this machine is not the one that the record is about",
                f"the record names the weights {paper.content.digest}; here they are {here}",
            )


def add_approval(
    paper: Paper, roster: Roster, *, signer: Person, role: str, key: Signer, until: datetime, now: datetime
) -> Envelope:
    """Sign and write the signature beside the paper; it holds until ``until``, which ``end_of`` gives.

    Raises:
        Refused: DEMO_KEY_REFUSED, KEY_NOT_IN_ROSTER, FILE_CHANGED, SIGNATURE_NOT_COUNTED.
        BadInputError: SIGNATURES_UNWRITABLE.
    """
    # 1. this person's own key
    check_own_key(roster, signer, key)
    # 2. the file is still what was shown; so is what a policy was compared with, for its bytes name that digest
    check_same(paper.path, paper.bytes_digest, open_paper(paper.path).bytes_digest)
    statement = approval_statement(
        roster,
        role=role,
        subjects=subjects_of(paper),
        predicate_type=paper.predicate,
        issued=now,
        expires=until,
        shown=paper.shown,
    )
    envelope = sign_statement(statement, [key])
    # 3. it counts by the rule that sites use
    counted = approved(paper, roster, now=now, more=(envelope,))
    if (signer.pseudonym, role) not in counted.people:
        reasons = {one.code for one in counted.ignored if one.key_id == key.public.key_id}
        raise Refused(
            "SIGNATURE_NOT_COUNTED",
            f"the signature would not count ({', '.join(sorted(reasons)) or 'unknown'}); nothing was written",
            "an earlier no of the same person, or a clock that is behind, stands in its way",
        )
    append_signature(paper.path, paper.name, envelope, roster=roster)
    return envelope


def check_own_key(roster: Roster, signer: Person, key: Signer) -> None:
    """Return if this is a key that the roster lists for the person. Raises ``Refused``."""
    if key.demo and not roster.demo:
        raise Refused("DEMO_KEY_REFUSED", "a demo key signs under a demo roster only", "make a key of your own")
    if key.public not in signer.keys:
        raise Refused(
            "KEY_NOT_IN_ROSTER",
            f"this key is not one that the roster lists for '{signer.pseudonym}'",
            "use the key whose public half the roster holds; a new key needs a roster that every site signs anew",
        )


def end_of(until: str, roster: Roster, *, now: datetime) -> datetime:
    """Until when an approval holds: a day (through its end, UTC), a time with zone, or the roster's end if empty.

    Raises:
        BadInputError: UNTIL_UNREADABLE. Refused: UNTIL_PAST, UNTIL_BEYOND_ROSTER.
    """
    if not until:
        return roster.expires
    try:
        end = read_time(until) if "T" in until else _end_of_day(until)
    except (ValueError, OverflowError, BadSignatureError):
        raise BadInputError(
            "UNTIL_UNREADABLE",
            f"'{until[:40]}' is neither a day nor a time with its zone",
            "write --until 2027-03-31, or --until 2027-03-31T18:00:00+09:00",
        ) from None
    if end <= now:
        raise Refused("UNTIL_PAST", f"an approval until {until} would be over already", "name a later end")
    if end > roster.expires:
        raise Refused(
            "UNTIL_BEYOND_ROSTER",
            f"nothing is approved beyond the roster's own end, {write_time(roster.expires)}",
            "name an earlier end, or leave --until out: the approval then holds as long as the roster",
        )
    return end


def _end_of_day(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day) + timedelta(days=1), time(tzinfo=UTC))


def open_roster(study_folder: Path, *, now: datetime) -> tuple[Roster, tuple[str, ...]]:
    """The roster as it stands, signed or not, and the sites that have signed it. Raises coded errors."""
    path = study_folder / ROSTER
    roster = Roster.parse(read_file(path), ROSTER)
    roster.check_valid(now)
    statement = roster_statement(roster, file=ROSTER).to_bytes()
    signed = [
        site.id
        for site in roster.sites
        if any(
            envelope.payload == statement and verified_keys(envelope, [site.key])
            for envelope in signatures_of(path, ROSTER)
        )
    ]
    return roster, tuple(signed)


def check_site(roster: Roster, signed: tuple[str, ...], site: str) -> None:
    """Return if ``site`` is one that has not signed the roster yet. Raises ``Refused``."""
    sites = [party.id for party in roster.sites]
    if site not in sites:
        raise Refused(
            "NOT_A_SITE", f"the roster has no site '{site[:40]}'", f"its sites are {', '.join(sites)}; each signs it"
        )
    if site in signed:
        raise Refused(
            "ALREADY_SIGNED",
            f"'{site}' has signed the roster as it stands",
            "nothing was added; `sekisho study status` says whose signature is missing",
            site=site,
        )


def add_acceptance(study_folder: Path, roster: Roster, *, site: str, key: SigningKey) -> None:
    """Sign the roster for a site. Raises ``Refused`` KEY_NOT_IN_ROSTER, DEMO_KEY_REFUSED, FILE_CHANGED."""
    roster.check_own_key(site, key)
    path = study_folder / ROSTER
    check_same(path, roster.fingerprint, Roster.parse(read_file(path), ROSTER).fingerprint)
    append_signature(path, ROSTER, sign_statement(roster_statement(roster, file=ROSTER), [key]))


def check_same(path: Path, shown: str, now: str) -> None:
    """Return if both digests are the same. Raises ``Refused`` FILE_CHANGED."""
    if shown != now:
        raise Refused(
            "FILE_CHANGED",
            f"{path.name} was changed since it was shown; nothing was signed",
            "read it again as it is now, then sign",
        )
