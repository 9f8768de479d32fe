"""sekisho legal decide: every maker's clauses held against one study, as a table of clause by maker, with every reason.

What a site alone can know (its budget left, its consents, the list of stops it has) is assumed and said to be so; the
site decides again, with its own facts, before a record is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from ...governance.errors import GovernanceError
from ...governance.language import Catalogue, Language
from ...governance.policy.always_clauses import ALWAYS
from ...governance.policy.decide import Decision, decide
from ...governance.policy.explain import Denial, denials, name_of
from ...governance.policy.grant_clauses import GRANTS
from ...governance.policy.words import cited
from ...governance.quoting import columns
from ..data.intake import BaseModelFacts, inspect, locate
from ..errors import CoreError, Refused
from ..gate.facts import Standing, request_for
from ..gate.stages import CapExceeded, exceeded
from ..paperwork.asked import ACTIONS, Signed, assumed
from ..site.papers import Papers, read_papers, read_roster, read_study
from ..site.stops import read_stops
from ..study import Study
from .console import DEFAULT_STUDY, REFUSED, Terminal, guarded
from .stopping import list_assumed

HOUSE = __name__.removesuffix(".cli.deciding")
GAP = "  "
# What a site alone can know: taken here from the study, or for granted, and marked where it decides.
ASSUMED = frozenset(
    {"consent.eligible", "budget.run_epsilon", "budget.run_delta", "budget.lifetime_fits", "stop.list_age_hours"}
)
ASSUMED_MARK = " *"
MAKERS_IN_ONE_TABLE = 6  # more columns than a terminal of 100 characters shows with names of usual length


@dataclass(frozen=True)
class Answer:
    """What one maker's papers say: a decision for each method and action, or why there is none."""

    decisions: Mapping[str, Decision] = field(default_factory=dict)
    denials: tuple[tuple[str, Denial], ...] = ()
    error: CoreError | GovernanceError | None = None

    @property
    def denied_types(self) -> frozenset[str]:
        """The clause types of which something does not hold."""
        return frozenset(denial.type for _, denial in self.denials)

    @property
    def permits(self) -> bool:
        """Whether the maker permits every method and action."""
        return self.error is None and not self.denials


