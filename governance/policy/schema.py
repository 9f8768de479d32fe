"""The JSON Schema of a policy, from the declarations: for editors, while somebody writes.

Not for: reading a policy (policy.py). What this schema accepts may still be refused; what it refuses is refused there.

    policy_schema_text() -> policies/policy.schema.json (draft 2020-12)

A policy whose first line is ``# yaml-language-server: $schema=policy.schema.json`` is completed and checked as it is
typed. Terms are listed with their labels in both languages, and every field says what it is held against.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from ..vocabulary import VOCABULARY, label, terms
from .always_clauses import ALWAYS
from .clause import ClauseType
from .explain import name_of
from .grant_clauses import GRANTS
from .policy import PolicyHeader

DRAFT = "https://json-schema.org/draft/2020-12/schema"
ID = "urn:sekisho:schema:policy:1"

# Codes under which `legal check` refuses what no schema can say, beside everything about characters and quotes.
ONLY_CHECKED = (
    "APPROVALS_INCOMPLETE", "BUDGET_MEANINGLESS", "BUDGET_RUN_ABOVE_LIFETIME", "COHORT_IMPOSSIBLE", "CUT_OFF",
    "DUPLICATE_ID", "NOT_A_TIME", "VALIDITY_EMPTY",
)  # fmt: skip
_DESCRIPTION = (
    "A data-use policy of Sekisho (sekisho-policy/1) / データ利用規程。 "
    "Only `sekisho legal check` has the last word. It alone finds: an end before the beginning, and dates that do not "
    "exist; more observers than the group has room for; an epsilon or delta without meaning; a run above the "
    "lifetime budget; approvals without legal and it; two clauses with one number; a file that was cut off; and "
    "what an editor's reader passes over: hidden characters, anchors, tags, fields given twice, numbers and texts "
    "whose quotes are missing."
)


def policy_schema() -> dict[str, Any]:
    """The schema as JSON values."""
    collected: dict[str, Any] = {}
    schema = _model(PolicyHeader, collected)
    for declared in (*ALWAYS.values(), *GRANTS.values()):
        collected[f"clause.{declared.name}"] = _clause(declared, collected)
    properties = schema["properties"]
    properties["always"] = {
        "description": "Each clause type exactly once, in any order; every one must hold / "
        "各条項は一度ずつ。すべて満たすことを要する",
        "type": "array",
        "minItems": len(ALWAYS),
        "maxItems": len(ALWAYS),
        "items": _one_of("type", ALWAYS),
        "allOf": [_once(name) for name in ALWAYS],
    }
    properties["grants"] = {
        **{key: value for key, value in properties["grants"].items() if key in ("type", "minItems", "maxItems")},
        "description": "One whole grant must hold / いずれか一つの許可の全体を満たすことを要する",
        "items": _one_of("action", GRANTS),
    }
    kinds = sorted(_vocabularies(schema) | _vocabularies(collected))
    definitions = {**dict(sorted(collected.items())), **{f"terms.{kind}": _terms(kind) for kind in kinds}}
    return {
        "$schema": DRAFT,
        "$id": ID,
        "$comment": "Written by `sekisho legal schema` from the declarations; not edited by hand.",
        "title": "Data-use policy / データ利用規程",
        **_referring({**schema, "description": _DESCRIPTION}),
        "$defs": _referring(definitions),
    }


def policy_schema_text() -> str:
    """The schema as the file that is committed and handed out."""
    return json.dumps(policy_schema(), ensure_ascii=False, indent=1) + "\n"


def _model(model: type[BaseModel], collected: dict[str, Any]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True)
    collected.update({name: _tidy(value) for name, value in schema.pop("$defs", {}).items()})
    return {**_tidy(schema)}


def _clause(declared: ClauseType, collected: dict[str, Any]) -> dict[str, Any]:
    schema = _model(declared.model, collected)
    name = name_of(declared.name)
    schema["title"] = f"{name.en} / {name.ja}"
    for field, properties in schema["properties"].items():
        said = _held_against(declared, field)
        if said:
            # beside a reference, not inside what it refers to: others refer to it as well
            properties["description"] = said
    return schema


def _held_against(declared: ClauseType, field: str) -> str:
    if field in declared.recorded:
        return "For the record; enforced by nobody / 記録のみ（システムは強制しない）"
    own = [one for one in declared.fields if one.name.split(".")[0] == field]
    said = []
    for one in own:
        source = label("sources", one.source)
        said.append(f"{one.name}: held against {one.fact} (from {source.en} / {source.ja}); refuses with {one.code}")
    return ". ".join(said)


def _one_of(key: str, declared: Mapping[str, ClauseType]) -> dict[str, Any]:
    """One of the clause types, told apart by ``key``; if/then, so that an editor complains about that one alone."""
    names = [name_of(name) for name in declared]
    return {
        "type": "object",
        "required": ["id", key, "text"],
        "properties": {
            key: {"enum": list(declared), "enumDescriptions": [f"{name.en} / {name.ja}" for name in names]},
        },
        "allOf": [
            {
                "if": {"properties": {key: {"const": name}}, "required": [key]},
                "then": {"$ref": f"#/$defs/clause.{name}"},
            }
            for name in declared
        ],
    }


def _once(name: str) -> dict[str, Any]:
    found = {"type": "object", "properties": {"type": {"const": name}}, "required": ["type"]}
    return {"contains": found, "minContains": 1, "maxContains": 1}


def _terms(kind: str) -> dict[str, Any]:
    return {
        "type": "string",
        "description": f"A term of policies/terms/{kind}.toml",
        "enum": list(terms(kind)),
        "enumDescriptions": [f"{words.en} / {words.ja}" for words in terms(kind).values()],
    }


def _walk(node: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Every schema inside ``node`` changed, from the inside; names of fields are no schemas."""
    if isinstance(node, list):
        return [_walk(item, change) for item in node]
    if not isinstance(node, dict):
        return node
    inner = {}
    for key, value in node.items():
        if key in ("properties", "$defs") and isinstance(value, dict):
            inner[key] = {name: _walk(item, change) for name, item in value.items()}
        else:
            inner[key] = _walk(value, change)
    return change(inner)


def _tidy(node: Any) -> Any:
    # Titles repeat the fields' names. A term that is listed twice is read as once, so nothing here refuses it.
    return _walk(node, lambda schema: {key: value for key, value in schema.items() if key not in _NOISE})


_NOISE = ("title", "uniqueItems", "default")


def _referring(node: Any) -> Any:
    def refer(schema: dict[str, Any]) -> dict[str, Any]:
        kind = schema.get(VOCABULARY)
        if kind is None:
            return schema
        rest = {key: value for key, value in schema.items() if key not in (VOCABULARY, "type")}
        return {"$ref": f"#/$defs/terms.{kind}", **rest}

    return _walk(node, refer)


def _vocabularies(node: Any) -> set[str]:
    found: set[str] = set()

    def look(schema: dict[str, Any]) -> dict[str, Any]:
        found.update([schema[VOCABULARY]] if VOCABULARY in schema else [])
        return schema

    _walk(node, look)
    return found
