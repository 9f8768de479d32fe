"""Mistakes in how blocks of steps are judged on held-out people, and rolled back."""

from __future__ import annotations

from .mutant import Edit, Mutant

BLOCKS = "core/site/blocks.py"
CONSIDERING = "core/site/considering.py"
ENDINGS = "core/coordinator/endings.py"
STATE = "core/site/state.py"
VERDICT = "privacy/mechanism/verdict.py"

COUNTED = '"count": number,\n                "state": state_mac,'

RUNS = "tests/federation/test_validation.py"
RULES = "tests/core/test_blocks.py"
VERDICTS = "tests/privacy/test_verdict.py"

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
        "AssertionError",
    ),
    Mutant(
        "a rejected block not counted against the allowance",
        (Edit(ENDINGS, "plan.total_steps - state.step >= needed", "plan.total_steps - state.completed >= needed"),),
        (f"{RULES}::test_a_rejected_block_is_counted_against_the_allowance",),
        "assert ended is not None",
    ),
    Mutant(
        "a verdict on exact counts",
        (Edit(VERDICT, "if type(now) is not OpenedCounts or type(before) is not OpenedCounts or now", "if now"),),
        (f"{VERDICTS}::test_exact_counts_are_not_judged",),
        "DID NOT RAISE",
    ),
    Mutant(
        "steps go on past a block that nobody judged",
        (Edit(BLOCKS, "return fresh >= every or (completed >= steps and fresh > 0)", "return fresh > every"),),
        (f"{RULES}::test_a_site_knows_by_itself_when_a_count_is_due",),
        "assert count_is_due(",
    ),
)
