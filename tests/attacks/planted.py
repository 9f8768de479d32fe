"""Where something that was planted turns up: raw bytes of every file, packed ones unpacked, in every usual writing.

For: tests that plant a person and look for them. Not for: judging where they may stand.
"""

from __future__ import annotations

import base64
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote


def writings(text: str) -> tuple[bytes, ...]:
    """How a text may stand in bytes: plain, JSON-escaped, percent, UTF-16, hexadecimal, base64 at each alignment."""
    raw = text.encode("utf-8")
    escaped = text.encode("ascii", "backslashreplace").replace(b"/", rb"\/")
    found = [raw, raw.lower(), raw.upper(), escaped, quote(text, safe="").encode(), raw.hex().encode(),
             text.encode("utf-16-le"), text.encode("utf-16-be")]
    for shift in range(3):
        # the characters of base64 that depend on this text alone, whatever stands before and after it
        coded = base64.b64encode(b"\0" * shift + raw)
        inner = coded[(shift * 8 + 5) // 6 : (len(raw) + shift) * 8 // 6]
        found += [inner, inner.replace(b"+", b"-").replace(b"/", b"_")]
    return tuple(dict.fromkeys(found))


def unpacked(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """``data`` itself, and everything that is packed in it."""
    yield name, data
    if data[:2] == b"\x1f\x8b":
        try:
            yield from unpacked(f"{name}!", gzip.decompress(data))
        except (OSError, EOFError, zlib.error):
            return
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            for member in packed.namelist():
                yield from unpacked(f"{name}!{member}", packed.read(member))


def search(canaries: Iterable[str], things: Mapping[str, bytes]) -> dict[str, set[str]]:
    """Thing -> the canaries that stand in it, in whatever writing; things without any are left out."""
    wanted = {canary: writings(canary) for canary in canaries}
    hits: dict[str, set[str]] = {}
    for thing, packed in things.items():
        for _, data in unpacked(thing, packed):
            found = {canary for canary, forms in wanted.items() if any(form in data for form in forms)}
            if found:
                hits.setdefault(thing, set()).update(found)
    return hits


def files_below(*roots: Path) -> dict[str, bytes]:
    """Every file below the roots by its path, its name included in what is looked at."""
    return {
        str(path): path.name.encode() + b"\n" + path.read_bytes() if path.suffix not in (".gz", ".zip")
        else path.read_bytes()
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
