"""One suite for every engine: what a coordinator may rely on, whoever carries its messages.

Order, loss, duplication, late replies, large payloads, hostile replies, cancellation, unknown sites; and for engines
that relay: a relay that dies and returns, a site's process that does, and doubled messages while one is in work.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sekisho.core.engines.channel import Channel, Reply
from sekisho.core.engines.door import SiteDoor
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.engines.pipe import HELLO, Kind, Pipe, connect
from sekisho.core.engines.relayed import RelayedChannel
from sekisho.core.errors import BadInputError, ProtocolError
from sekisho.core.gate.sealed import Sealed

from ..flare.flare_processes import FlareProcesses

ROOT = Path(__file__).resolve().parents[2]
RELAY = Path(__file__).parent / "small_relay.py"
SITES = ("alpha", "beta", "gamma")
COPIES_ARRIVE = 10.0  # seconds; a door that takes copies for other messages never counts three
PATIENCE = 600.0  # seconds for what takes a fraction of one, and FLARE's start ten: the machine may be busy


@dataclass(frozen=True)
class Raw:
    """In place of a signed message: engines do not look inside."""

    data: bytes

    def to_bytes(self) -> bytes:
        return self.data


def sealed(data: bytes) -> Sealed:
    return Sealed(Raw(data))  # type: ignore[arg-type]


@dataclass
class Echo:
    """A site that answers with the digest of what it was sent, or as ``say`` wants."""

    name: str = ""
    say: Callable[[bytes], Any] | None = None
    heard: list[bytes] = field(default_factory=list)

    def handle(self, message: bytes) -> Sealed:
        self.heard.append(bytes(message))
        return self.say(message) if self.say else sealed(self.name.encode() + sha256(message).digest())


def refuses(message: bytes) -> Sealed:
    raise ProtocolError("NOT_TODAY", "this site does not answer")


class Embedded:
    """Sites in this process."""

    relays = False

    def __init__(self, folder: Path) -> None:
        self.channel: EmbeddedChannel

    def start(self, ends: dict[str, Echo]) -> Channel:
        self.channel = EmbeddedChannel(ends)
        return self.channel

    def close(self) -> None:
        """Nothing is left."""


class Relayed:
    """Sites behind doors, and a relay in a process of its own; ``words`` are the relay's."""

    relays = True
    words: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.doors: dict[str, SiteDoor] = {}
        self.told: list[tuple[str, str]] = []
        self.closing = ExitStack()
        self.relay: subprocess.Popen[str] | None = None
        self.channel: RelayedChannel

    def state(self, party: str) -> Path:
        state = self.folder / party
        state.mkdir(mode=0o700, exist_ok=True)
        return state / "engine.sock"

    def start(self, ends: dict[str, Echo]) -> Channel:
        self.open_channel(ends)
        for site, end in ends.items():
            self.open_door(site, end)
        self.start_relay()
        wait_until(lambda: self.channel.sites() == tuple(sorted(ends)))
        return self.channel

    def open_channel(self, ends: dict[str, Echo], **options: Any) -> RelayedChannel:
        self.channel = RelayedChannel(self.state("coordinator"), ends, **options)
        self.closing.callback(self.channel.close)
        return self.channel

    def open_door(self, site: str, end: Any) -> SiteDoor:
        door = SiteDoor(self.state(site), end, told=lambda error: self.told.append((site, error.code)))
        threading.Thread(target=door.serve, daemon=True).start()
        self.doors[site] = door
        self.closing.callback(door.stop)
        return door

    def start_relay(self) -> None:
        lines = [f"{site}={self.state(site)}" for site in self.doors]
        self.relay = subprocess.Popen(
            [sys.executable, str(RELAY), str(self.state("coordinator")), *lines, *self.words],
            env={**os.environ, "PYTHONPATH": str(ROOT / ".namespace")},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.closing.callback(self.kill_relay)
        assert self.relay.stdout is not None
        assert self.relay.stdout.readline() == "ready\n"

    def kill_relay(self) -> None:
        if self.relay is not None:
            self.relay.kill()
            self.relay.wait()

    def close(self) -> None:
        self.closing.close()


class Lossy(Relayed):
    """As ``Relayed``; every fifth question between the relay's ends is lost on one of its ways."""

    words = ("--lose", "10")


class Flare(Relayed):
    """NVIDIA FLARE's processes in place of the small relay; they stay, as relays do, while tests come and go."""

    def __init__(self, processes: FlareProcesses) -> None:
        super().__init__(processes.folder)
        self.processes = processes

    def state(self, party: str) -> Path:
        return self.processes.socket(party)

    def start_relay(self) -> None:
        if self.processes.keeper is None:
            self.processes.channel = self.channel
            for party in ("coordinator", *self.processes.sites):
                self.processes.start(party)
            self.processes.keep_job()
        else:
            self.processes.keeper._channel = self.channel


@pytest.fixture(scope="module")
def flare_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlareProcesses]:
    with FlareProcesses(tmp_path_factory.mktemp("flare"), SITES) as processes:
        yield processes


