"""What a plan costs: the certificate of a run, the cost that a ledger's filter charges, and calibration.

For: :func:`build_plan` (coordinator), :func:`worst_certificate` and :func:`step_cost` (each site, for
    itself), :func:`coalition_table` and :func:`filter_epsilon` (reports).
Not for: who has how much left (``ledger.py``). The only file that imports ``dp_accounting``, and only when asked.

Order of calls: ``build_plan`` → ``worst_certificate`` → ``filter_order`` once a life → ``filter_cap`` →
``step_cost``.

Two numbers, never mixed. The *certificate* is one run's (ε, δ): a pessimistic privacy loss distribution,
fixed before the first touch. The *filter* adds runs that were chosen after seeing earlier ones: Rényi DP at
one integer order fixed for life (Feldman and Zrnic 2021; concurrent runs: Haney et al. 2023). Both for
add-or-remove-one-unit neighbours, each unit at one site only.

Why a continuous Gaussian may certify a discrete one (η² = 4): N_Z(v, S²) is within e^±3κ a coordinate of a
rounding of N(v, S² − 4), for every integer v, so it is post-processing of a Gaussian with σ_eff = √(S² −
4)/C_grid. The sum of j discrete Gaussian shares is within e^±τ a coordinate of one (Kairouz, Liu and
Steinke 2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from ..budget import Adjacency, Budget, Unit, cap_from_nats, cost_from_nats, nats
from ..errors import BadParametersError
from ..event import KNOWN_KINDS, NoiseEvent
from ..mechanism.gaussian import SAMPLER_TOTAL_VARIATION
from ..mechanism.rounding import CERTIFICATE_VARIANCE, choose_grid, grid_bound_squared, share_variance
from .plan import HONEST_REMAINDER, Plan, expected_sample

SAMPLER_DELTA_SHARE = Decimal("0.01")  # of δ, reserved for the distance between the sampler and the exact Gaussian
KAPPA = 1.1e-34  # 2·exp(−2π²η²) at η² = 4, rounded up
SIGMA_DIGITS = 4  # noise multipliers are rounded UP at this decimal
LOSS_INTERVAL = 1e-3  # of the discretised privacy loss; pessimistic, and within 0.04 % of 1e-4
LOSS_INTERVAL_EPSILON = 30.0  # above this ε the interval grows in proportion, so that tables stay small
CALIBRATION_TOLERANCE = 1e-4  # calibration stops when ε is used to within 0.01 %
LARGEST_SIGMA = 1e6
LARGEST_ORDER = 256  # beyond it the best order is at an ε below 0.1, where the conversion hardly changes


def calibrate(*, epsilon: Decimal, delta: Decimal, steps: int, sampling_rate: Decimal) -> float:
    """The noise multiplier σ (noise over sensitivity) with which ``steps`` steps keep (ε, δ); rounded up.

    Raises:
        BadParametersError: ``NO_SUCH_NOISE`` when no reasonable σ reaches ε.
    """
    return float(_calibrate(float(epsilon), _loss_delta(delta), steps, float(sampling_rate)))


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
    sigma = _calibrate(float(epsilon), _loss_delta(delta), steps + allowance, float(sampling_rate))
    sample = expected_sample(sum(subjects), sampling_rate)
    choice = choose_grid(
        sigma=sigma,
        dimension=dimension,
        expected_sample=sample,
        observers=observers,
        sites=sites,
        minimum_sites=minimum_sites,
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
    if not 0 <= observers < cohort:
        raise BadParametersError("COHORT_TOO_SMALL", "no honest share would be left", "fewer observers")
    variance = (cohort - observers) * plan.share_variance(cohort) - CERTIFICATE_VARIANCE
    if variance <= 0:
        raise BadParametersError(
            "NOISE_TOO_SMALL", "this noise is too narrow to certify", "refuse this plan"
        )
    sigma = math.sqrt(variance / plan.grid_bound_squared)
    loss = _loss_epsilon(sigma, _loss_delta(plan.delta), plan.total_steps, float(plan.sampling_rate))
    epsilon = loss + _discreteness(plan, cohort)
    _check_sampler(plan, cohort, epsilon)
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


def filter_order(budget: Budget) -> int:
    """The integer Rényi order at which a budget's filter counts; a function of (ε, δ) alone, fixed for life.

    The order that admits most Gaussian steps: their cost is proportional to α, so cap(α)/α is maximised.

    Raises:
        BadParametersError: ``BUDGET_TOO_SMALL`` when no order leaves anything to spend.
    """
    best = max(range(2, LARGEST_ORDER + 1), key=lambda order: _cap_nats(budget, order) / order)
    if filter_cap(budget, best) == 0:
        raise BadParametersError(
            "BUDGET_TOO_SMALL", "this budget leaves nothing to spend", "a larger epsilon or delta"
        )
    return best


def filter_cap(budget: Budget, order: int) -> int:
    """The most, in ledger units, that may be spent at ``order`` so that (ε, δ) holds; 0 if nothing may."""
    return cap_from_nats(_cap_nats(budget, order))


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
    sampling included (Mironov, Talwar and Zhang 2019, eq. 3); shares add (2α − 1)/(α − 1)·τd (review, 3b).

    Raises:
        BadParametersError: ``UNKNOWN_EVENT``, ``BAD_ORDER``.
    """
    if event.kind not in KNOWN_KINDS:
        raise BadParametersError("UNKNOWN_EVENT", "an event of an unknown kind cannot be charged")
    remainder = (event.cohort - event.observers) * event.variance
    divergence = _renyi(order, float(event.sampling_rate), remainder / event.grid_bound_squared)
    shares = (2 * order - 1) / (order - 1) * _tau(event.variance, event.cohort) * event.dimension
    return cost_from_nats(divergence + shares)