@guarded(policy_is_refusal=True)
def decide_study(
    study: Path = typer.Argument(DEFAULT_STUDY, help="Folder of the study."),
    language: Language = typer.Option("en", "--language", help="en or ja."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Hold the study against every maker's policy: a table of clause by maker, and a reason and a fix for each no."""
    terminal = Terminal(as_json=as_json)
    content = read_study(study)
    base_model = inspect(locate(content.base_model, study))
    now = datetime.now(UTC)
    read_roster(study, now=now)  # what all makers share is refused once, not once a maker
    answers = {site: _answer(study, site, content, base_model, now) for site in content.sites}
    beyond = _beyond(study, content, base_model, now)
    for line in (*_table(answers, language), *_reasons(answers, language), *_caps(beyond, language)):
        terminal.say(line)
    terminal.say(f"* {_texts()['legal.decide.assumed'][language]}")
    terminal.say(list_assumed(study, language))
    found = _found(answers, beyond)
    no = [site for site, answer in answers.items() if not answer.permits]
    errors = {site: answer.error for site, answer in answers.items() if answer.error is not None}
    if no or beyond:
        who = f"{len(no)} of {len(answers)} sites do not permit it: {', '.join(no)}" if no else "every site permits it"
        more = f"; the study's own stage is exceeded: {', '.join(cap.cap for cap in beyond)}" if beyond else ""
        hint = "each failed clause is printed above with what it allows, what was observed and what would change it"
        terminal.fail(Refused("STUDY_DENIED", who + more, hint=hint), REFUSED, sites=errors, also=found)
    terminal.result(found)


def _answer(folder: Path, site: str, study: Study, base_model: BaseModelFacts, now: datetime) -> Answer:
    try:
        papers = read_papers(folder, site, base_model=base_model, now=now)
    except (CoreError, GovernanceError) as error:
        return Answer(error=error)
    decisions: dict[str, Decision] = {}
    told: list[tuple[str, Denial]] = []
    for method in study.methods:
        standing = _assumed(papers, folder, method, base_model, now)
        for action in ACTIONS:
            name = f"{method}/{action}"
            decisions[name] = decide(papers.policy, request_for(study, standing, method=method, action=action))
            told += [(name, denial) for denial in denials(papers.policy, decisions[name])]
    return Answer(decisions, tuple(told))


def _assumed(papers: Papers, folder: Path, method: str, base_model: BaseModelFacts, now: datetime) -> Standing:
    signed = Signed(papers.roster, papers.base_model, base_model, papers.study_approvals)
    stops = read_stops(folder, papers.roster, papers.study, papers.policy, now=now)
    return assumed(papers.study, method, signed, stops, now=now)


def _beyond(folder: Path, study: Study, base_model: BaseModelFacts, now: datetime) -> tuple[CapExceeded, ...]:
    """The caps of the study's own stage that its methods go beyond; each method is a run."""
    found: dict[str, CapExceeded] = {}
    for site in study.sites:
        try:
            papers = read_papers(folder, site, base_model=base_model, now=now)
        except (CoreError, GovernanceError):
            continue  # told already; the facts that a cap is held against are the same at every site
        for method in study.methods:
            request = request_for(study, _assumed(papers, folder, method, base_model, now), method=method)
            for cap in exceeded(study.current_stage, request, runs=len(study.methods)):
                found.setdefault(cap.cap, cap)
        break
    return tuple(found.values())


# -- as a table ----------------------------------------------------------------------------------------------------


def _table(answers: Mapping[str, Answer], language: Language) -> list[str]:
    sites = list(answers)
    lines: list[str] = []
    for start in range(0, len(sites), MAKERS_IN_ONE_TABLE):
        some = {site: answers[site] for site in sites[start : start + MAKERS_IN_ONE_TABLE]}
        lines += [*_block(some, language), ""]
    return lines


def _block(answers: Mapping[str, Answer], language: Language) -> list[str]:
    rows = [["", *answers]]
    for declared in (*ALWAYS.values(), *GRANTS.values()):
        star = ASSUMED_MARK if any(one.fact in ASSUMED for one in declared.fields) else ""
        cells = [_cell(answer, declared.name, language) for answer in answers.values()]
        rows.append([name_of(declared.name)[language] + star, *cells])
    widths = [max(columns(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [GAP.join(_padded(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(answer: Answer, clause_type: str, language: Language) -> str:
    if answer.error is not None:
        return _texts()["legal.decide.unread"][language]
    return _texts()[f"legal.decide.{'denied' if clause_type in answer.denied_types else 'permitted'}"][language]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def _reasons(answers: Mapping[str, Answer], language: Language) -> list[str]:
    lines: list[str] = []
    for site, answer in answers.items():
        if answer.error is not None:
            lines.append(f"{site}: {answer.error} [{answer.error.code}]")
            lines.append(f"{GAP}-> {answer.error.hint}")
        # what several methods and actions are refused for alike is said once
        alike: dict[Denial, list[str]] = {}
        for name, denial in answer.denials:
            alike.setdefault(denial, []).append(name)
        for denial, names in alike.items():
            lines += _reason(site, denial, names, language)
    return lines


def _reason(site: str, denial: Denial, names: Sequence[str], language: Language) -> list[str]:
    say: Callable[..., str] = _texts().render
    return [
        say("legal.decide.reason", language, site=site, clause=cited(denial.clause, language),
            name=denial.name[language], code=denial.code, reason=denial.reason[language]),
        f"{GAP}-> {denial.fix[language]}",
        GAP + say("legal.decide.source-assumed" if denial.fact in ASSUMED else "legal.decide.source", language,
                  fact=denial.fact, source=denial.source[language], asked=", ".join(names)),
    ]  # fmt: skip


def _caps(beyond: Sequence[CapExceeded], language: Language) -> list[str]:
    lines: list[str] = []
    for cap in beyond:
        words = {
            "stage": cap.stage,
            "cap": _texts()[f"stages.cap.{cap.cap}"][language],
            "allowed": cap.allowed,
            "observed": _texts()["stages.unknown"][language] if cap.observed is None else cap.observed,
        }
        lines.append(f"{_texts().render('stages.exceeded', language, **words)} [{cap.code}]")
        lines.append(f"{GAP}-> {_texts()['stages.fix'][language]}")
    return lines


def _found(answers: Mapping[str, Answer], beyond: Sequence[CapExceeded]) -> dict[str, Any]:
    return {
        "decisions": {
            f"{site}/{name}": decision.to_json()
            for site, answer in answers.items()
            for name, decision in answer.decisions.items()
        },
        "denied": {
            site: sorted({(denial.clause, denial.type, denial.code) for _, denial in answer.denials})
            for site, answer in answers.items()
        },
        "stage": [vars(cap) for cap in beyond],
    }


def _texts() -> Catalogue:
    return Catalogue.load(HOUSE, "texts")
