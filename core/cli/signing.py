"""The commands by which people and parties sign with their own keys; study.py, legal.py and site.py offer them.

    sekisho study key NAME            a key of one's own, for a person, a site or the coordinator
    sekisho site sign-roster SITE     a site accepts who takes part and who signs
    sekisho legal sign FILE           a person approves a paper, in one role
    sekisho legal revoke FILE         and takes the approval back, or says no

What is signed is shown first. Then somebody says yes, and to a paper by typing the beginning of its digest, which
nobody does by habit; with ``--yes`` where there is no terminal. No torch, no TenSEAL, no record, no ledger.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import typer

from ...governance.language import Catalogue, Language
from ..errors import Refused
from ..parties import key_path
from ..passphrases import new_passphrase, unlock, variable_of
from ..site.papers import read_roster
from .console import Terminal, guarded

HOUSE = __name__.removesuffix(".cli.signing")
ROSTER = "roster.yaml"
STUDY = typer.Option(Path("."), "--study", help="Folder of the study.")
PASSPHRASE_FILE = typer.Option(None, "--passphrase-file", help="File whose first line is the key's passphrase.")
SIGNER = typer.Option(None, "--signer", help="A command that signs with a key of its own: a token, an agent.")
YES = typer.Option(False, "--yes", help="Sign without being asked; for where there is no terminal.")
LANGUAGE = typer.Option("en", "--language", help="en or ja.")
JSON = typer.Option(False, "--json", help="Print one JSON object.")
PAPER = typer.Argument(..., help="study.yaml, base-model.yaml, sites/<site>/policy.yaml, or a release.json.")
KEY_FILE = typer.Option(None, "--key", help="Your key file; else keys/<pseudonym>.key of the study.")
PERSON = typer.Option(..., "--as", help="Your pseudonym in the roster.")
DIGITS = 8  # of the digest that a person types: 32 bits, as many as are read and typed without a slip


@guarded()
def key(
    name: str = typer.Argument(..., help="Who the key is for: a person, a site or the coordinator of roster.yaml."),
    study: Path = STUDY,
    passphrase_file: Path | None = PASSPHRASE_FILE,
    as_json: bool = JSON,
) -> None:
    """Make a signing key under a passphrase, and write its public half into roster.yaml."""
    from ..paperwork.keys import check_no_key, make_key

    terminal = Terminal(as_json=as_json)
    check_no_key(study, name)
    public = make_key(study, name, passphrase=new_passphrase(name, passphrase_file))
    path = key_path(study, name)
    terminal.say(f"key of {name}: {path}, readable by you alone and locked by the passphrase; keep a copy of both")
    terminal.say(f"public half, now in roster.yaml: {public.to_text()}")
    terminal.say(f"where no terminal is, the passphrase is taken from {variable_of(name)}")
    terminal.result({"name": name, "key": str(path), "public": public.to_text(), "key_id": public.key_id})


@guarded()
def sign_roster(
    site: str = typer.Argument(..., help="Id of the site that signs."),
    study: Path = STUDY,
    passphrase_file: Path | None = PASSPHRASE_FILE,
    yes: bool = YES,
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Accept, for a site, the roster as it stands: who takes part, who signs in which role, with which keys."""
    from ..paperwork.signing import add_acceptance, check_site, open_roster
    from ..paperwork.summary import roster_summary

    terminal = Terminal(as_json=as_json)
    roster, signed = open_roster(study, now=_now())
    check_site(roster, signed, site)
    for line in roster_summary(roster, language):
        terminal.say(line)
    confirm(terminal, _say("ask.acceptance", language, site=site), yes=yes)
    own = unlock(key_path(study, site, demo=roster.demo), site, passphrase_file=passphrase_file)
    add_acceptance(study, roster, site=site, key=own)
    missing = [party.id for party in roster.sites if party.id not in (*signed, site)]
    named = ", ".join(missing) or _say("done.nobody", language)
    terminal.say(_say("done.acceptance", language, site=site, missing=named))
    terminal.result({"site": site, "roster": roster.fingerprint, "missing": missing})


