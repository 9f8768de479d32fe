"""What a party keeps beside a study: its signing key, its private folder, its small state files.

Not here: what is in them (site/, coordinator/), and encryption keys, which are never files.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from ..governance.signing.keys import SigningKey
from .errors import BadInputError, Refused
from .passphrases import unlock

LOG_NAME = "log.sqlite"
SOCKET = "engine.sock"  # in a party's state folder, where an engine's process connects


def state_folder(study_folder: Path, party: str, *, coordinator: bool = False) -> Path:
    """Where ``party`` keeps its state: beside the study, never under an output folder."""
    return study_folder / "coordinator" / "state" if coordinator else study_folder / "sites" / party / "state"


def log_origin(study: str, party: str) -> str:
    """The name of a party's log in its signed heads (C2SP tlog-checkpoint, origin line)."""
    return f"sekisho.example/{study}/{party}"


def key_path(study_folder: Path, name: str, *, demo: bool = False) -> Path:
    """Where the key of a party, or of a person who keeps it beside the study, lies."""
    return study_folder / "keys" / (f"{name}.demo.key" if demo else f"{name}.key")


def load_key(study_folder: Path, party: str, *, demo: bool, ask: bool = True) -> SigningKey:
    """The signing key of a party: ``keys/<party>.demo.key`` under a demo roster, else ``keys/<party>.key``.

    ``ask`` says whether a person may be asked for its passphrase (passphrases.py has where it may come from).
    """
    return unlock(check_has_key(study_folder, party, demo=demo), party, ask=ask)


def check_has_key(study_folder: Path, party: str, *, demo: bool) -> Path:
    """Where the party's key lies. Raises ``Refused`` KEY_MISSING where it lies elsewhere."""
    path = key_path(study_folder, party, demo=demo)
    if not path.exists():
        raise Refused(
            "KEY_MISSING",
            f"there is no signing key for '{party}' in {study_folder}",
            hint=f"is this the folder and the machine of '{party}'? Its owner puts the key in keys/{path.name} "
            f"(`sekisho study key {party}` made it); a demo key is accepted under a demo roster only",
            site=party,
        )
    return path


def make_private_folder(path: Path) -> None:
    """Create ``path`` for its owner alone. Raises ``BadInputError`` when it cannot be written."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        probe = path / ".writable"
        probe.touch(mode=0o600)
        probe.unlink()
    except OSError as error:
        raise BadInputError(
            "STATE_UNWRITABLE",
            f"the folder '{path.parent.name}/{path.name}' cannot be written ({error.strerror})",
            hint="budgets and logs live beside the study; give this user the right to write there",
        ) from None


class StateLock:
    """One process at a time in a party's state: a second one would close the first one's runs as orphans.

    An advisory lock (flock) that ends with the process, however it ends.
    """

    def __init__(self, folder: Path, party: str) -> None:
        self._descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise Refused(
                "STATE_BUSY",
                f"another process is at work in the state of '{party}'",
                hint="wait until it has ended; two runs at once would spend one budget twice",
                site=party,
            ) from None

    def release(self) -> None:
        """Let the next process in; a second call does nothing, for the number may be another file's by then."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


PRIVATE, READABLE = 0o600, 0o644


def write_whole(path: Path, data: bytes | Sequence[memoryview], mode: int, *, draft_in: Path | None = None) -> None:
    """Replace a file atomically and durably, whatever lay at its place or at the draft's. Raises ``OSError``.

    ``data`` may come in pieces, which are written one after the other and never joined in memory.

    ``draft_in`` is another folder of the same disk, for a place where half a file would be taken for a whole one. The
    draft is always a new file: a link that somebody left there, in a folder that is shared or came from a
    repository, must not lead the writer to another file.
    """
    partial = (draft_in or path.parent) / (path.name + ".part")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in [data] if isinstance(data, bytes) else data:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def replace_file(path: Path, data: bytes | Sequence[memoryview]) -> None:
    """Replace a private file atomically and durably. Raises ``BadInputError`` (disk full, read-only)."""
    try:
        write_whole(path, data, PRIVATE)
    except OSError as error:
        raise BadInputError(
            "STATE_UNWRITABLE",
            f"{path.name} cannot be written ({error.strerror}), so the run must not go on",
            hint="free some space where budgets and logs live, beside the study",
        ) from None
