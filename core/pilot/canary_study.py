"""A study of canaries in a folder, with everything that a study needs, signed with published keys: what audits run on.

For: the audits of deep.py, which put the real sites, gates, ledgers and coordinator to work on subjects that nobody is.
Not for: anybody's data, and not for anything that outlives a temporary folder: demo keys are known to everyone.

A canary is a subject whose gradient is one coordinate, its own, about a thousand times longer than C: what the real
probe makes of a text whose features are one large number (``CanaryFeatures``). With two records each, a bound that
holds for records only would show.

Order of calls: ``write_study`` -> ``Federation.open(folder, features=CanaryFeatures(design.width))``.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from ...governance.canonical import digest_bytes
from ...governance.policy.policy import Policy
from ...governance.policy.signoff import shown
from ...governance.provenance.disclosure import BaseModelRecord
from ...governance.signing.approvals import Shown, approval_statement
from ...governance.signing.envelope import PREDICATES, Envelope, Subject, sign_statement, write_envelopes
from ...governance.signing.keys import demo_key
from ...governance.signing.roster import Roster, roster_statement
from ..data.intake import CONFIG, WEIGHTS
from ..parties import key_path
from ..site.papers import SIGNATURES
from ..study import Study

OBSERVER = "observer"  # has no canary: what it opens is what others' subjects leave behind
KEEPERS = ("keeper-a", "keeper-b")  # whose subjects the canaries are
COORDINATOR = "coordinator"
PEOPLE = ("legal", "it", "business")
LENGTH = 2000.0  # of a canary's features; its gradient is about half of it, and C is 1
TEMPLATES = Path(__file__).parent.parent / "templates" / "audit"
BEGINS, ENDS = datetime(2020, 1, 1, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC)


@dataclass(frozen=True)
class Design:
    """What an audit runs on: ``canaries`` spread over the keepers, and ``spare`` coordinates that nobody touches.

    ``keepers`` are sites with canaries; the observer makes one more. ``records`` are those of each canary.
    """

    epsilon: str
    steps: int
    canaries: int
    spare: int = 0
    records: int = 2
    keepers: tuple[str, ...] = KEEPERS
    minimum_sites: int = 3

    @property
    def width(self) -> int:
        """Features of a text."""
        return self.canaries + self.spare

    @property
    def sites(self) -> tuple[str, ...]:
        """All sites, in order."""
        return tuple(sorted((*self.keepers, OBSERVER)))

    def keeper_of(self, canary: int) -> str:
        """Whose subject a canary is, whether it takes part or not."""
        return self.keepers[canary % len(self.keepers)]


@dataclass(frozen=True)
class CanaryFeatures:
    """"canary 17" -> a row that is ``LENGTH`` at 17 and zero elsewhere; any other text -> zeros."""

    width: int

    def of(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """float64 [n, width]."""
        rows = np.zeros((len(texts), self.width))
        for row, text in zip(rows, texts, strict=True):
            word, _, number = text.partition(" ")
            if word == "canary":
                row[int(number)] = LENGTH
        return rows


def write_study(folder: Path, design: Design, member: NDArray[np.bool_]) -> None:
    """Everything below ``folder``: keys, roster, papers and signatures, and records of those canaries that are in.

    ``member`` bool [canaries] says which.
    """
    # 1. keys that everybody can compute, and a base model of one number
    (folder / "keys").mkdir(parents=True)
    for name in (*design.sites, COORDINATOR, *map(_pseudonym, PEOPLE)):
        demo_key(name).save(key_path(folder, name, demo=True), None)
    digest = _write_base_model(folder / "base-model")
    # 2. papers
    _write(folder / "roster.yaml", _roster_text(design))
    roster = Roster.parse((folder / "roster.yaml").read_bytes(), "roster.yaml")
    statement = roster_statement(roster, file="roster.yaml")
    _sign(folder / "roster.yaml", [sign_statement(statement, [demo_key(site)]) for site in design.sites])
    _write(folder / "study.yaml", _filled("study.yaml", _study_values(design, digest)))
    study = Study.parse((folder / "study.yaml").read_bytes(), "study.yaml")
    _approve(roster, folder / "study.yaml", {study.digest, study.canonical_digest}, "study-approval")
    _write(folder / "base-model.yaml", _filled("base-model.yaml", {"digest": digest}))
    record = BaseModelRecord.parse((folder / "base-model.yaml").read_bytes(), "base-model.yaml")
    _approve(roster, folder / "base-model.yaml", {record.bytes_digest, record.canonical_digest}, "base-model")
    # 3. each site's policy, records and consents
    for site in design.sites:
        path = folder / "sites" / site / "policy.yaml"
        _write(path, _filled("policy.yaml", {"site": site, "digest": digest}))
        policy = Policy.parse(path.read_bytes(), path.name)
        digests = {policy.bytes_digest, policy.canonical_digest}
        _approve(roster, path, digests, "policy-approval", seen=shown(policy, None))
        own = [k for k in range(design.canaries) if member[k] and design.keeper_of(k) == site]
        texts = [f"canary {number}" for number in own] or ["nobody"]
        _write_records(path.parent, study, texts, copies=design.records)


def _write_records(home: Path, study: Study, texts: Sequence[str], *, copies: int) -> None:
    subjects = [text.replace(" ", "-") for text in texts]
    records = [
        {"id": f"{subject}-{copy}", "subject": subject, "text": text, "label": study.labels[0]}
        for subject, text in zip(subjects, texts, strict=True)
        for copy in range(copies)
    ]
    (home / "records.jsonl.gz").write_bytes(gzip.compress(_lines(records), compresslevel=1, mtime=0))
    consents = [
        {"subject": subject, "scope": study.legal_basis_scope, "event": "granted", "at": BEGINS.isoformat(),
         "expires": None, "notice": "audit"}
        for subject in subjects
    ]  # fmt: skip
    (home / "consent.jsonl").write_bytes(_lines(consents))


def _lines(rows: Iterable[Mapping[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode("utf-8")


def _write_base_model(folder: Path) -> str:
    """A safetensors file of one number, with the two files that belong to one; returns the digest of the weights."""
    folder.mkdir()
    header = json.dumps({"nothing": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode("utf-8")
    weights = struct.pack("<Q", len(header)) + header + bytes(4)
    (folder / WEIGHTS).write_bytes(weights)
    config = {"architectures": ["None"], "hidden_size": 1, "intermediate_size": 1, "num_hidden_layers": 1}
    (folder / CONFIG).write_text(json.dumps(config), "utf-8")
    (folder / "tokenizer.json").write_text("{}", "utf-8")
    return digest_bytes(weights)


def _study_values(design: Design, digest: str) -> dict[str, str]:
    # declared, public and round: as many as there could be
    declared = max(1, -(-design.canaries // len(design.keepers)))
    return {
        "sites": ", ".join(design.sites),
        "minimum_sites": str(design.minimum_sites),
        "records": str(design.records),
        "subjects": ", ".join(f"{site}: {declared if site in design.keepers else 1}" for site in design.sites),
        "digest": digest,
        "epsilon": design.epsilon,
        "steps": str(design.steps),
    }


def _roster_text(design: Design) -> str:
    def party(name: str, kind: str) -> str:
        key = demo_key(name).public.to_text()
        return (
            f"  - {{id: {name}, name: {{en: {name}, ja: {name}}}, kind: {kind}, controller: {name}-owner, country: JP, "
            f'key: "{key}", demo: true}}\n'
        )

    def person(role: str) -> str:
        name = _pseudonym(role)
        key = demo_key(name).public.to_text()
        return (
            f'  - {{pseudonym: {name}, roles: [{role}], keys: ["{key}"], acts_for: [{", ".join(design.sites)}], '
            "demo: true}\n"
        )

    return (
        "schema: sekisho-roster/1\nversion: 1\ndemo: true\n"
        f'created: "{BEGINS.isoformat()}"\nexpires: "{ENDS.isoformat()}"\nparties:\n'
        + "".join(party(site, "site") for site in design.sites)
        + party(COORDINATOR, COORDINATOR)
        + "people:\n"
        + "".join(person(role) for role in PEOPLE)
        + f"roles: {{{', '.join(f'{role}: 1' for role in PEOPLE)}}}\n"
    )


def _approve(roster: Roster, path: Path, digests: set[str], kind: str, seen: Shown | None = None) -> None:
    subjects = [Subject(f"{path.name}.{number}", digest) for number, digest in enumerate(sorted(digests))]
    envelopes = [
        sign_statement(
            approval_statement(
                roster, role=role, subjects=subjects, predicate_type=PREDICATES[kind], issued=BEGINS, expires=ENDS,
                shown=seen,
            ),
            [demo_key(_pseudonym(role))],
        )
        for role in ("legal", "it")
    ]  # fmt: skip
    _sign(path, envelopes)


def _sign(path: Path, envelopes: Sequence[Envelope]) -> None:
    path.with_name(path.name + SIGNATURES).write_bytes(write_envelopes(envelopes))


def _pseudonym(role: str) -> str:
    return f"person-{role}"


def _filled(name: str, values: Mapping[str, str]) -> str:
    return Template((TEMPLATES / name).read_text("utf-8")).substitute(values)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
