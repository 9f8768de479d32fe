"""Mistakes between a record and the integer sum: clipping, rounding, sampling, batches, the step size."""

from __future__ import annotations

from .mutant import Edit, Mutant

CLIPPING = "privacy/gradients/clipping.py"
GRADIENTS = "privacy/gradients/gradients.py"
ROUNDING = "privacy/mechanism/rounding.py"
KEPT_IF_WITHIN = "if _within(whole, bound):\n        return whole.astype(np.int64), False"
KEPT_ANYHOW = "if True:\n        return whole.astype(np.int64), False"
SAMPLING = "privacy/mechanism/sampling.py"
FEATURES = "core/training/features.py"
LORA = "core/training/lora.py"
OPTIMIZER = "core/training/optimizer.py"
PASSES = "core/training/passes.py"
TRAINING = "core/training/training.py"

CLIPPING_TESTS = "tests/privacy/test_clipping.py"
TRAINING_TESTS = "tests/core/test_training.py"
SAMPLING_TESTS = "tests/core/test_sampling_in_training.py"
REMOVED = f"{TRAINING_TESTS}::test_removing_one_subject_moves_nobody_else_by_a_bit"
NOBODY_MOVED = "assert np.array_equal(whole - own,"
MANY_RECORDS = f"{TRAINING_TESTS}::test_a_subject_with_many_records_is_bounded_like_everybody"
WITHIN_BOUND = "<= plan.grid_bound_squared"
LENGTHS = f"{CLIPPING_TESTS}::test_long_vectors_keep_their_direction_and_short_ones_their_length"
SIZES = f"{SAMPLING_TESTS}::test_the_sample_of_a_step_is_as_large_as_chance_will_have_it"
COIN = "if poisson_sample(own, 1, plan.sampling_rate)[0]:"
CLIPPED = "return direction * (bound * NORM_MARGIN / length)"

