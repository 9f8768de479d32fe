"""Power loss at any moment: what the system was really asked to flush is enough to find every acknowledged entry.

Killing a process loses nothing that was written, flushed or not, so it cannot tell a log that flushes from one that
does not. This can: a writer's calls are recorded with their bytes, and the disk is put together again as it might stand
after a loss of power, out of what was flushed and a random part, in sectors, of what was not. Every acknowledgement
that stands before that moment must be kept there.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .durable import Durable, Writers

STRACE = shutil.which("strace")
CALLS = "openat,pwrite64,write,ftruncate,fsync,fdatasync,unlink"
SECTOR = 512                 # what a disk writes whole or not at all
LINE = re.compile(r"\d+ +(\w+)\((.*)\) += (-?\d+)")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
FILE = re.compile(r"\d+<((?:\\x[0-9a-f]{2})*)>")


@dataclass
class File:
    """Bytes that were flushed, and what was done since, in order: (offset, bytes), or (new length, None)."""

    flushed: bytes = b""
    since: list[tuple[int, bytes | None]] = field(default_factory=list)

    def flush(self) -> None:
        self.flushed, self.since = self.after(lambda: True), []

    def after(self, kept) -> bytes:  # type: ignore[no-untyped-def]  # a coin
        data = bytearray(self.flushed)
        for offset, written in self.since:
            if written is None:
                if kept():
                    del data[offset:]
                    data.extend(bytes(offset - len(data)))
                continue
            for start in range(0, len(written), SECTOR):
                if kept():
                    part = written[start : start + SECTOR]
                    data.extend(bytes(max(0, offset + start + len(part) - len(data))))
                    data[offset + start : offset + start + len(part)] = part
        return bytes(data)


class Disk:
    """Files by name, as programs see them and as a loss of power would leave them."""

    def __init__(self) -> None:
        self.seen: dict[str, File] = {}
        self.named: dict[str, File] = {}      # names whose folder was flushed since

    def call(self, name: str, folder: str, path: str, offset: int, written: bytes) -> None:
        if name in ("fsync", "fdatasync") and path == folder:
            self.named = dict(self.seen)
        elif name == "openat":
            self.seen.setdefault(path, File())
        elif name == "unlink":
            self.seen.pop(path, None)
        elif path not in self.seen:
            return
        elif name in ("fsync", "fdatasync"):
            self.seen[path].flush()
        else:
            self.seen[path].since.append((offset, None if name == "ftruncate" else written))

    def after_loss(self, coin: random.Random, keep: float, to: Path) -> None:
        """Write what may be left: each unflushed sector, cut and name with this probability."""
        def kept() -> bool:
            return coin.random() < keep

        names = self.seen if kept() else self.named
        for path, file in names.items():
            (to / Path(path).name).write_bytes(file.after(kept))


def recorded(folder: Path, out: Path, *words: str) -> Iterator[tuple[str, str, int, bytes]]:
    """(call, path, offset, bytes) in order; what the writer says comes as ("say", line, 0, b"")."""
    under = [str(STRACE), "-f", "-qq", "-y", "-xx", "-s", "70000", "-o", str(out), "-e", f"trace={CALLS}"]
    writers = Writers()
    try:
        assert writers.run(folder, 1, *words, under=under)[0] == 0
    finally:
        writers.close()
    for line in out.read_text("ascii").splitlines():
        match = LINE.match(line)
        if match is None or match[3].startswith("-"):
            continue
        name, arguments = match[1], match[2]
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in TEXT.findall(arguments)]
        opened = FILE.match(arguments)
        if name == "write":
            yield from (("say", said, 0, b"") for said in texts[0].decode("utf-8", "replace").splitlines())
            continue
        named = name in ("openat", "unlink")
        path = (texts[0] if named or opened is None else bytes.fromhex(opened[1].replace("\\x", ""))).decode()
        if path != str(folder) and not path.startswith(f"{folder}/"):
            continue
        number = int(arguments.rsplit(",", 1)[1]) if name in ("pwrite64", "ftruncate") else 0
        yield name, path, number, texts[-1] if name == "pwrite64" else b""


def losses(tmp_path: Path, every: int, *words: str) -> int:
    """Lose power after every acknowledgement and at every ``every``-th call, in four ways each; how many were tried."""
    if STRACE is None:
        pytest.skip("strace is not installed here; what is flushed cannot be recorded")
    site = tmp_path / "site"
    site.mkdir()
    calls = list(recorded(site, tmp_path / "trace", *words))
    disk, durable, tried, coin = Disk(), Durable(), 0, random.Random(8)
    for number, (name, path, offset, written) in enumerate(calls):
        if name == "say":
            durable.hear([path], 1)
        else:
            disk.call(name, str(site), path, offset, written)
        if not path.startswith("done") and number % every:
            continue
        for keep in (0.0, 0.3, 0.7, 1.0):
            left = tmp_path / "left"
            left.mkdir()
            disk.after_loss(coin, keep, left)
            try:
                durable.judge(left, add=False)
            except Exception as error:
                moment = f"power lost after call {number} ({name} {path}), {keep:.0%} of the rest kept"
                raise AssertionError(f"{moment}: {error!r}") from error
            shutil.rmtree(left)
            tried += 1
    return tried


def test_power_loss_after_an_acknowledgement_loses_nothing(tmp_path: Path) -> None:
    assert losses(tmp_path, 7, "short") >= 40


@pytest.mark.proof
def test_power_loss_anywhere_in_a_long_attempt_loses_nothing(tmp_path: Path) -> None:
    tried = losses(tmp_path, 2)
    print(f"\n{tried} losses of power, none lost anything acknowledged")
    assert tried >= 500
