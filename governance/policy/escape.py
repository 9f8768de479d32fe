"""A situation that one policy permits and another denies, or the certainty that there is none.

For: compare.py. Not for: verdicts and what is shown of them. One fact at a time is region.py's.

    escape(permits, denies) -> facts by name, or None: there is none        request_under(policy, facts) -> Request
    escape_clause(clause, others) -> the same for one clause against several, each of which must fail

A fact that ``permits`` does not ask for may be missing, so whatever ``denies`` asks of it can fail; the example has a
value all the same where one is known that will do. Of the ways to fail ``denies`` one is taken that leaves as many
facts as possible as both policies like them, so that a reader sees what makes the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..vocabulary import terms
from .clause import Held
from .lattice import Constraint, OneOf, Within
from .policy import Policy, Provision
from .region import find, top
from .request import Fact, Request

Outside = Mapping[str, tuple[Constraint, ...]]  # by fact, the constraints that its value must fail


def escape(permits: Policy, denies: Policy) -> Mapping[str, Fact] | None:
    """The facts of a situation that ``permits`` permits and ``denies`` does not; None exactly if there is none."""
    always = quantities(held for provision in denies.always for held in provision.held)
    grants = [quantities(provision.held) for provision in denies.grants]
    demanded = quantities(held for provision in permits.always for held in provision.held)
    best: _Way | None = None
    for provision in permits.grants:
        inside = _Inside((*demanded, *quantities(provision.held)))
        if inside.is_empty:
            continue
        room = min((_Room(inside, (*always, *grant)) for grant in grants), key=lambda room: room.foreign)
        for way in _ways(room, always, grants):
            if best is None or way.cost < best.cost:
                best = way
            if best.cost <= 1:
                return best.facts()
    return None if best is None else best.facts()


def escape_clause(clause: Provision, others: Sequence[Provision]) -> Mapping[str, Fact] | None:
    """Facts that fulfil ``clause`` and none of ``others``, whatever else their policies say."""
    inside = _Inside(quantities(clause.held))
    if inside.is_empty:
        return None
    outside = _failing_each(_Room(inside, ()), [quantities(other.held) for other in others])
    return None if outside is None else _Way(_Room(inside, ()), outside).facts()


def quantities(held: Iterable[Held]) -> tuple[Held, ...]:
    """The constraints, with each measured fact replaced by the quantities behind it."""
    return tuple(part for one in held for part in (one.measured or (one,)))


def request_under(policy: Policy, facts: Mapping[str, Fact]) -> Request:
    """What the situation looks like under ``policy``, whose own numbers its measured facts are worked out from."""
    seen = dict(facts)
    for held in (held for provision in (*policy.always, *policy.grants) for held in provision.held if held.measured):
        behind = [(part.allowed, facts.get(part.fact)) for part in held.measured]
        if all(fact is not None for _, fact in behind):
            answer = all(fact is not None and allowed.contains(fact.value) for allowed, fact in behind)
            seen[held.fact] = Fact(answer, held.source)
    return Request(seen)


class _Inside:
    """What a request must fulfil: by fact, the meet of everything that is asked of it."""

    def __init__(self, demanded: Sequence[Held]) -> None:
        self.held = {one.fact: one for one in demanded}
        self.allowed: dict[str, Constraint] = {}
        for one in demanded:
            known = self.allowed.get(one.fact)
            self.allowed[one.fact] = one.allowed if known is None else known.meet(one.allowed)

    @cached_property
    def is_empty(self) -> bool:
        """Whether no request can fulfil it."""
        return any(find(allowed, (), self.held[fact].domain) is None for fact, allowed in self.allowed.items())

    def leaves(self, fact: str, outside: tuple[Constraint, ...]) -> bool:
        """Whether a value, or the lack of one, fails all of ``outside`` and is permitted."""
        allowed = self.allowed.get(fact)
        return allowed is None or find(allowed, outside, self.held[fact].domain) is not None


@dataclass(frozen=True)
class _Room:
    """What is permitted, and beside it what the other policy would like; where both can be had, both are given."""

    inside: _Inside
    near: Sequence[Held]
    liked: Mapping[str, tuple[Constraint, ...]] = field(init=False)
    held: Mapping[str, Held] = field(init=False)

    def __post_init__(self) -> None:
        liked: dict[str, tuple[Constraint, ...]] = {}
        for one in self.near:
            liked[one.fact] = (*liked.get(one.fact, ()), one.allowed)
        object.__setattr__(self, "liked", liked)
        object.__setattr__(self, "held", {**{one.fact: one for one in self.near}, **self.inside.held})

    @cached_property
    def plain(self) -> Mapping[str, Any]:
        """Every fact's value while nothing needs to fail."""
        return {fact: self.value(fact, ()) for fact in self.held}

    @cached_property
    def foreign(self) -> int:
        """How many facts cannot be as both policies like them."""
        return sum(
            any(not one.contains(value) for one in self.liked.get(fact, ()))
            for fact, value in self.plain.items()
            if value is not None
        )

    def value(self, fact: str, outside: tuple[Constraint, ...]) -> Any | None:
        """A value that will do; None where the fact has to be missing."""
        held = self.held[fact]
        allowed = self.inside.allowed.get(fact) or _anything(held)
        return None if allowed is None else find(allowed, outside, held.domain, self.liked.get(fact, ()))

    def changes(self, fact: str, outside: tuple[Constraint, ...]) -> bool:
        """Whether the fact must be other than plain in order to fail all of ``outside``."""
        plain = self.plain.get(fact)
        return plain is not None and any(one.contains(plain) for one in outside)


