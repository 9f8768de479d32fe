"""The ``sekisho`` command in a process of its own, and what it left behind: output, logs, ledgers.

The real entry point, with one observer beside it: which modules were loaded when the process ended.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sekisho.core.cli.cli import main
from sekisho.core.parties import LOG_NAME, state_folder

ROOT = Path(__file__).resolve().parents[2]
MAIN = "from sekisho.core.cli.cli import main; main()"
OBSERVED = (
    "import atexit, os, sys; "
    "atexit.register(lambda: open(os.environ['LOADED'], 'w').write(' '.join(sys.modules))); " + MAIN
)
SECONDS = 240  # far above what any command takes, on a machine with other work


class Quiet:
    """A listener that nobody hears."""

    def say(self, text: str = "") -> None: ...

    def progress(self, stage: str, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Ended:
    """How a command ended. ``loaded`` are its modules' names; empty if it was killed."""

    exit: int
    out: str
    err: str
    loaded: frozenset[str] = frozenset()

    @property
    def told(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        (line,) = self.out.splitlines()
        value = json.loads(line)
        assert isinstance(value, dict)
        return value


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / ".namespace"), "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **more}


def sekisho(*words: str | Path, limit: Callable[[], None] | None = None, cwd: Path | None = None) -> Ended:
    """Run the command to its end. It never shows a traceback, whatever it was given."""
    loaded = Path(os.environ.get("TMPDIR", "/tmp")) / f"loaded-{os.getpid()}"
    done = subprocess.run(
        [sys.executable, "-c", OBSERVED, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=cwd,
        env=environment(LOADED=str(loaded)),
        preexec_fn=limit,
    )
    modules = frozenset(loaded.read_text().split()) if loaded.exists() else frozenset()
    loaded.unlink(missing_ok=True)
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr, modules)


def sekisho_here(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Ended:
    """The same command in this process: the same path through the product, without starting Python anew."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sekisho", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
    seen = capsys.readouterr()
    assert "Traceback" not in seen.err + seen.out, seen.err
    code = left.value.code
    return Ended(code if isinstance(code, int) else 0, seen.out, seen.err)


def begin(*words: str | Path) -> subprocess.Popen[str]:
    """Start the command and do not wait for it."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        preexec_fn=_hears_interrupts,  # noqa: PLW1509  no threads here, and the tests may run in the background
    )


def _hears_interrupts() -> None:
    # what a shell starts in the background ignores interrupts, and so would its children
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def log_of(study: Path, party: str) -> list[dict[str, Any]]:
    """A party's log entries; none where it has no log."""
    path = state_folder(study, party, coordinator=party == "coordinator") / LOG_NAME
    return [json.loads(body) for (body,) in rows(path, "select body from entries order by i")]


def codes_logged(study: Path, party: str) -> set[str]:
    """Every code in the entries by which a party logs that it refuses, or that a run ended."""
    found: set[str] = set()
    for entry in log_of(study, party):
        if entry["type"] in ("decision.refuse", "run.stopped"):
            found |= {entry["data"]["code"]} if "code" in entry["data"] else set(entry["data"]["codes"])
    return found


@dataclass(frozen=True)
class LedgerRun:
    """One row of a ledger's runs, read beside the product; ``charged`` counts steps."""

    run: str
    steps: int
    charged: int
    started: int
    state: str


def ledger_of(study: Path, site: str) -> list[LedgerRun]:
    """The runs in a site's ledger; none where it has no ledger."""
    query = "select run, steps, charged, started, state from run order by run"
    return [LedgerRun(*row) for row in rows(state_folder(study, site) / "ledger.sqlite", query)]


def nothing_charged(study: Path, sites: Iterable[str] = ()) -> bool:
    """No run in the ledgers of ``sites``, of all where none is named."""
    names = tuple(sites) or tuple(path.name for path in (study / "sites").iterdir())
    return not any(ledger_of(study, site) for site in names)


def rows(path: Path, query: str) -> Iterator[tuple[Any, ...]]:
    if not path.exists():
        return
    database = sqlite3.connect(path)
    try:
        yield from database.execute(query).fetchall()
    finally:
        database.close()


def one_line(told: Mapping[str, Any]) -> bool:
    """One sentence and a hint, each on one line, with a code in capitals; and a hint's label is the terminal's."""
    sentence, hint, code = told["sentence"], told["hint"], told["code"]
    plain = all(text and "\n" not in text and text == text.strip() for text in (sentence, hint))
    return plain and not hint.startswith("hint") and code.isupper() and code.replace("_", "").isalnum()
