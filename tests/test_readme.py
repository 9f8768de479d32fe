"""What README and docs say is there: commands, help texts, links, named tests, pinned packages.

A document is only read here: ``.ci/run`` runs the README's two commands as written, in a fresh clone.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")})
HELP = re.findall(r"<!-- help: sekisho(.*?) -->\n```text\n(.*?)\n```\n", README, re.S)
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.S))


@cache
def sekisho(words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from sekisho.core.cli.cli import main; main()", *words.split()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".namespace"), "COLUMNS": "100", "NO_COLOR": "1"},
    )


def test_readme_offers_two_commands_and_the_makefile_has_them() -> None:
    block = re.search(r"<!-- commands:.*?-->\n```sh\n(.*?)```", README, re.S)
    assert block is not None
    assert block[1].splitlines() == ["make pilot", "make test"]
    for command in block[1].splitlines():
        assert re.search(rf"^{command.removeprefix('make ')}:", MAKEFILE, re.M), command


def test_make_help_names_every_target() -> None:
    targets = re.findall(r"^([a-z-]+):", MAKEFILE, re.M)
    shown = re.findall(r'@echo "make ([a-z-]+) ', MAKEFILE)
    assert set(targets) - {"help"} == set(shown)
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)
    assert phony is not None
    assert set(phony[1].split()) == set(targets)


def test_readme_shows_the_help_text() -> None:
    assert " --help" in [words for words, _ in HELP], "the README shows `sekisho --help`"


@pytest.mark.parametrize(("words", "shown"), HELP, ids=[words.strip() for words, _ in HELP])
def test_help_text_in_readme_is_the_help_text(words: str, shown: str) -> None:
    done = sekisho(words)
    assert done.returncode == 0, done.stderr[-200:]
    assert [line.rstrip() for line in done.stdout.strip().splitlines()] == shown.splitlines()


@pytest.mark.parametrize("line", re.findall(r"^\.venv/bin/sekisho (.+)$", SHELL, re.M))
def test_commands_in_readme_exist(line: str) -> None:
    """The command answers ``--help``, knows each option shown, and each example path is there."""
    words = line.split()
    done = sekisho(f"{words[0]} {words[1]} --help")
    assert done.returncode == 0, done.stderr[-200:]
    for word in words[2:]:
        if word.startswith("--"):
            assert word in done.stdout
        if word.startswith("examples/"):
            assert (ROOT / word).exists(), word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_named_in_docs_exist(page: Path) -> None:
    """A path in backticks that begins with a house or ``tests`` is one of ours."""
    pattern = r"`((?:core|privacy|governance|policies|tests|docs)/[A-Za-z0-9_./-]+?\.(?:py|md|yaml|toml))[`:]"
    for path in re.findall(pattern, page.read_text("utf-8")):
        assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_nothing_is_still_to_be_measured_or_tested() -> None:
    threats_page = (ROOT / "docs" / "threats.md").read_text("utf-8")
    left = [line for line in (README + threats_page).splitlines() if "TO BE " in line or "PENDING" in line]
    assert not left, "fill these in with what was seen:\n" + "\n".join(left)


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def threats() -> Iterator[tuple[int, str]]:
    text = (ROOT / "docs" / "threats.md").read_text("utf-8")
    promised = text.split("## Not promised")[0]
    for number, body in re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |^## |\Z)", promised, re.S | re.M):
        yield int(number), body


def test_threats_are_numbered_in_order() -> None:
    numbers = [number for number, _ in threats()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


@pytest.mark.parametrize(("number", "body"), list(threats()), ids=[str(number) for number, _ in threats()])
def test_every_threat_names_a_test_that_exists(number: int, body: str) -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)::([a-z_0-9A-Z]+)`", body)
    assert named, f"threat {number} names no test"
    for path, name in named:
        assert (ROOT / path).exists(), f"threat {number}: {path}"
        assert name in functions_in(ROOT / path), f"threat {number}: {path}::{name}"


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text("utf-8")
    for page in (ROOT / "docs" / "adr").glob("[0-9]*.md"):
        assert f"]({page.name})" in index, page.name


def test_lock_pins_everything_that_the_project_asks_for() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines() if line[:1] != "#"]
    pinned = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)==([0-9][0-9A-Za-z.]*)", line)
        assert match, f"not a plain pin: {line}"
        pinned[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    assert pinned["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    asked = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["pilot"],
        *project["project"]["optional-dependencies"]["dev"],
        *project["build-system"]["requires"],
    ]
    for requirement in asked:
        name = re.split(r"[<>=!~ \[]", requirement)[0]
        assert re.sub(r"[-_.]+", "-", name).lower() in pinned, name
