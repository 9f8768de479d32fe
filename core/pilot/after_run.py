"""What follows a finished run at one site by itself: its release, its own head, its own report.

For: a site's service, which has no other party in its process. Not for: the pilot, which knows all of them and says
more (pilot.py), or the run itself.

A recipient site publishes: the one with the lowest id of the last cohort, as in a pilot, so that one adapter is
released once. The others hold the same state; to whom it went they learn from people. Whether every protection held in
a run is what a pilot can say of all parties together: where a study makes its release depend on that, this one is
withheld by name, and a candidate is kept for people (`sekisho site release`).

Order of calls: ``follow`` once after each run, in the site's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...governance.errors import GovernanceError
from ...governance.provenance.release import RECORD
from ...governance.signing.envelope import write_time
from ...privacy.errors import PrivacyError
from ..errors import CoreError
from ..parties import make_private_folder, replace_file, state_folder
from ..planning import methods_of
from ..site.folder import SiteFolder
from ..site.publish import publish_or_withhold
from ..site.site import Site
from .at_site import personal_facts_at, site_facts, site_run
from .site_report import PersonalFacts, site_report

REPORTS = "reports"  # in the site's state folder: one page a run, for this site's eyes

Say = Callable[[str], None]


def follow(site: Site, say: Say) -> None:
    """Publish, train the site's own head where the study has them, write the site's report. Raises coded errors.

    Each is done though another fails; the first failure is raised at the end. Nothing is done twice: a service that
    was killed in between comes here again. The report is last, and says that all is done.
    """
    if site.state is None or _report_of(site.folder, site.state.run).exists():
        return
    failed: list[CoreError | GovernanceError | PrivacyError] = []
    heads: list[PersonalFacts] = []
    acts: tuple[Callable[[], None], ...] = (
        lambda: _release(site, say), lambda: _head(site, heads), lambda: _report(site, heads, say)
    )  # fmt: skip
    for act in acts:
        try:
            act()
        except (CoreError, GovernanceError, PrivacyError) as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _release(site: Site, say: Say) -> None:
    state, folder = site.state, site.folder
    if state is None or state.completed == 0 or folder.site != min(state.step_cohort):
        return
    kept = folder.releases / state.run
    if (kept / RECORD).exists() or (folder.candidates / state.run).exists():
        return
    published = publish_or_withhold(site, kept)
    if published.withheld:
        say(f"{state.run}: the adapter stays here [{published.withheld}]")
        return
    folder.reach.released(state.run, published.record.recipients)
    say(f"{state.run}: released, adapter {published.adapter.digest}, in {kept}")


def _head(site: Site, heads: list[PersonalFacts]) -> None:
    tools, study = site.tools, site.folder.study
    if tools is None or not study.personal_heads or tools.considered.offer.method != methods_of(study)[-1]:
        return
    if site.data is None:  # the process that trained is gone, and the run's rows with it
        return
    found = personal_facts_at(site, tools.considered.offer.method)
    if found is not None:
        heads.append(found)


def _report(site: Site, heads: list[PersonalFacts], say: Say) -> None:
    state, tools, folder = site.state, site.tools, site.folder
    if state is None or tools is None:
        return
    own = site_run(site, tools.considered.offer.method, state.run)
    runs = () if own is None else (own,)
    facts = site_facts(folder, runs, started=write_time(state.started), personal=next(iter(heads), None))
    if facts is None:
        return
    path = _report_of(folder, state.run)
    make_private_folder(path.parent)  # exact counts and balances
    replace_file(path, site_report(facts).encode("utf-8"))
    say(f"{state.run}: the site's own report is {REPORTS}/{path.name}")


def _report_of(folder: SiteFolder, run: str) -> Path:
    return state_folder(folder.study_folder, folder.site) / REPORTS / f"{run}.html"
