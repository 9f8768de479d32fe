"""Mistakes in the gradient of each record, before anything is added up: a wrong row is no error that anybody sees."""

from __future__ import annotations

from .mutant import Edit, Mutant

GRADIENTS = "privacy/gradients/gradients.py"
RULE = "privacy/gradients/one_backward.py"
TRAINABLE = "privacy/gradients/trainable.py"

GRADIENT_TESTS = "tests/privacy/test_gradients.py"
ROWS = f"{GRADIENT_TESTS}::test_rows_are_those_of_one_record_at_a_time"
MIXES = f"{GRADIENT_TESTS}::test_a_loss_that_mixes_records_is_refused"
ALONE = "assert (row - alone).norm() <="

RECORD_MUTANTS = (
    Mutant(
        "multiplied by the realised batch: a sum of losses taken for their mean",
        (Edit(GRADIENTS, 'loss_reduction="sum"', 'loss_reduction="mean"'),),
        (f"{ROWS}[linear]",),
        ALONE,
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
        "in _separate",
        stopped="a record's gradient depends on the records beside it, or differs from one pass to the next",
    ),
    Mutant(
        "a loss that mixes records is let pass",
        (Edit(GRADIENTS, "if not self._separate and len(gradients) > 1:", "if False:"),),
        (f"{MIXES}[against the mean]", f"{MIXES}[a small balancing term]"),
        "DID NOT RAISE",
    ),
    Mutant(
        "rows of an earlier pass are added to",
        (Edit(RULE, 'if getattr(parameter, "grad_sample", None) is not None:', "if False:"),),
        ("tests/privacy/test_one_backward.py::test_rows_of_an_earlier_pass_are_never_added_to",),
        "DID NOT RAISE",
    ),
)
