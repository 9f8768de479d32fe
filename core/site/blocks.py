"""When a block of steps is to be judged, as a site sees it: whatever the coordinator asks for, only then.

For: refusing a count that is not due and a step that would go on without one. Not for: counting and judging
(voting.py). Pure.
"""

from __future__ import annotations

from .state import RunState


def count_is_due(state: RunState, *, every: int, steps: int, summed: bool) -> bool:
    """Whether a count comes next: of the start, after ``every`` completed steps, and after the last of ``steps``.

    ``summed``: the message that is looked at also brings the sum of a step, which then is completed, too.
    """
    if state.accepted is None:
        return True
    completed = state.completed + summed
    fresh = completed - state.accepted.completed
    return fresh >= every or (completed >= steps and fresh > 0)
