"""docs/your-data.md holds: its commands, exactly as written, lead from an empty folder and one table to a report."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .core.own_study import CANARY, rows, text_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "your-data.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.S | re.M)
NAMES = {"good": "satisfied", "bad": "dissatisfied"}
MAIN = "from sekisho.core.cli.cli import main; main()"
SECONDS = 900


def as_written(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in ``folder`` with `sekisho` on the path."""
    programs = folder / ".programs"
    programs.mkdir(exist_ok=True)
    program = programs / "sekisho"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{MAIN}" "$@"\n', "utf-8")
    program.chmod(0o755)
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
        env={
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / ".namespace"),
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
        },
    )


@pytest.mark.proof
def test_the_page_leads_to_a_report(tmp_path: Path) -> None:
    content = [
        {"id": row["id"], "customer": row["subject"], "text": row["text"], "label": NAMES[row["label"]]}
        for row in rows(150)
    ]
    (tmp_path / "reviews.csv").write_text(text_of(content, ("id", "customer", "text", "label")), "utf-8")
    done = as_written(tmp_path, "\n".join(BLOCKS))
    assert done.returncode == 0, done.stderr[-2000:]
    out = tmp_path / "tasting" / "out"
    assert {"report.html", "summary.json", "adapter", "evidence.zip"} <= {path.name for path in out.iterdir()}
    assert json.loads((out / "summary.json").read_text("utf-8"))["decision"] in ("go", "no-go", "inconclusive")
    assert "verified: " in done.stdout
    assert CANARY not in done.stdout + done.stderr


def test_every_code_on_the_page_is_one_of_the_product() -> None:
    files = [path for house in ("core", "governance") for path in (ROOT / house).rglob("*.py")]
    files.append(ROOT / "governance" / "texts" / "clauses.toml")
    product = "".join(path.read_text("utf-8") for path in files)
    codes = re.findall(r"`([A-Z]+_[A-Z_]+)`", PAGE.split("## When something is refused")[1])
    assert len(codes) > 10
    for code in codes:
        assert f'"{code}"' in product or f"codes.{code}]" in product, code
