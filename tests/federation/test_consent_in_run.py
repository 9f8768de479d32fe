"""Consent is asked at every step of a run: people leave at the next one, nobody enters, and the log tells neither."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.data.eligible import still_eligible
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.messages import SignedMessage
from sekisho.core.pilot.federation import Federation
from sekisho.core.site import site as site_module
from sekisho.core.site import step
from sekisho.core.site.reach import Reach, RunReach
from sekisho.core.site.step import StepTools
from sekisho.governance.consent.consent import ConsentRegister
from sekisho.governance.consent.record import ConsentEvent, EventKind
from sekisho.governance.log.entries import Entry

from . import study_folder
from .channels import Recording
from .study_folder import SITES, HashedFeatures

# one who withdraws, one who withdraws and grants anew, one who withdraws when the join is over and nothing has begun
GONE, BACK, EARLY = "hana-c003", "hana-c004", "hana-c005"
STEPS = 3
LEFT_AT, BACK_AT = 2, 3


class Watched(dict[str, Any]):
    """A mapping that remembers what was asked of it."""

    def __init__(self, values: Any, asked: set[str] | None = None) -> None:
        super().__init__(values)
        self.asked: set[str] = set() if asked is None else asked

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)


@dataclass
class Changing(Recording):
    """Does ``act`` with the registers of the sites before a site is asked to begin a step."""

    act: Callable[[str, int], None] = lambda site, number: None
    seen: set[tuple[str, int]] = field(default_factory=set)

    def post(self, site: str, message: bytes, ttl: float) -> int:
        body = SignedMessage.from_bytes(message).body
        if body.kind == "step" and (site, body.step) not in self.seen:  # type: ignore[attr-defined]
            self.seen.add((site, body.step))  # type: ignore[attr-defined]
            self.act(site, body.step)  # type: ignore[attr-defined]
        return super().post(site, message, ttl)


@pytest.fixture(scope="module")
def changed_run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run in which two people of one site withdraw before step 2 and one of them grants anew before step 3."""
    study = study_folder.build(tmp_path_factory.mktemp("consent") / "study", steps=STEPS)
    offered: dict[tuple[str, int], set[str]] = {}
    touched: dict[str, list[set[str]]] = {site: [] for site in SITES}
    read: set[str] = set()
    registers: dict[str, ConsentRegister] = {}
    train, load = step.train_step, site_module.load_training_data

    def act(site: str, number: int) -> None:
        if site == "hana" and number == 1:
            registers[site].withdraw(EARLY, datetime.now(UTC))
        if site == "hana" and number == LEFT_AT:
            for subject in (GONE, BACK):
                registers[site].withdraw(subject, datetime.now(UTC))
        if site == "hana" and number == BACK_AT:
            again = ConsentEvent(BACK, study_folder.SCOPE, EventKind.GRANTED, datetime.now(UTC), None, "notice-2")
            registers[site]._vault.record([again])
            assert registers[site].status(BACK, scope=study_folder.SCOPE, now=datetime.now(UTC)).eligible

    def instrumented(data: Any, subjects: Sequence[str], *rest: Any, **more: Any) -> Any:
        site = subjects[0].split("-")[0]
        offered[site, more["step"]] = set(subjects)
        watched = Watched(data.rows_of)
        update = train(replace(data, rows_of=watched), subjects, *rest, **more)
        touched[site].append(watched.asked)
        return update

    def reading(dataset: Any, *rest: Any) -> Any:
        return load(replace(dataset, records=Watched(dataset.records, read)), *rest)

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(step, "train_step", instrumented)
    monkeypatch.setattr(site_module, "load_training_data", reading)

    def wrap(channel: EmbeddedChannel) -> Changing:
        return Changing(channel, act=act)

    federation = Federation.open(study, features=HashedFeatures(), wrap=wrap)  # type: ignore[arg-type]
    registers.update({name: site.folder.register for name, site in federation.sites.items()})
    try:
        result = federation.run("probe")
        logs = {
            name: [Entry.from_bytes(body) for body in site.folder.log.entries()]
            for name, site in federation.sites.items()
        }
    finally:
        federation.close()
        monkeypatch.undo()
    return SimpleNamespace(result=result, offered=offered, touched=touched, read=read, logs=logs)


