"""sekisho pilot: every site in this process; a thin door to pilot/pilot.py."""

from __future__ import annotations

from pathlib import Path

import typer

from .console import DEFAULT_OUT, DEFAULT_STUDY, Terminal, exit_code_of, guarded

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
@guarded(policy_is_refusal=True)
def pilot(
    study: Path = typer.Argument(DEFAULT_STUDY, help="Folder of the study."),
    out: Path = typer.Option(DEFAULT_OUT, "--out", help="Folder for the report; budgets never live there."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Run a study, every site in this process; write its report."""
    from ..pilot.pilot import run_pilot
    from ..pilot.preflight import SitesError

    terminal = Terminal(as_json=as_json)
    try:
        finished = run_pilot(study, out, terminal)
    except SitesError as failed:
        # what all amount to together comes last; among the sites' own words a refusal outweighs an unusable file
        amounts = [failed.together] if failed.together is not None else list(failed.errors.values())
        worst = max(amounts, key=lambda error: exit_code_of(error, policy_is_refusal=True))
        terminal.fail(worst, exit_code_of(worst, policy_is_refusal=True), sites=failed.errors)
    summary = finished.summary
    for run in summary.runs:
        if run.result is None:
            terminal.say(f"{run.method}: no result, the run ended with {run.failure}; what it started stays charged")
            continue
        bounds = f"95 % {run.result.auc_low:.3f} to {run.result.auc_high:.3f}"
        terminal.say(f"{run.method}: AUC {run.result.auc:.3f} ({bounds}) on {run.result.n} public records")
    for method in summary.not_begun:
        terminal.say(f"{method}: not begun, because the run before it failed")
    terminal.say(f"decision: {summary.decision}")
    terminal.say(f"report: {finished.report}")
    terminal.say(f"evidence: sekisho compliance verify {out / 'evidence.zip'} --root {finished.evidence.root}")
    terminal.result({**summary.model_dump(mode="json", by_alias=True), "report": str(finished.report)})
