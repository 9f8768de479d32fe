"""The statement of a run, and the conditions of a release."""

from __future__ import annotations

import importlib.util
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sekisho.governance.canonical import digest
from sekisho.governance.errors import BadDocumentError, Refused
from sekisho.governance.provenance.disclosure import BaseModelRecord
from sekisho.governance.provenance.provenance import (
    Guarantee,
    Packing,
    Parameters,
    SitePart,
    Software,
    StepPart,
    commitment,
    dependency_versions,
    epsilon_text,
    size_bucket,
    training_run,
)
from sekisho.governance.provenance.release import Condition, ReleaseRecord
from sekisho.governance.signing.envelope import PREDICATES, Statement, sign_statement, verify_envelope


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evidence_example", Path(__file__).with_name("evidence_example.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = load_example()
DIGEST = "sha256:" + "0" * 64
PLAN = {"schema": "plan", "steps": 4}
SITES = [SitePart(id=name, policy=DIGEST, dataset=commitment(b"k" * 32, DIGEST), subjects="200-499", epsilon="3.0")
         for name in ("a", "b", "c")]
STEP = StepPart(step=1, cohort=("a", "b", "c"), outcome="completed", sum=DIGEST)


def statement(**changes: Any) -> Statement:
    values: dict[str, Any] = {
        "run": "run-1", "method": "probe", "adapter": DIGEST, "roster": DIGEST, "study": DIGEST, "plan": digest(PLAN),
        "base_model": BaseModelRecord.parse(example.BASE_MODEL.encode(), "base-model.yaml"), "sites": SITES,
        "steps": [STEP], "guarantee": Guarantee(unit="subject", adjacency="add-or-remove-one", delta="0.00001",
                                                observers=1, max_sites_per_subject=1),
        "packing": Packing(preset="3x16-rotated", fields=3, width=16, rotated=True),
        "software": Software(code=DIGEST, environment=DIGEST, dependencies={"numpy": "2", "cryptography": "48"}),
        "parameters": Parameters(settings={"steps": 4}, plan=PLAN), "approvals": {"study.yaml": [DIGEST]},
        "validations": [], "started": example.NOW,
        "finished": example.NOW + timedelta(minutes=1),
    }
    return training_run(**{**values, **changes})


def test_the_statement_signs_and_reads_back() -> None:
    key = example.key("kohi")
    made = statement()
    read, signers = verify_envelope(sign_statement(made, [key]), {key.public.key_id: key.public})
    assert read.predicate_type == PREDICATES["training-run"] and signers == {key.public.key_id}
    assert read.subjects[0].digest == DIGEST and read.predicate == made.predicate
    assert read.predicate["base_model"]["disclosure"] == "sources-listed"
    assert read.predicate["packing"] == {"preset": "3x16-rotated", "fields": 3, "width": 16, "rotated": True}
    assert list(read.predicate["software"]["dependencies"]) == ["cryptography", "numpy"]


def test_the_statement_holds_no_count_and_no_plain_digest_of_data() -> None:
    text = statement().to_bytes().decode()
    assert "hmac-sha256:" in text and "200-499" in text and "230" not in text
    with pytest.raises(ValidationError):
        SitePart(id="a", policy=DIGEST, dataset=DIGEST, subjects="200-499", epsilon="3.0")


@pytest.mark.parametrize("field", ["adapter", "roster", "study", "plan"])
@pytest.mark.parametrize("value", ["", "sha256:xyz", "0" * 64, "SHA256:" + "0" * 64])
def test_digests_of_the_wrong_form_are_refused(field: str, value: str) -> None:
    with pytest.raises(BadDocumentError) as caught:
        statement(**{field: value})
    assert caught.value.code == "PROVENANCE_MALFORMED" and field in caught.value.sentence


def test_the_adapter_is_the_first_subject_and_the_files_released_with_it_follow_by_name() -> None:
    files = {"head.safetensors": "sha256:" + "2" * 64, "adapter_config.json": "sha256:" + "1" * 64}
    assert [(one.name, one.digest) for one in statement(files=files).subjects] == [
        ("adapter.safetensors", DIGEST), ("adapter_config.json", "sha256:" + "1" * 64),
        ("head.safetensors", "sha256:" + "2" * 64)]
    assert statement(files=files).to_bytes() == statement(files=dict(reversed(files.items()))).to_bytes()
    assert [one.name for one in statement().subjects] == ["adapter.safetensors"]


