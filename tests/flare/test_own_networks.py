"""The coordinator and each site in a network namespace of its own, wired to the coordinator alone.

A site's network has one way out and no route to another site. What listens in it is at loopback: nobody can connect to
a site, so a firewall in front of it needs no hole. Makes namespaces on this machine, so it runs where it is asked for:
``NETWORK_NAMESPACES=1``, as root, with ``ip``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..federation import study_folder
from .machines import Machines, apart, wait_until

SITES = ("ame", "hana", "kaze")
HUB = "hub.example"
PORT = 8002
STEPS = 2
LISTENING = "0A"  # /proc/net/tcp, third column
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}

ASKED_FOR = bool(os.environ.get("NETWORK_NAMESPACES"))

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not ASKED_FOR, reason="makes network namespaces: NETWORK_NAMESPACES=1"),
]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def namespace(party: str) -> str:
    return f"sekisho-{party}"


def made(closing: ExitStack, party: str, address_of_hub: str) -> None:
    """A namespace in which ``HUB`` is ``address_of_hub``."""
    name = namespace(party)
    ip("netns", "add", name)
    closing.callback(ip, "netns", "del", name)
    ip("-n", name, "link", "set", "lo", "up")
    hosts = Path("/etc/netns") / name / "hosts"  # `ip netns exec` shows it as /etc/hosts
    hosts.parent.mkdir(parents=True)
    closing.callback(shutil.rmtree, hosts.parent)
    hosts.write_text(f"127.0.0.1 localhost\n{address_of_hub} {HUB}\n", "ascii")


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    study = study_folder.build(tmp_path / "study", steps=STEPS, sites=SITES)
    machines = Machines(apart(study, tmp_path / "homes", SITES))
    with ExitStack() as closing:
        made(closing, "coordinator", "127.0.0.1")
        for number, site in enumerate(SITES, start=1):
            made(closing, site, f"10.77.{number}.1")
            ends = {"coordinator": f"to-{site}", site: "out"}
            ip("link", "add", ends["coordinator"], "netns", namespace("coordinator"),
               "type", "veth", "peer", "name", ends[site], "netns", namespace(site))  # fmt: skip
            for last, (party, end) in enumerate(ends.items(), start=1):
                ip("-n", namespace(party), "address", "add", f"10.77.{number}.{last}/30", "dev", end)
                ip("-n", namespace(party), "link", "set", end, "up")
        machines.networks = {party: ("ip", "netns", "exec", namespace(party)) for party in ("coordinator", *SITES)}
        closing.callback(machines.close)
        yield machines


def listening(party: str) -> set[str]:
    """Addresses, in the kernel's hexadecimal, at which something in the party's network listens."""
    told = subprocess.run(
        ["ip", "netns", "exec", namespace(party), "cat", "/proc/net/tcp", "/proc/net/tcp6"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    rows = [line.split() for line in told.splitlines()]
    return {row[1].split(":")[0] for row in rows if row[3] == LISTENING}


def reaches(party: str, address: str) -> bool:
    program = f"import socket; socket.create_connection(({address!r}, {PORT}), 3)"
    return not subprocess.run(
        ["ip", "netns", "exec", namespace(party), "python3", "-c", program], check=False, capture_output=True
    ).returncode


def test_sites_that_reach_the_coordinator_alone_and_listen_to_nobody_run_a_study(machines: Machines) -> None:
    machines.enrol(SITES, PORT, host=HUB)
    hub = machines.homes["coordinator"]
    machines.start("coordinator/server", "coordinator", "serve", "--study", hub)
    for site in SITES:
        machines.serve(site)
    heard: dict[str, set[str]] = {site: set() for site in SITES}
    run = machines.start("coordinator/run", "coordinator", "run", "probe", "--study", hub)

    def over() -> bool:
        for site in SITES:
            heard[site] |= listening(site)
        return run.poll() is not None

    wait_until(over, "the run does not end")
    assert run.returncode == 0, machines.log("coordinator/run")
    # one way out, and no way in
    assert all(reaches(site, f"10.77.{number}.1") for number, site in enumerate(SITES, start=1))
    assert not reaches(SITES[0], "10.77.2.2") and not reaches(SITES[0], "10.77.2.1")
    assert set().union(*heard.values()) <= LOOPBACK, heard
    for site in SITES:
        os.kill(machines.processes[site].pid, signal.SIGTERM)
        assert machines.processes[site].wait(180) == 0, machines.log(site)