ENGINES = {"embedded": Embedded, "relayed": Relayed, "lossy": Lossy}


@pytest.fixture(params=[*ENGINES, pytest.param("flare", marks=pytest.mark.proof)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "flare":
        made: Any = Flare(request.getfixturevalue("flare_processes"))
    else:
        made = ENGINES[request.param](tmp_path)
    yield made
    made.close()


@pytest.fixture
def relayed(tmp_path: Path) -> Iterator[Relayed]:
    made = Relayed(tmp_path)
    yield made
    made.close()


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.01)


def replies(channel: Channel, count: int) -> list[Reply]:
    """The next ``count`` replies; no poll may bring more than one that carries data."""
    found: list[Reply] = []
    until = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < until, f"only {len(found)} of {count} replies came"
        came = channel.poll()
        assert sum(reply.data is not None for reply in came) <= 1
        found += came
        if not came:
            time.sleep(0.005)
    return found


# --- what every engine does


def test_every_site_answers_its_own_message_under_its_own_ticket(engine: Any) -> None:
    channel = engine.start({name: Echo(name) for name in SITES})
    assert channel.sites() == SITES
    posted = {channel.post(name, f"to {name}".encode(), PATIENCE): name for name in SITES}
    for reply in replies(channel, len(SITES)):
        name = posted.pop(reply.ticket)
        assert reply.site == name
        assert reply.data == name.encode() + sha256(f"to {name}".encode()).digest()
    assert channel.poll() == ()


def test_messages_to_one_site_are_handled_in_their_order(engine: Any) -> None:
    site = Echo("alpha")
    channel = engine.start({"alpha": site})
    for number in range(5):
        channel.post("alpha", bytes([number]), PATIENCE)
        (reply,) = replies(channel, 1)
        assert reply.data == b"alpha" + sha256(bytes([number])).digest()
    heard = list(dict.fromkeys(site.heard))
    assert heard == [bytes([number]) for number in range(5)]


def test_no_answer_is_said_once_and_is_no_data(engine: Any) -> None:
    channel = engine.start({"alpha": Echo(say=refuses), "beta": Echo("beta")})
    first, second = channel.post("alpha", b"x", PATIENCE), channel.post("beta", b"x", PATIENCE)
    found = {reply.ticket: reply for reply in replies(channel, 2)}
    assert found[first] == Reply(first, "alpha", None)
    assert found[second].data is not None
    assert channel.poll() == ()


def test_nothing_but_sealed_leaves_a_site(engine: Any) -> None:
    answers = {b"1": b"bytes", b"2": Raw(b"almost"), b"3": None, b"4": "text"}
    channel = engine.start({"alpha": Echo(say=answers.__getitem__)})
    for message in answers:
        ticket = channel.post("alpha", message, PATIENCE)
        assert replies(channel, 1) == [Reply(ticket, "alpha", None)]


def test_25_megabytes_arrive_both_ways_to_the_byte(engine: Any) -> None:
    down, up = os.urandom(25_000_000), os.urandom(25_000_000)
    site = Echo(say=lambda message: sealed(up))
    channel = engine.start({"alpha": site})
    channel.post("alpha", down, PATIENCE)
    (reply,) = replies(channel, 1)
    assert reply.data == up
    assert site.heard == [down]


def test_large_replies_of_many_sites_come_one_at_a_time(engine: Any) -> None:
    channel = engine.start({name: Echo(say=lambda message: sealed(bytes(5_000_000))) for name in SITES})
    for name in SITES:
        channel.post(name, b"x", PATIENCE)
    found = replies(channel, len(SITES))  # and asserts that no poll brings two
    assert tuple(sorted(reply.site for reply in found)) == SITES


def test_a_site_that_is_not_known_cannot_be_posted_to(engine: Any) -> None:
    channel = engine.start({"alpha": Echo("alpha")})
    with pytest.raises(ProtocolError) as refused:
        channel.post("omega", b"x", PATIENCE)
    assert refused.value.code == "SITE_UNKNOWN"


def test_a_late_reply_is_none_and_nothing_comes_after_it(engine: Any) -> None:
    channel = engine.start({"alpha": Echo(say=lambda message: (time.sleep(0.3), sealed(b"late"))[1])})
    ticket = channel.post("alpha", b"x", -1.0 if not engine.relays else 0.05)
    assert replies(channel, 1) == [Reply(ticket, "alpha", None)]
    time.sleep(0.6)
    assert channel.poll() == ()
    if engine.relays:
        wait_until(lambda: not engine.doors["alpha"].busy())
    again = channel.post("alpha", b"y", PATIENCE)
    assert replies(channel, 1) == [Reply(again, "alpha", b"late")]


def test_the_same_message_twice_is_answered_twice_the_same(engine: Any) -> None:
    channel = engine.start({"alpha": Echo("alpha")})
    tickets = {channel.post("alpha", b"once more", PATIENCE) for _ in range(2)}
    found = replies(channel, 2)
    assert {reply.ticket for reply in found} == tickets
    assert len({reply.data for reply in found}) == 1


# --- what engines that relay do besides


class Slow:
    """A site whose work takes until it is let go, or until it is interrupted."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.interrupted: list[bytes] = []
        self.go = threading.Event()
        self.started = threading.Event()

    def handle(self, message: bytes) -> Sealed:
        self.heard.append(message)
        self.started.set()
        self.go.wait(PATIENCE)
        if self.interrupted and message == b"step":
            raise ProtocolError("STOPPED", "the work was ended by a stop")
        return sealed(message.upper())

    def interrupt(self, message: bytes) -> None:
        self.interrupted.append(message)
        if message == b"stop":
            self.go.set()


def test_what_was_outstanding_is_posted_again_when_a_relay_returns(relayed: Relayed) -> None:
    slow = Slow()
    channel = relayed.start({"alpha": slow})  # type: ignore[dict-item]
    ticket = channel.post("alpha", b"step", PATIENCE)
    assert slow.started.wait(PATIENCE)
    relayed.kill_relay()
    wait_until(lambda: channel.sites() == ())
    relayed.start_relay()
    wait_until(lambda: channel.sites() == ("alpha",))
    slow.go.set()
    assert replies(channel, 1) == [Reply(ticket, "alpha", b"STEP")]
    assert set(slow.heard) == {b"step"}


def test_a_doubled_message_is_worked_on_once(relayed: Relayed) -> None:
    slow = Slow()
    channel = relayed.start({"alpha": slow})  # type: ignore[dict-item]
    tickets = [channel.post("alpha", b"step", PATIENCE) for _ in range(3)]
    assert slow.started.wait(PATIENCE)
    door = relayed.doors["alpha"]
    until = time.monotonic() + COPIES_ARRIVE
    while time.monotonic() < until and (door._in_work is None or len(door._in_work.waiting) < 3):
        time.sleep(0.05)
    slow.go.set()
    found = replies(channel, 3)
    assert sorted(reply.ticket for reply in found) == tickets
    assert {reply.data for reply in found} == {b"STEP"}
    assert slow.heard == [b"step"]


def test_a_stop_reaches_a_site_at_work(relayed: Relayed) -> None:
    slow = Slow()
    channel = relayed.start({"alpha": slow})  # type: ignore[dict-item]
    step = channel.post("alpha", b"step", PATIENCE)
    assert slow.started.wait(PATIENCE)
    stop = channel.post("alpha", b"stop", PATIENCE)
    found = {reply.ticket: reply.data for reply in replies(channel, 2)}
    assert found == {step: None, stop: b"STOP"}
    assert slow.interrupted == [b"stop"]
    assert slow.heard == [b"step", b"stop"]
    assert ("alpha", "STOPPED") in relayed.told


def test_a_site_that_cannot_be_interrupted_is_busy(relayed: Relayed) -> None:
    go = threading.Event()
    channel = relayed.start({"alpha": Echo(say=lambda message: (go.wait(PATIENCE), sealed(message))[1])})
    first = channel.post("alpha", b"one", PATIENCE)
    time.sleep(0.5)
    second = channel.post("alpha", b"two", PATIENCE)
    assert replies(channel, 1) == [Reply(second, "alpha", None)]
    go.set()
    assert replies(channel, 1) == [Reply(first, "alpha", b"one")]
    assert relayed.told == [("alpha", "SITE_BUSY")]


def test_a_site_whose_process_is_gone_is_out_of_reach_and_hears_the_message_when_it_is_back(relayed: Relayed) -> None:
    channel = relayed.start({"alpha": Echo("alpha"), "beta": Echo("beta")})
    relayed.doors["beta"].stop()
    wait_until(lambda: channel.sites() == ("alpha",))
    ticket = channel.post("beta", b"x", PATIENCE)
    time.sleep(0.3)
    assert channel.poll() == ()
    relayed.open_door("beta", Echo("beta"))
    assert replies(channel, 1) == [Reply(ticket, "beta", b"beta" + sha256(b"x").digest())]
    wait_until(lambda: channel.sites() == ("alpha", "beta"))


def test_a_new_coordinator_gets_no_answer_to_what_the_one_before_had_posted(relayed: Relayed) -> None:
    """Tickets begin anew with every process: an old answer under a new ticket would be another message's."""
    slow = Slow()
    channel = relayed.start({"alpha": slow})  # type: ignore[dict-item]
    channel.post("alpha", b"step", PATIENCE)
    assert slow.started.wait(PATIENCE)
    relayed.channel.close()
    channel = relayed.open_channel({"alpha": slow})  # type: ignore[dict-item]
    ticket = channel.post("alpha", b"other", PATIENCE)
    time.sleep(1.0)
    slow.go.set()
    assert replies(channel, 1) == [Reply(ticket, "alpha", b"OTHER")]
    time.sleep(0.5)
    assert channel.poll() == ()


def test_a_stop_posted_at_the_end_is_delivered_before_the_channel_closes(relayed: Relayed) -> None:
    site = Echo("alpha")
    channel = relayed.start({"alpha": site})
    channel.post("alpha", b"stop", PATIENCE)
    assert relayed.channel.settle(PATIENCE)
    relayed.channel.close(end=True)
    assert site.heard == [b"stop"]
    assert relayed.relay is not None
    assert relayed.relay.wait(PATIENCE) == 0  # told that nothing comes after it


# --- relays that are hostile


def hostile(relayed: Relayed, ends: dict[str, Any], **options: Any) -> tuple[RelayedChannel, Pipe]:
    channel = relayed.open_channel(ends, **options)
    pipe = connect(relayed.state("coordinator"))
    pipe.send(Kind.HELLO, body=HELLO)
    wait_until(channel.connected)
    return channel, pipe


def test_a_reply_to_another_ticket_is_dropped(relayed: Relayed) -> None:
    channel, pipe = hostile(relayed, {"alpha": None})
    ticket = channel.post("alpha", b"x", PATIENCE)
    pipe.send(Kind.REPLY, ticket=ticket + 1, body=b"forged")
    pipe.send(Kind.NOTHING, ticket=ticket + 7)
    pipe.send(Kind.REPLY, ticket=ticket, body=b"one")
    pipe.send(Kind.REPLY, ticket=ticket, body=b"another")
    assert replies(channel, 1) == [Reply(ticket, "alpha", b"one")]
    time.sleep(0.2)
    assert channel.poll() == ()


def test_a_reply_that_is_too_long_is_none_and_is_never_held(relayed: Relayed) -> None:
    channel, pipe = hostile(relayed, {"alpha": None}, longest=1000)
    first, second = channel.post("alpha", b"x", PATIENCE), channel.post("alpha", b"y", PATIENCE)
    pipe.send(Kind.REPLY, ticket=first, body=bytes(1001))
    pipe.send(Kind.REPLY, ticket=second, body=bytes(1000))
    assert replies(channel, 2) == [Reply(first, "alpha", None), Reply(second, "alpha", bytes(1000))]


def test_no_reply_is_read_before_it_is_asked_for(relayed: Relayed) -> None:
    """What a relay has of other sites' replies stays in the relay."""
    channel, pipe = hostile(relayed, {"alpha": None})
    tickets = [channel.post("alpha", bytes([number]), PATIENCE) for number in range(3)]
    sent = threading.Event()

    def send() -> None:
        for ticket in tickets:
            pipe.send(Kind.REPLY, ticket=ticket, body=bytes(10_000_000))
        sent.set()

    threading.Thread(target=send, daemon=True).start()
    time.sleep(0.5)
    assert channel._reply is None
    assert not sent.is_set()
    assert [reply.ticket for reply in replies(channel, 3)] == tickets


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n" + bytes(40), b"\xff" * 64, b"\x03" + b"\x00" * 5],
    ids=["http", "ones", "cut"],
)
def test_garbage_ends_a_relay_and_not_the_channel(relayed: Relayed, garbage: bytes) -> None:
    channel, pipe = hostile(relayed, {"alpha": None})
    ticket = channel.post("alpha", b"x", PATIENCE)
    pipe._socket.sendall(garbage)
    pipe._socket.shutdown(1)
    wait_until(lambda: not channel.connected())
    again = connect(relayed.state("coordinator"))
    again.send(Kind.HELLO, body=HELLO)
    head = again.head()
    assert head is not None
    assert (head.kind, head.name, again.body(head, 10)) == (Kind.POST, "alpha", b"x")
    again.send(Kind.REPLY, ticket=head.ticket, body=b"fine")
    assert replies(channel, 1) == [Reply(ticket, "alpha", b"fine")]


