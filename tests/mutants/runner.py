"""Runs pytest again and again, each time in a fresh child that finds the libraries loaded: half of the time saved.

Started by ``workbench.py`` in the root of a copy of the tree. Each line read is a list of pytest's arguments (JSON),
each line written the child's exit code. Of the product nothing is loaded here: a child sees it as it stands then.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys

# Third parties only. Not opacus and dp_accounting: what they do to logging when they are imported is the product's
# affair to undo.
LIBRARIES = (
    "pytest", "numpy", "hypothesis", "cryptography.hazmat.primitives.ciphers", "scipy.signal", "scipy.stats", "torch",
    "peft", "pydantic", "ruamel.yaml", "tenseal",
)  # fmt: skip
LONGEST = 900  # seconds that 24 tests without a mutant may take on a slow machine; a hang is not a catch


def run(arguments: list[str]) -> int:
    """Exit code of pytest in a child; below zero where a signal ended it."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        signal.alarm(LONGEST)
        import pytest

        os._exit(int(pytest.main(arguments)))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """Until there is no more line."""
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    for line in sys.stdin:
        print(run(json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
