"""Which files may lie in a base-model folder: told by their names first, then by their first bytes.

For: ``files_of(folder)``, and ``refuse`` for everything else that intake refuses. Not for: what the files say
(weights.py, sources.py, intake.py).

Order of calls: ``files_of(folder)`` -> path by name in the folder, every one regular, inside the folder, of a kind that
cannot run, and no disguise.

A pickle is a program: reading it runs it. One under an innocent suffix is still one for a library that looks at bytes
(torch.load does), so a suffix alone is not believed. A hard link cannot be told from a file and is one.
Sources: PEP 3154 and Lib/pickletools.py (protocols 0 to 5); the first bytes as file(1) lists them.
"""

from __future__ import annotations

import os
import pickletools
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from ..errors import BadInputError

MOST_FILES = 500
LARGEST_OTHER = 64 << 20  # of a file that is not weights: tokenizers of large vocabularies have 20 MiB
MOST_OPCODES = 1_000_000  # a file that reads as so many opcodes of a pickle is one, or means to cost us time
HEAD = 512  # the bytes in which each mark below stands
TAIL = (1 << 16) + 22  # a zip is read from its end: 22 bytes and a remark of at most 65,535
ZIP_END = b"PK\x05\x06"

WEIGHTS_SUFFIX = ".safetensors"
TEXTS = frozenset({".json", ".md", ".txt"})
SUFFIXES = TEXTS | {".model", WEIGHTS_SUFFIX}
PLAIN_NAMES = frozenset({".gitattributes", "LICENSE", "LICENCE", "NOTICE"})
PROGRAMS = frozenset({".dll", ".dylib", ".ipynb", ".js", ".pth", ".py", ".pyc", ".pyd", ".pyx", ".sh", ".so"})
PICKLES = frozenset({".bin", ".ckpt", ".dill", ".h5", ".joblib", ".keras", ".npy", ".npz", ".pickle", ".pkl", ".pt"})
ARCHIVES = frozenset({".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip", ".zst"})

PICKLE, ARCHIVE, CODE = "BASE_MODEL_PICKLE", "BASE_MODEL_ARCHIVE", "BASE_MODEL_CODE"
_MARKS: tuple[tuple[int, bytes, str], ...] = (
    *((0, bytes((0x80, protocol)), PICKLE) for protocol in range(2, 6)),
    (0, b"\x89HDF\r\n\x1a\n", PICKLE),  # Keras keeps marshalled code in HDF5
    (0, b"\x93NUMPY", PICKLE),  # arrays of objects are pickles
    (0, b"PK\x03\x04", ARCHIVE), (0, b"PK\x05\x06", ARCHIVE), (0, b"\x1f\x8b", ARCHIVE), (4, b"1AY&SY", ARCHIVE),
    (0, b"\xfd7zXZ\x00", ARCHIVE), (0, b"\x28\xb5\x2f\xfd", ARCHIVE), (0, b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (0, b"Rar!\x1a\x07", ARCHIVE), (257, b"ustar", ARCHIVE),
    (0, b"\x7fELF", CODE), (0, b"MZ\x90\x00", CODE), (0, b"#!", CODE), (0, b"\x00asm", CODE),
    (0, b"\xca\xfe\xba\xbe", CODE), (0, b"\xce\xfa\xed\xfe", CODE), (0, b"\xcf\xfa\xed\xfe", CODE),
)  # fmt: skip
# Opcodes by which a pickle looks something up or calls it; without one it can only be data.
_CALLS = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "REDUCE", "BUILD", "NEWOBJ", "NEWOBJ_EX", "EXT1"})
_SAID = {
    PICKLE: ("may run code when it is read", "keep safetensors weights only"),
    ARCHIVE: ("is an archive, in which anything may lie", "unpack it and look at the folder that comes out"),
    CODE: ("is a program", "a base model is data; remove the file"),
}


class BaseModelRefusedError(BadInputError):
    """A base-model folder that is not taken. ``file`` is the name of what is at fault, or empty; ``why`` a detail."""

    def __init__(self, code: str, sentence: str, hint: str, *, file: str = "", why: str = "") -> None:
        super().__init__(code, sentence, hint)
        self.file = file
        self.why = why


def refuse(code: str, sentence: str, hint: str, *, file: str = "", why: str = "") -> NoReturn:
    """Raise ``BaseModelRefusedError``; what caused it is not shown, it could quote the file."""
    raise BaseModelRefusedError(code, sentence, hint, file=file, why=why) from None


