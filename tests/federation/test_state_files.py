"""What a site keeps of a run on disk: the state that it stands at, whole, private, and once."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import numpy as np

from sekisho.core.training.optimizer import DIGEST_LABEL

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
