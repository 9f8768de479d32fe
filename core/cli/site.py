"""sekisho site: a site accepts the roster; its own view of budget and consent. What it prints stays at the site.

No torch here: training runs in the engine's own process.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import typer

from ..errors import BadInputError
from ..parties import state_folder
from ..site.papers import read_file, read_study
from .console import DEFAULT_STUDY, Terminal, guarded
from .signing import sign_roster
from .using import release, use

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def site_commands() -> None:
    """A site's own view: roster, budget and consent."""


app.command("sign-roster")(sign_roster)
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
    view = budget_view(study, _known(study, site))
    for line in budget_lines(view):
        terminal.say(line)
    terminal.result(view.to_json())


@app.command()
@guarded()
def consent(
    site: str = typer.Argument(..., help="Id of the site."),
    study: Path = typer.Option(DEFAULT_STUDY, "--study", help="Folder of the study."),
    withdraw: str = typer.Option("", "--withdraw", help="Pseudonym of a subject who withdraws now."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """How many subjects may be used now, and why not the others; or take a withdrawal."""
    from ...governance.consent.consent import ConsentRegister
    from ..site.folder import import_consents

    terminal = Terminal(as_json=as_json)
    content = read_study(study)
    state = state_folder(study, _known(study, site))
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    now = datetime.now(UTC)
    register = ConsentRegister.open(state / "consent.sqlite")
    try:
        import_consents(register, study / "sites" / site / "consent.jsonl")
        if withdraw:
            register.withdraw(withdraw, now)
            terminal.say(f"{site}: the withdrawal counts from the next step on; it does not unlearn (docs/threats.md)")
        counts = register.counts(content.legal_basis_scope, now)
    finally:
        register.close()
    terminal.say(f"{site}: consent for '{content.legal_basis_scope}'")
    for reason, number in sorted(counts.items()):
        terminal.say(f"  {reason}: {number}")
    terminal.result({"site": site, "scope": content.legal_basis_scope, "counts": dict(counts)})


def _known(study: Path, site: str) -> str:
    read_file(study / "study.yaml")
    content = read_study(study)
    if site not in content.sites:
        raise BadInputError(
            "SITE_UNKNOWN", f"the study has no site '{site}'", hint=f"its sites are {', '.join(content.sites)}"
        )
    return site
