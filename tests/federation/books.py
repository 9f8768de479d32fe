"""What the parties' own books say: ledger rows, log entries and the coordinator's state. Shared by tests of runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sekisho.core.engines.channel import Channel
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.pilot.federation import Federation
from sekisho.privacy.accounting.ledger import Ledger

from .study_folder import HashedFeatures

Wrap = Callable[[EmbeddedChannel], Channel]


class Features(Protocol):
    """What ``Federation.open`` takes for texts -> rows."""

    width: int


@dataclass(frozen=True)
class Spent:
    """One site's ledger of one run: steps started, disclosed, its state, and the charge in costs of a step."""

    started: int
    disclosed: int
    state: str
    charged: float


def open_federation(
    study: Path, wrap: Wrap | None = None, *, features: Features | None = None, **more: Any
) -> Federation:
    """All parties of ``study``, on hashed words in place of the transformer."""
    rows: Any = features or HashedFeatures()
    return Federation.open(study, features=rows, wrap=wrap or (lambda channel: channel), **more)


def spent(ledger: Ledger) -> Spent:
    """What ``ledger`` says of its only run; all costs zero where no run was reserved."""
    balance = ledger.balance()
    if not balance.runs:
        return Spent(0, 0, "none", 0.0)
    (row,) = balance.runs
    assert balance.spent_max == balance.spent_min  # everybody admitted pays alike
    return Spent(row.started, row.disclosed, row.state, balance.spent_max / row.step_cost)


def books(federation: Federation) -> dict[str, Spent]:
    """``spent`` of every site."""
    return {name: spent(site.folder.ledger) for name, site in federation.sites.items()}


def entries(federation: Federation, party: str, kind: str) -> list[dict[str, Any]]:
    """Log entries of ``kind`` at one party, oldest first."""
    log = federation.coordinator_log if party == "coordinator" else federation.sites[party].folder.log
    return [entry for entry in map(json.loads, log.entries()) if entry["type"] == kind]


def steps_of(federation: Federation, party: str, kind: str) -> list[int]:
    """The steps that entries of ``kind`` name, in order."""
    return [entry["data"]["step"] for entry in entries(federation, party, kind)]
