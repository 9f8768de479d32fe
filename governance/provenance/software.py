"""Which program made something: digests over the code that is installed and over everything it runs with.

For: the signer's own words in a run's statement. Not for: proof of what ran; no program can vouch for itself. Two
sites with equal digests had equal files, and a reviewer can hold a digest against a release of this software.

Order of calls: ``code_digest()`` and ``environment_digest()``, once a process; both read only what is installed.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path

from ..canonical import digest

PACKAGE = Path(__file__).parents[2]
# The package as pyproject.toml builds it: beside an editable install lie tests, studies and their state.
PARTS = ("__init__.py", "py.typed", "core", "governance", "policies", "privacy")
NOT_CODE = frozenset({"__pycache__"})


@cache
def code_digest() -> str:
    """ "sha256:<hex>" over the package's files: the RFC 8785 form of {path: SHA-256}."""
    return digest({path: hashlib.sha256((PACKAGE / path).read_bytes()).hexdigest() for path in _files()})


def _files() -> list[str]:
    found: list[Path] = []
    for part in PARTS:
        path = PACKAGE / part
        found += [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sorted(file.relative_to(PACKAGE).as_posix() for file in found if not NOT_CODE & set(file.parts))


@cache
def environment_digest() -> str:
    """ "sha256:<hex>" over name and version of every installed distribution: what a lock file would list."""
    named = ((one.metadata["Name"], one.version) for one in metadata.distributions())
    return digest(sorted({f"{name.lower()}=={version}" for name, version in named if name}))
