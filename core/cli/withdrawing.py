"""The commands for people who withdraw, object or ask for erasure, and for the adapters that this leaves in question.

    sekisho site withdraw SITE SUBJECT    nothing of theirs is used from the next step on; what was reached
    sekisho site erase SITE SUBJECT       and nothing of them is left but fingerprints: what was spent, when it ended
    sekisho site subject-request SITE SUBJECT    what the site holds and did of them, in a bundle that can be verified
    sekisho site remedies SITE            which adapters wait for a remedy, and which had theirs

Remedies themselves are carried out by ``sekisho remedy`` (remedying.py). The subject's pseudonym is never printed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from ...governance.consent.withdrawal import Reason
from ...governance.language import Language
from ..errors import BadInputError
from ..site.withdrawal_statement import effect_text, lines, say
from .consent import known_site
from .console import DEFAULT_STUDY, Terminal, guarded
from .signing import JSON, LANGUAGE

if TYPE_CHECKING:
    from ..site.remedy import Desk

SITE = typer.Argument(..., help="Id of the site.")
SUBJECT = typer.Argument(..., help="Pseudonym of the subject; it is never printed.")
FOLDER = typer.Option(DEFAULT_STUDY, "--study", help="Folder of the study.")


@guarded()
def withdraw(
    site: str = SITE,
    subject: str = SUBJECT,
    study: Path = FOLDER,
    reason: str = typer.Option("withdrawal", "--reason", help="withdrawal or objection."),
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Take a withdrawal or objection: no record is used from the next step on; say what was reached."""
    from ..site.remedy import withdraw as withdraw_subject

    terminal = Terminal(as_json=as_json)
    taken = _reason(reason)
    desk = _open(study, site)
    try:
        found = withdraw_subject(desk, subject, at=datetime.now(UTC), reason=taken)
    finally:
        desk.close()
    for line in lines(found, language):
        terminal.say(line)
    if not found.logged:
        terminal.say(say("waits", language))
    terminal.say(say("paper", language, path=found.paper))
    terminal.result(found.to_json())


@guarded()
def erase(
    site: str = SITE,
    subject: str = SUBJECT,
    study: Path = FOLDER,
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Forget a subject: vault, keys, papers, heads; refused as unfinished while the site's own files hold them."""
    from ..site.remedy import erase as erase_subject

    terminal = Terminal(as_json=as_json)
    desk = _open(study, site)
    try:
        erased = erase_subject(desk, subject, at=datetime.now(UTC))
    finally:
        desk.close()
    counts = {"consent": erased.consent, "reach": erased.reach, "papers": erased.papers, "heads": erased.heads}
    if erased.anything:
        terminal.say(say("erased", language, site=site, **counts))
        terminal.say(say("erased-stays", language))
    else:
        terminal.say(say("erased-again", language, site=site))
    terminal.result({"site": site, "finished": True, **counts})


@guarded()
def subject_request(
    site: str = SITE,
    subject: str = SUBJECT,
    study: Path = FOLDER,
    out: Path = typer.Option(Path("subject-request.zip"), "--out", help="The bundle to write, for that person alone."),
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Answer a request for access: consents, runs that reached the person, and the log entries of these, signed."""
    from ..site.subject_request import answer_request

    terminal = Terminal(as_json=as_json)
    answer = answer_request(study, known_site(study, site), subject, out)
    terminal.say(
        say("request", language, path=out, consent=answer.consent, runs=answer.runs, withdrawals=answer.withdrawals)
    )
    terminal.say(say("request-verify", language, path=out, root=answer.root))
    terminal.result(
        {"site": site, "evidence": str(out), "root": answer.root, "bytes": answer.size, "consent": answer.consent,
         "runs": answer.runs, "withdrawals": answer.withdrawals}
    )  # fmt: skip


@guarded()
def remedies(
    site: str = SITE, study: Path = FOLDER, language: Language = LANGUAGE, as_json: bool = JSON
) -> None:
    """Which adapters wait for a remedy after a withdrawal, and what became of the others."""
    terminal = Terminal(as_json=as_json)
    desk = _open(study, site)
    try:
        known, effect = desk.reach.remedies(), desk.effect
    finally:
        desk.close()
    if not any(not remedy.outcome for remedy in known):
        terminal.say(say("remedies-none", language, site=site))
    for remedy in known:
        if remedy.outcome:
            outcome = say(f"outcome-{remedy.outcome}", language)
            terminal.say(say("remedy-done", language, run=remedy.run, outcome=outcome))
        else:
            effect_said = effect_text(effect, language)
            terminal.say(say("remedy-due", language, run=remedy.run, since=remedy.since, effect=effect_said))
    terminal.result(
        {
            "site": site,
            "effect": str(effect),
            "remedies": [
                {"run": one.run, "since": one.since, "outcome": one.outcome or "due", "successor": one.successor}
                for one in known
            ],
        }
    )


def _open(study: Path, site: str) -> Desk:
    from ..site.remedy import Desk

    return Desk.open(study, known_site(study, site))


def _reason(given: str) -> Literal[Reason.WITHDRAWAL, Reason.OBJECTION]:
    if given == "withdrawal":
        return Reason.WITHDRAWAL
    if given == "objection":
        return Reason.OBJECTION
    raise BadInputError("REASON_UNKNOWN", "the reason is not a known one", "write withdrawal or objection")
