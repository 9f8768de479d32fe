"""The example's probe with its customers divided among more sites: the study that scale.py measures, and one run of it.

    python benchmarks/scale_split.py FOLDER SITES STEPS [ROWS]    (writes the study, runs it, prints JSON; for scale.py)

Each maker of examples/food-quality becomes so many branches, each a site and an organisation of its own: with its
share of the maker's customers (all reviews of one stay together), its maker's policy under its own name, its own
legal and IT, its own key, ledger, log and consents. The study is the example's but for sites, least number of sites
(three of five, as there), steps and the method lora. Papers are signed with demo keys.

Everything that runs is the product's: ``Federation``, in one process, on the real base model. What a stage took is
measured at the engine's boundary (a site's ``handle`` by kind of message; the coordinator is the rest) and, within
it, by subject, around the product's own functions; the subjects exclude one another.

ROWS: a file of features that were computed before, so that what grows with the number of sites is not lost in what
does not. With SITES 0 it is made, and what that took is printed.
"""

from __future__ import annotations

import functools
import gc
import gzip
import hashlib
import importlib
import json
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scale_wire import cpu_seconds, peak_bytes, resident_bytes

from sekisho.core.engines.channel import Reply
from sekisho.core.engines.embedded import EmbeddedChannel
from sekisho.core.messages import SignedMessage
from sekisho.core.pilot.federation import Federation
from sekisho.core.site.papers import read_before
from sekisho.core.site.publish import publish
from sekisho.core.study import Study
from sekisho.core.training.features import LONGEST, ROWS, _groups
from sekisho.governance.policy.policy import Policy
from sekisho.governance.policy.signoff import shown
from sekisho.governance.provenance.disclosure import BaseModelRecord
from sekisho.governance.signing.approvals import Shown, approval_statement
from sekisho.governance.signing.envelope import PREDICATES, Subject, sign_statement, write_envelopes
from sekisho.governance.signing.keys import demo_key
from sekisho.governance.signing.roster import Roster, roster_statement

EXAMPLE = Path(__file__).parents[1] / "examples" / "food-quality"
METHOD = "probe"
SPLIT = (5, 10, 20, 50, 100)
BEGINS, ENDS = datetime(2026, 11, 1, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC)
SHARED = ("sakura", "hinoki", "kaede")  # who asks for the study, and its legal and IT
SIGNATURES = ".dsse.json"
# Whom the policy of a maker wants on the roster besides, for all its branches.
FURTHER = {"wanko": "business", "shokuhin": "compliance", "daidokoro": "data-protection"}

# What is told apart within a stage, by the product's function that does it; each where it is looked up.
SUBJECTS = (
    ("features", "core.training.features", "Features.of"),
    ("training", "core.site.step", "train_step"),
    ("masks", "core.gate.gate", "step_mask"),
    ("encrypting", "core.gate.gate", "encrypt"),
    ("opening", "core.site.opening", "open_sum"),
    ("applying", "core.training.optimizer", "Momentum.step"),
    ("witnessing", "core.site.witnessing", "SiteWatch.hear"),
    ("witnessing", "core.coordinator.witnessing", "CoordinatorWatch.hear"),
    ("deciding", "core.site.folder", "SiteFolder.standing"),
    ("deciding", "core.gate.gate", "Gate.decide"),
    ("ledger", "privacy.accounting.ledger", "Ledger.reserve"),
    ("ledger", "privacy.accounting.ledger", "Ledger.start"),
    ("ledger", "privacy.accounting.ledger", "Ledger.disclose"),
    ("ledger", "privacy.accounting.ledger", "Ledger.settle"),
    ("log", "governance.log.auditlog", "AuditLog.append"),
    ("log", "governance.log.auditlog", "AuditLog.checkpoint"),
    ("reading messages", "core.messages", "SignedMessage.from_bytes"),
    ("reading messages", "core.messages", "SignedMessage.verify"),
    ("kem", "core.site.joining", "_pair"),
    ("kem", "privacy.keys.runkeys", "JoinKeys.encapsulate"),
    ("kem", "privacy.keys.runkeys", "JoinKeys.decapsulate"),
)

