"""Several processes on one ledger, and processes that are killed: nothing that anybody may have seen is forgotten."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .ledger_writer import opened, sealed_bytes

ROOT = Path(__file__).parents[2]
WRITER = Path(__file__).with_name("ledger_writer.py")
CAP = 2**50
KILLS_A_LEDGER = 20  # then a new one: every 20th kill falls on a ledger that is being made

_RACE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ledger_writer import opened
from sekisho.privacy.errors import BudgetExceededError

ledger, granted = opened(Path(sys.argv[2]), 700), 0
for number in range(40):
    try:
        ledger.reserve(f"{sys.argv[3]}-{number}", step_cost=7, steps=1, subjects=[b"a" * 32])
        granted += 1
    except BudgetExceededError:
        pass
print(granted)
"""


def python(*arguments: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / ".namespace"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def test_four_processes_that_race_fill_exactly_to_the_cap(tmp_path: Path) -> None:
    """They also race to create the ledger."""
    path = tmp_path / "ledger.sqlite"
    racers = [python("-c", _RACE, WRITER.parent, path, f"p{number}") for number in range(4)]
    granted = [int(racer.communicate()[0]) for racer in racers]
    assert sum(granted) == 100
    ledger = opened(path, 700)
    assert ledger.balance().spent_max == 700
    ledger.shut()


class Writers:
    """The process from which writers are forked."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        assert server.stdin is not None and server.stdout is not None
        self._requests, self._answers = server.stdin, server.stdout

    def begin(self, path: Path, run: str, visible: Path, *, early: bool) -> int:
        request = {"path": str(path), "cap": CAP, "run": run, "visible": str(visible), "early": early}
        self._requests.write(json.dumps(request) + "\n")
        self._requests.flush()
        return int(self._answers.readline())

    def kill(self, writer: int) -> None:
        os.kill(writer, signal.SIGKILL)
        assert int(self._answers.readline()) == signal.SIGKILL  # it did not end before, or of anything else


@contextmanager
def writers() -> Iterator[Writers]:
    server = python(WRITER)
    try:
        yield Writers(server)
    finally:
        server.communicate()


@dataclass
class Seen:
    """What outsiders may have seen of one ledger's runs: run -> steps started, steps disclosed."""

    started: dict[str, int] = field(default_factory=dict)
    disclosed: dict[str, int] = field(default_factory=dict)

    def note(self, run: str, visible: Path) -> bool:
        """Whether the writer had come to its first step."""
        lines = visible.read_text().splitlines() if visible.exists() else []
        self.started[run] = sum(line.startswith("s") for line in lines)
        self.disclosed[run] = sum(line.startswith("d") for line in lines)
        return bool(lines)


def under_counts(path: Path, seen: Seen) -> list[str]:
    """What the ledger forgot of what was seen; also closes what the killed one left open."""
    found = []
    ledger = opened(path, CAP)
    rows = {row.run: row for row in ledger.balance().runs}
    for run, steps in seen.started.items():
        row = rows.get(run)
        started, disclosed = (row.started, row.disclosed) if row else (0, 0)
        if started < steps or disclosed < seen.disclosed[run]:
            found.append(f"{run}: {steps} started and {seen.disclosed[run]} disclosed, {row} in the ledger")
        if row and row.state == "open" and disclosed:
            kept = ledger.sealed(run, disclosed)
            if kept != sealed_bytes(run, disclosed) and not (kept is None and disclosed % 3 == 0):
                found.append(f"{run}: the bytes sent for step {disclosed} are not those that would be sent again")
    ledger.close_orphans()
    if ledger.balance().spent_max < sum(seen.started.values()):
        found.append(f"{sum(seen.started.values())} started steps were seen, {ledger.balance().spent_max} are charged")
    ledger.shut()
    return found


def moment(kill: int, visible: Path, chance: random.Random) -> None:
    """Wait for the moment of this kill: of three, two within the steps, one anywhere from the writer's birth on."""
    if kill % KILLS_A_LEDGER % 3 == 0:
        time.sleep(chance.random() * 0.02)  # forking, making the ledger, opening, reserving, the first steps
        return
    deadline = time.monotonic() + 60
    while not (visible.exists() and visible.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.0005)
    time.sleep(chance.random() * 0.02)


def kill_loop(folder: Path, kills: int, seed: int, *, early: bool = False) -> list[str]:
    """All under-counts of as many kills; stops at the first where the writers make the mistake on purpose."""
    chance, found, fell = random.Random(seed), list[str](), Counter[str]()
    with writers() as server:
        for kill in range(kills):
            if kill % KILLS_A_LEDGER == 0:
                path, seen = folder / f"ledger-{kill}.sqlite", Seen()
            run, visible = f"run-{kill}", folder / f"visible-{kill}"
            writer = server.begin(path, run, visible, early=early)
            moment(kill, visible, chance)
            server.kill(writer)
            there = path.exists()
            in_steps = seen.note(run, visible)
            fell["steps" if in_steps else "opening" if there else "before"] += 1
            found += under_counts(path, seen)
            if found and early:
                return found
    print(f"{kills} kills: {dict(fell)}; {len(found)} under-counts")
    assert fell["steps"] > kills / 2 and fell["opening"] > 0  # or the loop would prove nothing
    return found


def test_killed_at_any_moment_nothing_that_was_seen_is_forgotten(tmp_path: Path) -> None:
    assert kill_loop(tmp_path, 40, seed=7) == []


def test_a_writer_that_shows_before_it_marks_is_found(tmp_path: Path) -> None:
    """The control: the loop can find an under-count."""
    assert kill_loop(tmp_path, 200, seed=3, early=True)


@pytest.mark.proof
def test_killed_a_thousand_times_nothing_that_was_seen_is_forgotten(tmp_path: Path) -> None:
    assert kill_loop(tmp_path, 1000, seed=11) == []
