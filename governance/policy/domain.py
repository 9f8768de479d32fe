"""The values that a fact can have at all, whatever a policy says about it.

For: a clause's declaration (clause.Field). Comparing two policies is exact over the values of these domains, and an
example that it gives is one of them. Not for: deciding; a value outside its domain is held against the policy all the
same. A domain is never narrower than what core can put into a request (core/gate/facts.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Domain:
    """Of a number its lowest and highest value (None: without end; ``open``: both left out); of a set whether it has
    ``some`` term at least."""

    low: Decimal | int | None = None
    high: Decimal | int | None = None
    open: bool = False
    some: bool = False


ANY = Domain()
COUNT = Domain(low=0)
ONE_OR_MORE = Domain(low=1)
SITES = Domain(low=2)  # a federation of one is none, and a policy cannot ask for fewer
POSITIVE = Domain(low=0, open=True)
PROBABILITY = Domain(low=0, high=1, open=True)
SOME = Domain(some=True)
