"""What a mechanism did, as a frozen value: the thing that is charged, logged and compared.

For: :class:`NoiseEvent`, written by the plan before the step and by the mechanism after it; the gate
    demands that both are equal. An event of an unknown kind is refused: nothing is ever counted as zero.
Not for: what an event costs (``accounting/accountant.py``).

Order of calls: ``plan.event(...)`` → ``mechanism.add_share(...)`` returns the same → ``digest()`` goes into
the log.
"""

from __future__ import annotations

from dataclasses import dataclass

from .budget import decimal_text, parse_decimal, value_digest
from .errors import BadParametersError

DISCRETE_GAUSSIAN_SHARE = "discrete-gaussian-share"
KNOWN_KINDS = frozenset({DISCRETE_GAUSSIAN_SHARE})
LARGEST_CONTRIBUTIONS = 16  # of one unit to one step: more needs minutes to account for, and an ε that is no guarantee


@dataclass(frozen=True)
class NoiseEvent:
    """One site's share of discrete Gaussian noise on one step's clipped integer sum.

    Attributes:
        variance: s², the share's variance per coordinate, in squared grid units.
        cohort: |S|, how many sites add a share to this step.
        observers: T, how many of them are assumed to subtract their own share; at least 1.
        grid_bound_squared: C_grid², the checked bound on one unit's squared norm, in squared grid units.
        sampling_rate: q as exact decimal text; "1" for a full batch.
        dimension: d, how many coordinates.
        step: 1, 2, ... within the run, abandoned steps included.
        contributions: how many vectors of norm C_grid one unit may add to the sum, each drawn by a coin of its own; 1
            where a unit is at one site.
        kind: the only kind there is so far.

    Raises:
        BadParametersError: ``UNKNOWN_EVENT`` or ``BAD_EVENT``.
    """

    variance: int
    cohort: int
    observers: int
    grid_bound_squared: int
    sampling_rate: str
    dimension: int
    step: int
    contributions: int = 1
    kind: str = DISCRETE_GAUSSIAN_SHARE

    def __post_init__(self) -> None:
        if self.kind not in KNOWN_KINDS:
            raise BadParametersError(
                "UNKNOWN_EVENT",
                "an event of an unknown kind cannot be charged",
                "update this site before it takes part in such a run",
            )
        whole = (
            self.variance,
            self.cohort,
            self.observers,
            self.grid_bound_squared,
            self.dimension,
            self.step,
            self.contributions,
        )
        if not all(type(number) is int and number >= 1 for number in whole) or self.observers >= self.cohort:
            raise BadParametersError(
                "BAD_EVENT", "an event does not describe a noise share", "use plan.event"
            )
        if self.contributions > LARGEST_CONTRIBUTIONS:
            raise BadParametersError(
                "BAD_EVENT", "an event has more contributions of one unit than are accounted for", "use plan.event"
            )
        rate = parse_decimal(self.sampling_rate)
        if not 0 < rate <= 1 or decimal_text(rate) != self.sampling_rate:
            raise BadParametersError(
                "BAD_EVENT", "an event's sampling rate is not within (0, 1]", "use plan.event"
            )

    def to_json(self) -> dict[str, str | int]:
        """The event as JSON; C_grid² may pass 2^53 and therefore travels as text."""
        return {
            "kind": self.kind,
            "variance": self.variance,
            "cohort": self.cohort,
            "observers": self.observers,
            "grid_bound_squared": str(self.grid_bound_squared),
            "sampling_rate": self.sampling_rate,
            "dimension": self.dimension,
            "step": self.step,
            "contributions": self.contributions,
        }

    def digest(self) -> str:
        """ "sha256:<hex>" over the canonical JSON."""
        return value_digest(self.to_json())