@pytest.mark.parametrize(("files", "code"), [
    ({"head.safetensors": "0" * 64}, "PROVENANCE_MALFORMED"),
    ({"head.safetensors": DIGEST.upper()}, "PROVENANCE_MALFORMED"),
    ({"head.safetensors": DIGEST + "\n"}, "PROVENANCE_MALFORMED"),
    ({"": DIGEST}, "PROVENANCE_MALFORMED"),
    ({"../head.safetensors": DIGEST}, "PROVENANCE_MALFORMED"),
    ({"a name": DIGEST}, "PROVENANCE_MALFORMED"),
    ({"adapter.safetensors": DIGEST}, "PROVENANCE_INCONSISTENT"),
    ({"adapter.safetensors": "sha256:" + "1" * 64}, "PROVENANCE_INCONSISTENT"),
])
def test_a_file_without_plain_name_and_digest_or_the_adapter_again_is_refused(files: dict[str, str], code: str) -> None:
    with pytest.raises(BadDocumentError) as caught:
        statement(files=files)
    assert caught.value.code == code and caught.value.hint


@pytest.mark.parametrize("changes", [
    {"steps": []},
    {"steps": [STEP, STEP]},
    {"steps": [STEP.model_copy(update={"step": 2}), STEP]},
    {"steps": [STEP.model_copy(update={"cohort": ("a", "b", "x")})]},
    {"steps": [STEP.model_copy(update={"cohort": ("a", "a", "b")})]},
    {"steps": [STEP.model_copy(update={"cohort": ()})]},
    {"steps": [STEP.model_copy(update={"sum": None})]},
    {"steps": [STEP.model_copy(update={"outcome": "abandoned"})]},
    {"sites": [*SITES, SITES[0]]},
])
def test_a_run_that_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadDocumentError) as caught:
        statement(**changes)
    assert caught.value.code == "PROVENANCE_INCONSISTENT"


def test_a_commitment_says_same_data_again_and_nothing_without_the_key() -> None:
    mine, other = b"k" * 32, b"o" * 32
    assert commitment(mine, DIGEST) == commitment(mine, DIGEST)
    assert commitment(mine, DIGEST) != commitment(other, DIGEST)
    assert commitment(mine, DIGEST) != commitment(mine, "sha256:" + "1" * 64)
    with pytest.raises(BadDocumentError):
        commitment(b"short", DIGEST)


def test_size_buckets() -> None:
    assert [size_bucket(n) for n in (0, 1, 2, 4, 5, 9, 10, 19, 20, 230, 500, 999, 1000, 4123)] == [
        "0", "1", "2-4", "2-4", "5-9", "5-9", "10-19", "10-19", "20-49", "200-499", "500-999", "500-999",
        "1000-1999", "2000-4999"]
    with pytest.raises(BadDocumentError):
        size_bucket(-1)


@settings(max_examples=80)
@given(st.integers(1, 10**9))
def test_a_bucket_holds_its_count(count: int) -> None:
    low, _, high = size_bucket(count).partition("-")
    assert int(low) <= count <= int(high or low) < 5 * int(low)


@settings(max_examples=80)
@given(st.floats(0, 1e6))
def test_epsilon_is_rounded_up_never_down(value: float) -> None:
    assert value <= float(epsilon_text(value)) <= value + 1.01e-4


def test_versions_are_those_installed() -> None:
    assert list(dependency_versions(["cryptography", "no-such-distribution-here"])) == ["cryptography"]


# --- release -----------------------------------------------------------------------------------------------------

PASSED = Condition(name="licence_check", required=True, outcome="passed")


def release(*conditions: Condition, recipients: tuple[str, ...] = ("participants",)) -> ReleaseRecord:
    return ReleaseRecord(run="probe-1", adapter=DIGEST, provenance=DIGEST, base_model=DIGEST, base_licence="Apache-2.0",
                         grant="G2", recipients=recipients, parties=("kohi",), permitted=("internal-quality-triage",),
                         licence="Apache-2.0", files={"adapter.safetensors": DIGEST},
                         issued="2026-11-29T00:00:00+00:00", expires="2027-11-29T00:00:00+00:00",
                         conditions=conditions)


@pytest.mark.parametrize(("record", "code"), [
    (release(), "RELEASE_NO_CONDITION"),
    (release(Condition(name="x", required=False, outcome="passed")), "RELEASE_NO_CONDITION"),
    (release(PASSED, PASSED), "RELEASE_CONDITION_TWICE"),
    (release(PASSED, Condition(name="votes", required=False, outcome="failed")), "RELEASE_CONDITION_FAILED"),
    (release(PASSED, Condition(name="votes", required=True, outcome="not-checked")), "RELEASE_CONDITION_UNCHECKED"),
    (release(PASSED, recipients=()), "RELEASE_NO_RECIPIENT"),
])
def test_an_adapter_is_not_released(record: ReleaseRecord, code: str) -> None:
    with pytest.raises(Refused) as caught:
        record.check()
    assert caught.value.code == code and caught.value.hint


def test_an_adapter_is_released_and_says_what_was_not_checked() -> None:
    record = release(PASSED, Condition(name="votes", required=False, outcome="not-checked"))
    record.check()
    assert record.digest.startswith("sha256:") and record.digest != release(PASSED).digest