def test_a_relay_that_leaves_in_the_middle_of_a_reply_has_delivered_nothing(relayed: Relayed) -> None:
    channel, pipe = hostile(relayed, {"alpha": None})
    ticket = channel.post("alpha", b"x", PATIENCE)
    wait_until(lambda: pipe.head() is not None)
    half = bytearray()
    other = Pipe(type("Half", (), {"sendall": lambda self, data: half.extend(data)})())  # type: ignore[arg-type]
    other.send(Kind.REPLY, ticket=ticket, body=b"whole answer")
    pipe._socket.sendall(half[:-3])
    channel.poll()
    pipe.close()
    wait_until(lambda: not channel.connected())
    assert channel.poll() == ()
    again = connect(relayed.state("coordinator"))
    again.send(Kind.HELLO, body=HELLO)
    again.send(Kind.REPLY, ticket=ticket, body=b"whole answer")
    assert replies(channel, 1) == [Reply(ticket, "alpha", b"whole answer")]


def test_the_newest_relay_stays_and_the_one_before_is_told_not_to_come_back(relayed: Relayed) -> None:
    _, old = hostile(relayed, {"alpha": None})
    new = connect(relayed.state("coordinator"))
    new.send(Kind.HELLO, body=HELLO)
    head = old.head()
    assert head is not None
    assert head.kind is Kind.END
    assert old.head() is None


