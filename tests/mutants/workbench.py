"""A copy of the source tree in which one mutant at a time is applied, tested and taken back.

Order of calls: ``Workbench(root, folder)`` copies -> ``outcomes(nodes)`` runs tests as they are ->
``complaints(mutant)`` says why a mutant does not count as caught, nothing said is caught -> ``close``.

The tests run in a process of their own (runner.py), from the copy alone. No bytecode is written there, so nothing of
one mutant can be left over for the next.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from .mutant import Mutant, sources

# What tests of the product read; documents, benchmarks and what a run leaves behind are not among it.
COPIED = ("__init__.py", "pyproject.toml", "core", "privacy", "governance", "policies", "tests", "examples")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "state", ".hypothesis")
ASSERTED = ("AssertionError", "assert ", "Failed: DID NOT RAISE")  # how the failure of a test's own claim begins


@dataclass(frozen=True)
class Outcome:
    """``status``: "passed", "failed", "error" or "missing". ``failure``: what pytest says of it."""

    status: str
    failure: str = ""


class Workbench:
    """A copy of ``root`` in ``folder``, which must not exist."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = folder
        folder.mkdir(parents=True)
        for name in COPIED:
            if (root / name).is_dir():
                shutil.copytree(root / name, folder / name, ignore=LEFT_OUT)
            else:
                shutil.copy(root / name, folder / name)
        (folder / ".namespace").mkdir()
        (folder / ".namespace" / "sekisho").symlink_to("..")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        for shown_in_full in ("CI", "BUILD_NUMBER"):  # pytest words a failure otherwise where they are set
            environment.pop(shown_in_full, None)
        environment |= {
            "PYTHONPATH": str(folder / ".namespace"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "SEKISHO_TESTS_OF_A_MUTANT": "1",
        }
        self._runner = subprocess.Popen(
            [sys.executable, "-P", str(folder / "tests" / "mutants" / "runner.py")],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the process that runs the tests."""
        self._runner.communicate()

    def outcomes(self, nodes: Sequence[str]) -> dict[str, Outcome]:
        """What came of each of the tests ``nodes`` in the copy as it stands."""
        report = self.root / "report.xml"
        report.unlink(missing_ok=True)
        options = ("-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:randomly", "--junit-xml", str(report))
        self._pytest([*options, *nodes])
        found = _read(report) if report.exists() else {}
        return {node: found.get(node, Outcome("missing")) for node in nodes}

    def complaints(self, mutant: Mutant) -> list[str]:
        """Why ``mutant`` was not caught, one sentence a test; none if every test failed, and for the reason named."""
        with self.applied(mutant):
            outcomes = self.outcomes(mutant.caught_by)
        return [said for node, outcome in outcomes.items() if (said := _complaint(mutant, node, outcome))]

    def _pytest(self, arguments: list[str]) -> None:
        runner = self._runner
        assert runner.stdin is not None and runner.stdout is not None
        runner.stdin.write(json.dumps(arguments) + "\n")
        runner.stdin.flush()
        if not runner.stdout.readline():
            raise RuntimeError("the process that runs the tests has ended")

    @contextmanager
    def applied(self, mutant: Mutant) -> Iterator[None]:
        """The copy with the mutant's edits, for as long as the block lasts."""
        changed = sources(self.root, mutant)
        try:
            for file, (_, wrong) in changed.items():
                (self.root / file).write_text(wrong, "utf-8")
            yield
        finally:
            for file, (right, _) in changed.items():
                (self.root / file).write_text(right, "utf-8")


def _complaint(mutant: Mutant, node: str, outcome: Outcome) -> str:
    if outcome.status != "failed":
        return f"{node} did not fail but {outcome.status}\n{outcome.failure}"
    begins = (mutant.stopped,) if mutant.stopped else ASSERTED
    head = outcome.failure.partition("\n")[0]
    if not (any(word in head for word in begins) if mutant.stopped else head.startswith(begins)):
        return f"{node} failed otherwise than by {' or '.join(map(repr, begins))}:\n{outcome.failure}"
    reason = mutant.reasons()[node]
    if reason not in outcome.failure:
        return f"{node} failed for another reason than {reason!r}:\n{outcome.failure}"
    return ""


def _read(report: Path) -> dict[str, Outcome]:
    """Node -> outcome, from pytest's JUnit report."""
    found: dict[str, Outcome] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        file = case.get("classname", "").replace(".", "/") + ".py"
        status, failure = "passed", ""
        for kind, called in (("skipped", "skipped"), ("failure", "failed"), ("error", "error")):
            for part in case.iter(kind):
                status, failure = called, f"{part.get('message', '')}\n{part.text or ''}"
        found[f"{file}::{case.get('name')}"] = Outcome(status, failure)
    return found
