"""The commands by which people read policies; legal.py offers them.

    sekisho legal show POLICY           prose beside what the system will enforce, as text or as a page
    sekisho legal diff OLD NEW          what becomes allowed and what becomes forbidden
    sekisho legal combine STUDY         what all sites permit together, and whose clause stands in the way
    sekisho legal lint POLICY           what a careful colleague would point out
    sekisho legal amend POLICY          the next version begins, and the present one is kept

They read papers; all but ``amend`` write nothing but a page that was asked for. No torch, no TenSEAL, no record, no
ledger; jinja2 only where a page is written.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import typer

from ...governance.errors import GovernanceError
from ...governance.language import Catalogue, Language
from ...governance.policy.policy import Policy
from ..errors import BadInputError, CheckFailedError, CoreError
from ..parties import READABLE, write_whole
from ..site.papers import EARLIER
from .console import FOUND, Terminal, guarded
from .templates import parse_policy

HOUSE = __name__.removesuffix(".cli.reading")
PAGE = ".html"

POLICY = typer.Argument(..., help="A policy.yaml.")
LANGUAGE = typer.Option("en", "--language", help="en or ja; of a page, the language shown first.")
HTML = typer.Option(None, "--html", help="Write a page in both languages to this file instead.")
JSON = typer.Option(False, "--json", help="Print one JSON object.")


@guarded()
def show(
    policy: Path = POLICY, language: Language = LANGUAGE, html: Path | None = HTML, as_json: bool = JSON
) -> None:
    """Show a policy as people read it: what was written beside what the system will enforce, and who has signed it."""
    from ...governance.policy.explain import explanations
    from ...governance.policy.reading import role_name, summary
    from ...governance.policy.signoff import rendering
    from ..paperwork.signed import policy_signatures

    terminal = Terminal(as_json=as_json)
    _check_page_name(html)
    read = parse_policy(policy, language)
    signatures = policy_signatures(policy, now=_now())
    glance = summary(read, language)
    if html is not None:
        from ...governance.evidence.policy_pages import policy_page

        _write_page(terminal, html, policy_page(read, signatures, first=language), language)
    else:
        terminal.say(_say("show.glance", language))
        for line in glance:
            terminal.say("  " + _say("show.line", language, name=line.name, text=line.text))
        terminal.say()
        terminal.say(rendering(read, language))
        if signatures.unknown:
            terminal.say(_say(f"show.unknown-{signatures.unknown}", language))
        for person, role in signatures.people:
            terminal.say(_say("show.signed", language, person=person, role=role_name(role, language)))
        for role in signatures.missing:
            terminal.say(_say("show.missing", language, role=role_name(role, language)))
        if signatures.ignored:
            codes = ", ".join(dict.fromkeys(signatures.ignored))
            terminal.say(_say("show.ignored", language, number=len(signatures.ignored), codes=codes))
        terminal.say(_say("show.digests", language, bytes=read.bytes_digest, canonical=read.canonical_digest))
    terminal.result(
        {
            "policy": read.id,
            "version": read.version,
            "bytes": read.bytes_digest,
            "canonical": read.canonical_digest,
            "glance": {line.name: line.text for line in glance},
            "provisions": [
                {
                    "id": one.id,
                    "type": one.type,
                    "text": one.prose[language],
                    "enforced": one.enforced[language],
                    "recorded": one.recorded[language] if one.recorded else None,
                }
                for one in explanations(read)
            ],
            "signed": [{"person": person, "role": role} for person, role in signatures.people],
            "missing": list(signatures.missing),
            "not_counted": list(signatures.ignored),
            "signatures_unknown": signatures.unknown or None,
            "page": str(html) if html is not None else None,
        }
    )


@guarded()
def diff(
    old: Path = typer.Argument(..., help="The policy as it was; or, alone, a policy whose earlier version is kept."),
    new: Path | None = typer.Argument(None, help="The policy as it is to be."),
    language: Language = LANGUAGE,
    html: Path | None = HTML,
    as_json: bool = JSON,
) -> None:
    """Compare two policies: what becomes allowed, what becomes forbidden, clause by clause."""
    from ...governance.policy.compare import compare
    from ..paperwork.difference import difference

    terminal = Terminal(as_json=as_json)
    _check_page_name(html)
    if new is None:
        after = parse_policy(old, language)
        before = parse_policy(_earlier(old, after), language)
    else:
        before, after = parse_policy(old, language), parse_policy(new, language)
    comparison = compare(before, after)
    if html is not None:
        from ...governance.evidence.policy_pages import comparison_page

        _write_page(terminal, html, comparison_page(comparison, before, after, first=language), language)
    else:
        for line in difference(comparison, before, after, language):
            terminal.say(line)
    page = str(html) if html is not None else None
    terminal.result({**comparison.to_json(), "digest": comparison.digest, "page": page})


@guarded()
def lint(policy: Path = POLICY, language: Language = LANGUAGE, as_json: bool = JSON) -> None:
    """Say what a careful colleague would point out; only an error is a finding (exit code 1)."""
    from ...governance.policy.lint import lint as remarks_on
    from ...governance.policy.words import cited

    terminal = Terminal(as_json=as_json)
    read = parse_policy(policy, language)
    remarks = remarks_on(read, now=_now())
    for one in remarks:
        where = "field" if one.field else "clause" if one.clause else "whole"
        clause = cited(one.clause, language) if one.clause else _say("lint.whole", language)
        place = _say(f"lint.{where}", language, clause=clause, field=one.field)
        terminal.say(_say(f"lint.{one.level}", language, code=one.code, place=place, text=one.text[language]))
    if not remarks:
        terminal.say(_say("lint.nothing", language))
    found = {
        "policy": read.id,
        "version": read.version,
        "remarks": [one.to_json() for one in remarks],
    }
    errors = [one.code for one in remarks if one.level == "error"]
    if errors:
        wrong = CheckFailedError(
            "LINT_ERRORS", f"{len(errors)} remarks are errors: {', '.join(dict.fromkeys(errors))}",
            hint="each is printed above with its clause; a policy with one cannot do what it says",
        )  # fmt: skip
        terminal.fail(wrong, FOUND, also=found)
    terminal.result(found)


@guarded()
def combine(
    where: list[Path] = typer.Argument(..., help="Folder of a study; or two or more policy files."),
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Say what several sites permit together, and whose clause stands in a study's way."""
    from ...governance.policy.combine import combine as combination_of
    from ...governance.policy.combine import obstacles
    from ..paperwork.asked import policies_of_files, policies_of_study, requests_of_study
    from ..paperwork.together import in_the_way, together

    terminal = Terminal(as_json=as_json)
    folder = where[0] if len(where) == 1 and where[0].is_dir() else None
    policies = policies_of_study(folder) if folder is not None else policies_of_files(where)
    combination = combination_of(policies)
    for line in together(combination, language):
        terminal.say(line)
    told: dict[str, Any] = combination.to_json()
    if folder is not None:
        try:
            asked = requests_of_study(folder, now=_now())
        except (CoreError, GovernanceError) as error:
            terminal.say(_say("combine.not-asked", language, reason=error, code=error.code))
            told["study"] = {"code": error.code, "sentence": str(error)}
        else:
            found = {one: obstacles(policies, dict.fromkeys(policies, request)) for one, request in asked.items()}
            for line in in_the_way(found, policies, asked, language):
                terminal.say(line)
            told["study"] = {"/".join(one): [each.to_json() for each in several] for one, several in found.items()}
    terminal.result(told)


