"""How long policies take: one decision, one comparison, and `sekisho legal check` from a cold start.

    python benchmarks/policy.py [--json FILE] [--runs 300]

Each as the median, beside what somebody would take instead on the same machine: for decisions Cedar (`pip install
cedarpy`), given the same policy clause by clause; for comparisons the solver z3, which the tests use; for the cold
start a fresh interpreter that has Cedar parse the policy. A peer that is not installed is left out, and the table says
so.
Cedar has neither exact decimals nor moments, so it gets scaled whole numbers and is spared the reasons that a decision
of ours comes with; both must agree on every request before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sekisho.governance.document import read_document
from sekisho.governance.policy.clause import Held
from sekisho.governance.policy.combine import combine
from sekisho.governance.policy.compare import compare
from sekisho.governance.policy.decide import decide
from sekisho.governance.policy.lattice import Interval, Level, OneOf, Requires, Truth, Window, Within
from sekisho.governance.policy.policy import Policy, Provision
from sekisho.governance.policy.request import Fact, Request

POLICY = Path(__file__).resolve().parents[1] / "examples" / "food-quality" / "sites" / "kohi" / "policy.yaml"
TARGETS = {"decide": 0.001, "compare": 0.010, "legal check": 0.5}  # seconds; the promise of issue 4
COLD_STARTS = 9
SCALE = 10**12  # Cedar counts in whole numbers of 64 bits

AMENDMENTS = (
    ('purposes: ["dpv:ImproveExistingProductsAndServices"]', 'purposes: ["dpv:ResearchAndDevelopment"]'),
    ("2099-12-31T00:00:00+09:00", "2100-12-31T00:00:00+09:00"),
    ('per_run: {epsilon: "3.0"', 'per_run: {epsilon: "4.0"'),
    ("destinations: [JP]", "destinations: [JP, DE]"),
    ("min_sites: 3", "min_sites: 2"),
    ("At least three companies", "No fewer than three companies"),
    ("audit_years: 3", "audit_years: 6"),
    ("recipients: [participants]", "recipients: [participants, affiliates]"),
    ("53aa51172d", "0000000000"),
    ("unit: subject", "unit: record"),
)


@dataclass(frozen=True)
class Row:
    """Seconds: our median and worst, and the median of ``peer``, None where it is not installed."""

    what: str
    ours: float
    worst: float
    peer: str
    other: float | None

    def to_json(self) -> dict[str, Any]:
        """The fields, with the ratio and the target."""
        ratio = None if self.other is None else self.ours / self.other
        return {**vars(self), "ratio": ratio, "target": TARGETS[self.what], "met": self.ours <= TARGETS[self.what]}


def main() -> None:
    """Measure, print a table, and write the same as JSON."""
    options = argparse.ArgumentParser(description="How long policies take.")
    options.add_argument("--json", type=Path)
    options.add_argument("--runs", type=int, default=300)
    given = options.parse_args()
    rows = [deciding(given.runs), comparing(max(1, given.runs // 10)), cold_start()]
    print(f"{'':12} {'median':>10} {'worst':>10} {'at most':>10}   instead")
    for row in rows:
        instead = "not installed"
        if row.other is not None:
            instead = f"{_ms(row.other)}, ours {row.ours / row.other:.2f} times that"
        target = _ms(TARGETS[row.what])
        print(f"{row.what:12} {_ms(row.ours):>10} {_ms(row.worst):>10} {target:>10}   {row.peer}: {instead}")
    if given.json:
        given.json.write_text(json.dumps({"rows": [row.to_json() for row in rows]}, indent=2) + "\n", "utf-8")
    sys.exit(not all(row.to_json()["met"] for row in rows))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3f} ms"


def timed(call: Callable[[], object], runs: int) -> list[float]:
    """Seconds of each of ``runs`` calls."""
    found = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return found


def policies() -> tuple[Policy, list[Policy]]:
    """The example's policy and ten versions of it, each with one amendment."""
    text = POLICY.read_text("utf-8")
    if not all(before in text for before, _ in AMENDMENTS):
        raise SystemExit(f"{POLICY} has changed: adapt AMENDMENTS")
    later = [text.replace(before, after, 1) for before, after in AMENDMENTS]
    return Policy.parse(text.encode(), POLICY.name), [Policy.parse(one.encode(), POLICY.name) for one in later]


def deciding(runs: int) -> Row:
    """One permitted request."""
    policy, _ = policies()
    asked = combine({"": policy}).example
    assert asked is not None
    seconds = timed(lambda: decide(policy, asked), runs)
    peer = cedar(policy, asked)
    other = None if peer is None else statistics.median(timed(peer, runs))
    return Row("decide", statistics.median(seconds), max(seconds), "Cedar", other)


