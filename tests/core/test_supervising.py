"""The process beside ours: started again after a growing pause, heard line by line, and never left behind."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho.core.flare import supervising
from sekisho.core.flare.kits import Command
from sekisho.core.flare.supervising import Supervised

PATIENCE = 300.0


def command(folder: Path, code: str) -> Command:
    return Command((sys.executable, "-u", "-c", code), {"PATH": os.environ["PATH"]}, folder)


def wait_until(true: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.02)


def is_there(process: int) -> bool:
    """Whether the process lives; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_ends_is_started_again_after_a_pause_that_doubles_and_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "LONGEST_PAUSE", 20.0)
    now = [0.0]
    monkeypatch.setattr(supervising.time, "monotonic", lambda: now[0])
    said: list[str] = []
    child = Supervised("the child", command(tmp_path, "raise SystemExit(3)"), tmp_path / "child.log", say=said.append)
    pauses = []
    child.start()
    for _ in range(4):
        assert child._process is not None
        child._process.wait()
        child.tend()  # notices
        pauses.append(child._again - now[0])
        child.tend()
        assert child._process is None  # not before its pause is over
        now[0] = child._again
        child.tend()
    assert pauses == [5.0, 10.0, 20.0, 20.0]
    # one that ran long enough has not failed at its start
    now[0] += supervising.SETTLED_SECONDS + 1
    child._process.wait()
    child.tend()
    assert child._again - now[0] == 5.0
    assert any("ended with 3; it is started again in 5 s" in line for line in said)
    assert stat.S_IMODE((tmp_path / "child.log").stat().st_mode) == 0o600


def test_its_lines_are_heard_once_each_and_what_it_started_ends_with_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('inner', inner.pid)\nprint('a whole line')\nprint('half a li', end='', flush=True)\ntime.sleep(600)\n"
    )
    heard: list[str] = []
    child = Supervised("c", command(tmp_path, code), tmp_path / "c.log", say=lambda line: None, heard=heard.append)
    child.start()
    wait_until(lambda: child.tend() or len(heard) == 2)
    child.tend()
    assert heard[1] == "a whole line" and len(heard) == 2
    inner = int(heard[0].split()[1])
    assert is_there(inner)
    child.stop()
    assert not child.running
    wait_until(lambda: not is_there(inner))
    assert not (tmp_path / "c.pid").exists()


def test_one_that_an_earlier_process_left_behind_is_ended_first_and_no_other_of_that_number(tmp_path: Path) -> None:
    said: list[str] = []
    sleeps = command(tmp_path, "import time; time.sleep(600)")
    first = Supervised("c", sleeps, tmp_path / "c.log", say=said.append)
    first.start()
    assert first._process is not None
    left = first._process.pid
    wait_until(lambda: b"sleep(600)" in Path(f"/proc/{left}/cmdline").read_bytes())  # it has become what it is
    # as after a SIGKILL of ours: it is still there, and another of ours comes
    second = Supervised("c", sleeps, tmp_path / "c.log", say=said.append)
    second.start()
    try:
        assert not is_there(left) and second.running
        # a number that is somebody else's by now is nobody to be ended
        (tmp_path / "d.pid").write_text(f"{os.getpid()}\n", "ascii")
        other = Supervised("d", sleeps, tmp_path / "d.log", say=said.append)
        other.start()
        other.stop()
        assert sum("earlier process" in line for line in said) == 1
    finally:
        second.stop()
        first.stop()


def test_one_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    said: list[str] = []
    missing = Command((str(tmp_path / "nowhere"),), {}, tmp_path)
    child = Supervised("c", missing, tmp_path / "c.log", say=said.append)
    child.start()
    assert not child.running and "cannot be started" in said[0]
    child.stop()
