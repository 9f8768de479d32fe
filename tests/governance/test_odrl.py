"""The ODRL export: for information, whole, and never more than the policy itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sekisho.core.cli.console import DONE, REFUSED, UNUSABLE
from sekisho.core.cli.templates import read_template, templates
from sekisho.governance.policy.decide import ACTION
from sekisho.governance.policy.odrl import CONTEXT, OWN, odrl_of
from sekisho.governance.policy.policy import Policy
from sekisho.governance.vocabulary import known

from ..federation.command import sekisho_here

SOUND = Path(__file__).parent / "broken" / "sound.yaml"
OPERATORS = {"odrl:isAnyOf", "odrl:isPartOf", "odrl:hasPart", "odrl:gteq", "odrl:lteq", "odrl:lt"}


def policy(name: str) -> Policy:
    return Policy.parse(read_template(name).encode(), f"{name}.yaml")


def atoms(constraint: dict[str, Any]) -> list[dict[str, Any]]:
    both: list[dict[str, Any]] = constraint.get("odrl:and", {}).get("@list", [])
    return both or [constraint]


@pytest.mark.parametrize("name", templates())
def test_every_grant_is_a_permission_under_every_constraint_of_the_policy(name: str) -> None:
    read = policy(name)
    export = odrl_of(read)
    assert export["@type"] == "odrl:Set" and export["@context"] == CONTEXT
    assert len(export["odrl:permission"]) == len(read.grants)
    for permission, grant in zip(export["odrl:permission"], read.grants, strict=True):
        assert permission["odrl:action"] == {"@id": f"{OWN}action:{grant.type}"}
        written = [(one["sekisho:clause"], one["sekisho:field"]) for one in permission["odrl:constraint"]]
        provisions = (*read.always, grant)
        assert written == [(one.id, held.field) for one in provisions for held in one.held if held.field != ACTION]


@pytest.mark.parametrize("name", templates())
def test_the_shape_is_that_of_odrl_in_json_ld(name: str) -> None:
    export = odrl_of(policy(name))
    for permission in export["odrl:permission"]:
        parts = {"odrl:target", "odrl:assigner", "odrl:action", "odrl:constraint"}
        assert set(permission) == {"@id", "dct:description", *parts}
        for constraint in permission["odrl:constraint"]:
            for atom in atoms(constraint):
                assert atom["odrl:operator"]["@id"] in OPERATORS
                left = atom["odrl:leftOperand"]["@id"]
                assert left in ("odrl:purpose", "odrl:dateTime") or left.startswith(OWN)
                right = atom["odrl:rightOperand"]
                for value in right if isinstance(right, list) else [right]:
                    assert set(value) in ({"@id"}, {"@value", "@type"})
                    prefix = str(value.get("@id", value.get("@type"))).split(":")[0]
                    assert prefix in {*CONTEXT, "urn"}


def test_purposes_are_terms_of_dpv() -> None:
    for permission in odrl_of(policy("gdpr-health-research"))["odrl:permission"]:
        (purpose,) = (one for one in permission["odrl:constraint"] if one["sekisho:field"] == "purposes")
        assert purpose["odrl:leftOperand"] == {"@id": "odrl:purpose"}
        assert all(known("purposes", term["@id"]) for term in purpose["odrl:rightOperand"])


def test_limits_keep_their_direction() -> None:
    permission = odrl_of(Policy.parse(SOUND.read_bytes(), SOUND.name))["odrl:permission"][0]
    found = {
        (one["sekisho:clause"], one["sekisho:field"]): (one["odrl:operator"]["@id"], one["odrl:rightOperand"])
        for one in permission["odrl:constraint"]
    }
    assert found["6", "min_sites"] == ("odrl:gteq", {"@value": "3", "@type": "xsd:integer"})
    assert found["8", "per_run.delta"] == ("odrl:lteq", {"@value": "0.000001", "@type": "xsd:decimal"})
    assert found["1", "from"] == ("odrl:gteq", {"@value": "2027-04-01T00:00:00+09:00", "@type": "xsd:dateTime"})
    assert found["1", "until"] == ("odrl:lt", {"@value": "2028-04-01T00:00:00+09:00", "@type": "xsd:dateTime"})
    assert found["4", "destinations"][0] == "odrl:isPartOf" and found["5", "require"][0] == "odrl:hasPart"
    # at least sources-listed: the steps of the scale from there on, and none below
    steps = [step["@id"].rsplit(":", 1)[1] for step in found["9", "min_disclosure"][1]]
    assert steps == ["sources-listed", "eu-art53-summary", "full"]
    assert found["2", "stop"][1] == [{"@value": "false", "@type": "xsd:boolean"}]


def test_it_says_in_both_languages_that_the_signed_file_prevails() -> None:
    read = Policy.parse(SOUND.read_bytes(), SOUND.name)
    export = odrl_of(read)
    words = {text["@language"]: text["@value"] for text in export["dct:description"]}
    assert "signed YAML policy prevails" in words["en"] and "署名済みのYAML規程が優先" in words["ja"]
    assert export["dct:identifier"] == read.canonical_digest and export["dct:source"] == read.bytes_digest


def test_the_command_prints_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = sekisho_here(capsys, "legal", "odrl", SOUND)
    read = Policy.parse(SOUND.read_bytes(), str(SOUND))
    assert ended.exit == DONE and json.loads(ended.out) == odrl_of(read)
    assert sekisho_here(capsys, "legal", "odrl", SOUND, "--json").told == odrl_of(read)
    out = tmp_path / "policy.jsonld"
    assert sekisho_here(capsys, "legal", "odrl", SOUND, "--out", out).exit == DONE
    assert json.loads(out.read_text("utf-8")) == odrl_of(read)
    assert sekisho_here(capsys, "legal", "odrl", SOUND, "--out", out).exit == REFUSED
    assert sekisho_here(capsys, "legal", "odrl", tmp_path / "none.yaml").exit == UNUSABLE
