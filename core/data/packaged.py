"""Who put a base model into the Python package in which it lies: what that package says of itself.

For: ``package_of(folder, weights)``. Not for: finding a package by name (intake.py), whom the weights come from: a
package's author is whoever wrote its metadata, and only the digest of the weights ties it to a provider's release.

Nothing of the package is imported: its metadata are text files beside it.
Sources: the core metadata of Python packages; PEP 376 and PEP 627 (RECORD, digests of installed files).
"""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import getaddresses
from importlib import metadata
from pathlib import Path
from typing import Literal

from .sources import clean

MOST_LEVELS = 6  # folders between a package's root and its weights
LONGEST = 120  # characters of a field that is repeated
METADATA_END = "*.dist-info"


@dataclass(frozen=True)
class Packaged:
    """The package around a model. ``weights`` says whether the weights are those that it was installed with."""

    package: str
    version: str
    by: str
    licence: str
    weights: Literal["as-installed", "changed", "not-recorded"]


def package_of(folder: Path, weights: str, digest: str) -> Packaged | None:
    """The installed package that lists the file ``weights`` of ``folder`` as its own; None if none does.

    ``digest`` is the file's, as ``sha256:`` and hexadecimal digits. Raises OSError where a folder cannot be read.
    """
    path = folder.resolve() / weights
    for root in path.parents[1 : 1 + MOST_LEVELS]:
        if not any(root.glob(METADATA_END)):
            continue
        name = path.relative_to(root).as_posix()
        for distribution in metadata.distributions(path=[str(root)]):
            recorded = _recorded(distribution, name)
            if recorded is not None:
                return _packaged(distribution, recorded, digest)
    return None


def _recorded(distribution: metadata.Distribution, name: str) -> str | None:
    """What RECORD says of the file's digest (may be empty); None where it does not list the file."""
    record = distribution.read_text("RECORD") or ""
    rows = csv.reader(line for line in record.splitlines() if name in line)
    return next((row[1] for row in rows if len(row) == 3 and row[0] == name), None)


def _packaged(distribution: metadata.Distribution, recorded: str, digest: str) -> Packaged:
    fields = distribution.metadata
    method, _, value = recorded.partition("=")
    own = base64.urlsafe_b64encode(bytes.fromhex(digest.removeprefix("sha256:"))).rstrip(b"=").decode()
    return Packaged(
        package=_short(_field(fields, "Name")),
        version=_short(_field(fields, "Version")),
        by=_short(", ".join(_people(fields))),
        licence=_short(_field(fields, "License-Expression") or _field(fields, "License")),
        weights="not-recorded" if method != "sha256" else "as-installed" if value == own else "changed",
    )


def _people(fields: metadata.PackageMetadata) -> Iterator[str]:
    """Names of the authors, else of the maintainers; never an address."""
    for role in ("Author", "Maintainer"):
        plain = _field(fields, role)
        if plain:
            yield plain.split("<")[0].strip()
            return
        named = [name for name, _ in getaddresses([_field(fields, f"{role}-email")]) if name]
        if named:
            yield from named
            return


def _field(fields: metadata.PackageMetadata, name: str) -> str:
    if name not in fields:
        return ""
    return str(fields[name])


def _short(text: str) -> str:
    return clean(text.partition("\n")[0])[:LONGEST]
