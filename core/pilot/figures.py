"""Figures as people read them: the same rounding wherever a report shows one.

Not for: words (report.toml has them) or what is shown (the reports decide).
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal

from ...governance.evidence.page import Words
from ...governance.language import Language

SIGNS = {"for": "✓", "against": "✕", "open": "?"}


def epsilon_text(value: float | Decimal) -> str:
    """Two places, rounded up: the page never shows a smaller epsilon than was spent."""
    exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    return str(exact.quantize(Decimal("0.01"), rounding=ROUND_CEILING))


def round_up(epsilon: float) -> float:
    """Four places, never below what it is."""
    return float(Decimal(repr(epsilon)).quantize(Decimal("0.0001"), rounding=ROUND_CEILING))


def delta_text(value: Decimal) -> str:
    """0.00001 -> 1e-5."""
    mantissa, _, exponent = f"{value.normalize():e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if int(exponent) < -2 else str(value.normalize())


def chance_text(value: float) -> str:
    """A bound on a probability, rounded up to one digit: 3.1e-12 -> ≤ 4e-12."""
    if value == 0:
        return "< 1e-300"  # smaller than any number that was computed with
    digit = Decimal(repr(value)).normalize()
    rounded = digit.quantize(Decimal(1).scaleb(digit.adjusted()), rounding=ROUND_CEILING)
    return f"≤ {delta_text(rounded)}"


def factor_text(value: float) -> str:
    """A factor, rounded up to three places: 1.00213 -> × 1.003."""
    return f"× {Decimal(repr(value)).quantize(Decimal('0.001'), rounding=ROUND_CEILING)}"


def time_text(value: str) -> str:
    """An RFC 3339 time to the minute, in UTC: 2026-11-23 10:00 UTC."""
    return datetime.fromisoformat(value).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def money_text(value: Decimal, currency: str, language: Language) -> str:
    """1,200,000 JPY; in Japanese 1,200,000円."""
    amount = f"{value:,f}"
    return f"{amount}円" if (language, currency) == ("ja", "JPY") else f"{amount} {currency}"


def plain_text(value: Decimal) -> str:
    """A declared decimal as it was meant: 0.30 -> 0.3, 3E+3 -> 3,000."""
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent_text(ratio: Decimal) -> str:
    """0.55 -> 55 %, which no line breaks."""
    return f"{plain_text(ratio * 100)}\N{NO-BREAK SPACE}%"


def score_text(value: float) -> str:
    """A share to three places."""
    return f"{value:.3f}"


def bounds_text(low: float, high: float) -> str:
    """Both ends of an interval."""
    return f"{score_text(low)} – {score_text(high)}"


def listed(names: list[str], language: Language) -> str:
    """Names in a row, as the language separates them."""
    return ("、" if language == "ja" else ", ").join(names)


def known(t: Words, family: str, name: str) -> str:
    """A name of the study or run in words, where the catalogue has some; else the name itself."""
    return t(f"{family}.{name}") if t.has(f"{family}.{name}") else name.replace("_", " ").replace("-", " ")
