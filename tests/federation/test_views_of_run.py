"""Views of a real run: an outsider finds who spent how much for what, with nothing but the bundle and a fingerprint."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import study_folder
from command import Quiet, log_of, sekisho_here
from study_folder import SITES, HashedFeatures

from sekisho.core.pilot.pilot import run_pilot
from sekisho.core.site.budget import budget_view
from sekisho.governance.evidence import verifier
from sekisho.governance.evidence.views import view_members

Capture = pytest.CaptureFixture[str]

# What an outsider's Python has: the standard library, cryptography, and what cryptography needs. Nothing of Sekisho.
OUTSIDER = '''
import html.parser, json, runpy, sys, zipfile
class First(html.parser.HTMLParser):
    """The first table of a page, as rows of cells."""
    def __init__(self):
        super().__init__(); self.rows = []; self.tables = 0; self.cell = None
    def handle_starttag(self, tag, attrs):
        self.tables += tag == "table"
        if self.tables == 1 and tag == "tr": self.rows.append([])
        if self.tables == 1 and tag in ("th", "td"): self.cell = []
    def handle_endtag(self, tag):
        if tag in ("th", "td") and self.cell is not None:
            self.rows[-1].append(" ".join(" ".join(self.cell).split())); self.cell = None
    def handle_data(self, data):
        if self.cell is not None: self.cell.append(data)
bundle, root, page = sys.argv[1:]
with zipfile.ZipFile(bundle) as archive:
    open("verify.py", "wb").write(archive.read("verify.py"))
    shown = archive.read(page).decode("utf-8")
sys.argv = ["verify.py", bundle, "--root", root]
try: runpy.run_path("verify.py", run_name="__main__")
except SystemExit as ended: code = ended.code
first = First(); first.feed(shown)
print(json.dumps({"code": code or 0, "rows": first.rows, "sekisho": any("sekisho" in name for name in sys.modules)}))
'''


@dataclass(frozen=True)
class Ran:
    """A study with two finished runs, and their evidence."""

    study: Path
    bundle: Path
    root: str
    summary: Any

    @property
    def members(self) -> dict[str, bytes]:
        return verifier.read_container(self.bundle.read_bytes())


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("ran")
    study = study_folder.build(folder / "study")
    for name in ("first", "second"):
        finished = run_pilot(study, folder / name, Quiet(), features=HashedFeatures())  # type: ignore[arg-type]
    summary = json.loads((folder / "second" / "summary.json").read_text("utf-8"))
    return Ran(study, folder / "second" / "evidence.zip", finished.evidence.root, summary)


def rows(ran: Ran, name: str) -> list[dict[str, Any]]:
    found = json.loads(ran.members[f"views/{name}.json"])["rows"]
    assert isinstance(found, list)
    return found


def test_the_figures_are_those_of_the_ledgers_and_of_the_report(ran: Ran) -> None:
    found = {row["maker"]: row for row in rows(ran, "budget")}
    assert set(found) == set(SITES)
    for site, row in found.items():
        ledger = budget_view(ran.study, site)
        assert (row["spent"], row["limit"]) == (ledger.epsilon_spent, ledger.epsilon_lifetime)
        assert float(row["spent"]) == ran.summary["budgets"][site]["lifetime_spent"] > 0
    reserved = [row for row in rows(ran, "spending") if row["event"] == "budget.reserved"]
    assert len(reserved) == 2 * len(SITES)
    (run,) = ran.summary["runs"]
    for row in reserved[len(SITES):]:
        assert float(row["run_epsilon"]) == run["epsilon"][row["maker"]] if "epsilon" in run else run["worst"]


def test_a_settlement_never_says_more_than_was_reserved_and_never_less_than_before(ran: Ran) -> None:
    for site in SITES:
        first, given, second, left = [row for row in rows(ran, "spending") if row["maker"] == site]
        assert [one["event"].split(".")[1] for one in (first, given, second, left)] == ["reserved", "settled"] * 2
        assert float(given["spent"]) <= float(first["spent"]) and float(left["spent"]) <= float(second["spent"])
        assert float(given["spent"]) < float(left["spent"])


def test_each_party_logged_the_figure_that_the_view_shows_of_it(ran: Ran) -> None:
    for site in SITES:
        last = [entry for entry in log_of(ran.study, site) if entry["type"] == "budget.settled"][-1]
        assert last["data"]["spent"] == {row["maker"]: row["spent"] for row in rows(ran, "budget")}[site]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_an_outsider_verifies_and_finds_in_the_first_table_who_spent_what_for_which_purpose_and_who_allowed_it(
    language: str, ran: Ran, tmp_path: Path
) -> None:
    for name in ("cryptography", "cffi", "_cffi_backend"):
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            (tmp_path / "path").mkdir(exist_ok=True)
            source = origin.parent if origin.name == "__init__.py" else origin
            (tmp_path / "path" / source.name).symlink_to(source)
    shutil.copy(ran.bundle, tmp_path / "evidence.zip")
    program = f"import sys; sys.path.append({str(tmp_path / 'path')!r})\n" + OUTSIDER
    # -I -S: no environment, no site-packages, and not this folder
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, "evidence.zip", ran.root, f"views/{language}/index.html"],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120,
        env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0, done
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["code"], found["sekisho"]) == (0, False)
    heads, *body = found["rows"]
    words = {"en": ("Maker", "Purpose", "ε spent", "Limit of ε", "Allowed by", "improvement of existing products",
                    "study, 2026-11-01", "person-legal (legal)"),
             "ja": ("メーカー", "目的", "消費したε", "εの上限", "承認者", "既存の商品・サービスの改善",
                    "研究計画（2026-11-01）", "person-legal（法務）")}[language]
    maker, purpose, spent, limit, allowed = (heads.index(one) for one in words[:5])
    assert len(body) == len(SITES)
    for site, row in zip(sorted(SITES), body, strict=True):
        ledger = budget_view(ran.study, site)
        assert site in row[maker] and words[5] in row[purpose]
        assert (row[spent], row[limit]) == (ledger.epsilon_spent, ledger.epsilon_lifetime)
        assert words[6] in row[allowed] and words[7] in row[allowed]
        assert f"{site} #" in row[-1]


def test_the_command_verifies_first_and_writes_the_views_of_one_or_both_languages(
    ran: Ran, tmp_path: Path, capsys: Capture
) -> None:
    words = ("compliance", "views", ran.bundle, "--root", ran.root, "--json")
    both = sekisho_here(capsys, *words, "--out", tmp_path / "both")
    assert (both.exit, both.told["verdict"], both.told["same_as_in_bundle"]) == (0, "verified", True)
    held = {name: data for name, data in ran.members.items() if name.startswith("views/")}
    assert {f"views/{one.relative_to(tmp_path / 'both')}": one.read_bytes()
            for one in (tmp_path / "both").rglob("*") if one.is_file()} == held
    one = sekisho_here(capsys, *words, "--out", tmp_path / "one", "--language", "ja")
    assert one.exit == 0 and not (tmp_path / "one" / "en").exists()
    assert (tmp_path / "one" / "ja" / "index.html").is_file()
    unknown = sekisho_here(capsys, "compliance", "views", ran.bundle, "--out", tmp_path / "unknown", "--json")
    assert (unknown.exit, unknown.told["verdict"]) == (1, "consistent")


def test_of_a_changed_bundle_nothing_is_written(ran: Ran, tmp_path: Path, capsys: Capture) -> None:
    members = ran.members
    members["views/en/index.html"] = members["views/en/index.html"].replace(b"10.", b"00.", 1)
    (tmp_path / "changed.zip").write_bytes(verifier.write_container(members))
    ended = sekisho_here(capsys, "compliance", "views", tmp_path / "changed.zip", "--root", ran.root, "--out",
                         tmp_path / "out", "--json")
    assert (ended.exit, ended.told["verdict"], ended.told["written"]) == (5, "changed", [])
    assert not (tmp_path / "out").exists()


def test_of_a_bundle_of_another_roster_than_the_one_that_was_named_nothing_is_written(
    ran: Ran, tmp_path: Path, capsys: Capture
) -> None:
    ended = sekisho_here(capsys, "compliance", "views", ran.bundle, "--root", "sha256:" + "1" * 64, "--out",
                         tmp_path / "out", "--json")
    assert (ended.exit, ended.told["verdict"], ended.told["written"]) == (4, "other-root", [])
    assert not (tmp_path / "out").exists()


def test_the_views_hold_nothing_of_a_person_and_open_as_a_plain_zip(ran: Ran) -> None:
    with zipfile.ZipFile(io.BytesIO(ran.bundle.read_bytes())) as archive:
        assert archive.testzip() is None
    for name, data in view_members(ran.members).items():
        assert not re.search(rb"-c000(?![0-9a-f])", data) and b"lovely" not in data, name
