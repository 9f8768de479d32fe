"""Every export of a run's statement is what its published schema says, and holds no record, no count and no file digest
of data."""

from __future__ import annotations

import importlib.util
import json
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

from sekisho.governance.canonical import digest_bytes
from sekisho.governance.errors import BadDocumentError
from sekisho.governance.language import Catalogue, Text
from sekisho.governance.provenance import croissant, mlbom, modelcard, prov
from sekisho.governance.provenance.about import About
from sekisho.governance.provenance.disclosure import BaseModelRecord
from sekisho.governance.provenance.provenance import TrainingRun
from sekisho.governance.signing.envelope import Statement
from sekisho.governance.signing.roster import Roster


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evidence_example", Path(__file__).with_name("evidence_example.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = load_example()
TEXTS = Catalogue.load("sekisho.governance", "texts")
RECORD = BaseModelRecord.parse(example.BASE_MODEL.encode(), "base-model.yaml")
HOSTILE = 'a "quoted": # <b>title</b>\n---\nlicense: none'


def about(**changes: Any) -> About:
    values: dict[str, Any] = {
        "title": Text(en="Food reviews", ja="食品レビュー"), "question": Text(en="Is it liked?", ja="好評か。"),
        "task": "text-classification", "labels": ("dissatisfied", "satisfied"),
        "licence": "LicenseRef-Participants-Only", "recipients": ("participants",), "permitted": ("quality-control",),
        "prohibited": (Text(en="No ranking of people.", ja="人の順位付けは禁止。"),),
        "data_licences": {"kohi": "CC-BY-4.0"}, "base_model": RECORD,
        "disclaimer": Text(en="A demo.", ja="実演用です。"),
    }
    return About(**{**values, **changes})


def statement(run: Any = example.LORA) -> Statement:
    policies = {site: f"schema: sekisho-policy/1\nid: {site}/reviews\n".encode() for site in example.SITES}
    roster = Roster.parse(example.roster_yaml(), "roster.yaml")
    made: Statement = example.statement(roster, example.STUDY, policies, run)
    return made


def validated(said: Statement) -> Statement:
    """The same with a validation that was accepted and one that was not."""
    cells = {"bad-both": 40, "bad-one": 3, "bad-neither": -1}
    counts = {"after_step": 2, "cohort": list(example.SITES), "cells": cells,
              "one_is": {"bad": "order"}, "labels": "0.6", "labels_low": "0.5", "labels_high": "0.7",
              "standard_error": "2.5", "right": "0.8", "low": "0.7", "high": "0.9", "sum": "sha256:" + "5" * 64}
    rows = [{**counts, "accepted": True}, {**counts, "after_step": 3, "right": "0.31", "accepted": False}]
    return Statement(said.subjects, said.predicate_type, {**said.predicate, "validations": rows})


@pytest.mark.parametrize("run", [example.PROBE, example.LORA])
@pytest.mark.parametrize("title", ["Food reviews", HOSTILE])
def test_the_bill_of_materials_is_a_cyclonedx_document(run: Any, title: str) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    made = validated(statement(run))
    bill = mlbom.document(made, about(title=Text(en=title, ja=title)))
    strict = JsonStrictValidator(SchemaVersion.V1_6)
    assert strict.validate_str(mlbom.to_bytes(bill).decode()) is None
    # the validator is one: a bill with a field too many, or a hash that is none, is refused
    assert strict.validate_str(json.dumps({**bill, "extra": 1})) is not None
    bill["metadata"]["component"]["hashes"][0]["content"] = "none"
    assert strict.validate_str(json.dumps(bill)) is not None


def test_the_bill_names_adapter_base_model_data_and_libraries() -> None:
    bill = mlbom.document(validated(statement()), about())
    adapter = bill["metadata"]["component"]
    assert adapter["hashes"][0]["content"] == example.LORA.adapter.removeprefix("sha256:")
    assert adapter["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [{
        "type": kind, "value": value, "slice": "held out, after step 2",
        "confidenceInterval": {"lowerBound": low, "upperBound": high}} for kind, value, low, high in (
            ("share ordered rightly", "0.8", "0.7", "0.9"), ("share labelled rightly", "0.6", "0.5", "0.7"))]
    kinds = [part["type"] for part in bill["components"]]
    assert kinds == ["machine-learning-model", *["data"] * 3, "library", *["file"] * 3]
    assert set(bill["dependencies"][0]["dependsOn"]) == {part["bom-ref"] for part in bill["components"]}
    status = {one["name"]: one["value"] for one in bill["components"][0]["properties"]}
    assert status["sekisho:training-data:source_licences"] == "undisclosed"
    assert mlbom.document(validated(statement()), about()) == bill


