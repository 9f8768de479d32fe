"""The example holds together: five policies that differ, signatures that count, data that are what they say."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from sekisho.benchmarks.food_reviews import share_of
from sekisho.core.data.dataset import Dataset, TestSet
from sekisho.core.data.intake import inspect, locate
from sekisho.core.gate.facts import Standing, request_for
from sekisho.core.pilot.baselines import read_baselines
from sekisho.core.pilot.roi import RoiInput, roi
from sekisho.core.planning import counts_plan_of, plan_of
from sekisho.core.site.papers import read_before
from sekisho.core.study import Study
from sekisho.core.training.optimizer import public_learning_rate
from sekisho.core.training.tangent import RADIUS
from sekisho.core.training.tasks import layout_of
from sekisho.governance.consent.consent import ConsentRegister, Reason
from sekisho.governance.errors import BadDocumentError, BadSignatureError, Refused
from sekisho.governance.policy.decide import decide
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.signoff import shown
from sekisho.governance.provenance.disclosure import BaseModelRecord
from sekisho.governance.signing.approvals import approvals
from sekisho.governance.signing.envelope import PREDICATES, read_envelopes
from sekisho.governance.signing.keys import SigningKey
from sekisho.governance.signing.roster import Roster, verify_first_roster
from sekisho.privacy.accounting.accountant import filter_cap, filter_order, step_cost, worst_certificate
from sekisho.privacy.accounting.ledger import Ledger
from sekisho.privacy.budget import Adjacency, Budget, Unit
from sekisho.privacy.errors import BudgetExceededError

EXAMPLE = Path(__file__).parents[2] / "examples" / "food-quality"
SITES = ("kohi", "wanko", "okashi", "shokuhin", "daidokoro")
NOW = datetime(2026, 11, 23, tzinfo=UTC)
DIMENSION = 385      # 384 features of the base model and a bias
LABELS = ("dissatisfied", "satisfied")


def read_study():
    return Study.parse((EXAMPLE / "study.yaml").read_bytes(), "study.yaml")


def read_roster():
    return Roster.parse((EXAMPLE / "roster.yaml").read_bytes(), "roster.yaml")


def read_policy(site):
    return Policy.parse((EXAMPLE / "sites" / site / "policy.yaml").read_bytes(), f"sites/{site}/policy.yaml")


def read_records(site):
    return Dataset.load(EXAMPLE / "sites" / site / "records.jsonl.gz", labels=LABELS)


def signatures(name):
    return read_envelopes((EXAMPLE / f"{name}.dsse.json").read_bytes(), name=name)


STUDY, ROSTER = read_study(), read_roster()
POLICIES = {site: read_policy(site) for site in SITES}
RECORDS = {site: read_records(site) for site in SITES}
PLAN = plan_of(STUDY, "probe", dimension=DIMENSION)
BASE_MODEL = inspect(locate(STUDY.base_model, EXAMPLE))


def plan(study, method):
    settings = study.settings(method)
    adapter = settings.adapter
    size = DIMENSION if adapter is None else layout_of(BASE_MODEL, adapter, settings.seed).dimension
    return plan_of(study, method, dimension=size)


PLANS = {method: plan(STUDY, method) for method in STUDY.methods}


@pytest.fixture
def eligibility(tmp_path):
    found = {}
    for site in SITES:
        register = ConsentRegister.open(tmp_path / site)
        assert register.import_jsonl(EXAMPLE / "sites" / site / "consent.jsonl").refused == ()
        found[site] = register.eligible(RECORDS[site].subjects, STUDY.legal_basis_scope, NOW)
        register.close()
    return found


# ------------------------------------------------------------------------------------------------ policies


def standing(**changes):
    values = {
        "now": NOW,
        "stopped": False,
        "stop_roles": frozenset(ROSTER.roles),
        "restart_roles": frozenset({"legal", "it"}),
        "stop_list_age_hours": 1,
        "consent_eligible": True,
        "cohort": len(SITES),
        "observers": STUDY.observers,
        "epsilon": Decimal("2.9999"),
        "delta": PLAN.delta,
        "lifetime_fits": True,
        "steps": PLAN.total_steps,
        "base_model_digest": STUDY.base_model.digest,
        "base_model_licence": "Apache-2.0",
        "base_model_disclosure": "sources-listed",
        "destinations": frozenset(party.country for party in ROSTER.sites),
        "approvals": {"legal": 1, "it": 1, "business": 0},
        "requester_excluded": True,
    }
    return Standing(**(values | changes))


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("action", ["train", "release"])
def test_every_makers_policy_permits_the_approved_study(site, action):
    decision = decide(POLICIES[site], request_for(STUDY, standing(), method="probe", action=action))
    assert decision.permitted, [result.code for result in decision.results if not result.passed]


@pytest.mark.parametrize(
    ("change", "refusing"),
    [
        ({"cohort": 3}, {"wanko", "shokuhin"}),
        ({"cohort": 2}, set(SITES)),
        ({"epsilon": Decimal("3.1")}, {"kohi", "wanko", "daidokoro"}),
        ({"epsilon": Decimal("3.6")}, {"kohi", "wanko", "okashi", "daidokoro"}),
        ({"epsilon": Decimal("4.1")}, set(SITES)),
        ({"destinations": frozenset({"JP", "DE"})}, {"kohi", "wanko", "shokuhin", "daidokoro"}),
        ({"base_model_disclosure": "statement"}, {"kohi", "wanko", "shokuhin", "daidokoro"}),
        ({"base_model_licence": "MIT"}, {"kohi", "daidokoro"}),
        ({"steps": 110}, {"kohi", "wanko"}),
        ({"now": datetime(2026, 10, 20, tzinfo=UTC)}, {"kohi", "okashi", "shokuhin"}),
        ({"now": datetime(2100, 1, 1, tzinfo=UTC)}, set(SITES)),
        ({"approvals": {"legal": 1, "it": 0}}, set(SITES)),
        ({"stopped": True}, set(SITES)),
        ({"consent_eligible": False}, set(SITES)),
        ({"lifetime_fits": False}, set(SITES)),
    ],
)
def test_the_makers_differ_in_what_they_refuse(change, refusing):
    request = request_for(STUDY, standing(**change), method="probe")
    assert {site for site in SITES if not decide(POLICIES[site], request).permitted} == refusing


def test_no_two_policies_say_the_same_in_prose_or_in_type():
    def prose(policy):
        return {provision.clause.text for provision in (*policy.always, *policy.grants)}

    for one, other in combinations(SITES, 2):
        assert not prose(POLICIES[one]) & prose(POLICIES[other])
        typed = [{p.type: p.held for p in POLICIES[site].always} for site in (one, other)]
        assert typed[0] != typed[1]


def test_every_prose_clause_is_there_in_both_languages():
    for policy in POLICIES.values():
        for provision in (*policy.always, *policy.grants):
            text = provision.clause.text
            assert text.en.isascii()
            assert any("ぁ" <= sign <= "ん" for sign in text.ja)


# ---------------------------------------------------------------------------------------------- signatures


def test_every_site_signed_the_roster_and_only_this_one():
    envelopes = signatures("roster.yaml")
    verify_first_roster(ROSTER, envelopes, now=NOW)
    changed = (EXAMPLE / "roster.yaml").read_bytes().replace(b"country: JP", b"country: DE", 1)
    with pytest.raises(BadSignatureError):
        verify_first_roster(Roster.parse(changed, "roster.yaml"), envelopes, now=NOW)


def approved(name, digests, kind, requester=None, now=NOW, seen=None):
    return approvals(
        ROSTER,
        signatures(name),
        subjects=frozenset(digests),
        predicate_type=PREDICATES[kind],
        now=now,
        requester=requester,
        shown=seen,
    )


def test_each_policy_is_signed_by_that_makers_own_legal_and_it():
    for site, policy in POLICIES.items():
        digests = (policy.bytes_digest, policy.canonical_digest)
        seen = shown(policy, read_before(EXAMPLE, site, policy))
        found = approved(f"sites/{site}/policy.yaml", digests, "policy-approval", seen=seen)
        assert found.people == ((f"{site}-it", "it"), (f"{site}-legal", "legal"))
        assert found.ignored == ()


def test_the_study_is_approved_by_two_people_neither_of_whom_asked_for_it():
    found = approved("study.yaml", (STUDY.digest, STUDY.canonical_digest), "study-approval", STUDY.requester)
    assert found.people == (("hinoki", "legal"), ("kaede", "it"))
    assert STUDY.requester in {person.pseudonym for person in ROSTER.people}
    assert STUDY.requester not in dict(found.people)


def test_the_base_models_record_is_signed_and_all_papers_name_the_same_weights():
    record = BaseModelRecord.parse((EXAMPLE / "base-model.yaml").read_bytes(), "base-model.yaml")
    digests = (record.bytes_digest, record.canonical_digest)
    assert approved("base-model.yaml", digests, "base-model").by_role["legal"] == 1
    record.check_valid(NOW)
    named = {model.digest for policy in POLICIES.values() for model in policy.clause("base_model").models}
    assert named == {record.digest} == {STUDY.base_model.digest}


def test_signatures_end_with_the_year_2099_and_do_not_carry_over_to_another_text():
    digests = (STUDY.digest, STUDY.canonical_digest)
    late = datetime(2099, 12, 31, tzinfo=UTC)
    assert approved("study.yaml", digests, "study-approval", now=late).people == ()
    policy = POLICIES["kohi"]
    other = (policy.bytes_digest, policy.canonical_digest)
    assert approved("study.yaml", other, "study-approval").people == ()


# --------------------------------------------------------------------------------------------- demo keys


def test_a_roster_that_is_no_demo_takes_none_of_the_published_keys():
    text = (EXAMPLE / "roster.yaml").read_text("utf-8")
    for careless in (
        text.replace("demo: true", "demo: false", 1),
        text.replace("    demo: true\n", "").replace("demo: true", "demo: false"),
    ):
        with pytest.raises(BadDocumentError) as error:
            Roster.parse(careless.encode(), "roster.yaml")
        assert error.value.code == "ROSTER_DEMO_KEY"


def test_a_demo_key_file_opens_nothing_under_a_roster_with_keys_of_its_own():
    text = (EXAMPLE / "roster.yaml").read_text("utf-8").replace("    demo: true\n", "")
    for path in (EXAMPLE / "keys").iterdir():
        published = SigningKey.load(path).public.to_text()
        assert text.count(published) == 1
        text = text.replace(published, SigningKey.generate().public.to_text())
    real = Roster.parse(text.replace("demo: true", "demo: false").encode(), "roster.yaml")
    for site in SITES:
        key = SigningKey.load(EXAMPLE / "keys" / f"{site}.demo.key")
        assert key.demo
        ROSTER.check_own_key(site, key)
        with pytest.raises(Refused) as error:
            real.check_own_key(site, key)
        assert error.value.code == "DEMO_KEY_REFUSED"


# ---------------------------------------------------------------------------------------------- the data


def test_a_customer_belongs_to_one_maker_and_no_review_to_two():
    for one, other in combinations(SITES, 2):
        assert not set(RECORDS[one].subjects) & set(RECORDS[other].subjects)
    ids = [record.id for data in RECORDS.values() for records in data.records.values() for record in records]
    assert len(ids) == len(set(ids)) == 4000
    for site, data in RECORDS.items():
        assert all(subject.startswith(f"{site}-c") for subject in data.subjects)


def test_customers_write_one_to_six_reviews_and_about_one_in_a_hundred_very_many():
    sizes = Counter(len(records) for data in RECORDS.values() for records in data.records.values())
    many = sum(count for size, count in sizes.items() if size > 6)
    assert min(sizes) == 1
    assert max(sizes) <= 30
    assert 0.005 < many / sizes.total() < 0.015
    assert not set(range(7, 10)) & set(sizes)


def test_declared_numbers_of_customers_are_round_and_not_below_the_true_ones():
    for site in SITES:
        assert STUDY.subjects[site] % 50 == 0
        assert STUDY.subjects[site] >= len(RECORDS[site].subjects) > 100


def test_most_customers_consented_and_every_reason_to_leave_one_out_occurs(eligibility):
    excluded = sum((found.excluded for found in eligibility.values()), Counter())
    granted = sum(len(found.eligible) for found in eligibility.values())
    total = granted + excluded.total()
    assert total == sum(len(data.subjects) for data in RECORDS.values())
    assert 0.90 < granted / total < 0.94
    assert set(excluded) == {Reason.WITHDRAWN, Reason.EXPIRED, Reason.NEVER_ASKED, Reason.OBJECTED}
    for found in eligibility.values():
        assert set(found.excluded) == set(excluded)


def test_what_was_generated_says_so():
    for site in SITES:
        for line in (EXAMPLE / "sites" / site / "consent.jsonl").read_text("utf-8").splitlines():
            assert json.loads(line)["notice"].startswith("generated/")
    assert (EXAMPLE / "roster.yaml").read_text("utf-8").startswith("# GENERATED")
    assert all(path.name.endswith(".demo.key") for path in (EXAMPLE / "keys").iterdir())
    assert all("fictitious" in party.name.en and "架空" in party.name.ja for party in ROSTER.parties)
    assert "generated" in STUDY.disclaimer.en
    assert "生成" in STUDY.disclaimer.ja
    licence = (EXAMPLE / "DATA-LICENCE.md").read_text("utf-8")
    for phrase in ("modeldata", "MIT", "CC0", "were not verified", "Generated"):
        assert phrase in licence


def test_the_test_reviews_are_the_ones_named_and_none_is_trained_on():
    test = TestSet.load(EXAMPLE / STUDY.test_set.file, labels=LABELS, digest=STUDY.test_set.digest)
    assert len(test.texts) == 993
    trained = {record.text for data in RECORDS.values() for records in data.records.values() for record in records}
    assert not trained & set(test.texts)


def left_by_a_run():
    """The folders that git ignores in the example: a pilot may have run here before the tests."""
    lines = (EXAMPLE.parents[1] / ".gitignore").read_text("utf-8").splitlines()
    return [Path(line).name for line in lines if line.startswith(("**/", "examples/"))]


def test_preparing_again_from_the_committed_files_changes_no_byte(tmp_path, capsys):
    ignore = shutil.ignore_patterns("__pycache__", *left_by_a_run())
    copy = tmp_path / "a" / "b" / "food-quality"
    shutil.copytree(EXAMPLE, copy, ignore=ignore)
    committed = {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    for path in (*copy.rglob("*.dsse.json"), *copy.rglob("consent.jsonl"), copy / "roster.yaml"):
        path.unlink()
    spec = importlib.util.spec_from_file_location("prepare", copy / "prepare.py")
    prepare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prepare)
    assert not prepare.SHARED.exists()
    prepare.main([])
    assert "fictitious" in capsys.readouterr().out
    again = {
        path.relative_to(copy): path.read_bytes()
        for path in copy.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert again == committed


def test_the_example_is_small():
    sizes = [
        path.stat().st_size
        for path in EXAMPLE.rglob("*")
        if path.is_file() and not {"__pycache__", *left_by_a_run()} & set(path.parts)
    ]
    assert sum(sizes) < 3_000_000


# ------------------------------------------------------------------------------------- budget and worth


def lifetime(site):
    clause = POLICIES[site].clause("privacy_budget")
    return Budget(
        epsilon=clause.lifetime.epsilon,
        delta=clause.lifetime.delta,
        unit=Unit(clause.unit),
        adjacency=Adjacency(clause.adjacency),
    )


def test_one_pilot_keeps_the_epsilon_of_the_study():
    assert set(PLANS) == {"probe", "lora"}
    for made in PLANS.values():
        assert worst_certificate(made, STUDY.observers) <= 3.0
        assert made.total_steps == 80  # sixty, a block that is rolled back, and five that fail


def test_the_learning_rates_follow_from_public_figures_and_were_tuned_on_nobodys_reviews():
    probe, lora = STUDY.methods["probe"], STUDY.methods["lora"]
    assert probe.learning_rate == public_learning_rate(probe.clipping_norm, probe.momentum)
    assert lora.learning_rate == public_learning_rate(lora.clipping_norm, lora.momentum, Decimal(str(RADIUS)))


def test_the_full_study_is_the_same_study_with_other_training_and_every_policy_permits_it():
    full = Study.parse((EXAMPLE / "study-full.yaml").read_bytes(), "study-full.yaml")
    same = set(Study.model_fields) - {"id", "methods", "measures", "validation", "digest", "canonical_digest"}
    assert all(getattr(full, field) == getattr(STUDY, field) for field in same) and list(full.methods) == ["lora"]
    made = plan(full, "lora")
    assert made.dimension == 37_249 and made.preset == "2x24" and worst_certificate(made, full.observers) <= 3.0
    signed = approvals(
        ROSTER,
        signatures("study-full.yaml"),
        subjects=frozenset({full.digest, full.canonical_digest}),
        predicate_type=PREDICATES["study-approval"],
        now=NOW,
        requester=full.requester,
    )
    assert signed.by_role["legal"] == signed.by_role["it"] == 1
    for policy in POLICIES.values():
        request = request_for(full, standing(steps=made.total_steps, approvals=signed.by_role), method="lora")
        assert decide(policy, request).permitted


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("started", [60, 80], ids=["no step abandoned", "all of the allowance used"])
def test_every_lifetime_budget_admits_exactly_two_pilots(tmp_path, site, started):
    budget = lifetime(site)
    order = filter_order(budget)
    costs = {method: step_cost(made, observers=made.observers, order=order) for method, made in PLANS.items()}
    ledger = Ledger.open(
        tmp_path / "ledger",
        dataset=f"{site}/reviews",
        budget=budget,
        order=order,
        cap=filter_cap(budget, order),
        key=bytes(32),
    )
    subjects = [number.to_bytes(32, "big") for number in range(3)]
    whole = sum(cost * PLANS[method].total_steps for method, cost in costs.items())
    for pilot in ("first", "second"):
        balance = ledger.balance()
        assert balance.spent_max + whole <= balance.cap, "a pilot must not begin that its budget cannot finish"
        for method, cost in costs.items():
            run = f"{pilot}-{method}"
            admitted = ledger.reserve(run, step_cost=cost, steps=PLANS[method].total_steps, subjects=subjects)
            assert admitted == frozenset(subjects)
            for step in range(1, started + 1):
                ledger.start(run, step)
            ledger.close(run)
    balance = ledger.balance()
    assert balance.spent_min + whole > balance.cap
    # of a pilot without a loss a block's steps are given back: room for one method more at most, never for a pilot
    for method, cost in costs.items() if started == 80 else ():
        with pytest.raises(BudgetExceededError) as error:
            ledger.reserve(f"third-{method}", step_cost=cost, steps=PLANS[method].total_steps, subjects=subjects)
        assert error.value.code == "BUDGET_EXHAUSTED"


@pytest.mark.parametrize("site", SITES)
def test_a_customer_who_is_counted_pays_less_than_one_who_trains(site):
    """Nobody is both, so two pilots fit for either; and what a policy says of one run holds for either."""
    budget = lifetime(site)
    order = filter_order(budget)
    for method, made in PLANS.items():
        counts = counts_plan_of(STUDY, method)
        counted = step_cost(counts, observers=counts.observers, order=order) * counts.total_steps
        assert counted < step_cost(made, observers=made.observers, order=order) * made.total_steps
        assert worst_certificate(counts, STUDY.observers) <= 3.0
        assert counts.delta <= made.delta


def test_the_worth_can_be_computed_and_meets_its_threshold_on_the_owners_assumptions():
    found = roi(
        RoiInput(
            currency=STUDY.value.currency,
            reviews_per_year=STUDY.value.reviews_per_year,
            minutes_saved_per_review=STUDY.value.minutes_saved_per_review,
            cost_per_hour=STUDY.value.cost_per_hour,
            share_handled=STUDY.value.share_handled,
            pilot_cost=STUDY.cost.pilot,
            yearly_cost=STUDY.cost.yearly,
            threshold=STUDY.roi_threshold,
        )
    )
    assert found.met
    assert found.payback_months < 12
    assert [stage.name for stage in STUDY.stages] == ["pilot", "next", "production"]
    assert STUDY.stages[0].cost == STUDY.cost.pilot


# --------------------------------------------------------------------------------------------- baselines


def load_baselines_script():
    spec = importlib.util.spec_from_file_location("food_quality_baselines", EXAMPLE / "baselines.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_baselines_are_of_this_study_and_its_test_set():
    found = read_baselines(EXAMPLE, STUDY)
    ids = [row.id for row in found.rows]
    assert len(set(ids)) == len(ids)
    # each maker alone, adapters for the largest and the smallest, on one pile, without a foundation model, own noise
    assert {f"alone-{site}" for site in SITES} | {"alone-lora-shokuhin", "alone-lora-wanko"} <= set(ids)
    assert {"pooled-probe", "pooled-lora", "pooled-words", "words-probe", "own-noise"} <= set(ids)
    assert [[point.share for point in line.points] for line in found.curve.series] == [[0.1, 0.3, 1.0]] * 4
    assert [line.foundation for line in found.curve.series] == [True, False, True, False]


def test_hashed_words_know_no_model_and_give_rows_of_length_one():
    words = load_baselines_script().HashedWords()
    rows = words.of(["Not good at all", "not GOOD, at all!", "A lovely cup", ""])
    assert rows.shape == (4, 384) and (rows[0] == rows[1]).all() and not (rows[0] == rows[2]).all()
    assert np.allclose(np.linalg.norm(rows[:3], axis=1), 1) and not rows[3].any()


def test_a_smaller_maker_is_made_of_whole_customers():
    whole = RECORDS["kohi"]
    tenth = share_of(whole, 0.1)
    assert tenth.subjects == whole.subjects[: round(len(whole.subjects) / 10)]
    assert all(tenth.records[subject] == whole.records[subject] for subject in tenth.subjects)
