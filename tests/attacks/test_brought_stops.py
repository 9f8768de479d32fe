"""Stops that the coordinator's messages bring to a site on another machine: it takes what is new, and nothing else.

Whoever carries them may be hostile: the coordinator has turned, or somebody replays what it once signed. The site's
folder is read afterwards as the site itself reads it.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from sekisho.core.bodies import Stopped
from sekisho.core.errors import CoreError
from sekisho.core.messages import SignedMessage, sign_message
from sekisho.core.site.stops import take_stops
from sekisho.governance.errors import GovernanceError
from sekisho.governance.signing.envelope import Envelope, sign_statement, write_envelopes
from sekisho.governance.signing.roster import Roster
from sekisho.governance.signing.stop import (
    LIST,
    MAX_ORDERS,
    Orders,
    order_digests,
    read_list,
    read_orders,
    stop_state,
)
from sekisho.governance.signing.stop_list import AHEAD, list_state, stop_list_statement
from sekisho.governance.signing.stop_travel import LIST_PART, MAX_TRAVELLING, travelling

from ..governance.roster_chain import NOW, key, roster
from .test_stop_orders import HOUR, ONE_EACH, PEOPLE, ROSTER, STUDY, files, keeper, restart, stop


def listing(*orders: Envelope, issued: timedelta = timedelta(0), by: str = "hub", under: Roster = ROSTER) -> bytes:
    """A list that names these orders."""
    said = stop_list_statement(under, files(*orders), known=frozenset(), issued=NOW + issued)
    return write_envelopes([sign_statement(said, [key(by)])])


def message(parts: dict[str, bytes]) -> SignedMessage:
    signed = sign_message(Stopped(), study="small-study", run="r", sender="hub", key=key("hub"), parts=parts)
    return SignedMessage.from_bytes(signed.to_bytes())


class Away:
    """A site's folder on another machine, and what the site makes of it."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "study"
        self.stops = self.folder / "stops"
        self.drafts = home / "state"
        self.drafts.mkdir()

    def take(self, parts: dict[str, bytes]) -> str:
        """The code by which the site refuses, or nothing."""
        before = self.lying()
        try:
            take_stops(message(parts), self.folder, ROSTER, drafts=self.drafts, now=NOW)
        except (CoreError, GovernanceError) as error:
            assert self.lying() == before  # what is refused has laid down nothing
            return error.code
        orders = {name: data for name, data in before.items() if name != LIST}
        assert orders.items() <= self.lying().items()  # whatever is taken, no order went or was changed
        assert list(self.drafts.iterdir()) == []
        return ""

    def lying(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.stops.iterdir()} if self.stops.exists() else {}

    def orders(self) -> Orders:
        return read_orders(self.stops)

    def stands(self) -> str:
        """Why the site stands still, or nothing."""
        stopped = stop_state(ROSTER, self.orders(), subjects={STUDY}, now=NOW)
        return stopped.code or list_state(ROSTER, read_list(self.stops), self.orders(), now=NOW).code

    def age(self) -> int | None:
        return list_state(ROSTER, read_list(self.stops), self.orders(), now=NOW).age_hours


@pytest.fixture
def away(tmp_path: Path) -> Away:
    return Away(tmp_path)


def test_what_lies_at_the_coordinator_comes_to_lie_at_the_site(away: Away, tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    hub.mkdir()
    keeper(hub).renew()
    assert away.take(keeper(hub).papers()) == "" and (away.stands(), away.age()) == ("", 0)
    # an order, which stops the site
    order = stop()
    (hub / "stops" / "from-mail.dsse.json").write_bytes(write_envelopes([order]))
    assert away.take(keeper(hub).papers()) == "" and away.stands() == "STOPPED"
    # and what lifts it
    both = [restart(order, "lea", "legal"), restart(order, "ida", "it")]
    (hub / "stops" / "restart.dsse.json").write_bytes(write_envelopes(both))
    assert away.take(keeper(hub).papers()) == "" and away.stands() == ""
    # the same once more lays down nothing, and where all lies in one folder nothing ever is
    before = away.lying()
    assert away.take(keeper(hub).papers()) == "" and away.lying() == before and len(before) == 3
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in away.stops.iterdir())


