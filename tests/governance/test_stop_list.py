"""The list of stops: fresh or nothing goes on; what it names must lie here; whoever signs it is not the site itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sekisho.core.coordinator.stop_list import StopListKeeper
from sekisho.core.errors import BadInputError
from sekisho.governance.canonical import digest_bytes
from sekisho.governance.signing.envelope import (
    PREDICATES,
    Envelope,
    Statement,
    Subject,
    sign_statement,
    write_envelopes,
)
from sekisho.governance.signing.roster import Roster
from sekisho.governance.signing.stop import Orders, read_list, read_orders, stop_statement
from sekisho.governance.signing.stop_list import ListState, list_state, stop_list_statement

from .roster_chain import NOW, by_people, by_sites, key, roster

ROSTER = roster(2, people={"lea": ["legal"], "ida": ["it"]}, roles={"legal": 1, "it": 1})
HOUR = timedelta(hours=1)
NOTHING: Orders = ()


def order(reason: str = "INCIDENT") -> Envelope:
    subject = Subject("study.yaml", "sha256:" + "a" * 64)
    return sign_statement(stop_statement(role="it", subjects=[subject], reason=reason, issued=NOW), [key("ida")])


def files(*envelopes: Envelope) -> Orders:
    return tuple((f"{number}.dsse.json", write_envelopes([one])) for number, one in enumerate(envelopes))


def signed(*names: str, orders: Orders = NOTHING, issued: datetime = NOW, under: Roster = ROSTER) -> Envelope:
    statement = stop_list_statement(under, orders, known=frozenset(), issued=issued)
    return sign_statement(statement, [key(name) for name in names])


def state(*lists: Envelope, orders: Orders = NOTHING, now: datetime = NOW, under: Roster = ROSTER) -> ListState:
    return list_state(under, write_envelopes(lists), orders, now=now)


@pytest.mark.parametrize(("later", "age"), [(0, 0), (1, 1), (3600, 1), (3601, 2), (90_000, 25)])
def test_the_age_is_told_in_hours_rounded_up(later: int, age: int) -> None:
    assert state(signed("hub"), now=NOW + timedelta(seconds=later)).age_hours == age


def test_without_a_list_there_is_no_age() -> None:
    assert list_state(ROSTER, None, NOTHING, now=NOW) == ListState(None)


def test_the_coordinator_or_a_person_signs_it_and_a_site_never_for_itself() -> None:
    for name in ("hub", "lea", "ida"):
        assert state(signed(name)).age_hours == 0
    for name in ("kohi", "wanko", "eve"):
        assert state(signed(name)).age_hours is None


def test_the_newest_counts_and_one_dated_in_the_future_is_none() -> None:
    old, new, ahead = (signed("hub", issued=NOW + hours * HOUR) for hours in (-9, -2, 1))
    assert state(new, old).age_hours == state(old, new).age_hours == 2
    assert state(old, ahead).age_hours == 9
    assert state(ahead).age_hours is None


def test_an_order_that_a_list_names_and_that_is_not_here_is_a_stop() -> None:
    stop = order()
    listed = signed("hub", orders=files(stop))
    assert not state(listed, orders=files(stop)).stopped
    for held in (NOTHING, files(order("DRILL"))):
        assert state(listed, orders=held).code == "STOP_ORDER_MISSING"
    # neither a newer list that leaves it out nor a date in the future takes that back
    assert state(listed, signed("hub"), orders=NOTHING).code == "STOP_ORDER_MISSING"
    ahead = signed("hub", orders=files(stop), issued=NOW + HOUR)
    assert state(ahead, orders=NOTHING).code == "STOP_ORDER_MISSING"


@pytest.mark.parametrize("data", [b"", b"list!", signed("hub").to_bytes()[:-9], b"\n"])
def test_a_list_that_cannot_be_read_is_a_stop(data: bytes) -> None:
    assert list_state(ROSTER, data, NOTHING, now=NOW).code == "STOP_LIST_UNREADABLE"


@pytest.mark.parametrize(
    "change",
    [{"issued": "yesterday"}, {"orders": "none"}, {"orders": ["sha256:1"]}, {"roster": 2}, {"more": 1}],
)
def test_a_list_of_another_form_is_a_stop(change: dict[str, object]) -> None:
    right = stop_list_statement(ROSTER, NOTHING, known=frozenset(), issued=NOW)
    wrong = Statement(right.subjects, right.predicate_type, {**right.predicate, **change})
    assert state(sign_statement(wrong, [key("hub")])).code == "STOP_LIST_UNREADABLE"
    other = Statement(right.subjects, PREDICATES["stop"], right.predicate)
    assert state(sign_statement(other, [key("hub")])).code == "STOP_LIST_UNREADABLE"


def test_a_list_under_a_later_roster_says_that_ours_is_out_of_date() -> None:
    later = roster(3, people={"lea": ["legal"], "ida": ["it"]}, roles={"legal": 1, "it": 1})
    assert state(signed("hub", under=later)).code == "ROSTER_OUT_OF_DATE"
    assert state(signed("hub"), under=later).age_hours == 0  # an earlier one is fine
    twin = roster(2, people={"lea": ["legal"], "ida": ["it", "legal"]}, roles={"legal": 1, "it": 1})
    assert state(signed("hub", under=twin)).age_hours is None  # another of the same version is nobody's


def test_a_list_names_stop_orders_and_nothing_else_that_lies_there() -> None:
    noise = by_sites(ROSTER)[0], by_people(ROSTER, ROSTER, ("lea", "legal"))[0]
    listed = signed("hub", orders=(*files(order(), *noise), ("x", None), ("y", b"half")))
    assert state(listed, orders=files(order())).orders == {digest_bytes(order().payload)}
    assert not state(listed, orders=files(order())).stopped


def keeper_of(folder: Path, *, allowed: Sequence[int] = (24,), under: Roster = ROSTER) -> StopListKeeper:
    stops, memory = folder / "stops", folder / "known.json"
    return StopListKeeper(stops, roster=under, key=key("hub"), clock=lambda: NOW, allowed=allowed, memory=memory)


def test_the_coordinator_signs_anew_before_half_the_time_is_over(tmp_path: Path) -> None:
    now = NOW
    keeper = StopListKeeper(
        tmp_path / "stops",
        roster=ROSTER,
        key=key("hub"),
        clock=lambda: now,
        allowed=[24, 6, 100],
        memory=tmp_path / "known.json",
    )

    def issued() -> datetime | None:
        folder = tmp_path / "stops"
        return list_state(ROSTER, read_list(folder), read_orders(folder), now=now).issued

    keeper.keep()
    assert issued() == NOW
    for hours, expected in ((2, 0), (3, 3), (5, 3), (6, 6)):
        now = NOW + hours * HOUR
        keeper.keep()
        assert issued() == NOW + expected * HOUR


def test_an_order_once_listed_is_never_left_out_by_the_coordinator(tmp_path: Path) -> None:
    folder = tmp_path / "stops"
    keeper = keeper_of(tmp_path)
    folder.mkdir()
    (folder / "one.dsse.json").write_bytes(order().to_bytes())
    keeper.renew()
    (folder / "one.dsse.json").unlink()
    keeper.renew()
    seen = list_state(ROSTER, read_list(folder), read_orders(folder), now=NOW)
    assert seen.code == "STOP_ORDER_MISSING"


def test_a_list_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "stops").write_text("a file", "utf-8")
    keeper = keeper_of(tmp_path, allowed=[])
    with pytest.raises(BadInputError) as caught:
        keeper.renew()
    assert caught.value.code == "STOPS_UNWRITABLE"


def test_the_list_is_no_order_and_a_folder_in_its_place_is_a_stop(tmp_path: Path) -> None:
    (tmp_path / "list.dsse.json").write_bytes(signed("hub").to_bytes())
    assert list(read_orders(tmp_path)) == []
    (tmp_path / "list.dsse.json").unlink()
    (tmp_path / "list.dsse.json").mkdir()
    assert list_state(ROSTER, read_list(tmp_path), NOTHING, now=NOW).code == "STOP_LIST_UNREADABLE"