def test_the_prov_document_fits_the_published_schema_and_reads_back() -> None:
    from prov.model import ProvActivity, ProvDocument, ProvEntity

    made = prov.document(statement(), "kohi")
    schema = json.loads(files("prov.tests").joinpath("schemas", "prov-json.schema.json").read_text("utf-8"))
    checker = jsonschema.validators.validator_for(schema)(schema)
    checker.validate(made)
    assert not checker.is_valid({**made, "wasMadeBy": {}})
    read = ProvDocument.deserialize(content=json.dumps(made), format="json")
    assert len(list(read.get_records(ProvActivity))) == 1
    assert len(list(read.get_records(ProvEntity))) == len(made["entity"]) == 4 + 2 * 3 + 4
    again = json.loads(read.serialize(format="json"))
    assert {kind: len(again[kind]) for kind in made if kind != "prefix"} == {
        kind: len(made[kind]) for kind in made if kind != "prefix"}
    # whatever a relation names is there
    there = {*made["entity"], *made["activity"], *made["agent"]}
    relations = [one for kind in made if kind.startswith("was") or kind == "used" for one in made[kind].values()]
    assert relations and {end for one in relations for end in one.values()} <= there


# Croissant 1.0, "Dataset-level information"; the reference implementation only warns of some of them.
REQUIRED = {"@context", "@type", "conformsTo", "name", "description", "license", "url", "creator", "datePublished"}


def test_each_description_of_a_dataset_is_croissant() -> None:
    import mlcroissant

    made = croissant.documents(statement(), about())
    assert list(made) == list(example.SITES)
    for document in made.values():
        read = mlcroissant.Dataset(jsonld=document)
        assert not read.metadata.ctx.issues.errors and not read.metadata.ctx.issues.warnings
        assert read.metadata.ctx.conforms_to.value == croissant.CONFORMS_TO
        assert read.metadata.name == document["name"] and set(document) >= REQUIRED
        assert not {"distribution", "recordSet", "sha256"} & set(document)
    assert made["kohi"]["license"] == "CC-BY-4.0" and made["wanko"]["license"] == "NOASSERTION"
    with pytest.raises(mlcroissant.ValidationError):
        mlcroissant.Dataset(jsonld={**made["kohi"], "@type": "sc:CreativeWork"})


@pytest.mark.parametrize(("run", "library"), [(example.PROBE, None), (example.LORA, "peft")])
def test_the_model_card_is_read_as_the_hub_reads_one(run: Any, library: str | None) -> None:
    from huggingface_hub import ModelCard

    text = modelcard.card(validated(statement(run)), about(title=Text(en=HOSTILE, ja=HOSTILE)), TEXTS)
    read = ModelCard(text)
    assert read.data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert (read.data.license, read.data.to_dict()["license_name"]) == ("other", "licenseref-participants-only")
    assert read.data.library_name == library and read.data.pipeline_tag == "text-classification"
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["tags"] == ["differential-privacy", "federated-learning", "sekisho"]
    assert "<b>" not in text.replace("\\<b\\>", "") and text.count("\n---\n") == 1


def test_the_card_says_in_both_languages_what_is_known_and_what_is_not() -> None:
    text = modelcard.card(validated(statement()), about(), TEXTS)
    for words in ("Licences of the sources: undisclosed", "出典のライセンス：未開示", "0.6 of held-out people get",
                  "epsilon 2.9971", "Prohibited: No ranking of people.", "禁止：人の順位付けは禁止。",
                  "cannot be recalled", "A demo."):
        assert words in text
    assert "0.31" not in text
    none = modelcard.card(statement(), about(licence="Apache-2.0"), TEXTS)
    assert "No validation between blocks" in none and 'license: "apache-2.0"' in none


def test_no_export_holds_a_count_or_a_digest_that_records_could_be_tried_against() -> None:
    made = statement()
    out = [json.dumps(mlbom.document(made, about())), json.dumps(prov.document(made, "kohi")),
           json.dumps(croissant.documents(made, about())), modelcard.card(made, about(), TEXTS)]
    for text in out:
        assert "230" not in text.replace("2.3.4", "") and digest_bytes(b"records") not in text
    assert example.DATASET in out[0] and example.DATASET in out[1] and example.DATASET in out[2]


def test_a_statement_that_lacks_a_field_has_no_export() -> None:
    made = statement()
    short = Statement(made.subjects, made.predicate_type,
                      {key: value for key, value in made.predicate.items() if key != "software"})
    for export in (lambda: mlbom.document(short, about()), lambda: prov.document(short, "kohi"),
                   lambda: TrainingRun.of(short)):
        with pytest.raises(BadDocumentError) as caught:
            export()
        assert caught.value.code == "PROVENANCE_MALFORMED"
