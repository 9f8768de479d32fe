"""One run's frozen noise plan: everything that decides what the run costs, as a value that is signed and
compared.

For: :class:`Plan`, the events it will cause, and the rule under which a site may seal a step.
Not for: accounting. A plan knows no ε beyond the target it was built for; ``accountant.py`` certifies it.

Order of calls: ``accountant.build_plan`` (coordinator) → ``Plan.from_json`` (site) →
``accountant.worst_certificate`` → each step ``check_sealing_rule`` and ``event``.

Words: u is the grid (γ = C/u is one grid unit), C_grid the checked bound of one unit's integer vector,
s²(j) the variance of one site's share in a cohort of j sites, T the observing sites, K all sites, m the
fewest sites.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from decimal import ROUND_CEILING, Context, Decimal
from functools import cached_property
from typing import Any

from ..budget import MAXIMUM_EPSILON, Adjacency, Unit, decimal_text, parse_decimal, value_digest
from ..errors import BadParametersError
from ..event import LARGEST_CONTRIBUTIONS, NoiseEvent
from ..mechanism.rotation import Rotation
from ..mechanism.rounding import (
    FIELD_WIDTHS,
    MAXIMUM_GRID_BOUND,
    MAXIMUM_SHARE_VARIANCE,
    MINIMUM_NOISE_VARIANCE,
    MINIMUM_SHARE_VARIANCE,
    MOST_SITES,
    ROTATED,
    grid_bound_squared,
)

SCHEMA = "sekisho-plan/1"
HONEST_REMAINDER = 2  # with one honest site left, "the sum" would be that site's own update
SAMPLE_DEVIATIONS = 7  # a Poisson sample exceeds n with probability below 1e-11
MAXIMUM_SITES = 1000  # far above what ciphertexts carry; an offer must not make a site build endless tables
MAXIMUM_COUNT = 2**40  # no count in a plan is larger; keeps every integer exact in JSON

_CELL = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_COUNTS = (
    "steps", "allowance", "grid", "dimension", "observers", "sites", "minimum_sites", "expected_sample",
    "records_per_subject", "sites_per_subject",
)  # fmt: skip
_DECIMALS = ("sampling_rate", "clipping_norm", "epsilon", "delta")


def expected_sample(subjects: int, sampling_rate: Decimal) -> int:
    """n = ⌈qN + 7√(qN)⌉ for N declared units over all sites; N itself for a full batch."""
    if sampling_rate == 1:
        return subjects
    context = Context(prec=40, rounding=ROUND_CEILING)
    mean = context.multiply(sampling_rate, Decimal(subjects))
    return math.ceil(context.add(mean, context.multiply(SAMPLE_DEVIATIONS, context.sqrt(mean))))


@dataclass(frozen=True)
class Plan:
    """A run's plan. Built by ``accountant.build_plan``; validated again wherever it arrives.

    Attributes:
        steps, allowance: planned steps, and steps that may be abandoned and still cost.
        sampling_rate: q; 1 is a full batch. clipping_norm: C. grid: u. dimension: d.
        observers: T ≥ 1. sites: K. minimum_sites: m. expected_sample: n units a step over all sites.
        records_per_subject: k, at most so many records of one subject a step.
        sites_per_subject: s_max, at how many sites one subject may be; each adds up to C under the one noise.
        cells: names of the coordinates where they are counts or votes (``mechanism/counts.py``); empty for a gradient.
        preset: a key of ``FIELD_WIDTHS``. share_variances: (j, s²(j)) for j = K, K−1, …, m, in squared grid
            units.
        epsilon, delta: what the plan was calibrated for; each site certifies it for itself.

    Raises:
        BadParametersError: ``BAD_PLAN`` when the values do not fit together.
    """

    unit: Unit
    adjacency: Adjacency
    steps: int
    allowance: int
    sampling_rate: Decimal
    clipping_norm: Decimal
    grid: int
    dimension: int
    observers: int
    sites: int
    minimum_sites: int
    expected_sample: int
    records_per_subject: int
    preset: str
    share_variances: tuple[tuple[int, int], ...]
    epsilon: Decimal
    delta: Decimal
    sites_per_subject: int = 1
    cells: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for complaint, broken in self._complaints():
            if broken:
                raise BadParametersError("BAD_PLAN", complaint, "ask the coordinator for a new offer")

    def _complaints(self) -> list[tuple[str, bool]]:
        counts = [getattr(self, name) for name in _COUNTS]
        if not all(type(count) is int and 0 <= count < MAXIMUM_COUNT for count in counts):
            return [("a plan holds a count that is not a whole number in range", True)]
        decimals = [getattr(self, name) for name in _DECIMALS]
        if not all(isinstance(value, Decimal) and value.is_finite() and value > 0 for value in decimals):
            return [("a plan holds a figure that is not a positive exact decimal", True)]
        if self.observers < 1 or self.minimum_sites - self.observers < HONEST_REMAINDER:
            return [("a plan leaves fewer than two honest sites, or counts no observer", True)]
        if self.sites > MAXIMUM_SITES:
            return [("a plan names more sites than a federation can have", True)]
        people = (self.expected_sample, self.records_per_subject, self.sites_per_subject)
        if min(self.steps, self.grid, self.dimension, *people) < 1:
            return [("a plan has no steps, no grid, no coordinates or no data", True)]
        sizes = tuple(range(self.sites, self.minimum_sites - 1, -1))
        return [
            ("a plan's unit or neighbouring relation is not known", not self._words_known()),
            ("a plan's sampling rate is above one", self.sampling_rate > 1),
            ("a plan's target is not a guarantee", self.epsilon > MAXIMUM_EPSILON or self.delta >= 1),
            ("a plan's packing is not known", self.preset not in list(FIELD_WIDTHS)),
            ("a plan has more sites than its packing adds up", self._beyond_packing()),
            ("a plan wants more sites at least than there are", self.minimum_sites > self.sites),
            ("a plan's subjects are at more sites than there are", self.sites_per_subject > self.sites),
            ("a plan's subjects are at too many sites", self.sites_per_subject > LARGEST_CONTRIBUTIONS),
            ("a plan's cells are not names, one a coordinate", not self._cells_named()),
            ("a plan of counts is rotated, and a rotated coordinate is no count", self.rotated and self.cells != ()),
            ("a plan's grid is too fine for 64-bit sums", self.grid_bound_squared >= MAXIMUM_GRID_BOUND**2),
            (
                "a plan does not name one noise variance for every cohort size, largest cohort first",
                not _is_table(self.share_variances) or tuple(size for size, _ in self.share_variances) != sizes,
            ),
        ]

    def _beyond_packing(self) -> bool:
        return self.preset in list(MOST_SITES) and self.sites > MOST_SITES[self.preset]

    def _words_known(self) -> bool:
        return isinstance(self.unit, Unit) and isinstance(self.adjacency, Adjacency)

    def _cells_named(self) -> bool:
        if self.cells == ():
            return True
        named = isinstance(self.cells, tuple) and all(isinstance(n, str) and _CELL.fullmatch(n) for n in self.cells)
        return named and len(self.cells) == len(set(self.cells)) == self.dimension

    @cached_property
    def grid_bound_squared(self) -> int:
        """C_grid², in squared grid units."""
        return grid_bound_squared(self.grid, self.dimension)

    @property
    def rotated(self) -> bool:
        """Whether each subject's vector is rotated before it is rounded, and the opened sum rotated back."""
        return self.preset in ROTATED

    def rotation(self, transcript: bytes) -> Rotation | None:
        """The rotation of the step whose transcript hash H_t this is; None where the preset has none."""
        return Rotation(self.dimension, transcript) if self.rotated else None

    @property
    def total_steps(self) -> int:
        """Steps that are paid for: planned ones and the allowance."""
        return self.steps + self.allowance

    @property
    def grid_unit(self) -> float:
        """γ = C/u: what one grid unit is worth in the gradient's own units."""
        return float(self.clipping_norm) / self.grid

    def share_variance(self, cohort: int) -> int:
        """s²(cohort).

        Raises:
            BadParametersError: ``NO_SUCH_COHORT`` for a size that the plan has no entry for.
        """
        for size, variance in self.share_variances:
            if size == cohort:
                return variance
        raise BadParametersError(
            "NO_SUCH_COHORT",
            "this plan has no noise for a cohort of this size",
            "the step is abandoned; a new run may allow fewer sites",
        )

    def check_sealing_rule(self, cohort: int, *, observers: int | None = None) -> None:
        """Refuse to seal where the honest remainder would be too small. Whether it suffices for ε:
        accountant.py.

        Args:
            observers: the site's own T where its policy demands more than the plan's.

        Raises:
            BadParametersError: ``NO_SUCH_COHORT``, ``COHORT_TOO_SMALL``, ``NOISE_TOO_SMALL``.
        """
        assumed = self.observers if observers is None else max(observers, self.observers)
        # 1. A cohort between m and K.
        variance = self.share_variance(cohort)
        # 2. At least two honest sites after T have subtracted their shares.
        if cohort < self.minimum_sites or cohort - assumed < HONEST_REMAINDER:
            raise BadParametersError(
                "COHORT_TOO_SMALL",
                "too few sites would be left to hide behind",
                "wait for more sites; the step is abandoned",
            )
        # 3. Shares wide enough that their sum counts as one discrete Gaussian, and that one as a Gaussian.
        if variance < MINIMUM_SHARE_VARIANCE or (cohort - assumed) * variance < MINIMUM_NOISE_VARIANCE:
            raise BadParametersError(
                "NOISE_TOO_SMALL",
                "this step's noise is too narrow to be accounted for",
                "refuse this plan",
            )
        # 4. A table no larger than the sampler's.
        if variance > MAXIMUM_SHARE_VARIANCE:
            raise BadParametersError(
                "NOISE_TOO_LARGE",
                "this step's noise is wider than the sampler draws",
                "refuse this plan",
            )

    def event(self, cohort: int, step: int, *, observers: int | None = None) -> NoiseEvent:
        """What step ``step`` (1, 2, …) with this cohort will have done.

        Raises:
            BadParametersError: ``NO_SUCH_COHORT``, ``NO_SUCH_STEP``.
        """
        if not 1 <= step <= self.total_steps:
            raise BadParametersError("NO_SUCH_STEP", "this plan does not pay for such a step", "the run is over")
        return NoiseEvent(
            variance=self.share_variance(cohort),
            cohort=cohort,
            observers=self.observers if observers is None else observers,
            grid_bound_squared=self.grid_bound_squared,
            sampling_rate=decimal_text(self.sampling_rate),
            dimension=self.dimension,
            step=step,
            contributions=self.sites_per_subject,
        )

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON: integers, and exact decimals as text."""
        value: dict[str, Any] = {"schema": SCHEMA, "unit": self.unit.value, "adjacency": self.adjacency.value}
        value |= {name: getattr(self, name) for name in _COUNTS}
        value |= {name: decimal_text(getattr(self, name)) for name in _DECIMALS}
        value |= {"preset": self.preset, "share_variances": [list(row) for row in self.share_variances]}
        value["cells"] = list(self.cells)
        return value

    @classmethod
    def from_json(cls, value: object) -> Plan:
        """A plan from its JSON; nothing missing, nothing extra.

        Raises:
            BadParametersError: ``BAD_PLAN``, ``BAD_DECIMAL``.
        """
        names = {field.name for field in fields(cls)} | {"schema"}
        if not isinstance(value, dict) or set(value) != names or value["schema"] != SCHEMA:
            raise BadParametersError("BAD_PLAN", "this is not a plan", "ask the coordinator for a new offer")
        table = value["share_variances"]
        if not isinstance(table, list) or not all(isinstance(row, list) for row in table):
            raise BadParametersError("BAD_PLAN", "a plan's table of variances is not a list of pairs")
        if not isinstance(value["cells"], list):
            raise BadParametersError("BAD_PLAN", "a plan's cells are not a list of names")
        if value["unit"] not in list(Unit) or value["adjacency"] not in list(Adjacency):
            raise BadParametersError("BAD_PLAN", "a plan's unit or neighbouring relation is not known")
        return cls(
            unit=Unit(value["unit"]),
            adjacency=Adjacency(value["adjacency"]),
            preset=value["preset"],
            cells=tuple(value["cells"]),
            share_variances=tuple(tuple(row) for row in table),
            sampling_rate=parse_decimal(value["sampling_rate"]),
            clipping_norm=parse_decimal(value["clipping_norm"]),
            epsilon=parse_decimal(value["epsilon"]),
            delta=parse_decimal(value["delta"]),
            **{name: value[name] for name in _COUNTS},
        )

    def digest(self) -> str:
        """ "sha256:<hex>" over the canonical JSON."""
        return value_digest(self.to_json())


def _is_table(table: tuple[tuple[int, int], ...]) -> bool:
    return isinstance(table, tuple) and all(
        isinstance(row, tuple)
        and len(row) == 2
        and all(type(number) is int for number in row)
        and MINIMUM_SHARE_VARIANCE <= row[1] <= MAXIMUM_SHARE_VARIANCE
        for row in table
    )
