"""sekisho legal template, test, schema, odrl: policies to start from, cases to try them with, forms for other tools.

What these commands write is for people and editors; only the signed YAML is enforced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ... import policies
from ...governance.errors import BadDocumentError
from ...governance.language import Catalogue, Language
from ...governance.policy.explain import name_of
from ...governance.policy.policy import Policy
from ...governance.refusals import in_language
from ..errors import BadInputError, Refused
from ..paperwork.decisions import to_decide
from ..site.papers import read_file
from .console import REFUSED, Terminal, guarded

if TYPE_CHECKING:
    from ...governance.policy.cases import Outcome, Trial

HOUSE = __name__.removesuffix(".cli.templates")
CASES_END = ".cases.yaml"  # what the file of cases beside policy.yaml ends in
_LANGUAGE = typer.Option("en", "--language", help="en or ja.")
_JSON = typer.Option(False, "--json", help="Print one JSON object.")


def parse_policy(path: Path, language: Language) -> Policy:
    """The policy in a file; whatever is wrong with it is said in the reader's language."""
    try:
        return Policy.parse(read_file(path), str(path))
    except BadDocumentError as error:
        raise in_language(error, language) from None


@guarded(policy_is_refusal=True)
def try_cases(
    policy: Path = typer.Argument(..., help="A policy.yaml."),
    cases: Path | None = typer.Option(None, "--cases", help="Its cases. Default: policy.cases.yaml beside it."),
    language: Language = _LANGUAGE,
    as_json: bool = _JSON,
) -> None:
    """Ask a policy for everything that its cases say, and hold its answers against them."""
    from ...governance.policy.cases import read_cases, run_cases

    terminal = Terminal(as_json=as_json)
    parsed = parse_policy(policy, language)
    beside = cases or policy.with_name(policy.name.removesuffix(".yaml") + CASES_END)
    if not beside.is_file():
        raise Refused(
            "CASES_MISSING",
            f"{policy.name} has no cases: there is no file {beside.name}",
            hint="write what the policy must permit and must refuse; docs/formats/policy.md says how",
        )
    try:
        read = read_cases(read_file(beside), str(beside), parsed)
    except BadDocumentError as error:
        raise in_language(error, language) from None
    trial = run_cases(parsed, read)
    _print_trial(terminal, parsed, trial, beside.name, language)
    found = _trial_json(parsed, trial)
    different = [outcome for outcome in trial.outcomes if not outcome.agrees]
    if different:
        names = "; ".join(outcome.case.name[language] for outcome in different)
        refused = Refused(
            "CASES_DIFFER",
            f"{len(different)} of {len(trial.outcomes)} cases came out otherwise than expected: {names}",
            hint="change the policy, or the case, whichever says what is not meant",
        )
        terminal.fail(refused, REFUSED, also=found)
    terminal.result(found)


def _print_trial(terminal: Terminal, policy: Policy, trial: Trial, file: str, language: Language) -> None:
    texts, count = _texts(), str(len(trial.outcomes))
    heading = {"id": policy.id, "version": str(policy.version), "count": count, "file": file}
    terminal.say(texts.render("cases.test.heading", language, **heading))
    for number, outcome in enumerate(trial.outcomes, 1):
        word = texts[f"cases.test.{'agrees' if outcome.agrees else 'differs'}"][language]
        found = _verdict(policy, outcome.refused, language)
        terminal.say(f"{number:>4}  {word}  {outcome.case.name[language]}: {found}")
        if not outcome.agrees:
            expected = _verdict(policy, outcome.case.refused, language)
            line = texts.render("cases.test.expected", language, line=str(outcome.case.line), expected=expected)
            terminal.say(f"      {line}")
    agreeing = str(sum(outcome.agrees for outcome in trial.outcomes))
    terminal.say(texts.render("cases.test.summary", language, agreeing=agreeing, count=count))
    if trial.uncovered:
        constraints = texts["cases.test.separator"][language].join(trial.uncovered)
        terminal.say(texts.render("cases.test.uncovered", language, constraints=constraints))


def _verdict(policy: Policy, refused: frozenset[tuple[str, str]], language: Language) -> str:
    texts = _texts()
    if not refused:
        return texts["cases.test.permitted"][language]
    order = [provision.id for provision in (*policy.always, *policy.grants)]
    types = {provision.id: provision.type for provision in (*policy.always, *policy.grants)}
    clauses = texts["cases.test.separator"][language].join(
        texts.render("cases.test.clause", language, clause=clause, name=name_of(types[clause])[language], code=code)
        for clause, code in sorted(refused, key=lambda failure: (order.index(failure[0]), failure[1]))
    )
    return texts.render("cases.test.refused", language, clauses=clauses)


