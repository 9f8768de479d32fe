"""What a selection holds: no type of entry is forgotten, a run is whole, and what it rests on comes with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.errors import BadDocumentError
from sekisho.governance.evidence.selection import (
    AFTERWARDS,
    BEARING,
    EVERYTHING,
    Bearing,
    Row,
    Scope,
    ScopeKind,
    selected,
    survey,
    wanted,
)
from sekisho.governance.log.entries import Entry, EntryType

START = datetime(2026, 11, 1, tzinfo=UTC)
ADAPTER, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def log(*said: tuple[str, str, str]) -> list[Row]:
    """Rows of (type, run, adapter), an hour apart, each read from an entry's own bytes."""
    rows = []
    for index, (kind, run, adapter) in enumerate(said):
        refs = {name: value for name, value in (("run", run), ("adapter", adapter)) if value}
        entry = Entry(kind, "kohi", START + timedelta(hours=index), refs)
        rows.append(Row.read(index, entry.to_bytes()))
    return rows


def chosen(scope: Scope, *logs: Sequence[Row]) -> list[list[int]]:
    surveys = [survey(rows, scope) for rows in logs]
    want = wanted(surveys, scope)
    return [list(selected(rows, found, want)) for rows, found in zip(logs, surveys, strict=True)]


def test_no_type_of_entry_is_forgotten() -> None:
    assert set(BEARING) == set(EntryType)
    assert set(AFTERWARDS) <= {kind for kind, bearing in BEARING.items() if bearing is Bearing.OWN}


def test_a_run_brings_what_it_rests_on_and_nothing_of_another() -> None:
    rows = log(
        ("policy.loaded", "", ""),          # 0  an older policy
        ("roster.accepted", "", ""),        # 1
        ("stop.honoured", "", ""),          # 2  a stop stands until it is lifted
        ("policy.loaded", "", ""),          # 3  the one that counted
        ("consent.imported", "", ""),       # 4
        ("decision.permit", "run-1", ""),   # 5
        ("step.started", "run-2", ""),      # 6
        ("consent.withdrawn", "", ""),      # 7  in the middle of it
        ("roster.accepted", "", ""),        # 8  likewise
        ("run.finished", "run-1", ""),      # 9
        ("consent.withdrawn", "", ""),      # 10
        ("policy.loaded", "", ""),          # 11
        ("stop.honoured", "", ""),          # 12
        ("release.published", "run-1", ADAPTER),   # 13
        ("decision.refuse", "", ""),        # 14
        ("adapter.used", "run-1", ADAPTER),        # 15
        ("release.revoked", "", ADAPTER),   # 16  names the model alone
        ("release.revoked", "", OTHER),     # 17
    )  # fmt: skip
    assert chosen(Scope(ScopeKind.RUN, "run-1"), rows) == [[1, 2, 3, 4, 5, 7, 8, 9, 13, 15, 16]]
    assert chosen(Scope(ScopeKind.MODEL, ADAPTER), rows) == [[1, 2, 3, 4, 5, 7, 8, 9, 13, 15, 16]]


def test_a_period_takes_the_runs_that_it_touches_whole_and_how_things_stood() -> None:
    rows = log(
        ("policy.loaded", "", ""), ("step.started", "run-1", ""), ("step.started", "run-2", ""),
        ("run.finished", "run-1", ""), ("decision.refuse", "", ""), ("run.finished", "run-2", ""),
        ("decision.refuse", "", ""),
    )  # fmt: skip
    scope = Scope(ScopeKind.PERIOD, since=START + timedelta(hours=4), until=START + timedelta(hours=6))
    assert chosen(scope, rows) == [[0, 2, 4, 5]]
    alone = Scope(ScopeKind.PERIOD, since=START + timedelta(hours=6), until=START + timedelta(hours=7))
    assert chosen(alone, rows) == [[0, 6]]       # under which policy that was refused


def test_the_model_is_followed_into_the_logs_of_others() -> None:
    publisher = log(("step.started", "run-1", ""), ("release.published", "run-1", ADAPTER))
    other = log(("step.started", "run-1", ""), ("step.started", "run-2", ""))
    assert chosen(Scope(ScopeKind.MODEL, ADAPTER), publisher, other) == [[0, 1], [0]]


def test_what_no_log_knows_is_refused_and_not_an_empty_selection() -> None:
    rows = log(("step.started", "run-1", ""))
    for scope in (Scope(ScopeKind.RUN, "run-2"), Scope(ScopeKind.MODEL, ADAPTER)):
        with pytest.raises(BadDocumentError) as caught:
            chosen(scope, rows)
        assert caught.value.code == "EVIDENCE_NOTHING" and caught.value.hint


@pytest.mark.parametrize("kwargs", [
    {"kind": ScopeKind.RUN}, {"kind": ScopeKind.ALL, "of": "x"}, {"kind": ScopeKind.PERIOD},
    {"kind": ScopeKind.PERIOD, "since": START}, {"kind": ScopeKind.PERIOD, "since": START, "until": START},
    {"kind": ScopeKind.RUN, "of": "x", "since": START, "until": START + timedelta(1)},
])  # fmt: skip
def test_a_scope_says_just_what_its_kind_needs(kwargs: dict[str, object]) -> None:
    with pytest.raises(BadDocumentError) as caught:
        Scope(**kwargs)  # type: ignore[arg-type]
    assert caught.value.code == "EVIDENCE_SCOPE"


SAID = st.tuples(st.sampled_from(sorted(EntryType)), st.sampled_from(["", "run-1", "run-2"]),
                 st.sampled_from(["", ADAPTER, OTHER]))


@settings(max_examples=150, deadline=None)
@given(st.lists(SAID, min_size=1, max_size=30))
def test_whatever_a_log_says_a_run_is_whole_in_order_and_apart_from_the_others(
    said: list[tuple[str, str, str]]
) -> None:
    rows = log(*said)
    if not any(row.run == "run-1" for row in rows):
        return
    (numbers,) = chosen(Scope(ScopeKind.RUN, "run-1"), rows)
    assert numbers == sorted(set(numbers))
    assert {row.index for row in rows if row.run == "run-1"} <= set(numbers)
    named = {adapter for row in rows if row.run == "run-1" for adapter in row.adapters}
    for row in rows:
        if row.index in numbers and row.run == "run-2" and not named & set(row.adapters):
            assert BEARING[row.type] is not Bearing.OWN     # it says how things stood, whatever run it names


def test_everything_is_no_selection() -> None:
    assert EVERYTHING.whole and EVERYTHING.written() == {"kind": "all"}