def test_in_one_shared_folder_nothing_is_ever_laid_down(tmp_path: Path) -> None:
    away = Away(tmp_path)
    keeper(away.folder.parent).renew()
    (away.folder.parent / "stops").rename(away.folder.parent / "study-stops")
    away.folder.mkdir()
    (away.folder.parent / "study-stops").rename(away.stops)
    (away.stops / "a.dsse.json").write_bytes(write_envelopes([stop()]))
    (away.stops / "b.dsse.json").write_bytes(write_envelopes([restart(stop(), "lea", "legal")]))
    before = away.lying()
    assert away.take(travelling(ROSTER, read_list(away.stops), away.orders())) == ""
    assert away.lying() == before


def test_an_older_list_changes_nothing_whatever_it_leaves_out(away: Away) -> None:
    order = stop()
    assert away.take({LIST_PART: listing(order), "stops:1": order.to_bytes()}) == ""
    before = away.lying()
    for older in (listing(issued=-HOUR), listing(order, issued=-HOUR), listing()):
        assert away.take({LIST_PART: older}) == "" and away.lying() == before


def test_a_newer_list_that_leaves_out_what_was_named_is_refused(away: Away) -> None:
    order = stop()
    assert away.take({LIST_PART: listing(order, issued=-HOUR), "stops:1": order.to_bytes()}) == ""
    assert away.take({LIST_PART: listing()}) == "STOP_ORDER_WITHHELD"
    # and the order stands, also where the list never heard of it
    assert away.stands() == "STOPPED"


def test_a_list_that_names_what_it_does_not_bring_makes_the_site_stand_still(away: Away) -> None:
    assert away.take({LIST_PART: listing(stop())}) == "" and away.stands() == "STOP_ORDER_MISSING"


def test_a_list_from_the_future_takes_no_place(away: Away) -> None:
    assert away.take({LIST_PART: listing(issued=-HOUR)}) == ""
    for ahead in (HOUR, AHEAD + timedelta(seconds=1)):
        assert away.take({LIST_PART: listing(issued=ahead)}) == "" and away.age() == 1


def test_where_no_list_lies_one_from_the_future_is_refused_by_a_name_that_speaks_of_clocks(away: Away) -> None:
    assert away.take({LIST_PART: listing(issued=HOUR)}) == "STOP_LIST_AHEAD" and away.age() is None


def test_a_list_of_a_clock_a_little_ahead_is_taken_and_has_no_age(away: Away) -> None:
    """Else a site a second behind never takes a list that was signed as it was sent."""
    for ahead in (timedelta(seconds=1), AHEAD):
        assert away.take({LIST_PART: listing(issued=ahead)}) == "" and away.age() == 0
        assert away.lying()[LIST] == listing(issued=ahead)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({LIST_PART: listing(by="stranger")}, "STOP_LIST_FORGED"),
        ({LIST_PART: listing(by="kohi")}, "STOP_LIST_FORGED"),  # no site vouches for what is kept from sites
        ({LIST_PART: b""}, "STOP_LIST_FORGED"),
        ({LIST_PART: b"{}\n"}, "STOP_LIST_FORGED"),
        ({LIST_PART: stop().to_bytes()}, "STOP_LIST_FORGED"),
        ({LIST_PART: listing(under=roster(3, people=PEOPLE, roles=ONE_EACH))}, "ROSTER_OUT_OF_DATE"),
        ({"stops:1": stop("stranger").to_bytes()}, "STOP_ORDER_FORGED"),
        ({"stops:1": stop("hub").to_bytes()}, "STOP_ORDER_FORGED"),
        ({"stops:1": b""}, "STOP_ORDER_FORGED"),
        ({"stops:1": listing(by="lea")}, "STOP_ORDER_FORGED"),  # signed by a person, and no order
        ({"stops:1": stop().to_bytes(), "stops:2": b"x"}, "STOP_ORDER_FORGED"),
        ({"stops:1": bytes(MAX_TRAVELLING + 1)}, "STOPS_TOO_LARGE"),
        ({LIST_PART: bytes(MAX_TRAVELLING + 1)}, "STOPS_TOO_LARGE"),
        ({f"stops:{number}": b"x" for number in range(MAX_ORDERS + 1)}, "STOPS_TOO_LARGE"),
    ],
    ids=[
        "a strangers list", "a sites list", "no list", "an empty list", "an order for a list", "a later roster",
        "a strangers order", "the coordinators order", "no order", "a list for an order", "one of two is none",
        "a huge order", "a huge list", "many orders",
    ],
)  # fmt: skip
def test_what_is_forged_or_too_much_is_refused_by_name(away: Away, parts: dict[str, bytes], code: str) -> None:
    assert away.take({LIST_PART: listing(issued=-HOUR)}) == ""
    assert away.take(parts) == code and (away.stands(), away.age()) == ("", 1)


