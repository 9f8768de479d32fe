"""docs/legal.md holds: followed literally, it leads from an empty folder to a signed policy, an amendment and a stop.

What is run are the page's grey boxes as they stand and, between them, the changes that it asks for in the editor ("In
`file`, change `this` to `that`."). The Japanese page asks for the very same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .core.own_study import rows, text_of
from .core.test_cli import LEAVES
from .test_your_data import NAMES, as_written

ROOT = Path(__file__).resolve().parents[1]
PAGES = {language: (ROOT / "docs" / name).read_text("utf-8") for language, name in
         (("en", "legal.md"), ("ja", "legal.ja.md"))}  # fmt: skip
BOX = re.compile(r"^```sh\n(.*?)^```$", re.S | re.M)
CHANGE = {
    "en": re.compile(r"^> In `([^`]+)`, change `([^`]+)` to `([^`]+)`\.$", re.M),
    "ja": re.compile(r"^> `([^`]+)`の`([^`]+)`を`([^`]+)`に改める。$", re.M),
}
COMMAND = re.compile(r"(?:^|\s)sekisho ([a-z]+ [a-z-]+|doctor|pilot)\b")


def steps(language: str) -> Iterator[tuple[str, ...]]:
    """Every box (one word) and every change (file, old, new), in the order of the page."""
    page = PAGES[language]
    found = [(match.start(), match.groups()) for one in (BOX, CHANGE[language]) for match in one.finditer(page)]
    for _, groups in sorted(found):
        yield groups


def change(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    text = path.read_text("utf-8")
    assert old in text, old
    path.write_text(text.replace(old, new), "utf-8")


def test_both_pages_ask_for_the_same_commands_and_changes() -> None:
    assert list(steps("en")) == list(steps("ja")) and len(list(steps("en"))) > 10


def test_both_pages_have_the_same_sections() -> None:
    numbers = [re.findall(r"^## (\d+)\.", page, re.M) for page in PAGES.values()]
    assert numbers[0] == numbers[1] == [str(number) for number in range(1, len(numbers[0]) + 1)]


@pytest.mark.parametrize("language", PAGES)
def test_every_command_on_the_page_exists(language: str) -> None:
    named = {name for box in BOX.findall(PAGES[language]) for name in COMMAND.findall(box)}
    assert len(named) > 10 and named <= set(LEAVES)


@pytest.mark.parametrize("language", PAGES)
def test_every_code_that_the_page_explains_is_one_of_ours(language: str) -> None:
    files = (path for house in ("core", "governance") for path in (ROOT / house).rglob("*.py"))
    sources = "\n".join(path.read_text("utf-8") for path in files)
    codes = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", PAGES[language])) - {"SEKISHO_PASSPHRASE"}
    assert len(codes) > 15
    assert not [code for code in codes if f'"{code}"' not in sources]


@pytest.mark.proof
def test_the_page_leads_from_an_empty_folder_to_a_signed_policy(tmp_path: Path) -> None:
    # the one thing that the page takes for granted: the table of the team that holds the data
    content = [
        {"id": row["id"], "customer": row["subject"], "text": row["text"], "label": NAMES[row["label"]]}
        for row in rows(150)
    ]
    (tmp_path / "reviews.csv").write_text(text_of(content, ("id", "customer", "text", "label")), "utf-8")
    typed: list[str] = []
    for step in steps("en"):
        if len(step) == 3:
            done = as_written(tmp_path, "\n".join(typed))
            assert done.returncode == 0, done.stderr[-2000:]
            typed = [line for box in typed for line in box.splitlines() if line.startswith("export ")]
            change(tmp_path, *step)
        else:
            typed.append(step[0])
    done = as_written(tmp_path, "\n".join(typed))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "+ wider" in done.stdout and "(product-development)" in done.stdout
    for page in ("policy.html", "north.html", "change.html"):
        assert (tmp_path / page).read_text("utf-8").startswith("<!doctype html>")
