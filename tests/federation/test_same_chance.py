"""same_chance.py: two runs under one seed are alike to the bit, so that what differs is what was done."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from sekisho.core.errors import Refused

from . import validated
from .books import open_federation
from .poisoner import flip_labels
from .same_chance import same_chance


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return validated.build(
        tmp_path_factory.mktemp("validated") / "study",
        every=1, steps=2, allowance=1, least="0.0", subjects=120, declared=120,
    )  # fmt: skip


def ends(study: Path, *, flipped: range = range(0)) -> tuple[str, tuple[str | None, ...]]:
    """The state in the end, and what every count said."""
    federation = open_federation(study)
    try:
        flip_labels(federation, "kaze", flipped)
        with contextlib.suppress(Refused):  # noise may reject a block of a study as small as this
            federation.run("probe")
        state = federation.sites["kaze"].state
        assert state is not None
        return state.optimizer.digest(), tuple(part.right for part in state.validations)
    finally:
        federation.close()


def test_runs_of_one_seed_differ_by_what_was_done_in_them_alone(signed: Path, tmp_path: Path) -> None:
    def one(name: str, flipped: range = range(0)) -> tuple[str, tuple[str | None, ...]]:
        return ends(Path(shutil.copytree(signed, tmp_path / name)), flipped=flipped)

    with same_chance(5):
        first = one("first")
    with same_chance(5):
        again = one("again")
    with same_chance(5):
        hostile = one("hostile", range(2, 3))
    assert again == first
    assert hostile[0] != first[0] and hostile[1][:2] == first[1][:2]
