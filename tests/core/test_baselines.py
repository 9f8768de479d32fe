"""What was measured beforehand: shown only for this study and this test set, in one strict form, never needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_facts import baselines_json

from sekisho.core.errors import BadInputError
from sekisho.core.pilot.baselines import FILE, LARGEST, read_baselines
from sekisho.core.study import Study

EXAMPLE = Path(__file__).parents[2] / "examples" / "food-quality" / "study.yaml"
STUDY = Study.parse(EXAMPLE.read_bytes(), "study.yaml")


def written(folder: Path, change: Callable[[dict[str, Any]], object] = lambda value: None) -> Path:
    value: dict[str, Any] = {**baselines_json(), "test_set": STUDY.test_set.digest}
    change(value)
    (folder / FILE).write_text(json.dumps(value), "utf-8")
    return folder


def refused(folder: Path) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        read_baselines(folder, STUDY)
    assert caught.value.hint and "\n" not in str(caught.value)
    return caught.value


def test_figures_of_this_study_on_this_test_set_are_read(tmp_path: Path) -> None:
    found = read_baselines(written(tmp_path), STUDY)
    assert found is not None
    assert [row.id for row in found.rows][:2] == ["alone-shokuhin", "alone-wanko"]
    assert [line.foundation for line in found.curve.series] == [True, True, False]


def test_a_study_without_the_file_has_none(tmp_path: Path) -> None:
    assert read_baselines(tmp_path, STUDY) is None


@pytest.mark.parametrize("field", ["study", "test_set"])
def test_figures_of_another_study_or_test_set_are_refused(field: str, tmp_path: Path) -> None:
    other = {"study": "another", "test_set": "sha256:" + "0" * 64}[field]
    error = refused(written(tmp_path, lambda value: value.update({field: other})))
    assert error.code == "STALE_BASELINES"
    assert "nothing was charged" in str(error)


def first_row(field: str, new: object) -> Callable[[dict[str, Any]], object]:
    return lambda value: value["rows"][0].update({field: new})


@pytest.mark.parametrize("change", [
    lambda value: value.update(schema="sekisho-baselines/2"),
    lambda value: value.update(more=1),
    lambda value: value.pop("curve"),
    first_row("epsilon", 3.0 + 1e9), first_row("epsilon", "-1"), first_row("auc", 1.2), first_row("auc", "0.8"),
    first_row("auc", float("nan")), first_row("auc_low", 0.95), first_row("seeds", 0), first_row("id", "../x"),
    first_row("name", {"en": "only"}), first_row("surprise", True),
    lambda value: value["curve"]["series"][0].pop("foundation"),
    lambda value: value["curve"]["series"][0]["points"].reverse(),
    lambda value: value["curve"]["series"][0]["points"][0].update(share=0.0),
    lambda value: value["curve"]["series"][0]["points"][0].update(seconds=float("inf")),
    lambda value: value["curve"]["series"].extend(value["curve"]["series"]),
])
def test_any_other_form_is_refused_at_its_place(change: Callable[[dict[str, Any]], object], tmp_path: Path) -> None:
    assert refused(written(tmp_path, change)).code == "BASELINES_MALFORMED"


def test_what_is_no_json_or_too_large_or_unreadable_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"\xff\xfe", b"[]", b"[" * 100_000, b" " * (LARGEST + 1)):
        (tmp_path / FILE).write_bytes(data)
        assert refused(tmp_path).code == "BASELINES_MALFORMED"
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    assert refused(tmp_path).code == "BASELINES_UNREADABLE"


def test_a_refusal_names_the_place_and_never_the_value(tmp_path: Path) -> None:
    error = refused(written(tmp_path, first_row("auc", "kanarienvogel")))
    assert "rows.0.auc" in str(error) and "kanarienvogel" not in str(error) + error.hint
