"""A run's rows are as personal as the texts: when a run has ended at a site, in whatever way, nothing holds them."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

from sekisho.core.errors import CoreError, ProtocolError
from sekisho.core.pilot.federation import Federation
from sekisho.core.pilot.personal import personal_facts
from sekisho.core.site import site as site_module
from sekisho.core.site.personal import personalise
from sekisho.core.training.training import TrainingData

from . import study_folder
from .books import open_federation
from .channels import Dying
from .study_folder import SITES

Traces = list["weakref.ref[object]"]


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Traces:
    """Weak references to what every site loads: they show whether it is still there, and do not hold it."""
    found: Traces = []
    real = site_module.load_training_data

    def traced(*given: object) -> TrainingData:
        data = real(*given)  # type: ignore[arg-type]  # passed on as they came
        found.extend(weakref.ref(kept) for kept in (data, data.rows, data.labels))
        return data

    monkeypatch.setattr(site_module, "load_training_data", traced)
    return found


def alive(traces: Traces) -> int:
    gc.collect()
    return sum(trace() is not None for trace in traces)


def without_personal_heads(study: Path) -> None:
    study_folder.change(study / "study.yaml", "personal_heads: true", "personal_heads: false")
    study_folder.sign(study)


def finished(federation: Federation) -> None:
    assert federation.run("probe").state_macs_agree


def test_after_a_finished_run(study: Path, traces: Traces) -> None:
    without_personal_heads(study)
    federation = open_federation(study)
    try:
        finished(federation)
        assert len(traces) == 3 * len(SITES) and alive(traces) == 0
        assert all(site.data is None for site in federation.sites.values())
    finally:
        federation.close()


def test_after_a_stopped_run(study: Path, traces: Traces) -> None:
    counted: list[int] = []

    def dies(site: str, kind: str, step: int) -> bool:
        if kind == "readies" and step == 2:
            counted.append(alive(traces))
        # three of five sites gone in the second step: fewer than the study's fewest, so the others are told to stop
        return kind == "readies" and step == 2 and site in SITES[:3]

    federation = open_federation(study, wrap=lambda channel: Dying(channel, dies=dies))
    try:
        with pytest.raises(CoreError):
            federation.run("probe")
        assert counted[0] == 3 * len(SITES)  # in the middle of the run they were all there
        for name in SITES[3:]:
            assert federation.sites[name].state is None and federation.sites[name].data is None
        assert alive(traces) == 3 * 3  # the dead sites' own: they were told nothing
    finally:
        federation.close()


def test_a_personal_head_is_trained_on_them_once_more_and_then_they_are_gone(study: Path, traces: Traces) -> None:
    federation = open_federation(study)
    try:
        finished(federation)
        assert alive(traces) == 3 * len(SITES)
        personal_facts(federation, "probe")
        assert alive(traces) == 0
        with pytest.raises(ProtocolError) as refused:
            personalise(next(iter(federation.sites.values())))
        assert refused.value.code == "NOTHING_TO_PERSONALISE"
    finally:
        federation.close()


def test_also_where_the_head_is_refused(study: Path, traces: Traces) -> None:
    federation = open_federation(study)
    try:
        finished(federation)
        for site in federation.sites.values():
            assert site.tools is not None
            site.tools.gate.decide = _refuse  # type: ignore[method-assign]  # a policy that has changed its mind
        assert personal_facts(federation, "probe") == {}
        assert alive(traces) == 0
    finally:
        federation.close()


def _refuse(*_: object) -> None:
    raise ProtocolError("REFUSED_FOR_THE_TEST", "no")


def test_a_reference_that_is_kept_is_seen(traces: Traces) -> None:
    """What the tests above rest on."""
    kept = np.zeros(3)
    traces.append(weakref.ref(kept))
    assert alive(traces) == 1
    del kept
    assert alive(traces) == 0
