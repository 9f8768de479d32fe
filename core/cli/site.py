"""sekisho site: a site accepts the roster; its own view of budget and consent. What it prints stays at the site.

No torch here: training runs in the engine's own process.
"""

from __future__ import annotations

from pathlib import Path

import typer

from .consent import consent, known_site
from .console import DEFAULT_STUDY, Terminal, guarded
from .signing import sign_roster
from .using import release, use
from .withdrawing import erase, remedies, subject_request, withdraw

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def site_commands() -> None:
    """A site's own view: roster, budget and consent."""


app.command("sign-roster")(sign_roster)
app.command("consent")(consent)
app.command("withdraw")(withdraw)
app.command("erase")(erase)
app.command("subject-request", short_help="What a person asks for about themselves.")(subject_request)
app.command("remedies")(remedies)
app.command("release", short_help="Hand over a candidate that people have approved.")(release)
app.command("use", short_help="Whether a released adapter may be used here, now.")(use)


@app.command()
@guarded()
def budget(
    site: str = typer.Argument(..., help="Id of the site."),
    study: Path = typer.Option(DEFAULT_STUDY, "--study", help="Folder of the study."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """What was spent, what is left, and by which runs."""
    from ..site.budget import budget_lines, budget_view

    terminal = Terminal(as_json=as_json)
    view = budget_view(study, known_site(study, site))
    for line in budget_lines(view):
        terminal.say(line)
    terminal.result(view.to_json())