def test_nobody_waits_any_more_is_said_to_the_relay(relayed: Relayed) -> None:
    channel, pipe = hostile(relayed, {"alpha": None})
    ticket = channel.post("alpha", b"x", 0.05)
    assert replies(channel, 1) == [Reply(ticket, "alpha", None)]
    post = pipe.head()
    assert post is not None
    pipe.skip(post)
    cancel = pipe.head()
    assert cancel is not None
    assert (cancel.kind, cancel.ticket) == (Kind.CANCEL, ticket)


def test_a_door_takes_no_message_before_the_greeting_and_none_that_is_too_long(relayed: Relayed) -> None:
    site = Echo("alpha")
    door = SiteDoor(relayed.state("alpha"), site, longest=100)
    threading.Thread(target=door.serve, daemon=True).start()
    relayed.closing.callback(door.stop)
    # The door hangs up at a frame's head, perhaps before the frame's body has gone.
    rude = connect(relayed.state("alpha"))
    with contextlib.suppress(OSError):
        rude.send(Kind.POST, ticket=1, body=b"x")
        assert rude.head() is None
    long = connect(relayed.state("alpha"))
    long.send(Kind.HELLO, body=HELLO)
    with contextlib.suppress(OSError):
        long.send(Kind.POST, ticket=1, body=bytes(101))
        assert long.head() is None
    assert site.heard == []


