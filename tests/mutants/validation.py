"""Mistakes in how blocks of steps are judged on held-out people, and rolled back."""

from __future__ import annotations

from .mutant import Edit, Mutant

BLOCKS = "core/site/blocks.py"
CONSIDERING = "core/site/considering.py"
ENDINGS = "core/coordinator/endings.py"
STATE = "core/site/state.py"
MOVEMENT = "core/training/movement.py"
VOTING = "core/site/voting.py"
VERDICT = "privacy/mechanism/verdict.py"
JUDGED = "privacy/mechanism/judged.py"
COUNTS = "privacy/mechanism/counts.py"
COUNTING = "core/training/counting.py"

COUNTED = '"count": number,\n                "state": state_mac,'

RUNS = "tests/federation/test_validation.py"
RULES = "tests/core/test_blocks.py"
VERDICTS = "tests/privacy/test_verdict.py"
MOVES = "tests/core/test_movement.py"
COUNT_TESTS = "tests/privacy/test_counts.py"
COUNTING_TESTS = "tests/core/test_counting.py"
SHIFTED = f"{VERDICTS}::test_scores_that_are_all_shifted_alike_are_seen_by_their_labels"

VALIDATION_MUTANTS = (
    Mutant(
        "held-out people train, too",
        (
            Edit(
                CONSIDERING,
                "return replace(considered, subjects=trained, counted=",
                "return replace(considered, subjects=eligible.subjects, counted=",
            ),
        ),
        (f"{RUNS}::test_who_is_held_out_never_trains_and_is_so_for_good",),
        "not trained[name] & counted[name]",
    ),
    Mutant(
        "a count sealed under the transcript of a step",
        (Edit(STATE, COUNTED, COUNTED.replace("count", "step")),),
        (f"{RULES}::test_a_count_is_never_at_the_transcript_of_a_step",),
        "assert here.at(1",
    ),
    Mutant(
        "going back keeps the velocity",
        (
            Edit(
                STATE,
                "self.optimizer, self.completed, self.spoilt = kept.optimizer, kept.completed, False",
                "self.optimizer = replace(kept.optimizer, velocity=self.optimizer.velocity)\n"
                "        self.completed, self.spoilt = kept.completed, False",
            ),
        ),
        (f"{RULES}::test_going_back_is_to_the_bit_in_memory_and_on_disk",),
        "assert state.optimizer is kept",
    ),
    Mutant(
        "arrays of a rolled-back state kept for those of the next with as many updates",
        (Edit(STATE, "return self.optimizer.updates + self.undone", "return self.optimizer.updates"),),
        (f"{RULES}::test_going_back_is_to_the_bit_in_memory_and_on_disk",),
        """.read_bytes() == b"".join(state.optimizer.array_bytes())""",
    ),
    Mutant(
        "a rejected block not counted against the allowance",
        (Edit(ENDINGS, "plan.total_steps - state.step >= needed", "plan.total_steps - state.completed >= needed"),),
        (f"{RULES}::test_a_rejected_block_is_counted_against_the_allowance",),
        "assert ended is not None",
    ),
    Mutant(
        "a verdict on exact counts",
        (
            Edit(VERDICT, "any(type(one) is not JudgedCounts or one.domain", "any(one.domain"),
            Edit(JUDGED, "if type(self.counts) is not OpenedCounts or not isinstance(", "if not isinstance("),
        ),
        (f"{VERDICTS}::test_exact_counts_are_not_judged",),
        "DID NOT RAISE",
    ),
    Mutant(
        "a shift of all scores that nobody sees: labels are not judged",
        (
            Edit(VERDICT, "LABELS_LOW: _surely_more(_shortfall(now)) > FALL,", "LABELS_LOW: False,"),
            Edit(VERDICT, "LABELS_FELL: trained and max(labels) > FALL,", "LABELS_FELL: False,"),
        ),
        (f"{SHIFTED}[towards the smaller class]", f"{SHIFTED}[towards the larger class]"),
        "assert reasons(now) == expected",
    ),
    Mutant(
        "labels of all alone: giving up the smaller class is not seen",
        (Edit(VERDICT, '(_of_all, "label"), (_balanced, "label")', '(_of_all, "label")'),),
        (f"{VERDICTS}::test_giving_up_the_smaller_class_is_seen_where_hardly_anybody_is_labelled_worse",),
        "assert reasons(counts(0, 70, 30, 160, 40, 0), before) ==",
    ),
    Mutant(
        "labels below the larger class without a look at how sure that is",
        (Edit(VERDICT, "_surely_more(_shortfall(now)) > FALL", "_shortfall(now)[0] > FALL"),),
        (f"{VERDICTS}::test_who_always_gives_the_larger_class_is_below_it_in_one_case_of_a_hundred",),
        "assert wrong < 0.01 * 2000",
    ),
    Mutant(
        "the noise of one cell for a sum of two",
        (
            Edit(
                VERDICT,
                "len(right) * (1 - share) ** 2 + len(wrong) * share**2",
                "(1 - share) ** 2 + share**2",
            ),
        ),
        (f"{VERDICTS}::test_a_fall_of_twice_the_noise_beyond_the_tolerance_is_caught_in_half_of_all_cases[fell]",),
        "assert 0.4 < caught / 2000",
    ),
    Mutant(
        "a marginal that adds the wrong cells",
        (Edit(JUDGED, "if one == judgement else", "if one != judgement else"),),
        (
            f"{COUNT_TESTS}::test_the_marginals_of_label_and_order_follow_from_where_the_middle_lies",
            f"{COUNTING_TESTS}::test_everybody_weighs_one_and_is_judged_as_the_scores_say[1]",
        ),
        ("assert [opened.total(right)", "assert rightly == pytest.approx("),
    ),
    Mutant(
        "a middle that is read the wrong way round",
        (Edit(COUNTING, "return middle > THRESHOLD", "return middle < THRESHOLD"),),
        (f"{COUNTING_TESTS}::test_everybody_weighs_one_and_is_judged_as_the_scores_say[-1]",),
        "assert rightly == pytest.approx(",
    ),
    Mutant(
        "a record counted in two cells, one for each judgement",
        (
            Edit(
                COUNTS,
                "    records = np.bincount(subject_of_row, minlength=count)",
                "    np.add.at(tallies, (subject_of_row[known], cell_of_row[known] // 3 * 3), 1)\n"
                "    records = np.bincount(subject_of_row, minlength=count)",
            ),
        ),
        (f"{COUNT_TESTS}::test_nobody_weighs_more_than_one_whatever_is_held",),
        "assert (vectors >= 0).all() and (vectors.sum(axis=1) <= 1 + 1e-12).all()",
    ),
    Mutant(
        "steps go on past a block that nobody judged",
        (Edit(BLOCKS, "return fresh >= every or (completed >= steps and fresh > 0)", "return fresh > every"),),
        (f"{RULES}::test_a_site_knows_by_itself_when_a_count_is_due",),
        "assert count_is_due(",
    ),
    Mutant(
        "a block is judged by its counts alone, however far it pushed the state",
        (Edit(VOTING, "far=pushes is not None and too_far(pushes, kept.farthest)", "far=False"),),
        (f"{RUNS}::test_a_poisoned_block_is_rolled_back_to_the_bit_and_the_run_goes_on[large]",),
        "assert [reason in told",
    ),
    Mutant(
        "a push that is thrown at the next block is not looked at: only where the state is",
        (Edit(MOVEMENT, "zip(pushes, farthest, strict=True)", "zip(pushes[:1], farthest, strict=False)"),),
        (f"{MOVES}::test_who_pushes_and_takes_it_back_is_seen_by_where_the_state_is_or_by_where_it_goes",),
        "assert too_far((place, rest), farthest)",
    ),
    Mutant(
        "a quiet block makes the next honest one too far",
        (Edit(MOVEMENT, "max(one.beyond_noise, most) for", "one.beyond_noise for"),),
        (f"{MOVES}::test_the_first_block_has_nothing_to_be_compared_with_and_later_ones_the_longest",),
        "assert farthest ==",
    ),
    Mutant(
        "a block is too far for pushing more than one that was held back",
        (Edit(MOVEMENT, "return max(farthest, push.noise) +", "return farthest +"),),
        (f"{MOVES}::test_a_first_block_that_was_held_back_does_not_make_honest_ones_too_far",),
        "assert not any(too_far(one, held_back)",
    ),
    Mutant(
        "noise expected where nothing trains",
        (Edit(MOVEMENT, "for variance, resting in each if resting <= first)", "for variance, resting in each)"),),
        (f"{MOVES}::test_no_noise_is_expected_where_nothing_trains",),
        "assert rest.noise == pytest.approx(",
    ),
    Mutant(
        "a velocity from before taken for a push of the block",
        (Edit(MOVEMENT, "/ rate - before.velocity * (momentum * felt[0])", "/ rate"),),
        (f"{MOVES}::test_both_pushes_are_the_weighted_sums_that_they_are_said_to_be",),
        "push.squared == pytest.approx(",
    ),
)
