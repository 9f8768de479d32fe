"""Mistakes in consent, release, logs, witnesses and evidence are made, and found (test_mutants.py says what counts)."""

from __future__ import annotations

import pytest

from .tables import GROUPS, MUTANTS, portions_of
from .workbench import Workbench

GROUP = GROUPS["evidence"]


@pytest.mark.proof
@pytest.mark.parametrize("nodes", portions_of(GROUP))
def test_without_a_mutant_every_named_test_passes(bench: Workbench, nodes: list[str]) -> None:
    outcomes = bench.outcomes(nodes)
    assert {node: outcome for node, outcome in outcomes.items() if outcome.status != "passed"} == {}


@pytest.mark.proof
@pytest.mark.parametrize("name", [mutant.name for mutant in GROUP])
def test_the_mutant_is_caught(bench: Workbench, name: str) -> None:
    complaints = bench.complaints(MUTANTS[name])
    assert not complaints, "\n".join(complaints)
