"""Checkpointing and half precision: what they cost in exactness is said, and nobody moves anybody else by a bit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sekisho.core.training import lora
from sekisho.core.training.features import ROWS
from sekisho.core.training.lora import LoraTask, Thrift
from sekisho.core.training.lora_layout import LoraSettings
from sekisho.core.training.rows import PrefixRows

from .test_lora import encoder, labels, state, texts

RECORDS = 15
SETTINGS = LoraSettings(seed=1)
WAYS: Mapping[str, Thrift] = {
    "checkpointing": Thrift(checkpointing=True),
    "half": Thrift(half=True),
    "both": Thrift(half=True, checkpointing=True),
}
# bfloat16 keeps 8 bits, so a rounding is off by 2^-9 at most; a record goes through dozens of them in two layers.
HALF_IS_OFF = 5e-2


@pytest.fixture(scope="module")
def tasks() -> Mapping[str, LoraTask]:
    return {name: LoraTask(encoder(), SETTINGS, thrift=thrift) for name, thrift in WAYS.items()}


@pytest.fixture(scope="module")
def plain() -> LoraTask:
    return LoraTask(encoder(), SETTINGS)


@pytest.fixture(scope="module")
def rows(plain: LoraTask) -> PrefixRows:
    return plain.load(texts(RECORDS))


def found(task: LoraTask, rows: PrefixRows, places: NDArray[np.int64]) -> NDArray[np.float64]:
    return task.gradients(rows[places], labels(RECORDS)[places], state(task.layout))


def everybody(task: LoraTask, rows: PrefixRows) -> NDArray[np.float64]:
    return found(task, rows, np.arange(RECORDS))


def test_checkpointing_changes_no_gradient_by_a_bit(
    tasks: Mapping[str, LoraTask], plain: LoraTask, rows: PrefixRows
) -> None:
    assert everybody(tasks["checkpointing"], rows).tobytes() == everybody(plain, rows).tobytes()
    assert everybody(tasks["both"], rows).tobytes() == everybody(tasks["half"], rows).tobytes()


def test_checkpointing_runs_every_layer_a_second_time(rows: PrefixRows) -> None:
    """What the test above rests on: there is a second pass, and it is the one that counts."""
    task = LoraTask(encoder(), SETTINGS, thrift=WAYS["checkpointing"])
    ran: list[bool] = []
    for top in task._tops:
        top.layers[0].register_forward_pre_hook(lambda *_: ran.append(torch.is_grad_enabled()))
    found(task, rows, np.array([0]))
    assert ran == [True, True]
    task.scores(rows[np.array([0])], state(task.layout))
    assert ran == [True, True, False]


def test_half_precision_rounds_and_does_no_more(
    tasks: Mapping[str, LoraTask], plain: LoraTask, rows: PrefixRows
) -> None:
    expected, half = everybody(plain, rows), everybody(tasks["half"], rows)
    off = np.linalg.norm(half - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert 1e-4 < np.median(off) < off.max() < HALF_IS_OFF
    # kept in float32: most numbers are no numbers of bfloat16, as sums and roots in float32 make them
    head = half[:, plain.head : -1].astype(np.float32)
    assert (head.view(np.uint32) & 0xFFFF).astype(bool).mean() > 0.9


@pytest.mark.parametrize("way", ["checkpointing", "half"])  # of both together, the first test says enough
def test_taking_records_away_changes_no_other_gradient_by_a_bit(
    way: str, tasks: Mapping[str, LoraTask], rows: PrefixRows
) -> None:
    whole = everybody(tasks[way], rows)
    for gone in (0, 3, RECORDS - 1):
        kept = np.array([row for row in range(RECORDS) if row != gone])
        assert found(tasks[way], rows, kept).tobytes() == whole[kept].tobytes()


@pytest.mark.parametrize("way", ["checkpointing", "half"])  # of both together, the first test says enough
def test_moving_records_changes_no_gradient_by_a_bit(way: str, tasks: Mapping[str, LoraTask], rows: PrefixRows) -> None:
    order = np.random.default_rng(9).permutation(RECORDS)
    assert found(tasks[way], rows, order).tobytes() == everybody(tasks[way], rows)[order].tobytes()


@pytest.mark.parametrize("way", ["checkpointing", "half"])  # of both together, the first test says enough
def test_a_record_alone_or_beside_broken_numbers_has_the_gradient_that_it_has_among_others(
    way: str, tasks: Mapping[str, LoraTask], rows: PrefixRows
) -> None:
    whole = everybody(tasks[way], rows)
    for row in (1, 3):
        assert found(tasks[way], rows, np.array([row])).tobytes() == whole[row].tobytes()
    for place in (0, 3, ROWS - 1):
        among = np.array([3] * place + [2] + [3] * (ROWS - 1 - place))
        assert found(tasks[way], rows, among)[place].tobytes() == whole[2].tobytes()
    broken = PrefixRows(tuple(own * np.nan if row == 5 else own for row, own in enumerate(rows.states)))
    others = [row for row in range(RECORDS) if row != 5]
    assert everybody(tasks[way], broken)[others].tobytes() == whole[others].tobytes()


def test_whether_the_place_matters_is_tried_out_in_the_way_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that minds its place in half precision alone, say, must be noticed by the task that uses it."""
    real = lora._derivatives

    def odd(top: lora._Top, *given: object) -> NDArray[np.float64]:
        values: NDArray[np.float64] = real(top, *given)  # type: ignore[arg-type]  # passed on as they came
        if top._thrift.half and len(values) == ROWS:
            values[-1] = np.nextafter(values[-1], 9.0)
        return values

    monkeypatch.setattr(lora, "_derivatives", odd)
    monkeypatch.setattr(lora, "cores", lambda: 1)
    assert LoraTask(encoder(), SETTINGS, thrift=Thrift(half=True))._rows == 1
    assert LoraTask(encoder(), SETTINGS)._rows == ROWS
