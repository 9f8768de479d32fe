"""sekisho study: drafting a study of one's own, keys for it, where it stands; and giving a demo its budget back.

A study is drafted unsigned (``new``), people make keys of their own (``key``), and ``status`` says who signs next.
``reset-demo`` deletes the state of a study whose roster is marked ``demo: true`` and whose logs were begun under the
published keys, and of no other: outside a demo a budget that is spent stays spent.
"""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ...governance.log.milestones import key_of
from ...governance.signing.keys import demo_key
from ...governance.signing.stop import LIST
from ..errors import BadInputError, Refused
from ..parties import LOG_NAME, StateLock, state_folder
from ..site.papers import read_roster, read_study
from ..site.stops import STOPS
from .console import DEFAULT_STUDY, Terminal, guarded
from .signing import key

if TYPE_CHECKING:
    from ..paperwork.asking import Consented
    from ..paperwork.draft import Drafted

LEDGER = "ledger.sqlite"  # of a site: what was spent

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def study_commands() -> None:
    """A study of your own: draft, keys, where it stands."""


@app.command("new")
@guarded()
def new_study(
    folder: Path = typer.Argument(..., help="Folder to write; its name becomes the study's id."),
    sites: str = typer.Option(..., "--sites", help="Names of the sites, three or more: north,south,east."),
    table: Path = typer.Option(..., "--from", help="A CSV file in UTF-8; its first line names the columns."),
    text: str | None = typer.Option(None, "--text", help="Column of the text. Default: text."),
    label: str | None = typer.Option(None, "--label", help="Column of the label, two values. Default: label."),
    subject: str | None = typer.Option(
        None, "--subject", help="Column of the person's pseudonym. Default: subject; without it each row is a person."
    ),
    site: str | None = typer.Option(
        None, "--site", help="Column of the site. Default: site; without it subjects are split by a hash."
    ),
    record_id: str | None = typer.Option(None, "--id", help="Column of the id. Default: id; else numbers."),
    separator: str = typer.Option(",", "--separator", help="What separates the columns: one character, or tab."),
    test: Path | None = typer.Option(None, "--test", help="A CSV file of public test records; columns as in --from."),
    test_share: int = typer.Option(20, "--test-share", help="Else: per cent of the subjects made public."),
    consented: str = typer.Option("", "--consented", help="You declare: all subjects agreed on this day (2026-10-01)."),
    notice: str = typer.Option("", "--notice", help="Id of the notice that they agreed to; goes with --consented."),
    base_model: Path | None = typer.Option(None, "--base-model", help="A local safetensors folder; it is copied."),
    licence: str = typer.Option("", "--licence", help="Its licence (SPDX), where its card does not say."),
    country: str = typer.Option("JP", "--country", help="Country of all parties, two letters."),
    law: str = typer.Option("", "--law", help="Starting point of the legal basis: appi or gdpr. Default: by country."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Write a study of your own from one CSV file: every paper filled in, nothing signed."""
    from ..paperwork.asking import Request
    from ..paperwork.draft import draft_study
    from ..paperwork.table import Columns

    terminal = Terminal(as_json=as_json)
    request = Request(
        folder=folder,
        sites=tuple(name.strip() for name in sites.split(",")),
        table=table,
        columns=Columns(text, label, subject, site, record_id),
        separator=_separator(separator),
        test=test,
        test_share=test_share,
        base_model=base_model,
        licence=licence,
        country=country,
        law=law,
        consented=_consented(consented, notice),
    )
    drafted = draft_study(request, now=datetime.now(UTC))
    tell_drafted(terminal, drafted, consented=request.consented is not None)


@app.command("status")
@guarded()
def status(
    study: Path = typer.Argument(DEFAULT_STUDY, help="Folder of the study."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """What is there, who has signed, what is missing, and the next command to type."""
    from ..paperwork.standing import standing

    terminal = Terminal(as_json=as_json)
    found = standing(study, now=datetime.now(UTC))
    width = max(len(item.about) for item in found.items)
    for item in found.items:
        terminal.say(f"{'ok     ' if item.done else 'missing'}  {item.about.ljust(width)}  {item.found}")
    terminal.say(f"state: {found.state}")
    terminal.say(f"next: {found.next}")
    terminal.result(
        {
            "study": found.study,
            "state": found.state,
            "ready": found.ready,
            "next": found.next,
            "items": [
                {"about": item.about, "done": item.done, "found": item.found, "next": list(item.next)}
                for item in found.items
            ],
        }
    )


app.command("key")(key)


@app.command("reset-demo")
@guarded()
def reset_demo(
    study: Path = typer.Argument(DEFAULT_STUDY, help="Folder of the study."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Delete the budgets, logs and run state of a demo study; works on a `demo: true` roster only."""
    terminal = Terminal(as_json=as_json)
    roster = read_roster(study, now=datetime.now(UTC))  # signed by every site: one edited word is not enough
    if not roster.demo:
        raise Refused(
            "NOT_A_DEMO",
            "this study's roster is not marked as a demo; its budgets are real and stay spent",
            hint="a new budget is a new policy, signed by legal",
        )
    content = read_study(study)
    parties = (*content.sites, roster.coordinator.id)
    folders = {party: state_folder(study, party, coordinator=party == roster.coordinator.id) for party in parties}
    # everybody can sign a demo's roster: put in the place of a real one, it must not wipe a real study
    for party, folder in folders.items():
        _check_demo_state(folder, party)
    removed = []
    for party, folder in folders.items():
        if folder.exists():
            lock = StateLock(folder, party)
            shutil.rmtree(folder)
            lock.release()
            removed.append(party)
    (study / STOPS / LIST).unlink(missing_ok=True)  # the coordinator's word under the roster as it was
    terminal.say(f"state of {len(removed)} parties deleted: {', '.join(removed) or 'there was none'}")
    terminal.result({"removed": removed})


def _check_demo_state(folder: Path, party: str) -> None:
    """Return if what a party keeps was begun under its published key. Raises ``Refused`` STATE_NOT_A_DEMO."""
    log = folder / LOG_NAME
    begun = key_of(log) == demo_key(party).public.key_id if log.exists() else not (folder / LEDGER).exists()
    if not begun:
        raise Refused(
            "STATE_NOT_A_DEMO",
            f"the state of '{party}' was not begun under its demo key, so what was spent there may be real",
            hint="nothing was deleted; see whether roster.yaml is the one that this study ran under",
            site=party,
        )


def tell_drafted(terminal: Terminal, drafted: Drafted, *, consented: bool) -> None:
    """What was written, what was assumed, and what comes next. Counts are for the person who holds the table."""
    folder = drafted.folder
    labels = " and ".join(drafted.labels)
    terminal.say(f"{folder} written: {len(drafted.records)} sites, labels {labels}; nothing is signed")
    for name, records in drafted.records.items():
        terminal.say(f"  {name}: {records} records of {drafted.subjects[name]} subjects")
    terminal.say(f"  test.jsonl.gz: {drafted.test} records. PUBLIC: every site and the readers of the report see them")
    if drafted.left_out:
        terminal.say(f"  {drafted.left_out} test records were left out: their texts stand among the training records")
    if not drafted.has_subjects:
        terminal.say("no column of subjects: each row counts as a person; where people have several rows, name it")
    if not drafted.has_sites:
        terminal.say("no column of sites: subjects were split by a hash; nobody is at two sites")
    if not consented:
        terminal.say("no consent was declared: sites/*/consent.jsonl are empty, and without consent nobody is used")
    terminal.say(f"{drafted.to_decide} lines are marked DECIDE: starting values for people to decide, not advice")
    terminal.say(f"next: sekisho study status {folder}")
    terminal.result(
        {
            "study": str(folder),
            "labels": list(drafted.labels),
            "records": dict(drafted.records),
            "subjects": dict(drafted.subjects),
            "test": drafted.test,
            "left_out": drafted.left_out,
            "to_decide": drafted.to_decide,
        }
    )


def _separator(given: str) -> str:
    separator = "\t" if given in ("tab", "\\t") else given
    if len(separator) != 1 or separator in "\"\r\n":
        raise BadInputError("SEPARATOR_UNUSABLE", "the separator is not one character", "write --separator ';' or tab")
    return separator


def _consented(day: str, notice: str) -> Consented | None:
    """The declaration that both options make together."""
    from ..paperwork.asking import Consented

    if not day and not notice:
        return None
    try:
        at = datetime.combine(date.fromisoformat(day), time(tzinfo=UTC))
    except ValueError:
        at = None
    if at is None or not notice or at > datetime.now(UTC):
        raise BadInputError(
            "CONSENT_DECLARATION",
            "the declaration of consent is not a past day and the id of a notice",
            "write --consented 2026-10-01 --notice notice-2026-10, or leave both out and write consent.jsonl yourself",
        )
    return Consented(at, notice)
