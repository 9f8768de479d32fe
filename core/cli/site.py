"""sekisho site: a site's machine, service, roster, and its own view of budget and consent. What it prints stays there.

No torch here: the service is a program of its own (serving.py).
"""

from __future__ import annotations

from pathlib import Path

import typer

from .consent import consent, known_site
from .console import DEFAULT_STUDY, Terminal, guarded
from .enrolling import enrol, serve, status
from .signing import sign_roster
from .using import release, use
from .withdrawing import erase, remedies, subject_request, withdraw

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def site_commands() -> None:
    """A site's own view: service, roster, budget and consent."""


app.command("enrol", short_help="Set this machine up as a site.")(enrol)
app.command("serve", short_help="Take part in runs until told to end.")(serve)
app.command("status", short_help="What the site's service says of itself.")(status)
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
