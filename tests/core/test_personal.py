"""A site's own head: it helps where the site differs, is tried on people it did not see, and sends nothing."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sekisho.core.training.personal import PersonalHead, train_personal_head
from sekisho.core.training.task import TextProbe
from sekisho.core.training.training import TrainingData

WIDTH = 8
KEY = bytes(range(32))


class Nothing:
    width = WIDTH

    def of(self, texts: object) -> NDArray[np.float64]:
        raise AssertionError("the rows are there already")


def site(count: int, direction: NDArray[np.float64], seed: int = 1) -> TrainingData:
    """``count`` subjects with two records each, labelled by which side of ``direction`` a record lies on."""
    drawn = np.random.default_rng(seed)
    rows = drawn.normal(size=(2 * count, WIDTH))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = (rows @ direction > 0).astype(np.float64)
    of = {f"s{number:04d}": np.array([2 * number, 2 * number + 1]) for number in range(count)}
    return TrainingData(TextProbe(Nothing()), rows, labels, MappingProxyType(of))


def own_head(data: TrainingData, common: NDArray[np.float64], key: bytes = KEY) -> PersonalHead:
    found = train_personal_head(data, data.rows_of.keys(), common, key=key)
    assert found is not None
    return found


COMMON = np.append(np.eye(WIDTH)[0] * 5, 0.0)


def test_a_site_that_differs_gains_on_people_it_did_not_train_on() -> None:
    found = own_head(site(200, np.eye(WIDTH)[1]), COMMON)
    assert found.held_out > 80 and found.correct_after > found.correct_before + found.held_out // 5


def test_a_site_like_all_others_keeps_the_common_head_nearly() -> None:
    found = own_head(site(200, np.eye(WIDTH)[0]), COMMON)
    assert abs(found.correct_after - found.correct_before) <= found.held_out // 20


def test_who_is_kept_aside_is_whole_subjects_and_only_the_key_tells_whom() -> None:
    data = site(60, np.eye(WIDTH)[1])
    assert own_head(data, COMMON).held_out % 2 == 0
    heads = {own_head(data, COMMON, key=bytes([number]) * 32).vector.tobytes() for number in range(4)}
    assert len(heads) == 4 and own_head(data, COMMON).vector.tobytes() == own_head(data, COMMON).vector.tobytes()


def test_a_record_kept_aside_does_not_move_the_head() -> None:
    data = site(60, np.eye(WIDTH)[1])
    whole = own_head(data, COMMON)
    unmoved = 0
    for subject, places in data.rows_of.items():
        labels = data.labels.copy()
        labels[places] = 1 - labels[places]
        turned = TrainingData(data.task, data.rows, labels, data.rows_of)
        same = own_head(turned, COMMON).vector.tobytes() == whole.vector.tobytes()
        unmoved += same
        assert subject
    assert unmoved * 2 == whole.held_out


def test_with_too_few_records_or_one_label_there_is_none() -> None:
    few = site(8, np.eye(WIDTH)[1])
    assert train_personal_head(few, few.rows_of.keys(), COMMON, key=KEY) is None
    alike = site(100, np.eye(WIDTH)[1])
    same = TrainingData(alike.task, alike.rows, np.ones(200), alike.rows_of)
    assert train_personal_head(same, same.rows_of.keys(), COMMON, key=KEY) is None
    assert train_personal_head(alike, (), COMMON, key=KEY) is None


def test_it_shows_nothing_of_itself() -> None:
    assert repr(own_head(site(60, np.eye(WIDTH)[1]), COMMON)) == "PersonalHead(...)"
