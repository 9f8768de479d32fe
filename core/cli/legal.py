"""sekisho legal: read and check policies, sign papers, and see what every site's clauses say to a study.

Loads no torch, no TenSEAL, no accountant, and touches no record, ledger or consent register.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from ...governance.language import Catalogue, Language
from ...governance.policy.explain import explain
from .console import Terminal, guarded
from .deciding import decide_study
from .intake import intake
from .reading import amend, combine, diff, lint, show
from .releasing import revocations, revoke_adapter
from .signing import revoke, sign
from .stopping import resume, stop, stops
from .templates import odrl, parse_policy, schema, template, try_cases

HOUSE = __name__.removesuffix(".cli.legal")

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def legal_commands() -> None:
    """Policies and approvals: read, compare, try, sign, stop."""


@app.command(short_help="Read a policy strictly; say what will be enforced.")
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


# In the order in which they are needed: write, read, try, sign, stop.
_COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("template", template, "List the policies to start from, or write one."),
    ("schema", schema, "The form of a policy, for editors (JSON Schema)."),
    ("show", show, "Prose beside what the system will enforce, and who signed."),
    ("lint", lint, "What a careful colleague would point out."),
    ("test", try_cases, "Hold a policy's answers against its cases."),
    ("diff", diff, "What a new version allows and what it forbids."),
    ("combine", combine, "What several sites permit together."),
    ("decide", decide_study, "What every clause says to a study, and what would fix a no."),
    ("intake", intake, "Look at a base model before anybody signs for it."),
    ("sign", sign, "Approve a paper with your own key."),
    ("revoke", revoke, "Take your approval back, or say no."),
    ("amend", amend, "Begin the next version of a policy or roster."),
    ("stop", stop, "Stop at once."),
    ("resume", resume, "Sign, in one role, that a stop is lifted."),
    ("stops", stops, "Show the stops, or sign the list of them."),
    ("revoke-adapter", revoke_adapter, "Put a released adapter on the list of revoked ones."),
    ("revocations", revocations, "Show what is revoked, or sign the list of it."),
    ("odrl", odrl, "A policy as ODRL, for information."),
)
for _name, _command, _short in _COMMANDS:
    app.command(_name, short_help=_short)(_command)


def _texts() -> Catalogue:
    return Catalogue.load(HOUSE, "texts")
