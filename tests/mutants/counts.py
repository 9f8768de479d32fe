"""Mistakes in what leaves besides gradients, counts and votes, and in the one door for all of it."""

from __future__ import annotations

from .mutant import Edit, Mutant

ARTEFACTS = "core/gate/artefacts.py"
COUNTING = "core/training/counting.py"
COUNTS = "privacy/mechanism/counts.py"
GATE = "core/gate/gate.py"

COUNT_TESTS = "tests/privacy/test_counts.py"
COUNTING_TESTS = "tests/core/test_counting.py"
GATE_TESTS = "tests/core/test_count_gate.py"
ONE_RTH = f"{COUNT_TESTS}::test_each_of_r_records_counts_one_rth"

COUNT_MUTANTS = (
    Mutant(
        "every record counts one, not every subject",
        (Edit(COUNTS, "return tallies / np.maximum(records, 1)[:, np.newaxis]", "return tallies.astype(np.float64)"),),
        (ONE_RTH, f"{COUNTING_TESTS}::test_everybody_weighs_one_and_is_judged_as_the_scores_say[1]"),
        ("assert subject_counts(", "assert rightly == pytest.approx("),
    ),
    Mutant(
        "a record that counts nowhere makes the subject's others heavier",
        (
            Edit(
                COUNTS,
                "records = np.bincount(subject_of_row, minlength=count)",
                "records = np.bincount(subject_of_row[known], minlength=count)",
            ),
        ),
        (ONE_RTH,),
        "assert subject_counts(",
    ),
    Mutant(
        "counts rounded by one stream, in turn",
        (Edit(COUNTING, 'stream.derive(SUBJECT_LABEL + subject.encode("utf-8"))', "stream"),),
        (f"{COUNTING_TESTS}::test_rounding_drawn_in_turn_would_be_caught",),
        "assert not others_moved()",
    ),
    Mutant(
        "counts charged to the run, whatever their plan",
        (Edit(ARTEFACTS, 'return run if not plan.cells else f"{run}{BESIDE}{plan.digest()}"', "return run"),),
        (f"{GATE_TESTS}::test_a_count_that_was_charged_under_another_plan_is_refused",),
        "DID NOT RAISE",
    ),
    Mutant(
        "counts charged less than they cost",
        (Edit(GATE, "if event_cost(event, order) > charged:", "if False:"),),
        (f"{GATE_TESTS}::test_a_count_that_was_charged_less_than_it_costs_is_refused",),
        "DID NOT RAISE",
    ),
    Mutant(
        "decided on something else than what leaves",
        (Edit(GATE, "if asked is None or asked.value != frozenset({artefact}):", "if False:"),),
        (f"{GATE_TESTS}::test_a_count_that_was_decided_as_something_else_is_refused",),
        "DID NOT RAISE",
    ),
    Mutant(
        "masks used twice: counts and gradients sealed at one transcript",
        (Edit(GATE, "if context.transcript in self._transcripts:", "if False:"),),
        (f"{GATE_TESTS}::test_a_count_sealed_where_gradients_were_is_refused",),
        "DID NOT RAISE",
    ),
    Mutant(
        "a vote of more weight than its bound",
        (Edit(COUNTS, "np.array([plan.grid if accept else 0]", "np.array([2 * plan.grid if accept else 0]"),),
        (f"{COUNT_TESTS}::test_a_vote_that_one_person_turns_moves_the_sum_by_no_more_than_the_bound",),
        "assert (yes.tolist(), no.tolist()) ==",
    ),
)
