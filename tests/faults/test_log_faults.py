"""Faults at every write, flush, truncation and removal of the log, the witness's file and the consent register.

A writer in a process of its own says what is durable; the system then fails it (EIO, ENOSPC, once or from then on) or
kills it at one system call. Whatever it had said must be there, ``fsck`` clean, the log usable, and the same once more
after a second fault. strace does this at exact places; where it is missing a limit on file sizes and kill -9 do it at
chosen ones. SQLite renames nothing: there is no rename to fail, and the test says so if that changes.
"""

from __future__ import annotations

import copy
import itertools
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .durable import Durable, Writers, nearly_full_log
from .log_writer import REFUSED

CALLS = ("pwrite64", "write", "fsync", "fdatasync", "ftruncate", "unlink", "rename")
TRIALS = 500
STRACE = shutil.which("strace")


class Fault(NamedTuple):
    """``what`` happens at the ``place``-th call of this name, once or (``stays``) from there on."""

    call: str
    place: int
    what: str
    stays: bool = False

    def strace(self, out: Path) -> list[str]:
        what = f"signal={self.what}" if self.what == "SIGKILL" else f"error={self.what}"
        inject = f"inject={self.call}:{what}:when={self.place}{'+' if self.stays else ''}"
        return [*tracing(out, self.call), "-e", inject]


def tracing(out: Path, *calls: str) -> list[str]:
    # neither -e signal=none nor --seccomp-bpf: with either of them no signal is injected
    return [str(STRACE), "-f", "-qq", "-o", str(out), "-e", f"trace={','.join(calls)}"]


@pytest.fixture(scope="module")
def writers() -> Iterator[Writers]:
    writers = Writers()
    yield writers
    writers.close()


@pytest.fixture
def traced() -> None:
    if STRACE is None:
        pytest.skip("strace is not installed here; faults at exact calls need it")


def calls_of(writers: Writers, folder: Path, *words: str) -> list[tuple[str, str]]:
    """Name and arguments of every call that a writer makes whom nothing befalls."""
    out = folder.parent / "clean.trace"
    exit_code, said = writers.run(folder, 1, *words, under=tracing(out, *CALLS))
    assert exit_code == 0, said
    found = re.findall(r"^\d+ +(\w+)\((.*)", out.read_text("utf-8", "replace"), re.MULTILINE)
    return [(name, rest) for name, rest in found if name in CALLS]


def suffer(writers: Writers, folder: Path, durable: Durable, attempt: int, fault: Fault, *words: str) -> bool:
    """One fault, and the judge after it; whether the writer came that far."""
    out = folder.parent / "fault.trace"
    exit_code, said = writers.run(folder, attempt, *words, under=fault.strace(out))
    hit = exit_code == -9 if fault.what == "SIGKILL" else "(INJECTED)" in out.read_text("utf-8", "replace")
    try:
        durable.hear(said, attempt)
        durable.judge(folder)
    except Exception as error:
        raise AssertionError(f"after {fault}, which ended the writer with {exit_code}: {error!r}") from error
    return hit


def faults_at(calls: list[tuple[str, str]], every: int) -> list[Fault]:
    """A kill and one failure at each place, its kinds in turn; of the many pages written, at each ``every``-th."""
    found, kinds = [], itertools.cycle([(what, stays) for what in ("EIO", "ENOSPC") for stays in (False, True)])
    for call, count in Counter(name for name, _ in calls).items():
        for place in range(1, count + 1, every if call == "pwrite64" else 1):
            found.append(Fault(call, place, "SIGKILL"))
            if call != "write":      # a writer that cannot speak says nothing about its files
                found.append(Fault(call, place, *next(kinds)))
    return found


@pytest.mark.proof
def test_no_fault_at_any_call_loses_what_was_acknowledged(traced: None, writers: Writers, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    began = nearly_full_log(base)
    calls = calls_of(writers, Path(shutil.copytree(base, tmp_path / "clean" / "site")))
    assert "rename" not in {name for name, _ in calls}
    faults = faults_at(calls, every=6)
    pick, hits = random.Random(8), Counter[str]()
    for number, fault in enumerate(faults):
        folder = Path(shutil.copytree(base, tmp_path / f"trial-{number}" / "site"))
        durable = copy.deepcopy(began)
        for attempt, one in ((1, fault), (2, pick.choice(faults))):
            hits[f"{one.what} at {one.call}"] += suffer(writers, folder, durable, attempt, one)
        assert writers.run(folder, 3)[0] == 0, "the log is not usable after two faults"
        shutil.rmtree(folder.parent)
    print(f"\n{sum(hits.values())} faults in {len(faults)} files, none lost anything:")
    print("\n".join(f"  {count:4} {name}" for name, count in sorted(hits.items())))
    assert sum(hits.values()) >= TRIALS


def test_a_fault_anywhere_in_one_append_leaves_all_of_it_or_nothing(
    traced: None, writers: Writers, tmp_path: Path
) -> None:
    clean = tmp_path / "clean" / "site"
    clean.mkdir(parents=True)
    calls = calls_of(writers, clean, "short")
    places, inside = Counter[str](), []
    asked = False
    for name, rest in calls:
        places[name] += 1
        if name == "write" and '"try entries' in rest:
            asked = True
        elif name == "write" and '"done entries' in rest:
            break
        elif asked:
            inside.append(Fault(name, places[name], "SIGKILL"))
    assert {fault.call for fault in inside} == {"pwrite64", "fdatasync"}
    for number, fault in enumerate(inside[::2] + [inside[-1]._replace(what=what) for what in ("EIO", "ENOSPC")]):
        folder = tmp_path / f"trial-{number}" / "site"
        folder.mkdir(parents=True)
        assert suffer(writers, folder, Durable(), 1, fault, "short"), fault


@pytest.mark.parametrize("pages", [1, 2, 8, 20])
def test_a_file_that_may_not_grow_loses_nothing(pages: int, writers: Writers, tmp_path: Path) -> None:
    """Works without strace."""
    site, durable = tmp_path / "site", Durable()
    site.mkdir()
    for attempt in (1, 2):
        exit_code, said = writers.run(site, attempt, f"limit={pages * 4120}")
        assert exit_code == REFUSED, said
        durable.hear(said, attempt)
        durable.judge(site)
    exit_code, said = writers.run(site, 3)
    assert exit_code == 0, said
