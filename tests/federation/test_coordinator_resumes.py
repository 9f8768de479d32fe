"""A coordinator that is killed between any two durable writes goes on, and the run ends as if nothing had been.

The strongest form of it: in a run that was cut, sites are sent the very messages, to the byte, that they are sent in
one that was not. So they end in the same state, their ledgers are charged alike, and no sum is another.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sekisho.core.coordinator.state import CoordinatorState, open_runs
from sekisho.core.errors import Refused

from . import validated
from .channels import Dying
from .coordinator_cuts import RUN, Bench, Cuts, Killed, Recorded, record

BEFORE_THE_FIRST_STEP = "RUN_NOT_BEGUN"


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Two steps, each judged, and nothing goes wrong."""
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
    assert verdicts == ["lost", "accepted", "rejected", "accepted", "accepted"]
    return recorded


def small(home: Path) -> Path:
    return validated.build(
        home / "study", every=1, steps=2, allowance=2, held_out="0.5", subjects=20, declared=20
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
    """Take the run up until it is over; by which code there was nothing to go on with, or nothing."""
    stands = CoordinatorState.load(bench.runs, RUN)
    assert open_runs(bench.runs) == (() if stands.ended else (RUN,))
    try:
        result = bench.resume()
    except Refused as refused:
        assert refused.code == ("RUN_ENDED" if stands.agreed else BEFORE_THE_FIRST_STEP)
        if refused.code == BEFORE_THE_FIRST_STEP:
            stopped_by_name(bench, recorded)
            return refused.code
        as_undisturbed(bench, recorded)
        return refused.code
    assert result.state_macs_agree and not stands.ended
    as_undisturbed(bench, recorded)
    return ""


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
    assert codes == sorted(codes, key=["RUN_NOT_BEGUN", "", "RUN_ENDED"].index)
    assert codes.count("") > 45 and codes.count("RUN_ENDED") == 2


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
    assert goes_on(bench, quiet) == "RUN_ENDED"
    assert processes > 10
