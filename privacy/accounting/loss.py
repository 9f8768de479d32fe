"""The privacy loss distribution of one run, always at or above the true one; and the noise that keeps a target.

For: :func:`loss_epsilon` (certificates) and :func:`noise_for` (calibration). The only file that imports
    ``dp_accounting``, and only when asked.
Not for: what a ledger charges (``renyi.py``), integers and shares of noise (``accountant.py`` allows for them).

One step of somebody who contributes s vectors of norm ≤ 1, each drawn by its own coin of rate q, all under
one noise N(0, σ²): the pair N(0, σ²) and Σ_k P[Binomial(s, q) = k] N(k, σ²) dominates it, whichever way the
vectors point (Choquette-Choo, Ganesh, Steinke and Thakurta 2024, corollary 4.7). Both directions, add and
remove, are composed and the worse one counts. s = 1 is the Poisson-sampled Gaussian. Discretisation is
pessimistic (Doroshenko et al. 2022).
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

from ..errors import BadParametersError
from ..event import LARGEST_CONTRIBUTIONS
from .renyi import conversion, divergence, split_bound

SIGMA_DIGITS = 4  # noise multipliers are rounded UP at this decimal
LOSS_INTERVAL = 1e-3  # of the discretised privacy loss; pessimistic, and within 0.04 % of 1e-4
LOSS_INTERVAL_SMALL = 2.0  # below this ε the interval shrinks in proportion, or at ε = 0.5 it would cost 0.3 %
LOSS_INTERVAL_LARGE = 30.0  # above this ε it grows in proportion, so that tables stay small
LARGEST_TABLE = 2e5  # values of one step's loss; narrow noise with a large δ would ask for a hundred times that
TAIL = 10  # standard deviations of the noise, beyond which dp_accounting counts a loss as infinite (e^−50)
MIXTURE_STEPS = 100  # the interval's price grows with steps and its square: with fewer steps a mixture's is wider
CALIBRATION_TOLERANCE = 1e-4  # calibration stops when ε is used to within 0.01 %
LARGEST_SIGMA = 1e6
SMALLEST_SIGMA = 0.02  # one full-batch step of it has ε ≈ 1,500, above every target; narrower, floats overflow
SMALLEST_EPSILON = 0.01  # a target or a rough figure below counts as this, or the loss's table would have no end
# How dp_accounting inverts a mixture's loss: to within η; and where a loss is within w of its limit, at infinity.
INVERSION_STEP = 1e-6  # η
INVERSION_WINDOW, INVERSION_LEAST_WINDOW = 1e-5, 1e-8  # w: a share of the limit, and this much more


@lru_cache(maxsize=256)
def loss_epsilon(sigma: float, delta: float, steps: int, rate: float, contributions: int = 1) -> float:
    """ε at ``delta`` of ``steps`` steps of somebody who contributes so many vectors; never below the true one.

    Args:
        sigma: noise over the norm bound of one vector. rate: q of each coin, in (0, 1].

    Raises:
        BadParametersError: ``TOO_MANY_CONTRIBUTIONS``; ``NOISE_TOO_SMALL`` where the numerical error is not below δ.
    """
    check_contributions(contributions)
    rough = max(quick_epsilon(sigma, delta, steps, rate, contributions), SMALLEST_EPSILON)
    # Building a mixture's table takes seconds; composing it, next to nothing.
    wider = 1.0 if contributions == 1 or rate == 1 else math.sqrt(max(1.0, MIXTURE_STEPS / steps))
    shift = contributions * math.sqrt(steps if rate == 1 else 1) / sigma
    least = shift * (shift / 2 + TAIL) / LARGEST_TABLE
    while True:
        interval = LOSS_INTERVAL * max(wider * min(1.0, rough / LOSS_INTERVAL_SMALL), rough / LOSS_INTERVAL_LARGE)
        interval = max(interval, least)
        epsilon = _composed(sigma, delta, steps, rate, contributions, interval)
        # The quick bound may be far off for a mixture, and the interval then too wide: once more, from what was found.
        if interval <= max(wider * LOSS_INTERVAL, least) or epsilon > rough / 2:
            return epsilon
        rough = max(epsilon, SMALLEST_EPSILON)


def _composed(
    sigma: float, delta: float, steps: int, rate: float, contributions: int, interval: float
) -> float:
    from dp_accounting.pld import privacy_loss_distribution

    if rate == 1:
        # T Gaussian steps, adaptive or not, are exactly one with √T times the shift; all s vectors are always there.
        loss = privacy_loss_distribution.from_gaussian_mechanism(
            sigma / (contributions * math.sqrt(steps)), value_discretization_interval=interval
        )
        return float(loss.get_epsilon_for_delta(delta))
    if contributions == 1:
        loss = privacy_loss_distribution.from_gaussian_mechanism(
            sigma, sampling_prob=rate, value_discretization_interval=interval
        )
        return float(loss.self_compose(steps).get_epsilon_for_delta(delta))
    left = delta - steps * _shortfall(sigma, rate, contributions)
    if left <= 0:
        raise BadParametersError("NOISE_TOO_SMALL", "this noise is too narrow to certify", "refuse this plan")
    counts = range(contributions + 1)
    loss = privacy_loss_distribution.from_mixture_gaussian_mechanism(
        sigma,
        [float(k) for k in counts],
        [math.comb(contributions, k) * rate**k * (1 - rate) ** (contributions - k) for k in counts],
        value_discretization_interval=interval,
    )
    return float(loss.self_compose(steps).get_epsilon_for_delta(left))


def _shortfall(sigma: float, rate: float, contributions: int) -> float:
    """What dp_accounting's mixture may be short of in one step, as mass of an infinite loss; doubled, for its floats.

    It reads δ(ε) = P(L > ε) − e^ε Q(L > ε) at a wrong place, hence never above the true δ(ε), short by at most
    f(x)·(s/σ²)·η²/2 (the density, times the loss's slope, over η), and at infinity by w·P₀(L within w of its limit).
    Mass e at infinity makes 1 − (1 − e)(1 − δ) of δ, so e is the shortfall over 1 − δ(ε) = P(L ≤ ε) + e^ε Q(L > ε).
    The density is e^ε times Q's, and either Q(L > ε) ≥ ½, or x is less than s into P's tail, whose hazard is at most
    (0.8 + s/σ)/σ: so is the quotient. In T steps the masses add up to at most T·e, whatever the losses are.
    """
    misplaced = (0.8 + contributions / sigma) / sigma * contributions / sigma**2 * INVERSION_STEP**2 / 2
    # P₁/P₀ ≥ (1 − q)^s (1 + s·q/(1 − q)·e^((x − ½)/σ²)): within w of the limit this must be below e^w
    window = INVERSION_WINDOW * -contributions * math.log1p(-rate) + INVERSION_LEAST_WINDOW
    edge = 0.5 + sigma**2 * math.log(math.expm1(window) * (1 - rate) / (contributions * rate))
    return 2 * (misplaced + window * 0.5 * math.erfc(-edge / (sigma * math.sqrt(2))))


def check_contributions(contributions: int) -> None:
    """Refuse more vectors of one unit than are accounted for. Raises ``BadParametersError`` TOO_MANY_CONTRIBUTIONS."""
    if type(contributions) is not int or not 1 <= contributions <= LARGEST_CONTRIBUTIONS:
        raise BadParametersError(
            "TOO_MANY_CONTRIBUTIONS",
            f"one unit may add at most {LARGEST_CONTRIBUTIONS} vectors to a step, and at least one",
            "a smaller max_sites_per_subject, or fewer records",
        )


def quick_epsilon(sigma: float, delta: float, steps: int, rate: float, contributions: int = 1) -> float:
    """An upper bound of ε by Rényi DP at a few orders: loose, quick, and enough to start from."""
    orders = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 28, 40, 64, 128, 256)
    step = divergence if contributions == 1 else split_bound
    return min(steps * step(order, rate, sigma**2, contributions) + conversion(order, delta) for order in orders)


@lru_cache(maxsize=64)
def noise_for(epsilon: float, delta: float, steps: int, rate: float, contributions: int = 1) -> Fraction:
    """The σ that keeps (ε, δ), rounded up, as an exact decimal: the quick Rényi bound from above, then regula falsi
    (Illinois) on log ε over log σ.

    Raises:
        BadParametersError: ``BAD_PLAN``, ``NO_SUCH_NOISE``, and what :func:`loss_epsilon` raises.
    """
    if steps < 1 or not 0 < rate <= 1:
        raise BadParametersError("BAD_PLAN", "a run has at least one step and a sampling rate within (0, 1]")
    check_contributions(contributions)

    def log_miss(sigma: float) -> float:
        try:
            found = loss_epsilon(sigma, delta, steps, rate, contributions)
        except BadParametersError:  # too narrow to certify: whatever its ε is, it is too much
            found = math.e * epsilon
        return math.log(max(found, 1e-9) / epsilon)

    high = 0.1
    while quick_epsilon(high, delta, steps, rate, contributions) > epsilon or log_miss(high) > 0:
        high *= 1.05
        if high > LARGEST_SIGMA:
            raise BadParametersError("NO_SUCH_NOISE", "no noise reaches this epsilon", "a larger epsilon")
    miss_high = log_miss(high)
    low = max(high * math.exp(miss_high), SMALLEST_SIGMA)  # ε falls at least as fast as 1/σ, nearly always
    while (miss_low := log_miss(low)) <= 0:
        if low == SMALLEST_SIGMA:
            return Fraction(str(SMALLEST_SIGMA))  # δ alone covers it: with less noise no more could be shown
        high, miss_high, low = low, miss_low, max(low * 0.8, SMALLEST_SIGMA)
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
