"""What a plan costs: the certificate of a run, the cost that a ledger's filter charges, and calibration.

For: :func:`build_plan` (coordinator), :func:`worst_certificate` and :func:`step_cost` (each site, for
    itself), :func:`coalition_table`, :func:`subject_figure` and :func:`filter_epsilon` (reports).
Not for: who has how much left (``ledger.py``), the mathematics of one step (``loss.py``, ``renyi.py``).

Order of calls: ``build_plan`` → ``worst_certificate`` → ``filter_order`` once a life → ``filter_cap`` →
``step_cost``.

Two numbers, never mixed. The *certificate* is one run's (ε, δ): a pessimistic privacy loss distribution,
fixed before the first touch. The *filter* adds runs that were chosen after seeing earlier ones: Rényi DP at
one integer order fixed for life (Feldman and Zrnic 2021; concurrent runs: Haney et al. 2023). Both for
add-or-remove-one-unit neighbours, each unit at no more sites than the plan says (ADR 0014).

Why a continuous Gaussian may certify a discrete one (η² = 4): N_Z(v, S²) is within e^±3κ a coordinate of a
rounding of N(v, S² − 4), for every integer v, so it is post-processing of a Gaussian with σ_eff = √(S² −
4)/C_grid. The sum of j discrete Gaussian shares is within e^±τ a coordinate of one (Kairouz, Liu and
Steinke 2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ..budget import Adjacency, Budget, Unit, cap_from_nats, cost_from_nats, nats
from ..errors import BadParametersError
from ..event import KNOWN_KINDS, NoiseEvent
from ..mechanism.gaussian import SAMPLER_TOTAL_VARIATION
from ..mechanism.rounding import CERTIFICATE_VARIANCE, choose_grid, grid_bound_squared, share_variance
from .loss import loss_epsilon, noise_for
from .plan import HONEST_REMAINDER, Plan, expected_sample
from .renyi import LARGEST_ORDER, conversion, divergence

SAMPLER_DELTA_SHARE = Decimal("0.01")  # of δ, reserved for the distance between the sampler and the exact Gaussian
# What a draw is charged beside its step, so that no life has more draws than its cap has units: a thousand steps of a
# million coordinates at ten sites pay 0.01 nats, and δ's reserve covers a lifetime ε of up to 28 at δ = 1e-5.
UNITS_PER_DRAW = 1
KAPPA = 1.1e-34  # 2·exp(−2π²η²) at η² = 4, rounded up


@dataclass(frozen=True)
class ExpectedRun:
    """A run that is likely to come, as a filter's order is chosen for it; ``sigma`` is what :func:`calibrate` gives."""

    sigma: float
    sampling_rate: Decimal
    steps: int
    contributions: int = 1

    def nats(self, order: int) -> float:
        """What the whole run would cost at ``order``."""
        return self.steps * divergence(order, float(self.sampling_rate), self.sigma**2, self.contributions)


def calibrate(
    *, epsilon: Decimal, delta: Decimal, steps: int, sampling_rate: Decimal, contributions: int = 1
) -> float:
    """The noise multiplier σ (noise over one vector's norm bound) with which ``steps`` steps keep (ε, δ); rounded up.

    Args:
        contributions: how many vectors one unit may add to a step, each drawn by its own coin.

    Raises:
        BadParametersError: ``NO_SUCH_NOISE`` when no reasonable σ reaches ε, ``TOO_MANY_CONTRIBUTIONS``.
    """
    return float(noise_for(float(epsilon), _loss_delta(delta), steps, float(sampling_rate), contributions))


