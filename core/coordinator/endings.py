"""Why a run ends before its last step: sites that are gone, steps that are used up, blocks that were rejected.

For: pure rules over what the coordinator has heard, which knows verdicts and no counts; and of which ended runs sites
are told once more, from the states that are kept. Not for: asking sites (coordinator.py), when a count is due
(state.py; each site sees to that itself, too).

A run that ``early_end`` ends is finished, not stopped: the sites go back to the last accepted state and keep it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...privacy.accounting.plan import Plan
from ..conditions import ValidationSettings
from ..errors import BadInputError, Refused
from ..messages import Stop
from ..study import Study
from .state import FINISHED, CoordinatorState

MOST_TOLD = 16  # ended runs that sites are told of before a new one; more in a row have failed for another reason
OVER = "RUN_ENDED"  # what a site is told that was left out of a run which finished
KEPT = "what was started stays charged; the sites hold the state that was accepted last, and nothing is released by it"


def early_end(state: CoordinatorState, plan: Plan, counts: Plan, settings: ValidationSettings) -> Refused | None:
    """Why the run cannot go on from here to its last step, accepted; None where it can."""
    if state.rejected > settings.rejections:
        return Refused(
            "VALIDATION_REJECTED",
            f"the sites rejected {state.rejected} blocks of steps, and the study goes on after at most "
            f"{settings.rejections}; {state.completed} steps are accepted",
            hint=f"{KEPT}; somebody may be poisoning the run: each site's log has the counts",
            clause="study/validation",
        )
    if state.count_is_due(every=settings.every, steps=plan.steps):
        if len(state.counts) < counts.total_steps:
            return None
        return Refused(
            "VALIDATION_LOST",
            f"all {counts.total_steps} counts of the run are used up, and the last block is not judged",
            hint=f"{KEPT}; find out why sites did not deliver before a new run",
            clause="study/validation",
        )
    fresh = state.completed - state.accepted
    needed = min(settings.every, plan.steps - state.accepted) - fresh
    if plan.total_steps - state.step >= needed:
        return None
    return Refused(
        "ALLOWANCE_SPENT",
        f"{state.abandoned} steps were abandoned and {state.rejected} blocks rolled back; the study allows for "
        f"{plan.allowance} steps more than planned, and another block does not fit",
        hint=f"{KEPT}; find out why before a new run",
    )


def dropped(missing: Sequence[str], state: CoordinatorState, plan: Plan, study: Study) -> Refused | None:
    """Why the run cannot go on without the ``missing`` sites; None where it can."""
    if missing and study.on_drop == "stop":
        return Refused(
            "SITE_DROPPED",
            f"{', '.join(missing)} did not deliver, and the study stops then",
            hint="what was started stays charged; `on_drop: continue` in an approved study goes on without them",
        )
    if len(state.cohort) < plan.minimum_sites:
        return Refused(
            "COHORT_TOO_SMALL",
            f"{len(state.cohort)} sites are left and the study's minimum_sites is {plan.minimum_sites}",
            hint="what was started stays charged; the run ends here",
            clause="study/minimum_sites",
        )
    return None


def left_behind(folder: Path) -> tuple[tuple[str, Stop], ...]:
    """The runs in ``folder``, with their stop, in which a site may still stand that did not hear how they ended.

    Those that were stopped since the last one that finished, and that one where it finished without somebody: all sites
    start a run or none, so whoever was in it stands in no earlier one. Where a site stands in none of these, a stop
    does nothing.
    """
    states = []
    for path in folder.glob("*.json"):
        with suppress(BadInputError):  # one that cannot be read is ended by itself (coordinator.py, ``give_up``)
            states.append(CoordinatorState.load(folder, path.stem))
    found: list[tuple[str, Stop]] = []
    for state in sorted((state for state in states if state.ended), key=lambda state: -state.since)[:MOST_TOLD]:
        if state.ended != FINISHED:
            found.append((state.run, Stop(code=state.ended)))
            continue
        if list(state.cohort) != list(state.offer.get("sites", ())):  # type: ignore[call-overload]  # a list, as offered
            found.append((state.run, Stop(code=OVER)))
        break
    return tuple(found)
