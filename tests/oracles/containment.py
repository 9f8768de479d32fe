"""Whether one policy permits more than another, asked of the solver z3, from the plain documents.

Nothing of ours is imported, and nothing is compared fact by fact: a request becomes variables, each policy one formula
over them, and z3 looks for a request that satisfies the one and not the other. A fact may be missing (a Boolean of its
own); a set is a Boolean per term, with one more that stands for all terms that neither policy names.

The lifetime budget is two numbers: what the ledger would count as spent, by the new run too, and it fits if both are
within the policy's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import z3

from .evaluator import LEVELS, SINGULAR

Document = Mapping[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = ["record", "subject"]
ROLES = ["legal", "it", "business", "data-protection", "compliance"]
OTHER = "some other term"
SETS = {  # fact: the field that bounds it
    "stop.roles": "stop_by",
    "stop.restart_roles": "restart_by",
    "transfer.artefacts": "leaves_site",
    "transfer.destinations": "destinations",
    "encryption.measures": "require",
    "recipients": "recipients",
    "downstream_uses": "downstream_uses",
}


def permits_more(policy: Document, other: Document) -> bool:
    """Whether there is a request that ``policy`` permits and ``other`` does not."""
    asked = _Asked(policy, other)
    solver = z3.Solver()
    solver.add(asked.permitted_by(policy), z3.Not(asked.permitted_by(other)), *asked.possible())
    answer = solver.check()
    if answer == z3.unknown:
        raise RuntimeError(f"z3 does not know: {solver.reason_unknown()}")
    return bool(answer == z3.sat)


class _Asked:
    """The facts of one request as variables; their terms are those of both policies, and one other."""

    def __init__(self, *policies: Document) -> None:
        clauses = [one for policy in policies for one in (*policy["always"], *policy["grants"])]
        self.terms = {
            fact: [OTHER, *{str(term): None for clause in clauses if field in clause for term in clause[field]}]
            for fact, field in SETS.items()
        }
        # Single terms are told apart by a number, whichever fact they belong to.
        self.numbers: dict[str, int] = {}

    def there(self, fact: str) -> z3.BoolRef:
        return z3.Bool(f"{fact} is known")

    def number(self, fact: str) -> z3.ArithRef:
        return z3.Int(fact)

    def exact(self, fact: str) -> z3.ArithRef:
        return z3.Real(fact)

    def yes(self, fact: str) -> z3.BoolRef:
        return z3.Bool(fact)

    def has(self, fact: str, term: str) -> z3.BoolRef:
        return z3.Bool(f"{fact} has {term}")

    def is_one_of(self, fact: str, terms: Iterable[str]) -> z3.BoolRef:
        return z3.Or([z3.Int(fact) == self.numbers.setdefault(term, len(self.numbers)) for term in terms])

    def has_only(self, fact: str, terms: Iterable[str]) -> z3.BoolRef:
        return z3.And([z3.Not(self.has(fact, term)) for term in self.terms[fact] if term not in set(terms)])

    def has_all(self, fact: str, terms: Iterable[str]) -> z3.BoolRef:
        return z3.And([self.has(fact, term) for term in terms])

    def possible(self) -> list[z3.BoolRef]:
        """What holds of every request, whatever a policy says."""
        counts = ["stop.list_age_hours", "cohort.observers", "retention.audit_years"]
        counts += [f"approvals.{role}" for role in ROLES]
        return [
            *(self.number(fact) >= 0 for fact in counts),
            self.number("subjects.sites_per_subject") >= 1,
            self.number("steps") >= 1,
            self.number("cohort.sites") >= 2,
            *(self.exact(fact) > 0 for fact in ("run epsilon", "run delta", "lifetime epsilon", "lifetime delta")),
            self.exact("run delta") < 1,
            self.exact("lifetime delta") < 1,
            *(
                z3.Or([self.has(fact, term) for term in self.terms[fact]])
                for fact in ("transfer.artefacts", "transfer.destinations", "recipients")
            ),
            *(
                z3.And(self.number(fact) >= 0, self.number(fact) < len(scale))
                for fact, scale in (("budget.unit", UNITS), ("base_model.disclosure", LEVELS))
            ),
        ]

    def permitted_by(self, policy: Document) -> z3.BoolRef:
        """The policy as one formula."""
        always = [z3.And(self._clause(clause)) for clause in policy["always"]]
        grants = [z3.And(self._grant(grant)) for grant in policy["grants"]]
        return z3.And(*always, z3.Or(grants))

    def _known(self, fact: str, holds: Any) -> z3.BoolRef:
        return z3.And(self.there(fact), holds)

    def _clause(self, of: Mapping[str, Any]) -> list[z3.BoolRef]:  # noqa: PLR0911  one return a type
        match of["type"]:
            case "validity":
                now = self.number("time")
                return [self._known("time", z3.And(now >= _microseconds(of["from"]), now < _microseconds(of["until"])))]
            case "emergency_stop":
                age = self.number("stop.list_age_hours") <= of["list_max_age_hours"]
                return [
                    self._known("stop.active", z3.Not(self.yes("stop.active"))),
                    self._known("stop.roles", self.has_all("stop.roles", of["stop_by"])),
                    self._known("stop.restart_roles", self.has_all("stop.restart_roles", of["restart_by"])),
                    self._known("stop.list_age_hours", age),
                ]
            case "legal_basis":
                eligible = self.yes("consent.eligible") if of["consent"]["required"] else True
                return [
                    self._known("legal_basis.scope", self.is_one_of("legal_basis.scope", [of["consent"]["scope"]])),
                    self._known("consent.eligible", eligible),
                ]
            case "transfer":
                return [
                    self._known("transfer.artefacts", self.has_only("transfer.artefacts", of["leaves_site"])),
                    self._known("transfer.destinations", self.has_only("transfer.destinations", of["destinations"])),
                ]
            case "encryption":
                return [self._known("encryption.measures", self.has_all("encryption.measures", of["require"]))]
            case "cohort":
                return [
                    self._known("cohort.sites", self.number("cohort.sites") >= of["min_sites"]),
                    self._known("cohort.observers", self.number("cohort.observers") >= of["observers"]),
                ]
            case "subjects":
                fact = "subjects.sites_per_subject"
                return [self._known(fact, self.number(fact) <= of["max_sites_per_subject"])]
            case "privacy_budget":
                return [
                    self._known("budget.unit", self.number("budget.unit") >= UNITS.index(of["unit"])),
                    self._known("budget.adjacency", self.is_one_of("budget.adjacency", [of["adjacency"]])),
                    self._known("run epsilon", self.exact("run epsilon") <= z3.RealVal(of["per_run"]["epsilon"])),
                    self._known("run delta", self.exact("run delta") <= z3.RealVal(of["per_run"]["delta"])),
                    self._known("lifetime", self.exact("lifetime epsilon") <= z3.RealVal(of["lifetime"]["epsilon"])),
                    self._known("lifetime", self.exact("lifetime delta") <= z3.RealVal(of["lifetime"]["delta"])),
                ]
            case "base_model":
                digests = [model["digest"] for model in of["models"]]
                disclosed = self.number("base_model.disclosure") >= LEVELS.index(of["min_disclosure"])
                return [
                    self._known("base_model.digest", self.is_one_of("base_model.digest", digests)),
                    self._known("base_model.licence", self.is_one_of("base_model.licence", of["licences"])),
                    self._known("base_model.disclosure", disclosed),
                ]
            case "approvals":
                excluded = self.yes("approvals.requester_excluded") if of["exclude_requester"] else True
                counts = {f"approvals.{role}": least for role, least in of["at_least"].items()}
                return [
                    *(self._known(fact, self.number(fact) >= least) for fact, least in counts.items()),
                    self._known("approvals.requester_excluded", excluded),
                ]
            case "retention":
                fact = "retention.audit_years"
                return [self._known(fact, self.number(fact) >= of["audit_years"])]
            case unknown:
                raise ValueError(f"the oracle does not know the clause type {unknown}")

    def _grant(self, of: Mapping[str, Any]) -> list[z3.BoolRef]:
        holds = [self._known("action", self.is_one_of("action", [of["action"]]))]
        holds += [self._known(fact, self.is_one_of(fact, of[field])) for field, fact in SINGULAR.items()]
        holds += [self._known(fact, self.has_only(fact, of[fact])) for fact in ("recipients", "downstream_uses")]
        if "max_steps" in of:
            holds.append(self._known("steps", self.number("steps") <= of["max_steps"]))
        return holds


def _microseconds(moment: str) -> int:
    return (datetime.fromisoformat(moment) - EPOCH) // timedelta(microseconds=1)
