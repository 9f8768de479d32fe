"""A coordinator that is killed between any two durable writes goes on, and the run ends as if nothing had been.

The strongest form of it: in a run that was cut, sites are sent the very messages, to the byte, that they are sent in
one that was not. So they end in the same state, their ledgers are charged alike, and no sum is another.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sekisho.core.coordinator.keeping import RunFiles
from sekisho.core.coordinator.state import CoordinatorState, open_runs
from sekisho.core.errors import BadInputError, CoreError, ProtocolError, Refused
from sekisho.core.messages import SignedMessage
from sekisho.governance.errors import GovernanceError

from . import validated
from .channels import Dying
from .coordinator_cuts import RUN, Bench, Cuts, Killed, Known, Recorded, record

BEFORE_THE_FIRST_STEP = "RUN_NOT_BEGUN"


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Two steps in a block, which is judged, and nothing goes wrong."""
    return record(small(tmp_path_factory.mktemp("quiet")))


@pytest.fixture(scope="session")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A site dies in the first count, which is lost and made again; another in a step, which is abandoned; and the
    first block is rolled back by the three that are left."""

    def dies(site: str, kind: str, step: int) -> bool:
        return (site, kind, step) in {("ame", "readies", 1), ("yuki", "step", 1)}

    study = small(tmp_path_factory.mktemp("troubled"))
    recorded = record(study, lambda channel: Dying(channel, dies=dies), rejecting=3)
    told = [json.loads(entry) for entry in recorded.log]
    assert [entry["data"]["missing"] for entry in told if entry["type"] == "step.abandoned"] == [["yuki"]]
    verdicts = [entry["data"]["verdict"] for entry in told if entry["type"] == "validation.opened"]
    assert verdicts == ["lost", "accepted", "rejected", "accepted"]
    return recorded


def small(home: Path) -> Path:
    return validated.build(
        home / "study", every=2, steps=2, allowance=4, held_out="0.5", subjects=20, declared=20
    )  # fmt: skip


def final(bench: Bench) -> dict[str, Any]:
    """The coordinator's state but for the bytes: what was posted again was sent again."""
    state = json.loads((bench.runs / f"{RUN}.json").read_bytes())
    del state["traffic"]
    return dict(state)


def as_undisturbed(bench: Bench, recorded: Recorded) -> None:
    """Nobody was asked anything else, or in another order, or not at all; log and state are those of such a run."""
    assert bench.channel.strange == []
    assert list(dict.fromkeys(bench.channel.posted)) == list(dict.fromkeys(recorded.posted))
    assert bench.entries() == recorded.log
    kept = json.loads((recorded.home / "coordinator" / "state" / "runs" / f"{RUN}.json").read_bytes())
    del kept["traffic"]
    assert final(bench) == kept
    assert sorted(path.name for path in bench.runs.iterdir() if path.suffix != ".part") == [f"{RUN}.json"]


def goes_on(bench: Bench, recorded: Recorded) -> str:
    """Take the run up until it is over; the code by which it could not, or what it was: "" open, or finished."""
    stands = CoordinatorState.load(bench.runs, RUN)
    assert open_runs(bench.runs) == (() if stands.ended else (RUN,))
    try:
        result = bench.resume()
    except Refused as refused:
        assert refused.code == BEFORE_THE_FIRST_STEP and not stands.agreed
        stopped_by_name(bench, recorded)
        return refused.code
    assert result.state_macs_agree and result.state.ended == "finished"
    as_undisturbed(bench, recorded)
    return stands.ended


def stopped_by_name(bench: Bench, recorded: Recorded) -> None:
    # every site hears it, and nothing else that it was not to hear
    assert bench.channel.strange == [BEFORE_THE_FIRST_STEP] * len(bench.channel.sites())
    told = [json.loads(entry) for entry in bench.entries()]
    assert [entry["type"] for entry in told].count("run.stopped") == 1
    assert told[-1]["data"] == {"code": BEFORE_THE_FIRST_STEP, "completed": 0}
    assert final(bench)["ended"] == BEFORE_THE_FIRST_STEP
    with pytest.raises(Refused) as again:
        bench.resume()
    assert again.value.code == "RUN_ENDED"


