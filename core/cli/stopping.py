"""The commands by which people stop a study at once, let it go on, and vouch for which stops there are.

    sekisho legal stop [STUDY]        one person, alone, in any role: from the next step on nothing is sent or opened
    sekisho legal resume [ORDER]      legal, it and the roles that policies name, each with their own key
    sekisho legal stops [STUDY]       which orders are in force, who has signed a restart, how old the list is

What is signed is shown first, and somebody says yes: at the terminal, or with ``--yes`` where there is none. Each site
looks into its own copy of the folder ``stops``: an order that did not reach a site has not stopped it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ...governance.language import Catalogue, Language
from ...governance.signing.envelope import write_time
from ...governance.signing.stop import EVERYTHING, REASONS
from ...governance.vocabulary import known, label
from ..errors import BadInputError
from ..site.papers import read_roster
from .console import Terminal, guarded
from .signing import JSON, LANGUAGE, PASSPHRASE_FILE, SIGNER, STUDY, YES, confirm

if TYPE_CHECKING:
    from ..paperwork.stopping import Desk, Order

HOUSE = __name__.removesuffix(".cli.stopping")
FOLDER = typer.Argument(Path("."), help="Folder of the study.")
PERSON = typer.Option(..., "--as", help="Your pseudonym in the roster.")
KEY_FILE = typer.Option(None, "--key", help="Your key file; else keys/<pseudonym>.key of the study.")


@guarded()
def stop(
    study: Path = FOLDER,
    person: str = PERSON,
    role: str = typer.Option(..., "--role", help="The role in which you stop: legal, it, …"),
    reason: str = typer.Option(..., "--reason", help=f"One of {', '.join(sorted(REASONS))}."),
    everything: bool = typer.Option(False, "--all", help="Stop every study under this roster, not this one alone."),
    key_file: Path | None = KEY_FILE,
    passphrase_file: Path | None = PASSPHRASE_FILE,
    signer: str | None = SIGNER,
    yes: bool = YES,
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Stop at once: nothing is trained, opened or released until legal, IT and others named lift it."""
    from ..paperwork.ordering import find_stopper, open_papers, order_stop
    from ..paperwork.signers import signer_of
    from ..paperwork.stopping import short

    terminal = Terminal(as_json=as_json)
    if reason not in REASONS:
        raise BadInputError("REASON_UNKNOWN", "the reason is not a known code", f"one of {', '.join(sorted(REASONS))}")
    papers = open_papers(study)
    who = find_stopper(papers, person=person, role=role, has_key=key_file is not None)
    everything = everything or papers.study is None
    terminal.say(_say("all" if everything else "one", language, study=papers.study.id if papers.study else "-"))
    if papers.study is None:
        terminal.say(_say("unreadable-study", language))
    terminal.say(_say("effect", language))
    confirm(terminal, f"stop, as {person} in the role {role}, for the reason {reason}?", yes=yes)
    key = signer_of(study, who, key_file=key_file, passphrase_file=passphrase_file, command=signer)
    ordered = order_stop(papers, person=who, role=role, reason=reason, everything=everything, key=key, now=_now())
    if not ordered.known:
        terminal.say(_say("unlisted", language, person=person))
    terminal.say(_say("ordered", language, order=short(ordered.digest)))
    told = {"all": everything, "person": person, "role": role, "reason": reason}
    terminal.result({"order": ordered.digest, "known": ordered.known, **told})


