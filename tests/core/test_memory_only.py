"""What the base model makes of texts is as personal as they are: no file is opened for it, and it goes with its run."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from sekisho.core.training.base_features import BaseFeatures
from sekisho.core.training.lora import LoraTask
from sekisho.core.training.lora_layout import LoraSettings
from sekisho.core.training.prefix import Prefix
from sekisho.core.training.tangent import LinearisedTask

from .test_lora import encoder, labels, state, texts

WRITING = os.O_WRONLY | os.O_RDWR
RECORDS = 12

_watching: list[list[str]] = []


def _audit(event: str, given: tuple[object, ...]) -> None:
    if _watching and event == "open" and isinstance(given[2], int) and given[2] & WRITING:
        _watching[-1].append(f"opened {given[0]!r}")
    if _watching and event == "mmap.__new__" and given[0] != -1:
        _watching[-1].append(f"mapped {given[0]!r}")


sys.addaudithook(_audit)  # for the life of the process; it says nothing unless somebody watches


def regular_files_held() -> set[str]:
    """Files that this process could write to now, also unlinked and nameless ones, opened from whatever language."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(descriptor)
            flags = int(Path(f"/proc/self/fdinfo/{descriptor.name}").read_text().split("flags:")[1].split()[0], 8)
        except OSError:
            continue  # the listing itself
        if flags & WRITING and (target.startswith(("/memfd:", "/")) and not target.startswith("/dev/")):
            found.add(target)
    for line in Path("/proc/self/maps").read_text().splitlines():
        _, mode, _, _, _, *path = line.split(maxsplit=5)
        if path and "w" in mode and "s" in mode and not path[0].startswith("/dev/"):
            found.add(f"shared: {path[0]}")
    return found


@contextmanager
def nothing_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: Callable[[Callable[[], None]], None]
) -> Iterator[None]:
    """Fails on a file opened for writing, one held open at ``at``'s calls, or one left in the usual places."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(home)
    before, seen = regular_files_held(), set[str]()
    at(lambda: seen.update(regular_files_held()))
    _watching.append([])
    try:
        yield
    finally:
        opened = _watching.pop()
    assert opened == [] and seen <= before and not list(home.rglob("*"))


def watch_passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    def at(look: Callable[[], None]) -> None:
        real = Prefix._pass

        def watched(self: Prefix, *given: object) -> object:
            found = real(self, *given)  # type: ignore[arg-type]  # passed on as they came
            look()
            return found

        monkeypatch.setattr(Prefix, "_pass", watched)

    return at


def train(task: LoraTask) -> None:
    base = BaseFeatures(task)
    linear = LinearisedTask(task, base, keep=True)
    rows = linear.load(texts(RECORDS))
    linear.linearise(rows, state(task.layout))
    linear.gradients(rows, labels(RECORDS), state(task.layout))


@pytest.fixture(scope="module")
def task() -> LoraTask:
    return LoraTask(encoder(), LoraSettings(seed=1))


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are listed on Linux alone")


@needs_proc
def test_what_is_kept_of_texts_is_never_in_a_file(
    task: LoraTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with nothing_written(monkeypatch, tmp_path, watch_passes(monkeypatch)):
        train(task)


def spill_by_numpy(folder: Path) -> None:
    # passes run side by side: a second one must not cut the file short under the first
    np.memmap(folder / f"rows-{threading.get_ident()}", dtype=np.float32, mode="w+", shape=(4,))


def spill_by_torch(folder: Path) -> None:
    torch.save(torch.zeros(4), folder / "rows.pt")  # opened in C++: no audit sees it, the folder does


def spill_without_a_name(folder: Path) -> None:
    kept.append(os.memfd_create("rows"))


def spill_to_a_temporary_file(folder: Path) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"rows")


kept: list[int] = []
SPILLS = [spill_by_numpy, spill_by_torch, spill_without_a_name, spill_to_a_temporary_file]


@needs_proc
@pytest.mark.parametrize("spill", SPILLS, ids=lambda spill: spill.__name__)
def test_a_cache_that_spills_is_caught(
    spill: Callable[[Path], None], task: LoraTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = Prefix._pass

    def spilling(self: Prefix, *given: object) -> object:
        spill(Path.cwd())
        return real(self, *given)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(Prefix, "_pass", spilling)
    with pytest.raises(AssertionError), nothing_written(monkeypatch, tmp_path, watch_passes(monkeypatch)):
        task.load(texts(2))
    for descriptor in kept:
        os.close(descriptor)
    kept.clear()


def test_forgetting_leaves_nothing_that_could_be_found(task: LoraTask) -> None:
    base = BaseFeatures(task)
    linear = LinearisedTask(task, base, keep=True)
    rows = linear.load(texts(RECORDS))
    linear.linearise(rows, state(task.layout))
    linear.gradients(rows, labels(RECORDS), state(task.layout))
    known = rows.known
    traces = [weakref.ref(kept) for kept in (*known.states.states, known.derivatives, known.base, known)]
    del known
    assert all(trace() is not None for trace in traces)
    base.forget()
    del rows
    gc.collect()
    assert all(trace() is None for trace in traces)
