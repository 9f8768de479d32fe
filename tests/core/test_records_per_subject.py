"""No more records of one subject go into a step than the plan allows, whatever the clip would make of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.core.training.task import TextProbe
from sekisho.core.training.training import train_step
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.tests.core.test_training import PLAN, STATE, data_of, dataset


def test_no_more_records_of_a_subject_are_used_than_the_plan_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    real = TextProbe.gradients

    def counting(task: TextProbe, rows: NDArray[np.float64], *given: Any) -> NDArray[np.float64]:
        used.append(len(rows))
        return real(task, rows, *given)

    monkeypatch.setattr(TextProbe, "gradients", counting)
    source = dataset(9, 1, 4)
    for most, expected in ((3, 3 + 1 + 3), (100, 14)):
        used.clear()
        plan = dataclasses.replace(PLAN, records_per_subject=most)
        train_step(data_of(source), source.subjects, STATE, plan=plan, step=1, stream=SecretStream())
        assert used == [expected]
