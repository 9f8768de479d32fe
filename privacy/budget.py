"""The words of a guarantee: whose privacy, between which neighbours, how much; and the integers that a
ledger adds.

For: :class:`Unit`, :class:`Adjacency`, :class:`Budget`; exact decimals as text; Rényi costs as integers, so
    that addition is exact, order does not matter, and every rounding goes against the spender.
Not for: what a plan costs (``accounting/accountant.py``) or who has spent what (``accounting/ledger.py``).

Order of calls: ``Budget(...)`` → ``cap_from_nats`` once a life, ``cost_from_nats`` for every charge.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from .errors import BadParametersError

# One nat is 2^40 units: a step's rounding (at most two units, 2e-12 nats) is lost beside any real cost, and
# a cap of 1,000 nats stays below 2^50, far inside SQLite's signed 64 bits.
COST_PER_NAT = 2**40
MAXIMUM_EPSILON = Decimal(1000)  # above it a budget is a slip of the pen, and integer costs stay below 2^50

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,40})?")


class Unit(StrEnum):
    """Whose presence is hidden: everything of one person, or one record."""

    SUBJECT = "subject"
    RECORD = "record"


class Adjacency(StrEnum):
    """Which data sets are neighbours. There is one relation; figures under another are not comparable."""

    ADD_OR_REMOVE_ONE = "add-or-remove-one"


@dataclass(frozen=True)
class Budget:
    """(ε, δ) for one unit under one neighbouring relation.

    Raises:
        BadParametersError: ``BAD_BUDGET`` unless 0 < ε ≤ 1000 and 0 < δ < 1.
    """

    epsilon: Decimal
    delta: Decimal
    unit: Unit
    adjacency: Adjacency

    def __post_init__(self) -> None:
        for name, value in (("epsilon", self.epsilon), ("delta", self.delta)):
            if not isinstance(value, Decimal) or not value.is_finite() or value <= 0:
                raise BadParametersError(
                    "BAD_BUDGET",
                    f"the budget's {name} is not a positive exact decimal",
                    'write it as a quoted number, for example epsilon: "3.0"',
                )
        if self.epsilon > MAXIMUM_EPSILON or self.delta >= 1:
            raise BadParametersError(
                "BAD_BUDGET",
                "the budget is larger than any guarantee: epsilon is at most 1000 and delta below 1",
                "usual are an epsilon of 1 to 10 and a delta below one over the number of subjects",
            )
        if not isinstance(self.unit, Unit) or not isinstance(self.adjacency, Adjacency):
            raise BadParametersError(
                "BAD_BUDGET",
                "the budget's unit or neighbouring relation is not one that is known",
                "unit is subject or record; adjacency is add-or-remove-one",
            )


def cost_from_nats(nats_spent: float) -> int:
    """A Rényi cost in nats as integer units, rounded up and one more (the float itself may be an ulp low).

    Raises:
        BadParametersError: ``BAD_COST`` for anything but a finite number ≥ 0.
    """
    if not (math.isfinite(nats_spent) and nats_spent >= 0):
        raise BadParametersError(
            "BAD_COST", "a cost is not a finite number of nats", "the plan is broken"
        )
    return math.ceil(nats_spent * COST_PER_NAT) + 1


def cap_from_nats(nats_allowed: float) -> int:
    """A cap in nats as integer units, rounded down and one less; never below zero.

    Raises:
        BadParametersError: ``BAD_COST`` for a number that is not finite.
    """
    if not math.isfinite(nats_allowed):
        raise BadParametersError("BAD_COST", "a cap is not a finite number of nats", "check the budget")
    return max(0, math.floor(nats_allowed * COST_PER_NAT) - 1)


def nats(cost: int) -> float:
    """Integer units back to nats, for people."""
    return cost / COST_PER_NAT


def decimal_text(value: Decimal) -> str:
    """The one spelling of an exact decimal that is hashed: no exponent, no trailing zero ("0.4", not
    "4E-1")."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse_decimal(text: object) -> Decimal:
    """An exact, non-negative decimal from its quoted text.

    Raises:
        BadParametersError: ``BAD_DECIMAL`` for floats, exponents, signs, NaN and over-long numbers.
    """
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise BadParametersError(
            "BAD_DECIMAL",
            "a number is not an exact decimal in quotes",
            'write it as "0.4", without sign or exponent',
        )
    return Decimal(text)


def value_digest(value: object) -> str:
    """ "sha256:<hex>" of the RFC 8785 form of strings, integers, lists and objects.

    For ASCII text and integers below 2^53, which is all that plans and events hold, RFC 8785 is JSON with
    sorted keys and without spaces; larger integers travel as text. Floats are refused, for they have no
    exact form.

    Raises:
        BadParametersError: ``NOT_CANONICAL`` for a value outside that set.
    """
    _check_canonical(value)
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _check_canonical(value: object) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _check_canonical(key)
            _check_canonical(item)
    elif isinstance(value, list):
        for item in value:
            _check_canonical(item)
    elif isinstance(value, str):
        if not (value.isascii() and value.isprintable()):
            raise BadParametersError("NOT_CANONICAL", "a text to be hashed is not printable ASCII")
    elif not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**53:
        raise BadParametersError("NOT_CANONICAL", "a value to be hashed is not a text or a small integer")
