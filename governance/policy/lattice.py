"""What a field of a clause allows, as a small lattice: set, interval, window, level, yes-or-no.

For: saying of a fact whether it is allowed, and of two fields what both allow. Not for: a value that one allows and
others do not (region.py), where facts come from (request.py), what a field means (clause.py).

    constraint.fits(value) -> contains(value)           decide
    constraint.meet(other), is_empty                    compare, combine
    constraint.text(), parts(), offending(value)        results and explanations

Everything is a frozen value and pure. Decimals are compared, never added: a comparison is exact, a sum in a
context of fixed precision is not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Self


class Constraint(ABC):
    """The values that a field allows. Both arguments of a binary operation are of one class."""

    @abstractmethod
    def fits(self, value: Any) -> bool:
        """Whether ``value`` is of the type that this constraint speaks of."""

    @abstractmethod
    def contains(self, value: Any) -> bool:
        """Whether a value that fits is allowed."""

    @abstractmethod
    def meet(self, other: Self) -> Self:
        """What both allow."""

    @property
    @abstractmethod
    def is_empty(self) -> bool:
        """Whether no value is allowed."""

    @abstractmethod
    def parts(self) -> tuple[str, ...]:
        """The terms or bounds, in a fixed order, without words."""

    @abstractmethod
    def text(self) -> str:
        """The constraint in signs that need no translation."""

    def offending(self, value: Any) -> tuple[str, ...]:
        """What is at fault: of a set the terms too many or lacking, else the value itself."""
        return (write(value),)


MAX_WRITTEN = 200  # characters of one value that a decision repeats; our terms and digests are shorter


def write(value: Any) -> str:
    """A fact's value in signs that need no translation; of a foreign type only the type's name."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else "not a finite number"
    if isinstance(value, str | int):
        return str(value)[:MAX_WRITTEN]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else "a time without zone"
    if isinstance(value, frozenset | set) and all(isinstance(item, str) for item in value):
        return ", ".join(sorted(value))
    return type(value).__name__


def _is_set_of_text(value: Any) -> bool:
    return isinstance(value, frozenset | set) and all(isinstance(item, str) for item in value)


@dataclass(frozen=True)
class OneOf(Constraint):
    """A single term that must be listed."""

    values: frozenset[str]

    def fits(self, value: Any) -> bool:
        return isinstance(value, str)

    def contains(self, value: Any) -> bool:
        return value in self.values

    def meet(self, other: Self) -> Self:
        return type(self)(self.values & other.values)

    @property
    def is_empty(self) -> bool:
        return not self.values

    def parts(self) -> tuple[str, ...]:
        return tuple(sorted(self.values))

    def text(self) -> str:
        return f"one of {{{', '.join(self.parts())}}}"


@dataclass(frozen=True)
class Within(Constraint):
    """A set of terms that must all be listed; the empty set is allowed."""

    values: frozenset[str]

    def fits(self, value: Any) -> bool:
        return _is_set_of_text(value)

    def contains(self, value: Any) -> bool:
        return self.values.issuperset(value)

    def meet(self, other: Self) -> Self:
        return type(self)(self.values & other.values)

    @property
    def is_empty(self) -> bool:
        return False

    def parts(self) -> tuple[str, ...]:
        return tuple(sorted(self.values))

    def text(self) -> str:
        return f"within {{{', '.join(self.parts())}}}"

    def offending(self, value: Any) -> tuple[str, ...]:
        return tuple(sorted(set(value) - self.values))


@dataclass(frozen=True)
class Requires(Constraint):
    """A set of terms that must contain all those listed."""

    values: frozenset[str]

    def fits(self, value: Any) -> bool:
        return _is_set_of_text(value)

    def contains(self, value: Any) -> bool:
        return self.values.issubset(value)

    def meet(self, other: Self) -> Self:
        return type(self)(self.values | other.values)

    @property
    def is_empty(self) -> bool:
        return False

    def parts(self) -> tuple[str, ...]:
        return tuple(sorted(self.values))

    def text(self) -> str:
        return f"all of {{{', '.join(self.parts())}}}"

    def offending(self, value: Any) -> tuple[str, ...]:
        return tuple(sorted(self.values - set(value)))


