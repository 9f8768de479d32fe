"""The relay's two ends without FLARE: whose answer counts, what is held, and what garbage does.

tests/core/test_engine_conformance.py runs them whole; here each is asked what a hostile other end would ask.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.engines.relayed import RelayedChannel
from sekisho.core.flare import server_end
from sekisho.core.flare.pieces import (
    ASK,
    FETCH,
    GONE,
    HAND,
    NOTHING,
    PIECE_BYTES,
    SAYS,
    SENT,
    TAKEN,
    WAIT,
    Head,
    Malformed,
    pack,
    unpack,
)
from sekisho.core.flare.server_end import ServerEnd

PATIENCE = 300.0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RelayedChannel, ServerEnd]]:
    tmp_path.chmod(0o700)
    channel = RelayedChannel(tmp_path / "engine.sock", ("alpha", "beta"))
    end = ServerEnd(tmp_path / "engine.sock")
    wait_until(channel.connected)
    yield channel, end
    end.close()
    channel.close()


def wait_until(true: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.01)


def told(end: ServerEnd, site: str, head: Head, piece: bytes = b"") -> tuple[Head, bytes]:
    answer, rest = unpack(end.answer(site, pack(head, piece)))
    return answer, bytes(rest)


def key_of(end: ServerEnd, site: str) -> str:
    head, _ = told(end, site, Head(ASK, open=True))
    assert head.says == SENT
    return head.key


def replied(channel: RelayedChannel) -> list[bytes | None]:
    found: list[bytes | None] = []
    wait_until(lambda: found.extend(reply.data for reply in channel.poll()) or found)
    return found


def test_another_site_neither_reads_a_message_nor_answers_it(pair: tuple[RelayedChannel, ServerEnd]) -> None:
    """Even under the key, which it cannot know; FLARE vouches for who asks (test_hostile_jobs.py)."""
    channel, end = pair
    channel.post("alpha", b"for alpha", PATIENCE)
    key = key_of(end, "alpha")
    assert told(end, "beta", Head(FETCH, key=key))[0].says == GONE
    assert told(end, "beta", Head(HAND, key=key, length=6), b"forged")[0].says == GONE
    assert channel.poll() == ()
    assert told(end, "alpha", Head(HAND, key=key, length=4), b"mine")[0].says == TAKEN
    assert replied(channel) == [b"mine"]


def test_an_answer_is_taken_once(pair: tuple[RelayedChannel, ServerEnd]) -> None:
    channel, end = pair
    channel.post("alpha", b"x", PATIENCE)
    key = key_of(end, "alpha")
    assert told(end, "alpha", Head(HAND, key=key, length=3), b"one")[0].says == TAKEN
    assert told(end, "alpha", Head(HAND, key=key, length=3), b"two")[0].says == GONE
    assert replied(channel) == [b"one"]
    time.sleep(0.1)
    assert channel.poll() == ()


def test_pieces_that_come_twice_or_out_of_place_change_nothing(pair: tuple[RelayedChannel, ServerEnd]) -> None:
    channel, end = pair
    channel.post("alpha", b"x", PATIENCE)
    key = key_of(end, "alpha")
    assert told(end, "alpha", Head(HAND, key=key, length=6, at=3), b"def")[0].at == 0
    for _ in range(2):
        assert told(end, "alpha", Head(HAND, key=key, length=6), b"abc")[0].at == 3
    assert told(end, "alpha", Head(HAND, key=key, length=6, at=3), b"defghi")[0].at == 3  # longer than it said
    assert told(end, "alpha", Head(HAND, key=key, length=6, at=3), b"def")[0].at == 6
    assert replied(channel) == [b"abcdef"]


def test_more_than_is_held_has_to_wait(
    pair: tuple[RelayedChannel, ServerEnd], monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, end = pair
    monkeypatch.setattr(server_end, "HELD_BYTES", 10)
    channel.post("alpha", b"x", PATIENCE)
    channel.post("beta", b"y", PATIENCE)
    keys = {site: key_of(end, site) for site in ("alpha", "beta")}
    assert told(end, "alpha", Head(HAND, key=keys["alpha"], length=100), b"a")[0].says == TAKEN
    assert told(end, "beta", Head(HAND, key=keys["beta"], length=9), b"b")[0].says == WAIT
    assert told(end, "alpha", Head(HAND, key=keys["alpha"], length=100, at=1), bytes(99))[0].says == TAKEN
    assert replied(channel) == [b"a" + bytes(99)]
    wait_until(lambda: told(end, "beta", Head(HAND, key=keys["beta"], length=9), b"b")[0].says == TAKEN)


def test_an_answer_that_is_longer_than_any_is_none(pair: tuple[RelayedChannel, ServerEnd]) -> None:
    channel, end = pair
    channel.post("alpha", b"x", PATIENCE)
    key = key_of(end, "alpha")
    told(end, "alpha", Head(HAND, key=key, length=server_end.LONGEST_MESSAGE + 1), b"x")
    assert replied(channel) == [None]


def test_a_long_message_is_fetched_piece_by_piece(pair: tuple[RelayedChannel, ServerEnd]) -> None:
    channel, end = pair
    message = bytes(range(256)) * (PIECE_BYTES // 256 + 3)
    channel.post("alpha", message, PATIENCE)
    head, piece = told(end, "alpha", Head(ASK, open=True))
    whole = piece
    while len(whole) < head.length:
        whole += told(end, "alpha", Head(FETCH, key=head.key, at=len(whole)))[1]
    assert whole == message
    assert told(end, "alpha", Head(FETCH, key=head.key, at=head.length + 5))[1] == b""


@given(st.binary(max_size=200))
def test_garbage_is_told_nothing(data: bytes) -> None:
    end = ServerEnd.__new__(ServerEnd)  # answers before it looks at anything of its own
    try:
        head, _ = unpack(data)
    except Malformed:
        assert unpack(end.answer("alpha", data))[0].says == NOTHING
    else:
        assert head.says in SAYS


HEADS = st.builds(
    Head,
    says=st.sampled_from(sorted(SAYS)),
    key=st.just("") | st.text("0123456789abcdef", min_size=32, max_size=32),
    at=st.integers(0, 2**40),
    length=st.integers(-1, 2**40),
    open=st.booleans(),
    working=st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), max_size=5).map(tuple),
)


@settings(max_examples=40)
@given(HEADS, st.binary(max_size=100))
def test_what_is_packed_is_unpacked(head: Head, piece: bytes) -> None:
    again, rest = unpack(pack(head, piece))
    assert (again, bytes(rest)) == (head, piece)


@settings(max_examples=40)
@given(HEADS, st.sampled_from(sorted(Head.__dataclass_fields__)), st.none() | st.integers() | st.text() | st.booleans())
def test_a_field_of_another_kind_is_no_request(head: Head, name: str, value: object) -> None:
    fields, _, _ = pack(head).partition(b"\n")
    changed = {**json.loads(fields), name: value}
    try:
        read, _ = unpack(json.dumps(changed).encode() + b"\n")
    except Malformed:
        return
    assert type(getattr(read, name)) is type(getattr(head, name))
