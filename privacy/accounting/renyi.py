"""Rényi divergence of one step at an integer order, in closed form or to the last float, and what it means as (ε, δ).

For: :func:`divergence` (what ``accountant.event_cost`` charges) and :func:`conversion` (from a sum of them to ε).
Not for: one run's certificate (``loss.py``), or which order counts (``accountant.filter_order``).

The step of somebody who contributes s vectors (s = 1 unless a subject is at several sites): each of norm ≤ 1
in units of C_grid and each drawn by its own coin of rate q, under one noise N(0, σ²). Worst is that all point
one way (Choquette-Choo, Ganesh, Steinke and Thakurta 2024, corollary 4.7), so P₁ = Σ_k b_k N(k, σ²) with
b = Binomial(s, q), and P₀ = N(0, σ²). Both directions count, for a person may be added or removed.

Another bound of both, never below: N(0, σ²) is the sum of s noises N(0, σ²/s), one beside each coin, so the step is
post-processing of s independent steps of one vector, and costs at most s times :func:`divergence` at σ²/s.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParametersError

LARGEST_ORDER = 256  # beyond it the best order is at an ε below 0.1, where the conversion hardly changes
FLOAT_ERROR = 1e-11  # nats, added where several contributions are summed: ten units of the ledger
QUADRATURE_LOG_ERROR = 40.0  # tails and trapezoid rule each miss a factor of at most 1 ± e^−40


def divergence(
    order: int, rate: float, sigma_squared: float, contributions: int = 1, *, given_up: float = 0.0
) -> float:
    """The larger of D_α(P₁‖P₀) and D_α(P₀‖P₁), in nats.

    Args:
        given_up: what the second direction gives up of the variance for discreteness, in the same units. The first
            needs nothing: at integer orders E₀[Π L_v] = exp(Σ_{i≠j} ⟨v_i, v_j⟩/2σ²) for integer noise as for real.

    Raises:
        BadParametersError: ``BAD_ORDER``; ``NOISE_TOO_SMALL`` when nothing is left of the variance.
    """
    check_order(order)
    if rate == 1:
        return order * contributions**2 / (2 * sigma_squared)
    if contributions == 1:
        # x → 1 − x swaps the two components, so D(P₁‖P₀) is the larger (Mironov, Talwar and Zhang 2019, section 3).
        return _added_one(order, rate, sigma_squared)
    if sigma_squared <= given_up:
        raise BadParametersError("NOISE_TOO_SMALL", "this noise is too narrow to account for", "refuse this plan")
    added = _added(order, rate, sigma_squared, contributions)
    return max(added, _removed(order, rate, sigma_squared - given_up, contributions)) + FLOAT_ERROR


def split_bound(order: int, rate: float, sigma_squared: float, contributions: int) -> float:
    """s divergences of one vector at σ²/s: above :func:`divergence`, and quick (the module says why)."""
    return contributions * divergence(order, rate, sigma_squared / contributions)


def conversion(order: int, delta: float) -> float:
    """ε − ρ where Rényi DP ρ at ``order`` gives (ε, δ) (Canonne, Kamath and Steinke 2020, prop. 12); nats."""
    check_order(order)
    return math.log1p(-1 / order) - math.log(delta * order) / (order - 1)


def check_order(order: int) -> None:
    """Refuse what is not an integer of at least two. Raises ``BadParametersError`` BAD_ORDER."""
    if type(order) is not int or order < 2:
        raise BadParametersError("BAD_ORDER", "a filter's order is an integer of at least two")


def _log_weights(rate: float, contributions: int) -> list[float]:
    """log P[Binomial(s, q) = k] for k = 0 … s."""
    return [
        math.log(math.comb(contributions, k)) + k * math.log(rate) + (contributions - k) * math.log1p(-rate)
        for k in range(contributions + 1)
    ]


def _added_one(order: int, rate: float, sigma_squared: float) -> float:
    """log Σ_k C(α,k) (1−q)^(α−k) q^k exp(k(k−1)/2σ²)/(α − 1) (Mironov, Talwar and Zhang 2019, eq. 3)."""
    terms = [
        math.log(math.comb(order, k))
        + (order - k) * math.log1p(-rate)
        + k * math.log(rate)
        + k * (k - 1) / (2 * sigma_squared)
        for k in range(order + 1)
    ]
    # its float error, below 1e-13, is inside a unit of the ledger
    return max(0.0, _log_sum(np.array(terms))) / (order - 1)


def _added(order: int, rate: float, sigma_squared: float, contributions: int) -> float:
    """D_α(P₁‖P₀): with z = e^(x/σ²), P₁/P₀ = f(z) = Σ_k b_k e^(−k²/2σ²) z^k and E₀[z^m] = e^(m²/2σ²), so the
    moment is Σ_m [z^m] f^α · e^(m²/2σ²), all terms positive."""
    factor = np.array([w - k * k / (2 * sigma_squared) for k, w in enumerate(_log_weights(rate, contributions))])
    power = np.zeros(1)  # log coefficients of f^0, f^1, … f^α
    for _ in range(order):
        longer = np.full(len(power) + contributions, -np.inf)
        for k, weight in enumerate(factor):
            longer[k : k + len(power)] = np.logaddexp(longer[k : k + len(power)], power + weight)
        power = longer
    m = np.arange(len(power))
    return max(0.0, _log_sum(power + m * m / (2 * sigma_squared))) / (order - 1)


def _removed(order: int, rate: float, sigma_squared: float, contributions: int) -> float:
    """D_α(P₀‖P₁) = log E₀[R^(1−α)]/(α−1), R = P₁/P₀, by the trapezoid rule with a proven error.

    Where |Im x| ≤ a = πσ²/3s, each term of R turns by at most π/3, so |R(x + iy)| ≥ R(x)/2: the integrand is
    analytic there and at most 2^(α−1) e^(a²/2σ²) times itself on the real line. The rule of width h then misses
    at most a share 2·2^(α−1) e^(a²/2σ²)/(e^(2πa/h) − 1) (Trefethen and Weideman 2014, theorem 5.1). R ≥ (1 − q)^s
    bounds the tails, and the moment itself is at least 1 (Jensen).
    """
    sigma, inverse = math.sqrt(sigma_squared), order - 1
    strip = min(math.pi * sigma_squared / (3 * contributions), 6 * sigma)
    blowup = inverse * math.log(2) + strip**2 / (2 * sigma_squared)
    width = 2 * math.pi * strip / (QUADRATURE_LOG_ERROR + 1 + blowup)
    reach = sigma * math.sqrt(2 * (QUADRATURE_LOG_ERROR + 1 - inverse * contributions * math.log1p(-rate)))
    x = np.arange(-reach, reach + width, width)
    logs = [w + (k * x - k * k / 2) / sigma_squared for k, w in enumerate(_log_weights(rate, contributions))]
    ratio = np.logaddexp.reduce(logs, axis=0)
    density = -(x * x) / (2 * sigma_squared) - math.log(sigma * math.sqrt(2 * math.pi))
    return max(0.0, math.log(width) + _log_sum(density - inverse * ratio)) / inverse


def _log_sum(logs: NDArray[np.float64]) -> float:
    top = float(logs.max())
    return top + math.log(math.fsum(np.exp(logs - top)))
