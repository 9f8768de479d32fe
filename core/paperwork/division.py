"""Who goes where: rows -> the records of each site, and the public test set. Pure, and the same every time.

For: ``sekisho study new``. Not for: reading files (table.py) or writing them (draft.py).

A subject goes to one place whole, by a hash of its own name, so that nobody's place depends on anybody else and a
second draft of the same table gives the same study. Whoever the test set takes is public from then on.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..errors import BadInputError
from ..study import LEAST_SITES
from .table import Row, Table

DEFAULT_TEST_SHARE = 20  # per cent of the subjects: the usual fifth
LEAST_SUBJECTS = 10  # of a site: below, its declared number says something about single people
LEAST_OF_A_LABEL = 10  # test records of each label: below, an AUC's 95 % interval is wider than 0.4


@dataclass(frozen=True)
class Division:
    """``records`` by site, ``test``, and how many test rows were left out because training has the same text."""

    records: Mapping[str, tuple[Row, ...]]
    test: tuple[Row, ...]
    left_out: int

    def subjects(self, site: str) -> int:
        """How many subjects a site has."""
        return len({row.subject for row in self.records[site]})


def divide(table: Table, sites: Sequence[str], *, share: int, test: Table | None) -> Division:
    """Split a table over ``sites``; ``share`` per cent of the subjects are the test set, unless ``test`` is one.

    Raises:
        BadInputError: SUBJECT_AT_TWO_SITES, SITE_TOO_FEW_SUBJECTS, TEST_SET_TOO_SMALL.
    """
    # 1. no subject stands at two sites: the study declares so
    home: dict[str, str] = {}
    for row in table.rows:
        site = row.site if table.has_sites else sites[int(_draw("site", row.subject) * len(sites))]
        if home.setdefault(row.subject, site) != site:
            raise BadInputError(
                "SUBJECT_AT_TWO_SITES",
                f"line {row.line}: the row's subject stands at another site as well",
                "the draft is for people who are at one site; leave the rows of one site out, or name --subject",
            )
    # 2. the test set takes subjects whole
    public = {subject for subject in home if test is None and _draw("test", subject) * 100 < share}
    records: dict[str, list[Row]] = {site: [] for site in sites}
    for row in table.rows:
        if row.subject not in public:
            records[home[row.subject]].append(row)
    chosen = test.rows if test is not None else [row for row in table.rows if row.subject in public]
    # 3. a text that was trained on measures memory, not skill
    known = {row.text.strip() for rows in records.values() for row in rows}
    kept = tuple(row for row in chosen if row.text.strip() not in known)
    division = Division(
        MappingProxyType({site: tuple(rows) for site, rows in records.items()}), kept, len(chosen) - len(kept)
    )
    _check_sizes(division, table.labels, given=test is not None)
    return division


def _check_sizes(division: Division, labels: Sequence[str], *, given: bool) -> None:
    ways = ["take more data"]
    if not given:
        ways.append("give public test records with --test: then nobody is taken out")
    if len(division.records) > LEAST_SITES:
        ways.append(f"name fewer sites ({LEAST_SITES} at least)")
    for site in division.records:
        if division.subjects(site) < LEAST_SUBJECTS:
            raise BadInputError(
                "SITE_TOO_FEW_SUBJECTS",
                f"{site}: {division.subjects(site)} subjects are left for training and a site needs {LEAST_SUBJECTS}",
                ", or ".join(ways),
            )
    count = Counter(row.label for row in division.test)
    least = min(count[label] for label in labels)
    if least < LEAST_OF_A_LABEL:
        raise BadInputError(
            "TEST_SET_TOO_SMALL",
            f"the test set has {least} records of one label and needs {LEAST_OF_A_LABEL}",
            "raise --test-share, or give a test set of its own with --test",
        )


def rounded_up(count: int) -> int:
    """A public number of subjects: up to the next multiple of ten, of 50 from 100 on, of 500 from 1000 on."""
    step = max(10, 5 * int(10 ** (len(str(count)) - 2)))
    return -(-count // step) * step


def majority(rows: Sequence[Row]) -> tuple[int, int]:
    """How many of the test records have the more frequent label, and how many there are: both are public."""
    return max(Counter(row.label for row in rows).values()), len(rows)


def _draw(purpose: str, subject: str) -> float:
    """A number in [0, 1) that depends on the subject's name alone."""
    text = f"sekisho study new\n{purpose}\n{subject}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64
