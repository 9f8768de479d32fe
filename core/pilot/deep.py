"""What ``sekisho doctor --deep`` adds: the privacy mechanism audited on this machine, through the real parts.

For: ``deep_checks``: the clipping rule against an oracle in fractions; noise alone, as a site opens it; and white-box
audits at ε = 1 and 8 by canaries, which must find neither more nor much less than is claimed, with the noise beside
them held to what was charged: an audit of leaks alone sees half of the noise missing, and not one share of three. Not
for: anybody's data or study (everything runs on canaries in a temporary folder), or sampled runs: every audit takes
everybody in every step (q = 1), where claims are tight.

Order of calls: ``deep_checks(progress)`` -> the checks, in order. A coded error on the way counts as a check that did
not hold: a mechanism that refuses to run protects nobody's study.

What is claimed is the certificate of exactly this observer: one who opens the sums and has no share of its own to
subtract (a = 0); that of larger coalitions is held by tests/federation/test_audits.py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...governance.errors import GovernanceError
from ...privacy.accounting.accountant import build_plan, certificate
from ...privacy.accounting.plan import Plan
from ...privacy.auditing.clipcheck import Clipping, check_clipping
from ...privacy.auditing.gdp import CONFIDENCE_MISS, LEAST_POWER, Outcome, Verdict, judge
from ...privacy.auditing.membership import one_run_bound, one_run_cap
from ...privacy.auditing.noisecheck import (
    Finding,
    check_last_bits,
    check_moments,
    check_one_after_another,
    check_shape,
    check_unrelated,
    check_variance,
)
from ...privacy.budget import Unit
from ...privacy.errors import PrivacyError
from ...privacy.mechanism.randomness import SecretStream
from ..errors import CoreError
from ..training.training import TrainingData, train_step
from .canary_run import Opened, run_canaries
from .canary_study import Design
from .check import Check
from .federation import Progress, nothing_shown

# Noise alone: so many numbers that a variance off by two per cent shows.
NOISE = Design(epsilon="3", steps=5, canaries=0, spare=60_000)
# Canaries enough that half the noise would be seen at a false alarm of 1 in 100,000; a larger ε needs fewer.
AUDITS = MappingProxyType(
    {
        "1": Design(epsilon="1", steps=6, canaries=6000, records=1),
        "8": Design(epsilon="8", steps=6, canaries=1000),
    }
)
SUBJECTS, DIMENSION = 60, 48  # of the clipping check; each number of it costs the oracle a few microseconds


def deep_checks(progress: Progress = nothing_shown) -> tuple[Check, ...]:
    """All audits, in order; a minute or two."""
    stages: Sequence[tuple[str, Callable[[], list[Check]]]] = (
        ("clipping", clipping_checks),
        ("noise", _noise),
        *((f"canaries at epsilon {epsilon}", _canaries(design)) for epsilon, design in AUDITS.items()),
    )
    found: list[Check] = []
    for number, (stage, checks) in enumerate(stages, start=1):
        found += _tried(stage, checks)
        progress("audits", number, len(stages))
    return tuple(found)


def _tried(stage: str, checks: Callable[[], list[Check]]) -> list[Check]:
    try:
        return checks()
    except (CoreError, GovernanceError, PrivacyError) as error:
        return [Check(f"the audit of {stage} runs to its end", False, f"refused with {error.code}: {error}")]


# -- clipping ------------------------------------------------------------------------------------------------------


def clipping_checks() -> list[Check]:
    """Every kind of gradient through the real step, one subject at a time and all together, against the oracle."""
    plan, records = _clipping_plan(), _hard_records()
    rows = np.concatenate(records)
    data = TrainingData(_Given(plan.dimension), rows, np.zeros(len(rows)), _places(records))
    stream = SecretStream().derive(b"doctor/clipping")

    def sums(subjects: Sequence[str]) -> NDArray[np.int64]:
        # the same secret stream each time, so that a subject alone is what it is among the others
        update = train_step(
            data, subjects, np.zeros(plan.dimension), plan=plan, step=1, stream=stream.derive(b"the same")
        )
        return update.clipped.total

    names = list(data.rows_of)
    vectors = np.stack([sums([name]) for name in names])
    rule = Clipping(plan.clipping_norm, plan.grid, plan.grid_bound_squared)
    return [_told("each subject is clipped and rounded as an oracle in exact fractions has it",
                  check_clipping(records, vectors, sums(names), rule))]  # fmt: skip


def _clipping_plan() -> Plan:
    return build_plan(
        unit=Unit.SUBJECT, epsilon=Decimal(3), delta=Decimal("0.00001"), steps=10, allowance=0,
        sampling_rate=Decimal(1), clipping_norm=Decimal("0.4"), dimension=DIMENSION, sites=3, minimum_sites=3,
        observers=1, subjects=[SUBJECTS, 1, 1], records_per_subject=4,
    )  # fmt: skip


def _hard_records() -> list[NDArray[np.float64]]:
    """Each subject's gradients: short, long, vast, tiny, none, on the bound, and such as are no numbers at all."""
    generator = np.random.default_rng(1)  # public test values, not noise
    records = [
        generator.normal(size=(1 + number % 4, DIMENSION)) * 10.0 ** (number % 9 - 4) for number in range(SUBJECTS)
    ]
    records[0] = np.zeros((1, DIMENSION))
    records[1][0, 0] = np.nan
    records[2][0, 1] = np.inf
    records[3] = np.full((1, DIMENSION), 1e300)
    records[4] = np.full((1, DIMENSION), 1e-300)
    records[5] = np.eye(1, DIMENSION) * 0.4
    records[6] = np.concatenate([np.eye(1, DIMENSION) * 0.4] * 3)  # each record within C, the subject three times C
    return records


