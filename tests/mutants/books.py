"""Mistakes in the books: what a run costs, when it is charged, what is given back, and what is sent again."""

from __future__ import annotations

from .mutant import Edit, Mutant

ACCOUNTANT = "privacy/accounting/accountant.py"
BUDGET = "privacy/budget.py"
GATE = "core/gate/gate.py"
JOINING = "core/site/joining.py"
JOURNAL = "privacy/accounting/journal.py"
LEDGER = "privacy/accounting/ledger.py"
PLAN = "privacy/accounting/plan.py"
ROUNDING = "privacy/mechanism/rounding.py"
STEP = "core/site/step.py"

ACCOUNTANT_TESTS = "tests/privacy/test_accountant.py"
LEDGER_TESTS = "tests/privacy/test_ledger.py"
GATE_TESTS = "tests/core/test_gate.py"
OPENED = "tests/federation/test_disclosed_noise.py"
REFUND = f"{LEDGER_TESTS}::test_closing_refunds_what_was_never_started_and_nothing_else"
SEALED_ONCE = f"{LEDGER_TESTS}::test_noise_may_be_drawn_for_a_started_step_and_for_no_other"
CAN_PAY = f"{LEDGER_TESTS}::test_only_subjects_who_can_pay_for_all_of_it_are_admitted"
CLOSED_FORM = f"{ACCOUNTANT_TESTS}::test_at_full_batch_the_certificate_agrees_with_the_closed_form"
ROUNDED = "tests/privacy/test_rounded_against_the_spender.py"

START = "    folder.ledger.start(state.run, state.step)\n"
DISCLOSE = "        self._ledger.disclose(self._run, context.step, sealed.to_bytes())\n"
UPDATED = "    # 6. the gate\n"
HANDED_OVER = "        # 6. hand over\n        return sealed\n"
REQUIRED = "        self._ledger.require_started(self._run, context.step)\n"

