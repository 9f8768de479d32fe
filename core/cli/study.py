"""sekisho study: where a study stands, and giving a demo its budget back.

``reset-demo`` deletes the state of a study whose roster is marked ``demo: true``, and of no other: outside a demo a
budget that is spent stays spent.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import typer

from ..errors import Refused
from ..parties import StateLock, state_folder
from ..site.papers import read_roster, read_study
from .console import DEFAULT_STUDY, Terminal, guarded

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def study_commands() -> None:
    """A study of your own: its state, and resetting a demo."""


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
    removed = []
    for party in (*content.sites, roster.coordinator.id):
        folder = state_folder(study, party, coordinator=party == roster.coordinator.id)
        if folder.exists():
            lock = StateLock(folder, party)
            shutil.rmtree(folder)
            lock.release()
            removed.append(party)
    terminal.say(f"state of {len(removed)} parties deleted: {', '.join(removed) or 'there was none'}")
    terminal.result({"removed": removed})
