"""Mistakes in the figures: what a run is certified to cost, what a step is charged, how much noise a target needs."""

from __future__ import annotations

from .mutant import Edit, Mutant

ACCOUNTANT = "privacy/accounting/accountant.py"
BUDGET = "privacy/budget.py"
LOSS = "privacy/accounting/loss.py"
PLAN = "privacy/accounting/plan.py"
RENYI = "privacy/accounting/renyi.py"
ROUNDING = "privacy/mechanism/rounding.py"

ACCOUNTANT_TESTS = "tests/privacy/test_accountant.py"
CLOSED_FORM = f"{ACCOUNTANT_TESTS}::test_at_full_batch_the_certificate_agrees_with_the_closed_form"
ROUNDED = "tests/privacy/test_rounded_against_the_spender.py"
SEVERAL = "tests/privacy/test_two_sites.py"
MIXTURES = "tests/privacy/test_several_sites.py"
CERTIFICATES = "tests/privacy/test_certificate.py"
LIFE = "tests/privacy/test_life.py"

FIGURES = (
    Mutant(
        "sigma rounded down",
        (Edit(LOSS, "Fraction(math.ceil(high * ", "Fraction(math.floor(high * "),),
        (f"{ROUNDED}::test_no_noise_multiplier_is_rounded_below_its_target[16]",),
        "assert _gaussian_delta(sigma, epsilon) <= KEPT",
    ),
    Mutant(
        "variance of a share rounded down",
        (Edit(ROUNDING, "-(-needed.numerator // (needed", "(needed.numerator // (needed"),),
        (f"{ROUNDED}::test_the_shares_of_a_cohort_together_are_never_below_what_was_asked_for[5]",),
        "assert asked <= together",
    ),
    Mutant(
        "a cost rounded down",
        (
            Edit(
                BUDGET,
                "return math.ceil(nats_spent * COST_PER_NAT) + 1",
                "return math.floor(nats_spent * COST_PER_NAT)",
            ),
        ),
        (f"{ROUNDED}::test_a_cost_between_two_units_is_the_dearer_one_and_one_more",),
        "assert cost_from_nats",
    ),
    Mutant(
        "a cap rounded up",
        (Edit(BUDGET, "math.floor(nats_allowed * COST_PER_NAT) - 1", "math.ceil(nats_allowed * COST_PER_NAT)"),),
        (f"{ROUNDED}::test_a_cap_between_two_units_is_the_lower_one_and_one_less",),
        "assert cap_from_nats",
    ),
    Mutant(
        "Gaussian PLD without the slack",
        (Edit(ACCOUNTANT, "plan.share_variance(cohort) - CERTIFICATE_VARIANCE", "plan.share_variance(cohort)"),),
        (f"{ACCOUNTANT_TESTS}::test_the_certificate_is_never_below_the_truth[plan0-3]",),
        "assert true_delta(",
    ),
    Mutant(
        "tau dropped: a sum of shares charged as one discrete Gaussian",
        (Edit(ACCOUNTANT, "(_tau(event.variance, event.cohort) + 3 * KAPPA)", "3 * KAPPA"),),
        (f"{ACCOUNTANT_TESTS}::test_narrow_shares_cost_more_than_one_wide_noise",),
        "assert extra ==",
    ),
    Mutant(
        "the allowance is not certified",
        (Edit(ACCOUNTANT, "_loss_delta(plan.delta), plan.total_steps,", "_loss_delta(plan.delta), plan.steps,"),),
        (CLOSED_FORM,),
        "assert _gaussian_delta(mu, epsilon) <=",
    ),
    Mutant(
        "the allowance is not calibrated for",
        (Edit(ACCOUNTANT, "_loss_delta(delta), steps + allowance,", "_loss_delta(delta), steps,"),),
        (f"{ACCOUNTANT_TESTS}::test_the_allowance_is_paid_for",),
        "in build_plan",
        stopped="the plan does not keep its own target",
    ),
    Mutant(
        "all of delta spent, nothing kept for the sampler",
        (Edit(ACCOUNTANT, "return float(delta * (1 - SAMPLER_DELTA_SHARE))", "return float(delta)"),),
        (CLOSED_FORM,),
        "assert _gaussian_delta(mu, epsilon) <=",
    ),
    Mutant(
        "a sampler that is not exact enough is let pass",
        (Edit(ACCOUNTANT, "+ max(0.0, epsilon) + math.log(2) > math.log(reserved)", "> math.log(reserved)"),),
        (f"{ACCOUNTANT_TESTS}::test_an_epsilon_too_large_for_the_tables_is_refused",),
        "DID NOT RAISE",
    ),
    Mutant(
        "the cheapest cohort is charged",
        (Edit(ACCOUNTANT, "return max(event_cost(plan.event(size,", "return min(event_cost(plan.event(size,"),),
        (f"{ACCOUNTANT_TESTS}::test_a_step_is_charged_for_the_dearest_cohort",),
        "assert step_cost(",
    ),
    Mutant(
        "sampling charged as if it were the square of the rate",
        (Edit(RENYI, "        + k * math.log(rate)\n", "        + 2 * k * math.log(rate)\n"),),
        (f"{ACCOUNTANT_TESTS}::test_costs_agree_with_the_library[0.02]",),
        "assert expected * (1 - 1e-9) <= cost",
    ),
    Mutant(
        "a subject at several sites certified as if it were at one",
        (
            Edit(
                ACCOUNTANT,
                "return _certified(plan, cohort, observers, plan.sites_per_subject)",
                "return _certified(plan, cohort, observers, 1)",
            ),
        ),
        (f"{SEVERAL}::test_two_contributions_are_certified_as_one_of_twice_the_length",),
        "<= KEPT",
    ),
    Mutant(
        "a subject at several sites charged as if it were at one",
        (Edit(ACCOUNTANT, "        event.contributions,\n", "        1,\n"),),
        (f"{SEVERAL}::test_two_contributions_cost_four_times_one",),
        "assert 3.999 * one < two",
    ),
    Mutant(
        "a subject at several sites charged once a site, as if each had its own noise",
        (Edit(RENYI, "order * contributions**2 /", "order * contributions /"),),
        (f"{SEVERAL}::test_two_contributions_cost_four_times_one",),
        "assert 3.999 * one < two",
    ),
    Mutant(
        "a subject at several sites left out of what is charged",
        (Edit(PLAN, "contributions=self.sites_per_subject", "contributions=1"),),
        (f"{SEVERAL}::test_two_contributions_cost_four_times_one",),
        "assert 3.999 * one < two",
    ),
    Mutant(
        "noise for a subject at one site where it may be at several",
        (Edit(ACCOUNTANT, "float(sampling_rate), sites_per_subject\n", "float(sampling_rate), 1\n"),),
        (f"{SEVERAL}::test_a_plan_for_two_sites_keeps_its_target_with_twice_the_noise",),
        "in build_plan",
        stopped="the plan does not keep its own target",
    ),
    Mutant(
        "several sites certified as one where people are sampled",
        (Edit(LOSS, "    if contributions == 1:\n        loss = ", "    if True:\n        loss = "),),
        (f"{CERTIFICATES}::test_no_certificate_for_several_sites_is_below_the_truth[2-0.1-4.0-0.00001-1]",),
        "assert true_delta(",
    ),
    Mutant(
        "several sites charged as one where people are sampled",
        (Edit(RENYI, "    if contributions == 1:\n        # x", "    if True:\n        # x"),),
        (f"{MIXTURES}::test_a_cost_covers_both_directions_of_the_discrete_mechanism[2-2-0.3]",),
        "assert cost >=",
    ),
    # Where nothing is given up for discreteness the first direction is the larger; beside a coarse grid the second is.
    Mutant(
        "only one direction charged to a person at several sites",
        (Edit(RENYI, "return max(added, _removed(", "return max(added, 0 * _removed("),),
        (f"{LIFE}::test_the_second_direction_is_charged_where_it_is_the_larger",),
        "assert cost >=",
    ),
    Mutant(
        "inversion error dropped",
        (Edit(LOSS, "left = delta - steps * _shortfall(sigma, rate, contributions)", "left = delta"),),
        (f"{LIFE}::test_a_certificate_pays_for_what_the_library_is_short_of",),
        "DID NOT RAISE",
    ),
    Mutant(
        "inversion near the limit of the loss dropped",
        (Edit(LOSS, "return 2 * (misplaced + window", "return 2 * (misplaced + 0 * window"),),
        (f"{LIFE}::test_the_library_is_short_by_no_more_than_is_paid_for[0.1]",),
        "<= paid",
    ),
    Mutant(
        "the sampler of a whole life left out",
        (Edit(ACCOUNTANT, "_check_sampler(budget.delta, cap // UNITS_PER_DRAW,", "(budget.delta, cap,"),),
        (f"{LIFE}::test_a_lifetime_that_the_sampler_cannot_keep_is_refused[29-0.00001]",),
        "DID NOT RAISE",
    ),
    Mutant(
        "draws that cost nothing, so that nothing bounds them",
        (Edit(ACCOUNTANT, "+ UNITS_PER_DRAW * draws", "+ 0 * draws"),),
        (f"{LIFE}::test_no_life_has_more_draws_than_its_cap_pays_for[385]",),
        "assert cost >=",
    ),
)
