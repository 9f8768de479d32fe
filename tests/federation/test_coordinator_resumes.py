"""A coordinator that is killed between any two durable writes goes on, and the run ends as if nothing had been.

The strongest form of it: in a run that was cut, sites are sent the very messages, to the byte, that they are sent in
one that was not. So they end in the same state, their ledgers are charged alike, and no sum is another.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from . import validated
from .channels import Dying
from .coordinator_cuts import Bench, Cuts, Recorded, record

BEFORE_THE_FIRST_STEP = "RUN_NOT_BEGUN"


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Two steps, each judged, and nothing goes wrong."""
    return record(small(tmp_path_factory.mktemp("quiet")))


@pytest.fixture(scope="session")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A site dies in a step, which is abandoned; another in a count, which is lost and made again."""

    def dies(site: str, kind: str, step: int) -> bool:
        return (site, kind, step) in {("ame", "readies", 2), ("yuki", "judge", 0)}

    return record(small(tmp_path_factory.mktemp("troubled")), lambda channel: Dying(channel, dies=dies))


def small(home: Path) -> Path:
    return validated.build(
        home / "study", every=1, steps=2, allowance=2, held_out="0.5", subjects=60, declared=60, rejections=3
    )


def test_undisturbed(quiet: Recorded, tmp_path: Path) -> None:
    bench = Bench(quiet, tmp_path / "b")
    with Cuts().armed() as cuts:
        bench.run()
    print(len(cuts.names), cuts.names)
    assert bench.channel.strange == []
    assert bench.entries() == quiet.log
