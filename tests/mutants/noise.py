"""Mistakes in the noise: how much, from where, on what, and that it is there at all."""

from __future__ import annotations

from .mutant import Edit, Mutant

GATE = "core/gate/gate.py"
GAUSSIAN = "privacy/mechanism/gaussian.py"
MECHANISM = "privacy/mechanism/mechanism.py"
RANDOMNESS = "privacy/mechanism/randomness.py"
ROUNDING = "privacy/mechanism/rounding.py"
STEP = "core/site/step.py"
PLAN = "privacy/accounting/plan.py"
ACCOUNTANT = "privacy/accounting/accountant.py"

OPENED = "tests/federation/test_disclosed_noise.py"
DECLARED = f"{OPENED}::test_what_is_opened_carries_the_noise_that_the_plan_declares"
EMPTY = "tests/privacy/test_mechanism.py::test_an_empty_sample_is_noised_like_any_other"
VARIANCE = "assert abs(ratio - 1) <"
GAUSSIANS = "tests/privacy/test_gaussian.py"
SECRET = "tests/privacy/test_noise_is_secret.py"

BOUND = "bound = grid_bound_squared(choice.grid, dimension)\n    plan ="
SEEDED = (
    "np.random.default_rng([folder.study.settings(tools.considered.offer.method).seed, state.step, "
    "*folder.site.encode()]).bytes(32)"
)

