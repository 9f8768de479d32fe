"""Many sites in one process: what each site adds is bounded, more than fit are refused by name, and a hundred agree.

Nothing here is timed: what is counted are open files, messages parsed, texts computed and bytes allocated, at two
numbers of sites. How long it takes is measured in benchmarks/scale.py.
"""

from __future__ import annotations

import gc
import os
import resource
import tracemalloc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import study_folder
from numpy.typing import NDArray
from study_folder import HashedFeatures

from sekisho.core import messages
from sekisho.core.coordinator.coordinator import RunResult
from sekisho.core.errors import BadInputError
from sekisho.core.pilot import handles
from sekisho.core.pilot.federation import Federation
from sekisho.core.study import MOST_SITES, Study
from sekisho.core.training.tasks import Tasks
from sekisho.governance.errors import BadDocumentError
from sekisho.governance.signing.roster import Roster

STEPS = 2
FEW, MORE = 4, 8
OF_A_SITE = 1_500_000  # bytes: papers, roster, plan, keys and state of a site, and nothing of a model


def names(sites: int) -> list[str]:
    return [f"site{number:03d}" for number in range(sites)]


def write(folder: Path, sites: int) -> Path:
    return study_folder.build(folder, steps=STEPS, allowance=0, sites=names(sites), subjects=2, declared=2)


@dataclass(frozen=True)
class Seen:
    result: RunResult
    parsed: int
    handles: int
    allocated: int
    tasks: int


def run(folder: Path, sites: int, *, count_memory: bool = True) -> Seen:
    """One run; what is counted is what was opened, parsed and held on top of what there was before."""
    write(folder, sites)
    gc.collect()
    messages._read_again.cache_clear()
    open_before = open_files()
    if count_memory:  # it makes everything slower
        tracemalloc.start()
    federation = Federation.open(folder, features=HashedFeatures())
    try:
        assert not federation.problems
        opened = open_files() - open_before
        result = federation.run("probe")
        gc.collect()
        parsed = messages._read_again.cache_info().misses
        held = tracemalloc.get_traced_memory()[0]
        tasks = len({id(site._tasks) for site in federation.sites.values()})
        states = {site.state.optimizer.digest() for site in federation.sites.values() if site.state is not None}
    finally:
        federation.close()
        tracemalloc.stop()
    assert result.state_macs_agree and len(states) == 1 and not federation.embedded.failures
    assert len(result.state.cohort) == sites and result.state.completed == STEPS
    return Seen(result, parsed, opened, held, tasks)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("few")
    run(folder / "first", 3, count_memory=False)  # what is loaded and compiled once is nobody's
    return run(folder / "study", FEW)


@pytest.fixture(scope="module")
def more(few: Seen, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return run(tmp_path_factory.mktemp("more") / "study", MORE)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted as Linux lists them")
def test_each_site_adds_as_much_memory_as_the_one_before(few: Seen, more: Seen) -> None:
    assert few.tasks == more.tasks == 1  # one base model, and what it makes of texts, for all
    slope = (more.allocated - few.allocated) / (MORE - FEW)
    assert 0 < slope < OF_A_SITE


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted as Linux lists them")
def test_each_site_keeps_no_more_files_open_than_room_is_made_for(few: Seen, more: Seen) -> None:
    assert (more.handles - few.handles) <= (MORE - FEW) * handles.A_SITE
    assert few.handles <= FEW * handles.A_SITE + handles.BESIDE


def test_what_everybody_hears_is_parsed_once_and_not_by_each(few: Seen, more: Seen) -> None:
    """Twice the sites say twice as much, and n sites that parsed it each would parse four times as much."""
    assert more.parsed <= 2.2 * few.parsed
    # the positive control: as many readies as that would be, of STEPS steps, twice each
    assert more.parsed < 2 * STEPS * MORE * MORE


@dataclass
class Limits:
    soft: int
    hard: int

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def set_to(which: int, limits: tuple[int, int]) -> None:
            assert which == resource.RLIMIT_NOFILE
            self.soft, self.hard = limits

        monkeypatch.setattr(resource, "getrlimit", lambda which: (self.soft, self.hard))
        monkeypatch.setattr(resource, "setrlimit", set_to)


def test_the_limit_of_open_files_is_raised_as_far_as_the_sites_need(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(1024, 4096)
    limits.install(monkeypatch)
    handles.make_room(5)
    assert limits == Limits(1024, 4096)  # what suffices stays
    handles.make_room(100)
    assert limits == Limits(2200, 4096)
    limits.soft = limits.hard = resource.RLIM_INFINITY
    handles.make_room(MOST_SITES)
    assert limits.soft == resource.RLIM_INFINITY


def test_more_sites_than_the_system_lets_one_process_open_are_refused_before_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "study", MORE)
    Limits(256, 256).install(monkeypatch)
    with pytest.raises(BadInputError) as refused:
        Federation.open(folder, features=HashedFeatures())
    assert refused.value.code == "HANDLES_TOO_FEW" and f"{MORE} sites" in str(refused.value)
    assert not list(folder.glob("sites/*/state"))


def test_a_study_of_more_sites_than_there_can_be_is_refused_where_it_is_read() -> None:
    """Before anything is opened, reserved or charged: the file itself does not parse, and the refusal says where."""
    digest = "sha256:" + "0" * 64
    assert len(Study.parse(study_folder.study_text(2, 0, digest, sites=names(MOST_SITES)).encode(), "s").sites) == 127
    with pytest.raises(BadDocumentError) as refused:
        Study.parse(study_folder.study_text(2, 0, digest, sites=names(MOST_SITES + 1)).encode(), "study.yaml")
    assert refused.value.code == "BAD_VALUE" and "sites: the list is too long" in str(refused.value)
    assert "127 or fewer" in refused.value.hint
    assert len(Roster.parse(study_folder.roster_text(names(MOST_SITES)).encode(), "r").sites) == MOST_SITES
    with pytest.raises(BadDocumentError) as refused:
        Roster.parse(study_folder.roster_text(names(MOST_SITES + 1)).encode(), "roster.yaml")
    assert refused.value.code == "BAD_VALUE" and "parties: the list is too long" in str(refused.value)


class Counting(HashedFeatures):
    """Counts texts."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def of(self, texts: Iterable[str]) -> NDArray[np.float64]:
        asked: Sequence[str] = list(texts)
        self.texts.extend(asked)
        return super().of(asked)


def test_public_texts_are_computed_once_for_all_sites_of_a_process(study: Path) -> None:
    federation = Federation.open(study, features=HashedFeatures())
    settings, base_model = federation.study.settings("probe"), federation.base_model
    federation.close()
    features = Counting()
    tasks = Tasks(base_model, [settings], features)
    texts = ("lovely", "stale")
    rows = tasks.public_rows(settings, texts)
    assert tasks.public_rows(settings, tuple(texts)) is rows and features.texts == ["lovely", "stale"]
    assert (tasks.of(settings).load(texts) == rows).all()
    # another set is another's, and nothing outlives the study
    assert len(tasks.public_rows(settings, ("lovely",))) == 1
    tasks.forget()
    tasks.public_rows(settings, ("lovely",))
    assert features.texts[-2:] == ["lovely", "lovely"]


@pytest.mark.proof
def test_a_hundred_sites_in_one_process_come_to_one_state(tmp_path: Path) -> None:
    seen = run(tmp_path / "study", 100, count_memory=False)
    assert seen.result.plan.preset in ("3x15", "2x23", "1x46")  # of those that many sites take
    assert seen.handles <= 100 * handles.A_SITE
