"""The workbench, one for each file of tests: files may run side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .workbench import Workbench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    bench = Workbench(Path(__file__).parents[2], tmp_path_factory.mktemp("mutants") / "tree")
    yield bench
    bench.close()
