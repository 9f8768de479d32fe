"""docs/deploy.md says of each fault what benchmarks/faults.json holds, and names a test that is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sekisho.benchmarks.faults import CLOCKS, ROWS, filled

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "deploy.md").read_text("utf-8")
LINES = {line.strip("|").split("|")[0].strip(): line for line in PAGE.split("\n") if line.startswith("| ")}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    told: dict[str, Any] = json.loads((ROOT / "benchmarks" / "faults.json").read_text("utf-8"))["rows"]
    return told


def test_the_table_is_what_was_measured(found: dict[str, Any]) -> None:
    assert set(found) == set(ROWS)
    assert filled(PAGE, found) == PAGE


@pytest.mark.parametrize("name", ROWS)
def test_each_row_stands_there_once_and_its_test_is_there(name: str) -> None:
    assert PAGE.count(f"\n| {name} |") == 1
    held_by = LINES[name].strip("|").split("|")[-1].strip().strip("`")
    assert (ROOT / held_by).is_file()


def test_whatever_broke_nothing_was_paid_sealed_or_opened_twice_and_evidence_verified(found: dict[str, Any]) -> None:
    usual = found["undisturbed"]["charged"]
    for name, row in found.items():
        assert "not_measured" not in row, name
        assert row["held"] and row["once"] and (row["logs"], row["evidence"]) == ("sound", "verified"), name
        assert all(row["sealed"][site] <= row["charged"][site] <= usual[site] for site in usual), name
        assert row["ended"] == "finished" or row["ended"].isupper(), name


def test_a_row_that_could_not_be_measured_is_never_a_figure() -> None:
    (name, *_) = CLOCKS
    page = filled(f"| {name} | finished | 1 | 2 | 3 | `x` |", {name: {"not_measured": "there is no libfaketime"}})
    assert page == f"| {name} | not measured | – | – | – | `x` |"
