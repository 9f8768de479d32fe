"""Mistakes with rotated presets: where a vector is rotated, by which signs, how it is bounded, and the way back."""

from __future__ import annotations

from .mutant import Edit, Mutant

ACCOUNTANT = "privacy/accounting/accountant.py"
CLIPPING = "privacy/gradients/clipping.py"
ROTATION = "privacy/mechanism/rotation.py"
ROUNDING = "privacy/mechanism/rounding.py"
KEPT_IF_WITHIN = "if _within(whole, bound):\n        return whole.astype(np.int64), False"
KEPT_ANYHOW = "if True:\n        return whole.astype(np.int64), False"
STEP = "core/site/step.py"

CLIPPING_TESTS = "tests/privacy/test_clipping.py"
ROTATION_TESTS = "tests/privacy/test_rotation.py"
RUN = "tests/federation/test_rotated_run.py"
APPLIED = f"{RUN}::test_what_is_applied_is_the_sum_in_the_adapters_own_coordinates"
ALIKE = f"{RUN}::test_every_site_rotates_alike_and_each_step_otherwise"
THE_ROTATED = f"{CLIPPING_TESTS}::test_the_integers_that_are_checked_are_the_rotated_ones"

ROUNDED = "yield checked_rounding(placed, clipping_norm=norm, grid=plan.grid, stream=stream)"
SEALED_UNDER = "rotation=tools.plan.rotation(state.step_transcript)"
OPENED_UNDER = "_gradient_sum(opened, tools.plan, state.step_transcript)"
TOO_FAR = "assert np.abs(between - plain).max() <"

ROTATION_MUTANTS = (
    Mutant(
        "rotation after rounding",
        (
            Edit(
                CLIPPING,
                f"placed = clipped if rotation is None else rotation.forward(clipped)\n        {ROUNDED}",
                "whole, cut = checked_rounding(clipped, clipping_norm=norm, grid=plan.grid, stream=stream)\n"
                "        placed = whole if rotation is None else np.rint(rotation.forward(whole.astype(np.float64)))\n"
                "        yield placed.astype(np.int64), cut",
            ),
        ),
        (THE_ROTATED,),
        "assert np.abs(vector - TURN.forward(clipped) / ROTATED.grid_unit).max() <",
    ),
    Mutant(
        "rotation not undone",
        (Edit(STEP, "own = values if rotation is None else rotation.back(values)", "own = values"),),
        (APPLIED,),
        TOO_FAR,
    ),
    Mutant(
        "rotation undone by rotating once more",
        (Edit(STEP, "rotation.back(values)", "rotation.forward(values)"),),
        (APPLIED,),
        TOO_FAR,
    ),
    Mutant(
        "signs of another step: sealed under those of the run, opened under those of the step",
        (Edit(STEP, SEALED_UNDER, "rotation=tools.plan.rotation(state.transcript.h0)"),),
        (ALIKE, APPLIED),
        ("== STEPS", TOO_FAR),
    ),
    Mutant(
        "signs of another step: one set of signs for the whole run",
        (
            Edit(STEP, SEALED_UNDER, "rotation=tools.plan.rotation(state.transcript.h0)"),
            Edit(STEP, OPENED_UNDER, "_gradient_sum(opened, tools.plan, state.transcript.h0)"),
        ),
        (ALIKE,),
        "== STEPS",
    ),
    Mutant(
        "each site rotates by signs of its own",
        (Edit(STEP, SEALED_UNDER, "rotation=tools.plan.rotation(state.step_transcript + folder.site.encode())"),),
        (ALIKE,),
        "[1] * STEPS",
    ),
    Mutant(
        "scale left out of the rotation",
        (Edit(ROTATION, "return 1.0 / math.sqrt(self._size)", "return 1.0"),),
        (THE_ROTATED, f"{CLIPPING_TESTS}::test_one_long_coordinate_is_spread_over_its_block"),
        "in checked_rounding",
        stopped="a vector was not clipped before rounding",
    ),
    Mutant(
        "scale left out of the rotation, and the integers not held against their bound",
        (
            Edit(ROTATION, "return 1.0 / math.sqrt(self._size)", "return 1.0"),
            Edit(ROUNDING, KEPT_IF_WITHIN, KEPT_ANYHOW),
        ),
        (THE_ROTATED,),
        "assert (squares <= ROTATED.grid_bound_squared).all()",
    ),
    Mutant(
        "integers held against their bound before the rotation only",
        (
            Edit(
                CLIPPING,
                ROUNDED,
                'checked_rounding(clipped, clipping_norm=norm, grid=plan.grid, stream=stream.derive(b"held"))\n'
                "        scaled = placed * (plan.grid / norm)\n"
                "        up = stream.uint64(scaled.size) * 2.0**-64 < scaled - np.floor(scaled)\n"
                "        yield (np.floor(scaled) + up).astype(np.int64), False",
            ),
        ),
        (f"{CLIPPING_TESTS}::test_a_rotation_that_lengthens_is_refused_by_the_integer_check",),
        "DID NOT RAISE",
    ),
    Mutant(
        "block that overlaps forgotten: the last coordinates are not spread",
        (Edit(ROTATION, "[self.dimension - size] if overlaps else []", "[]"),),
        (
            f"{ROTATION_TESTS}::test_no_coordinate_reaches_beyond_the_spread[1000-the last coordinate]",
            f"{ROTATION_TESTS}::test_it_is_the_product_of_the_blocks_that_are_written_down[13]",
        ),
        ("<= float(spread(dimension))", "== starts"),
    ),
    Mutant(
        "block that overlaps takes the signs of the one before",
        (
            Edit(
                ROTATION,
                "stream.update(bytes(each))",
                "Cipher(ChaCha20(key, _COUNTER_AND_NONCE), mode=None).encryptor().update(bytes(each))",
            ),
        ),
        (f"{ROTATION_TESTS}::test_it_is_the_product_of_the_blocks_that_are_written_down[13]",),
        "== len(starts)",
    ),
    Mutant(
        "rotated plan trained without a rotation",
        (
            Edit(
                CLIPPING,
                "(rotation.dimension if rotation else None) != (plan.dimension if plan.rotated else None)",
                "False",
            ),
        ),
        (f"{CLIPPING_TESTS}::test_a_rotated_plan_without_a_rotation_is_refused_and_the_other_way_round",),
        "DID NOT RAISE",
    ),
    Mutant(
        "counts rotated",
        (Edit(ACCOUNTANT, "may_rotate=not cells", "may_rotate=True"),),
        ("tests/privacy/test_plan.py::test_a_plan_of_counts_is_not_rotated",),
        "in build_plan",
        stopped="a rotated coordinate is no count",
    ),
)