Found = dict[str, Any]


class Meter:
    """Seconds by subject, exclusive: what one subject does within another is its own."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.stage = "other"
        self._open: list[str] = []
        self._since = time.process_time()

    def _turn(self) -> None:
        now = time.process_time()
        subject = self._open[-1] if self._open else "rest"
        self.cpu[f"{self.stage}: {subject}"] += now - self._since
        self._since = now

    @contextmanager
    def of(self, subject: str) -> Any:
        """What is done meanwhile is of ``subject``."""
        self._turn()
        self._open.append(subject)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def enter(self, stage: str) -> None:
        """From here on another stage."""
        self._turn()
        self.stage = stage

    def around(self, subject: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, measured."""

        @functools.wraps(function)
        def measured(*arguments: Any, **named: Any) -> Any:
            with self.of(subject):
                return function(*arguments, **named)

        return measured

    def watch(self) -> None:
        """Measure every function of ``SUBJECTS`` where it is looked up."""
        for subject, module, name in SUBJECTS:
            holder: Any = importlib.import_module(f"sekisho.{module}")
            *within, last = name.split(".")
            for step in within:
                holder = getattr(holder, step)
            found = vars(holder)[last]
            if isinstance(found, classmethod):
                setattr(holder, last, classmethod(self.around(subject, found.__func__)))
            else:
                setattr(holder, last, self.around(subject, found))


class Timed:
    """``Channel`` around the embedded one: what each site's answer took, by kind of the message that asked."""

    def __init__(self, inner: EmbeddedChannel, meter: Meter) -> None:
        self._inner, self._meter = inner, meter
        self._kinds: dict[int, tuple[bytes, str]] = {}
        self.handled: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])  # by kind: answers, CPU, wall
        self.sent: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])  # by kind: messages, header, all bytes
        self._asked: list[str] = []
        self._round = ""  # step or count: both have readies

    def sites(self) -> tuple[str, ...]:
        return self._inner.sites()

    def post(self, site: str, message: bytes, ttl: float) -> int:
        held = self._kinds.get(id(message))
        if held is None or held[0] is not message:
            self._kinds.clear()
            header = int.from_bytes(message[4:8], "little")
            kind = SignedMessage.from_bytes(message[: 8 + header + 64], detached=True).body.kind
            self._round = kind if kind in ("step", "count") else self._round
            kind = f"{kind} of a {self._round}" if kind == "readies" else kind
            held = self._kinds[id(message)] = (message, kind)
            self.sent[kind][1:] = [header, len(message)]
        self.sent[held[1]][0] += 1
        self._asked.append(held[1])
        return self._inner.post(site, message, ttl)

    def poll(self) -> tuple[Reply, ...]:
        if not self._asked:
            return self._inner.poll()
        kind = self._asked.pop(0)
        self._meter.enter(f"site {kind}")
        cpu, wall = time.process_time(), time.monotonic()
        replies = self._inner.poll()
        row = self.handled[kind]
        row[0], row[1], row[2] = row[0] + 1, row[1] + time.process_time() - cpu, row[2] + time.monotonic() - wall
        self._meter.enter("coordinator")
        return replies


class Kept:
    """``FeatureSource`` that looks rows up in a file; what is not there the base model computes."""

    def __init__(self, inner: Any, path: Path) -> None:
        self._inner, self.width = inner, inner.width
        with np.load(path) as held:
            self._rows = dict(zip(held["marks"].tolist(), held["rows"], strict=True))

    def of(self, texts: Sequence[str]) -> NDArray[np.float64]:
        missing = [text for text in dict.fromkeys(texts) if mark_of(text) not in self._rows]
        if missing:
            self._rows.update(zip(map(mark_of, missing), self._inner.of(missing), strict=True))
        return np.array([self._rows[mark_of(text)] for text in texts]).reshape(-1, self.width)


