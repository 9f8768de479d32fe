"""One value inside a constraint and outside others, or the certainty that there is none: all that comparing asks.

For: compare.py and combine.py, one fact at a time. Not for: deciding (a decision only asks ``contains``).

    find(inside, outside, domain, near) -> a value, or None: there is none     top(like) -> allows everything

Exact by construction, not by trying values: the complement of an interval is cut piece by piece, a set escapes its
bounds term by term. Of the values that will do, one is taken that a reader recognises: a bound or a term that stands in
one of the policies. ``near`` asks for a value that other constraints allow too, where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact, localcontext
from functools import singledispatch
from typing import Any

from .domain import ANY, Domain
from .lattice import EITHER, Constraint, Interval, Level, OneOf, Requires, Truth, Window, Within

SHOWN_TERMS = 3  # a set of at most so many terms is shown whole in an example; of a longer one only the first
DIGITS = 200  # our exact numbers have at most 31 + 60; a result that needed more would raise, not round
_EXACT = Context(prec=DIGITS, traps=[Inexact])


def find(
    inside: Constraint, outside: Sequence[Constraint], domain: Domain = ANY, near: Sequence[Constraint] = ()
) -> Any | None:
    """A value of ``domain`` that ``inside`` allows and none of ``outside`` does; None exactly if there is none."""
    if inside in outside:
        return None  # most constraints of two versions are the same
    closer = inside
    for one in near:
        closer = closer if one in outside else closer.meet(one)
    value = _find(closer, outside, domain, closer)
    return value if value is not None else _find(inside, outside, domain, closer)


def within(inner: Constraint, outer: Constraint, domain: Domain = ANY) -> bool:
    """Whether every value of ``domain`` that ``inner`` allows, ``outer`` allows too."""
    return find(inner, (outer,), domain) is None


def top(like: Constraint) -> Constraint | None:
    """The constraint of the same class that allows everything; None where terms are open and nothing lists them all."""
    if isinstance(like, Interval):
        return Interval(whole=like.whole)
    if isinstance(like, Level):
        return Level(like.scale, like.scale[0])
    return {Window: Window(), Truth: EITHER, Requires: Requires(frozenset())}.get(type(like))


@singledispatch
def _find(inside: Constraint, outside: Sequence[Any], domain: Domain, near: Any) -> Any | None:
    raise TypeError(f"no values are known for {type(inside).__name__}")


@_find.register
def _(inside: OneOf, outside: Sequence[OneOf], domain: Domain, near: OneOf) -> str | None:
    return min(inside.values.difference(*(one.values for one in outside)), default=None)


@_find.register
def _(inside: Within, outside: Sequence[Within], domain: Domain, near: Within) -> frozenset[str] | None:
    # The whole of ``inside`` escapes whatever any of its subsets escapes; the example then gets by with less.
    if any(inside.values <= one.values for one in outside):
        return None
    common = sorted(near.values)
    value = set(common if len(common) <= SHOWN_TERMS else common[:1])
    for one in outside:
        if value <= one.values:
            value.add(min(inside.values - one.values))
    if domain.some and not value:
        value.update(sorted(inside.values)[:1])
    return None if domain.some and not value else frozenset(value)


@_find.register
def _(inside: Requires, outside: Sequence[Requires], domain: Domain, near: Requires) -> frozenset[str] | None:
    # The bare minimum of ``inside`` fails whatever any of its supersets fails; the example may have more.
    if any(one.values <= inside.values for one in outside):
        return None
    value = set(near.values)
    for one in outside:
        if one.values <= value:
            value.remove(min(one.values - inside.values))
    if domain.some and not value:
        raise ValueError("a set with a smallest size cannot be told from its required terms alone")
    return frozenset(value)


@_find.register
def _(inside: Level, outside: Sequence[Level], domain: Domain, near: Level) -> str | None:
    fits = (step for step in inside.scale if inside.contains(step) and not any(one.contains(step) for one in outside))
    return next(fits, None)


@_find.register
def _(inside: Truth, outside: Sequence[Truth], domain: Domain, near: Truth) -> bool | None:
    fits = (one for one in (True, False) if inside.contains(one) and not any(other.contains(one) for other in outside))
    return next(fits, None)


@_find.register
def _(inside: Window, outside: Sequence[Window], domain: Domain, near: Window) -> datetime | None:
    pieces = [inside]
    for one in outside:
        before = [] if one.start is None else [Window(until=one.start)]
        after = [] if one.until is None else [Window(start=one.until)]
        pieces = [piece.meet(side) for piece in pieces for side in (*after, *before)]
    return next((moment for piece in pieces if (moment := _moment_of(piece)) is not None), None)


def _moment_of(window: Window) -> datetime | None:
    """The first moment; of a window without a start one a day before its end, or a plain date."""
    if window.is_empty:
        return None
    if window.start is not None:
        return window.start
    first = datetime.min.replace(tzinfo=UTC)
    if window.until is None:
        return datetime(2000, 1, 1, tzinfo=UTC)
    if window.until <= first:
        return None
    return window.until - timedelta(days=1) if window.until - first > timedelta(days=1) else first


@dataclass(frozen=True)
class _Piece:
    """An interval whose ends may be left out, as the complement of a closed one is."""

    low: Decimal | int | None
    high: Decimal | int | None
    low_open: bool = False
    high_open: bool = False

    def above(self, end: Decimal | int, *, open_end: bool) -> _Piece:
        """What lies above ``end``."""
        if self.low is not None and (self.low > end or (self.low == end and self.low_open)):
            return self
        return _Piece(end, self.high, open_end, self.high_open)

    def below(self, end: Decimal | int, *, open_end: bool) -> _Piece:
        """What lies below ``end``."""
        if self.high is not None and (self.high < end or (self.high == end and self.high_open)):
            return self
        return _Piece(self.low, end, self.low_open, open_end)


@_find.register
def _(inside: Interval, outside: Sequence[Interval], domain: Domain, near: Interval) -> Decimal | int | None:
    piece = _Piece(inside.low, inside.high)
    if domain.low is not None:
        piece = piece.above(domain.low, open_end=domain.open)
    if domain.high is not None:
        piece = piece.below(domain.high, open_end=domain.open)
    pieces = [piece]
    for one in outside:
        above = [piece.above(one.high, open_end=True) for piece in pieces if one.high is not None]
        pieces = above + [piece.below(one.low, open_end=True) for piece in pieces if one.low is not None]
    number = _whole_of if inside.whole else _number_of
    return next((value for piece in pieces if (value := number(piece)) is not None), None)


def _whole_of(piece: _Piece) -> int | None:
    low, high = piece.low, piece.high
    if low is not None:
        low = math.floor(low) + 1 if piece.low_open else math.ceil(low)
    if high is not None:
        high = math.ceil(high) - 1 if piece.high_open else math.floor(high)
    if low is not None and high is not None and low > high:
        return None
    if high is not None and (low is None or (_is_limit(piece) and not piece.high_open)):
        return high
    return 0 if low is None else low


def _number_of(piece: _Piece) -> Decimal | int | None:
    low, high = piece.low, piece.high
    if low is not None and high is not None and (low > high or (low == high and (piece.low_open or piece.high_open))):
        return None
    if high is not None and not piece.high_open and (low is None or _is_limit(piece)):
        return high
    if low is not None and not piece.low_open:
        return low
    if low is not None and high is not None:
        return _between(Decimal(low), Decimal(high))
    if low is not None:
        return Decimal(math.floor(low) + 1)
    return Decimal(0) if high is None else Decimal(math.ceil(high) - 1)


def _is_limit(piece: _Piece) -> bool:
    """Whether the upper end is the one to show: the lower one is excluded, or only the end of what is possible."""
    return piece.low_open or piece.low in (0, 1)


def _between(low: Decimal, high: Decimal) -> Decimal:
    """A number strictly between two, with as few decimal places as will do."""
    with localcontext(_EXACT):
        places = 0
        while True:
            step = Decimal(1).scaleb(-places)
            value = (low / step).to_integral_value(rounding="ROUND_FLOOR") * step + step
            if low < value < high:
                return value
            places += 1
