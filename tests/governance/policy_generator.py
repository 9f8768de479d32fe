"""Policies and requests by chance: plain documents whose values come from small pools, so that they often meet.

Every function takes a ``random.Random``: Hypothesis chooses its seed (``BY_CHANCE``), and so does a proof.
Bounds lie close together (3 and 3.0000001), the same moment is written in two zones, terms overlap by halves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import strategies as st

from sekisho.governance.document import read_document
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.request import Fact, Request
from sekisho.tests.oracles.evaluator import EXPECTED, LEVELS, SINGULAR

from .policy_cases import DIGEST, KOHI

Document = dict[str, Any]
Facts = dict[str, tuple[Any, str]]

BY_CHANCE = st.integers(0, 2**32 - 1).map(Random)
BASE: Document = read_document(KOHI, name="kohi.yaml").value
PROSE = {"en": "As written.", "ja": "記載のとおり。"}

STARTS = ("2026-11-01T00:00:00+09:00", "2026-10-31T15:00:00Z", "2026-12-01T00:00:00+09:00")
ENDS = ("2027-01-01T00:00:00+09:00", "2027-01-01T00:00:00.000001+09:00", "2099-12-31T00:00:00+09:00")
ROLES = ("legal", "it", "business", "data-protection")
MEASURES = ("secure-aggregation", "bfv", "x25519-mlkem768", "signed-messages")
ARTEFACTS = ("masked-update", "adapter", "validation-votes")
COUNTRIES = ("JP", "DE", "FR", "NO")
DIGESTS = (DIGEST, "sha256:" + "a" * 64, "sha256:" + "b" * 64)
LICENCES = ("Apache-2.0", "MIT", "CC-BY-4.0")
SCOPES = ("fl-training/2026-11", "fl-training/2027-11")
EPSILONS = ("3.0", "3.00", "3.0000001", "4")
DELTAS = ("0.00001", "0.000010", "0.00002")
LIFETIMES = ("7.5", "7.50", "8")
POOLS = {
    "purposes": ("dpv:ImproveExistingProductsAndServices", "dpv:ResearchAndDevelopment", "dpv:CustomerCare"),
    "tasks": ("text-classification", "regression"),
    "methods": ("probe", "lora"),
    "stages": ("pilot", "next", "production"),
    "recipients": ("participants", "affiliates", "public"),
    "downstream_uses": ("internal-quality-triage", "product-development", "resale"),
}


def some(random: Random, pool: tuple[str, ...], least: int = 1) -> list[str]:
    """A part of the pool, at least so many; rarely fewer than half where nothing forces it."""
    return random.sample(pool, random.randint(max(least, len(pool) // 2 if random.random() < 0.8 else 0), len(pool)))


def _approvals(random: Random) -> dict[str, int]:
    others = {role: 1 for role in ROLES[2:] if random.random() < 0.3}
    return {"legal": random.choice((1, 1, 2)), "it": 1, **others}


CLAUSES: dict[str, Callable[[Random], dict[str, Any]]] = {
    "validity": lambda r: {"from": r.choice(STARTS), "until": r.choice(ENDS)},
    "emergency_stop": lambda r: {
        "stop_by": some(r, ROLES), "restart_by": some(r, ROLES), "list_max_age_hours": r.choice((24, 25, 48)),
    },
    "legal_basis": lambda r: {
        "bases": ["appi:consent-18-1"],
        "consent": {"required": r.random() < 0.7, "scope": SCOPES[r.random() < 0.1]},
    },
    "transfer": lambda r: {
        "leaves_site": some(r, ARTEFACTS, least=r.random() > 0.1), "destinations": some(r, COUNTRIES),
    },
    "encryption": lambda r: {"require": some(r, MEASURES)},
    "cohort": lambda r: {"min_sites": r.choice((3, 3, 4)), "observers": r.choice((1, 1, 2))},
    "subjects": lambda r: {"max_sites_per_subject": r.choice((1, 2))},
    "privacy_budget": lambda r: {
        "unit": r.choice(("record", "subject")),
        "adjacency": "add-or-remove-one",
        "lifetime": {"epsilon": r.choice(LIFETIMES), "delta": r.choice(("0.0001", "0.0002"))},
        "per_run": {"epsilon": r.choice(EPSILONS), "delta": r.choice(DELTAS)},
        "on_exhausted": "refuse",
    },
    "base_model": lambda r: {
        "models": [{"name": one[-4:], "digest": one} for one in some(r, DIGESTS)],
        "licences": some(r, LICENCES),
        "min_disclosure": r.choice(LEVELS[:3]),
    },
    "approvals": lambda r: {"at_least": _approvals(r), "exclude_requester": r.random() < 0.6},
    "retention": lambda r: {
        "audit_years": r.choice((0, 3, 6)), "on_withdrawal": BASE["always"][-1]["on_withdrawal"],
    },
}  # fmt: skip


def always_clause(random: Random, kind: str) -> dict[str, Any]:
    """One clause of a type, without its id."""
    return {"type": kind, "text": PROSE, **CLAUSES[kind](random)}


def grant(random: Random) -> dict[str, Any]:
    """One grant, without its id."""
    action = random.choice(("train", "train", "release"))
    lists = {name: some(random, pool) for name, pool in POOLS.items()}
    steps = {"max_steps": random.choice((50, 51, 100))} if action == "train" else {}
    return {"action": action, "text": PROSE, **lists, **steps}


def policy_document(random: Random) -> Document:
    """A whole policy; its clauses in an order of their own."""
    kinds = list(CLAUSES)
    random.shuffle(kinds)
    document = {
        **deepcopy(BASE),
        "always": [always_clause(random, kind) for kind in kinds],
        "grants": [grant(random) for _ in range(random.choice((1, 1, 2, 2, 3, 6)))],
    }
    return numbered(document)


def changed(random: Random, document: Document) -> Document:
    """The policy after an amendment or three: clauses drawn anew, grants added, dropped or drawn anew."""
    after = deepcopy(document)
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        if random.random() < 0.6:
            place = random.randrange(len(after["always"]))
            after["always"][place] = always_clause(random, after["always"][place]["type"])
        else:
            _change_grants(random, after["grants"])
    return numbered(after)


def _change_grants(random: Random, grants: list[dict[str, Any]]) -> None:
    place = random.randrange(len(grants))
    match random.choice(("field", "field", "new", "add", "drop")):
        case "field":
            name = random.choice(list(POOLS))
            grants[place] = {**grants[place], name: some(random, POOLS[name])}
        case "new":
            grants[place] = grant(random)
        case "add" if len(grants) < 6:
            grants.append(grant(random))
        case "drop" if len(grants) > 1:
            del grants[place]


def numbered(document: Document) -> Document:
    """The document with ids in its own order."""
    document["always"] = [{**one, "id": str(place)} for place, one in enumerate(document["always"], start=1)]
    document["grants"] = [{**one, "id": f"G{place}"} for place, one in enumerate(document["grants"], start=1)]
    return document


def parsed(document: Mapping[str, Any]) -> Policy:
    """The policy as our software reads it; JSON is YAML."""
    return Policy.parse(json.dumps(document, ensure_ascii=False).encode() + b"\n", "generated.yaml")


def fitting_facts(random: Random, document: Document) -> Facts:
    """Facts that the policy's authors would expect to be permitted, at its bounds or inside them."""
    of = {one["type"]: one for one in document["always"]}
    given = random.choice(document["grants"])
    run = of["privacy_budget"]["per_run"]
    least = LEVELS.index(of["base_model"]["min_disclosure"])
    values: dict[str, Any] = {
        "time": _moment_in(random, of["validity"]["from"], of["validity"]["until"]),
        "stop.active": False,
        "stop.roles": frozenset(of["emergency_stop"]["stop_by"]) | set(some(random, ROLES, 0)),
        "stop.restart_roles": frozenset(of["emergency_stop"]["restart_by"]) | set(some(random, ROLES, 0)),
        "stop.list_age_hours": random.choice((0, of["emergency_stop"]["list_max_age_hours"])),
        "legal_basis.scope": of["legal_basis"]["consent"]["scope"],
        "consent.eligible": of["legal_basis"]["consent"]["required"] or random.random() < 0.5,
        "transfer.artefacts": frozenset(some(random, tuple(of["transfer"]["leaves_site"]), 0)),
        "transfer.destinations": frozenset(some(random, tuple(of["transfer"]["destinations"]))),
        "encryption.measures": frozenset(of["encryption"]["require"]) | set(some(random, MEASURES, 0)),
        "cohort.sites": of["cohort"]["min_sites"] + random.choice((0, 0, 1)),
        "cohort.observers": of["cohort"]["observers"] + random.choice((0, 0, 1)),
        "subjects.sites_per_subject": random.randint(1, of["subjects"]["max_sites_per_subject"]),
        "budget.unit": random.choice(("subject", of["privacy_budget"]["unit"])),
        "budget.adjacency": of["privacy_budget"]["adjacency"],
        "budget.run_epsilon": random.choice((Decimal(run["epsilon"]), Decimal("0.1"), 1)),
        "budget.run_delta": random.choice((Decimal(run["delta"]), Decimal("0.0000001"))),
        "budget.lifetime_fits": True,
        "base_model.digest": random.choice(of["base_model"]["models"])["digest"],
        "base_model.licence": random.choice(of["base_model"]["licences"]),
        "base_model.disclosure": random.choice(LEVELS[least:]),
        "approvals.requester_excluded": of["approvals"]["exclude_requester"] or random.random() < 0.5,
        "retention.audit_years": of["retention"]["audit_years"] + random.choice((0, 0, 1)),
        "action": given["action"],
        **{fact: random.choice(given[name]) for name, fact in SINGULAR.items()},
        "steps": random.choice((1, given.get("max_steps", 7))),
        "recipients": frozenset(some(random, tuple(given["recipients"]))),
        "downstream_uses": frozenset(some(random, tuple(given["downstream_uses"]), 0)),
    }
    facts = {name: (value, EXPECTED[name][1]) for name, value in values.items()}
    for role, count in of["approvals"]["at_least"].items():
        facts[f"approvals.{role}"] = (count + random.choice((0, 0, 1)), "roster")
    return facts


