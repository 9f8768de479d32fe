"""Small signed studies whose records carry a mark that may be seen nowhere else; and the real command."""

import gzip
import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "federation"))  # the command and the study are the same as there

import study_folder

CANARY = "kanarienvogel-7f3a"


@pytest.fixture(scope="session")
def marked_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = study_folder.build(tmp_path_factory.mktemp("marked") / "study", steps=8)
    for site in study_folder.SITES:
        path = folder / "sites" / site / "records.jsonl.gz"
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        marked = [json.dumps({**row, "text": f"{row['text']} {CANARY}"}) for row in rows[:12]]
        path.write_bytes(gzip.compress("".join(row + "\n" for row in marked).encode("utf-8"), mtime=0))
    return folder


@pytest.fixture
def study(marked_study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(marked_study, tmp_path / "study"))
