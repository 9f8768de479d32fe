"""A new study from one table: every file that ``sekisho pilot`` reads, filled in and unsigned.

For: ``sekisho study new``. Not for: signing (signing.py), reading a study (site/papers.py), deciding anything: figures
and words that only a person can give stand in the templates (core/templates/study/), marked DECIDE.

Order of calls: ``draft_study(Request(...), now=...)`` -> ``Drafted``. Either the whole folder is there afterwards, or
nothing: it is written beside its place, read back by the same code that the pilot uses, and renamed.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.canonical import digest_bytes
from ...governance.signing.envelope import write_time
from .asking import Consented, Request, check_request, law_of, study_id
from .decisions import to_decide
from .division import Division, divide
from .filling import papers, scope_of
from .model import draft_model
from .table import Columns, Table, read_table


@dataclass(frozen=True)
class Drafted:
    """What was written, for the person who asked. Exact counts: this person holds the whole table."""

    folder: Path
    labels: tuple[str, ...]
    has_subjects: bool
    has_sites: bool
    subjects: Mapping[str, int]
    records: Mapping[str, int]
    test: int
    left_out: int
    to_decide: int


def draft_study(request: Request, *, now: datetime) -> Drafted:
    """Write the folder of a new study. Raises ``BadInputError`` and the codes of table, division, model and intake."""
    # 1. names, before anything is read
    study = study_id(request.folder)
    check_request(request)
    law = law_of(request)
    # 2. the data, and who goes where
    table = read_table(request.table, request.columns, sites=request.sites, separator=request.separator)
    test = _read_test(request, table)
    division = divide(table, request.sites, share=request.test_share, test=test)
    # 3. everything beside its place, then its place
    folder = request.folder.resolve()
    beside = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        model = draft_model(request.base_model, beside, licence=request.licence)
        digest = _write_data(request, division, beside, scope=scope_of(study))
        texts = papers(request, study, law, table, division, model, test_digest=digest, now=now)
        for name, text in texts.items():
            (beside / name).write_text(text, "utf-8")
        if folder.exists():  # empty, as was checked, and perhaps somebody stands in it
            for path in list(beside.iterdir()):
                os.replace(path, folder / path.name)
        else:
            os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Drafted(
        request.folder,
        table.labels,
        table.has_subjects,
        table.has_sites,
        {site: division.subjects(site) for site in request.sites},
        {site: len(division.records[site]) for site in request.sites},
        len(division.test),
        division.left_out,
        sum(to_decide(text) for text in texts.values()),
    )


def _write_data(request: Request, division: Division, folder: Path, *, scope: str) -> str:
    """Write records, consents and the test set; returns the digest of the last, which the study names."""
    for site, rows in division.records.items():
        home = folder / "sites" / site
        home.mkdir(mode=0o700, parents=True)
        _write_private(
            home / "records.jsonl.gz",
            _packed({"id": row.id, "subject": row.subject, "text": row.text, "label": row.label} for row in rows),
        )
        events = _consents(sorted({row.subject for row in rows}), request.consented, scope)
        _write_private(home / "consent.jsonl", _lines(events))
    # ids of the table may name an order or a person; a public file gets numbers of its own
    test = ({"id": f"test-{n:06d}", "text": row.text, "label": row.label} for n, row in enumerate(division.test, 1))
    data = _packed(test)
    (folder / "test.jsonl.gz").write_bytes(data)
    return digest_bytes(data)


def _consents(subjects: Iterable[str], consented: Consented | None, scope: str) -> list[dict[str, str | None]]:
    """The events that a person declared; none where nobody did."""
    if consented is None:
        return []
    at, notice = write_time(consented.at), consented.notice
    return [
        {"subject": subject, "scope": scope, "event": "granted", "at": at, "expires": None, "notice": notice}
        for subject in subjects
    ]


def _lines(rows: Iterable[Mapping[str, str | None]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")


def _packed(rows: Iterable[Mapping[str, str | None]]) -> bytes:
    return gzip.compress(_lines(rows), compresslevel=9, mtime=0)


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _read_test(request: Request, table: Table) -> Table | None:
    if request.test is None:
        return None
    columns = Columns(text=request.columns.text, label=request.columns.label)
    return read_table(request.test, columns, separator=request.separator, labels=table.labels)
