"""One small signed study for each test that asks for it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # channels.py and study_folder.py are shared by the tests here

import study_folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return study_folder.build(tmp_path / "study")