def files_of(folder: Path) -> dict[str, Path]:
    """Path of every file by its name in ``folder``, sorted by name.

    Raises:
        BaseModelRefusedError: BASE_MODEL_SYMLINK, BASE_MODEL_PICKLE, BASE_MODEL_ARCHIVE, BASE_MODEL_CODE,
            BASE_MODEL_FILE_UNKNOWN, BASE_MODEL_TOO_MANY_FILES, BASE_MODEL_NOT_TEXT, BASE_MODEL_TOO_LARGE.
        OSError: what cannot be read.
    """
    # 1. the folder itself is what was named, and not what a link makes of it
    if folder.is_symlink():
        refuse("BASE_MODEL_SYMLINK", "the folder is itself a link", "name the folder to which it leads",
               file=folder.name)
    # 2. every name, before a byte is read
    paths = {path.relative_to(folder).as_posix(): path for path in _walk(folder)}
    # 3. the first bytes of every file: they are what its name says
    for path in paths.values():
        _check_bytes(path)
    return dict(sorted(paths.items()))


def mark_of(head: bytes) -> str | None:
    """The code of what these first bytes are known to begin, or None."""
    return next((code for at, mark, code in _MARKS if head[at : at + len(mark)] == mark), None)


def _walk(folder: Path) -> Iterator[Path]:
    root = folder.resolve()
    count = 0
    for place, folders, names in os.walk(folder, onerror=_raise):
        for name in folders:
            if (Path(place) / name).is_symlink():
                refuse("BASE_MODEL_SYMLINK", f"the folder {name} is a link", "copy the files into the folder",
                       file=name)
        for name in sorted(names):
            path = Path(place) / name
            if not path.resolve().is_relative_to(root):
                refuse("BASE_MODEL_SYMLINK", f"{name} is a link out of the folder", "copy the file into the folder",
                       file=name)
            _check_name(name, path)
            count += 1
            if count > MOST_FILES:
                refuse("BASE_MODEL_TOO_MANY_FILES", f"the folder holds more than {MOST_FILES} files",
                       "name the model's own folder", why=str(MOST_FILES))
            yield path


def _raise(error: OSError) -> None:
    # a folder that cannot be opened would be passed over in silence
    raise error


def _check_name(name: str, path: Path) -> None:
    suffix = path.suffix.lower()
    for code, suffixes in ((PICKLE, PICKLES), (ARCHIVE, ARCHIVES), (CODE, PROGRAMS)):
        if suffix in suffixes:
            _refuse_kind(code, name)
    if not stat.S_ISREG(path.stat().st_mode) or (suffix not in SUFFIXES and name not in PLAIN_NAMES):
        refuse("BASE_MODEL_FILE_UNKNOWN", f"{name} is not of a kind that a base model needs",
               "keep weights (safetensors), configuration, tokenizer, licence and card; remove the rest", file=name)


def _check_bytes(path: Path) -> None:
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(HEAD)
    if suffix != WEIGHTS_SUFFIX and path.stat().st_size > LARGEST_OTHER:
        refuse("BASE_MODEL_TOO_LARGE", f"{path.name} is larger than any such file of a model",
               "restore the model's own file", file=path.name)
    # weights begin with a length, which can look like anything: the brace behind it tells
    weights = suffix == WEIGHTS_SUFFIX and head[8:9] == b"{"
    marked = None if weights else mark_of(head) or _written_pickle(path)
    tail = _tail(path)
    if marked is None and _ends_a_zip(tail):  # whatever stands before it
        marked = ARCHIVE
    if marked == ARCHIVE and any(suffix.encode() in tail.lower() for suffix in (".pkl", ".pickle")):
        marked = PICKLE  # as torch.save writes it
    if marked is not None:
        _refuse_kind(marked, path.name)
    if suffix in TEXTS or path.name in PLAIN_NAMES:
        _check_text(path)


def _check_text(path: Path) -> None:
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        refuse("BASE_MODEL_NOT_TEXT", f"{path.name} is not text in UTF-8", "restore the model's own file",
               file=path.name)


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return file.read(TAIL)


def _ends_a_zip(tail: bytes) -> bool:
    """Whether an end record stands here whose remark reaches exactly to the end of the file (APPNOTE 4.3.16)."""
    at = tail.rfind(ZIP_END)
    while at >= 0:
        if len(tail) - at - 22 == int.from_bytes(tail[at + 20 : at + 22], "little"):
            return True
        at = tail.rfind(ZIP_END, 0, at)
    return False


def _written_pickle(path: Path) -> str | None:
    """The code of a pickle where a file is one of protocol 0 or 1, which has no mark, and looks up or calls something.

    The opcodes are listed, never carried out. Other files end at their first letters that are no opcode.
    """
    called = False
    if path.stat().st_size > LARGEST_OTHER:
        return None
    try:
        with path.open("rb") as file:
            for number, (opcode, _, _) in enumerate(pickletools.genops(file)):
                called = called or opcode.name in _CALLS
                if number == MOST_OPCODES:
                    return PICKLE
    except (ValueError, OverflowError, MemoryError, IndexError, UnicodeError):
        return None
    return PICKLE if called else None


def _refuse_kind(code: str, name: str) -> NoReturn:
    said, hint = _SAID[code]
    refuse(code, f"{name} {said}", hint, file=name)
