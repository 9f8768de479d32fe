"""A run's statement as a CycloneDX 1.6 bill of materials for machine learning; informative, the statement decides.

For: tools that read bills of materials. Not for: proof; whoever wants that verifies the statement. Datasets appear as
keyed commitments, among the properties: a hash of data would let anybody try records out, so none stands here.

Order of calls: ``document(statement, about)`` -> JSON value; ``to_bytes`` for a file.
Source: CycloneDX 1.6 JSON schema (ECMA-424), component types machine-learning-model, data, library, file; modelCard.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from ..signing.envelope import Statement, Subject
from .about import About
from .provenance import ADAPTER_FILE, TrainingRun

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
ADAPTER, BASE = "adapter", "base-model"
OWN = "sekisho:"        # the namespace of our properties


def document(statement: Statement, about: About) -> dict[str, Any]:
    """The bill of one adapter. The same statement gives the same bill.

    Raises:
        BadDocumentError: as ``TrainingRun.of``.
    """
    said = TrainingRun.of(statement)
    adapter, *others = statement.subjects
    parts = [_base_model(said, about), *_datasets(said, about), *_libraries(said), *map(_file, others)]
    return {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.UUID(hex=adapter.digest.removeprefix("sha256:")[:32], version=4).urn,
        "version": 1,
        "metadata": {
            "timestamp": said.finished,
            "tools": {
                "components": [{"type": "application", "name": "sekisho", "hashes": _hashes(said.software.code)}],
            },
            "component": _adapter(said, about, adapter),
        },
        "components": parts,
        "dependencies": [{"ref": ADAPTER, "dependsOn": [part["bom-ref"] for part in parts]}],
    }


def to_bytes(value: Mapping[str, Any]) -> bytes:
    """As a file: indented, keys in order, UTF-8."""
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode("utf-8")


def _adapter(said: TrainingRun, about: About, adapter: Subject) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": ADAPTER,
        "name": ADAPTER_FILE,
        "version": said.run,
        "description": about.title.en,
        "licenses": [{"expression": about.licence}],
        "hashes": _hashes(adapter.digest),
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": about.task,
                "datasets": [{"ref": _dataset_ref(site.id)} for site in said.sites],
                "inputs": [{"format": "text"}],
                "outputs": [{"format": f"score of the label {about.labels[-1]}"}],
            },
            "quantitativeAnalysis": {"performanceMetrics": _metrics(said)},
            "considerations": {
                "users": list(about.recipients),
                "useCases": list(about.permitted),
                "technicalLimitations": [text.en for text in about.base_model.known_risks],
                "ethicalConsiderations": [{"name": text.en} for text in about.prohibited],
            },
        },
        "properties": _properties(_run_properties(said)),
    }


def _metrics(said: TrainingRun) -> list[dict[str, Any]]:
    """What held-out people at all sites were judged like, as opened with noise."""
    return [
        {"type": kind, "value": value, "slice": f"held out, after step {one.after_step}",
         "confidenceInterval": {"lowerBound": low, "upperBound": high}}
        for one in said.validations if one.accepted
        for kind, value, low, high in (
            ("share ordered rightly", one.right, one.low, one.high),
            ("share labelled rightly", one.labels, one.labels_low, one.labels_high),
        )
    ]


def _run_properties(said: TrainingRun) -> dict[str, str]:
    guarantee = said.guarantee
    return {
        "method": said.method,
        "roster": said.roster,
        "study": said.study,
        "plan": said.plan,
        "environment": said.software.environment,
        "privacy:unit": guarantee.unit,
        "privacy:adjacency": guarantee.adjacency,
        "privacy:delta": guarantee.delta,
        "privacy:observers": str(guarantee.observers),
        **{f"privacy:epsilon:{site.id}": site.epsilon for site in said.sites},
        "steps:completed": str(sum(step.outcome == "completed" for step in said.steps)),
        "steps:rolled-back": str(sum(step.outcome == "rolled-back" for step in said.steps)),
        "steps:abandoned": str(sum(step.outcome == "abandoned" for step in said.steps)),
    }


def _base_model(said: TrainingRun, about: About) -> dict[str, Any]:
    base, record = said.base_model, about.base_model
    known = {f"training-data:{question}": answer.status for question, answer in record.training_data.answers()}
    return {
        "type": "machine-learning-model",
        "bom-ref": BASE,
        "name": base.name,
        "version": base.version,
        "supplier": {"name": record.provider},
        "licenses": [{"expression": base.licence}],
        "hashes": _hashes(base.weights),
        "externalReferences": [{"type": "distribution", "url": record.source}],
        "properties": _properties({"record": base.record, "disclosure": base.disclosure, **known}),
    }


def _datasets(said: TrainingRun, about: About) -> list[dict[str, Any]]:
    found = []
    for site in said.sites:
        licence = about.data_licences.get(site.id)
        consent = {"consent:scope": site.consent.scope, "consent:first": site.consent.first,
                   "consent:last": site.consent.last} if site.consent is not None else {}
        found.append({
            "type": "data",
            "bom-ref": _dataset_ref(site.id),
            "name": f"records of {site.id}",
            **({"licenses": [{"license": {"name": licence}}]} if licence else {}),
            "data": [{
                "type": "dataset",
                "classification": "personal, never leaves the site",
                "governance": {"custodians": [{"organization": {"name": site.id}}]},
            }],
            "properties": _properties({"commitment": site.dataset, "subjects": site.subjects, "policy": site.policy,
                                       **consent}),
        })
    return found


def _libraries(said: TrainingRun) -> list[dict[str, Any]]:
    return [
        {"type": "library", "bom-ref": f"library-{name}", "name": name, "version": version,
         "purl": f"pkg:pypi/{name}@{version}"}
        for name, version in sorted(said.software.dependencies.items())
    ]


def _file(subject: Subject) -> dict[str, Any]:
    return {"type": "file", "bom-ref": f"file-{subject.name}", "name": subject.name, "hashes": _hashes(subject.digest)}


def _dataset_ref(site: str) -> str:
    return f"dataset-{site}"


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]


def _properties(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": OWN + name, "value": value} for name, value in values.items()]
