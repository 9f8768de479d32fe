"""Everything that can refuse a pilot before anything is charged, for all of its methods at once; and its refusals.

Order of calls: ``prepare_output`` (can the report be written at all?) -> ``consider_all`` (every site's refusals of
every method, and whether its lifetime budget can take them all) -> the runs. ``end_of_run`` says why a run ended that
lost sites.

Not here: what a site refuses and why (site/joining.py), charging (the ledger), and the runs (pilot.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import BadInputError, CoreError, Refused
from ..parties import state_folder
from ..planning import methods_of
from ..site.considering import Considered
from .federation import CodedError, Federation

LAST_REPORT = "last-report.json"
EXHAUSTED = frozenset({"BUDGET_EXHAUSTED", "BUDGET_LIFETIME"})
# Refusals of a run whose causes lie with the sites that did not deliver.
DROPPED = frozenset({"SITE_MISSING", "COHORT_TOO_SMALL", "SITE_DROPPED"})
ROOM = 4 << 20  # bytes; reports and evidence of a study of this size take half of it

Accepted = Mapping[str, Mapping[str, Considered]]  # by method, then by site


class SitesError(CoreError):
    """Sites refused before anything was sent, or failed in a run; ``errors`` has each site's own words.

    ``together`` is what they amount to, where that is more than one of them says.
    """

    def __init__(self, errors: Mapping[str, CodedError], together: CodedError | None = None) -> None:
        shown = together if together is not None else next(iter(errors.values()))
        super().__init__(shown.code, str(shown), shown.hint)
        self.errors = dict(errors)
        self.together = together


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


def consider_all(federation: Federation, study_folder: Path) -> Accepted:
    """Every site's answer to every method. Charges and sends nothing; raises ``SitesError`` with all refusals."""
    methods = methods_of(federation.study)
    accepted: dict[str, dict[str, Considered]] = {}
    refused: dict[str, CodedError] = {}
    # 1. each method by itself; of several refusals of one site the first is told
    for method in methods:
        accepted[method], errors = federation.preflight(method)
        refused = errors | refused
    # 2. all of them together: a pilot that its budget or its stage cannot finish must not begin
    for name, site in federation.sites.items():
        most = federation.study.current_stage.caps.runs
        if name not in refused and site.folder.runs_of_stage() + len(methods) > most:
            refused[name] = Refused(
                "STAGE_RUNS",
                f"{name}: the stage '{federation.study.stage}' has room for {most} runs in all, one a method, and not "
                f"for the study's {len(methods)} beside those that were",
                hint="take a method out of study.yaml, or have legal and IT sign a stage with more runs",
                site=name,
            )
        if name not in refused:
            every = [accepted[method][name] for method in methods]
            if not site.folder.lifetime_fits(sum(one.cost for one in every), sum(one.count_cost for one in every)):
                refused[name] = Refused(
                    "BUDGET_LIFETIME",
                    f"{name}: the lifetime budget has room for some of the study's runs "
                    f"({', '.join(methods)}), but not for all of them",
                    hint="take a method out of study.yaml or lower its epsilon, and have the study approved again",
                    site=name,
                )
    if refused:
        raise refusals(study_folder, federation, refused)
    return accepted


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
    kept = "a spent budget stays spent, also for people who came later: it counts runs, so no answer tells who is there"
    hint = f"the last report is {last}; {kept}" if last else kept
    runs = "this run" if len(federation.study.methods) == 1 else "these runs"
    spent = Refused(
        "BUDGET_EXHAUSTED",
        f"not enough privacy budget is left for {runs} at {', '.join(exhausted)}; nothing was sent",
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


def last_report(study_folder: Path) -> str | None:
    """Where the last report of this study was written, if that is known."""
    path = state_folder(study_folder, "", coordinator=True) / LAST_REPORT
    try:
        return str(json.loads(path.read_text("utf-8"))["report"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
