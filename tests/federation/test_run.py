"""A whole run on the real parts: five sites, one coordinator, every message through the gate."""

from pathlib import Path

import numpy as np
from channels import Recording
from study_folder import SITES, HashedFeatures

from sekisho.core.pilot.federation import Federation
from sekisho.core.pilot.protections import protections_held


def open_federation(study: Path, **kwargs: object) -> Federation:
    return Federation.open(study, features=HashedFeatures(), **kwargs)  # type: ignore[arg-type]  # the interface is what counts


def test_five_sites_train_one_adapter_and_all_hold_the_same_bits(study: Path) -> None:
    federation = open_federation(study)
    try:
        accepted, refused = federation.preflight("probe")
        assert not refused
        assert set(accepted) == set(SITES)
        result = federation.run("probe")
        assert result.state.completed == 4
        assert result.state.abandoned == 0
        assert result.state_macs_agree
        vectors = [site.state.optimizer.vector for site in federation.sites.values() if site.state]
        assert all(np.array_equal(vectors[0], other) for other in vectors[1:])
        assert np.any(vectors[0] != 0)
        held = protections_held(federation, result)
        assert all(held.values()), held
    finally:
        federation.close()


def test_nothing_leaves_a_site_but_the_kinds_that_the_protocol_names(study: Path) -> None:
    recorded: list[Recording] = []

    def wrap(channel):  # type: ignore[no-untyped-def]  # a test's closure
        recorded.append(Recording(channel))
        return recorded[0]

    federation = open_federation(study, wrap=wrap)
    try:
        federation.run("probe")
    finally:
        federation.close()
    kinds = recorded[0].kinds_received()
    assert set(kinds) == {"join", "kem", "secret", "keyed", "ready", "frame", "finished"}
    assert kinds.count("frame") == 4 * len(SITES)
