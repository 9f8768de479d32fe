"""sekisho doctor: prove that each protection is on, by trying to break it."""

from __future__ import annotations

from dataclasses import asdict

import typer

from ..errors import CheckFailedError
from .console import FOUND, Terminal, guarded

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
@guarded()
def doctor(
    deep: bool = typer.Option(False, "--deep", help="Audit noise, clipping and what leaks, too: a minute or so."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Prove that each protection is on, by trying to break it."""
    from ..pilot.doctor import run_checks

    terminal = Terminal(as_json=as_json)
    checks = run_checks(terminal.progress)
    if deep:
        from ..pilot.deep import deep_checks

        checks += deep_checks(terminal.progress)
    for check in checks:
        terminal.say(f"{'holds ' if check.held else 'BROKEN'}  {check.name} ({check.seen})")
    broken = [check.name for check in checks if not check.held]
    found = {"checks": [asdict(check) for check in checks], "held": not broken}
    if broken:
        failed = CheckFailedError("PROTECTION_BROKEN", f"{len(broken)} protections did not hold: {'; '.join(broken)}",
                                  hint="do not run a study on this machine; report it (SECURITY.md)")
        terminal.fail(failed, FOUND, also=found)
    terminal.result(found)
