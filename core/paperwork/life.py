"""Where a study stands in its life, from its papers and from what the parties' logs beside it say.

For: ``sekisho study status``. Not for: allowing anything: each site asks by its own papers and its own log
(core/site/life.py). On a machine that has no logs of the parties, the papers alone say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from ...governance.log.milestones import last_entries
from ...governance.signing.approvals import Approved
from ...governance.signing.lifecycle import BROKEN_OFF, MILESTONES, Papers, State, state_of
from ...governance.signing.roster import Roster
from ...governance.signing.stop import StopState
from ..parties import LOG_NAME, state_folder
from ..site.papers import policy_signers, requester_is_known, study_approvals
from ..study import Study
from .stopping import open_desk


def study_state(study_folder: Path, study: Study, roster: Roster, *, now: datetime) -> State:
    """The state of the study. Raises coded errors of papers or logs that cannot be read."""
    desk = open_desk(study_folder, now=now)
    subjects = frozenset({study.digest, study.canonical_digest, roster.fingerprint})
    standing = any(order.stop.affects(subjects, study.id) for order in desk.standing)
    stop = StopState(standing or desk.unusable is not None or desk.listed.stopped)
    by_role = study_approvals(study_folder, study, roster, now=now)
    approved = Approved(MappingProxyType(by_role), (), (), requester_is_known(study, roster))
    return state_of(Papers(approved, policy_signers(roster), stop), _milestones(study_folder, study, roster))


def _milestones(study_folder: Path, study: Study, roster: Roster) -> Mapping[str, int]:
    """The order in which the last entries of each type came, across the coordinator's log and the sites'."""
    coordinator = state_folder(study_folder, roster.coordinator.id, coordinator=True) / LOG_NAME
    found = [(entry.at, kind) for kind, (_, entry) in last_entries(coordinator, MILESTONES).items()]
    for site in study.sites:
        # the coordinator knows of no release; of runs it knows best
        released = last_entries(state_folder(study_folder, site) / LOG_NAME, ["release.published"])
        found += [(entry.at, kind) for kind, (_, entry) in released.items()]
    # at one instant a run that was broken off is over
    in_order = sorted(found, key=lambda one: (one[0], one[1] == BROKEN_OFF))
    return {kind: number for number, (_, kind) in enumerate(in_order)}
