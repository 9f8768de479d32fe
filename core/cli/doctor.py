"""sekisho doctor: try to break noise, encryption, ledger, log and gate, and say what held."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING

import typer

from ..errors import CheckFailedError
from .console import FOUND, Terminal, guarded

if TYPE_CHECKING:
    from ..pilot.check import Check

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
@guarded()
def doctor(
    deep: bool = typer.Option(False, "--deep", help="Audit noise, clipping and what leaks, too: a minute or two."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Try to break noise, encryption, ledger, log and gate.

    On canaries and made-up figures, in a temporary folder of this machine: no study, key or record of yours is read.
    """
    from ..pilot.doctor import run_checks

    terminal = Terminal(as_json=as_json)
    checks = run_checks(terminal.progress)
    if deep:
        from ..pilot.deep import deep_checks

        checks += deep_checks(terminal.progress)
    for check in checks:
        terminal.say(f"{'holds ' if check.held else 'BROKEN'}  {check.name} ({check.seen})")
    broken = [check.name for check in checks if not check.held]
    found = {"deep": deep, "checks": [_as_data(check) for check in checks], "held": not broken}
    if broken:
        failed = CheckFailedError("PROTECTION_BROKEN", f"{len(broken)} protections did not hold: {'; '.join(broken)}",
                                  hint="do not run a study on this machine; report it (SECURITY.md)")
        terminal.fail(failed, FOUND, also=found)
    terminal.result(found)


def _as_data(check: Check) -> dict[str, object]:
    """What JSON can hold: it knows no infinity, so that a bound that is none becomes null."""
    figures = {name: figure if isfinite(figure) else None for name, figure in check.figures.items()}
    return {**asdict(check), "figures": figures}
