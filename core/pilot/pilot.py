"""A study from study.yaml to report, adapters and evidence: what ``sekisho pilot`` does.

Order: whatever can refuse does so before anything is charged (preflight.py), for all methods of the study together;
then one run a method, each published, evaluated and told before the next begins; then files for people. Budgets, logs
and run state live beside the study and survive this process; what is written under ``--out`` is for reading only:

    report.html  summary.json  evidence.zip  sites/<site>/report.html  adapter/<method>/

A later run that fails takes nothing from the earlier ones: the report names it, and what was paid for is kept.
``sekisho pilot`` never signs for anyone but the parties whose keys lie beside the study.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ...governance.canonical import digest
from ...governance.errors import BadDocumentError, GovernanceError
from ...governance.provenance.conditions import AuditResult
from ...governance.provenance.refusing import words
from ...governance.signing.envelope import write_time
from ...privacy.accounting.second_opinion import second_opinion
from ...privacy.errors import PrivacyError
from ..coordinator.coordinator import RunResult
from ..data.dataset import TestSet
from ..errors import BadInputError, CoreError, Refused
from ..parties import make_private_folder, replace_file, state_folder
from ..planning import methods_of
from ..site.publish import Published, publish_or_withhold
from ..training.features import Features
from .at_site import site_facts, site_run
from .baselines import Baselines, read_baselines
from .evidence import Written, export_evidence, statements_at
from .facts import balances, summary_facts
from .federation import Federation, new_run_id, utc_now
from .findings import RunFacts
from .personal import personal_facts
from .preflight import DROPPED, LAST_REPORT, Accepted, consider_all, end_of_run, prepare_output
from .protections import protections_held
from .remedies import note_release
from .report import pilot_report
from .runs import Clocked, failed_run_facts, run_facts
from .scores import evaluate_method, read_test_set
from .site_report import PersonalFacts, SiteRun, site_report
from .summary import Summary, summarise


class Listener(Protocol):
    """Who is told how the pilot goes on; the command line prints it."""

    def say(self, text: str = "") -> None:
        """One line of prose."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Long work goes on."""


@dataclass(frozen=True)
class Finished:
    """A pilot that came to its end, and where its files are."""

    summary: Summary
    evidence: Written
    report: Path


@dataclass
class _Pilot:
    """One pilot at work: what it stands on, and what it has gathered so far."""

    federation: Federation
    study_folder: Path
    out: Path
    test: TestSet
    accepted: Accepted
    runs: list[RunFacts] = field(default_factory=list)
    at_sites: dict[str, list[SiteRun]] = field(default_factory=dict)
    kept: list[Path] = field(default_factory=list)
    personal: dict[str, PersonalFacts] = field(default_factory=dict)

    def note(self, facts: RunFacts) -> None:
        """Keep what a run leaves behind, before the next one replaces it."""
        self.runs.append(facts)
        for name in self.federation.sites:
            own = site_run(self.federation.sites[name], facts.method, facts.run)
            if own is not None:
                self.at_sites.setdefault(name, []).append(own)


def run_pilot(study_folder: Path, out: Path, listener: Listener, *, features: Features | None = None) -> Finished:
    """Run every method of the study. Raises ``SitesError`` with every site's own words, and other coded errors."""
    # 1. before anything is charged: can the report be written at all?
    prepare_output(out)
    started = time.monotonic()
    federation = Federation.open(study_folder, progress=listener.progress, features=features)
    try:
        study = federation.study
        test = read_test_set(study_folder, study)
        baselines = read_baselines(study_folder, study)
        # 2. every site's refusals of every method, before anything is sent
        listener.say(f"{len(study.sites)} sites consider the study; nothing is sent before all agree")
        pilot = _Pilot(federation, study_folder, out, test, consider_all(federation, study_folder))
        seconds = {"preflight": time.monotonic() - started}
        # 3. one run a method; the first that fails after others is the last
        before, began = balances(federation), write_time(utc_now())
        for method in methods_of(study):
            if not _run_one(pilot, method, listener):
                break
        # 4. files for people, written by a participating site, never by the coordinator
        with _room(pilot):
            return _write_files(pilot, began, before, baselines, seconds)
    finally:
        federation.close()