TRAINING_MUTANTS = (
    Mutant(
        "clip off",
        (Edit(CLIPPING, CLIPPED, "return row"),),
        (MANY_RECORDS, LENGTHS),
        "in checked_rounding",
        stopped="a vector was not clipped before rounding",
    ),
    Mutant(
        "clip off, and the integers not held against their bound",
        (
            Edit(CLIPPING, CLIPPED, "return row"),
            Edit(ROUNDING, KEPT_IF_WITHIN, KEPT_ANYHOW),
        ),
        (MANY_RECORDS,),
        WITHIN_BOUND,
    ),
    Mutant(
        "clip to the largest entry instead of the norm",
        (
            Edit(CLIPPING, "length = float(np.sqrt(np.add.reduce(direction * direction)))", "length = 1.0"),
            Edit(ROUNDING, KEPT_IF_WITHIN, KEPT_ANYHOW),
        ),
        (LENGTHS,),
        "assert np.abs(vector * fine.grid_unit - direction * expected).max() <",
    ),
    Mutant(
        "clip per record",
        (
            Edit(
                TRAINING,
                "clipped_integer_sum(sums, plan=plan, streams=streams, rotation=rotation)",
                "clipped_integer_sum(gradients, plan=plan, streams=[streams[place] for place in subject_of_row])",
            ),
        ),
        (MANY_RECORDS,),
        WITHIN_BOUND,
    ),
    Mutant(
        "records of one subject counted without limit",
        (
            Edit(
                TRAINING,
                "choose_records(data.rows_of[subject], plan.records_per_subject, own)",
                "data.rows_of[subject]",
            ),
        ),
        ("tests/core/test_records_per_subject.py::test_no_more_records_of_a_subject_are_used_than_the_plan_allows",),
        "assert used ==",
    ),
    Mutant(
        "rounding after the sum",
        (
            Edit(
                CLIPPING,
                "    for vector, was_truncated in _each(sums, plan, streams, rotation):\n        total += vector\n",
                "    norm = float(plan.clipping_norm)\n"
                "    clipped = np.sum([_clipped(np.ascontiguousarray(row), norm) for row in sums] or total, axis=0)\n"
                "    total += np.rint(clipped * plan.grid / norm).astype(np.int64)\n"
                "    for _, was_truncated in _each(sums, plan, streams, rotation):\n",
            ),
        ),
        (f"{CLIPPING_TESTS}::test_the_sum_is_the_sum_of_the_checked_vectors", REMOVED),
        ("assert (clipped.total == vectors.sum(axis=0)).all()", NOBODY_MOVED),
    ),
    Mutant(
        "grid bound not checked",
        (Edit(ROUNDING, KEPT_IF_WITHIN, KEPT_ANYHOW),),
        ("tests/privacy/test_rounding.py::test_an_unlucky_rounding_is_cut_towards_zero",),
        "assert truncated and not whole.any()",
    ),
    Mutant(
        "rounding to the nearest, which is biased",
        (Edit(ROUNDING, "floor + (uniform < scaled - floor)", "np.rint(scaled)"),),
        ("tests/privacy/test_rounding.py::test_rounding_is_unbiased",),
        "assert np.abs(mean - scaled).max() <",
    ),
    Mutant(
        "NaN passes the clip, as a record",
        (Edit(CLIPPING, "if np.isfinite(gradients[row]).all():", "if True:"),),
        (f"{CLIPPING_TESTS}::test_a_record_that_is_not_finite_contributes_zero_and_moves_nobody[nan]",),
        "in test_a_record_that_is_not_finite_contributes_zero_and_moves_nobody",
    ),
    Mutant(
        "NaN passes the clip, as a sum",
        (Edit(CLIPPING, "if not np.isfinite(row).all():", "if False:"),),
        (f"{CLIPPING_TESTS}::test_a_sum_that_overflows_contributes_zero",),
        "in checked_rounding",
        stopped="a vector was not clipped before rounding",
    ),
    Mutant(
        "shuffled batches, in training",
        (
            Edit(
                TRAINING,
                "for subject in sorted(subjects):",
                "order = np.argsort(stream.uint64(len(subjects)))\n"
                "    everybody = sorted(subjects)\n"
                "    for subject in [everybody[i] for i in order[: round(len(order) * float(plan.sampling_rate))]]:",
            ),
            Edit(TRAINING, COIN, "if True:"),
        ),
        (SIZES,),
        "assert abs(sizes.var() / variance - 1) <",
    ),
    Mutant(
        "shuffled batches, in the sampler",
        (
            Edit(
                SAMPLING,
                "return stream.uint64(count) < threshold",
                "return np.argsort(np.argsort(stream.uint64(count))) < round(count * rate)",
            ),
        ),
        ("tests/privacy/test_sampling.py::test_the_sample_size_is_binomial_and_never_truncated",),
        "assert abs(sizes.var() - 36) <",
    ),
    Mutant(
        "truncated Poisson sample, in the sampler",
        (
            Edit(
                SAMPLING,
                "return stream.uint64(count) < threshold",
                "taken = stream.uint64(count) < threshold\n"
                "    return taken & (np.cumsum(taken) <= max(1, int(Fraction(rate) * count * 5 / 4)))",
            ),
        ),
        ("tests/privacy/test_sampling.py::test_the_sample_size_is_binomial_and_never_truncated",),
        "sizes.",
    ),
    Mutant(
        "truncated Poisson sample, in training: as many as memory was made for",
        (Edit(TRAINING, COIN, COIN.replace("if ", "if len(chosen) < plan.expected_sample and ")),),
        (f"{SAMPLING_TESTS}::test_nobody_is_left_out_because_the_sample_is_larger_than_expected",),
        "assert update.clipped.subjects == SUBJECTS",
    ),
    Mutant(
        "sampler from the training seed",
        (
            Edit(
                TRAINING,
                COIN,
                COIN.replace(
                    "poisson_sample(own,",
                    "poisson_sample(SecretStream(np.random.default_rng([step, *subject.encode()]).bytes(32)),",
                ),
            ),
        ),
        (f"{SAMPLING_TESTS}::test_who_takes_part_is_not_the_same_whenever_a_step_is_taken",),
        "> 1",
    ),
    Mutant(
        "a sampling rate of 32 bits",
        (
            Edit(
                SAMPLING,
                "threshold = np.uint64(int(Fraction(rate) * 2**64))",
                "threshold = np.uint64(int(Fraction(rate) * 2**32) << 32)",
            ),
        ),
        ("tests/privacy/test_sampling.py::test_the_coin_has_64_bits",),
        "assert poisson_sample(_Given([edge - 1, edge, 0, 2**64 - 1]), 4, rate).tolist() ==",
    ),
    Mutant(
        "one stream for all subjects, read one after the other",
        (Edit(TRAINING, 'own = stream.derive(SUBJECT_LABEL + subject.encode("utf-8"))', "own = stream"),),
        (REMOVED,),
        NOBODY_MOVED,
    ),
    Mutant(
        "dropout from the training seed, on the rows of a batch",
        (
            Edit(
                TRAINING,
                "data.task.gradients(data.rows[places],",
                "data.task.gradients(data.rows[places] * np.random.default_rng(7).integers(2, size=(len(places), 1)),",
            ),
        ),
        (REMOVED,),
        NOBODY_MOVED,
    ),
    Mutant(
        "dropout from the training seed, in the adapter's layers",
        (
            Edit(
                LORA,
                "    log_odds: list[Tensor] = []\n",
                "    log_odds: list[Tensor] = []\n    top.train()\n    torch.manual_seed(7)\n",
            ),
        ),
        ("tests/core/test_lora.py::test_subject_sums_are_those_of_one_record_at_a_time[top two-sdpa]",),
        "in _refuse_mixed",
        stopped="a record's gradient depends on the records beside it, or differs from one pass to the next",
    ),
    Mutant(
        "dropout from the training seed, in the adapter's layers, alike in every pass",
        (
            Edit(
                LORA,
                "    def computed(places: Places) -> Tensor:\n",
                "    def computed(places: Places) -> Tensor:\n        top.train()\n        torch.manual_seed(7)\n",
            ),
        ),
        ("tests/core/test_lora.py::test_subject_sums_are_those_of_one_record_at_a_time[top two-sdpa]",),
        "in _refuse_mixed",
        stopped="a record's gradient depends on the records beside it, or differs from one pass to the next",
    ),
    Mutant(
        "length-sorted ragged micro-batches, for adapters",
        (
            Edit(
                PASSES,
                "    for length in reversed(BUCKETS):\n        fitting =",
                "    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])\n"
                "    for start in range(0, len(order), size):\n"
                "        yield lengths[order[start]], order[start : start + size]\n"
                "    for length in ():\n        fitting =",
            ),
        ),
        ("tests/core/test_lora.py::test_every_pass_has_one_of_the_public_shapes_however_many_records_there_are",),
        "assert seen ==",
    ),
    Mutant(
        "ragged micro-batches: the last pass is as large as what is left",
        (Edit(LORA, "for place in group], length, self._rows)", "for place in group], length, len(group))"),),
        ("tests/core/test_lora.py::test_every_pass_has_one_of_the_public_shapes_however_many_records_there_are",),
        "assert seen ==",
    ),
    Mutant(
        "length-sorted ragged micro-batches, for features",
        (
            Edit(
                FEATURES,
                "    for length in reversed(BUCKETS):\n        fitting =",
                "    order = sorted(range(len(tokens)), key=lambda place: -len(tokens[place]))\n"
                "    for start in range(0, len(order), size):\n"
                "        yield len(tokens[order[start]]), order[start : start + size]\n"
                "    for length in ():\n        fitting =",
            ),
        ),
        ("tests/core/test_public_shapes.py::test_texts_go_through_the_base_model_in_public_shapes_only",),
        "assert shapes <=",
    ),
    Mutant(
        "division by the realised batch, in training",
        (
            Edit(
                TRAINING,
                "Update(ClippedSum(total, count, truncated)",
                "Update(ClippedSum(total * plan.expected_sample // max(1, count), count, truncated)",
            ),
        ),
        (REMOVED,),
        NOBODY_MOVED,
    ),
    Mutant(
        "division by the realised batch, where vectors are added",
        (Edit(CLIPPING, "ClippedSum(total=total,", "ClippedSum(total=total // max(1, len(sums)),"),),
        (f"{CLIPPING_TESTS}::test_the_sum_is_the_sum_of_the_checked_vectors",),
        "assert (clipped.total == vectors.sum(axis=0)).all()",
    ),
    Mutant(
        "division by the realised batch, in the optimiser: by the size of what arrived",
        (
            Edit(
                OPTIMIZER,
                "gradient_sum / float(self.expected_sample)",
                "gradient_sum / max(1.0, float(np.abs(gradient_sum).max()))",
            ),
        ),
        ("tests/core/test_optimizer.py::test_a_step_is_heavy_ball_momentum_on_the_mean_gradient",),
        "assert state.velocity.tolist() ==",
    ),
)
