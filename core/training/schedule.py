"""Which coordinates of a state train in which step, and around which state the model is linearised meanwhile.

For: ``Schedule``, a value that follows from the study alone, so that every site keeps the same one. Not for: gradients
(tangent.py, lora.py) and moving the state (optimizer.py).

A schedule counts applied sums, not step numbers: an abandoned step moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..methods import AdapterSettings


@dataclass(frozen=True)
class Schedule:
    """For the first ``head_steps`` updates the coordinates before ``head`` rest; then the state that was reached
    becomes the reference, and again every ``linear_steps`` updates (0: never again)."""

    head_steps: int = 0
    head: int = 0
    linear_steps: int = 0

    @classmethod
    def of(cls, settings: AdapterSettings, *, head: int) -> Schedule:
        """The schedule of an adapter whose head begins at coordinate ``head``."""
        return cls(settings.head_steps, head, settings.linear_steps)

    def resting(self, updates: int) -> int:
        """How many coordinates, from the first on, do not train in the step after ``updates`` updates."""
        return self.head if updates < self.head_steps else 0

    def linearises_after(self, updates: int) -> bool:
        """Whether the state after so many updates is the new reference."""
        past = updates - self.head_steps
        return past == 0 or (past > 0 and self.linear_steps > 0 and past % self.linear_steps == 0)


PLAIN = Schedule()  # everything trains, and nothing is linearised