def test_a_list_that_cannot_be_read_is_not_covered_up(away: Away) -> None:
    away.stops.mkdir(parents=True)
    (away.stops / LIST).write_bytes(b"x")
    assert away.take({LIST_PART: listing()}) == "STOP_LIST_UNREADABLE"
    assert away.stands() == "STOP_LIST_UNREADABLE"


def test_nothing_brought_has_a_name_of_the_senders_choice(away: Away) -> None:
    order = stop()
    for name in ("stops:../../x", "stops:/etc/x", "stops:a/b", "stops:\x00"):
        with pytest.raises(ValueError, match="pattern"):  # such a message cannot even be written
            message({name: order.to_bytes()})
    for name in ("stops:..", "stops:list.dsse.json", "stops:list:", "stops:"):
        assert away.take({name: order.to_bytes()}) == ""
    (found,) = away.lying()
    assert found.startswith("brought.") and len(found) == len("brought..dsse.json") + 64


def test_what_lies_under_an_orders_name_is_not_written_over(away: Away, tmp_path: Path) -> None:
    """Somebody who can write there put another file, or a link to one, where the order would go."""
    order = stop()
    assert away.take({"stops:1": order.to_bytes()}) == ""
    (name,) = away.lying()
    (away.stops / name).unlink()
    victim = tmp_path / "victim"
    os.symlink(victim, away.stops / name)
    take_stops(message({"stops:1": order.to_bytes(), LIST_PART: listing(order)}), away.folder, ROSTER,
               drafts=away.drafts, now=NOW)  # fmt: skip
    assert not victim.exists() and (away.stops / name).is_symlink()
    assert away.stands() in ("STOP_UNREADABLE", "STOP_ORDER_MISSING")  # it does not go on either


def test_one_order_under_many_signatures_of_strangers_is_one_order(away: Away) -> None:
    """Else whoever carries it could fill the folder until nothing in it counts as read."""
    order = stop()
    for number in range(20):
        assert away.take({"stops:1": order.signed_by(key(f"stranger-{number}")).to_bytes()}) == ""
    assert list(away.lying().values()) == [order.to_bytes()]


def test_no_more_is_taken_than_can_be_read(away: Away) -> None:
    away.stops.mkdir(parents=True)
    for number in range(MAX_ORDERS):
        (away.stops / f"{number:04d}.dsse.json").write_bytes(stop().to_bytes())
    other = stop("lea", role="legal")
    assert away.take({"stops:1": other.to_bytes()}) == "STOPS_TOO_LARGE"
    assert away.take({"stops:1": stop().to_bytes()}) == ""  # it is here


def test_what_finds_no_room_in_a_message_is_missed_by_whoever_lacks_it(away: Away) -> None:
    orders = [stop(), *(stop("lea", role="legal", scope=f"study-{number}") for number in range(3))]
    lying = [*files(*orders), ("big", write_envelopes([restart(orders[0], "lea", "legal")] * 2000))]
    parts = travelling(ROSTER, listing(*orders), lying)
    assert sum(map(len, parts.values())) <= MAX_TRAVELLING and len(parts) == 1 + len(orders)
    assert away.take(parts) == "" and order_digests(away.orders()) == order_digests(lying)