CHARGES = (
    Mutant(
        "empty step not charged, by a site and a gate that agree on it",
        (
            Edit(STEP, START, ""),
            Edit(STEP, "    stream = SecretStream()\n", f"    if subjects:\n    {START}    stream = SecretStream()\n"),
            Edit(GATE, REQUIRED, f"        if update.clipped.subjects:\n    {REQUIRED}"),
            Edit(GATE, DISCLOSE, f"        if update.clipped.subjects:\n    {DISCLOSE}"),
            Edit(STEP, "    if state.step_started:  #", "    if folder.ledger.balance().runs[-1].started >= step:  #"),
        ),
        (f"{OPENED}::test_a_step_in_which_nobody_is_left_is_noised_and_charged_like_any_other",),
        "assert charged ==",
    ),
    Mutant(
        "charge after the data were touched",
        (
            Edit(STEP, START, ""),
            Edit(STEP, UPDATED, UPDATED + START),
        ),
        (f"{OPENED}::test_a_step_is_charged_before_its_data_are_touched",),
        "assert all(started == number",
    ),
    Mutant(
        "charge after disclosure",
        (
            Edit(GATE, DISCLOSE, ""),
            Edit(GATE, HANDED_OVER, DISCLOSE + HANDED_OVER),
        ),
        (f"{GATE_TESTS}::test_a_log_that_fails_at_the_last_moment_lets_nothing_out_and_forgets_no_charge",),
        "assert (row.started, row.disclosed) == (1, 1)",
    ),
    Mutant(
        "charge after disclosure: the gate seals what was never started",
        (Edit(GATE, REQUIRED, ""),),
        (f"{GATE_TESTS}::test_no_noise_is_drawn_for_a_step_that_may_not_be_sealed",),
        "assert stream.bytes(64) ==",
    ),
    Mutant(
        "re-seal instead of re-send, by a site, a gate and a ledger that agree on it",
        (
            Edit(STEP, "    if kept is not None:\n        return tools.gate.resend(kept)\n", ""),
            Edit(STEP, START, f"    if kept is None:\n    {START}"),
            Edit(GATE, REQUIRED, ""),
            Edit(GATE, DISCLOSE, f"        if self._ledger.sealed(self._run, context.step) is None:\n    {DISCLOSE}"),
        ),
        (f"{OPENED}::test_a_frame_that_is_asked_for_again_is_the_same_frame",),
        "assert all(first == again",
    ),
    Mutant(
        "re-seal instead of re-send: the ledger lets a sealed step be sealed",
        (Edit(LEDGER, "if self._step_state(run, step) != STARTED:", "if self._step_state(run, step) == SETTLED:"),),
        (SEALED_ONCE,),
        "DID NOT RAISE",
    ),
    Mutant(
        "re-send of a step that is over",
        (Edit(LEDGER, "set state = ?, sealed = null where", "set state = ? where"),),
        (f"{LEDGER_TESTS}::test_a_step_is_sealed_once_and_sent_again_unchanged",),
        "in settle",
        stopped="the privacy ledger cannot be written",
    ),
    Mutant(
        "refund of a step that was started, against the tables' own rules",
        (Edit(LEDGER, "charged = started, state", "charged = disclosed, state"),),
        (REFUND,),
        "in close",
        stopped="the privacy ledger cannot be written",
    ),
    Mutant(
        "refund of a step that was started, in every rule",
        (
            Edit(LEDGER, "charged = started, state", "charged = disclosed, state"),
            Edit(JOURNAL, "and started <= charged and", "and disclosed <= charged and"),
            Edit(JOURNAL, "new.charged <> old.started", "new.charged <> old.disclosed"),
            Edit(JOURNAL, "run.charged, run.state = run.started,", "run.charged, run.state = run.disclosed,"),
        ),
        (REFUND,),
        "assert ledger.balance().spent_max == 30",
    ),
    Mutant(
        "refund of a disclosed step",
        (
            Edit(LEDGER, "charged = started, state", "charged = started - disclosed, state"),
            Edit(JOURNAL, "and started <= charged and", "and 0 <= charged and"),
            Edit(JOURNAL, "new.charged <> old.started", "new.charged <> old.started - old.disclosed"),
            Edit(JOURNAL, "charged, run.state = run.started,", "charged, run.state = run.started - run.disclosed,"),
        ),
        (REFUND,),
        "assert ledger.balance().spent_max == 30",
    ),
    Mutant(
        "reserved steps of open runs counted as free",
        (Edit(LEDGER, "run.step_cost * run.charged), 0)", "run.step_cost * run.started), 0)"),),
        (CAN_PAY,),
        "== {C}",
    ),
    Mutant(
        "the ledger admits at cap + 1",
        (Edit(LEDGER, "where :cost <= :cap - (", "where :cost <= 1 + :cap - ("),),
        (CAN_PAY,),
        "== {C}",
    ),
    Mutant(
        "the ledger is not on disk when it answers",
        (Edit(JOURNAL, '"synchronous = full"', '"synchronous = off"'),),
        ("tests/privacy/test_ledger_on_disk.py::test_a_commit_waits_for_the_disk",),
        "assert synchronous >=",
    ),
    Mutant(
        "step numbers need not rise",
        (Edit(LEDGER, "if step <= last_step:", "if step == last_step:"),),
        (f"{LEDGER_TESTS}::test_steps_only_rise_and_end_where_the_reservation_ends",),
        "STEP_NOT_RISING",
    ),
    Mutant(
        "the allowance is not reserved",
        (Edit(JOINING, "steps=plan.total_steps, subjects=list(prints)", "steps=plan.steps, subjects=list(prints)"),),
        ("tests/federation/test_drop.py::test_a_maker_dead_before_its_ready_costs_nobody_the_step",),
        "assert ",
    ),
    Mutant(
        "cohort minimum dropped",
        (Edit(PLAN, "if cohort < self.minimum_sites or cohort - assumed < HONEST_REMAINDER:", "if False:"),),
        ("tests/privacy/test_plan.py::test_a_site_seals_only_among_enough_honest_sites_and_enough_noise",),
        "DID NOT RAISE",
    ),
    Mutant(
        "noise too narrow is sealed",
        (Edit(PLAN, "or (cohort - assumed) * variance < MINIMUM_NOISE_VARIANCE", ""),),
        ("tests/privacy/test_plan.py::test_a_site_seals_only_among_enough_honest_sites_and_enough_noise",),
        "DID NOT RAISE",
    ),
)

FIGURES = (
    Mutant(
        "sigma rounded down",
        (Edit(ACCOUNTANT, "Fraction(math.ceil(high * ", "Fraction(math.floor(high * "),),
        (f"{ROUNDED}::test_no_noise_multiplier_is_rounded_below_its_target[16]",),
        "assert _gaussian_delta(sigma, epsilon) <= KEPT",
    ),
    Mutant(
        "variance of a share rounded down",
        (Edit(ROUNDING, "return math.ceil((sigma**2 * bound_squared", "return math.floor((sigma**2 * bound_squared"),),
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
        (Edit(ACCOUNTANT, "_tau(event.variance, event.cohort) * event.dimension", "0.0"),),
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
        (Edit(ACCOUNTANT, "+ k * math.log(rate)", "+ 2 * k * math.log(rate)"),),
        (f"{ACCOUNTANT_TESTS}::test_costs_agree_with_the_library[0.02]",),
        "assert expected * (1 - 1e-9) <= cost",
    ),
)
