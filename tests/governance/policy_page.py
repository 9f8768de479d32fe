"""The tables of docs/formats/policy.md, from the declarations; run as a program it writes them into the page.

    PYTHONPATH=.namespace python tests/governance/policy_page.py
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sekisho.governance.document import read_document
from sekisho.governance.fields import DIGEST, EXACT, IDENTIFIER, LINK, MODEL_NAME, RFC_3339
from sekisho.governance.language import Catalogue
from sekisho.governance.policy.always_clauses import ALWAYS
from sekisho.governance.policy.clause import ClauseType
from sekisho.governance.policy.explain import name_of
from sekisho.governance.policy.grant_clauses import GRANTS
from sekisho.governance.policy.schema import policy_schema
from sekisho.governance.vocabulary import kinds, label, terms

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "formats" / "policy.md"
SCHEMA = policy_schema()
FORMS = {
    DIGEST: "`sha256:` and 64 digits",
    IDENTIFIER: "name of half-width letters, digits and `. _ : / -`",
    MODEL_NAME: "name of half-width letters, digits and `. _ / -`, without spaces",
    LINK: "address that begins with `https://`",
    f"^{EXACT}$": 'exact number in quotes: `"0.00001"`',
    f"^{RFC_3339}$": 'time with its zone in quotes: `"2027-04-01T00:00:00+09:00"`',
}


def written(node: dict[str, Any]) -> str:  # noqa: PLR0911  one return a kind
    """What to write for a field, in words."""
    reference = str(node.get("$ref", "")).removeprefix("#/$defs/")
    if reference.startswith("terms."):
        kind = reference.removeprefix("terms.")
        return f"term of [{kind}](#{kind})"
    if reference == "Text":
        return "text in both languages: `{en, ja}`"
    if reference:
        inner = SCHEMA["$defs"][reference]
        return "block of " + ", ".join(f"`{name}` ({written(field)})" for name, field in inner["properties"].items())
    if "anyOf" in node:
        return written(node["anyOf"][0])
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return " or ".join(f"`{value}`" for value in node["enum"])
    if node.get("type") == "array":
        if "prefixItems" in node:
            return "`[" + ", ".join(str(item["const"]) for item in node["prefixItems"]) + "]`"
        least = node.get("minItems", 0)
        most = f", at most {node['maxItems']}" if "maxItems" in node else ""
        return f"list ({'may be empty' if not least else f'at least {least}'}{most}): {written(node['items'])}"
    if node.get("type") == "integer":
        return f"whole number from {node['minimum']} to {node['maximum']}"
    if node.get("type") == "boolean":
        return "`true` or `false`"
    if node.get("type") == "object":
        return f"block: for each {written(node['propertyNames'])} a {written(node['additionalProperties'])}"
    if "pattern" in node:
        return FORMS[node["pattern"]]
    return f"text of {node['minLength']} to {node['maxLength']} characters"


def header() -> str:
    required = set(SCHEMA["required"])
    rows = ["| field | what to write |", "|---|---|"]
    for name, node in SCHEMA["properties"].items():
        own = {"always": "one clause of each of the types below", "grants": "one to six of the grants below"}
        optional = "" if name in required else " (optional)"
        rows.append(f"| `{name}`{optional} | {own.get(name) or written(node)} |")
    return "\n".join(rows)


def clause(declared: ClauseType) -> str:
    schema, name = SCHEMA["$defs"][f"clause.{declared.name}"], name_of(declared.name)
    described = " ".join(schema["description"].split()).replace("``", "`")
    rows = [f"### {declared.name}", "", f"{name.en} · {name.ja}. {described}", "",
            "| field | what to write | held against | refuses with |", "|---|---|---|---|"]  # fmt: skip
    for field, node in schema["properties"].items():
        if field in ("id", "text"):
            continue
        optional = "" if field in schema["required"] else " (optional)"
        own = [one for one in declared.fields if one.name.split(".")[0] == field]
        held = "<br>".join(f"{one.fact} ({label('sources', one.source).en})" for one in own)
        if not own:
            held = "recorded, not enforced" if field in declared.recorded else "–"
        codes = "<br>".join(one.code for one in own)
        rows.append(f"| `{field}`{optional} | {written(node)} | {held} | {codes or '–'} |")
    beside = [one for one in declared.fields if one.name.split(".")[0] not in schema["properties"]]
    rows += [f"| – | holds always | {one.fact} ({label('sources', one.source).en}) | {one.code} |" for one in beside]
    return "\n".join(rows)


def vocabularies() -> str:
    parts = []
    for kind in kinds():
        if f"terms.{kind}" not in SCHEMA["$defs"] and kind != "sources":
            continue
        rows = [f"### {kind}", "", "| term | English | 日本語 |", "|---|---|---|"]
        rows += [f"| `{term}` | {words.en} | {words.ja} |" for term, words in terms(kind).items()]
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def refusals() -> str:
    """One example a code, from the broken files of the tests."""
    expected: dict[str, Any] = read_document((HERE / "broken" / "expected.yaml").read_bytes(), name="expected").value
    texts = Catalogue.load("sekisho.governance", "texts")
    rows, seen = ["| code | means | 意味 | for example | what to do |", "|---|---|---|---|---|"], set()
    for one in expected.values():
        if one["code"] not in seen and "\u202e" not in one["says"]:
            seen.add(one["code"])
            means = texts[f"refusals.{one['code']}.reason"]
            rows.append(f"| {one['code']} | {means.en} | {means.ja} | {one['says']} | {one['advises']} |")
    return "\n".join([*rows[:2], *sorted(rows[2:])])


TABLES = {
    "header": header,
    "always": lambda: "\n\n".join(clause(declared) for declared in ALWAYS.values()),
    "grants": lambda: "\n\n".join(clause(declared) for declared in GRANTS.values()),
    "vocabularies": vocabularies,
    "refusals": refusals,
}


def page(text: str) -> str:
    """The page with every table as the declarations say now."""
    for name, table in TABLES.items():
        begin, end = f"<!-- from the declarations: {name} -->", f"<!-- end: {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
        found = pattern.search(text)
        if found is None:
            raise ValueError(f"the page has no place for {name}")
        text = text[: found.start()] + f"{begin}\n\n{table()}\n\n{end}" + text[found.end() :]
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