NOISE = (
    Mutant(
        "noise off, in the mechanism",
        (Edit(MECHANISM, "values=total + noise", "values=total"),),
        (f"{EMPTY}[5]", DECLARED),
        VARIANCE,
    ),
    Mutant(
        "noise off, at the gate: the sum is sealed as it came",
        (Edit(GATE, "encrypt(noised.values,", "encrypt(update.clipped.total,"),),
        (DECLARED,),
        VARIANCE,
    ),
    Mutant(
        "one site of three forgets its noise",
        (
            Edit(
                GATE,
                "encrypt(noised.values,",
                "encrypt(update.clipped.total if self._site == context.cohort[0] else noised.values,",
            ),
        ),
        ("tests/federation/test_audits.py::test_opened_sums_of_nobody_hold_the_noise_that_was_charged",),
        "assert noise_failures(opened, QUIET) == set()",
    ),
    Mutant(
        "noise halved",
        (Edit(MECHANISM, "DiscreteGaussian(event.variance)", "DiscreteGaussian(event.variance // 4)"),),
        (f"{EMPTY}[5]", DECLARED),
        VARIANCE,
    ),
    Mutant(
        "noise halved, in the table: the variance taken for its square root's double",
        (
            Edit(GAUSSIAN, "_exp_minus(1, 2 * variance)", "_exp_minus(1, variance)"),
            Edit(GAUSSIAN, "ratio_step = _exp_minus(1, variance)", "ratio_step = _exp_minus(2, variance)"),
        ),
        (f"{EMPTY}[5]",),
        VARIANCE,
    ),
    Mutant(
        "noise of one sign",
        (Edit(GAUSSIAN, "np.where(negative, -magnitude, magnitude)", "magnitude"),),
        (f"{EMPTY}[5]",),
        VARIANCE,
    ),
    Mutant(
        "no noise where nobody was sampled",
        (Edit(MECHANISM, "values=total + noise", "values=total + noise * bool(total.any())"),),
        (f"{EMPTY}[5]", f"{OPENED}::test_a_step_in_which_nobody_is_left_is_noised_and_charged_like_any_other"),
        VARIANCE,
    ),
    Mutant(
        "scaled by the minimum instead of the cohort, in the mechanism",
        (
            Edit(
                MECHANISM,
                "DiscreteGaussian(event.variance)",
                "DiscreteGaussian(plan.share_variance(plan.minimum_sites))",
            ),
        ),
        (f"{EMPTY}[5]", f"{EMPTY}[4]", DECLARED),
        VARIANCE,
    ),
    Mutant(
        "scaled by all sites instead of the cohort that is left",
        (Edit(MECHANISM, "DiscreteGaussian(event.variance)", "DiscreteGaussian(plan.share_variance(plan.sites))"),),
        (f"{EMPTY}[4]", f"{EMPTY}[3]"),
        VARIANCE,
    ),
    Mutant(
        "scaled by the minimum instead of the cohort, in the plan",
        (
            Edit(
                ACCOUNTANT,
                "share_variance(sigma, bound, cohort=cohort,",
                "share_variance(sigma, bound, cohort=minimum_sites,",
            ),
        ),
        ("tests/privacy/test_accountant.py::test_a_plan_keeps_its_target_in_every_cohort[change0]",),
        "assert min(figures) >",
    ),
    Mutant(
        "T = 0, in the size of a share",
        (Edit(ROUNDING, "needed.denominator * (size - observers)", "needed.denominator * size"),),
        ("tests/privacy/test_rounding.py::test_the_share_carries_the_noise_of_the_grid_not_of_the_clip",),
        "assert 4 * variance >=",
    ),
    Mutant(
        "T = 0, in the certificate",
        (
            Edit(
                ACCOUNTANT,
                "variance = (cohort - observers) * plan.share_variance(cohort)",
                "variance = cohort * plan.share_variance(cohort)",
            ),
        ),
        ("tests/privacy/test_accountant.py::test_at_full_batch_the_certificate_agrees_with_the_closed_form",),
        "assert _gaussian_delta(mu, epsilon)",
    ),
    Mutant(
        "T = 0, in the filter",
        (Edit(ACCOUNTANT, "(event.cohort - event.observers) * event.variance", "event.cohort * event.variance"),),
        ("tests/privacy/test_accountant.py::test_a_cost_is_the_divergence_of_the_discrete_mechanism[5-1]",),
        "assert cost >= divergence",
    ),
    Mutant(
        "T = 0, declared by a plan",
        (Edit(PLAN, "self.observers < 1 or ", ""),),
        ("tests/privacy/test_plan.py::test_a_plan_that_does_not_fit_together_is_refused[change0]",),
        "DID NOT RAISE",
    ),
    Mutant(
        "share scaled with C instead of C_grid",
        (Edit(ACCOUNTANT, BOUND, "bound = choice.grid**2\n    plan ="),),
        ("tests/privacy/test_accountant.py::test_a_plan_keeps_its_target_in_every_cohort[change0]",),
        "in build_plan",
        stopped="the plan does not keep its own target",
    ),
    Mutant(
        "share scaled with C instead of C_grid, and the plan not held against its target",
        (
            Edit(ACCOUNTANT, BOUND, "bound = choice.grid**2\n    plan ="),
            Edit(ACCOUNTANT, "if worst_certificate(plan, observers) > epsilon:", "if False:"),
        ),
        ("tests/privacy/test_accountant.py::test_a_plan_keeps_its_target_in_every_cohort[change0]",),
        "assert max(figures) <=",
    ),
    Mutant(
        "C instead of C_grid, in what a site certifies",
        (Edit(PLAN, "return grid_bound_squared(self.grid, self.dimension)", "return self.grid**2"),),
        ("tests/privacy/test_accountant.py::test_a_plan_with_other_noise_does_not_pass_for_one_that_keeps_its_target",),
        "> 3.0",
    ),
    Mutant(
        "noise from the training seed, in the mechanism",
        (
            Edit(
                MECHANISM,
                "sample(stream, plan.dimension)",
                "sample(SecretStream(np.random.default_rng(event.step).bytes(32)), plan.dimension)",
            ),
        ),
        (f"{SECRET}::test_the_same_step_of_the_same_plan_is_never_noised_alike",),
        "assert abs(float(np.mean(first * second",
    ),
    Mutant(
        "noise and samples from the training seed, at the site",
        (Edit(STEP, "stream = SecretStream()", f"stream = SecretStream({SEEDED})"),),
        (f"{OPENED}::test_no_two_runs_of_one_study_carry_the_same_noise",),
        "assert abs(alike) <",
    ),
    Mutant(
        "seed reuse across steps",
        (Edit(STEP, "stream = SecretStream()", "stream = SecretStream(folder.subject_key.fingerprint(state.run))"),),
        (f"{OPENED}::test_no_two_steps_carry_the_same_noise",),
        "assert abs(alike) <",
    ),
    Mutant(
        "seed reuse across uses: labels of derived streams dropped",
        (Edit(RANDOMNESS, "_DERIVE + label", "_DERIVE"),),
        ("tests/privacy/test_randomness.py::test_derived_streams_differ_by_label_and_ignore_what_was_read",),
        "== 5",
    ),
    Mutant(
        "secrets from a generator that is not one",
        (
            Edit(RANDOMNESS, "key = os.urandom(KEY_BYTES)", "key = random.Random(0).randbytes(KEY_BYTES)"),
            Edit(RANDOMNESS, "import os\n", "import os\nimport random\n"),
        ),
        ("tests/privacy/test_randomness.py::test_without_a_key_no_two_streams_agree",),
        "assert SecretStream().bytes(32) != SecretStream().bytes(32)",
    ),
    Mutant(
        "63-bit table",
        (
            Edit(
                GAUSSIAN,
                "(partial << TABLE_BITS) // total for partial",
                "(partial << 63) // total << TABLE_BITS - 63 for partial",
            ),
        ),
        (f"{GAUSSIANS}::test_every_entry_is_the_floor_of_the_exact_probability[2025]",),
        "assert entries ==",
    ),
    Mutant(
        "64-bit table: ties decided without the lower halves",
        (Edit(GAUSSIAN, "zip(tied, stream.uint64(len(tied)), strict=True)", "()"),),
        (f"{GAUSSIANS}::test_128_bits_decide_where_64_tie",),
        "assert abs(distribution.sample(stream, 1)[0]) ==",
    ),
    Mutant(
        "table cut too early",
        (Edit(GAUSSIAN, "CUT_BITS = 144", "CUT_BITS = 64"),),
        (f"{GAUSSIANS}::test_the_stated_total_variation_holds[2025]",),
        "<= SAMPLER_TOTAL_VARIATION",
    ),
)
