"""A person signs a roster that follows another: what changes, whose signature counts for which version, who is missing.

For: ``sekisho legal sign roster.yaml``. Not for: sites, which sign a first roster or one that they are new in
(``sekisho site sign-roster``), or the rule itself (governance/signing/succession.py).

Order of calls: ``open_succession(folder)`` -> ``check_successor`` -> shown -> ``add_succession``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ...governance.signing.envelope import sign_statement
from ...governance.signing.roster import Person, Roster
from ...governance.signing.signer import Signer
from ...governance.signing.succession import (
    INSTANT,
    Missing,
    SignedRoster,
    succession_approved,
    succession_missing,
    succession_statement,
    verify_roster,
)
from ..errors import Refused
from ..site.papers import earlier_rosters, read_file
from .paper import ROSTER, append_signature, signatures_of
from .signing import check_same


@dataclass(frozen=True)
class Succession:
    """The roster in ``roster.yaml``, with its signatures so far, and the accepted one that it follows."""

    folder: Path
    old: Roster
    new: SignedRoster


@dataclass(frozen=True)
class Change:
    """One thing that differs: what kind (party, person, threshold, times), its name, and both sides in words."""

    kind: str
    name: str
    old: str
    new: str


def open_succession(study_folder: Path, *, now: datetime) -> Succession:
    """What is to be signed. The version before must have been accepted: its people hand it on.

    Raises:
        Refused: ROSTER_FIRST (it names none before it), ROSTER_CHAIN_MISSING, and those of ``verify_roster`` for the
            version before.
    """
    path = study_folder / ROSTER
    new = Roster.parse(read_file(path), ROSTER)
    if new.supersedes is None:
        raise Refused(
            "ROSTER_FIRST",
            "this roster names no version before it, so every site signs it",
            "`sekisho site sign-roster SITE`; to hand on one that is in force, begin with `sekisho legal amend`",
        )
    earlier = earlier_rosters(study_folder, new)
    before = next((one for one in earlier if one.roster.fingerprint == new.supersedes), None)
    if before is None:
        raise Refused(
            "ROSTER_CHAIN_MISSING",
            f"version {new.version} of the roster names an earlier one that is not here",
            f"put it into rosters/{new.version - 1}.yaml, unchanged, with its signatures beside it",
        )
    # it may have expired since, once this one has taken its place; who signs now is asked in check_successor
    verify_roster(before.roster, before.envelopes, earlier, now=min(now, before.roster.expires - INSTANT))
    return Succession(study_folder, before.roster, SignedRoster(new, signatures_of(path, ROSTER)))


def check_successor(succession: Succession, *, person: str, role: str, now: datetime) -> Person:
    """Who signs: somebody who holds the role in one of both versions, with the keys of both.

    Raises:
        Refused: ROSTER_EXPIRED (the version before), PERSON_UNKNOWN, ROLE_NOT_HELD.
    """
    succession.old.check_valid(now)
    rosters = (succession.old, succession.new.roster)
    found = [one for roster in rosters for one in roster.people if one.pseudonym == person]
    if not found:
        raise Refused(
            "PERSON_UNKNOWN", f"neither version lists a person '{person[:40]}'", "people of both versions sign"
        )
    if not any(role in one.roles for one in found):
        held = sorted({role for one in found for role in one.roles})
        raise Refused(
            "ROLE_NOT_HELD", f"'{person}' does not hold the role '{role[:40]}' in either version",
            f"'{person}' signs as {', '.join(held) or 'nothing'}",
        )
    keys = tuple(dict.fromkeys(key for one in found for key in one.keys))
    return replace(found[-1], keys=keys)


def add_succession(succession: Succession, *, signer: Person, role: str, key: Signer, now: datetime) -> Missing:
    """Sign and write the signature beside the roster; gives who is still missing.

    Raises:
        Refused: DEMO_KEY_REFUSED, KEY_NOT_IN_ROSTER, FILE_CHANGED, SIGNATURE_NOT_COUNTED. BadInputError:
            SIGNATURES_UNWRITABLE.
    """
    old, new = succession.old, succession.new
    # 1. this person's own key, of one version or the other
    if key.demo and not new.roster.demo:
        raise Refused("DEMO_KEY_REFUSED", "a demo key signs under a demo roster only", "make a key of your own")
    if key.public not in signer.keys:
        raise Refused(
            "KEY_NOT_IN_ROSTER",
            f"this key is not one that either version lists for '{signer.pseudonym}'",
            "use the key whose public half the roster holds",
        )
    # 2. the file is still what was shown
    path = succession.folder / ROSTER
    check_same(path, new.roster.fingerprint, Roster.parse(read_file(path), ROSTER).fingerprint)
    envelope = sign_statement(succession_statement(old, new.roster, role=role, issued=now, file=ROSTER), [key])
    # 3. it counts for one version at least, by the rule that sites use
    after = SignedRoster(new.roster, (*new.envelopes, envelope))
    counted = [succession_approved(roster, old, after, now=now).people for roster in (old, new.roster)]
    if not any((signer.pseudonym, role) in people for people in counted):
        raise Refused(
            "SIGNATURE_NOT_COUNTED",
            "the signature would not count for either version; nothing was written",
            "an earlier no of the same person, another role of theirs, or a clock that is behind stands in its way",
        )
    append_signature(path, ROSTER, envelope)
    return succession_missing(old, after, now=now)


def changes(old: Roster, new: Roster) -> tuple[Change, ...]:
    """Everything that differs between two versions, in the order in which a reader asks."""
    facts = (_facts(old), _facts(new))
    keys = dict.fromkeys([*facts[0], *facts[1]])
    return tuple(
        Change(kind, name, facts[0].get((kind, name), ""), facts[1].get((kind, name), ""))
        for kind, name in keys
        if facts[0].get((kind, name)) != facts[1].get((kind, name))
    )


def _facts(roster: Roster) -> Mapping[tuple[str, str], str]:
    facts: dict[tuple[str, str], str] = {}
    for party in roster.parties:
        words = (str(party.kind), party.name.en, party.name.ja, party.controller, party.country, party.key.to_text())
        facts["party", party.id] = ", ".join(words)
    for person in roster.people:
        roles, acts = ", ".join(person.roles), ", ".join(person.acts_for)
        keys = ", ".join(key.to_text() for key in person.keys)
        facts["person", person.pseudonym] = f"{roles or '-'}; {acts or '-'}; {keys or '-'}"
    for role, number in roster.roles.items():
        facts["threshold", role] = str(number)
    facts["expires", "-"] = roster.expires.isoformat()
    return facts
