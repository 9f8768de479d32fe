"""What several policies permit together, and whose clause stands in a study's way, in lines for a terminal.

For: ``sekisho legal combine``. Not for: combining (governance/policy/combine.py) or what a study asks (asked.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...governance.language import Language
from ...governance.policy.combine import Bound, Combination, Obstacle, Place
from ...governance.policy.decide import FACT_CODES
from ...governance.policy.lattice import Constraint
from ...governance.policy.policy import Policy
from ...governance.policy.request import Request
from ...governance.policy.words import (
    allowed,
    catalogue,
    cited,
    fact_name,
    fact_value,
    joined,
    plain,
    requirement,
    word,
)

INDENT = "  "
Asked = tuple[str, str]  # action and method


def together(combination: Combination, language: Language) -> Iterator[str]:
    """Per fact what every site allows and whose clause binds it; then what grants are left."""
    yield _say("title", language, number=len(combination.sites), sites=joined(combination.sites, language))
    yield _say("conditions", language)
    yield from (INDENT + _bound(one, combination.sites, language) for one in combination.always)
    if combination.conflicts:
        yield _say("nothing", language)
        yield from (INDENT + _conflict(one, language) for one in combination.conflicts)
    for grant in combination.grants if not combination.conflicts else ():
        ids = joined((f"{site} {name}" for site, name in grant.ids.items()), language)
        yield _say("grant", language, action=plain([grant.type], "actions", language), grants=ids)
        yield from (INDENT + _bound(one, combination.sites, language) for one in grant.bounds)


def in_the_way(
    found: Mapping[Asked, tuple[Obstacle, ...]], policies: Mapping[str, Policy], requests: Mapping[Asked, Request],
    language: Language,
) -> Iterator[str]:
    """Per thing that the study asks: permitted by all, or clause by clause what would have to change."""
    yield _say("study", language)
    alike: dict[tuple[str, ...], list[str]] = {}
    for asked, several in found.items():
        action, method = plain([asked[0]], "actions", language), plain([asked[1]], "methods", language)
        lines = tuple(line for one in several for line in _obstacle(one, policies[one.site], requests[asked], language))
        alike.setdefault(lines, []).append(_say("asked", language, action=action, method=method))
    for lines, headings in alike.items():
        verdict = _say("denied" if lines else "permitted", language)
        yield INDENT + _say("bound", language, fact=joined(headings, language), allowed=verdict)
        yield from (INDENT * 2 + line for line in lines)
    yield _say("assumed", language)


def _bound(bound: Bound, sites: Sequence[str], language: Language) -> str:
    line = requirement(bound.fact, bound.allowed, language)
    if not line:
        said = _say("empty", language) if bound.is_empty else _allowed(bound.allowed, bound.vocabulary, language)
        line = _say("bound", language, fact=fact_name(bound.fact, language), allowed=said)
    return line + _say("by", language, clauses=_places(bound.binding, sites, language))


def _conflict(bound: Bound, language: Language) -> str:
    clauses = _places(bound.binding, (), language)
    return _say("conflict", language, fact=fact_name(bound.fact, language), clauses=clauses)


def _obstacle(obstacle: Obstacle, policy: Policy, request: Request, language: Language) -> Iterator[str]:
    provision = next(one for one in (*policy.always, *policy.grants) if one.id == obstacle.clause)
    held = next(one for one in provision.held if one.field == obstacle.field)
    fact, given = fact_name(obstacle.fact, language), request.get(obstacle.fact)
    kind = "grant" if provision in policy.grants else "clause"
    name = catalogue()[f"clauses.{obstacle.type}.name"][language]
    cited = catalogue().render(f"reading.comparison.{kind}-cited", language, id=obstacle.clause, name=name)
    yield _say(
        "obstacle", language, site=obstacle.site, cited=cited, code=obstacle.code, fact=fact,
        observed=word("none", language) if given is None else fact_value(obstacle.fact, given.value, language),
        allowed=_allowed(held.allowed, held.vocabulary, language),
    )  # fmt: skip
    if obstacle.code in FACT_CODES:
        yield INDENT + _say("fix-fact", language, fact=fact)
    elif obstacle.range is not None:
        wanted = _allowed(obstacle.range, held.vocabulary, language)
        yield INDENT + _say("fix-study", language, fact=fact, allowed=wanted)
    else:
        yield INDENT + _say("fix-none", language, fact=fact, clauses=_places(obstacle.against, (), language))
    yield INDENT + _say("fix-policy", language, site=obstacle.site, cited=cited)


def _places(places: Sequence[Place], sites: Sequence[str], language: Language) -> str:
    """Whose clauses; where every site's own binds alike, that is said in a word."""
    if sites and {place.site for place in places} == set(sites):
        return _say("everybody", language)
    # English lists stay short: "kohi 8" needs no more where the line says that clauses follow.
    named = ((one.site, one.clause if language == "en" else cited(one.clause, language)) for one in places)
    return joined((_say("place", language, site=site, clause=clause) for site, clause in named), language)


def _allowed(constraint: Constraint, vocabulary: str | None, language: Language) -> str:
    return allowed(constraint, vocabulary, language).text(language)


def _say(key: str, language: Language, **values: object) -> str:
    texts = {name: str(value) for name, value in values.items()}
    return catalogue().render(f"reading.combination.{key}", language, **texts)