def filter_epsilon(cost: int, order: int, delta: Decimal) -> float:
    """For people: the ε at ``delta`` that a spent cost amounts to; 0.0 for nothing spent."""
    if cost == 0:
        return 0.0
    return max(0.0, nats(cost) + _conversion(order, _loss_delta(delta)))


def _conversion(order: int, delta: float) -> float:
    """ε − ρ where Rényi DP ρ at ``order`` gives (ε, δ) (Canonne, Kamath and Steinke 2020, prop. 12); nats."""
    if type(order) is not int or order < 2:
        raise BadParametersError("BAD_ORDER", "a filter's order is an integer of at least two")
    return math.log1p(-1 / order) - math.log(delta * order) / (order - 1)


def _cap_nats(budget: Budget, order: int) -> float:
    return float(budget.epsilon) - _conversion(order, _loss_delta(budget.delta))


def _loss_delta(delta: Decimal) -> float:
    return float(delta * (1 - SAMPLER_DELTA_SHARE))


def _renyi(order: int, rate: float, sigma_squared: float) -> float:
    """Rényi divergence of order α between N(0, σ²) and its Poisson-sampled shift by 1, the larger
    direction; nats."""
    if rate == 1:
        return order / (2 * sigma_squared)
    # log Σ_k C(α,k) (1−q)^(α−k) q^k exp(k(k−1)/2σ²); its float error, below 1e-13, is inside a unit of the
    # ledger.
    terms = [
        math.log(math.comb(order, k))
        + (order - k) * math.log1p(-rate)
        + k * math.log(rate)
        + k * (k - 1) / (2 * sigma_squared)
        for k in range(order + 1)
    ]
    top = max(terms)
    return max(0.0, top + math.log(math.fsum(math.exp(term - top) for term in terms))) / (order - 1)


def _tau(variance: int, cohort: int) -> float:
    """τ = 10 Σ_{k<|S|} exp(−2π²s²k/(k+1)): a coordinate of a sum of shares against one discrete Gaussian."""
    return 10 * math.fsum(math.exp(-2 * math.pi**2 * variance * k / (k + 1)) for k in range(1, cohort))


