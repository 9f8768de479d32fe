"""A pilot of probe and adapters, on the real parts: one report, one budget, nothing lost when the later run fails, and
an adapter that peft loads."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import study_folder
import torch
from command import codes_logged, ledger_of, nothing_charged
from peft import PeftModel
from safetensors.torch import load_file
from study_folder import SITES
from test_pilot import At, pilot, stop, told
from transformers import AutoModel, AutoTokenizer

from sekisho.core.data.dataset import TestSet
from sekisho.core.data.intake import locate
from sekisho.core.errors import CoreError
from sekisho.core.pilot.pilot import Finished, run_pilot
from sekisho.core.site.papers import read_study
from sekisho.core.training.evaluation import evaluate
from sekisho.core.training.features import LONGEST
from sekisho.governance.evidence import verifier

pytestmark = pytest.mark.filterwarnings(
    "ignore:Full backward hook is firing",
    "ignore:The PEFT config's `base_model_name_or_path` was renamed",
)
EXAMPLE = Path(__file__).parents[2] / "examples" / "food-quality"


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_folder, "SUBJECTS_PER_SITE", 90)  # enough that every site can keep some aside
        return study_folder.build(tmp_path_factory.mktemp("both") / "study", adapters=True)


@pytest.fixture
def both(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "study"))


@pytest.fixture(scope="module")
def ran(signed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Finished]:
    """One finished pilot: its study, its output, and what it says of itself."""
    folder = tmp_path_factory.mktemp("ran")
    study = Path(shutil.copytree(signed, folder / "study"))
    return study, folder / "out", pilot(study, folder / "out")


def reproduced(study: Path, released: Path) -> float:
    """AUC on the public test set by peft and transformers alone, as a recipient would compute it."""
    content = read_study(study)
    folder = locate(content.base_model, study)
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(folder), released).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    head = load_file(released / "head.safetensors")
    test = TestSet.load(study / content.test_set.file, labels=content.labels)
    scores = []
    with torch.no_grad():
        for text in test.texts:
            tokens = tokenizer(text, truncation=True, max_length=LONGEST, return_tensors="pt")
            mean = model(**tokens).last_hidden_state[0].mean(dim=0).double()
            scores.append(float(head["head.weight"][0] @ (mean / mean.norm()) + head["head.bias"][0]))
    return evaluate(np.array(scores), test.positive(content.labels[1])).auc


def test_both_methods_are_run_and_peft_loads_what_was_released_with_the_reported_auc(
    ran: tuple[Path, Path, Finished],
) -> None:
    study, out, finished = ran
    value = told(out)
    assert [run["method"] for run in value["runs"]] == ["probe", "lora"]
    lora = value["runs"][1]
    assert all(lora["protections"].values()) and lora["parameters"] == 2 * 1536 + 385
    assert reproduced(study, out / "adapter" / "lora") == pytest.approx(lora["result"]["auc"], abs=1e-9)
    assert verifier.verify((out / "evidence.zip").read_bytes(), finished.evidence.root).name == "verified"
    # another accountant was asked of each run
    assert all(abs(run["cross_check"] - 3.0) < 0.05 for run in value["runs"])


def test_a_personal_head_stays_at_its_site(ran: tuple[Path, Path, Finished]) -> None:
    study, out, _ = ran
    kept = [path for site in SITES for path in (study / "sites" / site / "state" / "personal").glob("*.safetensors")]
    assert len(kept) == len(SITES)
    heads = [path.read_bytes() for path in kept]
    assert len(set(heads)) == len(SITES)
    sent = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert not any(head[-800:] in sent for head in heads)
    for site in SITES:
        assert "personal head" in (out / "sites" / site / "report.html").read_text("utf-8").lower()
        assert (study / "sites" / site / "state" / "personal").stat().st_mode & 0o077 == 0
    assert "personal head" not in (out / "report.html").read_text("utf-8").lower()
    assert "personal" not in json.dumps(told(out))


def test_a_later_run_that_fails_is_named_and_what_was_paid_for_is_kept(both: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    # an adapter of an earlier pilot must not be taken for one of the run that fails
    (out / "adapter" / "lora").mkdir(parents=True)
    finished = pilot(both, out, At(2, 2, lambda: stop(both)))
    value = told(out)
    probe, lora = value["runs"]
    assert probe["result"] and (out / "adapter" / "probe" / "adapter.safetensors").exists()
    assert lora["result"] is None and lora["failure"] and not (out / "adapter" / "lora").exists()
    assert lora["steps"]["completed"] == 2
    assert value["decision"] != "go"
    assert [m["met"] for m in value["measures"] if m["method"] == "lora"] == ["open"]
    named = [reason for reason in value["reasons"] if reason["code"] == "run-failed"]
    assert [(reason["subject"], reason["detail"]) for reason in named] == [("lora", lora["failure"])]
    assert lora["failure"] in (out / "report.html").read_text("utf-8")
    assert verifier.verify((out / "evidence.zip").read_bytes(), finished.evidence.root).name == "verified"
    # what was started stays charged, and the site's own report tells of both runs
    for site in SITES:
        assert sorted(run.charged for run in ledger_of(both, site))[0] in (2, 3)
        assert lora["run"] in (out / "sites" / site / "report.html").read_text("utf-8")


@pytest.mark.proof
def test_adapters_at_full_depth_with_plain_gradients_on_small_samples_run_too(both: Path, tmp_path: Path) -> None:
    """As study-full.yaml, on the small study: every layer, half the people in a step; and here A trains as well."""
    for old, new in (
        ("layers: [2], targets: [intermediate]", "layers: [6, 5, 4, 3, 2, 1], targets: [query, value]"),
        ("freeze_a: true, head_steps: 2, linear_steps: 2", "freeze_a: false, head_steps: 1, linear_steps: 1"),
        ('sampling_rate: "1", learning_rate: "2.9"', 'sampling_rate: "0.5", learning_rate: "2.9"'),
    ):
        study_folder.change(both / "study.yaml", old, new)
    study_folder.sign_study(both)
    pilot(both, tmp_path / "out")
    lora = told(tmp_path / "out")["runs"][1]
    assert lora["steps"]["completed"] == 4 and all(lora["protections"].values())
    assert lora["parameters"] == 6 * 2 * 2 * 2 * 384 + 385
    released = tmp_path / "out" / "adapter" / "lora"
    assert reproduced(both, released) == pytest.approx(lora["result"]["auc"], abs=1e-9)


def test_a_budget_for_some_of_the_runs_begins_none(tmp_path: Path) -> None:
    study = study_folder.build(tmp_path / "study", steps=3, allowance=0, lifetime="4.5", adapters=True)
    with pytest.raises(CoreError) as caught:
        pilot(study, tmp_path / "out")
    assert caught.value.code == "BUDGET_LIFETIME"
    assert "not for all of them" in str(caught.value) and "probe, lora" in str(caught.value)
    assert nothing_charged(study)
    assert all("BUDGET_LIFETIME" in codes_logged(study, site) for site in SITES)


@pytest.mark.proof
def test_the_examples_adapter_is_loaded_by_peft_with_the_reported_auc(tmp_path: Path) -> None:
    # .ci/run has just made one by `make pilot`; ten minutes are saved
    out = Path(os.environ.get("PILOT_OUT", tmp_path / "out"))
    study = Path(shutil.copytree(EXAMPLE, tmp_path / "study", ignore=shutil.ignore_patterns("state")))
    if "PILOT_OUT" not in os.environ:
        run_pilot(study, out, At())
    lora = told(out)["runs"][1]
    assert lora["method"] == "lora" and all(lora["protections"].values())
    assert reproduced(study, out / "adapter" / "lora") == pytest.approx(lora["result"]["auc"], abs=1e-5)
