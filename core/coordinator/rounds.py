"""One sum over the sites, of a step or of a count: they say where they stand, then each sends its sealed share.

For: two messages and their answers, and who failed them. Not for: what becomes of the sum, or of who failed
(coordinator.py); adding (summing.py).

Order of calls: ``Rounds(...)`` once a run; ``one_sum`` for each step and each count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from ...privacy.accounting.plan import Plan
from ...privacy.encryption.frame import ciphertext_length
from ...privacy.encryption.presets import PRESETS
from ..messages import Count, Frame, Readies, Ready, SignedMessage, Step
from .agreeing import whole
from .collecting import Collector, Expected, apart
from .resuming import FRAMES, Standing
from .state import CoordinatorState
from .summing import PART, StepSum

Progress = Callable[[str, int, int], None]

RESENDS = 1  # a lost frame is asked for once more: a second loss is a site that is gone, and waiting has a price
SLOW_SECONDS = 10.0  # a step that takes longer shows how many sites have been heard; sixty short ones show one line


class Rounds:
    """The rounds of one run. ``standing``: from where it goes on, where another process began it."""

    def __init__(self, collector: Collector, standing: Standing, progress: Progress) -> None:
        self._collector = collector
        self._standing = standing
        self._progress = progress

    def one_sum(
        self, state: CoordinatorState, plan: Plan, begin: Step | Count, number: int, parts: dict[str, bytes]
    ) -> tuple[tuple[str, ...], dict[str, bytes]]:
        """The sum that ``begin`` begins, as it is forwarded; or else who failed it. ``parts`` are let go of."""
        # 1. every site opens the step before and says where it stands; nothing is charged before all have
        phase = f"{FRAMES}{begin.kind}"
        readies = self._standing.take_readies(Readies(step=number, cohort=state.cohort), phase)
        if readies is None:
            ready = self._collector.gather(state.run, state.cohort, begin, Ready, parts=parts)
            if ready.missing:
                return ready.missing, {}
            # one that stands apart would make every other refuse the step: it is the one that did not deliver
            if strays := apart({site: _place(message) for site, message in ready.messages.items()}):
                return strays, {}
            readies = dict(ready.messages)
            del ready
        parts.clear()  # heard by everybody: let go before frames come
        # 2. every site sees every ready, and sends its share, which is added and let go; sites expand the seeds
        total = StepSum(PRESETS[plan.preset], plan.dimension, step=number, readies=readies)
        forwarded = whole("ready", readies)
        del readies  # what was read of them is let go of before frames come, too
        missing = self._collect_frames(state, plan, number, forwarded, total, phase)
        failed = tuple(site for site in state.cohort if site in {*missing, *total.wrong()})
        return (failed, {}) if failed else ((), total.parts())

    def _collect_frames(
        self,
        state: CoordinatorState,
        plan: Plan,
        step: int,
        readies: Mapping[str, bytes],
        total: StepSum,
        phase: str,
    ) -> tuple[str, ...]:
        """Every frame into ``total``; returns who did not deliver, after having been asked once more.

        A site that has sealed the step sends the same bytes again and charges nothing. One whose signed frame is wrong
        is not asked: it would send the same. Where there is one the step is lost, and nobody is asked.
        """
        body = Readies(step=step, cohort=state.cohort)
        length = ciphertext_length(PRESETS[plan.preset], plan.dimension)
        expected = Expected(Frame, {PART: length})
        arrived, began = 0, time.monotonic()

        def take(site: str, message: SignedMessage) -> None:
            nonlocal arrived
            total.add(site, message)
            if not plan.cells:  # measured, not what was expected: the report's check of it must be able to fail
                self._collector.traffic.frame_payload = len(message.payload)
                self._collector.traffic.frame_bytes = len(message.detached()) + len(message.payload)
            arrived += 1
            # the last one is the end of the step, which is shown as such
            if arrived < len(state.cohort) and time.monotonic() - began > SLOW_SECONDS:
                self._progress(f"sites heard in step {step}", arrived, len(state.cohort))

        missing = state.cohort
        for _ in range(1 + RESENDS):
            if not missing or total.wrong():
                break
            missing = self._collector.each(state.run, missing, body, expected, take, parts=readies, phase=phase)
        return missing


def _place(ready: SignedMessage) -> tuple[int, str]:
    body = ready.body
    return (body.step, body.transcript) if isinstance(body, Ready) else (0, "")