def _run_one(pilot: _Pilot, method: str, listener: Listener) -> bool:
    """Run, publish, evaluate, note. False when this run failed after others had succeeded."""
    federation, run = pilot.federation, new_run_id(method)
    began = write_time(utc_now())
    seconds: dict[str, float] = {}
    published: Published | None = None
    try:
        result = federation.run(method, run=run)
        seconds.update(result.seconds)
        started = time.monotonic()
        # a recipient site publishes; a budget is spent once, so the adapter is kept beside the ledger before ``out``
        publisher = federation.sites[min(result.state.cohort)]
        kept = publisher.folder.releases / run
        published = publish_or_withhold(publisher, kept, audit=_audit(federation, result))
        if not published.withheld:
            note_release(federation, run, published.record.recipients)
        evaluated = evaluate_method(federation, method, published, pilot.test)
        seconds["evaluation"] = time.monotonic() - started
    except (CoreError, GovernanceError, PrivacyError, OSError) as error:
        dropped = isinstance(error, Refused) and error.code in DROPPED and federation.embedded.failures
        told = end_of_run(error, federation.embedded.failures) if dropped and isinstance(error, Refused) else None
        if not pilot.runs:
            if told is None:
                raise
            raise told from error
        # what the runs before it paid for is not lost: the report says what became of this one
        clocked = Clocked(began, write_time(utc_now()), seconds)
        states = state_folder(pilot.study_folder, "", coordinator=True) / "runs"
        adapter = None if published is None else published.adapter.digest
        pilot.note(
            failed_run_facts(
                federation, method, run, getattr(told or error, "code", "DISK_FULL"), pilot.accepted[method], clocked,
                states=states, adapter=adapter,
            )
        )
        return False
    if published.withheld:
        sentence, hint = words(published.withheld, "en")
        why = sentence.rstrip(": ")  # which condition it was stands in the candidate; the sentence has room for it
        listener.say(f"{method}: the adapter stays at the sites, {why} [{published.withheld}]; {hint}")
    else:
        pilot.kept.append(kept)
        with _room(pilot):
            _copy(kept, pilot.out / "adapter" / method)
    clocked = Clocked(began, write_time(utc_now()), seconds)
    pilot.note(run_facts(federation, result, published, evaluated, clocked, cross_check=_cross_check(result)))
    if federation.study.personal_heads and method == methods_of(federation.study)[-1]:
        pilot.personal = personal_facts(federation, method)
    return True


def _copy(kept: Path, folder: Path) -> None:
    """The released files and no other: what an earlier release left there would be none of this one's."""
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    for path in folder.iterdir():
        if not (kept / path.name).exists():
            path.unlink()


def _audit(federation: Federation, result: RunResult) -> AuditResult | None:
    """Whether every protection held in the run, where the study makes its release depend on that."""
    asked = federation.study.release
    if asked is None or "audit" not in asked.conditions:
        return None
    held = {str(name): answer for name, answer in protections_held(federation, result).items()}
    return AuditResult(digest(held), passed=all(held.values()))


def _cross_check(result: RunResult) -> float | None:
    """The run's ε by another accountant, where that has one."""
    try:
        cohort = len(result.state.cohort)
        return second_opinion(result.plan, cohort=cohort, observers=result.plan.observers).epsilon
    except PrivacyError:
        return None


@contextmanager
def _room(pilot: _Pilot) -> Iterator[None]:
    """Writing under ``out``; where that fails, the refusal says what is kept."""
    try:
        yield
    except (OSError, BadDocumentError) as error:
        if isinstance(error, BadDocumentError) and error.code != "EVIDENCE_UNWRITABLE":
            raise
        reason = getattr(error, "strerror", None) or str(error)
        kept = " and in ".join(str(path) for path in pilot.kept)
        raise BadInputError(
            "OUT_UNWRITABLE",
            f"the run is finished and charged, but '{pilot.out.name}' cannot be written ({reason})",
            hint=f"the adapter is kept in {kept}; `sekisho compliance export` writes the evidence again",
        ) from None


def _write_files(
    pilot: _Pilot,
    began: str,
    before: dict[str, float],
    baselines: Baselines | None,
    seconds: dict[str, float],
) -> Finished:
    federation, out = pilot.federation, pilot.out
    ended, writing = write_time(utc_now()), time.monotonic()
    for method in federation.study.methods:
        # an adapter of an earlier pilot would be taken for this one's
        if not any(run.method == method and run.failure is None for run in pilot.runs):
            shutil.rmtree(out / "adapter" / method, ignore_errors=True)
    # of this pilot's runs alone, as the publishing site kept them: whatever else lies under ``out`` is not looked at
    statements = [statement for kept in pilot.kept for statement in statements_at(kept)]
    evidence = export_evidence(pilot.study_folder, out / "evidence.zip", provenance=statements)
    seconds["evidence"] = time.monotonic() - writing
    facts = summary_facts(
        federation, pilot.runs, before=before, seconds=seconds, started=began, finished=ended, baselines=baselines
    )
    summary = summarise(facts)
    (out / "summary.json").write_bytes(summary.to_bytes())
    (out / "report.html").write_text(pilot_report(facts, summary), "utf-8")
    for name in federation.sites:
        folder = out / "sites" / name
        make_private_folder(folder)  # exact counts and balances: for this site's eyes
        kept, personal = federation.sites[name].folder, pilot.personal.get(name)
        own = site_facts(kept, pilot.at_sites.get(name, ()), started=began, personal=personal)
        if own is not None:
            replace_file(folder / "report.html", site_report(own).encode("utf-8"))
    replace_file(
        state_folder(pilot.study_folder, "", coordinator=True) / LAST_REPORT,
        json.dumps({"report": str((out / "report.html").resolve()), "runs": [run.run for run in pilot.runs]}).encode(),
    )
    return Finished(summary, evidence, out / "report.html")