def _places(records: Sequence[NDArray[np.float64]]) -> dict[str, NDArray[np.int64]]:
    ends = np.cumsum([len(own) for own in records])
    both = zip(records, ends.tolist(), strict=True)
    return {f"{number:03d}": np.arange(end - len(own), end) for number, (own, end) in enumerate(both)}


@dataclass(frozen=True)
class _Given:
    """A task whose rows are its gradients."""

    dimension: int

    def initial(self) -> NDArray[np.float64]:
        return np.zeros(self.dimension)

    def load(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.zeros((len(texts), self.dimension))

    def linearise(self, rows: Any, reference: NDArray[np.float64]) -> None:
        return

    def gradients(
        self, rows: NDArray[np.float64], labels: NDArray[np.float64], vector: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return rows

    def scores(self, rows: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.zeros(len(rows))


# -- noise alone ---------------------------------------------------------------------------------------------------


def _noise() -> list[Check]:
    opened = _opened(NOISE)
    return [_told(name, finding) for name, finding in noise_findings(opened, spare=NOISE.spare)]


def noise_findings(opened: Opened, *, spare: int) -> Iterator[tuple[str, Finding]]:
    """What opened sums say of the noise in them, at the coordinates that no subject touches."""
    quiet = untouched(opened, spare=spare)
    variance, shares = opened.plan.share_variance(opened.cohort), opened.cohort
    everything = quiet.ravel()
    yield "the noise in an opened sum has the moments that were charged", check_moments(
        everything, variance=variance, shares=shares
    )
    yield "the noise in an opened sum has the shape of its shares' sum", check_shape(
        everything, variance=variance, shares=shares
    )
    yield "the last bits of an opened sum are those of exact integers", check_last_bits(
        everything, variance=variance, shares=shares
    )
    yield "no number of the noise tells of another", check_one_after_another(everything)
    pairs = [(quiet[i], quiet[j]) for i in range(len(quiet)) for j in range(i)]
    yield "no step's noise tells of another step's", check_unrelated(pairs, "one step and another")


def untouched(opened: Opened, *, spare: int) -> NDArray[np.int64]:
    """int64 [steps, n]: the coordinates of canaries that took no part, and the last ``spare`` features."""
    features = np.arange(opened.member.size + spare)
    nobody = np.append(~opened.member, np.ones(spare, dtype=np.bool_))
    quiet: NDArray[np.int64] = opened.sums[:, features[nobody]]
    return quiet


def check_beside(opened: Opened, *, spare: int = 0) -> Finding:
    """Whether the noise beside the canaries of a run is all there: every site's share of it."""
    quiet = untouched(opened, spare=spare).ravel()
    return check_variance(quiet, variance=opened.plan.share_variance(opened.cohort), shares=opened.cohort)


# -- canaries ------------------------------------------------------------------------------------------------------


def _canaries(design: Design) -> Callable[[], list[Check]]:
    def checks() -> list[Check]:
        opened = _opened(design)
        epsilon = f"in a run of ε = {design.epsilon}"
        verdict = audit(opened)
        charged = "started and disclosed at every site" if opened.charged else "not as many as were opened"
        return [
            Check(f"no more leaks of one canary than is claimed, as far as this test can tell, {epsilon}",
                  verdict.outcome is Outcome.HELD, verdict_in_words(verdict, opened),
                  verdict_in_figures(verdict, opened)),
            _told(f"no site's share of the noise is missing {epsilon}", check_beside(opened, spare=design.spare)),
            Check(f"every step {epsilon} was charged", opened.charged,
                  f"{len(opened.sums)} steps, {charged}"),
        ]  # fmt: skip

    return checks


def audit(opened: Opened, *, observers: int = 0) -> Verdict:
    """The white-box audit of one run against its certificate for a coalition of ``observers``.

    Where they are any, ``opened.sums`` are without what they sent themselves.
    """
    scores, member = _scores(opened.sums, opened.member), opened.member
    return judge(
        scores[member], scores[~member],
        threshold=opened.plan.steps * opened.plan.grid / 2,
        epsilon=certificate(opened.plan, cohort=opened.cohort, observers=observers),
        delta=float(opened.plan.delta),
    )  # fmt: skip


def verdict_in_words(verdict: Verdict, opened: Opened) -> str:
    """What an audit saw, of whom and for whom, what would convict, and what it would have missed."""
    told = verdict_in_figures(verdict, opened)
    return (
        f"{verdict.outcome}: about one person added or removed, for somebody who opens the sums and added no share: "
        f"claimed ε {told['claimed']:.2f} (δ {told['delta']:g}; {told['claimed_for_a_site']:.2f} for a site that knows "
        f"its own share); measured between {verdict.epsilon_low:.2f} and {verdict.epsilon_high:.2f}, each end wrong in "
        f"at most 1 of 20 tests; only a lower end above the claim at a false alarm of {one_in(verdict.false_alarm)} "
        f"would convict, and an upper end below it would say that the canaries did not arrive; tried on "
        f"{told['people']:,} made-up people, each in or out by a coin, who is in being in every step (q = 1; no audit "
        f"here is of a sampled run); smallest loss of noise that it would have found, {LEAST_POWER:.0%} sure: noise "
        f"divided by {verdict.least_loss:.2f}. A one-run test of the same run, which is weak, says at least "
        f"{told['weak_lower']:.2f} and can say {told['weak_cap']:.1f} at most"
    )


def verdict_in_figures(verdict: Verdict, opened: Opened) -> dict[str, float]:
    """The same as figures; each ε is of one person added or removed, at ``delta``.

    ``claimed``, ``lower`` and ``upper`` are for somebody who opens the sums and added no share;
    an infinite one is no bound.
    """
    delta, member = float(opened.plan.delta), opened.member
    return {
        "claimed": certificate(opened.plan, cohort=opened.cohort, observers=0),
        "claimed_for_a_site": certificate(opened.plan, cohort=opened.cohort, observers=1),
        "delta": delta,
        "lower": verdict.epsilon_low,
        "upper": verdict.epsilon_high,
        "bounds_miss": CONFIDENCE_MISS,
        "false_alarm": verdict.false_alarm,
        "people": member.size,
        "steps": len(opened.sums),
        "least_loss": verdict.least_loss,
        "least_power": LEAST_POWER,
        "weak_lower": one_run_bound(_scores(opened.sums, member), member, delta=delta),
        "weak_cap": one_run_cap(member.size, delta=delta),
    }


def one_in(chance: float) -> str:
    """A small chance as people say it: 1 in 100,000."""
    return f"1 in {round(1 / chance):,}"


def _scores(sums: NDArray[np.int64], member: NDArray[np.bool_]) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = sums[:, : member.size].sum(axis=0).astype(np.float64)
    return scores


def _opened(design: Design) -> Opened:
    with tempfile.TemporaryDirectory() as folder:
        return run_canaries(design, Path(folder) / "study")


def _told(name: str, finding: Finding) -> Check:
    seen = f"{finding.seen}; false alarm {one_in(finding.false_alarm)}"
    return Check(name, finding.held, seen, {"false_alarm": finding.false_alarm})
