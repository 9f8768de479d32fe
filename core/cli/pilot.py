"""sekisho pilot: every site in this process; a thin door to pilot/pilot.py."""

from __future__ import annotations

from pathlib import Path

import typer

from .console import Terminal, guarded

DEFAULT_STUDY = Path("examples/food-quality")
DEFAULT_OUT = Path("out")

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
@guarded(policy_is_refusal=True)
def pilot(
    study: Path = typer.Argument(DEFAULT_STUDY, help="Folder of the study."),
    out: Path = typer.Option(DEFAULT_OUT, "--out", help="Folder for the report; budgets never live there."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Run a study with every site in this process, and write its report."""
    from ..pilot.pilot import run_pilot

    run_pilot(study, out, Terminal(as_json=as_json))