def _trial_json(policy: Policy, trial: Trial) -> dict[str, Any]:
    return {
        "policy": policy.id,
        "version": policy.version,
        "canonical": policy.canonical_digest,
        "agrees": trial.agrees,
        "cases": [_outcome_json(outcome) for outcome in trial.outcomes],
        "uncovered": list(trial.uncovered),
    }


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    def written(refused: frozenset[tuple[str, str]]) -> Any:
        return [{"clause": clause, "code": code} for clause, code in sorted(refused)] or "permit"

    return {
        "name": {"en": outcome.case.name.en, "ja": outcome.case.name.ja},
        "line": outcome.case.line,
        "agrees": outcome.agrees,
        "expected": written(outcome.case.refused),
        "found": written(outcome.refused),
    }


@guarded()
def template(
    name: str = typer.Argument("", help="Which one; without it all are listed."),
    out: Path | None = typer.Option(None, "--out", help="File to write; one that exists is never overwritten."),
    language: Language = _LANGUAGE,
    as_json: bool = _JSON,
) -> None:
    """List the policies to start from, or write one and its cases to a file."""
    terminal = Terminal(as_json=as_json)
    if not name:
        _list_templates(terminal, language)
        return
    if name not in templates():
        raise BadInputError(
            "TEMPLATE_UNKNOWN", f"there is no template {name[:80]!r}", hint=f"known: {', '.join(templates())}"
        )
    text = read_template(name)
    if out is None:
        terminal.say(text.rstrip("\n"))
        terminal.result({"template": name, "policy": text, "decide": to_decide(text)})
        return
    cases = out.with_name(out.name.removesuffix(".yaml") + CASES_END)
    for path in (out, cases):
        if path.exists() or path.is_symlink():
            raise Refused("FILE_EXISTS", f"{path} exists already", hint="choose another name, or move the file away")
    _write_new(out, text)
    _write_new(cases, read_template(name, CASES_END))
    texts, count = _texts(), to_decide(text)
    terminal.say(texts.render("cases.template.written", language, file=str(out), count=str(count)))
    terminal.say(texts.render("cases.template.cases", language, file=str(cases), policy=str(out)))
    beside = str(out.with_name("policy.schema.json"))
    terminal.say(texts.render("cases.template.schema", language, schema=beside))
    terminal.result({"template": name, "file": str(out), "cases": str(cases), "decide": count})


def _list_templates(terminal: Terminal, language: Language) -> None:
    texts = _texts()
    terminal.say(texts["cases.template.heading"][language])
    listed: dict[str, Mapping[str, str]] = {}
    for name in templates():
        title, purpose = (texts[f"cases.template.{name}.{part}"] for part in ("title", "purpose"))
        terminal.say(f"  {name}\n      {title[language]}. {purpose[language]}")
        listed[name] = {"title": title[language], "for": purpose[language]}
    terminal.result({"templates": listed})


def templates() -> tuple[str, ...]:
    """The names of all templates, sorted."""
    names = (entry.name for entry in files(policies).iterdir() if entry.name.endswith(".yaml"))
    return tuple(sorted(name.removesuffix(".yaml") for name in names if not name.endswith(CASES_END)))


def read_template(name: str, end: str = ".yaml") -> str:
    """The text of one template, or with ``CASES_END`` of its cases."""
    return files(policies).joinpath(name + end).read_text(encoding="utf-8")


def _write_new(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)


@guarded()
def schema(
    out: Path | None = typer.Option(None, "--out", help="File to write; without it the schema is printed."),
    language: Language = _LANGUAGE,
    as_json: bool = _JSON,
) -> None:
    """The JSON Schema of a policy, for editors; it cannot say everything: `legal check` has the last word."""
    from ...governance.policy.schema import policy_schema_text

    # one schema for all: the meaning of its terms stands in it in both languages
    _hand_out(Terminal(as_json=as_json), policy_schema_text(), out, language)


@guarded()
def odrl(
    policy: Path = typer.Argument(..., help="A policy.yaml."),
    out: Path | None = typer.Option(None, "--out", help="File to write; without it the export is printed."),
    language: Language = _LANGUAGE,
    as_json: bool = _JSON,
) -> None:
    """A policy as ODRL 2.2 in JSON-LD: for information; the signed YAML prevails."""
    from ...governance.policy.odrl import odrl_of

    parsed = parse_policy(policy, language)
    text = json.dumps(odrl_of(parsed), ensure_ascii=False, indent=2) + "\n"
    _hand_out(Terminal(as_json=as_json), text, out, language)


def _hand_out(terminal: Terminal, text: str, out: Path | None, language: Language) -> None:
    if out is None:
        terminal.say(text.rstrip("\n"))
        terminal.result(json.loads(text))
        return
    if out.exists() or out.is_symlink():
        raise Refused("FILE_EXISTS", f"{out} exists already", hint="choose another name, or move the file away")
    _write_new(out, text)
    terminal.say(_texts().render("cases.written", language, file=str(out)))
    terminal.result({"file": str(out)})


def _texts() -> Catalogue:
    return Catalogue.load(HOUSE, "texts")
