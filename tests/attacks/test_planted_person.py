"""A person is planted at a site and looked for everywhere: after all that a study does, and after their erasure.

Everything that leaves a site or is kept there is looked at as raw bytes: frames, logs, reports, exports, what commands
print, refusals, database pages and journals. Before the erasure the person stands in the site's own input files and
in its vault alone; afterwards nowhere.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sekisho.core.engines.channel import Reply
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.pilot.pilot import run_pilot
from sekisho.core.pilot.remedies import carry_out
from sekisho.governance.evidence import verifier

from ..federation import study_folder
from ..federation.command import Ended, sekisho_here
from ..federation.study_folder import SCOPE, HashedFeatures
from .planted import files_below, search, writings

HOME = "ame"
SUBJECT = "planted-zq81-subject"
RECORD = "planted-zq81-record"
NAME = "Wilhelmina Quastenflosser"
MAIL = "w.quastenflosser@planted.example"
TEXT = "the kumquat marmalade arrived upside down"
CANARIES = (SUBJECT, RECORD, NAME, MAIL, TEXT)
Capture = pytest.CaptureFixture[str]


class Quiet:
    """A listener; what it is told is looked at, too."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, text: str = "") -> None:
        self.heard.append(text)

    def progress(self, stage: str, done: int, total: int) -> None:
        self.heard.append(stage)


@dataclass
class Seen:
    """Everything that went over the channel, and everything that a command printed."""

    things: dict[str, bytes] = field(default_factory=dict)

    def add(self, name: str, data: bytes) -> None:
        self.things[f"{len(self.things)} {name}"] = data

    def printed(self, ended: Ended) -> Ended:
        self.add("printed", (ended.out + ended.err).encode())
        return ended


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Watches the engine's own interface."""
    kept = Seen()
    post, poll = EmbeddedChannel.post, EmbeddedChannel.poll

    def posting(self: EmbeddedChannel, site: str, message: bytes, ttl: float) -> int:
        kept.add("posted", bytes(message))
        return post(self, site, message, ttl)

    def polling(self: EmbeddedChannel) -> tuple[Reply, ...]:
        replies = poll(self)
        for reply in replies:
            kept.add("received", bytes(reply.data or b""))
        return replies

    monkeypatch.setattr(EmbeddedChannel, "post", posting)
    monkeypatch.setattr(EmbeddedChannel, "poll", polling)
    return kept


def rows(path: Path) -> list[bytes]:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()