def _moment_in(random: Random, start: str, until: str) -> datetime:
    first, end = datetime.fromisoformat(start), datetime.fromisoformat(until)
    return random.choice((first, first + (end - first) / 2, end - timedelta(microseconds=1)))


STRANGE: tuple[Any, ...] = (
    None, 0, 1, 2, -1, 24, 3, True, False, 0.5, "", "x", "record", "subject", "none", "release", "full", b"x", [],
    Decimal("3.00000001"), Decimal("NaN"), Decimal("Infinity"), Decimal(0), frozenset(), frozenset({"JP"}), {1},
    frozenset({"legal"}), frozenset({"adapter"}), frozenset(ROLES), frozenset({"public", "participants"}), 10**30,
    datetime.fromisoformat(STARTS[2]), datetime.fromisoformat(ENDS[0]), datetime(2027, 1, 1), "probe", "pilot", "MIT",
)  # fmt: skip


def spoilt(random: Random, facts: Facts, other: Facts) -> Facts:
    """Facts of which some are another request's, strange, missing, or on the word of another source."""
    after = dict(facts)
    for _ in range(random.choice((0, 0, 1, 1, 2, 3))):
        name = random.choice(sorted(after))
        value, source = after[name]
        match random.choice(("other", "other", "strange", "gone", "source")):
            case "other":
                after[name] = other.get(name, (value, source))
            case "strange":
                after[name] = (random.choice(STRANGE), source)
            case "gone":
                del after[name]
            case "source":
                after[name] = (value, random.choice(("coordinator", "study", "roster", "")))
    return after


def request_of(facts: Facts) -> Request:
    """The facts as our software takes them."""
    return Request({name: Fact(value, source) for name, (value, source) in facts.items()})


def can_be(request: Request) -> bool:
    """Whether no set is empty that cannot be: nothing is sent, to nobody, or nowhere."""
    sets = (request.get(name) for name in ("transfer.artefacts", "transfer.destinations", "recipients"))
    return all(fact is None or fact.value != frozenset() for fact in sets)
