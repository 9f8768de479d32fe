"""sekisho legal: read and check policies, sign papers, and see what every site's clauses say to a study.

Loads no torch, no TenSEAL, no accountant, and touches no record, ledger or consent register. What a site alone can know
(its budget left, its consents) is therefore assumed in ``decide`` and marked so; the site decides again, with its own
facts, before a record is read.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import typer

from ...governance.language import Catalogue, Language
from ...governance.policy.decide import Decision, decide
from ...governance.policy.explain import denials, explain
from ...governance.policy.policy import Policy
from ..data.intake import BaseModelFacts, inspect, locate
from ..errors import Refused
from ..gate.facts import Standing, request_for
from ..site.papers import Papers, read_papers, read_stops, read_study, requester_is_known
from .console import DEFAULT_STUDY, REFUSED, Terminal, guarded
from .signing import sign
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
app.command("test")(try_cases)
app.command("template")(template)
app.command("schema")(schema)
app.command("odrl")(odrl)


@app.command("decide")
@guarded(policy_is_refusal=True)
def decide_study(
    study: Path = typer.Argument(DEFAULT_STUDY, help="Folder of the study."),
    language: Language = typer.Option("en", "--language", help="en or ja."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Hold the study against every site's policy: two rows (train, release) a site and method."""
    terminal = Terminal(as_json=as_json)
    content = read_study(study)
    base_model = inspect(locate(content.base_model, study))
    now = datetime.now(UTC)
    table: dict[str, tuple[Policy, Decision]] = {}
    for site in content.sites:
        papers = read_papers(study, site, base_model=base_model, now=now)
        for method in content.methods:
            standing = _assumed(papers, study, method, base_model, now)
            for action in ("train", "release"):
                request = request_for(content, standing, method=method, action=action)
                table[f"{site}/{method}/{action}"] = papers.policy, decide(papers.policy, request)
    _print_table(terminal, table, language)
    decisions = {"decisions": {name: decision.to_json() for name, (_, decision) in table.items()}}
    denied = [name for name, (_, decision) in table.items() if not decision.permitted]
    if denied:
        refused = Refused("STUDY_DENIED", f"{len(denied)} of {len(table)} decisions deny: {', '.join(denied)}",
                          hint="each failed clause is printed above with what it allows and what was observed")
        terminal.fail(refused, REFUSED, also=decisions)
    terminal.result(decisions)


def _assumed(
    papers: Papers, study_folder: Path, method: str, base_model: BaseModelFacts, now: datetime
) -> Standing:
    study, roster = papers.study, papers.roster
    settings = study.settings(method)
    stops = read_stops(study_folder, roster, study, now=now)
    return Standing(
        now=now,
        stopped=stops.stopped,
        stop_roles=stops.roles,
        restart_roles=stops.restart_roles,
        stop_list_age_hours=stops.list_age_hours,
        consent_eligible=True,
        cohort=roster.distinct_controllers(study.sites),
        observers=study.observers,
        epsilon=settings.epsilon,
        delta=settings.delta,
        lifetime_fits=True,
        steps=settings.steps + settings.allowance,
        base_model_digest=base_model.digest,
        base_model_licence=papers.base_model.licence,
        base_model_disclosure=str(papers.base_model.disclosure),
        destinations=frozenset(roster.party(party).country for party in (*study.sites, roster.coordinator.id)),
        approvals=papers.study_approvals,
        requester_excluded=requester_is_known(study, roster),
    )


def _print_table(terminal: Terminal, table: dict[str, tuple[Policy, Decision]], language: Language) -> None:
    texts = _texts()
    width = max(len(name) for name in table)
    for name, (policy, decision) in table.items():
        verdict = texts[f"legal.decide.{'permitted' if decision.permitted else 'denied'}"]
        terminal.say(f"{name.ljust(width)}  {verdict[language]}")
        for denial in denials(policy, decision):
            words = denial.name, denial.reason, denial.fix
            called, reason, fix = (text.ja if language == "ja" else text.en for text in words)
            terminal.say(f"{' ' * width}    {denial.clause} {called} [{denial.code}]: {reason}")
            terminal.say(f"{' ' * width}      -> {fix}")
    terminal.say(texts["legal.decide.assumed"][language])


def _texts() -> Catalogue:
    return Catalogue.load(HOUSE, "texts")
