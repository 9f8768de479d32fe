"""sekisho legal: read and check policies, sign papers, and see what every site's clauses say to a study.

Loads no torch, no TenSEAL, no accountant, and touches no record, ledger or consent register.
"""

from __future__ import annotations

from pathlib import Path

import typer

from ...governance.language import Catalogue, Language
from ...governance.policy.explain import explain
from .console import Terminal, guarded
from .deciding import decide_study
from .reading import amend, combine, diff, lint, show
from .signing import revoke, sign
from .stopping import resume, stop, stops
from .templates import odrl, parse_policy, schema, template, try_cases

HOUSE = __name__.removesuffix(".cli.legal")

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def legal_commands() -> None:
    """Read, check, sign papers; see what a study would be allowed."""


@app.command()
@guarded()
def check(
    policy: Path = typer.Argument(..., help="A policy.yaml."),
    language: Language = typer.Option("en", "--language", help="en or ja."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Read one policy file strictly, and say in words what the system will enforce."""
    terminal = Terminal(as_json=as_json)
    parsed = parse_policy(policy, language)
    lines = explain(parsed, language)
    heading = _texts().render("legal.check.reads", language, id=parsed.id, version=str(parsed.version))
    terminal.say(f"{policy.name}: {heading}")
    for line in lines:
        terminal.say(f"  {line}")
    terminal.result(
        {
            "policy": parsed.id,
            "version": parsed.version,
            "bytes": parsed.bytes_digest,
            "canonical": parsed.canonical_digest,
            "enforced": [str(line) for line in lines],
        }
    )


app.command("sign")(sign)
app.command("show")(show)
app.command("diff")(diff)
app.command("combine")(combine)
app.command("lint")(lint)
app.command("amend")(amend)
app.command("revoke")(revoke)
app.command("stop")(stop)
app.command("resume")(resume)
app.command("stops")(stops)
app.command("test")(try_cases)
app.command("template")(template)
app.command("schema")(schema)
app.command("odrl")(odrl)
app.command("decide")(decide_study)


def _texts() -> Catalogue:
    return Catalogue.load(HOUSE, "texts")
