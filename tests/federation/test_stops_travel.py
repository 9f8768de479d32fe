"""Sites and coordinator in folders of their own, as on machines of their own: what is fresh comes with messages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sekisho.core.coordinator.coordinator import Coordinator
from sekisho.core.coordinator.stop_list import KNOWN, StopListKeeper
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.errors import Refused
from sekisho.core.messages import Body, SignedMessage
from sekisho.core.parties import LOG_NAME, log_origin, make_private_folder
from sekisho.core.pilot.federation import Federation
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.signing.envelope import Subject, sign_statement, write_envelopes
from sekisho.governance.signing.keys import demo_key
from sekisho.governance.signing.stop import stop_statement

from ..attacks.hostile import parts_of, resigned
from .books import entries, open_federation
from .channels import Tampering, body_of
from .study_folder import SITES, person_key

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
METHOD = "probe"


class Apart:
    """The sites of a study in one folder, and its coordinator in another; between them, messages alone."""

    def __init__(self, study: Path, hub: Path) -> None:
        self.study, self.hub, self.now = study, hub, NOW
        self.channel: Tampering
        self.federation: Federation = open_federation(study, self._between, clock=lambda: self.now)
        shutil.rmtree(study / "stops")  # what the coordinator of that folder signed: here is none
        make_private_folder(hub)
        self.before: list[tuple[str, int, Path, bytes]] = []

    def _between(self, channel: EmbeddedChannel) -> Tampering:
        self.channel = Tampering(channel, change=self._first)
        return self.channel

    def _first(self, site: str, message: SignedMessage, data: bytes) -> bytes:
        return data

    def run(self, heard: tuple[str, int] = ("", 0), do: object = None) -> None:
        """One run; as the coordinator posts ``heard`` first, ``do`` is done."""
        key, roster, study = demo_key("coordinator"), self.federation.roster, self.federation.study
        keeper = StopListKeeper(
            self.hub / "stops", roster=roster, key=key, clock=lambda: self.now, allowed=[24], memory=self.hub / KNOWN
        )
        with AuditLog.open(self.hub / LOG_NAME, origin=log_origin(study.id, "coordinator"), key=key) as log:
            coordinator = Coordinator(
                self.channel, study=study, roster=roster, key=key, log=log, clock=lambda: self.now,
                runs=self.hub / "runs", stops=keeper,
                progress=lambda stage, done, total: do() if (stage, done) == heard and callable(do) else None,
            )  # fmt: skip
            plan = self.federation.plan(METHOD)
            coordinator.run("apart", coordinator.offer(METHOD, plan), plan)

    def bodies(self) -> list[tuple[Body, list[str]]]:
        """What was posted, and by name what went along of stops."""
        found = []
        for _, data in self.channel.posted:
            parts = [part.name for part in SignedMessage.from_bytes(data).header.parts]
            found.append((body_of(data), [name for name in parts if name.startswith("stops:")]))
        return found


@pytest.fixture
def apart(study: Path, tmp_path: Path) -> Iterator[Apart]:
    made = Apart(study, tmp_path / "hub")
    yield made
    made.federation.close()


def test_a_site_elsewhere_has_the_list_from_the_offer_on(apart: Apart) -> None:
    apart.run()
    here, there = (folder / "stops" / "list.dsse.json" for folder in (apart.study, apart.hub))
    assert here.read_bytes() == there.read_bytes()
    # once, for nothing of it changed
    assert {body.kind for body, brought in apart.bodies() if brought} == {"offer"}


@pytest.mark.proof
def test_a_list_that_would_grow_old_is_brought_anew(apart: Apart) -> None:
    def later() -> None:
        apart.now += timedelta(hours=13)

    apart.run(("steps", 2), later)
    kinds = [(body.kind, getattr(body, "step", 0)) for body, brought in apart.bodies() if brought]
    assert list(dict.fromkeys(kinds)) == [("offer", 0), ("step", 3)]


def test_an_order_that_lies_at_the_coordinator_alone_stops_every_site_before_its_next_step(apart: Apart) -> None:
    order = sign_statement(
        stop_statement(
            role="legal", subjects=[Subject("study.yaml", apart.federation.study.digest)], reason="INCIDENT",
            issued=NOW, person="person-legal",
        ),
        [person_key("legal")],
    )  # fmt: skip

    def stop() -> None:
        (apart.hub / "stops" / "stop.dsse.json").write_bytes(write_envelopes([order]))

    with pytest.raises(Refused) as caught:
        apart.run(("steps", 2), stop)
    assert caught.value.code == "STOPPED"
    assert order.to_bytes() in [path.read_bytes() for path in (apart.study / "stops").iterdir()]
    for site in SITES:
        steps = [entry["data"]["step"] for entry in entries(apart.federation, site, "step.started")]
        assert steps == [1, 2]


def test_without_what_is_brought_no_site_begins(apart: Apart) -> None:
    """So a coordinator that brings nothing gets nothing: the positive control of this file."""

    def nothing(site: str, message: SignedMessage, data: bytes) -> bytes:
        return resigned(message, parts={name: None for name in parts_of(message) if name.startswith("stops:")})

    apart.channel.change = nothing
    with pytest.raises(Refused) as caught:
        apart.run()
    assert caught.value.code == "FACT_MISSING"  # how old the list of stops is
    assert not (apart.study / "stops").exists()
