"""What a site keeps of a run on disk: the state that it stands at, whole, private, and once."""

from __future__ import annotations

import hashlib
import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sekisho.core.site.state import RunState, Transcript
from sekisho.core.training.optimizer import DIGEST_LABEL, OptimizerState
from sekisho.privacy.keys.runkeys import JoinKeys

from .books import open_federation


def test_a_sites_files_are_its_state_bit_for_bit_and_private(study: Path) -> None:
    federation = open_federation(study)
    try:
        federation.run("probe")
        for site in federation.sites.values():
            folder = site.folder.runs
            (document,) = folder.glob("*.json")
            (arrays,) = folder.glob("*.arrays")
            kept = json.loads(document.read_text("utf-8"))
            assert kept["arrays"] == arrays.name
            vectors = np.fromfile(arrays, "<f8").reshape(3, kept["dimension"])
            state = hashlib.sha256(DIGEST_LABEL)
            for count in (kept["dimension"], kept["updates"]):
                state.update(count.to_bytes(8, "little"))
            for vector in vectors:
                state.update(vector.tobytes())
            assert kept["digest"] == "sha256:" + state.hexdigest()
            assert site.state is not None and np.array_equal(vectors[0], site.state.optimizer.vector)
            assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    finally:
        federation.close()


def test_a_run_named_like_the_beginning_of_another_deletes_none_of_its_files(tmp_path: Path) -> None:
    """Runs are named by the coordinator, and a name may hold dots."""

    def state(run: str, updates: int) -> RunState:
        zeros = np.zeros(4)
        return RunState(
            run=run,
            transcript=Transcript(run, "sha256:" + "0" * 64, bytes(32), bytes(32)),
            optimizer=OptimizerState(zeros, zeros, zeros, updates),
            cohort=("a", "b", "c"),
            join_keys=JoinKeys.generate(),
            started=datetime(2026, 11, 29, tzinfo=UTC),
        )

    def arrays() -> set[str]:
        return {file.name for file in tmp_path.glob("*.arrays")}

    for run in ("r.1", "r.1.2", "r.json", "r"):
        state(run, 5).save(tmp_path)
    assert arrays() == {"r.1.5.arrays", "r.1.2.5.arrays", "r.json.5.arrays", "r.5.arrays"}
    state("r", 6).save(tmp_path)  # and of its own, the older goes
    assert arrays() == {"r.1.5.arrays", "r.1.2.5.arrays", "r.json.5.arrays", "r.6.arrays"}
