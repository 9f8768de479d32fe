"""A clock set back: the ledger has none, and a site does not act before it has acted: nothing expired counts again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sekisho.core.errors import CoreError, Refused
from sekisho.core.site.put_back import CLOCK_TOLERANCE, Clock

from . import study_folder
from .books import entries, open_federation
from .history import History

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
HOUR, DAY, YEAR = timedelta(hours=1), timedelta(days=1), timedelta(days=365)


def problems(study: Path, now: datetime) -> dict[str, str]:
    federation = open_federation(study, clock=lambda: now)
    try:
        return {site: error.code for site, error in federation.preflight("probe")[1].items()}
    finally:
        federation.close()


def everybody(code: str) -> dict[str, str]:
    return dict.fromkeys(study_folder.SITES, code)


def test_a_site_does_not_open_before_its_own_last_entry(history: History) -> None:
    assert problems(history.study, datetime.now(UTC) - DAY) == everybody("CLOCK_SET_BACK")
    federation = open_federation(history.study)
    try:
        assert federation.problems == {}
        for site in study_folder.SITES:  # and the refusal is in its log, at the time that it was given
            assert entries(federation, site, "decision.refuse")[-1]["data"]["codes"] == ["CLOCK_SET_BACK"]
    finally:
        federation.close()


def test_what_a_time_service_corrects_is_no_refusal(history: History) -> None:
    assert problems(history.study, datetime.now(UTC) - timedelta(minutes=1)) == {}


def test_a_clock_set_back_between_opening_and_run_stops_the_run(study: Path) -> None:
    now = NOW
    federation = open_federation(study, clock=lambda: now)
    try:
        assert federation.preflight("probe")[1] == {}
        before = {name: site.folder.ledger.head() for name, site in federation.sites.items()}
        now = NOW - HOUR
        with pytest.raises(Refused) as caught:
            federation.run("probe")
        assert caught.value.code == "CLOCK_SET_BACK"
        assert before == {name: site.folder.ledger.head() for name, site in federation.sites.items()}
    finally:
        federation.close()


def consent_until(study: Path, expires: datetime) -> None:
    for site in study_folder.SITES:
        path = study / "sites" / site / "consent.jsonl"
        path.write_text(path.read_text("utf-8").replace('"expires": null', f'"expires": "{expires.isoformat()}"'))


def test_consent_that_has_expired_does_not_count_again(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    consent_until(study, NOW - timedelta(days=1))
    expired = problems(study, NOW)
    assert set(expired) == set(study_folder.SITES)
    earlier = NOW - timedelta(days=2)
    assert problems(study, earlier) == everybody("CLOCK_SET_BACK")
    monkeypatch.setattr(Clock, "check", lambda *_: None)  # the control: without the check it would count
    assert problems(study, earlier) == {}


def test_a_clock_set_back_by_a_year_refuses_too(study: Path) -> None:
    """A year forward and back, within the papers' own years."""
    assert problems(study, NOW + YEAR) == {}
    assert problems(study, NOW) == everybody("CLOCK_SET_BACK")


@pytest.mark.parametrize("back", [HOUR, YEAR])
def test_in_the_ledger_nothing_changes_with_the_clock(
    study: Path, back: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody looked at the clock: what was spent and the ledger's head stay what they are."""
    monkeypatch.setattr(Clock, "check", lambda *_: None)
    now = NOW + YEAR
    federation = open_federation(study, clock=lambda: now)
    try:
        ledgers = {name: site.folder.ledger for name, site in federation.sites.items()}
        for ledger in ledgers.values():
            ledger.reserve("earlier", step_cost=7, steps=3, subjects=[bytes(32)])
            ledger.start("earlier", 1)
            ledger.close("earlier")
        before = {name: (ledger.head(), ledger.balance()) for name, ledger in ledgers.items()}
    finally:
        federation.close()
    now -= back
    federation = open_federation(study, clock=lambda: now)
    try:
        after = {name: site.folder.ledger for name, site in federation.sites.items()}
        assert before == {name: (ledger.head(), ledger.balance()) for name, ledger in after.items()}
    finally:
        federation.close()


def test_the_time_of_a_site_only_rises() -> None:
    """By steps that are each within the tolerance nobody goes back further."""
    clock = Clock("a", NOW)
    clock.check(NOW - CLOCK_TOLERANCE)
    with pytest.raises(CoreError):
        clock.check(NOW - CLOCK_TOLERANCE - timedelta(seconds=1))
    clock.check(NOW + HOUR)
    with pytest.raises(CoreError) as caught:
        clock.check(NOW)
    assert getattr(caught.value, "code", "") == "CLOCK_SET_BACK"
    Clock("a", None).check(NOW)
