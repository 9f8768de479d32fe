"""Mistakes in the books: who is charged and when, what is given back, and what is sent again."""

from __future__ import annotations

from .mutant import Edit, Mutant

FOLDER = "core/site/folder.py"
GATE = "core/gate/gate.py"
JOINING = "core/site/joining.py"
JOURNAL = "privacy/accounting/journal.py"
LEDGER = "privacy/accounting/ledger.py"
PLAN = "privacy/accounting/plan.py"
READING = "privacy/accounting/reading.py"
STEP = "core/site/step.py"

LEDGER_TESTS = "tests/privacy/test_ledger.py"
GATE_TESTS = "tests/core/test_gate.py"
UNCHARGED = "tests/core/test_no_noise_without_charge.py"
OPENED = "tests/federation/test_disclosed_noise.py"
REFUND = f"{LEDGER_TESTS}::test_closing_refunds_what_was_never_started_and_nothing_else"
SEALED_ONCE = f"{LEDGER_TESTS}::test_noise_may_be_drawn_for_a_started_step_and_for_no_other"
CAN_PAY = f"{LEDGER_TESTS}::test_only_subjects_who_can_pay_for_all_of_it_are_admitted"

HEADS = "core/site/heads.py"
HEADS_TESTS = "tests/federation/test_witnessed_heads.py"

OWN_WITNESSES = (
    "witnesses = {claim.controller for claim in strange} - {controller}\n    if len(witnesses) <= observers:"
)
STARTED = "    folder.ledger.start(state.run, state.step)\n"
START = f"    if not folder.ledger.is_started(state.run, state.step):\n    {STARTED}"
DISCLOSE = "        self._ledger.disclose(charge, context.step, sealed.to_bytes())\n"
UPDATED = "    # 6. the gate\n"
HANDED_OVER = "        # 6. hand over\n        return sealed\n"
REQUIRED = "        self._ledger.require_started(charge, context.step)\n"

CHARGES = (
    Mutant(
        "empty step not charged, by a site and a gate that agree on it",
        (
            Edit(STEP, START, ""),
            Edit(
                STEP, "    stream = SecretStream()\n", f"    if subjects:\n    {STARTED}    stream = SecretStream()\n"
            ),
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
        (f"{UNCHARGED}::test_a_step_that_was_not_started_draws_no_noise",),
        "assert stream.bytes(64) ==",
    ),
    Mutant(
        "noise that is not the noise that was charged",
        (Edit(GATE, "if noised.event != event:", "if False:"),),
        (f"{GATE_TESTS}::test_noise_that_is_not_the_noise_that_was_charged",),
        "DID NOT RAISE",
    ),
    Mutant(
        "a ready at another transcript is as good as one at this",
        (Edit(STEP, " or body.transcript != transcript.hex():", ":"),),
        ("tests/attacks/test_different_views.py::test_another_sum_for_one_site",),
        "assert ongoing.started() ==",
    ),
    Mutant(
        "re-seal instead of re-send, by a site, a gate and a ledger that agree on it",
        (
            Edit(
                STEP, "    if kept is not None:\n        if not state.step_sealed:", "    if False:\n        if True:"
            ),
            Edit(STEP, START, f"    if kept is None:\n    {STARTED}"),
            Edit(GATE, REQUIRED, ""),
            Edit(GATE, "if context.transcript in self._transcripts:", "if False:"),
            Edit(GATE, DISCLOSE, f"        if self._ledger.sealed(charge, context.step) is None:\n    {DISCLOSE}"),
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
        (
            Edit(LEDGER, "select step_cost * charged from run", "select step_cost * started from run"),
            Edit(READING, "step_cost * charged from admitted", "step_cost * started from admitted"),
        ),
        (CAN_PAY,),
        "== {C}",
    ),
    Mutant(
        "runs that admitted the same subjects count once",
        (Edit(READING, "together[subjects] += cost", "together[subjects] = cost"),),
        (f"{LEDGER_TESTS}::test_who_is_left_out_is_the_same_however_many_runs_there_were",),
        "== (610, 204)",
    ),
    Mutant(
        "the ledger admits at cap + 1",
        (Edit(LEDGER, "room = self._lowest_cap() - cost", "room = self._lowest_cap() + 1 - cost"),),
        (CAN_PAY,),
        "== {C}",
    ),
    Mutant(
        "a process that was opened under a wider policy goes on under it",
        (Edit(LEDGER, "return min(self._cap, int(latest))", "return self._cap"),),
        (
            f"{LEDGER_TESTS}::"
            "test_a_handle_that_was_opened_under_a_wider_policy_follows_the_narrower_one_that_came_since",
        ),
        "DID NOT RAISE",
    ),
    Mutant(
        "one person's budget decides whether a site joins",
        (Edit(FOLDER, "balance.spent_by_runs + cost", "balance.spent_min + cost"),),
        (
            "tests/federation/test_nobody_flips_a_refusal.py::"
            "test_one_person_who_came_later_does_not_decide_whether_a_site_joins",
        ),
        'assert seen["with"] == seen["without"]',
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
        "assert run.books_after[1] ==",
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

WITNESSES = (
    Mutant(
        "a ledger put back and grown again is known by its length alone",
        (Edit(HEADS, "if head_at(claim.head.entries) != claim.head.mac)", "if claim.head.entries > entries)"),),
        (f"{HEADS_TESTS}::test_of_three_sites_both_others_must_have_seen_it",),
        "DID NOT RAISE",
    ),
    Mutant(
        "two sites of one controller are two witnesses",
        (Edit(HEADS, OWN_WITNESSES, OWN_WITNESSES.replace("claim.controller", "claim.witness")),),
        (f"{HEADS_TESTS}::test_two_sites_under_one_controller_are_one_witness_and_the_own_controller_is_none",),
        "in judge_own",
        stopped="saw this ledger at 12 entries; here it has 9",
    ),
    Mutant(
        "no answer about a head is a good answer",
        (Edit(HEADS, "answered.get(claim.witness) !=", "answered.get(claim.witness, claim.head.mac) !="),),
        (f"{HEADS_TESTS}::test_a_site_believes_its_own_eyes_and_of_others_t_plus_one",),
        "DID NOT RAISE",
    ),
    Mutant(
        "the heads that were seen may go back",
        (Edit(HEADS, "if head.entries < known.entries:", "if False:"),),
        (f"{HEADS_TESTS}::test_heads_seen_only_go_forward",),
        "DID NOT RAISE",
    ),
)
