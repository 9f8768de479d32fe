"""JSON Schema: what an editor accepts while somebody writes is what the declarations say, and never less."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from sekisho.core.cli.console import DONE, REFUSED
from sekisho.governance.document import read_document
from sekisho.governance.errors import BadDocumentError
from sekisho.governance.policy.always_clauses import ALWAYS
from sekisho.governance.policy.grant_clauses import GRANTS
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.schema import ONLY_CHECKED, policy_schema, policy_schema_text
from sekisho.governance.vocabulary import terms

from ..federation.command import sekisho_here
from .test_broken_files import edits

ROOT = Path(__file__).parents[2]
BROKEN = Path(__file__).parent / "broken"
COMMITTED = ROOT / "policies" / "policy.schema.json"
POLICIES = sorted(path for path in (ROOT / "policies").glob("*.yaml") if ".cases." not in path.name)
EXAMPLES = sorted((ROOT / "examples").glob("*/sites/*/policy.yaml"))
SCHEMA = policy_schema()


def complaints(data: bytes) -> list[str]:
    value = read_document(data, name="policy.yaml").value
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(value)]


def test_the_committed_schema_is_current() -> None:
    assert COMMITTED.read_text("utf-8") == policy_schema_text(), "run `sekisho legal schema` into it"
    Draft202012Validator.check_schema(SCHEMA)


GOOD = [*POLICIES, *EXAMPLES, BROKEN / "sound.yaml"]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_good_policy_is_accepted(path: Path) -> None:
    Policy.parse(path.read_bytes(), path.name)
    assert complaints(path.read_bytes()) == []
    assert len(POLICIES) == 5 and len(EXAMPLES) >= 5


@pytest.mark.parametrize("path", sorted(BROKEN.glob("[0-9]*.yaml")), ids=lambda path: path.stem)
def test_a_broken_policy_is_refused_unless_the_schema_says_that_only_check_finds_it(path: Path) -> None:
    try:
        read_document(path.read_bytes(), name=path.name)
    except BadDocumentError:
        return  # no reader of YAML hands this to a schema
    with pytest.raises(BadDocumentError) as caught:
        Policy.parse(path.read_bytes(), path.name)
    if caught.value.code not in ONLY_CHECKED:
        assert complaints(path.read_bytes())


def test_every_kind_that_only_check_finds_is_shown_by_a_broken_file() -> None:
    expected: Any = read_document((BROKEN / "expected.yaml").read_bytes(), name="expected.yaml").value
    assert set(ONLY_CHECKED) <= {one["code"] for one in expected.values()}
    for word in ("legal check", "numbers", "hidden characters", "anchors"):
        assert word in SCHEMA["description"]


def test_terms_are_listed_with_labels_in_both_languages() -> None:
    assert SCHEMA["$defs"]["terms.countries"]["enum"] == list(terms("countries"))
    for kind in ("purposes", "roles", "units", "downstream_uses"):
        listed = SCHEMA["$defs"][f"terms.{kind}"]
        assert listed["enum"] == list(terms(kind))
        for words, described in zip(terms(kind).values(), listed["enumDescriptions"], strict=True):
            assert words.en in described and words.ja in described
    assert "x-vocabulary" not in json.dumps(SCHEMA)


@pytest.mark.parametrize("name", [*ALWAYS, *GRANTS])
def test_every_clause_type_says_what_its_fields_are_held_against(name: str) -> None:
    declared = {**ALWAYS, **GRANTS}[name]
    schema = SCHEMA["$defs"][f"clause.{name}"]
    assert schema["additionalProperties"] is False
    text = json.dumps(schema, ensure_ascii=False)
    for field in declared.fields:
        if field.name.split(".")[0] in schema["properties"]:
            assert f"held against {field.fact} " in text and field.code in text


def test_each_clause_type_must_stand_there_once() -> None:
    value = read_document((BROKEN / "sound.yaml").read_bytes(), name="x").value
    validator = Draft202012Validator(SCHEMA)
    for index in range(len(ALWAYS)):
        fewer = {**value, "always": value["always"][:index] + value["always"][index + 1 :]}
        twice = {**value, "always": [value["always"][index], *value["always"]]}
        assert not validator.is_valid(fewer) and not validator.is_valid(twice)
    assert not validator.is_valid({**value, "grants": []})


def test_the_command_prints_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sekisho_here(capsys, "legal", "schema").out == policy_schema_text()
    out = tmp_path / "policy.schema.json"
    assert sekisho_here(capsys, "legal", "schema", "--out", out).exit == DONE
    assert out.read_text("utf-8") == policy_schema_text()
    ended = sekisho_here(capsys, "legal", "schema", "--out", out)
    assert ended.exit == REFUSED and "[FILE_EXISTS]" in ended.err


@settings(max_examples=60, deadline=None)
@given(edits())
def test_whatever_check_accepts_the_schema_accepts(edit: tuple[str, set[object]]) -> None:
    try:
        Policy.parse(edit[0].encode(), "policy.yaml")
    except BadDocumentError:
        return
    assert complaints(edit[0].encode()) == []
