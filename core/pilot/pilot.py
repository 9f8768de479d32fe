"""A study from study.yaml to report, adapter and evidence: what ``sekisho pilot`` does.

Order: the output folder is tried first, so that nothing is charged for a report that cannot be written; then every
site's refusals are gathered before anything is sent; then the run; then files for people. Budgets, logs and run state
live beside the study and survive this process; what is written under ``--out`` is for reading only.

``sekisho pilot`` never signs for anyone but the parties whose keys lie beside the study.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ...governance.errors import BadDocumentError
from ...governance.signing.envelope import write_time
from ..coordinator.coordinator import RunResult
from ..data.dataset import TestSet
from ..errors import BadInputError, CoreError, Refused
from ..parties import replace_file, state_folder
from ..site.publish import Published, publish
from ..study import Study
from ..training.features import Features
from .evidence import Written, export_evidence
from .facts import site_facts, summary_facts
from .federation import CodedError, Federation, utc_now
from .report import pilot_report, site_report
from .summary import MethodResult, Summary, summarise

LAST_REPORT = "last-report.json"
EXHAUSTED = frozenset({"BUDGET_EXHAUSTED", "BUDGET_LIFETIME"})
# Refusals of a run whose causes lie with the sites that did not deliver.
DROPPED = frozenset({"SITE_MISSING", "COHORT_TOO_SMALL", "SITE_DROPPED"})
ROOM = 4 << 20  # bytes; reports and evidence of a study of this size take half of it


class Listener(Protocol):
    """Who is told how the pilot goes on; the command line prints it."""

    def say(self, text: str = "") -> None:
        """One line of prose."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Long work goes on."""


class SitesError(CoreError):
    """Sites refused before anything was sent, or failed in a run; ``errors`` has each site's own words.

    ``together`` is what they amount to, where that is more than one of them says.
    """

    def __init__(self, errors: Mapping[str, CodedError], together: CodedError | None = None) -> None:
        shown = together if together is not None else next(iter(errors.values()))
        super().__init__(shown.code, str(shown), shown.hint)
        self.errors = dict(errors)
        self.together = together


@dataclass(frozen=True)
class Finished:
    """A pilot that ran to its end, and where its files are."""

    summary: Summary
    evidence: Written
    report: Path


def run_pilot(study_folder: Path, out: Path, listener: Listener, *, features: Features | None = None) -> Finished:
    """Run the study's method. Raises ``SitesError`` with every site's own words, and other coded errors."""
    # 1. before anything is charged: can the report be written at all?
    prepare_output(out)
    started = time.monotonic()
    federation = Federation.open(study_folder, progress=listener.progress, features=features)
    try:
        method = next(iter(federation.study.methods))
        test = read_test_set(study_folder, federation.study)
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
        finished = _hand_out(federation, result, test, study_folder, out, seconds, began)
    except Refused as ended:
        if ended.code in DROPPED and federation.embedded.failures:
            raise end_of_run(ended, federation.embedded.failures) from ended
        raise
    finally:
        federation.close()
    return finished


def prepare_output(out: Path) -> None:
    """Make ``out`` and write into it once. Raises ``BadInputError`` when it cannot hold a report."""
    probe = out / ".writable"
    try:
        out.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(bytes(ROOM))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise BadInputError(
            "OUT_UNWRITABLE",
            f"the output folder '{out.name}' cannot be written ({error.strerror}); nothing was charged",
            hint=f"choose another folder with --out; it needs room for {ROOM >> 20} MiB",
        ) from None


