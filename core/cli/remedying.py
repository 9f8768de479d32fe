"""sekisho remedy: what withdrawals ask of adapters that exist, carried out; a thin door to pilot/remedies.py."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from ...governance.language import Language
from ..site.withdrawal_statement import say
from .console import DEFAULT_STUDY, Terminal, guarded
from .signing import JSON, LANGUAGE

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
@guarded(policy_is_refusal=True)
def remedy(
    study: Path = typer.Argument(DEFAULT_STUDY, help="Folder of the study."),
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Notify, revoke, or repeat runs whose adapters hold somebody who withdrew, as the policies say."""
    from ..pilot.remedies import carry_out

    terminal = Terminal(as_json=as_json)
    settled = carry_out(study, terminal)
    if not settled:
        terminal.say(say("remedy-nothing", language))
    for one in settled:
        terminal.say(say("remedy-settled", language, run=one.run, outcome=say(f"outcome-{one.outcome}", language)))
        new = one.repeated
        if new is None:
            continue
        terminal.say(say("remedy-new", language, run=new.run, adapter=new.adapter))
        if new.not_released:
            terminal.say(say("remedy-unreleased", language, code=new.not_released))
        terminal.say(say("remedy-steps", language, steps=new.steps, seconds=new.seconds))
        for site, epsilon in sorted(new.certificate.items()):
            counted = {"before": new.before[site], "after": new.after[site]}
            terminal.say(say("remedy-cost", language, site=site, epsilon=epsilon, **counted))
    terminal.result({"settled": [asdict(one) for one in settled]})
