"""A disk that is full: an error with a code, exit 2, no traceback; what was charged stays charged, the rest is kept.

A limit on file sizes makes the system refuse writes as a full disk does, one file at a time; where this user may mount
one, a small file system fills up under the real command.
"""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import LedgerRun, ledger_of, log_of, nothing_charged, one_line, sekisho
from study_folder import SITES, HashedFeatures

from sekisho.core.cli.console import described, exit_code_of
from sekisho.core.errors import CoreError
from sekisho.core.pilot.federation import CodedError, Federation
from sekisho.core.pilot.pilot import run_pilot
from sekisho.core.pilot.preflight import SitesError
from sekisho.governance.errors import GovernanceError
from sekisho.governance.evidence.verifier import verify
from sekisho.privacy.errors import PrivacyError

from .test_bad_input import leaks

UNWRITABLE = {
    "LEDGER_UNWRITABLE", "LOG_UNWRITABLE", "STATE_UNWRITABLE", "STOPS_UNWRITABLE", "SUBJECT_KEY_UNWRITABLE",
    "VAULT_UNREADABLE",
}
STEPS, ALLOWANCE = 8, 3


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes here; Python ignores the signal, so a write fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class At:
    """A listener that does something once, when ``step`` steps are done."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act = step, act

    def say(self, text: str = "") -> None: ...

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage == "steps" and done == self.step:
            self.act()


def pilot(study: Path, out: Path, listener: At) -> None:
    run_pilot(study, out, listener, features=HashedFeatures())  # type: ignore[arg-type]  # the interface is what counts


def fails(study: Path, out: Path, listener: At) -> CodedError:
    """The pilot's error, as the command shows it: a code, one sentence, a hint, exit 2."""
    with pytest.raises((CoreError, GovernanceError, PrivacyError)) as caught:
        pilot(study, out, listener)
    error = caught.value
    shown = error.together if isinstance(error, SitesError) and error.together is not None else error
    assert exit_code_of(shown, policy_is_refusal=True) == 2, shown
    assert one_line(described(shown))
    return shown  # type: ignore[return-value]  # one of the three houses' errors


def wal(study: Path, name: str) -> list[Path]:
    return [study / "sites" / site / "state" / f"{name}.sqlite-wal" for site in SITES]


def shorten(study: Path, name: str) -> None:
    """Move what stands in the write-ahead logs into their databases, so that the next write fits again."""
    for path in wal(study, name):
        database = sqlite3.connect(str(path).removesuffix("-wal"))
        database.execute("pragma wal_checkpoint(truncate)")
        database.close()


@pytest.mark.parametrize("name", ["log", "ledger"])
def test_a_log_or_ledger_that_cannot_grow_ends_the_run_as_a_full_disk(name: str, study: Path, tmp_path: Path) -> None:
    limits = []

    def fill() -> None:
        # the other one has room: what is tried is this one
        shorten(study, "ledger" if name == "log" else "log")
        limits.append(max(path.stat().st_size for path in wal(study, name)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits[0], hard))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        error = fails(study, tmp_path / "out", At(5, fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    # a log's side file begins anew at each signed head: without any room, what is kept of others' heads may come first
    full = {"log": {"LOG_UNWRITABLE", "WITNESS_UNWRITABLE"}, "ledger": {"LEDGER_UNWRITABLE"}}[name]
    assert error.code in full
    assert "stays charged" in str(error)
    assert not (tmp_path / "out" / "report.html").exists()
    consistent_and_usable(study, tmp_path, least=5)


def consistent_and_usable(study: Path, tmp_path: Path, *, least: int) -> None:
    """Nothing that was started is forgotten, every ledger and log verifies, and the next pilot runs to its end."""
    before = {site: run for site in SITES for run in ledger_of(study, site)}
    assert before
    for site, run in before.items():
        assert run.started >= least
        # a run that a full disk left open stays charged as a whole until the next process closes it
        assert run.charged == (run.started if run.state == "closed" else STEPS + ALLOWANCE)
        logged = [entry["data"]["step"] for entry in log_of(study, site) if entry["type"] == "step.disclosed"]
        assert len(logged) == len(set(logged)) and run.started - len(logged) in (0, 1)
    pilot(study, tmp_path / "next", At(0, lambda: None))
    for site, run in before.items():
        now = {one.run: one for one in ledger_of(study, site)}
        assert now[run.run] == LedgerRun(run.run, run.steps, run.started, run.started, "closed")
        assert sorted(one.charged for one in now.values()) == sorted([run.started, STEPS])
    bundle = (tmp_path / "next" / "evidence.zip").read_bytes()
    assert verify(bundle).name == "consistent", verify(bundle)
    assert leaks(study, tmp_path / "next") == []


@pytest.mark.parametrize("size", [0, 20_000])
def test_a_disk_that_is_full_from_the_start_charges_nothing(size: int, study: Path) -> None:
    with largest_file(size):
        try:
            federation = Federation.open(study, features=HashedFeatures())  # type: ignore[arg-type]
        except (CoreError, GovernanceError) as error:  # the coordinator could not open its log either
            refused = {"": error}
        else:
            _, refused = federation.preflight("probe")
            federation.close()
    assert refused
    assert {error.code for error in refused.values()} <= UNWRITABLE
    assert {exit_code_of(error, policy_is_refusal=True) for error in refused.values()} == {2}
    assert nothing_charged(study)
    # with room again, all that was half made is found in order
    federation = Federation.open(study, features=HashedFeatures())  # type: ignore[arg-type]
    accepted, refused = federation.preflight("probe")
    federation.close()
    assert set(accepted) == set(SITES), refused


def test_no_room_for_the_report_is_found_before_anything_is_charged(study: Path, tmp_path: Path) -> None:
    ended = sekisho("pilot", study, "--out", tmp_path / "out", "--json", limit=half_a_megabyte)
    assert (ended.exit, ended.told["code"]) == (2, "OUT_UNWRITABLE")
    assert "nothing was charged" in ended.told["sentence"]
    assert nothing_charged(study)
    assert list((tmp_path / "out").iterdir()) == []


RELEASED = {
    "LICENCE", "NOTICE.md", "README.md", "adapter.safetensors", "bom.json", "provenance.dsse.json", "release.dsse.json",
    "release.json",
}  # fmt: skip


def half_a_megabyte() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))


@pytest.mark.parametrize("name", ["summary.json", "adapter/probe/adapter.safetensors"])
def test_a_report_that_finds_no_room_at_the_end_loses_no_adapter(name: str, study: Path, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("this system has no device that is always full")
    out = tmp_path / "out"

    def fill() -> None:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).symlink_to(full)

    error = fails(study, out, At(1, fill))
    assert error.code == "OUT_UNWRITABLE"
    assert "finished and charged" in str(error)
    kept = Path(error.hint.split(" is kept in ")[1].split(";")[0])
    assert {path.name for path in kept.iterdir()} == RELEASED
    assert all(ledger_of(study, site)[0].charged == STEPS for site in SITES)


def test_a_small_disk_fills_up_under_the_command(study: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3500k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        small = Path(shutil.copytree(study, disk / "study"))
        ended = sekisho("pilot", small, "--out", tmp_path / "out", "--json")
        assert ended.exit == 2, ended
        assert ended.told["code"] in UNWRITABLE | {"DISK_FULL"}
        assert one_line(ended.told)
        assert ledger_of(small, "ame")[0].charged == STEPS + ALLOWANCE
        moved = Path(shutil.copytree(small, tmp_path / "moved"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    consistent_and_usable(moved, tmp_path, least=0)