def write(path: Path, lines: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def plant(home: Path) -> None:
    """Three records and a consent of the person among everybody else's."""
    records, consents = home / "records.jsonl.gz", home / "consent.jsonl"
    own = [
        {"id": f"{RECORD}-{n}", "subject": SUBJECT, "product": "P1", "label": ("dissatisfied", "satisfied")[n % 2],
         "text": f"{TEXT}; write to {NAME}, {MAIL}"}
        for n in range(3)
    ]
    consent = {"subject": SUBJECT, "scope": SCOPE, "event": "granted", "at": "2026-10-01T00:00:00+00:00",
               "expires": None, "notice": "test/notice"}
    write(records, [*rows(records), *(json.dumps(row).encode() for row in own)])
    write(consents, [*rows(consents), json.dumps(consent).encode()])


def unplant(home: Path) -> None:
    """The site takes the person out of its own files."""
    for path in (home / "records.jsonl.gz", home / "consent.jsonl"):
        write(path, [line for line in rows(path) if SUBJECT.encode() not in line])


def refusals(study: Path, seen: Seen, capsys: Capture) -> None:
    """Everything that is refused over this person's own rows."""
    home = study / "sites" / HOME
    consents, records = home / "consent.jsonl", home / "records.jsonl.gz"
    good = consents.read_bytes()
    for bad in (
        {"subject": MAIL, "scope": SCOPE, "event": "granted", "at": "2026-10-01T00:00:00Z", "expires": None,
         "notice": "n"},
        {"subject": SUBJECT, "scope": SCOPE, "event": NAME, "at": "2026-10-01T00:00:00Z", "expires": None,
         "notice": TEXT},
    ):
        consents.write_bytes(good + json.dumps(bad).encode() + b"\n")
        ended = seen.printed(sekisho_here(capsys, "site", "consent", HOME, "--study", study))
        assert ended.exit in (2, 3)
    consents.write_bytes(good)
    kept = records.read_bytes()
    for field_name, value in (("label", NAME), ("text", 7), ("subject", "")):
        row = {"id": RECORD, "subject": SUBJECT, "text": f"{TEXT} {MAIL}", "label": "satisfied", field_name: value}
        write(records, [*rows(records), json.dumps(row).encode()])
        assert seen.printed(sekisho_here(capsys, "pilot", study, "--out", study.parent / "refused")).exit in (2, 3)
        records.write_bytes(kept)
    for words in (("withdraw", HOME, f"{SUBJECT}-unknown"), ("withdraw", HOME, MAIL), ("withdraw", "nobody", SUBJECT)):
        assert seen.printed(sekisho_here(capsys, "site", *words, "--study", study)).exit in (2, 3)


def everything_that_a_study_does(study: Path, out: Path, seen: Seen, capsys: Capture) -> str:
    """A pilot with report and exports, views, a withdrawal and its remedy; returns the evidence's root."""
    listener = Quiet()
    finished = run_pilot(study, out, listener, features=HashedFeatures())  # type: ignore[arg-type]
    for words in (
        ("site", "consent", HOME, "--study", study),
        ("site", "budget", HOME, "--study", study),
        ("study", "status", study),
        ("site", "withdraw", HOME, SUBJECT, "--study", study),
        ("site", "withdraw", HOME, SUBJECT, "--study", study, "--reason", "objection", "--json"),
        ("site", "remedies", HOME, "--study", study),
    ):
        assert seen.printed(sekisho_here(capsys, *words)).exit == 0
    for settled in carry_out(study, listener, features=HashedFeatures()):  # type: ignore[arg-type]
        seen.add("settled", repr(settled).encode())
    exported = seen.printed(
        sekisho_here(capsys, "compliance", "export", study, "--out", out / "again.zip", "--provenance", out / "adapter")
    )
    assert exported.exit == 0, exported.err
    seen.add("told", "\n".join(listener.heard).encode())
    return finished.evidence.root


def test_a_planted_person_stands_in_the_vault_alone_and_after_an_erasure_nowhere(
    study: Path, tmp_path: Path, seen: Seen, capsys: Capture
) -> None:
    home, out = study / "sites" / HOME, tmp_path / "out"
    study_folder.change(home / "policy.yaml", "released_adapter: notify-and-review",
                        "released_adapter: retrain-from-base")
    study_folder.sign_policy(study, HOME)
    plant(home)
    refusals(study, seen, capsys)
    root = everything_that_a_study_does(study, out, seen, capsys)
    # 1. before: the site's own files, and the vault; nothing that left or was printed
    own = {str(home / "records.jsonl.gz"): set(CANARIES), str(home / "consent.jsonl"): {SUBJECT}}
    vault = {str(path) for path in (home / "state").glob("consent.sqlite*")}
    found = search(CANARIES, files_below(tmp_path))
    assert {name: hits for name, hits in found.items() if name not in vault} == own
    assert search(CANARIES, seen.things) == {}
    assert sum(name.endswith("received") for name in seen.things) > 100
    # 2. an erasure is not finished while the site's own files could bring the person back
    unfinished = seen.printed(sekisho_here(capsys, "site", "erase", HOME, SUBJECT, "--study", study))
    assert unfinished.exit == 3 and "records.jsonl.gz" in unfinished.err and "consent.jsonl" in unfinished.err
    unplant(home)
    finished = seen.printed(sekisho_here(capsys, "site", "erase", HOME, SUBJECT, "--study", study))
    assert finished.exit == 0, finished.err
    # 3. after: nowhere, in pages, journals and what the commands said
    assert search(CANARIES, files_below(tmp_path)) == {}
    assert search(CANARIES, seen.things) == {}
    # 4. what was written before is as verifiable as it was
    again = sekisho_here(capsys, "compliance", "export", study, "--out", out / "after.zip", "--provenance",
                         out / "adapter")
    assert again.exit == 0, again.err
    for bundle in ("evidence.zip", "again.zip", "after.zip"):
        assert verifier.verify((out / bundle).read_bytes(), root).name == "verified"


@pytest.mark.parametrize("canary", CANARIES)
def test_the_search_finds_what_is_there(tmp_path: Path, canary: str) -> None:
    """Control: in every writing, packed and packed again, in a free page of a database and in its journal."""
    for number, form in enumerate(writings(canary)):
        assert search([canary], {"x": b"before " + form + b" after"}) == {"x": {canary}}, number
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x" * 5000 + canary.encode()))
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(tmp_path / "a.gz", "inner/a.gz")
    database = sqlite3.connect(tmp_path / "c.sqlite", isolation_level=None)
    database.execute("PRAGMA secure_delete = OFF")
    database.execute("CREATE TABLE t (v TEXT)")
    database.executemany("INSERT INTO t VALUES (?)", [(canary * 20,)] * 200)
    database.execute("DELETE FROM t")
    database.close()
    assert {Path(name).name for name in search([canary], files_below(tmp_path))} == {"a.gz", "b.zip", "c.sqlite"}