def comparing(runs: int) -> Row:
    """The policy with each of its ten amendments; the median and the worst over all."""
    policy, later = policies()
    seconds = [one for version in later for one in timed(lambda version=version: compare(policy, version), runs)]
    try:
        from sekisho.tests.oracles.containment import permits_more
    except ImportError:
        return Row("compare", statistics.median(seconds), max(seconds), "z3", None)
    text = POLICY.read_text("utf-8")
    plain = read_document(text.encode(), name=POLICY.name).value
    others = []
    for (before, after), version in zip(AMENDMENTS, later, strict=True):
        changed = read_document(text.replace(before, after, 1).encode(), name=POLICY.name).value
        found = compare(policy, version)
        assert (found.allowed is not None) == permits_more(changed, plain)
        assert (found.forbidden is not None) == permits_more(plain, changed)
        others += timed(lambda new=changed: (permits_more(new, plain), permits_more(plain, new)), 3)
    return Row("compare", statistics.median(seconds), max(seconds), "z3", statistics.median(others))


def cold_start() -> Row:
    """`sekisho legal check` in a new interpreter, every file of Python compiled before."""
    command = [sys.executable, "-c", "from sekisho.core.cli.cli import main; main()", "legal", "check", str(POLICY)]
    seconds = [_wall(command, says="kohi/reviews-policy") for _ in range(COLD_STARTS + 1)][1:]
    policy, _ = policies()
    script = f"import cedarpy; cedarpy.policies_to_json_str({cedar_text(policy)!r})"
    others = [_wall([sys.executable, "-c", script]) for _ in range(COLD_STARTS)] if _cedarpy() else None
    other = None if others is None else statistics.median(others)
    return Row("legal check", statistics.median(seconds), max(seconds), "Cedar, parsing alone", other)


def _wall(command: list[str], says: str = "") -> float:
    """Seconds of a command that ends well, having said ``says``: one that did nothing would be fast."""
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if says not in done.stdout:
        raise RuntimeError(f"{command[-3:]} did not say {says!r}")
    return seconds


# -- the same policy in Cedar ----------------------------------------------------------------------------------------


def _cedarpy() -> Any | None:
    try:
        import cedarpy
    except ImportError:
        return None
    return cedarpy


def cedar(policy: Policy, asked: Request) -> Callable[[], object] | None:
    """A call of Cedar that decides ``asked``; None where it is not installed. It must agree on each fact gone wrong."""
    cedarpy = _cedarpy()
    if cedarpy is None:
        return None
    text = cedar_text(policy)
    names = {"principal": 'Site::"kohi"', "action": 'Action::"ask"', "resource": 'Data::"reviews"'}

    def ask(facts: Mapping[str, Fact]) -> bool:
        context = {_name(name): _plain(fact.value) for name, fact in facts.items()}
        answer = cedarpy.is_authorized({**names, "context": context}, text, [])
        return bool(answer.allowed)

    assert ask(asked.facts) and decide(policy, asked).permitted
    for name in asked.facts:
        fewer = {other: fact for other, fact in asked.facts.items() if other != name}
        assert ask(fewer) == decide(policy, Request(fewer)).permitted, name
    return lambda: ask(asked.facts)


def cedar_text(policy: Policy) -> str:
    """Every constraint under ``always`` as a forbid with its id, every grant as a permit."""
    rules = [
        f'@id("{provision.id} {held.field}")\nforbid(principal, action, resource) unless {{ {_condition(held)} }};'
        for provision in policy.always
        for held in provision.held
    ]
    return "\n".join([*rules, *map(_permit, policy.grants)])


def _permit(grant: Provision) -> str:
    holds = " && ".join(_condition(held) for held in grant.held)
    return f'@id("{grant.id}")\npermit(principal, action, resource) when {{ {holds} }};'


def _condition(held: Held) -> str:
    name = _name(held.fact)
    return f"context has {name} && {_holds(f'context.{name}', held)}"


def _holds(fact: str, held: Held) -> str:
    match held.allowed:
        case OneOf(values):
            return f"{json.dumps(sorted(values))}.contains({fact})"
        case Within(values):
            return f"{json.dumps(sorted(values))}.containsAll({fact})"
        case Requires(values):
            return f"{fact}.containsAll({json.dumps(sorted(values))})"
        case Truth(allowed):
            return f"{json.dumps(sorted(allowed))}.contains({fact})"
        case Level(scale, least):
            return f"{json.dumps(list(scale[scale.index(least):]))}.contains({fact})"
        case Interval(low, high):
            ends = ((">=", low), ("<=", high))
        case Window(start, until):
            ends = ((">=", start), ("<", until))
        case other:
            raise SystemExit(f"there is no Cedar for {type(other).__name__} here")
    return " && ".join(f"{fact} {sign} {_plain(end)}" for sign, end in ends if end is not None)


def _name(fact: str) -> str:
    return fact.replace(".", "_")


def _plain(value: Any) -> Any:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, Decimal | int):
        return int(value * SCALE)
    if isinstance(value, datetime):
        return int(value.timestamp())
    return sorted(value)


if __name__ == "__main__":
    main()
