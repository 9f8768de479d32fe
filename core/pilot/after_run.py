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

from ...governance.errors import GovernanceError
from ...governance.signing.envelope import write_time
from ...privacy.errors import PrivacyError
from ..errors import CoreError
from ..parties import make_private_folder, replace_file, state_folder
from ..planning import methods_of
from ..site.publish import publish_or_withhold
from ..site.site import Site
from .at_site import personal_facts_at, site_facts, site_run
from .site_report import PersonalFacts, site_report

REPORTS = "reports"  # in the site's state folder: one page a run, for this site's eyes

Say = Callable[[str], None]


def follow(site: Site, say: Say) -> None:
    """Publish, train the site's own head where the study has them, write the site's report. Raises coded errors.

    Each is done though another fails; the first failure is raised at the end.
    """
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
    reports = state_folder(folder.study_folder, folder.site) / REPORTS
    make_private_folder(reports)  # exact counts and balances
    replace_file(reports / f"{state.run}.html", site_report(facts).encode("utf-8"))
    say(f"{state.run}: the site's own report is {REPORTS}/{state.run}.html")