@guarded()
def resume(
    order: str = typer.Argument("", help="The order to lift, by its first digits; not needed where there is one."),
    study: Path = STUDY,
    person: str = PERSON,
    role: str = typer.Option(..., "--role", help="The role in which you sign the restart: legal, it, …"),
    key_file: Path | None = KEY_FILE,
    passphrase_file: Path | None = PASSPHRASE_FILE,
    signer: str | None = SIGNER,
    yes: bool = YES,
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Sign, in one role, that one stop is lifted; it is lifted when everybody who must has signed."""
    from ..paperwork.signers import signer_of
    from ..paperwork.stopping import check_signer, open_desk, sign_restart, standing_order

    terminal = Terminal(as_json=as_json)
    read_roster(study, now=_now())  # one that is not accepted, or has expired, lifts nothing
    desk = open_desk(study, now=_now())
    who = check_signer(desk.roster, person=person, role=role)
    standing = standing_order(desk, order)
    for line in _told(standing, language):
        terminal.say(line)
    confirm(terminal, f"lift the stop {standing.short}, as {person} in the role {role}?", yes=yes)
    key = signer_of(study, who, key_file=key_file, passphrase_file=passphrase_file, command=signer)
    sign_restart(desk, standing, person=who, role=role, key=key, now=_now())
    after = next(one for one in open_desk(study, now=_now()).orders if one.stop.order == standing.stop.order)
    if after.lacking.roles:
        terminal.say(_say("still-missing", language, roles=_roles(after.lacking.roles, language)))
    elif after.lacking:
        terminal.say(_say("still-in-force", language, order=after.short))
    for line in _sites_lacking(after, language):
        terminal.say(line)
    if not after.lacking:
        terminal.say(_say("lifted", language, order=after.short))
    terminal.result({"order": after.stop.order, "person": person, "role": role, **_lacking(after)})


@guarded()
def stops(
    study: Path = FOLDER,
    sign: bool = typer.Option(False, "--sign", help="Sign a list of the orders that lie here, with your own key."),
    person: str = typer.Option("", "--as", help="Your pseudonym in the roster; with --sign."),
    key_file: Path | None = KEY_FILE,
    passphrase_file: Path | None = PASSPHRASE_FILE,
    signer: str | None = SIGNER,
    yes: bool = YES,
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Show every stop order, who has signed its restart, and the list that vouches for them."""
    from ..paperwork.signers import signer_of
    from ..paperwork.stopping import check_signer, open_desk, sign_list

    terminal = Terminal(as_json=as_json)
    desk = open_desk(study, now=_now())
    _show(terminal, desk, language)
    if sign:
        who = check_signer(desk.roster, person=person, role="")
        confirm(terminal, f"sign, as {person}, that you know of these orders and of no other?", yes=yes)
        key = signer_of(study, who, key_file=key_file, passphrase_file=passphrase_file, command=signer)
        sign_list(desk, person=who, key=key, now=_now())
        desk = open_desk(study, now=_now())
        _show_list(terminal, desk, language)
    terminal.result(
        {
            "orders": [_described(order) for order in desk.orders],
            "unusable": desk.unusable[1] if desk.unusable else None,
            "list": {"age_hours": desk.listed.age_hours, "code": desk.listed.code},
        }
    )


def list_assumed(study: Path, language: Language) -> str:
    """What ``legal decide`` takes for granted about the list of stops, and what lies there now."""
    from ..paperwork.stopping import open_desk

    age = open_desk(study, now=_now()).listed.age_hours
    return _say("assumed-none", language) if age is None else _say("assumed", language, hours=age)


def _show(terminal: Terminal, desk: Desk, language: Language) -> None:
    if desk.unusable is not None:
        code, file = desk.unusable
        terminal.say(_say("unusable", language, file=file, code=code))
    elif not desk.orders:
        terminal.say(_say("none", language))
    for order in desk.orders:
        for line in _told(order, language):
            terminal.say(line)
    _show_list(terminal, desk, language)


def _show_list(terminal: Terminal, desk: Desk, language: Language) -> None:
    listed = desk.listed
    if listed.code:
        terminal.say(_say("list-stops", language, code=listed.code))
    elif listed.age_hours is None:
        terminal.say(_say("list-none", language))
    else:
        terminal.say(_say("list", language, number=len(listed.orders), hours=listed.age_hours))


def _told(order: Order, language: Language) -> list[str]:
    stop = order.stop
    what = "all" if stop.scope == EVERYTHING else "one"
    lines = [
        _say("order", language, order=order.short, at=write_time(stop.issued), person=stop.person,
             role=_roles([stop.role], language), reason=_say(f"reason.{stop.reason}", language)),
        "  " + _say(what, language, study=stop.scope or ", ".join(sorted(stop.digests))),
    ]  # fmt: skip
    signed = ", ".join(f"{person} ({_roles([role], language)})" for person, role in order.restarted_by) or "-"
    state = "standing" if order.lacking else "lifted-by"
    lines.append("  " + _say(state, language, signed=signed, roles=_roles(order.lacking.roles, language)))
    return [*lines, *(f"  {line}" for line in _sites_lacking(order, language))]


def _sites_lacking(order: Order, language: Language) -> list[str]:
    """A line for each group of sites of which nobody has signed the restart yet."""
    groups = [", ".join(sorted(group)) for group in order.lacking.sites]
    return [_say("site-missing", language, sites=group, person=order.stop.person) for group in groups]


def _lacking(order: Order) -> dict[str, Any]:
    return {
        "missing": list(order.lacking.roles),
        "missing_one_of_sites": [sorted(group) for group in order.lacking.sites],
    }


def _roles(roles: Sequence[str], language: Language) -> str:
    return ", ".join(label("roles", role)[language] if known("roles", role) else role for role in roles) or "-"


def _described(order: Order) -> dict[str, Any]:
    stop = order.stop
    return {
        "order": stop.order,
        "issued": write_time(stop.issued),
        "scope": stop.scope,
        "person": stop.person,
        "role": stop.role,
        "reason": stop.reason,
        "restarted_by": [list(one) for one in order.restarted_by],
        **_lacking(order),
    }


def _say(key: str, language: Language, **values: object) -> str:
    texts = Catalogue.load(HOUSE, "texts")
    return texts.render(f"stopping.{key}", language, **{name: str(value) for name, value in values.items()})


def _now() -> datetime:
    return datetime.now(UTC)