def build_plan(
    *,
    unit: Unit,
    epsilon: Decimal,
    delta: Decimal,
    steps: int,
    allowance: int,
    sampling_rate: Decimal,
    clipping_norm: Decimal,
    dimension: int,
    sites: int,
    minimum_sites: int,
    observers: int,
    subjects: Sequence[int],
    records_per_subject: int,
    sites_per_subject: int = 1,
    cells: tuple[str, ...] = (),
) -> Plan:
    """A plan that keeps (ε, δ) over ``steps + allowance`` steps against coordinator and ``observers`` sites.

    Args:
        subjects: declared public numbers N_i of units, one a site.
        sites_per_subject: s_max, at how many sites one subject may be; the noise is for that many contributions.

    Raises:
        BadParametersError: ``NO_PRESET_FITS``, ``BAD_PLAN``, ``NO_SUCH_NOISE``, ``CERTIFICATE_ABOVE_TARGET``.
    """
    if unit is Unit.RECORD and records_per_subject != 1:
        raise BadParametersError(
            "RECORD_UNIT_NEEDS_ONE_RECORD",
            "the record is the unit only where no subject has two records",
            "use unit: subject",
        )
    if len(subjects) != sites or minimum_sites - observers < HONEST_REMAINDER or minimum_sites > sites:
        raise BadParametersError(
            "BAD_PLAN",
            "the sites, their least number and the observers do not fit together",
            "at least two sites more than observers, and one declared number of subjects a site",
        )
    sigma = noise_for(
        float(epsilon), _loss_delta(delta), steps + allowance, float(sampling_rate), sites_per_subject
    )
    sample = expected_sample(sum(subjects), sampling_rate)
    choice = choose_grid(
        sigma=sigma,
        dimension=dimension,
        expected_sample=sample,
        observers=observers,
        sites=sites,
        minimum_sites=minimum_sites,
        may_rotate=not cells,
    )
    bound = grid_bound_squared(choice.grid, dimension)
    plan = Plan(
        unit=unit,
        adjacency=Adjacency.ADD_OR_REMOVE_ONE,
        steps=steps,
        allowance=allowance,
        sampling_rate=sampling_rate,
        clipping_norm=clipping_norm,
        grid=choice.grid,
        dimension=dimension,
        observers=observers,
        sites=sites,
        minimum_sites=minimum_sites,
        expected_sample=sample,
        records_per_subject=records_per_subject,
        sites_per_subject=sites_per_subject,
        cells=cells,
        preset=choice.preset,
        share_variances=tuple(
            (cohort, share_variance(sigma, bound, cohort=cohort, observers=observers))
            for cohort in range(sites, minimum_sites - 1, -1)
        ),
        epsilon=epsilon,
        delta=delta,
    )
    if worst_certificate(plan, observers) > epsilon:
        raise BadParametersError(
            "CERTIFICATE_ABOVE_TARGET",
            "the plan does not keep its own target",
            "report this as a fault",
        )
    return plan


def certificate(plan: Plan, *, cohort: int, observers: int) -> float:
    """ε of the whole run (allowance included) at the plan's δ, if every step had this cohort.

    Args:
        observers: how many sites are assumed to subtract their own shares, 0 … cohort − 1.

    Raises:
        BadParametersError: ``NO_SUCH_COHORT``, ``NOISE_TOO_SMALL``.
    """
    return _certified(plan, cohort, observers, plan.sites_per_subject)


def subject_figure(plan: Plan, *, cohort: int, observers: int, contributions: int) -> float:
    """ε of the whole run for somebody who adds ``contributions`` vectors a step, whatever the plan assumes of them.

    For a person with k records where the record is the unit (k contributions, each with a coin of its own), and for a
    person at two sites where the plan allows for one: what holds for them all the same.

    Raises:
        BadParametersError: as :func:`certificate`, and ``TOO_MANY_CONTRIBUTIONS``.
    """
    return _certified(plan, cohort, observers, contributions)


def _certified(plan: Plan, cohort: int, observers: int, contributions: int) -> float:
    if not 0 <= observers < cohort:
        raise BadParametersError("COHORT_TOO_SMALL", "no honest share would be left", "fewer observers")
    variance = (cohort - observers) * plan.share_variance(cohort) - CERTIFICATE_VARIANCE
    if variance <= 0:
        raise BadParametersError(
            "NOISE_TOO_SMALL", "this noise is too narrow to certify", "refuse this plan"
        )
    sigma = math.sqrt(variance / plan.grid_bound_squared)
    loss = loss_epsilon(
        sigma, _loss_delta(plan.delta), plan.total_steps, float(plan.sampling_rate), contributions
    )
    epsilon = loss + _discreteness(plan, cohort)
    draws = plan.total_steps * plan.dimension * cohort
    _check_sampler(plan.delta, draws, epsilon, "fewer steps or more noise")
    return epsilon


def worst_certificate(plan: Plan, observers: int) -> float:
    """The largest :func:`certificate` over the cohort sizes that a site with this T would seal in.

    Raises:
        BadParametersError: ``COHORT_TOO_SMALL`` when it would seal in none.
    """
    sizes = [size for size, _ in plan.share_variances if size - observers >= HONEST_REMAINDER]
    if not sizes:
        raise BadParametersError(
            "COHORT_TOO_SMALL",
            "with so many observers no cohort of this plan has two honest sites left",
            "a smaller T in this site's policy, or more sites",
        )
    for size in sizes:
        plan.check_sealing_rule(size, observers=observers)
    # ε falls as σ_eff grows (more noise is post-processing), so the narrowest remainder decides.
    worst = min(sizes, key=lambda size: (size - observers) * plan.share_variance(size))
    return certificate(plan, cohort=worst, observers=observers) + max(
        _discreteness(plan, size) for size in sizes
    )


def coalition_table(plan: Plan, cohort: int) -> tuple[tuple[int, float], ...]:
    """(a, ε) for every number a = 0 … cohort − 1 of sites that join their views and subtract their shares."""
    return tuple((a, certificate(plan, cohort=cohort, observers=a)) for a in range(cohort))


