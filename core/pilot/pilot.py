"""A study from study.yaml to report, adapter and evidence: what ``sekisho pilot`` does.

Order: the output folder is tried first, so that nothing is charged for a report that cannot be written; then every
site's refusals are gathered before anything is sent; then the run; then files for people. Budgets, logs and run state
live beside the study and survive this process; what is written under ``--out`` is for reading only.

``sekisho pilot`` never signs for anyone but the parties whose keys lie beside the study.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ...governance.signing.envelope import write_time
from ..coordinator.coordinator import RunResult
from ..data.dataset import TestSet
from ..errors import BadInputError, CoreError, Refused
from ..parties import replace_file, state_folder
from ..site.publish import Published, publish
from .evidence import Written, export_evidence
from .facts import site_facts, summary_facts
from .federation import CodedError, Federation, utc_now
from .report import pilot_report, site_report
from .summary import MethodResult, Summary, summarise

LAST_REPORT = "last-report.json"
EXHAUSTED = frozenset({"BUDGET_EXHAUSTED", "BUDGET_LIFETIME"})


class Listener(Protocol):
    """Who is told how the pilot goes on; the command line prints it."""

    def say(self, text: str = "") -> None:
        """One line of prose."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Long work goes on."""


class SitesRefusedError(CoreError):
    """One or more sites refused before anything was sent; ``errors`` maps each site to its own coded error."""

    def __init__(self, errors: Mapping[str, CodedError]) -> None:
        first = next(iter(errors.values()))
        super().__init__(first.code, str(first), first.hint)
        self.errors = dict(errors)


@dataclass(frozen=True)
class Finished:
    """A pilot that ran to its end, and where its files are."""

    summary: Summary
    evidence: Written
    report: Path


def run_pilot(study_folder: Path, out: Path, listener: Listener) -> Finished:
    """Run the study's method. Raises ``SitesRefusedError`` with every site's refusal, and other coded errors."""
    # 1. before anything is charged: can the report be written at all?
    prepare_output(out)
    started = time.monotonic()
    federation = Federation.open(study_folder, progress=listener.progress)
    try:
        method = next(iter(federation.study.methods))
        # 2. every site's refusals, before anything is sent
        listener.say(f"{len(federation.study.sites)} sites consider the study; nothing is sent before all agree")
        _, refused = federation.preflight(method)
        if refused:
            raise refusals(study_folder, federation, refused)
        seconds = {"preflight": time.monotonic() - started}
        # 3. the run
        began = utc_now()
        result = federation.run(method)
        seconds.update(result.seconds)
        # 4. a recipient site publishes and evaluates, never the coordinator
        finished = _write_all(federation, result, study_folder, out, seconds, began)
    except CoreError as error:
        _explain_dropped(federation, error, listener)
        raise
    finally:
        federation.close()
    return finished


def prepare_output(out: Path) -> None:
    """Make ``out`` and write into it once. Raises ``BadInputError`` when it cannot hold a report."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise BadInputError(
            "OUT_UNWRITABLE",
            f"the output folder '{out.name}' cannot be written ({error.strerror}); nothing was charged",
            hint="choose another folder with --out",
        ) from None


def refusals(study_folder: Path, federation: Federation, refused: Mapping[str, CodedError]) -> CoreError:
    """All refusals as one error; each is in its site's log. A spent budget names the last report instead."""
    for site, error in refused.items():
        if site in federation.sites:
            federation.sites[site].folder.record("run.stopped", data={"code": error.code})
    exhausted = [site for site, error in refused.items() if error.code in EXHAUSTED]
    if not exhausted:
        return SitesRefusedError(refused)
    last = last_report(study_folder)
    hint = f"the last report is {last}; a spent budget stays spent" if last else "a spent budget stays spent"
    return Refused(
        "BUDGET_EXHAUSTED",
        f"no privacy budget is left for this run at {', '.join(exhausted)}; nothing was sent",
        hint + (" (this is a demo: make demo-reset gives it back)" if federation.roster.demo else ""),
    )


def _write_all(
    federation: Federation,
    result: RunResult,
    study_folder: Path,
    out: Path,
    seconds: dict[str, float],
    began: datetime,
) -> Finished:
    publisher = federation.sites[min(result.state.cohort)]
    started = time.monotonic()
    published = publish(publisher, out / "adapter")
    scores = evaluate_probe(federation, published, study_folder)
    seconds["evaluation"] = time.monotonic() - started
    ended = utc_now()
    evidence_started = time.monotonic()
    written = export_evidence(study_folder, out / "evidence.zip", provenance=out / "adapter" / "provenance.dsse.json")
    seconds["evidence"] = time.monotonic() - evidence_started
    facts = summary_facts(
        federation, result, published, scores, seconds=seconds, started=write_time(began), finished=write_time(ended)
    )
    summary = summarise(facts)
    (out / "summary.json").write_bytes(summary.to_bytes())
    (out / "report.html").write_text(pilot_report(facts, summary), "utf-8")
    for name in federation.sites:
        folder = out / "sites" / name
        folder.mkdir(parents=True, exist_ok=True)
        own = site_facts(federation, name, result, started=write_time(began))
        if own is not None:
            (folder / "report.html").write_text(site_report(own), "utf-8")
    replace_file(
        state_folder(study_folder, "", coordinator=True) / LAST_REPORT,
        json.dumps({"report": str((out / "report.html").resolve()), "run": result.run}).encode("utf-8"),
    )
    return Finished(summary, written, out / "report.html")


def evaluate_probe(federation: Federation, published: Published, study_folder: Path) -> MethodResult:
    """The adapter on the public test set; a site does this with what it holds itself."""
    from ..training.evaluation import evaluate
    from ..training.probe import scores

    study = federation.study
    test = TestSet.load(study_folder / study.test_set.file, labels=study.labels, digest=study.test_set.digest)
    rows = federation.features.of(test.texts)
    metrics = evaluate(scores(rows, published.adapter.vector), test.positive(study.labels[1]))
    return MethodResult.model_validate(metrics.to_json(study.labels))


def last_report(study_folder: Path) -> str | None:
    """Where the last report of this study was written, if that is known."""
    path = state_folder(study_folder, "", coordinator=True) / LAST_REPORT
    try:
        return str(json.loads(path.read_text("utf-8"))["report"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _explain_dropped(federation: Federation, error: CoreError, listener: Listener) -> None:
    # in one process the person at the terminal may read what a site kept to itself
    if isinstance(error, Refused) and error.code in {"SITE_MISSING", "COHORT_TOO_SMALL", "SITE_DROPPED"}:
        for site, failure in federation.embedded.failures.items():
            listener.say(f"  {site}: {failure} [{failure.code}]")
