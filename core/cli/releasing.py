"""The commands by which people revoke a released adapter, and vouch for which ones are revoked.

    sekisho legal revoke-adapter ADAPTER  one person of legal or it: nobody who asks uses it any more
    sekisho legal revocations             what is revoked, how old the list is; ``--sign`` signs it anew

What is signed is shown first, and somebody says yes. Weights once released cannot be recalled: a revocation reaches
those who ask.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import typer

from ...governance.language import Language
from ...governance.provenance.revocation import LIST, MAX_AGE_HOURS, REASONS, REVOKING_ROLES, ListState
from ...governance.signing.envelope import write_time
from ...governance.signing.roster import Person, Roster
from ..errors import BadInputError, Refused
from ..paperwork.release_summary import say
from ..site.papers import read_roster
from ..site.revoking import REVOCATIONS, read_list_state, revoke
from .console import Terminal, guarded
from .signing import JSON, LANGUAGE, PASSPHRASE_FILE, SIGNER, STUDY, YES, confirm

PERSON = typer.Option(..., "--as", help="Your pseudonym in the roster.")
KEY_FILE = typer.Option(None, "--key", help="Your key file; else keys/<pseudonym>.key of the study.")


@guarded()
def revoke_adapter(
    adapter: str = typer.Argument(..., help="The adapter's digest (sha256:…), or the folder of its release."),
    study: Path = STUDY,
    person: str = PERSON,
    reason: str = typer.Option(..., "--reason", help=f"One of {', '.join(sorted(REASONS))}."),
    key_file: Path | None = KEY_FILE,
    passphrase_file: Path | None = PASSPHRASE_FILE,
    signer: str | None = SIGNER,
    yes: bool = YES,
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Put an adapter on the signed list of revoked ones; it cannot be taken off."""
    from ..paperwork.signers import signer_of

    terminal = Terminal(as_json=as_json)
    if reason not in REASONS:
        raise BadInputError("REASON_UNKNOWN", "the reason is not a known code", f"one of {', '.join(sorted(REASONS))}")
    digest = _digest_of(adapter)
    roster = read_roster(study, now=_now())
    who = _may_revoke(roster, person)
    confirm(terminal, say("revoke-question", language, adapter=digest, person=person, reason=reason), yes=yes)
    key = signer_of(study, who, key_file=key_file, passphrase_file=passphrase_file, command=signer)
    _check_own(who, key.public.key_id)
    state = revoke(study, roster, key, adapter=digest, reason=reason, now=_now())
    terminal.say(say("revoked", language, adapter=digest, version=state.version))
    terminal.result({"adapter": digest, "reason": reason, "person": person, "version": state.version})


@guarded()
def revocations(
    study: Path = typer.Argument(Path("."), help="Folder of the study."),
    sign: bool = typer.Option(False, "--sign", help="Sign the list anew, with your own key."),
    person: str = typer.Option("", "--as", help="Your pseudonym in the roster; with --sign."),
    key_file: Path | None = KEY_FILE,
    passphrase_file: Path | None = PASSPHRASE_FILE,
    signer: str | None = SIGNER,
    yes: bool = YES,
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Show which adapters are revoked and how old the list is; with --sign, vouch for it anew."""
    from ..paperwork.signers import signer_of

    terminal = Terminal(as_json=as_json)
    if sign != bool(person):
        raise BadInputError(
            "SIGN_AND_PERSON", "--sign and --as go together", "write both to sign the list anew, neither to look at it"
        )
    roster = read_roster(study, now=_now())
    state = read_list_state(study, roster, now=_now())
    _show(terminal, state, language)
    if sign:
        who = _may_revoke(roster, person)
        confirm(terminal, say("list-question", language, person=person), yes=yes)
        key = signer_of(study, who, key_file=key_file, passphrase_file=passphrase_file, command=signer)
        _check_own(who, key.public.key_id)
        state = revoke(study, roster, key, adapter="", reason="", now=_now())
        _show(terminal, state, language)
    terminal.result(
        {
            "list": f"{REVOCATIONS}/{LIST}",
            "version": state.version,
            "doubt": state.code,
            "age_hours": state.age_hours(_now()),
            "revoked": {one.adapter: one.reason for one in state.revoked.values()},
        }
    )


def _digest_of(adapter: str) -> str:
    """A digest as it is written, or that of the adapter in a released folder. Raises ``BadInputError``."""
    from ...governance.canonical import is_digest
    from ...governance.provenance.release import RECORD, read_record
    from ..site.papers import read_file

    return adapter if is_digest(adapter) else read_record(read_file(Path(adapter) / RECORD)).adapter


def _may_revoke(roster: Roster, person: str) -> Person:
    found = next((one for one in roster.people if one.pseudonym == person), None)
    if found is None or not REVOKING_ROLES.intersection(found.roles):
        may = [one.pseudonym for one in roster.people if REVOKING_ROLES.intersection(one.roles)]
        raise Refused(
            "ROLE_NOT_HELD", f"'{person[:40]}' holds none of the roles {', '.join(sorted(REVOKING_ROLES))}",
            f"people who may: {', '.join(may) or 'nobody in the roster'}",
        )  # fmt: skip
    return found


def _check_own(person: Person, key_id: str) -> None:
    if key_id not in {key.key_id for key in person.keys}:
        raise Refused(
            "KEY_NOT_IN_ROSTER", f"this key is not one that the roster lists for '{person.pseudonym}'",
            "use the key whose public half the roster holds",
        )  # fmt: skip


def _show(terminal: Terminal, state: ListState, language: Language) -> None:
    if state.code:
        terminal.say(say("list-none", language, code=state.code))
        return
    terminal.say(
        say("list", language, version=state.version, number=len(state.revoked), hours=state.age_hours(_now()) or 0,
            limit=MAX_AGE_HOURS)
    )  # fmt: skip
    for one in state.revoked.values():
        terminal.say(say("list-entry", language, adapter=one.adapter, reason=one.reason, at=write_time(one.at)))


def _now() -> datetime:
    return datetime.now(UTC)
