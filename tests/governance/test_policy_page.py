"""docs/formats/policy.md says what the declarations say, and its example of cases is one."""

from __future__ import annotations

import re

from sekisho.governance.document import read_document

from .policy_page import PAGE, page


def test_the_page_is_current() -> None:
    text = PAGE.read_text("utf-8")
    assert page(text) == text, "run: PYTHONPATH=.namespace python tests/governance/policy_page.py"


def test_the_examples_on_the_page_are_read() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert blocks
    for block in blocks:
        assert read_document(block.encode(), name="example").value["schema"] == "sekisho-cases/1"
