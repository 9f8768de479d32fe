"""A policy as ODRL 2.2 in JSON-LD, for tools that read that; informative: the signed YAML prevails.

Not for: importing (there is none), enforcing. ODRL has no missing facts, no sources and no privacy budget; what it has
no word for stands under own names (urn:sekisho:), which no other tool enforces.

    odrl_of(policy) -> JSON values: an odrl:Set with one permission per grant, every constraint of the policy in each
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from ..language import LANGUAGES, Text
from .clause import Held
from .decide import ACTION
from .lattice import Constraint, Interval, Level, OneOf, Requires, Truth, Window, Within, write
from .policy import Policy, Provision

OWN = "urn:sekisho:"
# Each prefix resolves to the vocabulary that its terms are from; nothing is fetched.
CONTEXT: dict[str, Any] = {
    "odrl": "http://www.w3.org/ns/odrl/2/",
    "dpv": "https://w3id.org/dpv#",
    "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
    "pd": "https://w3id.org/dpv/pd#",
    "dct": "http://purl.org/dc/terms/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "appi": f"{OWN}appi:",
    "hipaa": f"{OWN}hipaa:",
    "sekisho": OWN,
}
NOTICE = Text(
    en="Informative export. The signed YAML policy prevails, and only it is enforced. What this form permits is not "
    "thereby permitted: facts must be known, and come from the source that the policy names.",
    ja="参考用の出力である。署名済みのYAML規程が優先し、システムはこれのみを適用する。本形式で許可されることは、許可を意味しない。"
    "事実が判明しており、かつ、規程の定める提供元によることを要する。",
)
# Facts for which ODRL has a left operand; all others are our own.
_LEFT_OPERANDS = {"purpose": "odrl:purpose", "time": "odrl:dateTime"}
_PREFIXES = ("dpv:", "eu-gdpr:", "pd:", "appi:", "hipaa:")


def odrl_of(policy: Policy) -> dict[str, Any]:
    """The whole policy; deterministic, so that the same policy gives the same bytes."""
    header = policy.header
    target = f"{OWN}dataset:{policy.dataset.id}"
    assigner = f"{OWN}party:{header.parties.controller.id}"
    return {
        "@context": CONTEXT,
        "@id": f"{OWN}policy:{policy.id}:v{policy.version}",
        "@type": "odrl:Set",
        "dct:description": _both(NOTICE),
        "dct:title": _both(policy.dataset.title),
        "dct:identifier": policy.canonical_digest,
        "dct:source": policy.bytes_digest,
        "odrl:permission": [_permission(policy, grant, target, assigner) for grant in policy.grants],
    }


def _permission(policy: Policy, grant: Provision, target: str, assigner: str) -> dict[str, Any]:
    # A permission holds only with all clauses under always; ODRL has no place for them but inside each permission.
    constraints = [
        _constraint(provision, held)
        for provision in (*policy.always, grant)
        for held in provision.held
        if held.field != ACTION
    ]
    return {
        "@id": f"{OWN}policy:{policy.id}:v{policy.version}:{grant.id}",
        "odrl:target": {"@id": target},
        "odrl:assigner": {"@id": assigner},
        "odrl:action": {"@id": f"{OWN}action:{grant.type}"},
        "dct:description": _both(grant.clause.text),
        "odrl:constraint": constraints,
    }


def _constraint(provision: Provision, held: Held) -> dict[str, Any]:
    constraints = _compared(held.allowed, held.vocabulary)
    stands = {"sekisho:clause": provision.id, "sekisho:field": held.field, "sekisho:source": held.source}
    left = {"@id": _LEFT_OPERANDS.get(held.fact, OWN + held.fact)}
    written = [
        {"odrl:leftOperand": left, "odrl:operator": {"@id": f"odrl:{operator}"}, "odrl:rightOperand": right}
        for operator, right in constraints
    ]
    if len(written) == 1:
        return {**written[0], **stands}
    return {"odrl:and": {"@list": written}, **stands}


def _compared(allowed: Constraint, vocabulary: str | None) -> list[tuple[str, Any]]:  # noqa: PLR0911  one a class
    """Operator and right operand; two where both ends of an interval or a window are given."""
    match allowed:
        case OneOf():
            return [("isAnyOf", [_term(term, vocabulary) for term in allowed.parts()])]
        case Within():
            return [("isPartOf", [_term(term, vocabulary) for term in allowed.parts()])]
        case Requires():
            return [("hasPart", [_term(term, vocabulary) for term in allowed.parts()])]
        case Level():
            steps = allowed.scale[allowed.scale.index(allowed.least) :]
            return [("isAnyOf", [_term(step, vocabulary) for step in steps])]
        case Truth():
            return [("isAnyOf", [_literal(value) for value in sorted(allowed.allowed)])]
        case Interval():
            return _ends(("gteq", allowed.low), ("lteq", allowed.high))
        case Window():
            return _ends(("gteq", allowed.start), ("lt", allowed.until))
        case _:
            return [("eq", allowed.text())]


def _ends(*ends: tuple[str, int | Decimal | datetime | None]) -> list[tuple[str, Any]]:
    return [(operator, _literal(end)) for operator, end in ends if end is not None]


def _term(term: str, vocabulary: str | None) -> dict[str, str]:
    if term.startswith(_PREFIXES):
        return {"@id": term}
    kind = f"{vocabulary}:" if vocabulary else ""
    return {"@id": f"{OWN}{kind}{term}"}


def _literal(value: bool | int | Decimal | datetime) -> dict[str, str]:
    if isinstance(value, bool):
        return {"@value": write(value), "@type": "xsd:boolean"}
    if isinstance(value, datetime):
        return {"@value": value.isoformat(), "@type": "xsd:dateTime"}
    return {"@value": write(value), "@type": "xsd:integer" if isinstance(value, int) else "xsd:decimal"}


def _both(text: Text) -> list[dict[str, str]]:
    return [{"@value": text[language], "@language": language} for language in LANGUAGES]