def test_who_withdraws_is_not_touched_from_the_next_step_on(changed_run: Any) -> None:
    assert changed_run.result.state.completed == STEPS
    assert {GONE, BACK} <= changed_run.offered["hana", LEFT_AT - 1], "the control: they could be sampled before"
    for number in range(LEFT_AT, STEPS + 1):
        assert GONE not in changed_run.offered["hana", number]
        assert len(changed_run.offered["hana", number]) == study_folder.SUBJECTS_PER_SITE - 3
    # what training then asked for, row by row
    asked = changed_run.touched["hana"]
    assert len(asked) == STEPS and any(asked)
    assert not set.union(*asked[LEFT_AT - 1 :]) & {GONE, BACK}


def test_who_withdraws_between_the_join_and_the_first_step_is_never_read(changed_run: Any) -> None:
    assert {GONE, BACK} <= changed_run.read, "the control: the others were read"
    assert EARLY not in changed_run.read


def test_who_left_a_run_does_not_come_back_into_it_by_a_later_grant(changed_run: Any) -> None:
    for number in range(LEFT_AT, STEPS + 1):
        assert BACK not in changed_run.offered["hana", number]


def test_the_log_tells_no_withdrawal(changed_run: Any) -> None:
    """One commitment at the opening and one a step, at every site alike, and no two the same."""
    kinds = {name: [entry.type for entry in entries] for name, entries in changed_run.logs.items()}
    for name in SITES:
        assert kinds[name] == kinds["ame"], name
        assert kinds[name].count("consent.imported") == 1
        snapshots = [entry for entry in changed_run.logs[name] if entry.type == "consent.snapshot"]
        assert [entry.data["step"] for entry in snapshots] == list(range(1, STEPS + 1))
        told = [entry.refs["snapshot"] for entry in changed_run.logs[name] if "snapshot" in entry.refs]
        assert len(set(told)) == len(told)


# --- whatever happens to a register in a run

T0 = datetime(2026, 11, 1, tzinfo=UTC)
PEOPLE = tuple(f"s{number}" for number in range(5))
happenings = st.lists(
    st.tuples(
        st.sampled_from(PEOPLE),
        st.sampled_from(["granted", "withdrawn", "objected", "erased", "expiring"]),
        st.integers(-3, 3),
    ),
    max_size=4,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(PEOPLE), unique=True), st.lists(happenings, min_size=1, max_size=5))
def test_nobody_enters_a_run_and_whoever_may_not_be_used_is_gone_at_the_next_step(
    tmp_path_factory: pytest.TempPathFactory, joined: list[str], steps: list[list[tuple[str, str, int]]]
) -> None:
    state = tmp_path_factory.mktemp("run")
    register = ConsentRegister.open(state / "consent.sqlite")
    reach = Reach.open(state, lambda subject: subject.encode().ljust(32))
    reach.admit(RunReach("r", "probe", "1", "0.00001", "2026-11-01T00:00:00Z"), joined)
    scope, now = study_folder.SCOPE, T0
    long_ago = T0 - timedelta(days=9)
    register._vault.record(ConsentEvent(who, scope, EventKind.GRANTED, long_ago, None, "n") for who in joined)
    folder: Any = SimpleNamespace(
        register=register, study=SimpleNamespace(legal_basis_scope=scope), clock=lambda: now, reach=reach,
        log=SimpleNamespace(append=lambda entry: None),
    )  # fmt: skip
    admitted = still_eligible(joined, register, scope=scope, now=now)
    assert set(admitted) == set(joined)
    tools = StepTools(folder, None, None, admitted, None, None, None)  # type: ignore[arg-type]
    before = set(admitted)
    try:
        for number, happened in enumerate(steps, start=1):
            now += timedelta(days=1)
            for who, what, days in happened:
                at = now + timedelta(days=days)
                if what == "erased":
                    register.erase(who, now)
                    continue
                end = at + timedelta(days=2) if what == "expiring" else None
                kind = EventKind("granted" if what == "expiring" else what)
                register._vault.record([ConsentEvent(who, scope, kind, at, end, "n")])
            used = set(tools.usable("r", number, admitted))
            assert used <= before, "somebody entered"
            allowed = {who for who in PEOPLE if register.status(who, scope=scope, now=now).eligible}
            assert used == before & allowed, "somebody stayed who may not be used, or left who may"
            before = used
    finally:
        register.close()
        reach.close()
