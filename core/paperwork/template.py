"""The templates of a study's papers as files: read, and their values put in.

For: filling.py (a whole study), base_model.py (one paper). Not for: which values (there), what a template says
(core/templates/study/). Reads no table and no register.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

TEMPLATES = Path(__file__).parent.parent / "templates" / "study"
COMMENTS = 42  # the column in which comments behind a value begin


def filled(name: str, values: Mapping[str, str]) -> str:
    """The template ``name`` with its values put in."""
    text = Template((TEMPLATES / name).read_text("utf-8")).substitute(values)
    # values differ in length: comments behind them begin in one column again, as people would write it
    return re.sub(r"(?m)^(.*\S) {2,}(# .*)$", lambda line: f"{line[1].ljust(COMMENTS - 1)} {line[2]}", text)