# --- the socket and its folder


def test_a_folder_that_others_can_enter_is_refused(relayed: Relayed) -> None:
    path = relayed.state("coordinator")
    path.parent.chmod(0o750)
    with pytest.raises(BadInputError) as refused:
        RelayedChannel(path, ["alpha"])
    assert refused.value.code == "PIPE_FOLDER_OPEN"


def test_two_processes_cannot_listen_at_one_door(relayed: Relayed) -> None:
    relayed.open_door("alpha", Echo("alpha"))
    with pytest.raises(BadInputError) as refused:
        SiteDoor(relayed.state("alpha"), Echo("alpha"))
    assert refused.value.code == "PIPE_TAKEN"


def test_what_a_killed_process_left_is_no_hindrance_and_long_paths_are_none(tmp_path: Path) -> None:
    folder = tmp_path / ("long-" * 30)
    folder.mkdir(mode=0o700)
    path = folder / "engine.sock"
    path.touch()
    channel = RelayedChannel(path, ["alpha"])
    assert path.stat().st_mode & 0o777 == 0o600
    connect(path).close()
    channel.close()
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user to try it")
def test_another_user_is_hung_up_on(relayed: Relayed) -> None:
    path = relayed.state("coordinator")
    channel = relayed.open_channel({"alpha": None})  # type: ignore[dict-item]
    path.parent.chmod(0o777)
    path.chmod(0o777)
    program = (
        "import os, sys; os.setuid(65534)\n"
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(bytes.fromhex(sys.argv[2])); print(s.recv(1) == b'')"
    )
    hello = bytes([1]) + bytes(8) + bytes(2) + len(HELLO).to_bytes(8, "little") + HELLO
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), hello.hex()],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "True" in done.stdout or "Error" in done.stderr, done
    assert not channel.connected()
