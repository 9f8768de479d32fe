"""The pipe breaks everywhere it can, and every message is answered in the end, worked on once.

Real processes of NVIDIA FLARE, killed with SIGKILL one after the other while a message is in work at a site. What a
site or a coordinator of ours does when it is killed itself is tests/federation's; here they live.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator

import pytest

from sekisho.core.engines.channel import Reply
from sekisho.core.flare.policies import client_startup

from ..core.test_engine_conformance import Echo, Slow, sealed
from .flare_processes import FlareProcesses
from .slow_link import SlowLink

pytestmark = pytest.mark.proof

PATIENCE = 600.0


def wait_until(true: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.1)


@pytest.fixture
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlareProcesses]:
    with FlareProcesses(tmp_path_factory.mktemp("survives"), ("alpha", "beta")) as made:
        made.open_channel()
        for party in ("coordinator", "alpha", "beta"):
            made.start(party)
        made.keep_job()
        yield made


def test_whatever_of_flare_is_killed_a_message_in_work_is_answered(
    processes: FlareProcesses, record_property: Callable[[str, object], None]
) -> None:
    ends = {site: Slow() for site in ("alpha", "beta")}
    for site, end in ends.items():
        processes.open_door(site, end)
    channel = processes.channel
    wait_until(lambda: channel.sites() == ("alpha", "beta"))

    def client() -> None:
        processes.kill("alpha")
        processes.start("alpha")

    def server() -> None:
        processes.kill("coordinator")
        processes.start("coordinator")

    faults = {
        "a client": client,
        "a client's job": lambda: processes.kill_job("alpha"),
        "the server": server,
        "the server's job": lambda: processes.kill_job("coordinator"),
    }
    for fault, kill in faults.items():
        for end in ends.values():
            end.go.clear()
            end.started.clear()
        message = fault.encode()
        tickets = {channel.post(site, message, PATIENCE): site for site in ends}
        wait_until(lambda: all(end.started.is_set() for end in ends.values()))
        kill()
        killed = time.monotonic()
        time.sleep(1.0)
        for end in ends.values():
            end.go.set()
        replies: list[Reply] = []
        wait_until(lambda: replies.extend(channel.poll()) or len(replies) == 2)
        seconds = time.monotonic() - killed
        print(f"{fault}: answered after {seconds:.0f} s")
        record_property(fault, seconds)
        assert {(reply.ticket, reply.site, reply.data) for reply in replies} == {
            (ticket, site, message.upper()) for ticket, site in tickets.items()
        }
        wait_until(lambda: channel.sites() == ("alpha", "beta"))
    assert processes.told == []


def behind(processes: FlareProcesses, site: str, link: SlowLink) -> None:
    """``site``'s client reaches the server over ``link`` and in no other way."""
    startup = processes.kit(site) / "startup" / "fed_client.json"
    startup.write_text(json.dumps(client_startup(site, "localhost", link.port)), "utf-8")


def test_a_network_that_is_cut_for_a_minute_and_a_slow_one_that_loses_packets_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with FlareProcesses(tmp_path_factory.mktemp("network"), ("alpha", "beta")) as processes:
        cut, slow = SlowLink(processes.port), SlowLink(processes.port, delay=0.1, loss=0.01)
        behind(processes, "alpha", cut)
        behind(processes, "beta", slow)
        channel = processes.open_channel()
        for party in ("coordinator", "alpha", "beta"):
            processes.start(party)
        processes.keep_job()
        working, large = Slow(), os.urandom(25_000_000)
        processes.open_door("alpha", working)
        processes.open_door("beta", Echo(say=lambda message: sealed(large)))
        wait_until(lambda: channel.sites() == ("alpha", "beta"))
        # 1. 25 MB down and up over 200 ms and 1 % of packets lost
        began = time.monotonic()
        ticket = channel.post("beta", os.urandom(25_000_000), PATIENCE)
        replies: list[Reply] = []
        wait_until(lambda: replies.extend(channel.poll()) or replies)
        print(f"25 MB down and up over a slow link: {time.monotonic() - began:.0f} s")
        assert replies == [Reply(ticket, "beta", large)]
        # 2. a minute without network while a message is in work; the answer is there when the network is
        replies.clear()
        ticket = channel.post("alpha", b"step", PATIENCE)
        assert working.started.wait(PATIENCE)
        cut.cut()
        wait_until(lambda: channel.sites() == ("beta",))  # out of reach is said, and not taken for an answer
        working.go.set()
        time.sleep(60.0)
        assert channel.poll() == ()
        cut.heal()
        healed = time.monotonic()
        wait_until(lambda: replies.extend(channel.poll()) or replies)
        print(f"answered {time.monotonic() - healed:.0f} s after a network was back that had been cut for a minute")
        assert replies == [Reply(ticket, "alpha", b"STEP")]
        assert set(working.heard) == {b"step"}
        cut.close()
        slow.close()