def _anything(held: Held) -> Constraint | None:
    if isinstance(held.allowed, OneOf | Within):
        return None if held.vocabulary is None else type(held.allowed)(frozenset(terms(held.vocabulary)))
    return top(held.allowed)


@dataclass(frozen=True)
class _Way:
    """One way to be denied: for some facts, what they must be outside of."""

    room: _Room
    outside: Outside

    @cached_property
    def cost(self) -> int:
        """How many facts are not as both policies like them."""
        return self.room.foreign + sum(self.room.changes(fact, some) for fact, some in self.outside.items())

    def facts(self) -> Mapping[str, Fact]:
        """The whole situation, each fact from its declared source."""
        facts: dict[str, Fact] = {}
        for name, held in self.room.held.items():
            outside = self.outside.get(name)
            value = self.room.value(name, outside) if outside else self.room.plain[name]
            if value is not None:
                facts[name] = Fact(value, held.source)
        return facts


def _ways(room: _Room, always: Sequence[Held], grants: Sequence[Sequence[Held]]) -> Iterator[_Way]:
    for held in always:
        if room.inside.leaves(held.fact, (held.allowed,)):
            yield _Way(room, {held.fact: (held.allowed,)})
    outside = _failing_each(room, grants)
    if outside is not None:
        yield _Way(room, outside)


def _failing_each(room: _Room, grants: Sequence[Sequence[Held]]) -> Outside | None:
    """One constraint of each grant that can fail, all of them together, with the fewest facts changed; or None."""
    options = [[one for one in grant if room.inside.leaves(one.fact, (one.allowed,))] for grant in grants]
    options.sort(key=len)  # a grant that cannot be failed ends the search at once
    best: Outside | None = None
    fewest = 0

    def extend(index: int, chosen: Outside) -> None:
        nonlocal best, fewest
        cost = sum(room.changes(fact, some) for fact, some in chosen.items())
        if best is not None and cost >= fewest:
            return
        if index == len(options):
            best, fewest = chosen, cost
            return
        for one in options[index]:
            outside = (*chosen.get(one.fact, ()), one.allowed)
            if room.inside.leaves(one.fact, outside):
                extend(index + 1, {**chosen, one.fact: outside})

    extend(0, {})
    return best
