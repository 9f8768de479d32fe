"""What several sites permit together, and for a study: whose clause stands in the way, and what would have to change.

Not for: one site's decision (decide.py), two versions of one policy (compare.py). Works from the declarations and knows
no clause type by name.

    combine(policies) -> Combination: .always, .grants, .permits(request), .example, .conflicts if nothing is left
    obstacles(policies, requests) -> one Obstacle per constraint that fails at a site; describe(obstacle) -> in words

A request is permitted by all exactly if it is within the combination: per fact the meet of everything under ``always``,
and of one grant a site. Each bound names the clauses that bind it: those that exclude something that another allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice, product
from typing import Any

from ..errors import Refused
from ..language import Catalogue, Language, Text
from .clause import Held
from .decide import ClauseResult, decide, distance, hold
from .domain import Domain
from .escape import quantities
from .lattice import Constraint
from .policy import Policy, Provision
from .region import find, within
from .request import Fact, Request
from .words import cited

# Sites choose among their grants: at five sites with two grants of an action each these are 32 combinations.
MOST_COMBINATIONS = 2000


@dataclass(frozen=True)
class Place:
    """Where a constraint stands: the clause ``clause`` in the policy of ``site``."""

    site: str
    clause: str
    field: str

    def to_json(self) -> dict[str, str]:
        """The fields as plain values."""
        return dict(vars(self))


@dataclass(frozen=True)
class Bound:
    """What all allow of one fact; ``binding`` are the clauses that make it so narrow.

    ``measured`` marks a quantity behind a fact (``Field.measured``): it is shown, and each site answers for itself.
    """

    fact: str
    source: str
    vocabulary: str | None
    allowed: Constraint
    domain: Domain
    binding: tuple[Place, ...]
    measured: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether no value that the fact can have is allowed by all."""
        return find(self.allowed, (), self.domain) is None

    def permits(self, fact: Fact | None) -> bool:
        """Whether the fact is known, vouched for by its source, of its type, and allowed by all."""
        known = fact is not None and fact.source == self.source and self.allowed.fits(fact.value)
        return known and fact is not None and self.allowed.contains(fact.value)

    def to_json(self) -> dict[str, Any]:
        """The bound as plain values, its constraint as text."""
        return {
            "fact": self.fact,
            "source": self.source,
            "allowed": self.allowed.text(),
            "binding": [place.to_json() for place in self.binding],
            "measured": self.measured,
        }


