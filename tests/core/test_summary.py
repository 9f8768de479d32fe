"""The go rule over all runs of a pilot, and summary.json."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from report_facts import HELD, facts, failed_run, groups, measure, one_method, run

from sekisho.core.pilot.findings import GroupResult, MethodResult, Protection, StepRecord
from sekisho.core.pilot.roi import roi
from sekisho.core.pilot.summary import Decision, Measure, Reason, cohort_spans, failed_protections, go_rule, summarise
from sekisho.governance.language import Text

MONEY = roi(facts().value)
WORDS = Text(en="x", ja="x")


def result(low: float, value: float, high: float) -> MethodResult:
    return MethodResult(auc=value, auc_low=low, auc_high=high, accuracy=0.5, accuracy_low=0.4, accuracy_high=0.6, n=100)


def decision_for(low: float, value: float, high: float, target: str = "0.75", **changes: object) -> Decision:
    wanted = measure("auc", "probe", target, "x", "x")
    tried = run("probe", result=result(low, value, high))
    return summarise(one_method(runs=(tried,), measures=(wanted,), **changes)).decision


def codes(**changes: object) -> list[str]:
    return [reason.code for reason in summarise(facts(**changes)).reasons]


def test_go_needs_the_lower_bound_at_the_target() -> None:
    assert decision_for(0.75, 0.80, 0.85) is Decision.GO
    assert decision_for(0.7499, 0.80, 0.85) is Decision.INCONCLUSIVE


def test_no_go_when_the_upper_bound_misses_the_target() -> None:
    assert decision_for(0.6, 0.7, 0.7499) is Decision.NO_GO
    assert decision_for(0.6, 0.7, 0.75) is Decision.INCONCLUSIVE


def test_a_bound_equal_to_a_target_that_binary_floats_cannot_write_meets_it() -> None:
    assert decision_for(0.7, 0.8, 0.9, target="0.7") is Decision.GO


def test_each_measure_is_held_against_its_own_methods_result() -> None:
    summary = summarise(facts())
    assert [(one.method, one.value, one.met) for one in summary.measures] == [
        ("probe", 0.812, "met"), ("probe", 0.764, "met"), ("lora", 0.831, "met")]
    assert summary.decision is Decision.GO


def test_one_method_that_misses_decides_against_the_other() -> None:
    poor = run("lora", result=result(0.60, 0.65, 0.70))
    summary = summarise(facts(runs=(run("probe"), poor)))
    assert summary.decision is Decision.NO_GO
    assert [reason.code for reason in summary.reasons][:3] == ["measure-met", "measure-met", "measure-missed"]


@pytest.mark.parametrize("method", ["probe", "lora"])
@pytest.mark.parametrize("name", list(Protection))
def test_a_protection_that_failed_in_any_run_is_no_go_however_good_the_result(name: Protection, method: str) -> None:
    runs = tuple(run(one, protections={**HELD, str(name): one != method}) for one in ("probe", "lora"))
    summary = summarise(facts(runs=runs))
    assert summary.decision is Decision.NO_GO
    (failed,) = (reason for reason in summary.reasons if reason.code == "protection-failed")
    assert (failed.subject, failed.detail) == (str(name), method)
    assert summary.protections[str(name)] is False


@pytest.mark.parametrize("name", list(Protection))
def test_a_protection_nobody_reported_counts_as_failed(name: Protection) -> None:
    reported = {key: True for key in HELD if key != str(name)}
    summary = summarise(facts(runs=(run("probe"), run("lora", protections=reported))))
    assert summary.decision is Decision.NO_GO
    assert summary.protections[str(name)] is False
    assert [one.protections[str(name)] for one in summary.runs] == [True, False]


def test_a_return_below_its_threshold_is_no_go() -> None:
    poor = facts().value.model_copy(update={"threshold": Decimal("1.5")})
    assert summarise(facts(value=poor)).decision is Decision.NO_GO


# --- a run that failed, or was never begun


def test_a_later_run_that_fails_is_named_and_leaves_the_earlier_result_standing() -> None:
    summary = summarise(facts(runs=(run("probe"), failed_run("lora"))))
    assert summary.decision is Decision.INCONCLUSIVE
    assert [one.met for one in summary.measures] == ["met", "met", "open"]
    (failed,) = (reason for reason in summary.reasons if reason.code == "run-failed")
    assert (failed.subject, failed.detail, failed.speaks) == ("lora", "COHORT_TOO_SMALL", "open")
    assert summary.runs[0].result == run("probe").result and summary.runs[1].result is None


def test_a_run_that_failed_keeps_from_go_even_where_no_measure_asks_for_it() -> None:
    """Fail closed: what the study set out to do was not done."""
    wanted = tuple(one for one in facts().measures if one.method == "probe")
    assert summarise(facts(measures=wanted)).decision is Decision.GO
    assert summarise(facts(measures=wanted, runs=(run("probe"), failed_run()))).decision is Decision.INCONCLUSIVE


def test_what_a_failed_run_cannot_show_is_unsaid_and_never_a_yes() -> None:
    summary = summarise(facts(runs=(run("probe"), failed_run())))
    assert "protections-unshown" in [reason.code for reason in summary.reasons]
    assert "protections-held" not in [reason.code for reason in summary.reasons]
    assert summary.protections["noise"] is True and summary.protections["agreement"] is None


def test_a_protection_that_broke_in_a_failed_run_is_no_go() -> None:
    broken = failed_run(protections={"budget": True, "noise": False, "log": True})
    assert summarise(facts(runs=(run("probe"), broken))).decision is Decision.NO_GO
    assert failed_protections((run("probe"), broken)) == {"noise": ["lora"]}


def test_a_method_that_was_never_begun_is_named() -> None:
    summary = summarise(facts(runs=(run("probe"),)))
    assert summary.not_begun == ("lora",)
    assert summary.decision is Decision.INCONCLUSIVE
    assert ("run-not-begun", "lora") in [(reason.code, reason.subject) for reason in summary.reasons]


def test_a_failed_run_never_helps() -> None:
    assert codes(runs=(run("probe"), failed_run())) != codes()
    poor = facts().value.model_copy(update={"threshold": Decimal("1.5")})
    assert summarise(facts(value=poor, runs=(run("probe"), failed_run()))).decision is Decision.NO_GO


def test_a_study_without_measures_is_never_go() -> None:
    assert go_rule((), {}, MONEY)[0] is Decision.INCONCLUSIVE


outcomes_of_measures = st.lists(st.sampled_from(["met", "missed", "open"]), min_size=1, max_size=5)


@settings(max_examples=80)
@given(outcomes=outcomes_of_measures, held=st.booleans(), good=st.booleans(), finished=st.booleans())
def test_the_rule_is_the_one_that_the_report_prints(
    outcomes: list[str], held: bool, good: bool, finished: bool
) -> None:
    given_measures = tuple(
        Measure.model_validate({"name": "auc", "method": "probe", "target": Decimal("0.7"), "text": WORDS,
                                "value": 0.7, "low": 0.6, "high": 0.8, "met": one})
        for one in outcomes
    )
    money = MONEY if good else MONEY.model_copy(update={"met": False})
    unfinished = [] if finished else [Reason(code="run-failed", subject="lora", detail="SITE_MISSING", speaks="open")]
    failed = {} if held else {"noise": ["probe"]}
    decision, reasons = go_rule(given_measures, failed, money, unfinished=unfinished)
    if "missed" in outcomes or not held or not good:
        assert decision is Decision.NO_GO
    elif set(outcomes) == {"met"} and finished:
        assert decision is Decision.GO
    else:
        assert decision is Decision.INCONCLUSIVE
    assert len(reasons) == len(outcomes) + 2 + (not finished)


# --- summary.json


def test_summary_json_has_what_programs_read() -> None:
    value = json.loads(summarise(facts()).to_bytes())
    assert value["schema"] == "sekisho-summary/2"
    assert value["decision"] == "go"
    assert value["unit"] == "subject" and value["observers"] == value["max_sites_per_subject"] == 1
    assert value["root"].startswith("sha256:")
    probe, lora = value["runs"]
    assert (probe["method"], lora["method"]) == ("probe", "lora")
    assert probe["epsilon"]["kohi"] == 2.9971 and len(probe["epsilon"]) == 5
    assert (probe["delta"], probe["epsilon_target"], probe["cross_check"]) == ("0.00001", "3.0", 2.9412)
    assert probe["steps"] == {"planned": 60, "completed": 60, "abandoned": 1, "rolled_back": 0}
    assert {"auc", "auc_low", "auc_high", "accuracy", "accuracy_low", "accuracy_high", "n"} <= set(probe["result"])
    assert {group["id"]: group["auc"] for group in lora["groups"]}["daidokoro"] is None
    assert probe["uplink_bytes_per_parameter"] == 5.91 and lora["step_bytes"] == 208_004
    assert (lora["packing"]["preset"], lora["packing"]["rotated"], lora["packing"]["exact_sites"]) == (
        "3x16-rotated", True, 95
    )
    assert lora["packing"]["former_up_computed"] == 299_482 and lora["packing"]["down_step_bytes"] == 214_120
    assert list(probe["seconds"]) == ["joining", "steps", "evaluation"]
    assert dict(map(tuple, lora["settings"]))["sampling-rate"] == "0.1"
    assert probe["cohorts"][0] == {"first": 1, "last": 23, "cohort": probe["cohorts"][0]["cohort"],
                                   "outcome": "completed"}
    assert "history" not in probe
    assert probe["membership"]["weak"] is True
    assert json.loads(summarise(facts(runs=(run("probe"), failed_run()))).to_bytes())["runs"][1]["membership"] == (
        "unfinished"
    )
    assert value["together"] == {"epsilon": pytest.approx(2.9971 + 2.9988), "delta": "0.00002"}
    assert value["roi"]["ratio"] == "1.06"
    assert value["budgets"]["kohi"]["lifetime_epsilon"] == "9.5"
    assert all(value["protections"].values()) and value["measures"][0]["met"] == "met"
    assert value["baselines"]["rows"][0]["id"] == "alone-shokuhin"
    assert summarise(facts()).to_bytes() == summarise(facts()).to_bytes()


def test_timings_and_balances_stay_out_of_summary_json_on_data_that_are_not_public() -> None:
    value = json.loads(summarise(facts(demo=False)).to_bytes())
    assert value["budgets"] == {} and value["seconds"] == {}
    assert [one["seconds"] for one in value["runs"]] == [{}, {}]
    assert "lifetime_spent" not in json.dumps(value)


@pytest.mark.parametrize("change", [
    {"observers": 0}, {"sites": ()}, {"root": "sha256:xyz"}, {"surprise": 1}, {"runs": ()},
    {"runs": (run("lora"), run("probe"))}, {"runs": (run("probe"), run("probe"))}, {"methods": ("lora",)},
])
def test_impossible_facts_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        facts(**change)


@pytest.mark.parametrize("change", [
    {"protections": {"magic": True}}, {"uplink_bytes_per_parameter": float("nan")}, {"epsilon": {}},
    {"failure": "SITE_MISSING"}, {"adapter": "sha256:0"},
])
def test_impossible_runs_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        run(**change)  # type: ignore[arg-type]


def test_a_result_outside_its_own_bounds_is_refused() -> None:
    with pytest.raises(ValidationError):
        result(0.8, 0.7, 0.9)
    good = groups(0.0)[0]
    for change in ({"auc_low": 0.9}, {"auc": None}, {"accuracy_high": 0.1}):
        with pytest.raises(ValidationError):
            GroupResult(**{**dict(good), **change})


def test_cohorts_are_told_as_spans_and_a_gap_starts_a_new_one() -> None:
    five, four = ("a", "b", "c", "d", "e"), ("a", "b", "c", "d")
    history = [StepRecord(step=n, cohort=five, outcome="completed") for n in (1, 2)]
    history += [StepRecord(step=3, cohort=five, outcome="abandoned")]
    history += [StepRecord(step=n, cohort=four, outcome="completed") for n in (4, 5, 7)]
    assert [(span.first, span.last, len(span.cohort)) for span in cohort_spans(history)] == [
        (1, 2, 5), (3, 3, 5), (4, 5, 4), (7, 7, 4)]