@pytest.mark.parametrize("run", ["quiet", pytest.param("troubled", marks=pytest.mark.proof)])
def test_killed_after_any_durable_write_it_goes_on_as_if_nothing_had_been(
    run: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    recorded: Recorded = request.getfixturevalue(run)
    whole = Bench(recorded, tmp_path / "whole")
    cuts = whole.cut_everywhere(tmp_path)
    as_undisturbed(whole, recorded)
    codes = [goes_on(bench, recorded) for bench in cuts]
    # each of the three ends was seen, in this order, and the middle is nearly all
    assert codes == sorted(codes, key=["RUN_NOT_BEGUN", "", "finished"].index)
    assert codes.count("") > 30 and codes.count("finished") == 2


def test_killed_again_and_again_it_still_goes_on(quiet: Recorded, tmp_path: Path) -> None:
    """After every third durable write of each process, from the first step on."""
    bench = Bench(quiet, tmp_path / "b")
    with pytest.raises(Killed), Cuts.killing(at=20).armed():
        bench.run()
    processes = 1
    while not CoordinatorState.load(bench.runs, RUN).ended:
        with suppress(Killed), Cuts.killing(at=3).armed():
            bench.resume()
        processes += 1
        assert processes < 100
    assert goes_on(bench, quiet) == "finished"
    assert processes > 10


# -- what must not go on ----------------------------------------------------------------------------------------------


def cut(recorded: Recorded, home: Path, name: str, *, nth: int = 1) -> Bench:
    """A bench whose process was killed after its ``nth`` write of this name, from the first step or count on."""
    seen: list[str] = []

    def then(number: int) -> None:
        state = home / "runs" / f"{RUN}.json"
        if state.exists() and CoordinatorState.load(home / "runs", RUN).agreed:
            seen.append(cuts.names[-1])
            if seen.count(name) == nth:
                raise Killed

    bench, cuts = Bench(recorded, home), Cuts(then)
    with pytest.raises(Killed), cuts.armed():
        bench.run()
    return bench


def refused(bench: Bench, **more: Any) -> str:
    """The code by which the run is not taken up; nobody heard of it, and nothing was written."""
    before = bench.entries(), {path: path.read_bytes() for path in bench.runs.iterdir()}
    posted = list(bench.channel.posted)
    with pytest.raises((CoreError, GovernanceError)) as caught:
        bench.resume(**more)
    assert bench.channel.posted == posted
    assert (bench.entries(), {path: path.read_bytes() for path in bench.runs.iterdir()}) == before
    return caught.value.code


def test_a_state_that_was_put_back_does_not_go_on(quiet: Recorded, tmp_path: Path) -> None:
    bench = cut(quiet, tmp_path / "b", "replace.asked", nth=2)
    before = {path: path.read_bytes() for path in bench.runs.iterdir()}
    with pytest.raises(Killed), Cuts.killing(at=12).armed():
        bench.resume()
    for path, data in before.items():
        path.write_bytes(data)
    assert refused(bench) == "RUN_STATE_BEHIND"


def test_a_log_that_was_put_back_does_not_go_on(quiet: Recorded, tmp_path: Path) -> None:
    bench = cut(quiet, tmp_path / "b", "replace.asked", nth=2)
    earlier = bench.copied(tmp_path / "earlier")
    with pytest.raises(Killed), Cuts.killing(at=12).armed():
        bench.resume()
    for path in bench.home.glob("log.sqlite*"):
        path.unlink()
    for path in earlier.home.glob("log.sqlite*"):
        shutil.copy(path, bench.home / path.name)
    assert refused(bench) == "LOG_BEHIND"


@pytest.mark.parametrize("name", ["json", "asked", "sum"])
def test_what_is_damaged_is_not_gone_on_with_and_the_run_can_be_given_up(
    quiet: Recorded, tmp_path: Path, name: str
) -> None:
    whole = cut(quiet, tmp_path / "b", "replace.json", nth=5)  # a sum is made, and nobody has heard it
    path = Path("runs") / f"{RUN}.{name}"
    data = (whole.home / path).read_bytes()
    middle = len(data) // 2
    for number, spoilt in enumerate((b"", data[:-1], data[1:], data[:middle] + b"\0" + data[middle + 1 :])):
        bench = whole.copied(tmp_path / str(number))
        (bench.home / path).write_bytes(spoilt)
        assert refused(bench) == "RUN_UNREADABLE", number
        assert open_runs(bench.runs) == (RUN,)
        with bench.coordinator() as coordinator:
            coordinator.give_up(RUN, "GIVEN_UP")
        assert bench.channel.strange == ["GIVEN_UP"] * len(bench.channel.sites())
        assert open_runs(bench.runs) == ()
    for gone in ("asked", "sum"):
        bench = whole.copied(tmp_path / f"no {gone}")
        (bench.runs / f"{RUN}.{gone}").unlink()
        assert refused(bench) == "RUN_UNREADABLE"


def test_a_run_of_another_study_or_roster_is_not_gone_on_with(quiet: Recorded, tmp_path: Path) -> None:
    bench = cut(quiet, tmp_path / "b", "replace.asked", nth=3)
    changed = {"study": {"digest": "sha256:" + "0" * 64}, "roster": {"fingerprint": "sha256:" + "0" * 64}}
    for name, change in changed.items():
        value = getattr(quiet, name)
        other = value.model_copy(update=change) if name == "study" else dataclasses.replace(value, **change)
        assert refused(Bench.over(dataclasses.replace(quiet, **{name: other}), bench)) == "RUN_OF_ANOTHER_STUDY"


@pytest.mark.parametrize("name", ["never-begun", "../runs/cut", "", "CUT", "a" * 65])
def test_a_name_of_no_run_is_refused(quiet: Recorded, tmp_path: Path, name: str) -> None:
    bench = cut(quiet, tmp_path / "b", "replace.asked")
    with bench.coordinator() as coordinator:
        for call in (coordinator.resume, lambda run: coordinator.give_up(run, "GIVEN_UP")):
            with pytest.raises(BadInputError) as caught:
                call(name)
            assert caught.value.code == "RUN_UNKNOWN"
    assert bench.channel.strange == []


def test_a_run_of_a_name_that_was_begun_is_not_begun_again(quiet: Recorded, tmp_path: Path) -> None:
    bench = cut(quiet, tmp_path / "b", "replace.asked")
    with pytest.raises(ProtocolError) as caught:
        bench.run()
    assert caught.value.code == "RUN_TWICE"
    assert goes_on(bench, quiet) == ""


def test_who_gives_a_run_up_that_can_go_on_stops_it_by_name_once(quiet: Recorded, tmp_path: Path) -> None:
    bench = cut(quiet, tmp_path / "b", "replace.json", nth=3)
    for _ in range(2):  # the second time, sites hear it once more, and the log does not
        with bench.coordinator() as coordinator:
            coordinator.give_up(RUN, "GIVEN_UP")
    told = [json.loads(entry) for entry in bench.entries()]
    assert [entry["data"]["code"] for entry in told if entry["type"] == "run.stopped"] == ["GIVEN_UP"]
    with pytest.raises(Refused) as caught:
        bench.resume()
    assert caught.value.code == "RUN_ENDED"


# -- what is written down ---------------------------------------------------------------------------------------------


class Watching(Known):
    """Looks at what lies on the disk whenever something is posted."""

    runs: Path

    def post(self, site: str, message: bytes, ttl: float) -> int:
        assert RunFiles(self.runs, RUN).wire() == message
        assert (self.runs / f"{RUN}.asked").stat().st_mode & 0o777 == 0o600
        if (self.runs / f"{RUN}.sum").exists():
            assert (self.runs / f"{RUN}.sum").stat().st_mode & 0o777 == 0o600
        return super().post(site, message, ttl)


def test_nothing_is_posted_before_it_is_written_down(quiet: Recorded, tmp_path: Path) -> None:
    bench = Bench(quiet, tmp_path / "b")
    bench.channel = watching = Watching(quiet)
    watching.runs = bench.runs
    bench.run()
    as_undisturbed(bench, quiet)


def test_a_sum_is_written_once(quiet: Recorded, tmp_path: Path) -> None:
    """Of a message that brings it, only what is not in the sum's own file."""
    bench = Bench(quiet, tmp_path / "b")
    brought = []

    def then(number: int) -> None:
        if cuts.names[-1] != "replace.asked":
            return
        size = (bench.runs / f"{RUN}.asked").stat().st_size
        message = SignedMessage.from_bytes(RunFiles(bench.runs, RUN).wire())
        head = len(message.detached())
        if any(part.name == "sum" for part in message.header.parts):
            brought.append(message.body.kind)
            assert size < head + 200 and len(message.payload) > 3000
        else:
            assert size > head + len(message.payload)

    cuts = Cuts(then)
    with cuts.armed():
        bench.run()
    assert brought == ["judge", "step", "count", "judge"] and cuts.names.count("replace.sum") == 4


# -- for good ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [23, 24, 36, 45, 56])
def test_killed_for_good_it_goes_on_in_another_process(quiet: Recorded, tmp_path: Path, at: int) -> None:
    """SIGKILL: in a readies' phase, after a sum, after a state, after an entry, and near the end."""
    bench = Bench(quiet, tmp_path / "b")
    in_another_process(bench.run, at)
    in_another_process(bench.resume, 2)
    bench.channel.posted = list(dict.fromkeys(quiet.posted))  # those processes kept what they posted to themselves
    assert goes_on(bench, quiet) in ("", "finished")


def in_another_process(work: Callable[[], object], at: int) -> None:
    def until_killed() -> None:
        def kill(number: int) -> None:
            if number == at:
                os.kill(os.getpid(), signal.SIGKILL)

        with Cuts(kill).armed():
            work()

    process = multiprocessing.get_context("fork").Process(target=until_killed)
    process.start()
    process.join(600)
    assert process.exitcode == -signal.SIGKILL
