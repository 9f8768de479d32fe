"""What holds for every test."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from .logged import logs_below, planted_in, watched

MUTANT = "SEKISHO_TESTS_OF_A_MUTANT"  # set by mutants/workbench.py

# Everywhere the same examples, however slow the machine; `--hypothesis-profile=explore` draws others.
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("same", derandomize=True, database=None, **PATIENT)
settings.register_profile("explore", **PATIENT)
settings.load_profile("same")


# What 8,300 tests consist of stays until the end. Python's collector of garbage looked through all of it again while it
# grew and at every later turn; a test that collects between its measurements took a minute for it.
def pytest_collectstart() -> None:
    """While tests are found nothing becomes garbage."""
    gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """From here on the collector has to do with what tests make, and with nothing else."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_log_says_anything_about_anybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The personal data that tests plant stand in no log of the whole suite; looked at as the session ends."""
    if MUTANT in os.environ:  # a mistake that logs a person is for the test that names it to find
        yield
        return
    with pytest.MonkeyPatch.context() as patch, watched(patch) as found:
        yield
        patch.undo()
    found |= planted_in(logs_below(tmp_path_factory.getbasetemp()))
    assert not found, f"logs of this suite hold {sorted(found)}"