@guarded()
def sign(
    file: Path = PAPER,
    role: str = typer.Option(..., "--role", help="The role in which you sign: legal, it, …"),
    person: str = PERSON,
    key_file: Path | None = KEY_FILE,
    passphrase_file: Path | None = PASSPHRASE_FILE,
    until: str = typer.Option("", "--until", help="Last day of your approval: 2027-03-31. Default: the roster's end."),
    command: str | None = SIGNER,
    yes: bool = YES,
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Approve a paper with your own key: it is shown, you type its digest, the signature is written beside it."""
    from ..paperwork.paper import approved, open_paper
    from ..paperwork.signers import signer_of
    from ..paperwork.signing import add_approval, check_signer, check_weights, end_of
    from ..paperwork.standing import signers_of
    from ..paperwork.summary import question, summary

    terminal = Terminal(as_json=as_json)
    if file.name == ROSTER:
        _hand_on(terminal, file.parent, person, role, (key_file, passphrase_file, command), yes=yes, language=language)
        return
    paper = open_paper(file)
    roster = read_roster(paper.folder, now=_now())
    signer = check_signer(paper, roster, person=person, role=role, now=_now())
    end = end_of(until, roster, now=_now())
    check_weights(paper)
    for line in summary(paper, language, until=end, now=_now()):
        terminal.say(line)
    asked = question(paper, person, role, DIGITS, language)
    _confirm_digest(terminal, asked, paper.bytes_digest, yes=yes)
    own = signer_of(paper.folder, signer, key_file=key_file, passphrase_file=passphrase_file, command=command)
    add_approval(paper, roster, signer=signer, role=role, key=own, until=end, now=_now())
    missing = approved(paper, roster, now=_now()).missing(signers_of(paper.name, roster, paper.content))
    words = {"paper": paper.name, "person": person, "role": _roles([role], language)}
    terminal.say(_say("done.approval", language, missing=_roles(missing, language), **words))
    terminal.result(
        {
            "paper": paper.name,
            "person": person,
            "role": role,
            "bytes": paper.bytes_digest,
            "canonical": paper.canonical_digest,
            "shown": paper.shown.to_json() if paper.shown is not None else None,
            "until": end.isoformat(),
            "missing": list(missing),
        }
    )


@guarded()
def revoke(
    file: Path = PAPER,
    role: str = typer.Option(..., "--role", help="The role in which you approved: legal, it, …"),
    person: str = PERSON,
    reject: bool = typer.Option(False, "--reject", help="Say no to a paper that you have not approved."),
    key_file: Path | None = KEY_FILE,
    passphrase_file: Path | None = PASSPHRASE_FILE,
    command: str | None = SIGNER,
    yes: bool = YES,
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Take your approval of a paper back: from the next step on it counts no more, at any site."""
    from ..paperwork.paper import approved, open_paper
    from ..paperwork.signers import signer_of
    from ..paperwork.standing import signers_of
    from ..paperwork.summary import no_in_words
    from ..paperwork.withdrawing import add_no, check_withdrawer

    terminal = Terminal(as_json=as_json)
    paper = open_paper(file)
    roster = read_roster(paper.folder, now=_now())
    signer = check_withdrawer(paper, roster, person=person, role=role, reject=reject, now=_now())
    for line in no_in_words(paper, person, role, reject=reject, language=language):
        terminal.say(line)
    confirm(terminal, _say("ask.no", language, person=person), yes=yes)
    own = signer_of(paper.folder, signer, key_file=key_file, passphrase_file=passphrase_file, command=command)
    add_no(paper, roster, signer=signer, role=role, key=own, reject=reject, now=_now())
    missing = approved(paper, roster, now=_now()).missing(signers_of(paper.name, roster, paper.content))
    decision = "rejected" if reject else "revoked"
    words = {"paper": paper.name, "person": person, "role": _roles([role], language)}
    terminal.say(_say(f"done.{decision}", language, missing=_roles(missing, language), **words))
    terminal.result(
        {"paper": paper.name, "person": person, "role": role, "decision": decision, "missing": list(missing)}
    )


def _hand_on(
    terminal: Terminal,
    study: Path,
    person: str,
    role: str,
    keys: tuple[Path | None, Path | None, str | None],
    *,
    yes: bool,
    language: Language,
) -> None:
    """Sign, as a person of the version before, of the new one or of both, that one roster follows another."""
    from ...governance.policy.words import joined
    from ..paperwork.signers import signer_of
    from ..paperwork.succession import add_succession, check_successor, open_succession
    from ..paperwork.summary import succession_summary

    succession = open_succession(study, now=_now())
    signer = check_successor(succession, person=person, role=role, now=_now())
    new = succession.new.roster
    for line in succession_summary(succession.old, new, language):
        terminal.say(line)
    words = {"paper": ROSTER, "person": person, "role": _roles([role], language)}
    confirm(terminal, _say("ask.succession", language, **words), yes=yes)
    key_file, passphrase_file, command = keys
    own = signer_of(study, signer, key_file=key_file, passphrase_file=passphrase_file, command=command)
    missing = add_succession(succession, signer=signer, role=role, key=own, now=_now())
    told = [*(f"{one} of version {version}" for version, one in missing.people), *missing.sites]
    lacking = [
        _say("done.role-of-version", language, role=_roles([one], language), version=version)
        for version, one in missing.people
    ]
    named = joined([*lacking, *missing.sites], language) if told else _say("done.nobody", language)
    terminal.say(_say("done.succession", language, missing=named, **words))
    terminal.result({"paper": ROSTER, "person": person, "role": role, "bytes": new.fingerprint, "missing": told})


def confirm(terminal: Terminal, question: str, *, yes: bool) -> None:
    """Return if somebody said yes. Raises ``Refused`` NOT_CONFIRMED."""
    if yes:
        return
    _check_terminal(terminal)
    if not typer.confirm(question):
        raise Refused("NOT_CONFIRMED", "nothing was signed", hint="sign when the paper says what you approve")


def _confirm_digest(terminal: Terminal, question: str, digest: str, *, yes: bool) -> None:
    """Return if somebody typed how the digest begins. Raises ``Refused`` NOT_CONFIRMED."""
    if yes:
        return
    _check_terminal(terminal)
    if typer.prompt(question).strip().lower().removeprefix("sha256:") != digest.removeprefix("sha256:")[:DIGITS]:
        raise Refused(
            "NOT_CONFIRMED",
            "nothing was signed: what was typed is not how the file's digest begins",
            hint="the digest stands above; compare it with the one that you were told the paper has",
        )


def _check_terminal(terminal: Terminal) -> None:
    if terminal.as_json or not sys.stdin.isatty():
        raise Refused(
            "NOT_CONFIRMED",
            "nothing was signed: there is no terminal at which somebody could say yes",
            hint="read the paper, then add --yes",
        )


def _roles(roles: Sequence[str], language: Language) -> str:
    """Roles as people call them; a word for none."""
    from ...governance.policy.words import plain

    return plain(roles, "roles", language) if roles else _say("done.none", language)


@cache
def _texts() -> Catalogue:
    return Catalogue.load(HOUSE, "texts")


def _say(key: str, language: Language, **values: object) -> str:
    return _texts().render(f"paperwork.{key}", language, **{name: str(value) for name, value in values.items()})


def _now() -> datetime:
    return datetime.now(UTC)