def refusals(study_folder: Path, federation: Federation, refused: Mapping[str, CodedError]) -> CoreError:
    """All refusals as one error; each is in its site's log. A budget that runs spent names the last report instead."""
    for site, error in refused.items():
        if site in federation.sites:
            federation.sites[site].folder.record("run.stopped", data={"code": error.code})
    # a budget that never sufficed is the policy's own refusal: there is no report to name
    exhausted = [
        site
        for site, error in refused.items()
        if error.code in EXHAUSTED and site in federation.sites and federation.sites[site].folder.ledger.balance().runs
    ]
    if not exhausted:
        return SitesError(refused)
    last = last_report(study_folder)
    hint = f"the last report is {last}; a spent budget stays spent" if last else "a spent budget stays spent"
    spent = Refused(
        "BUDGET_EXHAUSTED",
        f"no privacy budget is left for this run at {', '.join(exhausted)}; nothing was sent",
        hint + (" (this is a demo: make demo-reset gives it back)" if federation.roster.demo else ""),
    )
    return SitesError({site: error for site, error in refused.items() if site not in exhausted}, spent)


def end_of_run(ended: Refused, failures: Mapping[str, CodedError]) -> SitesError:
    """Why a run ended that lost sites: in one process a person may read what the sites kept to themselves.

    A run that ended only because disks are full was refused by nobody.
    """
    unwritable = [error for error in failures.values() if error.code.endswith("_UNWRITABLE")]
    if len(unwritable) < len(failures):
        return SitesError(failures, ended)
    first = unwritable[0]
    sentence = f"the run ended, and what was started stays charged: {first}"
    return SitesError(failures, BadInputError(first.code, sentence, first.hint))


def _hand_out(
    federation: Federation,
    result: RunResult,
    test: TestSet,
    study_folder: Path,
    out: Path,
    seconds: dict[str, float],
    began: datetime,
) -> Finished:
    """Publish, evaluate, write. A budget is spent once, so the adapter is kept beside the ledger before ``out``."""
    publisher = federation.sites[min(result.state.cohort)]
    kept = publisher.folder.releases / result.run
    started = time.monotonic()
    published = publish(publisher, kept)
    scores = evaluate_probe(federation, published, test)
    seconds["evaluation"] = time.monotonic() - started
    try:
        shutil.copytree(kept, out / "adapter", dirs_exist_ok=True)
        return _write_files(federation, result, published, scores, study_folder, out, seconds, began)
    except (OSError, BadDocumentError) as error:
        if isinstance(error, BadDocumentError) and error.code != "EVIDENCE_UNWRITABLE":
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInputError(
            "OUT_UNWRITABLE",
            f"the run is finished and charged, but '{out.name}' cannot be written ({reason})",
            hint=f"the adapter is kept in {kept}; `sekisho compliance export` writes the evidence again",
        ) from None


def _write_files(
    federation: Federation,
    result: RunResult,
    published: Published,
    scores: MethodResult,
    study_folder: Path,
    out: Path,
    seconds: dict[str, float],
    began: datetime,
) -> Finished:
    ended = utc_now()
    evidence_started = time.monotonic()
    written = export_evidence(study_folder, out / "evidence.zip", provenance=[out / "adapter" / "provenance.dsse.json"])
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


def read_test_set(study_folder: Path, study: Study) -> TestSet:
    """The public test set that the study names. Read before anything is charged; raises ``BadInputError``."""
    return TestSet.load(study_folder / study.test_set.file, labels=study.labels, digest=study.test_set.digest)


def evaluate_probe(federation: Federation, published: Published, test: TestSet) -> MethodResult:
    """The adapter on the public test set; a site does this with what it holds itself."""
    from ..training.evaluation import evaluate

    study = federation.study
    method = next(iter(study.methods))
    metrics = evaluate(federation.scores(method, published, test.texts), test.positive(study.labels[1]))
    return MethodResult.model_validate(metrics.to_json(study.labels))


def last_report(study_folder: Path) -> str | None:
    """Where the last report of this study was written, if that is known."""
    path = state_folder(study_folder, "", coordinator=True) / LAST_REPORT
    try:
        return str(json.loads(path.read_text("utf-8"))["report"])
    except (OSError, ValueError, KeyError, TypeError):
        return None

