"""Where the study stands at this site, and whether it may do now what it is about to do.

For: legal and IT, always: even a policy that forgot to ask for one of them lets no data be touched without both. Not
for: the policy's own decision, which comes before and says more (gate/), or the rules of a study's life
(governance/signing/lifecycle.py).

Order of calls: ``check_may_start`` before a run, ``check`` before each act in it or after it. Both look at the papers
and the stop orders again, each time.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from ...governance.errors import Refused
from ...governance.log.entries import EntryType
from ...governance.log.milestones import all_entries, last_entries
from ...governance.signing.approvals import Approved
from ...governance.signing.lifecycle import MILESTONES, Act, Event, Papers, State, after, check_may, state_of
from ...governance.signing.stop import StopState
from ..parties import LOG_NAME, state_folder
from .folder import SiteFolder
from .memory import stops_now
from .papers import policy_signers, requester_is_known, study_approvals


def check_may_start(folder: SiteFolder, refused: Callable[[str], None]) -> None:
    """Return if a run of the study may begin here. ``refused`` logs a refusal's code.

    Raises:
        Refused: STOPPED, STUDY_NOT_APPROVED, STUDY_STATE.
    """
    papers = papers_now(folder)
    state = _state(folder, papers)
    if state is State.RUNNING:
        state = State.APPROVED  # nothing is open in this process: what an earlier one left behind is over
    _guarded(lambda: after(state, Event.START, papers), refused)


def check(folder: SiteFolder, act: Act, refused: Callable[[str], None]) -> None:
    """Return if the act is allowed now, in the run that is open or has just finished.

    Raises:
        Refused: STOPPED, STUDY_NOT_APPROVED, STUDY_STATE.
    """
    papers = papers_now(folder)
    _guarded(lambda: check_may(_state(folder, papers), act, papers), refused)


def check_candidate(folder: SiteFolder, run: str, refused: Callable[[str], None]) -> None:
    """Return if the candidate of ``run`` may be published now. Another run's release since does not end this one's.

    Raises:
        Refused: STOPPED, STUDY_NOT_APPROVED, STUDY_STATE, RELEASE_TWICE.
    """
    papers = papers_now(folder)
    state = _state(folder, papers)
    log = state_folder(folder.study_folder, folder.site) / LOG_NAME
    _guarded(lambda: check_may(State.FINISHED if state is State.RELEASED else state, Act.PUBLISH, papers), refused)
    if any(entry.refs.get("run") == run for entry in all_entries(log, str(EntryType.RELEASE_PUBLISHED))):
        refused("RELEASE_TWICE")
        raise Refused("RELEASE_TWICE", "the adapter of this run was released before", "it lies where it was written")


def papers_now(folder: SiteFolder) -> Papers:
    """Who approved the study, by the rule of ``approvals``, and whether anything stops it, at this moment."""
    now = folder.clock()
    by_role = study_approvals(folder.study_folder, folder.study, folder.roster, now=now)
    stops = stops_now(
        folder.log, folder.study_folder, folder.site, folder.roster, folder.study, folder.policy, now=now
    )
    excluded = requester_is_known(folder.study, folder.roster)
    approved = Approved(MappingProxyType(by_role), (), (), excluded)
    return Papers(approved, policy_signers(folder.roster), StopState(stops.stopped, code=stops.code))


def _state(folder: SiteFolder, papers: Papers) -> State:
    path = state_folder(folder.study_folder, folder.site) / LOG_NAME
    return state_of(papers, {kind: number for kind, (number, _) in last_entries(path, MILESTONES).items()})


def _guarded(ask: Callable[[], object], refused: Callable[[str], None]) -> None:
    try:
        ask()
    except Refused as error:
        refused(error.code)
        raise
