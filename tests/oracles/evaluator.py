"""Decisions a second time: from the policy's plain document, in sets and comparisons, with nothing of ours imported.

Facts are ``{name: (value, source)}``. Sources and types are written down here again, and so is the scale of disclosure:
what the product's declarations say is what is being checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

Facts = Mapping[str, tuple[Any, str]]

LEVELS = ["none", "statement", "sources-listed", "eu-art53-summary", "full"]
GRANTS = "grants"  # the name of the one refusal that is nobody's clause
SINGULAR = {"purposes": "purpose", "tasks": "task", "methods": "method", "stages": "stage"}

NO_NUMBERS = {"NaN", "sNaN", "Infinity"}
_TEXT, _YES, _COUNT, _EXACT, _SET, _MOMENT = "text", "yes or no", "count", "exact", "set", "moment"
EXPECTED = {
    "time": (_MOMENT, "clock"),
    "stop.active": (_YES, "roster"),
    "stop.roles": (_SET, "roster"),
    "stop.restart_roles": (_SET, "roster"),
    "stop.list_age_hours": (_COUNT, "roster"),
    "legal_basis.scope": (_TEXT, "study"),
    "consent.eligible": (_YES, "site-consent"),
    "transfer.artefacts": (_SET, "site-runtime"),
    "transfer.destinations": (_SET, "roster"),
    "encryption.measures": (_SET, "site-runtime"),
    "cohort.sites": (_COUNT, "roster"),
    "cohort.observers": (_COUNT, "study"),
    "subjects.sites_per_subject": (_COUNT, "study"),
    "budget.unit": (_TEXT, "study"),
    "budget.adjacency": (_TEXT, "study"),
    "budget.run_epsilon": (_EXACT, "site-ledger"),
    "budget.run_delta": (_EXACT, "site-ledger"),
    "budget.lifetime_fits": (_YES, "site-ledger"),
    "base_model.digest": (_TEXT, "site-intake"),
    "base_model.licence": (_TEXT, "site-intake"),
    "base_model.disclosure": (_TEXT, "site-intake"),
    "approvals.requester_excluded": (_YES, "roster"),
    "retention.audit_years": (_COUNT, "study"),
    "action": (_TEXT, "study"),
    "purpose": (_TEXT, "study"),
    "task": (_TEXT, "study"),
    "method": (_TEXT, "study"),
    "stage": (_TEXT, "study"),
    "steps": (_COUNT, "study"),
    "recipients": (_SET, "study"),
    "downstream_uses": (_SET, "study"),
}


def _of_kind(value: Any, kind: str) -> bool:
    match kind:
        case "text":
            return type(value) is str
        case "yes or no":
            return value is True or value is False
        case "count":
            return type(value) is int
        case "exact":
            return type(value) is int or (type(value) is Decimal and str(value).lstrip("-") not in NO_NUMBERS)
        case "set":
            return type(value) in {set, frozenset} and all(type(item) is str for item in value)
        case _:
            return type(value) is datetime and value.utcoffset() is not None


class _Facts:
    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def __call__(self, name: str, test: Callable[[Any], bool]) -> bool:
        kind, source = EXPECTED.get(name, (_COUNT, "roster"))  # what is not listed are the approvals of one role
        value, said_by = self.facts.get(name, (None, ""))
        return said_by == source and _of_kind(value, kind) and test(value)


def refusing(document: Mapping[str, Any], facts: Facts) -> set[str]:
    """The ids of the clauses that refuse, and ``"grants"`` where no grant holds; empty: permitted."""
    ok = _Facts(facts)
    refused = {clause["id"] for clause in document["always"] if not all(_holds(clause, ok))}
    return refused if any(_granted(grant, ok) for grant in document["grants"]) else refused | {GRANTS}


def _holds(of: Mapping[str, Any], ok: _Facts) -> list[bool]:  # noqa: PLR0911  one return a type
    match of["type"]:
        case "validity":
            start, end = datetime.fromisoformat(of["from"]), datetime.fromisoformat(of["until"])
            return [ok("time", lambda t: start <= t and not end <= t)]
        case "emergency_stop":
            return [
                ok("stop.active", lambda on: not on),
                ok("stop.roles", lambda held: not set(of["stop_by"]) - held),
                ok("stop.restart_roles", lambda asked: not set(of["restart_by"]) - asked),
                ok("stop.list_age_hours", lambda hours: not hours > of["list_max_age_hours"]),
            ]
        case "legal_basis":
            return [
                ok("legal_basis.scope", lambda scope: scope == of["consent"]["scope"]),
                ok("consent.eligible", lambda yes: yes or not of["consent"]["required"]),
            ]
        case "transfer":
            return [
                ok("transfer.artefacts", lambda some: not some - set(of["leaves_site"])),
                ok("transfer.destinations", lambda some: {*some, *of["destinations"]} == set(of["destinations"])),
            ]
        case "encryption":
            return [ok("encryption.measures", lambda on: all(one in on for one in of["require"]))]
        case "cohort":
            return [
                ok("cohort.sites", lambda n: not n < of["min_sites"]),
                ok("cohort.observers", lambda n: not n < of["observers"]),
            ]
        case "subjects":
            return [ok("subjects.sites_per_subject", lambda n: not n > of["max_sites_per_subject"])]
        case "privacy_budget":
            return [
                ok("budget.unit", lambda unit: unit == "subject" or (unit, of["unit"]) == ("record", "record")),
                ok("budget.adjacency", lambda kind: kind == of["adjacency"]),
                ok("budget.run_epsilon", lambda cost: not cost > Decimal(of["per_run"]["epsilon"])),
                ok("budget.run_delta", lambda cost: not cost > Decimal(of["per_run"]["delta"])),
                ok("budget.lifetime_fits", lambda yes: yes),
            ]
        case "base_model":
            return [
                ok("base_model.digest", lambda one: one in [entry["digest"] for entry in of["models"]]),
                ok("base_model.licence", lambda one: one in of["licences"]),
                ok("base_model.disclosure", lambda one: one in LEVELS[LEVELS.index(of["min_disclosure"]) :]),
            ]
        case "approvals":
            return [
                *(ok(f"approvals.{role}", lambda n, least=least: n >= least) for role, least in of["at_least"].items()),
                ok("approvals.requester_excluded", lambda yes: yes or not of["exclude_requester"]),
            ]
        case "retention":
            return [ok("retention.audit_years", lambda n: n >= of["audit_years"])]
        case unknown:
            raise ValueError(f"the oracle does not know the clause type {unknown}")


def _granted(grant: Mapping[str, Any], ok: _Facts) -> bool:
    return (
        ok("action", lambda one: one == grant["action"])
        and all(ok(fact, lambda one, field=field: one in grant[field]) for field, fact in SINGULAR.items())
        and all(
            ok(field, lambda some, field=field: not [one for one in some if one not in grant[field]])
            for field in ("recipients", "downstream_uses")
        )
        and ("max_steps" not in grant or ok("steps", lambda n: n <= grant["max_steps"]))
    )
