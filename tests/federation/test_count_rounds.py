"""Rounds in which held-out people are counted: who may ask for one and when, one that is lost, a verdict that lies."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho.core.messages import Count, Judge, SignedMessage, Step
from sekisho.core.site import voting
from sekisho.core.site.state import RunState
from sekisho.privacy.mechanism.verdict import Verdict

from ..attacks.hostile import Attack, attack, resigned
from . import validated
from .books import entries, open_federation
from .channels import Dying
from .same_chance import same_chance
from .study_folder import SITES

EVERY, STEPS = 2, 4
SEED = 1
SITE = "hana"


@pytest.fixture(autouse=True)
def always_the_same() -> Iterator[None]:
    """What is asserted are verdicts, and now and then noise rejects an honest block."""
    with same_chance(SEED):
        yield


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return validated.build(
        tmp_path_factory.mktemp("rounds") / "study",
        every=EVERY, steps=STEPS, allowance=2, held_out="0.5", subjects=120, declared=120,
    )  # fmt: skip


@pytest.fixture
def study(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "study"))


def test_a_coordinator_cannot_choose_when_people_are_counted(study: Path) -> None:
    """Too early, too late, twice, beside a step: refused by code, and nothing at the site has moved."""
    found: dict[str, tuple[str | None, tuple[str, ...]]] = {}

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        body = message.body
        if site != SITE:
            return None
        tries: dict[str, dict[str, object]] = {}
        if isinstance(body, Step) and body.step == 2:
            heard = {"cohort": body.cohort, "previous": body.previous, "signers": body.signers}
            tries = {"too early": {"body": Count(number=2, step=1, **heard)}}  # type: ignore[arg-type]
        if isinstance(body, Count) and body.step == EVERY:
            heard = {"cohort": body.cohort, "previous": body.previous, "signers": body.signers}
            tries = {
                "a step instead": {"body": Step(step=EVERY + 1, **heard)},  # type: ignore[arg-type]
                "another number": {"body": {"number": 3}},
                "beyond the plan": {"body": {"number": 99}},
            }
        if isinstance(body, Judge) and body.number == 2:
            tries = {
                "the end of another": {"body": {"number": 1}},
                "no sum": {"parts": {"sum": None}},
                "other signers": {"body": {"signers": body.signers[1:]}},
            }
        for name, other in tries.items():
            answer = ongoing.aside(site, resigned(message, **other))  # type: ignore[arg-type]
            found[name] = (answer.code, answer.moved)
        return None

    with attack(study, change) as ongoing:
        assert ongoing.result is not None and ongoing.result.state.completed == STEPS
    assert {name: code for name, (code, _) in found.items()} == {
        "too early": "COUNT_NOT_DUE",
        "a step instead": "VALIDATION_DUE",
        "another number": "COUNT_OUT_OF_ORDER",
        "beyond the plan": "COUNT_BEYOND_PLAN",
        "the end of another": "MESSAGE_UNEXPECTED",
        "no sum": "PART_MISSING",
        "other signers": "COHORT_DIFFERS",
    }
    assert not any(moved for _, moved in found.values())


@pytest.mark.proof
def test_a_count_that_is_lost_accepts_nothing_and_is_made_again(study: Path) -> None:
    channels: list[Dying] = []

    def wrap(channel):  # type: ignore[no-untyped-def]  # a test's closure
        channels.append(Dying(channel, dies=lambda *message: message == (SITE, "count", EVERY)))
        return channels[0]

    federation = open_federation(study, wrap)
    try:
        result = federation.run("probe")
        assert [(count.step, count.verdict) for count in result.state.counts] == [
            (0, "accepted"), (EVERY, "lost"), (EVERY, "accepted"), (STEPS, "accepted")
        ]  # fmt: skip
        assert result.state.counts[1].missing == (SITE,) and SITE not in result.state.cohort
        left = federation.sites["ame"]
        assert left.state is not None and [part.after_step for part in left.state.validations] == [0, EVERY, STEPS]
        # nobody had sealed the lost one, so nobody was charged for it
        row = next(row for row in left.folder.ledger.balance().runs if "/" in row.run)
        assert (row.started, row.disclosed) == (3, 3)
    finally:
        federation.close()


@pytest.mark.proof
def test_a_site_that_signs_another_verdict_than_the_others_is_left_out_by_name(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every honest site opens the same sum, so one that stands apart is the one that lies."""
    honest = voting._verdict
    federation = open_federation(study)

    def lying(counts, pushes, state: RunState, settings):  # type: ignore[no-untyped-def]  # the product's own, at one site
        if state is federation.sites[SITE].state and state.step == EVERY:
            return Verdict(("low",))
        return honest(counts, pushes, state, settings)

    monkeypatch.setattr(voting, "_verdict", lying)
    try:
        result = federation.run("probe")
        assert [count.verdict for count in result.state.counts] == ["accepted"] * 3
        assert result.state.counts[1].missing == (SITE,)
        assert result.state.cohort == tuple(site for site in SITES if site != SITE)
        assert [entry["data"]["verdict"] for entry in entries(federation, "coordinator", "validation.opened")] == [
            "accepted"
        ] * 3
    finally:
        federation.close()