def _discreteness(plan: Plan, cohort: int) -> float:
    """The part of ε that pays for integers and for shares: 2·steps·d·(τ + 3κ)."""
    tau = _tau(plan.share_variance(cohort), cohort)
    return 2 * plan.total_steps * plan.dimension * (tau + 3 * KAPPA)


def _check_sampler(plan: Plan, cohort: int, epsilon: float) -> None:
    """The reserved share of δ must cover (1 + e^ε) times the sampler's total variation over the whole run."""
    draws = plan.total_steps * plan.dimension * cohort
    reserved = float(plan.delta * SAMPLER_DELTA_SHARE)
    if math.log(draws * SAMPLER_TOTAL_VARIATION) + max(0.0, epsilon) + math.log(2) > math.log(reserved):
        raise BadParametersError(
            "SAMPLER_NOT_EXACT_ENOUGH",
            "for so large an epsilon the noise tables are not exact enough",
            "fewer steps or more noise",
        )


@lru_cache(maxsize=256)
def _loss_epsilon(sigma: float, delta: float, steps: int, rate: float) -> float:
    """ε of ``steps`` Poisson-sampled Gaussian steps: the discretised privacy loss, always at or above the
    true one."""
    from dp_accounting.pld import privacy_loss_distribution

    rough = _renyi_epsilon(sigma, delta, steps, rate)
    interval = LOSS_INTERVAL * max(1.0, rough / LOSS_INTERVAL_EPSILON)
    if rate == 1:
        # T Gaussian steps, adaptive or not, are exactly one with √T times the shift.
        loss = privacy_loss_distribution.from_gaussian_mechanism(
            sigma / math.sqrt(steps), value_discretization_interval=interval
        )
    else:
        loss = privacy_loss_distribution.from_gaussian_mechanism(
            sigma, sampling_prob=rate, value_discretization_interval=interval
        ).self_compose(steps)
    return float(loss.get_epsilon_for_delta(delta))


def _renyi_epsilon(sigma: float, delta: float, steps: int, rate: float) -> float:
    """An upper bound of ε by Rényi DP at a few orders: loose, quick, and enough to start from."""
    orders = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 28, 40, 64, 128, 256)
    return min(steps * _renyi(order, rate, sigma**2) + _conversion(order, delta) for order in orders)


@lru_cache(maxsize=64)
def _calibrate(epsilon: float, delta: float, steps: int, rate: float) -> Fraction:
    """σ as an exact decimal: the quick Rényi bound from above, then regula falsi (Illinois) on log ε over
    log σ."""
    if steps < 1 or not 0 < rate <= 1:
        raise BadParametersError("BAD_PLAN", "a run has at least one step and a sampling rate within (0, 1]")

    def log_miss(sigma: float) -> float:
        return math.log(max(_loss_epsilon(sigma, delta, steps, rate), 1e-9) / epsilon)

    high = 0.1
    while _renyi_epsilon(high, delta, steps, rate) > epsilon:
        high *= 1.05
        if high > LARGEST_SIGMA:
            raise BadParametersError("NO_SUCH_NOISE", "no noise reaches this epsilon", "a larger epsilon")
    miss_high = log_miss(high)
    low = high * math.exp(miss_high)  # ε falls at least as fast as 1/σ, nearly always
    while (miss_low := log_miss(low)) <= 0:
        high, miss_high, low = low, miss_low, low * 0.8
    miss, side = miss_high, 0
    while not -CALIBRATION_TOLERANCE <= miss <= 0 and high - low > 10**-SIGMA_DIGITS:
        middle = low * (high / low) ** (miss_low / (miss_low - miss_high))
        miss = log_miss(middle)
        # An end that stays twice is given half its weight, or the other would creep (the Illinois rule).
        if miss > 0:
            low, miss_low, miss_high, side = middle, miss, miss_high / (2 if side == 1 else 1), 1
        else:
            high, miss_high, miss_low, side = middle, miss, miss_low / (2 if side == -1 else 1), -1
    return Fraction(math.ceil(high * 10**SIGMA_DIGITS), 10**SIGMA_DIGITS)
