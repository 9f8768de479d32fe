"""The small study with a validation: blocks of steps are judged on held-out people, and policies let the counts out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import study_folder
from .study_folder import SITES

COUNTS = "leaves_site: [masked-update, noised-counts, adapter]"
SECTION = """validation: {{every: {every}, held_out: "{held_out}", epsilon: "{epsilon}", delta: "0.00001",
  least: "{least}", rejections: {rejections}}}
"""


def build(
    folder: Path,
    *,
    every: int = 2,
    held_out: str = "0.3",
    epsilon: str = "3.0",
    least: str = "0.3",
    rejections: int = 1,
    policies: bool = True,
    momentum: str = "0.9",
    **study: Any,
) -> Path:
    """``study_folder.build`` with the section ``validation``, and with the policies that it needs."""
    study_folder.build(folder, **{"lifetime": "28.0", **study})
    text = SECTION.format(every=every, held_out=held_out, epsilon=epsilon, least=least, rejections=rejections)
    path = folder / "study.yaml"
    path.write_text(path.read_text("utf-8") + text, "utf-8")
    study_folder.change(path, 'momentum: "0.9"', f'momentum: "{momentum}"')
    for site in study.get("sites", SITES) if policies else ():
        study_folder.write_consents(folder / "sites" / site / "consent.jsonl", site, subjects=study.get("subjects"))
        study_folder.change(
            folder / "sites" / site / "policy.yaml", "leaves_site: [masked-update, adapter]", COUNTS
        )
    study_folder.sign(folder)
    return folder
