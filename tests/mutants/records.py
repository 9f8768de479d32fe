"""Mistakes in the gradient of each record, before anything is added up: a wrong row is no error that anybody sees."""

from __future__ import annotations

from .mutant import Edit, Mutant

GRADIENTS = "privacy/gradients/gradients.py"
RULE = "privacy/gradients/one_backward.py"
SEPARATION = "privacy/gradients/separation.py"
TRAINABLE = "privacy/gradients/trainable.py"

GRADIENT_TESTS = "tests/privacy/test_gradients.py"
ROWS = f"{GRADIENT_TESTS}::test_rows_are_those_of_one_record_at_a_time"
MIXES = f"{GRADIENT_TESTS}::test_a_loss_that_mixes_records_is_refused"
VALUES = (
    "tests/privacy/test_separation.py::test_a_record_s_values_in_another_s_row_are_refused_at_the_first_batch"
)
ALONE = "assert (row - alone).norm() <="

RECORD_MUTANTS = (
    Mutant(
        "multiplied by the realised batch: a sum of losses taken for their mean",
        (Edit(GRADIENTS, 'loss_reduction="sum"', 'loss_reduction="mean"'),),
        (f"{ROWS}[linear]",),
        "in _refuse_mixed",
        stopped="a record's gradient depends on the records beside it, or differs from one pass to the next",
    ),
    Mutant(
        "a bias whose tokens are not added up",
        (Edit(RULE, "own.sum(dim=1)", "own[:, 0]"),),
        (f"{ROWS}[linear over tokens]",),
        ALONE,
    ),
    Mutant(
        "everybody has the batch's mean gradient",
        (
            Edit(
                RULE,
                "torch.bmm(own.transpose(1, 2), came_in)",
                "torch.bmm(own.transpose(1, 2), came_in).mean(0, keepdim=True).expand(len(x), -1, -1)",
            ),
        ),
        (f"{ROWS}[linear]",),
        "in _refuse_mixed",
        stopped="a record's gradient depends on the records beside it, or differs from one pass to the next",
    ),
    Mutant(
        "a loss that mixes records is let pass",
        (Edit(GRADIENTS, "if not self._separate and len(gradients) > 1:", "if False:"),),
        (f"{MIXES}[against the mean]", f"{MIXES}[a small balancing term]"),
        "DID NOT RAISE",
    ),
    Mutant(
        "a record's values may be in another's row, where no gradient is",
        (Edit(SEPARATION, "for places in _neighbours(count):", "for places in ():"),),
        (f"{VALUES}[8-the value of the one 1 away]", f"{VALUES}[7-the value of the one 6 away]"),
        "DID NOT RAISE",
    ),
    Mutant(
        "only every second record is ever exchanged",
        (Edit(SEPARATION, "    while stride < count:", "    while stride < 2:"),),
        (f"{VALUES}[8-the value of the one 4 away]",),
        "DID NOT RAISE",
    ),
    Mutant(
        "a row may depend on how many records there are",
        (Edit(SEPARATION, "of_longest=SIZE_TOLERANCE)", "of_longest=100.0)"),),
        (f"{VALUES}[8-a loss divided by the number of records]",),
        "DID NOT RAISE",
    ),
    Mutant(
        "a short row may lean on a long one",
        (Edit(SEPARATION, "spread = LARGEST_EXPONENT // (min(count, APART) - 1)", "spread = 1"),),
        ("tests/privacy/test_separation.py::test_a_batch_of_two_is_enough_to_see_what_is_far_below_the_longest_row",),
        "DID NOT RAISE",
    ),
    Mutant(
        "rows of an earlier pass are added to",
        (Edit(RULE, 'if getattr(parameter, "grad_sample", None) is not None:', "if False:"),),
        ("tests/privacy/test_one_backward.py::test_rows_of_an_earlier_pass_are_never_added_to",),
        "DID NOT RAISE",
    ),
)
