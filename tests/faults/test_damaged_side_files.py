"""What befalls the files beside a log that nobody closed: cut, emptied, removed, swapped, overwritten.

The write-ahead log holds what was appended since the last signed head. Whatever is done to it, the log either is a
whole beginning of what was acknowledged that reaches that head, or refuses by name; it is never silently shorter.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sekisho.governance.errors import BrokenLogError
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.fsck import recompute
from sekisho.governance.log.logfile import open_to_read
from sekisho.governance.signing.keys import SigningKey

from .log_writer import KEY, LOG, ORIGIN, entry

SIGNED, AFTER = 40, 25
HEADER, FRAME = 32, 24 + 4096         # of a write-ahead log, https://www.sqlite.org/fileformat2.html section 4
WAL, SHM = f"{LOG}-wal", f"{LOG}-shm"
BY_NAME = {"LOG_DAMAGED", "LOG_OF_ANOTHER", "LOG_UNWRITABLE"}


def left_open(folder: Path, origin: str = ORIGIN, key: SigningKey = KEY, attempt: int = 1) -> list[bytes]:
    """A log with a signed head and entries after it, as a killed process leaves it; its entries."""
    made = folder / "made"
    made.mkdir(parents=True)
    with AuditLog.open(made / LOG, origin=origin, key=key) as log:
        log.append_all([entry(number, attempt) for number in range(SIGNED)])
        log.checkpoint()
        for number in range(SIGNED, SIGNED + AFTER):
            log.append(entry(number, attempt))
        for name in (LOG, WAL, SHM):
            shutil.copy(made / name, folder / name)
        bodies = list(log.entries())
    shutil.rmtree(made)
    return bodies


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    folder = tmp_path_factory.mktemp("left")
    return folder, left_open(folder)


def found_after(left: tuple[Path, list[bytes]], tmp_path: Path, act: Callable[[Path], object]) -> int:
    """How many entries are there after ``act``; -1 if the log refuses by name."""
    source, bodies = left
    folder = Path(shutil.copytree(source, tmp_path / "copy"))
    try:
        act(folder)
        try:
            log = AuditLog.open(folder / LOG, origin=ORIGIN, key=KEY)
        except BrokenLogError as error:
            assert error.code in BY_NAME
            return -1
        with log:
            size = log.size
            assert list(log.entries()) == bodies[:size], "what is there is not what was appended"
            assert size >= SIGNED, "silently shorter than the signed head"
            assert log.fsck().heads == 1
            assert log.append(entry(size, 2)) == size
        return size
    finally:
        shutil.rmtree(folder)


def cut(length: int) -> Callable[[Path], object]:
    return lambda folder: (folder / WAL).write_bytes((folder / WAL).read_bytes()[:length])


def test_a_write_ahead_log_cut_anywhere(left: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    length = (left[0] / WAL).stat().st_size
    frames = (length - HEADER) // FRAME
    assert frames >= 2 * AFTER, "there is something to cut"
    edges = [HEADER + frame * FRAME for frame in range(frames + 1)]
    places = {0, 1, HEADER - 1, *edges, *(edge + 11 for edge in edges[::5]), *(edge + 24 + 2000 for edge in edges[::3])}
    sizes = [found_after(left, tmp_path, cut(place)) for place in sorted(places)]
    assert sizes == sorted(sizes) and sizes[0] == SIGNED and sizes[-1] == SIGNED + AFTER
    assert len(set(sizes)) == AFTER + 1, "every entry appeared with the frame that commits it"


@pytest.mark.parametrize("name", [WAL, SHM])
def test_a_side_file_that_was_tidied_away(name: str, left: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    size = found_after(left, tmp_path, lambda folder: (folder / name).unlink())
    assert size == (SIGNED if name == WAL else SIGNED + AFTER)


def test_an_index_of_another_time_is_made_anew(left: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    for junk in (b"", bytes(32768), random.Random(8).randbytes(32768)):
        assert found_after(left, tmp_path, lambda folder, junk=junk: (folder / SHM).write_bytes(junk)) == SIGNED + AFTER


def test_a_write_ahead_log_of_another_log(left: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    other = tmp_path / "other"
    left_open(other, "sekisho.example/food-quality-2026/wanko", SigningKey.from_seed(b"w" * 32), attempt=7)
    size = found_after(left, tmp_path, lambda folder: shutil.copy(other / WAL, folder / WAL))
    assert size == -1, "entries of another log were taken for this one's"


def test_bits_that_turned_over_in_the_write_ahead_log(left: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    pick = random.Random(8)

    def turn(folder: Path) -> None:
        data = bytearray((folder / WAL).read_bytes())
        data[pick.randrange(len(data))] ^= 1 << pick.randrange(8)
        (folder / WAL).write_bytes(data)

    assert all(SIGNED <= found_after(left, tmp_path, turn) < SIGNED + AFTER for _ in range(40))


def test_whoever_reads_for_long_keeps_no_head_waiting(tmp_path: Path) -> None:
    with AuditLog.open(tmp_path / LOG, origin=ORIGIN, key=KEY) as log:
        log.append(entry(0, 1))
        reader = open_to_read(tmp_path / LOG)
        reader.execute("BEGIN")
        assert reader.execute("SELECT COUNT(*) FROM entries").fetchone() == (1,)
        log.append(entry(1, 1))
        log.checkpoint()
        assert (tmp_path / WAL).stat().st_size > 0, "the reader still needs it"
        reader.execute("COMMIT")
        reader.close()
        log.checkpoint()
        assert (tmp_path / WAL).stat().st_size == 0
        assert log.append(entry(2, 1)) == 2 and log.fsck().heads == 1


def test_a_log_that_nobody_closed_can_be_read_without_its_key(left: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    for name in ("", SHM):
        folder = Path(shutil.copytree(left[0], tmp_path / f"copy{len(name)}"))
        if name:
            (folder / name).unlink()
        with closing(open_to_read(folder / LOG)) as connection:
            assert recompute(connection, ORIGIN, KEY.public).entries == SIGNED + AFTER
