"""Ordering a stop: by one person, also when every other paper is broken, or was put here to be in the way.

For: ``sekisho legal stop``. Not for: lifting a stop (stopping.py), or the rules of what counts
(governance/signing/stop.py).

Order of calls: ``open_papers(folder)`` -> ``find_stopper`` -> ``order_stop``.

First stop, then argue. An open run goes on under the roster that it began with, so whoever exchanged roster.yaml must
not be able to keep the people of the true one from stopping it: earlier versions are looked at too, and an order of
somebody whom no roster here knows is written all the same. Whoever cannot tell whose it is stands still. A study that
cannot be read cannot be told from others, so then everything in the folder is stopped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.canonical import digest_bytes
from ...governance.errors import GovernanceError
from ...governance.signing.envelope import Subject, sign_statement
from ...governance.signing.members import KNOWN_ROLES
from ...governance.signing.roster import Person, Roster
from ...governance.signing.signer import Signer
from ...governance.signing.stop import EVERYTHING, stop_statement
from ..errors import CoreError, Refused
from ..site.papers import ROSTERS, read_file
from ..site.stops import STOPS
from ..study import Study
from .paper import ROSTER
from .stopping import check_key, put, role_not_held, study_here

_PSEUDONYM = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class Papers:
    """What can be read of a study. ``present`` is roster.yaml, ``earlier`` are those of ``rosters/``, latest first."""

    folder: Path
    present: Roster | None
    earlier: tuple[Roster, ...]
    study: Study | None


@dataclass(frozen=True)
class Ordered:
    """The digest of a stop order; ``known``: a roster that lies here lists who ordered it, with the key."""

    digest: str
    known: bool


def open_papers(study_folder: Path) -> Papers:
    """Whatever can be read; nothing is refused."""
    paths = (study_folder / ROSTERS).glob("*.yaml")
    earlier = filter(None, (_roster(path, f"{ROSTERS}/{path.name}") for path in paths))
    return Papers(
        study_folder,
        _roster(study_folder / ROSTER, ROSTER),
        tuple(sorted(earlier, key=lambda roster: -roster.version)),
        study_here(study_folder),
    )


def find_stopper(papers: Papers, *, person: str, role: str, has_key: bool) -> Person:
    """Who orders the stop. ``has_key``: a key was named, so that somebody whom no roster lists can sign at all.

    Raises:
        Refused: PERSON_UNKNOWN, ROLE_NOT_HELD. BadInputError: FILE_UNREADABLE (there is no roster, nor a study).
    """
    if papers.present is None and papers.study is None:
        read_file(papers.folder / ROSTER)  # the wrong folder, most likely
    rosters = [roster for roster in (papers.present, *papers.earlier) if roster is not None]
    listed = [one for roster in rosters for one in roster.people if one.pseudonym == person and one.roles]
    for one in listed:
        if role in one.roles:
            return one
    if listed:
        raise role_not_held(person, role, listed[0].roles)
    if not has_key or role not in KNOWN_ROLES or not _PSEUDONYM.fullmatch(person):
        names = ", ".join(one.pseudonym for one in papers.present.people) if papers.present else "nobody: it is none"
        raise Refused(
            "PERSON_UNKNOWN",
            f"the roster lists no person '{person[:40]}'",
            f"it lists {names}; if that is not the right roster, name your key (--key), and the stop is written anyway",
        )
    return Person(person, (role,), (), demo=bool(papers.present and papers.present.demo))


def order_stop(
    papers: Papers, *, person: Person, role: str, reason: str, everything: bool, key: Signer, now: datetime
) -> Ordered:
    """Sign a stop and put it into the folder of stops.

    Raises:
        Refused: KEY_NOT_IN_ROSTER (it is somebody else's). BadInputError: STOPS_UNWRITABLE,
            FILE_UNREADABLE (everything is to be stopped, and there is no roster.yaml).
    """
    known = any(
        key.public in one.keys
        for roster in (papers.present, *papers.earlier)
        if roster is not None
        for one in roster.people
        if one.pseudonym == person.pseudonym
    )
    # a key that is somebody else's here was mistaken for one's own; one that is nobody's may be of the true roster
    if papers.present is not None and not known and key.public.key_id in papers.present.keys_by_id():
        check_key(papers.present, person, key)
    study = None if everything else papers.study
    if study is None:
        subject, scope = Subject(ROSTER, digest_bytes(read_file(papers.folder / ROSTER))), EVERYTHING
    else:
        subject, scope = Subject("study.yaml", study.digest), study.id
    statement = stop_statement(
        role=role, subjects=[subject], reason=reason, issued=now, scope=scope, person=person.pseudonym
    )
    return Ordered(put(papers.folder / STOPS, "stop", sign_statement(statement, [key])), known)


def _roster(path: Path, name: str) -> Roster | None:
    try:
        return Roster.parse(read_file(path), name)
    except (CoreError, GovernanceError):
        return None
