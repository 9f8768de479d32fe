"""One small signed study for each test that asks for it: a copy of one that is signed once."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # what the tests here share lies beside them

import study_folder

from .history import History


@pytest.fixture(scope="session")
def signed_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_folder.build(tmp_path_factory.mktemp("signed") / "study")


@pytest.fixture
def study(signed_study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed_study, tmp_path / "study"))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> History:
    return History.make(tmp_path_factory.mktemp("history"))


@pytest.fixture
def history(made_once: History, tmp_path: Path) -> History:
    return made_once.copied(tmp_path)