@guarded()
def amend(
    file: Path = typer.Argument(..., help="A policy.yaml, or the roster.yaml of a study; in force."),
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Begin the next version of a policy or a roster: keep the present one, and write what the new one replaces."""
    from ..paperwork.amending import begin_version
    from ..paperwork.paper import ROSTER

    terminal = Terminal(as_json=as_json)
    begun = begin_version(file, now=_now())
    versions = {
        "old": begun.old_version, "new": begun.new_version, "kept": f"{begun.kept.parent.name}/{begun.kept.name}"
    }
    terminal.say(_say("amend.begun", language, file=file.name, **versions))
    terminal.say(_say("amend.next-roster" if file.name == ROSTER else "amend.next", language, policy=file))
    terminal.result({"kept": str(begun.kept), "version": begun.new_version, "supersedes": begun.supersedes})


def _earlier(path: Path, policy: Policy) -> Path:
    """Where the version before lies: beside the policy, under its number."""
    place = path.parent / EARLIER / f"{policy.version - 1}.yaml"
    if policy.version == 1:
        raise BadInputError(
            "NO_EARLIER_VERSION", f"{path.name} is version 1: there is nothing before it",
            "name two files: sekisho legal diff OLD NEW",
        )  # fmt: skip
    if not place.is_file():
        raise BadInputError(
            "NO_EARLIER_VERSION",
            f"{path.name} is version {policy.version}, and {EARLIER}/{place.name} is not beside it",
            f"keep the version before as {EARLIER}/{place.name}, or name both files: sekisho legal diff OLD NEW",
        )
    return place


def _check_page_name(html: Path | None) -> None:
    """A slip in the order of arguments must not write a page over a policy."""
    if html is not None and html.suffix != PAGE:
        raise BadInputError(
            "PAGE_NAME", f"a page is not written to {html.name}: its name does not end in {PAGE}",
            f"write --html {html.stem or 'policy'}{PAGE}",
        )  # fmt: skip


def _write_page(terminal: Terminal, html: Path, text: str, language: Language) -> None:
    write_whole(html, text.encode("utf-8"), READABLE)
    terminal.say(_say("page.written", language, file=html))


@cache
def _texts() -> Catalogue:
    return Catalogue.load(HOUSE, "texts")


def _say(key: str, language: Language, **values: object) -> str:
    return _texts().render(f"reading.{key}", language, **{name: str(value) for name, value in values.items()})


def _now() -> datetime:
    return datetime.now(UTC)