def filter_order(budget: Budget, expected: Sequence[ExpectedRun] = ()) -> int:
    """The integer Rényi order at which a budget's filter counts, fixed for life before anything is spent.

    Any order is valid if it is fixed first; which is best depends on what will come. With ``expected`` (what
    the first study declares) it is the one at which all of these runs fit into the budget most often; without,
    the one that admits most Gaussian steps, whose cost is proportional to α.

    Raises:
        BadParametersError: ``BUDGET_TOO_SMALL`` when no order leaves anything to spend; what :func:`calibrate` raises.
    """

    def cost(order: int) -> float:
        return math.fsum(run.nats(order) for run in expected) if expected else order

    best = max(range(2, LARGEST_ORDER + 1), key=lambda order: _cap_nats(budget, order) / cost(order))
    if filter_cap(budget, best) == 0:
        raise BadParametersError(
            "BUDGET_TOO_SMALL", "this budget leaves nothing to spend", "a larger epsilon or delta"
        )
    return best


def filter_cap(budget: Budget, order: int) -> int:
    """The most, in ledger units, that may be spent at ``order`` so that (ε, δ) holds; 0 if nothing may.

    Raises:
        BadParametersError: ``SAMPLER_NOT_EXACT_ENOUGH`` where δ's reserve does not cover the draws that it pays for.
    """
    cap = cap_from_nats(_cap_nats(budget, order))
    _check_sampler(budget.delta, cap // UNITS_PER_DRAW, float(budget.epsilon), "a smaller lifetime epsilon")
    return cap


def step_cost(plan: Plan, *, observers: int, order: int) -> int:
    """What one step is charged at ``order``, in ledger units: the dearest of the cohort sizes of the plan.

    Sizes in which a site with this T would not seal cost nothing, because it never seals in them.
    """
    sizes = [size for size, _ in plan.share_variances if size - observers >= HONEST_REMAINDER]
    if not sizes:
        raise BadParametersError("COHORT_TOO_SMALL", "no cohort of this plan has two honest sites left")
    return max(event_cost(plan.event(size, 1, observers=observers), order) for size in sizes)


def event_cost(event: NoiseEvent, order: int) -> int:
    """Rényi cost of one event at an integer order ≥ 2, in ledger units.

    At integer orders the discrete Gaussian's divergence is the Gaussian's own formula (review, 3a), Poisson
    sampling included; shares add (2α − 1)/(α − 1)·τd (review, 3b), and 3κd where ``given_up`` is used.
    Each draw costs ``UNITS_PER_DRAW`` more: what a life's sampler may be off by is then bounded by its cap.

    Raises:
        BadParametersError: ``UNKNOWN_EVENT``, ``BAD_ORDER``.
    """
    if event.kind not in KNOWN_KINDS:
        raise BadParametersError("UNKNOWN_EVENT", "an event of an unknown kind cannot be charged")
    remainder = (event.cohort - event.observers) * event.variance
    spread = divergence(
        order,
        float(event.sampling_rate),
        remainder / event.grid_bound_squared,
        event.contributions,
        given_up=CERTIFICATE_VARIANCE / event.grid_bound_squared,
    )
    distance = (_tau(event.variance, event.cohort) + 3 * KAPPA) * event.dimension
    draws = event.dimension * event.cohort
    return cost_from_nats(spread + (2 * order - 1) / (order - 1) * distance) + UNITS_PER_DRAW * draws


def filter_epsilon(cost: int, order: int, delta: Decimal) -> float:
    """For people: the ε at ``delta`` that a spent cost amounts to; 0.0 for nothing spent."""
    if cost == 0:
        return 0.0
    return max(0.0, nats(cost) + conversion(order, _loss_delta(delta)))


def _cap_nats(budget: Budget, order: int) -> float:
    return float(budget.epsilon) - conversion(order, _loss_delta(budget.delta))


def _loss_delta(delta: Decimal) -> float:
    return float(delta * (1 - SAMPLER_DELTA_SHARE))


def _tau(variance: int, cohort: int) -> float:
    """τ = 10 Σ_{k<|S|} exp(−2π²s²k/(k+1)): a coordinate of a sum of shares against one discrete Gaussian."""
    return 10 * math.fsum(math.exp(-2 * math.pi**2 * variance * k / (k + 1)) for k in range(1, cohort))


def _discreteness(plan: Plan, cohort: int) -> float:
    """The part of ε that pays for integers and for shares: 2·steps·d·(τ + 3κ)."""
    tau = _tau(plan.share_variance(cohort), cohort)
    return 2 * plan.total_steps * plan.dimension * (tau + 3 * KAPPA)


def _check_sampler(delta: Decimal, draws: int, epsilon: float, hint: str) -> None:
    """The reserved share of δ must cover (1 + e^ε) times the sampler's total variation over so many draws."""
    reserved = float(delta * SAMPLER_DELTA_SHARE)
    if math.log(max(1, draws) * SAMPLER_TOTAL_VARIATION) + max(0.0, epsilon) + math.log(2) > math.log(reserved):
        raise BadParametersError(
            "SAMPLER_NOT_EXACT_ENOUGH",
            "for so large an epsilon the noise tables are not exact enough",
            hint,
        )
