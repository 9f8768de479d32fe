"""A site that did not hear how a run ended is told so before the next one: it would stand in the old one for ever.

Its disk was full, or it was out of reach for longer than others wait. Each run begins with all sites or with none, so
one that refuses because a run is open there keeps everybody from going on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sekisho.core.coordinator import coordinator
from sekisho.core.errors import Refused
from sekisho.core.messages import SignedMessage
from sekisho.governance.log.entries import Entry
from sekisho.privacy.accounting.reading import RunRow

from . import study_folder
from .books import open_federation
from .outages import VICTIM, Reposting, reopened

STEPS = 2


@dataclass
class Deaf(Reposting):
    """``VICTIM`` delivers nothing from the second step on, until it is ``back``."""

    back: bool = False
    silent: bool = False

    def _answer(self, site: str, data: bytes) -> bytes | None:
        body = SignedMessage.from_bytes(data).body
        if site == VICTIM and not self.back:
            self.silent = self.silent or getattr(body, "step", 0) == STEPS
            if self.silent:
                return None
        return super()._answer(site, data)


def two_runs(study: Path, ended: str) -> tuple[list[RunRow], list[Entry]]:
    """A run in which the victim falls silent, which ends by ``ended``, and the next; the victim's books then."""
    made: list[Deaf] = []

    def wrap(embedded: Any) -> Deaf:
        made.append(Deaf(embedded, study))
        return made[0]

    federation = open_federation(study, wrap)
    try:
        for name in federation.sites:
            federation.sites[name].folder.close()
            reopened(federation, study, name)
        made[0].federation.append(federation)
        if ended == "finished":
            assert federation.run("probe", run="first").state.cohort == ("ame", "kaze", "mori")
        else:
            with pytest.raises(Refused) as caught:
                federation.run("probe", run="first")
            assert caught.value.code == ended
        made[0].back = True
        folder = federation.sites[VICTIM].folder
        assert [row.state for row in folder.ledger.balance().runs] == ["open"]
        made[0].revive(VICTIM)  # also a process that was started anew stands in it
        result = federation.run("probe", run="second")
        assert result.state.ended == "finished" and VICTIM in result.state.cohort and result.state_macs_agree
        folder = federation.sites[VICTIM].folder
        return list(folder.ledger.balance().runs), [Entry.from_bytes(body) for body in folder.log.entries()]
    finally:
        federation.close()


@pytest.mark.parametrize(
    ("sites", "ended"), [(("ame", "hana", "kaze"), "COHORT_TOO_SMALL"), (("ame", "hana", "kaze", "mori"), "finished")]
)
def test_a_site_that_missed_the_end_of_a_run_takes_part_in_the_next(
    sites: tuple[str, ...], ended: str, tmp_path: Path
) -> None:
    study = study_folder.build(tmp_path / "study", steps=STEPS, allowance=1, sites=sites)
    rows, entries = two_runs(study, ended)
    # what was started of the first stays charged, what never was is given back; the second is charged as ever
    assert [(row.run, row.started, row.state) for row in rows] == [("first", 1, "closed"), ("second", STEPS, "closed")]
    assert [entry.refs["run"] for entry in entries if entry.type == "run.stopped"] == ["first"]


def test_unless_they_are_told_no_run_begins_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive control."""
    monkeypatch.setattr(coordinator, "left_behind", lambda runs: ())
    study = study_folder.build(tmp_path / "study", steps=STEPS, allowance=1, sites=("ame", "hana", "kaze"))
    with pytest.raises(Refused) as caught:
        two_runs(study, "COHORT_TOO_SMALL")
    assert caught.value.code == "SITE_MISSING"
