"""What the coordinator sees besides ciphertext is the same whatever the data are: kinds, order, sizes, numbers, codes.

Two runs of one study on different data are compared message by message. Hashes, keys, MACs and ciphertext differ in
every run (test_coordinator_view.py looks into those); everything else must be equal.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sekisho.core.gate.gate import Gate
from sekisho.core.gate.sealed import Sealed
from sekisho.core.messages import SignedMessage
from sekisho.core.training.update import Update

from ..federation import study_folder
from ..federation.books import Spent
from ..federation.study_folder import SITES
from .conftest import Earlier
from .hostile import Attack, attack

VICTIM = "hana"
LONG_AGO = datetime(2026, 10, 15, tzinfo=UTC)

Shape = tuple[str, str, int, tuple[int, ...], tuple[tuple[str, int | str], ...]]


def shape(site: str, message: SignedMessage) -> Shape:
    """All of a message that is neither hash, key, MAC, ciphertext nor run id: who, what, how long, and every number."""
    parts = tuple(part.length for part in message.header.parts)
    kept = tuple(plain(message.body.model_dump(mode="json")))
    length = len(message.header_bytes) - len(message.header.run)
    return site, message.body.kind, length, parts, kept


def plain(value: Any, name: str = "") -> list[tuple[str, int | str]]:
    """Numbers, short words and decimals, each with its place; long hexadecimal text only by its length."""
    if isinstance(value, dict):
        return [found for key in sorted(value) for found in plain(value[key], f"{name}/{key}")]
    if isinstance(value, list):
        return [found for place, item in enumerate(value) for found in plain(item, f"{name}/{place}")]
    return [(name, len(value) if isinstance(value, str) and len(value) > 32 else value)]


def shapes(received: list[tuple[str, SignedMessage]] | tuple[tuple[str, SignedMessage], ...]) -> list[Shape]:
    return [shape(site, message) for site, message in received]


def received_by(ongoing: Attack) -> list[tuple[str, SignedMessage]]:
    return [(site, SignedMessage.from_bytes(data)) for site, data in ongoing.channel.received]


def never(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
    return None


def few_people_one_label(home: Path, site: str) -> None:
    rows = [
        {
            "id": f"{site}-long-record-number-{number}",
            "subject": f"{site}-c{number:03d}",
            "product": "P2",
            "text": "quite another text " * (1 + 20 * number),
            "label": "dissatisfied",
        }
        for number in range(4)
    ]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (home / "records.jsonl.gz").write_bytes(gzip.compress(data, mtime=0))


def many_records_of_one_person(home: Path, site: str) -> None:
    rows = [
        {"id": f"r{number}", "subject": f"{site}-c000", "product": "P", "text": f"t{number}", "label": "satisfied"}
        for number in range(200)
    ]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (home / "records.jsonl.gz").write_bytes(gzip.compress(data, mtime=0))


def hardly_any_consent(home: Path, site: str) -> None:
    kinds = ("withdrawn", "expired", "never-asked", "objected")
    study_folder.write_consents(home / "consent.jsonl", site, lambda number: kinds[number % 4] if number else "granted")


@pytest.mark.parametrize("spoil", [few_people_one_label, many_records_of_one_person, hardly_any_consent])
def test_other_data_look_the_same(study: Path, earlier_run: Earlier, spoil: Callable[[Path, str], None]) -> None:
    for site in SITES[:3]:
        spoil(study / "sites" / site, site)
    with attack(study, never, run="another") as ongoing:
        assert ongoing.result is not None
        assert shapes(received_by(ongoing)) == shapes(earlier_run.received)


def test_a_whole_site_that_withdraws_in_the_middle_goes_on_sending_charged_noise(
    study: Path, earlier_run: Earlier, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates: dict[tuple[str, int], bool] = {}
    disclose = Gate.disclose

    def noted(gate: Gate, update: Update, **named: Any) -> Sealed:
        sealed = disclose(gate, update, **named)
        updates[sealed.message.header.sender, update.step] = bool(np.any(update.clipped.total))
        return sealed

    monkeypatch.setattr(Gate, "disclose", noted)

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site == VICTIM and message.body.kind == "step" and message.body.step == 2:
            folder = ongoing.federation.sites[VICTIM].folder
            for subject in folder.dataset().subjects:
                folder.register.withdraw(subject, LONG_AGO)
        return None

    with attack(study, change, run="another") as ongoing:
        assert ongoing.result is not None and ongoing.result.state_macs_agree
        # from step 2 on nobody's data are in the victim's share
        assert updates == {(site, step): site != VICTIM or step == 1 for site in SITES for step in (1, 2, 3)}
        # charged like everybody, and nothing that the coordinator saw differs from a run in which nobody withdrew
        assert ongoing.books() == dict.fromkeys(SITES, Spent(3, 3, "closed", 3))
        assert shapes(received_by(ongoing)) == shapes(earlier_run.received)


def test_the_comparison_sees_a_count(earlier_run: Earlier) -> None:
    # Control: one ledger entry more in one frame, one byte more in one header, one message more is another shape.
    frames = [message for _, message in earlier_run.received if message.body.kind == "frame"]
    body = frames[0].body
    more = body.model_copy(update={"head": body.head.model_copy(update={"entries": body.head.entries + 1})})
    header = frames[0].header.model_copy(update={"body": more})
    counted = SignedMessage(frames[0].header_bytes, frames[0].signature, frames[0].payload, header)
    assert shape("hana", counted) != shape("hana", frames[0])
