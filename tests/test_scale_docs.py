"""docs/scale.md says what benchmarks/scale.json holds and what the product's own bounds are; and the study that was
measured is the example's, with every customer at one branch."""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from sekisho.benchmarks import scale_drawn
from sekisho.core.study import MOST_SITES
from sekisho.privacy.encryption.presets import MANY_SITES, MAXIMUM_SITES, PRIME, TWICE_ERROR_PER_SITE

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text("utf-8")
FOUND: dict[str, Any] = json.loads((ROOT / "benchmarks" / "scale.json").read_text("utf-8"))["split"]
ROWS = [FOUND["by sites"][sites] for sites in sorted(FOUND["by sites"], key=int)]


def test_tables_and_sentences_are_what_was_measured() -> None:
    assert ROWS[0]["sites"] == 5 and ROWS[-1]["sites"] == max(row["sites"] for row in ROWS)
    assert scale_drawn.filled(PAGE, ROWS, FOUND["features"], FOUND["whole"]) == PAGE
    whole = FOUND["whole"]
    assert (whole["sites"], whole["steps"], whole["abandoned"]) == (100, 60, 0)
    for lines in scale_drawn.pages(ROWS, FOUND["features"]).values():
        assert lines and all(f"\n{line}\n" in PAGE for line in lines)


def test_the_plot_is_drawn_from_the_same() -> None:
    assert (ROOT / "docs" / "scale.svg").read_text("utf-8") == scale_drawn.plotted(ROWS)


def test_the_limits_are_the_products() -> None:
    assert f"| {MOST_SITES} sites | a roster" in PAGE and f"write {MOST_SITES} or fewer entries" in PAGE
    assert f"| {MAXIMUM_SITES} sites with t = 2^48, **{MANY_SITES}** with t = 2^46 |" in PAGE
    for bits in (48, 46, 44, 42):
        assert f"\n| 2^{bits} | {(PRIME - 1) // (TWICE_ERROR_PER_SITE << bits):,} |" in PAGE


@pytest.mark.parametrize("odds", [100, 1000, 10_000])
def test_how_often_a_step_falls_is_computed_as_the_page_says(odds: int) -> None:
    (line,) = re.findall(rf"^\| 1 in {odds:,} \|(.*)\|$", PAGE, re.M)
    told = [float(cell.strip().removesuffix("%")) for cell in line.split("|")]
    falls = [100 * (1 - (1 - 1 / odds) ** sites) for sites in (5, 100, 381, 1000, 6000)]
    assert told == pytest.approx(falls, abs=0.55)


def test_every_customer_of_the_example_is_at_one_branch_with_all_reviews_and_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    import scale_split

    names = scale_split.write_study(tmp_path / "study", 10, 2)
    assert len(names) == 10
    homes: dict[str, set[str]] = {}
    for maker in ("kohi", "wanko", "okashi", "shokuhin", "daidokoro"):
        own = [name for name in names if name.startswith(f"{maker}-")]
        for file in ("records.jsonl.gz", "consent.jsonl"):
            divided: list[bytes] = []
            for name in own:
                data = (tmp_path / "study" / "sites" / name / file).read_bytes()
                lines = (gzip.decompress(data) if file.endswith(".gz") else data).splitlines()
                divided += lines
                for line in lines:
                    homes.setdefault(json.loads(line)["subject"], set()).add(name)
            whole = (ROOT / "examples" / "food-quality" / "sites" / maker / file).read_bytes()
            assert sorted(divided) == sorted((gzip.decompress(whole) if file.endswith(".gz") else whole).splitlines())
    assert {len(places) for places in homes.values()} == {1}
