"""Where a study stands on its way to a pilot: what is there, who has signed, what is missing, and what to type next.

For: ``sekisho study status``. Not for: refusing. The pilot checks everything itself and again; this looks at the same
papers by the same rules, and says all that is missing at once, in the order in which it can be mended:

    keys -> roster (every site) -> policies -> base model -> study (legal and IT) -> data and consents -> keys at hand

It opens no record, no consent, no ledger and no key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from shlex import quote

from ...governance.errors import GovernanceError
from ...governance.policy.policy import Policy
from ...governance.policy.signoff import check_controller
from ...governance.provenance.release import ReleaseRecord
from ...governance.signing.approvals import Ignored
from ...governance.signing.lifecycle import State
from ...governance.signing.roster import Roster, unsigned
from ...governance.signing.succession import succession_missing
from ..data.intake import inspect, locate
from ..errors import CoreError
from ..parties import key_path
from ..site.papers import check_parties, policy_signers, read_roster, read_study
from ..study import Study
from .decisions import to_decide
from .keys import entries
from .life import study_state
from .paper import ROSTER, Content, Paper, approved, open_paper
from .signing import open_roster
from .stopping import open_desk
from .succession import open_succession

NO = "NOT_AN_APPROVAL"  # how the rule lists a no that it has heard
BASE_MODEL_SIGNERS = {"legal": 1}  # site/papers.py asks for legal's signature on the record


@dataclass(frozen=True)
class Item:
    """One line: what it is about, whether it is in order, what was found, and the commands that would mend it."""

    about: str
    done: bool
    found: str
    next: tuple[str, ...] = ()


@dataclass(frozen=True)
class Standing:
    """All lines, in the order in which they can be mended; ``next`` is the first thing to do.

    ``state`` is where the study is in its life (governance/signing/lifecycle.py).
    """

    study: str
    state: str
    items: tuple[Item, ...]
    next: str

    @property
    def ready(self) -> bool:
        """Whether nothing is missing that can be seen from here."""
        return all(item.done for item in self.items)


def standing(study_folder: Path, *, now: datetime) -> Standing:
    """Look at every paper of a study. Raises ``BadInputError`` FILE_UNREADABLE and the codes of study.yaml."""
    study = read_study(study_folder)
    items = tuple(_items(study_folder, study, now))
    first = next((item for item in items if not item.done), None)
    if first is None:
        # signed is not permitted: a policy may still say no, and the pilot would only find that out later
        place = quote(str(study_folder))
        following = f"sekisho legal decide {place} && sekisho pilot {place} --out {quote(str(study_folder / 'out'))}"
    else:
        following = first.next[0] if first.next else f"mend {first.about}"
    return Standing(study.id, _state(study_folder, study, now), items, following)


def _state(folder: Path, study: Study, now: datetime) -> str:
    """Where the study is in its life; a draft until a roster is there under which somebody could approve it."""
    try:
        return str(study_state(folder, study, read_roster(folder, now=now), now=now))
    except (CoreError, GovernanceError):
        return str(State.DRAFT)


def _items(folder: Path, study: Study, now: datetime) -> Iterator[Item]:
    keys = _tried(ROSTER, lambda: _keys(folder))
    yield keys
    roster: Roster | None = None
    if keys.done:
        try:
            roster, signed = open_roster(folder, now=now)
            yield _acceptance(folder, roster, signed) if roster.supersedes is None else _succession(folder, now)
        except (CoreError, GovernanceError) as error:
            yield _broken(ROSTER, error)
    names = [*(f"sites/{site}/policy.yaml" for site in study.sites), "base-model.yaml", "study.yaml"]
    for name in names:
        yield _tried(name, partial(_paper, folder, name, study, roster, now))
    yield _tried("base model", lambda: _weights(folder, study))
    for site in study.sites:
        yield _data(folder, site)
    if roster is not None:
        yield _keys_at_hand(folder, study, roster)
        yield from _stops(folder, now)


def _keys(folder: Path) -> Item:
    _, found = entries(folder)
    missing = list(dict.fromkeys(entry.name for entry in found if not entry.made))
    if not missing:
        return Item(ROSTER, True, f"{len(found)} keys made")
    commands = tuple(f"sekisho study key {name} --study {quote(str(folder))}" for name in missing)
    return Item(ROSTER, False, f"no key yet: {', '.join(missing)}", commands)


def _acceptance(folder: Path, roster: Roster, signed: tuple[str, ...]) -> Item:
    missing = [site.id for site in roster.sites if site.id not in signed]
    found = f"signed by {', '.join(signed) or 'nobody'}"
    if not missing:
        return Item(ROSTER, True, found)
    commands = tuple(f"sekisho site sign-roster {site} --study {quote(str(folder))}" for site in missing)
    return Item(ROSTER, False, f"{found}; missing: {', '.join(missing)}", commands)


def _succession(folder: Path, now: datetime) -> Item:
    """A roster that follows another: the people of both versions who have not signed, and sites that are new in it."""
    found = open_succession(folder, now=now)
    if not unsigned(found.new.roster, found.new.envelopes):
        return Item(ROSTER, True, "signed by every site")
    missing = succession_missing(found.old, found.new, now=now)
    told = [*(f"{role} of version {version}" for version, role in missing.people), *missing.sites]
    if not told:
        return Item(ROSTER, True, f"version {found.new.roster.version} follows version {found.old.version}")
    place = quote(str(folder / ROSTER))
    commands = [f"sekisho legal sign {place} --role {role} --as NAME" for _, role in missing.people]
    commands += [f"sekisho site sign-roster {site} --study {quote(str(folder))}" for site in missing.sites]
    return Item(ROSTER, False, f"missing: {', '.join(told)}", tuple(commands))


def _paper(folder: Path, name: str, study: Study, roster: Roster | None, now: datetime) -> Item:
    paper = open_paper(folder / name)
    left = to_decide(paper.text)
    open_marks = f"; {left} lines say DECIDE" if left else ""
    if roster is None:
        return Item(name, False, f"to be signed once every site has signed the roster{open_marks}")
    if name == "study.yaml":
        check_parties(study, roster)
    if isinstance(paper.content, Policy):
        check_controller(paper.content, roster.party(paper.site))
    counted = approved(paper, roster, now=now)
    wanted = signers_of(name, roster)
    missing = counted.missing(wanted)
    by = ", ".join(f"{person} ({role})" for person, role in counted.people) or "nobody"
    not_counted = _withdrawn(roster, counted.ignored) + _not_counted([one.code for one in counted.ignored])
    commands = tuple(_sign(folder, name, role, _signer(paper, roster, role, counted.people)) for role in missing)
    lacking = f"; missing: {', '.join(missing)}" if missing else ""
    return Item(name, not missing, f"signed by {by}{lacking}{not_counted}{open_marks}", commands)


def _withdrawn(roster: Roster, ignored: Iterable[Ignored]) -> str:
    """Who took an approval back, or said no."""
    said_no = {one.key_id for one in ignored if one.code == NO}
    names = [one.pseudonym for one in roster.people if any(key.key_id in said_no for key in one.keys)]
    return f"; revoked or rejected by {', '.join(names)}" if names else ""


def _not_counted(codes: list[str]) -> str:
    """Signatures beside the paper that count for nothing; most often because the file is another one by now."""
    codes = [code for code in codes if code not in (NO, "WITHDRAWN")]
    changed = codes.count("SUBJECT_OTHER")
    upgraded = codes.count("RENDERER_OTHER")
    others = [code for code in codes if code not in ("SUBJECT_OTHER", "RENDERER_OTHER")]
    told = f"; {changed} no longer count: the file changed after they signed (SUBJECT_OTHER)" if changed else ""
    if upgraded:
        told += f"; {upgraded} no longer count: this version shows the policy in other words (RENDERER_OTHER)"
    return told + (f"; {len(others)} do not count ({', '.join(sorted(set(others)))})" if others else "")


def signers_of(name: str, roster: Roster, content: Content | None = None) -> Mapping[str, int]:
    """How many people must sign the paper of this name, by role; a release says so itself, in its ``content``."""
    if isinstance(content, ReleaseRecord):
        return content.approvals
    if name == "base-model.yaml":
        return BASE_MODEL_SIGNERS
    return policy_signers(roster)


def _signer(paper: Paper, roster: Roster, role: str, people: tuple[tuple[str, str], ...]) -> str:
    """Somebody who could sign in the role and has not."""
    may = roster.acting_for(paper.site).people if paper.site else roster.people
    taken = {person for person, _ in people} | {paper.requester}
    named = [one.pseudonym for one in may if role in one.roles and one.pseudonym not in taken]
    # of the whole study's papers, those who act for no site are the likelier signers
    free = [one.pseudonym for one in may if one.pseudonym in named and not one.acts_for]
    return next(iter([*free, *named]), "NAME")


def _sign(folder: Path, name: str, role: str, person: str) -> str:
    return f"sekisho legal sign {quote(str(folder / name))} --role {role} --as {person}"


def _weights(folder: Path, study: Study) -> Item:
    found = inspect(locate(study.base_model, folder)).digest
    if found == study.base_model.digest:
        return Item("base model", True, f"{study.base_model.name} is here, with the weights that the study names")
    return Item("base model", False, "the weights here are not those that the study names")


def _data(folder: Path, site: str) -> Item:
    home = folder / "sites" / site
    about = f"sites/{site}"
    if not (home / "records.jsonl.gz").is_file():
        mend = f"the site puts its records into {about}/records.jsonl.gz"
        return Item(about, False, "records.jsonl.gz is missing", (mend,))
    consents = home / "consent.jsonl"
    if not consents.is_file() or not consents.stat().st_size:
        mend = f"the site writes who consented into {about}/consent.jsonl (docs/your-data.md has the form)"
        return Item(about, False, "consent.jsonl holds no consent, so nobody may be used", (mend,))
    return Item(about, True, "records and consents are there (`sekisho site consent` counts who may be used)")


def _keys_at_hand(folder: Path, study: Study, roster: Roster) -> Item:
    """A pilot runs every party in one process, so it needs the parties' keys; never those of people."""
    parties = (*study.sites, roster.coordinator.id)
    missing = [party for party in parties if not key_path(folder, party, demo=roster.demo).exists()]
    if missing:
        return Item("keys", False, f"not here: {', '.join(missing)}", (f"{missing[0]} puts its key into keys/",))
    return Item("keys", True, "the keys of all parties are here; the pilot asks for their passphrases")


def _stops(folder: Path, now: datetime) -> Iterator[Item]:
    """A line where something stops the study; none where nothing does."""
    desk = open_desk(folder, now=now)
    if desk.standing or desk.unusable is not None or desk.listed.stopped:
        yield Item("stops", False, "an emergency stop is in force", (f"sekisho legal stops {quote(str(folder))}",))


def _tried(about: str, look: Callable[[], Item]) -> Item:
    try:
        return look()
    except (CoreError, GovernanceError) as error:
        return _broken(about, error)


def _broken(about: str, error: CoreError | GovernanceError) -> Item:
    return Item(about, False, f"{error} [{error.code}]", (error.hint,) if error.hint else ())