@dataclass(frozen=True)
class CommonGrant:
    """One grant of every site, by site and id, and what they give together."""

    type: str
    ids: Mapping[str, str]
    bounds: tuple[Bound, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {"type": self.type, "ids": dict(self.ids), "bounds": [one.to_json() for one in self.bounds]}


@dataclass(frozen=True)
class Combination:
    """What all sites permit together. ``grants`` has one entry per choice of grants that leaves something.

    ``conflicts`` are the bounds that leave nothing: those under ``always``, else, where no choice of grants leaves
    anything, those of the choice that comes closest. Empty exactly if something is permitted.
    """

    sites: tuple[str, ...]
    always: tuple[Bound, ...]
    grants: tuple[CommonGrant, ...]
    conflicts: tuple[Bound, ...]

    def permits(self, request: Request) -> bool:
        """Whether every site's policy permits the request."""
        return _permit(self.always, request) and any(_permit(one.bounds, request) for one in self.grants)

    @cached_property
    def example(self) -> Request | None:
        """A request that all permit; None exactly if there is none."""
        if self.conflicts:
            return None
        bounds = (*self.always, *self.grants[0].bounds)
        return Request({one.fact: Fact(find(one.allowed, (), one.domain), one.source) for one in bounds})

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {
            "sites": list(self.sites),
            "always": [one.to_json() for one in self.always],
            "grants": [one.to_json() for one in self.grants],
            "conflicts": [one.to_json() for one in self.conflicts],
            "example": None if self.example is None else self.example.to_json(),
        }


def combine(policies: Mapping[str, Policy]) -> Combination:
    """What the policies, by site, permit together; at least one is needed."""
    everywhere = [(site, one) for site, policy in policies.items() for one in policy.always]
    always = _bounds(everywhere)
    grants = {site: policy.grants for site, policy in policies.items()}
    left = tuple(
        CommonGrant(
            type=next(iter(choice.values())).type,
            ids={site: grant.id for site, grant in choice.items()},
            bounds=_bounds_of(choice, everywhere),
        )
        for choice in _choices_left(grants)
    )
    conflicts = tuple(one for one in always if one.is_empty)
    if not conflicts and not left:
        conflicts = min(
            (tuple(one for one in _bounds_of(choice, everywhere) if one.is_empty) for choice in _choices(grants)),
            key=len,
        )
    return Combination(tuple(policies), always, left, conflicts)


def _bounds_of(choice: Mapping[str, Provision], always: Sequence[tuple[str, Provision]]) -> tuple[Bound, ...]:
    """What the grants and everything under ``always`` say about the facts of the grants."""
    facts = {held.fact for grant in choice.values() for held in quantities(grant.held)}
    return tuple(one for one in _bounds((*choice.items(), *always)) if one.fact in facts)


def _choices_left(grants: Mapping[str, Sequence[Provision]]) -> list[dict[str, Provision]]:
    """Every choice of one grant a site that leaves something; a choice without hope is given up at once."""
    choices: list[dict[str, Provision]] = [{}]
    for site, several in grants.items():
        longer = [{**choice, site: grant} for choice in choices for grant in several]
        choices = [choice for choice in longer if not any(one.is_empty for one in _bounds(choice.items()))]
        if len(choices) > MOST_COMBINATIONS:
            raise Refused(
                "TOO_MANY_COMBINATIONS",
                f"the grants of these sites can be combined in more than {MOST_COMBINATIONS} ways",
                "combine fewer sites at a time",
            )
    return choices


@dataclass(frozen=True)
class Obstacle:
    """One constraint that fails at one site.

    ``fix_in_study`` is what every site would accept of the fact (``range`` the same as a constraint), None if no value
    satisfies all: then ``against`` names the clauses that cannot be satisfied together. ``fix_in_policy`` is the clause
    that the site would have to amend instead. Where every obstacle has a fix in the study, all of them together are
    accepted by all.
    """

    site: str
    clause: str
    type: str
    code: str
    field: str
    fact: str
    allowed: str
    observed: str | None
    fix_in_study: str | None
    fix_in_policy: str
    range: Constraint | None
    against: tuple[Place, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        against = [place.to_json() for place in self.against]
        return {name: value for name, value in vars(self).items() if name != "range"} | {"against": against}


def obstacles(policies: Mapping[str, Policy], requests: Mapping[str, Request]) -> tuple[Obstacle, ...]:
    """Every constraint that refuses the study, site by site; empty exactly if every site permits its request.

    ``requests`` has one request per site of ``policies``: the same study with what each site itself knows. Of the
    sites' grants those are looked at together that leave the fewest facts without a fix, then the fewest to change.
    """
    if all(decide(policy, requests[site]).permitted for site, policy in policies.items()):
        return ()
    always = [(site, one) for site, policy in policies.items() for one in policy.always]

    def distance_of(choice: Mapping[str, Provision]) -> tuple[bool, int, int]:
        results = [hold(grant, requests[site]) for site, grant in choice.items()]
        failing = {one.fact for several in results for one in several if not one.passed}
        empty = sum(one.is_empty for one in _bounds_of(choice, always) if one.fact in failing)
        return any(distance(several)[0] for several in results), empty, len(failing)

    nearest = {site: _nearest_first(policy, requests[site]) for site, policy in policies.items()}
    everything = [*always, *min(_choices(nearest), key=distance_of).items()]
    bounds = {one.fact: one for one in _bounds(everything)}
    return tuple(
        _obstacle(site, result, bounds[result.fact])
        for wanted in policies
        for site, provision in everything
        if site == wanted
        for result in hold(provision, requests[site])
        if not result.passed
    )


def _obstacle(site: str, result: ClauseResult, bound: Bound) -> Obstacle:
    allowed = None if bound.is_empty else bound.allowed
    return Obstacle(
        site=site,
        clause=result.clause,
        type=result.type,
        code=str(result.code),
        field=result.field,
        fact=result.fact,
        allowed=result.allowed,
        observed=result.observed,
        fix_in_study=None if allowed is None else allowed.text(),
        fix_in_policy=result.clause,
        range=allowed,
        against=bound.binding if allowed is None else (),
    )


def describe(obstacle: Obstacle) -> tuple[Text, ...]:
    """What would have to change, in words: in the study, if anything can; and in the policy."""
    study = "study" if obstacle.fix_in_study is not None else "no_study"
    against = ", ".join(f"{place.site} {place.clause}" for place in obstacle.against)
    values = {
        "site": obstacle.site, "field": obstacle.field, "fact": obstacle.fact,
        "range": obstacle.fix_in_study or "", "against": against,
    }  # fmt: skip

    def say(key: str, language: Language) -> str:
        return _texts().render(key, language, clause=cited(obstacle.fix_in_policy, language), **values)

    return tuple(Text(en=say(key, "en"), ja=say(key, "ja")) for key in (f"combine.fix.{study}", "combine.fix.policy"))


@cache
def _texts() -> Catalogue:
    return Catalogue.load(__name__.removesuffix(".policy.combine"), "texts")


def _permit(bounds: Sequence[Bound], request: Request) -> bool:
    return all(one.permits(request.get(one.fact)) for one in bounds if not one.measured)


def _choices(grants: Mapping[str, Sequence[Provision]]) -> Iterator[dict[str, Provision]]:
    """One grant a site, the first of each site first; not all of them where they are very many."""
    for choice in islice(product(*grants.values()), MOST_COMBINATIONS):
        yield dict(zip(grants, choice, strict=True))


def _nearest_first(policy: Policy, request: Request) -> list[Provision]:
    return sorted(policy.grants, key=lambda grant: distance(hold(grant, request)))


def _bounds(places: Iterable[tuple[str, Provision]]) -> tuple[Bound, ...]:
    by_fact: dict[str, list[tuple[Place, Held, bool]]] = {}
    for site, provision in places:
        for held in provision.held:
            for one in (held, *(part for part in quantities((held,)) if part is not held)):
                place = Place(site, provision.id, one.field)
                by_fact.setdefault(one.fact, []).append((place, one, one is not held))
    return tuple(_bound(entries) for entries in by_fact.values())


def _bound(entries: Sequence[tuple[Place, Held, bool]]) -> Bound:
    _, held, measured = entries[0]
    allowed = held.allowed
    for _, one, _ in entries[1:]:
        allowed = allowed.meet(one.allowed)
    binding = tuple(
        place
        for place, one, _ in entries
        if any(not within(other.allowed, one.allowed, one.domain) for _, other, _ in entries)
    )
    everybody = tuple(place for place, _, _ in entries)
    return Bound(
        held.fact, held.source, held.vocabulary, allowed, held.domain, binding or everybody, measured
    )
