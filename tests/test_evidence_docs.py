"""docs/evidence.md holds: its commands and options exist, and both languages say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sekisho.governance.evidence.views_law import forms

from .core.test_cli import LEAVES
from .federation.command import sekisho_here

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = {"en": (DOCS / "evidence.md").read_text("utf-8"), "ja": (DOCS / "evidence.ja.md").read_text("utf-8")}
COMMAND = re.compile(r"`sekisho ([a-z]+ [a-z-]+)([^`]*)`")


def commands(language: str) -> list[tuple[str, str]]:
    """Each command on the page, in its order, with what it is given (the fingerprint's word is the language's)."""
    return [(name, re.sub(r"sha256:\w+", "sha256:", given)) for name, given in COMMAND.findall(PAGES[language])]


def test_both_pages_name_the_same_commands_sections_and_points() -> None:
    assert sorted(commands("en")) == sorted(commands("ja")) and len(commands("en")) > 5
    for mark in (r"^## ", r"^\| ", r"^\* "):
        assert len({len(re.findall(mark, page, re.M)) for page in PAGES.values()}) == 1, mark


@pytest.mark.parametrize("language", PAGES)
def test_every_command_and_option_on_the_page_exists(language: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = set(re.findall(r"--[a-z]+", PAGES[language]))
    offered: set[str] = set()
    for name, given in commands(language):
        assert name in LEAVES
        shown = set(re.findall(r"--[a-z-]+", sekisho_here(capsys, *name.split(), "--help").out))
        assert set(re.findall(r"--[a-z-]+", given)) <= shown, name
        offered |= shown
    assert options <= offered


@pytest.mark.parametrize("language", PAGES)
def test_every_link_leads_somewhere_and_every_form_is_named(language: str) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", PAGES[language]):
        assert (DOCS / link).is_file(), link
    assert len(forms()) == 6
    for words in ("GDPR", "29", "12", "IV", "45 CFR 164.528", "30", "35"):
        assert words in PAGES[language]
