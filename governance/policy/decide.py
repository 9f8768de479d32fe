"""(policy, request) -> decision, with a result for every constraint of every clause; default deny.

Not for: building a request (core/gate/facts.py), words (explain.py). Pure: no clock, no disk, no network; the same
policy and the same request give the same decision, byte for byte.

    decide(policy, request) -> Decision(permitted, results, grant)      hold(provision, request) -> one clause's results

Permitted is: every constraint of every clause under ``always`` holds, and one whole grant holds. Everything is
evaluated, whatever failed before it. Where no grant holds, the results show the nearest: of the same action if there
is one, then with the fewest failures, then the first in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..canonical import digest
from .clause import Held
from .lattice import MAX_WRITTEN, write
from .policy import Policy, Provision
from .request import Request

FACT_MISSING = "FACT_MISSING"
FACT_SOURCE = "FACT_SOURCE"
FACT_TYPE = "FACT_TYPE"
FACT_CODES = (FACT_MISSING, FACT_SOURCE, FACT_TYPE)

ACTION = "action"  # the field that tells grants apart


@dataclass(frozen=True)
class ClauseResult:
    """One constraint of one clause, held against its fact.

    ``allowed`` and ``observed`` are in signs that need no translation; ``observed`` and ``source`` are None where the
    fact is missing. ``code`` is None where the constraint holds. ``offending`` is what is at fault in the fact's value.
    """

    clause: str
    type: str
    passed: bool
    code: str | None
    field: str
    fact: str
    allowed: str
    observed: str | None
    source: str | None
    offending: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {**vars(self), "offending": list(self.offending)}


@dataclass(frozen=True)
class Decision:
    """What a policy says to a request: ``grant`` is the one that holds, ``nearest_grant`` the one that almost does."""

    permitted: bool
    results: tuple[ClauseResult, ...]
    grant: str | None
    nearest_grant: str | None
    policy: str
    request: str

    @property
    def failed(self) -> tuple[ClauseResult, ...]:
        """The constraints that do not hold; empty exactly if permitted."""
        return tuple(result for result in self.results if not result.passed)

    def to_json(self) -> dict[str, Any]:
        """The decision as plain values, without its own digest."""
        return {
            "decision": "permit" if self.permitted else "deny",
            "policy": self.policy,
            "request": self.request,
            "grant": self.grant,
            "nearest_grant": self.nearest_grant,
            "results": [result.to_json() for result in self.results],
        }

    @cached_property
    def digest(self) -> str:
        """Digest of the JSON form; the decision is logged under it."""
        return digest(self.to_json())


def decide(policy: Policy, request: Request) -> Decision:
    """Hold every clause of ``policy`` against ``request``; never raises, whatever the request contains."""
    always = tuple(result for provision in policy.always for result in hold(provision, request))
    grants = [(provision.id, hold(provision, request)) for provision in policy.grants]
    grant = next((name for name, results in grants if all(result.passed for result in results)), None)
    shown = grant if grant is not None else min(grants, key=lambda pair: distance(pair[1]))[0]
    return Decision(
        permitted=grant is not None and all(result.passed for result in always),
        results=always + dict(grants)[shown],
        grant=grant,
        nearest_grant=None if grant is not None else shown,
        policy=policy.canonical_digest,
        request=request.digest,
    )


def hold(provision: Provision, request: Request) -> tuple[ClauseResult, ...]:
    """Every constraint of one clause or grant, held against its fact."""
    return tuple(_result(provision, held, request) for held in provision.held)


def _result(provision: Provision, held: Held, request: Request) -> ClauseResult:
    fact = request.get(held.fact)
    code: str | None
    if fact is None:
        code = FACT_MISSING
    elif fact.source != held.source:
        code = FACT_SOURCE
    elif not held.allowed.fits(fact.value):
        code = FACT_TYPE
    elif not held.allowed.contains(fact.value):
        code = held.code
    else:
        code = None
    return ClauseResult(
        clause=provision.id,
        type=provision.type,
        passed=code is None,
        code=code,
        field=held.field,
        fact=held.fact,
        allowed=held.allowed.text(),
        observed=None if fact is None else write(fact.value),
        source=None if fact is None else fact.source[:MAX_WRITTEN],
        offending=held.allowed.offending(fact.value) if fact is not None and code == held.code else (),
    )


def distance(results: tuple[ClauseResult, ...]) -> tuple[bool, int]:
    """How far a grant is from holding: one of another action is farther than any, then the failures count."""
    other_action = any(result.field == ACTION and not result.passed for result in results)
    return (other_action, sum(not result.passed for result in results))