def mark_of(text: str) -> str:
    """By what a text's row is found in the file."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def keep_rows(features: Any, path: Path) -> Found:
    """Compute the rows of all texts of the example, and keep them in a file; says what that took."""
    texts = [
        json.loads(line)["text"]
        for file in (*sorted(EXAMPLE.glob("sites/*/records.jsonl.gz")), EXAMPLE / "test.jsonl.gz")
        for line in gzip.decompress(file.read_bytes()).splitlines()
    ]
    texts = list(dict.fromkeys(texts))
    cpu, wall = cpu_seconds(), time.monotonic()
    np.savez(path, marks=np.array([mark_of(text) for text in texts]), rows=features.of(texts))
    found = {"texts": len(texts), "cpu": cpu_seconds() - cpu, "wall": time.monotonic() - wall}
    return {**found, "tokens": {str(sites): padded(features, sites) for sites in SPLIT}}


def padded(features: Any, sites: int) -> int:
    """Tokens in the base model's passes over the reviews, divided among so many sites: passes are full, with filler."""
    tokens = 0
    for maker in Study.parse((EXAMPLE / "study.yaml").read_bytes(), "study.yaml").sites:
        records, _, branch_of = _of_maker(maker, [str(number) for number in range(sites // 5)])
        texts: dict[str, list[str]] = defaultdict(list)
        for line in records:
            row = json.loads(line)
            texts[branch_of[row["subject"]]].append(row["text"])
        for own in texts.values():
            groups = _groups(features.encoder().tokens(own, longest=LONGEST), ROWS)
            tokens += sum(length * ROWS for length, _ in groups)
    return tokens


def measure(folder: Path, sites: int, steps: int, rows: Path | None = None) -> Found:
    """Write the study, run it once, and say what it took. Seconds, and bytes of memory as Linux counts them."""
    names = write_study(folder, sites, steps)
    meter, timed = Meter(), []
    meter.watch()

    def wrap(channel: EmbeddedChannel) -> Timed:
        timed.append(Timed(channel, meter))
        return timed[-1]

    stages: dict[str, Found] = {}

    @contextmanager
    def stage(name: str) -> Any:
        meter.enter(name)
        cpu, wall = cpu_seconds(), time.monotonic()
        yield
        gc.collect()
        stages[name] = {"cpu": cpu_seconds() - cpu, "wall": time.monotonic() - wall, "resident": resident_bytes(),
                        "handles": len(os.listdir("/proc/self/fd"))}  # fmt: skip

    with stage("base model"):  # loaded once, whatever the number of sites; its first texts load the libraries, too
        features = _features(folder)
        features.of(["one text"])
    if rows is not None:
        features = Kept(features, rows)
    with stage("opening"):
        federation = Federation.open(folder, features=features, wrap=wrap)  # type: ignore[arg-type]
    if federation.problems:
        raise SystemExit(f"not opened: {next(iter(federation.problems.items()))}")
    with stage("preflight"):
        accepted, refused = federation.preflight(METHOD)
    if refused or len(accepted) != len(names):
        raise SystemExit(f"refused: {next(iter(refused.items()))}")
    with stage("run"):
        result = federation.run(METHOD, run=f"{METHOD}-{sites}")
    if not result.state_macs_agree or len(result.state.cohort) != sites:
        raise SystemExit(f"the run did not end with one state at all sites: {federation.embedded.failures}")
    with stage("publish"):
        publish(federation.sites[min(names)], folder / "released")
    found = {
        "sites": sites,
        "steps": result.state.completed,
        "counts": len(result.state.counts),
        "abandoned": result.state.abandoned,
        "preset": result.plan.preset,
        "minimum_sites": result.plan.minimum_sites,
        "stages": stages,
        "seconds": dict(result.seconds),
        "handled": dict(timed[0].handled),
        "messages": dict(timed[0].sent),
        "subjects": {name: seconds for name, seconds in sorted(meter.cpu.items()) if seconds >= 0.005},
        "traffic": asdict(result.traffic),
        "peak": peak_bytes(),
        "disk": _disk(folder / "sites" / min(names) / "state"),
    }
    federation.close()
    gc.collect()
    found["closed"] = resident_bytes()
    return found


def _features(folder: Path) -> Any:
    from sekisho.core.data.intake import inspect, locate
    from sekisho.core.site.papers import read_study
    from sekisho.core.training.features import Features

    return Features(inspect(locate(read_study(folder).base_model, folder)))


def _disk(state: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(state.iterdir()) if path.is_file()}


# -- the study ---------------------------------------------------------------------------------------------------------


def write_study(folder: Path, sites: int, steps: int) -> tuple[str, ...]:
    """A whole signed study of so many sites below ``folder``; a multiple of five. Returns their names."""
    example = Study.parse((EXAMPLE / "study.yaml").read_bytes(), "study.yaml")
    makers = example.sites
    if sites % len(makers):
        raise SystemExit(f"{len(makers)} makers are divided alike: a multiple of {len(makers)} sites")
    branches = {maker: [f"{maker}-{number:02d}" for number in range(sites // len(makers))] for maker in makers}
    names = tuple(name for maker in makers for name in branches[maker])
    (folder / "keys").mkdir(parents=True)
    people = {name: {"legal": f"{name}-legal", "it": f"{name}-it"} for name in names}
    for name in (*names, "coordinator"):
        demo_key(name).save(folder / "keys" / f"{name}.demo.key", None)
    # 1. the roster, accepted by every site
    _write(folder / "roster.yaml", _roster(names, people))
    roster = Roster.parse((folder / "roster.yaml").read_bytes(), "roster.yaml")
    accepted = roster_statement(roster, file="roster.yaml")
    envelopes = write_envelopes([sign_statement(accepted, [demo_key(name)]) for name in names])
    (folder / f"roster.yaml{SIGNATURES}").write_bytes(envelopes)
    # 2. what all share
    for name in ("base-model.yaml", "test.jsonl.gz"):
        (folder / name).write_bytes((EXAMPLE / name).read_bytes())
    _write(folder / "study.yaml", _study(branches, example, steps))
    study = Study.parse((folder / "study.yaml").read_bytes(), "study.yaml")
    shared = {"legal": "hinoki", "it": "kaede"}
    _approve(roster, folder / "study.yaml", {study.digest, study.canonical_digest}, "study-approval", shared)
    model = BaseModelRecord.parse((folder / "base-model.yaml").read_bytes(), "base-model.yaml")
    _approve(roster, folder / "base-model.yaml", {model.bytes_digest, model.canonical_digest}, "base-model", shared)
    # 3. each branch: its maker's policy under its own name, and its share of the customers
    for maker in makers:
        _divide(folder, maker, branches[maker])
        for name in branches[maker]:
            path = folder / "sites" / name / "policy.yaml"
            text = (EXAMPLE / "sites" / maker / "policy.yaml").read_text("utf-8")
            _write(path, re.sub(rf"\b{maker}/", f"{name}/", text).replace(f"id: {maker}\n", f"id: {name}\n"))
            policy = Policy.parse(path.read_bytes(), path.name)
            seen = shown(policy, read_before(folder, name, policy))
            digests = {policy.bytes_digest, policy.canonical_digest}
            _approve(roster, path, digests, "policy-approval", people[name], seen)
    return names


def _divide(folder: Path, maker: str, branches: Sequence[str]) -> None:
    """Each customer of ``maker`` to one branch, with all reviews and consent events."""
    records, events, branch_of = _of_maker(maker, branches)

    def lines_of(lines: Iterable[bytes], branch: str) -> bytes:
        return b"".join(line for line in lines if branch_of.get(json.loads(line)["subject"]) == branch)

    for branch in branches:
        (folder / "sites" / branch).mkdir(parents=True)
        packed = gzip.compress(lines_of(records, branch), compresslevel=1, mtime=0)
        (folder / "sites" / branch / "records.jsonl.gz").write_bytes(packed)
        (folder / "sites" / branch / "consent.jsonl").write_bytes(lines_of(events, branch))


def _of_maker(maker: str, branches: Sequence[str]) -> tuple[list[bytes], list[bytes], dict[str, str]]:
    """Records and consent events of ``maker``, a line each, and the branch of each customer."""
    home = EXAMPLE / "sites" / maker
    records = gzip.decompress((home / "records.jsonl.gz").read_bytes()).splitlines(keepends=True)
    events = (home / "consent.jsonl").read_bytes().splitlines(keepends=True)
    customers = sorted({json.loads(line)["subject"] for line in records})
    return records, events, {customer: branches[place % len(branches)] for place, customer in enumerate(customers)}


def _study(branches: Mapping[str, Sequence[str]], example: Study, steps: int) -> str:
    """The example's study of so many sites, without the method lora."""
    names = [name for maker in example.sites for name in branches[maker]]
    declared = {
        name: -(-example.subjects[maker] // len(branches[maker])) for maker in example.sites for name in branches[maker]
    }
    least = example.minimum_sites * len(names) // len(example.sites)
    probe = example.settings(METHOD)
    text = (EXAMPLE / "study.yaml").read_text("utf-8")
    for pattern, new in (
        (r"(?m)^sites: \[.*\]$", f"sites: [{', '.join(names)}]"),
        (r"(?m)^minimum_sites: \d+$", f"minimum_sites: {least}"),
        (r"(?m)^subjects: \{.*\}.*$", f"subjects: {{{', '.join(f'{name}: {n}' for name, n in declared.items())}}}"),
        (r"caps: \{sites: 5, subjects: 1650,", f"caps: {{sites: {len(names)}, subjects: {sum(declared.values())},"),
        (rf"steps: {probe.steps}\n", f"steps: {steps}\n"),
        (r"(?ms)^  lora:.*?(?=^\S)", ""),
        (r"(?ms)^  - name: auc\n    method: lora\n.*?(?=^\S|^  - )", "\n"),
    ):
        text, changed = re.subn(pattern, new, text, count=1)
        if changed != 1:
            raise SystemExit(f"study.yaml of the example has no place for {pattern}")
    return text


def _roster(names: Sequence[str], people: Mapping[str, Mapping[str, str]]) -> str:
    parties = "".join(
        f"  - {{id: {name}, name: {{en: {name} (fictitious), ja: {name}（架空）}}, "
        f"kind: {'coordinator' if name == 'coordinator' else 'site'}, controller: {name}, country: JP, "
        f'key: "{demo_key(name).public.to_text()}", demo: true}}\n'
        for name in (*names, "coordinator")
    )
    roles = dict(zip(SHARED, ("business", "legal", "it"), strict=True))
    listed = [(person, role, "") for person, role in roles.items()]
    listed += [(person, role, name) for name, own in people.items() for role, person in own.items()]
    for maker, role in FURTHER.items():
        listed.append((f"{maker}-{role}", role, ", ".join(name for name in names if name.startswith(f"{maker}-"))))
    return (
        'schema: sekisho-roster/1\nversion: 1\ndemo: true\n'
        f'created: "{BEGINS.isoformat()}"\nexpires: "{ENDS.isoformat()}"\nparties:\n{parties}people:\n'
        + "".join(
            f'  - {{pseudonym: {person}, roles: [{role}], keys: ["{demo_key(person).public.to_text()}"], '
            f"acts_for: [{site}], demo: true}}\n"
            for person, role, site in listed
        )
        + "roles: {legal: 1, it: 1, business: 1, compliance: 1, data-protection: 1}\n"
    )


def _approve(
    roster: Roster, path: Path, digests: set[str], kind: str, signers: Mapping[str, str], seen: Shown | None = None
) -> None:
    subjects = [Subject(f"{path.name}.{number}", digest) for number, digest in enumerate(sorted(digests))]
    envelopes = [
        sign_statement(
            approval_statement(
                roster, role=role, subjects=subjects, predicate_type=PREDICATES[kind], issued=BEGINS, expires=ENDS,
                shown=seen,
            ),
            [demo_key(person)],
        )
        for role, person in signers.items()
    ]  # fmt: skip
    path.with_name(path.name + SIGNATURES).write_bytes(write_envelopes(envelopes))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


if __name__ == "__main__":
    place, many, steps_asked = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    kept = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    if many == 0 and kept is not None:
        write_study(place, 5, 1)
        print(json.dumps(keep_rows(_features(place), kept)))
    else:
        print(json.dumps(measure(place, many, steps_asked, kept)))
