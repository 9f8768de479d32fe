"""Counts: nobody weighs more than one, nobody moves anybody else, and what is opened says how sure it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sekisho.privacy.accounting.accountant import (
    build_plan,
    filter_cap,
    filter_epsilon,
    filter_order,
    step_cost,
    worst_certificate,
)
from sekisho.privacy.accounting.combined import combined_certificate
from sekisho.privacy.accounting.ledger import Ledger
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.budget import Adjacency, Budget, Unit
from sekisho.privacy.errors import BadParametersError, BudgetExceededError
from sekisho.privacy.gradients.clipping import clipped_integer_sum, integer_vectors
from sekisho.privacy.mechanism.counts import (
    UNKNOWN,
    CountDomain,
    counts_plan,
    local_vote,
    subject_counts,
    validation,
    validation_outcomes,
    votes,
    votes_plan,
)
from sekisho.privacy.mechanism.judged import JudgedCounts, OpenedVote, vote_on
from sekisho.privacy.mechanism.mechanism import add_share
from sekisho.privacy.mechanism.opened import Z_95, OpenedCounts, Share
from sekisho.privacy.mechanism.randomness import SecretStream

DOMAIN = validation("negative", "positive")
SITES, DELTA = 5, Decimal("0.000001")


def plan_at(epsilon: str, *, disclosures: int = 1, sites_per_subject: int = 1, domain: CountDomain = DOMAIN) -> Plan:
    return counts_plan(
        domain,
        epsilon=Decimal(epsilon),
        delta=DELTA,
        disclosures=disclosures,
        sites=SITES,
        minimum_sites=3,
        observers=1,
        subjects=[800] * SITES,
        sites_per_subject=sites_per_subject,
    )


PLAN = plan_at("0.3")


def streams(subjects: NDArray[np.int64] | range) -> list[SecretStream]:
    step = SecretStream(bytes(range(32)))
    return [step.derive(b"subject %d" % subject) for subject in subjects]


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(BadParametersError) as caught:
        act()
    return caught.value.code


# -- the bound -------------------------------------------------------------------------------------------------------

# Any number of records a subject, any cell, cells that do not exist among them.
HELD = st.lists(st.tuples(st.integers(0, 6), st.integers(-3, 9)), max_size=200)


def held(records: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    table = np.array(records, dtype=np.int64).reshape(-1, 2)
    return table[:, 1], table[:, 0]


@settings(max_examples=60, deadline=None)
@given(records=HELD)
def test_nobody_weighs_more_than_one_whatever_is_held(records: list[tuple[int, int]]) -> None:
    cells, subjects = held(records)
    vectors = subject_counts(DOMAIN, cells, subjects, 7)
    assert (vectors >= 0).all() and (vectors.sum(axis=1) <= 1 + 1e-12).all()
    integers = integer_vectors(vectors, plan=PLAN, streams=streams(range(7)))
    assert (np.square(integers).sum(axis=1) <= PLAN.grid_bound_squared).all()


@settings(max_examples=40, deadline=None)
@given(records=HELD, gone=st.integers(0, 6))
def test_removing_one_subject_moves_nobody_elses_vector_by_a_bit(records: list[tuple[int, int]], gone: int) -> None:
    cells, subjects = held(records)
    whole = subject_counts(DOMAIN, cells, subjects, 7)
    stay = np.array([subject for subject in range(7) if subject != gone])
    rows = subjects != gone
    without = subject_counts(DOMAIN, cells[rows], np.searchsorted(stay, subjects[rows]), 6)
    assert without.tobytes() == whole[stay].tobytes()
    one = integer_vectors(whole, plan=PLAN, streams=streams(range(7)))[stay]
    assert (integer_vectors(without, plan=PLAN, streams=streams(stay)) == one).all()
    # and the sums differ by what the one who went weighs, which is at most C_grid
    sums = [
        clipped_integer_sum(vectors, plan=PLAN, streams=streams(who)).total
        for vectors, who in ((whole, range(7)), (without, stay))
    ]
    assert np.square(sums[0] - sums[1]).sum() <= PLAN.grid_bound_squared


def every_record_counts_one(
    domain: CountDomain, cells: NDArray[np.int64], subjects: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """The mutant: one for each record, as an ordinary validation counts."""
    vectors = np.zeros((count, len(domain.cells)))
    np.add.at(vectors, (subjects, cells), 1.0)
    return vectors


def test_a_count_of_records_is_caught_and_clipping_alone_would_have_bent_it() -> None:
    cells, subjects = np.zeros(50, dtype=np.int64), np.zeros(50, dtype=np.int64)
    mutant = every_record_counts_one(DOMAIN, cells, subjects, 1)
    assert not mutant.sum() <= 1 + 1e-12  # what the property above asserts of everybody
    assert subject_counts(DOMAIN, cells, subjects, 1).tolist() == [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    # behind it stands the clipping, which no vector passes: bounded all the same
    total = clipped_integer_sum(mutant, plan=PLAN, streams=streams(range(1))).total
    assert np.square(total).sum() <= PLAN.grid_bound_squared < (50 * PLAN.grid) ** 2


def test_each_of_r_records_counts_one_rth() -> None:
    cells = np.array([0, 0, 1, 3, UNKNOWN, 2, 99])
    subjects = np.array([0, 0, 0, 0, 1, 1, 2])
    assert subject_counts(DOMAIN, cells, subjects, 4).tolist() == [
        [0.5, 0.25, 0.0, 0.25, 0.0, 0.0],
        [0.0, 0.0, 0.5, 0.0, 0.0, 0.0],  # a record of which nothing is known takes its part of the weight with it
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ]


POISON = st.sampled_from([float("nan"), float("inf"), -float("inf"), -1.0, 2.0, 0.5, 1e300, -0.0])


@settings(max_examples=60, deadline=None)
@given(records=st.lists(st.tuples(*[POISON | st.sampled_from([0.0, 1.0])] * 3)))
def test_nothing_that_a_record_holds_raises_and_what_is_unknown_counts_nowhere(
    records: list[tuple[float, float, float]],
) -> None:
    table = np.array(records, dtype=np.float64).reshape(-1, 3)
    cells = validation_outcomes(table[:, 0], table[:, 1], table[:, 2])
    for (actual, labelled, ordered), cell in zip(records, cells, strict=True):
        if {actual, labelled, ordered} <= {0.0, 1.0}:
            wrong = (actual != labelled) + (actual != ordered)
            assert DOMAIN.cells[cell] == f"{DOMAIN.classes[int(actual)]}-{('both', 'one', 'neither')[wrong]}"
        else:
            assert cell == UNKNOWN
    vectors = subject_counts(DOMAIN, cells, np.zeros(len(records), dtype=np.int64), 1)
    assert np.isfinite(vectors).all() and vectors.sum() <= 1 + 1e-12


def test_counts_that_do_not_belong_together_are_refused() -> None:
    one, two = np.zeros(1, dtype=np.int64), np.zeros(2, dtype=np.int64)
    assert refused(lambda: subject_counts(DOMAIN, two, one, 1)) == "BAD_COUNTS"
    assert refused(lambda: subject_counts(DOMAIN, one, one + 1, 1)) == "BAD_COUNTS"
    assert refused(lambda: subject_counts(DOMAIN, one, one - 1, 1)) == "BAD_COUNTS"
    assert refused(lambda: subject_counts(DOMAIN, np.zeros(1), one, 1)) == "BAD_COUNTS"  # type: ignore[arg-type]
    assert refused(lambda: subject_counts(DOMAIN, np.zeros((1, 1), dtype=np.int64), one, 1)) == "BAD_COUNTS"
    assert refused(lambda: validation_outcomes(np.zeros(2), np.zeros(3), np.zeros(2))) == "BAD_COUNTS"


# -- domain and plan -------------------------------------------------------------------------------------------------


def test_a_domain_is_bound_into_the_plan_that_sites_compare() -> None:
    names = ("negative-both", "negative-one", "negative-neither", "positive-both", "positive-one", "positive-neither")
    assert DOMAIN.cells == names == PLAN.cells
    swapped = plan_at("0.3", domain=validation("positive", "negative"))
    assert swapped.digest() != PLAN.digest() and Plan.from_json(PLAN.to_json()) == PLAN
    assert len({DOMAIN.digest(), validation("positive", "negative").digest(), votes().digest()}) == 3


@pytest.mark.parametrize("name", ["", "Satisfied", "a b", "満足", "a", "x" * 57, "-a"])
def test_a_domain_that_no_plan_can_carry_is_refused(name: str) -> None:
    assert refused(lambda: validation("a", name)) == "BAD_DOMAIN"
    assert refused(lambda: CountDomain("counts", ())) == "BAD_DOMAIN"
    longest = plan_at("1", domain=validation("x" * 56, "y"))
    assert len(longest.cells) == 6


@pytest.mark.parametrize("epsilon", ["0.2", "0.3", "0.5", "1", "3"])
@pytest.mark.parametrize("disclosures", [1, 6])
def test_a_plan_of_counts_keeps_its_target_over_all_its_disclosures(epsilon: str, disclosures: int) -> None:
    plan = plan_at(epsilon, disclosures=disclosures)
    assert 0.99 * float(epsilon) < worst_certificate(plan, 1) <= float(epsilon)
    assert (plan.total_steps, plan.sampling_rate, plan.clipping_norm) == (disclosures, 1, 1)


def test_a_person_at_two_sites_moves_the_count_twice_and_the_noise_follows() -> None:
    # both sites count that person as one, so the sum moves by 2: at a full batch that is σ twice as large
    once, twice = plan_at("1"), plan_at("1", sites_per_subject=2)
    sigma = [math.sqrt(4 * plan.share_variance(5) / plan.grid_bound_squared) for plan in (once, twice)]
    assert sigma[1] / sigma[0] == pytest.approx(2, rel=0.01)
    assert 0.99 < worst_certificate(twice, 1) <= 1
    # the noise of the one under the promise of the other would not do
    narrow = dataclasses.replace(once, sites_per_subject=2)
    assert worst_certificate(narrow, 1) > 2


def test_noise_that_is_wider_than_the_sampler_draws_is_refused_when_the_plan_is_made() -> None:
    assert refused(lambda: plan_at("0.1", disclosures=6)) == "NO_PRESET_FITS"


def test_the_certificate_is_that_of_a_gaussian_on_a_norm_of_one() -> None:
    # μ = C_grid/(s·√(|S| − T)): Balle and Wang 2018, theorem 8, at the δ that the plan names
    plan = plan_at("0.5")
    mu = math.sqrt(plan.grid_bound_squared / (4 * plan.share_variance(5)))

    def normal(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    def delta(epsilon: float) -> float:
        return normal(mu / 2 - epsilon / mu) - math.exp(epsilon) * normal(-mu / 2 - epsilon / mu)

    assert delta(worst_certificate(plan, 1)) <= float(DELTA) < delta(0.99 * 0.5)


# -- the ledger ------------------------------------------------------------------------------------------------------


def ledger_of(folder: Path, budget: Budget) -> Ledger:
    order = filter_order(budget)
    return Ledger.open(
        folder / "ledger.sqlite", dataset="d", budget=budget, order=order, cap=filter_cap(budget, order), key=bytes(32)
    )


def training_plan() -> Plan:
    return build_plan(
        unit=Unit.SUBJECT,
        epsilon=Decimal(3),
        delta=Decimal("0.00001"),
        steps=20,
        allowance=2,
        sampling_rate=Decimal("0.2"),
        clipping_norm=Decimal("0.4"),
        dimension=17,
        sites=SITES,
        minimum_sites=3,
        observers=1,
        subjects=[800] * SITES,
        records_per_subject=4,
    )


def test_training_and_its_counts_are_added_for_a_person_who_is_in_both(tmp_path: Path) -> None:
    training, counts = training_plan(), plan_at("0.3", disclosures=3)
    epsilon, delta = combined_certificate([training, counts], 1)
    assert epsilon == worst_certificate(training, 1) + worst_certificate(counts, 1) <= 3.3
    assert delta == Decimal("0.000011")
    budget = Budget(Decimal(8), Decimal("0.00002"), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)
    order = filter_order(budget)
    costs = {plan: step_cost(plan, observers=1, order=order) for plan in (training, counts)}
    ledger = ledger_of(tmp_path, budget)
    people = [bytes([number]) * 32 for number in range(3)]
    ledger.reserve("r", step_cost=costs[training], steps=training.total_steps, subjects=people[:2])
    ledger.reserve("r/counts", step_cost=costs[counts], steps=counts.total_steps, subjects=people[1:])
    for step in range(1, 4):
        ledger.start("r/counts", step)
    ledger.close("r/counts")
    balance = ledger.balance()
    # exactly the steps' costs: of both for the one who is in both, and of the counts alone for the third
    assert balance.spent_max == 22 * costs[training] + 3 * costs[counts]
    assert balance.spent_min == 3 * costs[counts]
    assert 0 < filter_epsilon(balance.spent_max, order, budget.delta) < 8
    ledger.shut()


def test_counts_that_a_budget_cannot_pay_are_refused_like_any_run(tmp_path: Path) -> None:
    budget = Budget(Decimal("0.5"), Decimal("0.00001"), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)
    ledger = ledger_of(tmp_path, budget)
    plan = plan_at("3")
    with pytest.raises(BudgetExceededError):
        cost = step_cost(plan, observers=1, order=filter_order(budget))
        ledger.reserve("r", step_cost=cost, steps=plan.total_steps, subjects=[bytes(32)])
    ledger.shut()


def test_guarantees_for_different_units_are_not_added() -> None:
    other = dataclasses.replace(PLAN, unit=Unit.RECORD)
    assert refused(lambda: combined_certificate([PLAN, other], 1)) == "UNITS_DIFFER"
    assert refused(lambda: combined_certificate([], 1)) == "UNITS_DIFFER"


# -- votes -----------------------------------------------------------------------------------------------------------


def test_a_vote_that_one_person_turns_moves_the_sum_by_no_more_than_the_bound() -> None:
    plan = votes_plan(epsilon=Decimal(1), delta=DELTA, disclosures=1, sites=SITES, minimum_sites=3, observers=1)
    yes, no = local_vote(True, plan=plan).total, local_vote(False, plan=plan).total
    assert (yes.tolist(), no.tolist()) == ([plan.grid], [0])
    assert np.square(yes - no).sum() <= plan.grid_bound_squared
    # the mutant: one cell for each answer, so that a turned vote leaves one and enters the other
    either = np.array([[plan.grid, 0], [0, plan.grid]])
    assert np.square(either[0] - either[1]).sum() > plan.grid_bound_squared


def test_a_vote_needs_a_plan_of_votes() -> None:
    assert refused(lambda: local_vote(True, plan=PLAN)) == "BAD_COUNTS"
    sampled = dataclasses.replace(
        votes_plan(epsilon=Decimal(1), delta=DELTA, disclosures=1, sites=SITES, minimum_sites=3, observers=1),
        sampling_rate=Decimal("0.5"),
    )
    assert refused(lambda: local_vote(True, plan=sampled)) == "BAD_COUNTS"  # a vote is no sum that sampling thins


def test_a_vote_on_opened_counts_is_free_and_on_nothing_else() -> None:
    opened = OpenedCounts(DOMAIN, (1800.0, 0.0, 200.0, 1900.0, 0.0, 100.0), 15.0)
    judged = JudgedCounts(opened, True)
    assert vote_on(judged, least=0.9) == OpenedVote(True, opened.digest())
    assert not vote_on(judged, least=0.924).accept  # 0.925 was opened, and the noise may have lifted it
    exact = np.array([1800, 200, 1900, 100])
    for other in (exact, local_vote(True, plan=votes_plan(
        epsilon=Decimal(1), delta=DELTA, disclosures=1, sites=SITES, minimum_sites=3, observers=1
    )), opened, None):  # fmt: skip
        assert refused(lambda other=other: vote_on(other, least=0.5)) == "COUNTS_FOREIGN"  # type: ignore[misc]


# -- reading ---------------------------------------------------------------------------------------------------------


def opened_of(total: NDArray[np.int64], plan: Plan = PLAN, cohort: int = SITES) -> OpenedCounts:
    return OpenedCounts.read(total, DOMAIN, plan, cohort)


def test_an_opened_sum_is_read_in_subjects_with_its_error() -> None:
    total = np.array([1500, 300, 200, 1500, 400, -3], dtype=np.int64) * PLAN.grid
    opened = opened_of(total)
    assert np.allclose(opened.values, (1500, 300, 200, 1500, 400, -3))
    assert opened.shown("positive-neither") == 0.0 and opened.shown("negative-neither") == pytest.approx(200)
    noise = math.sqrt(SITES * PLAN.share_variance(SITES)) / PLAN.grid
    assert noise <= opened.standard_error < noise * 1.001
    assert opened.share(["negative-both"], ["negative-both", "negative-one"]).value == pytest.approx(5 / 6)


def test_the_marginals_of_label_and_order_follow_from_where_the_middle_lies() -> None:
    # between the two lines a score is labelled positive and ordered negative, or the other way round
    opened = opened_of(np.array([70, 20, 10, 130, 50, 20], dtype=np.int64) * PLAN.grid)
    above, below = JudgedCounts(opened, True), JudgedCounts(opened, False)
    for judged, label, order in ((above, (70, 180), (90, 130)), (below, (90, 130), (70, 180))):
        assert [opened.total(right) for right, _ in judged.parts("label")] == pytest.approx(label)
        assert [opened.total(right) for right, _ in judged.parts("order")] == pytest.approx(order)
        for judgement in ("label", "order"):
            for name, (right, wrong) in zip(DOMAIN.classes, judged.parts(judgement), strict=True):
                assert set(right) | set(wrong) == {cell for cell in DOMAIN.cells if cell.startswith(name)}
                assert not set(right) & set(wrong)
    assert above.right("label").value == pytest.approx(250 / 300) == below.right("order").value
    assert above.right("order").value == pytest.approx(220 / 300)
    votes_plan_of_one = OpenedCounts(votes(), (1.0,), 1.0)
    for other in (votes_plan_of_one, np.zeros(6)):
        assert refused(lambda other=other: JudgedCounts(other, True)) == "COUNTS_FOREIGN"  # type: ignore[misc]


def test_what_is_no_opened_sum_of_these_counts_is_refused() -> None:
    total = np.zeros(6, dtype=np.int64)
    assert refused(lambda: opened_of(total[:3])) == "COUNTS_FOREIGN"
    assert refused(lambda: opened_of(np.zeros(6))) == "COUNTS_FOREIGN"  # type: ignore[arg-type]
    assert refused(lambda: OpenedCounts.read(total, validation("positive", "negative"), PLAN, 5)) == "COUNTS_FOREIGN"
    assert refused(lambda: opened_of(total, cohort=2)) == "NO_SUCH_COHORT"
    for part, whole in (([], DOMAIN.cells), (["no-such"], ["no-such"]), (["positive-both"], ["negative-both"])):
        assert refused(lambda part=part, whole=whole: opened_of(total).share(part, whole)) == "COUNTS_FOREIGN"


WHERE = [True, False]  # the middle: with it the cells of a marginal


@pytest.mark.parametrize("above", WHERE)
@pytest.mark.parametrize(
    "true", [(1500, 300, 200, 1600, 300, 100), (0, 0, 20, 30, 10, 3), (8, 0, 1, 9, 0, 0)], ids=str
)
def test_the_bounds_hold_the_true_share_as_often_as_they_say_also_of_few_people(
    true: tuple[int, ...], above: bool
) -> None:
    exact = np.array(true, dtype=np.float64)
    share = (exact[0] + exact[3] + exact[4 if above else 1]) / exact.sum()
    rng = np.random.default_rng(3)
    values = exact + rng.normal(scale=14.6, size=(4000, 6))
    hits = 0
    for row in values:
        right = labelled(row, 14.6, above)
        assert 0 <= right.low <= right.value <= right.high <= 1
        hits += right.low <= share <= right.high
    assert hits / 4000 > 0.95 - 4 * math.sqrt(0.05 * 0.95 / 4000)


def labelled(row: NDArray[np.float64], error: float, above: bool = True) -> Share:
    return JudgedCounts(OpenedCounts(DOMAIN, tuple(row.tolist()), error), above).right("label")


def test_bounds_that_leave_the_noise_out_would_be_caught() -> None:
    # the positive control of the test above: an interval of half the width misses far more often than said
    rng = np.random.default_rng(3)
    exact = np.array((1500.0, 300.0, 200.0, 1600.0, 300.0, 100.0))
    rows = exact + rng.normal(scale=14.6, size=(1000, 6))
    rights = [labelled(row, 7.3) for row in rows]
    assert sum(right.low <= 0.85 <= right.high for right in rights) / 1000 < 0.8


def test_shares_of_nobody_are_not_known() -> None:
    for values in ((0.0,) * 6, (-20.0, 1.0, 0.0, -3.0, 0.0, 2.0), (5.0, 1.0, 0.0, 0.0, 0.0, 0.0)):
        right = labelled(np.array(values), 14.6)
        assert (right.low, right.high) == (0.0, 1.0)


def test_five_sites_know_the_accuracy_of_four_thousand_people_to_six_tenths_of_a_point() -> None:
    # ε = 0.3, δ = 1e-6, one of the sites an observer
    true = np.array([1800, 0, 200, 1900, 0, 100], dtype=np.int64) * PLAN.grid
    right = JudgedCounts(opened_of(true), True).right("label")
    assert 0.0054 < (right.high - right.low) / (2 * Z_95) < 0.0064
    # and so it comes out, with the shares' own noise: 60 openings, so 0.7 and 1.3 are three deviations away
    errors = []
    for opening in range(60):
        total = true.copy()
        for site in range(SITES):
            stream = SecretStream(bytes([opening, site]) * 16)
            nobody = np.zeros(6, dtype=np.int64)
            total += add_share(nobody, PLAN, cohort=SITES, step=1, stream=stream).values
        errors.append(JudgedCounts(opened_of(total), True).right("label").value - 0.925)
    assert 0.7 < float(np.sqrt(np.mean(np.square(errors)))) / 0.0059 < 1.3