@dataclass(frozen=True)
class Interval(Constraint):
    """A number between two ends, both included: int where ``whole``, else Decimal or int, never float."""

    low: Decimal | int | None = None
    high: Decimal | int | None = None
    whole: bool = False

    def fits(self, value: Any) -> bool:
        if isinstance(value, bool):
            return False
        if isinstance(value, Decimal):
            return not self.whole and value.is_finite()
        return isinstance(value, int)

    def contains(self, value: Any) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def meet(self, other: Self) -> Self:
        low = max((end for end in (self.low, other.low) if end is not None), default=None)
        high = min((end for end in (self.high, other.high) if end is not None), default=None)
        return type(self)(low, high, self.whole)

    @property
    def is_empty(self) -> bool:
        return self.low is not None and self.high is not None and self.low > self.high

    def parts(self) -> tuple[str, ...]:
        return tuple(write(end) for end in (self.low, self.high) if end is not None)

    def text(self) -> str:
        ends = [f">= {write(self.low)}"] if self.low is not None else []
        ends += [f"<= {write(self.high)}"] if self.high is not None else []
        return " and ".join(ends) or "any number"


@dataclass(frozen=True)
class Window(Constraint):
    """A moment from ``start`` (included) until ``until`` (excluded); an end that is None is open."""

    start: datetime | None = None
    until: datetime | None = None

    def fits(self, value: Any) -> bool:
        return isinstance(value, datetime) and value.tzinfo is not None

    def contains(self, value: Any) -> bool:
        return (self.start is None or value >= self.start) and (self.until is None or value < self.until)

    def meet(self, other: Self) -> Self:
        start = max((end for end in (self.start, other.start) if end is not None), default=None)
        until = min((end for end in (self.until, other.until) if end is not None), default=None)
        return type(self)(start, until)

    @property
    def is_empty(self) -> bool:
        return self.start is not None and self.until is not None and self.start >= self.until

    def parts(self) -> tuple[str, ...]:
        return tuple(end.isoformat() for end in (self.start, self.until) if end is not None)

    def text(self) -> str:
        # In the zone in which its authors wrote it.
        ends = [f"from {self.start.isoformat()}"] if self.start is not None else []
        ends += [f"before {self.until.isoformat()}"] if self.until is not None else []
        return " and ".join(ends) or "any time"


@dataclass(frozen=True)
class Level(Constraint):
    """A step of a scale, weakest first, that must be at least ``least``."""

    scale: tuple[str, ...]
    least: str

    def __post_init__(self) -> None:
        if self.least not in self.scale:
            raise ValueError(f"{self.least!r} is not a step of {self.scale}")

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.scale

    def contains(self, value: Any) -> bool:
        return self.scale.index(value) >= self.scale.index(self.least)

    def meet(self, other: Self) -> Self:
        return self if self.contains(other.least) is False else other

    @property
    def is_empty(self) -> bool:
        return False

    def parts(self) -> tuple[str, ...]:
        return (self.least,)

    def text(self) -> str:
        return f">= {self.least}"


@dataclass(frozen=True)
class Truth(Constraint):
    """A yes or no; both may be allowed, and the fact must be there all the same."""

    allowed: frozenset[bool]

    def fits(self, value: Any) -> bool:
        return isinstance(value, bool)

    def contains(self, value: Any) -> bool:
        return value in self.allowed

    def meet(self, other: Self) -> Self:
        return type(self)(self.allowed & other.allowed)

    @property
    def is_empty(self) -> bool:
        return not self.allowed

    def parts(self) -> tuple[str, ...]:
        return tuple(write(value) for value in sorted(self.allowed))

    def text(self) -> str:
        return " or ".join(self.parts())


MUST = Truth(frozenset({True}))
MUST_NOT = Truth(frozenset({False}))
EITHER = Truth(frozenset({True, False}))
