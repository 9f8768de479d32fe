"""The go rule, and summary.json."""

from __future__ import annotations

import importlib.util
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sekisho.core.pilot.roi import roi
from sekisho.core.pilot.summary import (
    Decision,
    Measure,
    MethodResult,
    Protection,
    StepRecord,
    cohort_spans,
    go_rule,
    summarise,
)
from sekisho.governance.language import Text

_spec = importlib.util.spec_from_file_location("_report_facts", Path(__file__).with_name("test_report.py"))
assert _spec is not None and _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
facts = _module.facts

HELD = {str(item): True for item in Protection}
MONEY = roi(facts().value)
WORDS = Text(en="x", ja="x")


def result(low: float, value: float, high: float) -> MethodResult:
    return MethodResult(auc=value, auc_low=low, auc_high=high, accuracy=0.5, accuracy_low=0.4, accuracy_high=0.6, n=100)


def decision_for(low: float, value: float, high: float, target: str = "0.75", **changes: object) -> Decision:
    measure = facts().measures[0].model_copy(update={"target": Decimal(target)})
    return summarise(facts(methods={"probe": result(low, value, high)}, measures=(measure,), **changes)).decision


def test_go_needs_the_lower_bound_at_the_target() -> None:
    assert decision_for(0.75, 0.80, 0.85) is Decision.GO
    assert decision_for(0.7499, 0.80, 0.85) is Decision.INCONCLUSIVE


def test_no_go_when_the_upper_bound_misses_the_target() -> None:
    assert decision_for(0.6, 0.7, 0.7499) is Decision.NO_GO
    assert decision_for(0.6, 0.7, 0.75) is Decision.INCONCLUSIVE


def test_a_bound_equal_to_a_target_that_binary_floats_cannot_write_meets_it() -> None:
    assert decision_for(0.7, 0.8, 0.9, target="0.7") is Decision.GO


def test_one_missed_measure_decides_against_the_others() -> None:
    summary = summarise(facts(methods={"probe": _good_auc_bad_accuracy()}))
    assert summary.decision is Decision.NO_GO
    assert [reason.code for reason in summary.reasons][:2] == ["measure-met", "measure-missed"]


def _good_auc_bad_accuracy() -> MethodResult:
    return result(0.78, 0.8, 0.82).model_copy(update={"accuracy": 0.6, "accuracy_low": 0.58, "accuracy_high": 0.62})


@pytest.mark.parametrize("name", list(Protection))
def test_any_failed_protection_is_no_go_however_good_the_result(name: Protection) -> None:
    assert summarise(facts(protections={**HELD, str(name): False})).decision is Decision.NO_GO


@pytest.mark.parametrize("name", list(Protection))
def test_a_protection_nobody_reported_counts_as_failed(name: Protection) -> None:
    reported = {key: True for key in HELD if key != str(name)}
    summary = summarise(facts(protections=reported))
    assert summary.decision is Decision.NO_GO
    assert summary.protections[str(name)] is False


def test_a_return_below_its_threshold_is_no_go() -> None:
    poor = facts().value.model_copy(update={"threshold": Decimal("1.5")})
    assert summarise(facts(value=poor)).decision is Decision.NO_GO


def test_a_run_without_result_is_inconclusive_not_go() -> None:
    assert summarise(facts(methods={}, adapter=None)).decision is Decision.INCONCLUSIVE


def test_a_study_without_measures_is_never_go() -> None:
    assert go_rule((), HELD, MONEY)[0] is Decision.INCONCLUSIVE


measures = st.lists(st.sampled_from(["met", "missed", "open"]), min_size=1, max_size=5)


@settings(max_examples=80)
@given(outcomes=measures, held=st.booleans(), good=st.booleans())
def test_the_rule_is_the_one_that_the_report_prints(outcomes: list[str], held: bool, good: bool) -> None:
    given_measures = tuple(
        Measure(name="auc", method="probe", target=Decimal("0.7"), text=WORDS, value=0.7, low=0.6, high=0.8, met=one)
        for one in outcomes
    )
    money = MONEY if good else MONEY.model_copy(update={"met": False})
    decision, reasons = go_rule(given_measures, {**HELD, "noise": held}, money)
    if "missed" in outcomes or not held or not good:
        assert decision is Decision.NO_GO
    elif set(outcomes) == {"met"}:
        assert decision is Decision.GO
    else:
        assert decision is Decision.INCONCLUSIVE
    assert len(reasons) == len(outcomes) + 2


def test_summary_json_has_what_programs_read() -> None:
    value = json.loads(summarise(facts()).to_bytes())
    assert value["schema"] == "sekisho-summary/1"
    assert value["decision"] == "go"
    assert value["epsilon"]["kohi"] == 2.9971 and len(value["epsilon"]) == 5
    assert value["delta"] == "0.00001" and value["unit"] == "subject" and value["observers"] == 1
    assert value["steps"] == {"planned": 60, "completed": 60, "abandoned": 1}
    probe = value["methods"]["probe"]
    assert {"auc", "auc_low", "auc_high", "accuracy", "accuracy_low", "accuracy_high", "n"} <= set(probe)
    assert value["uplink_bytes_per_parameter"] == 3.91
    assert list(value["seconds"]) == ["features", "training", "encryption", "opening", "evidence"]
    assert value["roi"]["ratio"] == "1.06" and value["root"].startswith("sha256:")
    assert value["budgets"]["kohi"]["lifetime_epsilon"] == "6.5"
    assert all(value["protections"].values()) and value["measures"][0]["met"] == "met"
    assert summarise(facts()).to_bytes() == summarise(facts()).to_bytes()


@pytest.mark.parametrize("change", [
    {"protections": {"magic": True}}, {"observers": 0}, {"sites": ()}, {"root": "sha256:xyz"},
    {"uplink_bytes_per_parameter": float("nan")}, {"surprise": 1},
])
def test_impossible_facts_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        facts(**change)


def test_a_result_outside_its_own_bounds_is_refused() -> None:
    with pytest.raises(ValidationError):
        result(0.8, 0.7, 0.9)


def test_cohorts_are_told_as_spans_and_a_gap_starts_a_new_one() -> None:
    five, four = ("a", "b", "c", "d", "e"), ("a", "b", "c", "d")
    history = [StepRecord(step=n, cohort=five, outcome="completed") for n in (1, 2)]
    history += [StepRecord(step=3, cohort=five, outcome="abandoned")]
    history += [StepRecord(step=n, cohort=four, outcome="completed") for n in (4, 5, 7)]
    assert [(span.first, span.last, len(span.cohort)) for span in cohort_spans(history)] == [
        (1, 2, 5), (3, 3, 5), (4, 5, 4), (7, 7, 4)]
