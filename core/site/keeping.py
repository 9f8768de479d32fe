"""The files from which a site that was killed goes on with its run, and the order in which they are written.

    <run>.keys      the run's keys in a box (privacy/keys/runkeys.py), written once; gone when the run ends
    <run>.begun     what is fixed from the agreement on, written once: offer, own join, certified figures, others' parts
    <run>.opening   which message's sum is opened at which place; replaced before it is opened
    <run>.json      where the run stands (state.py), with ``going_on``: all that moves, and the last answer; replaced,
                    with the arrays that it names, before that answer is handed out
    <run>.<n>.place an empty file, made anew for each of these documents and named in it; the one before it goes

For: writing and reading them strictly, in ``state/runs/``, 0600. Not for: whether the run may go on (resuming.py).

Order of calls: ``begin`` once keys are agreed → ``keep`` for each answer, ``note_opening`` before a sum is opened →
``drop_keys`` at the end → ``discard`` when nobody can ask anything of the run. After a kill: ``begun`` → ``read``.

Documents carry a MAC and the keys are encrypted, both under keys that follow from the site's signing key: where a
passphrase protects that, it protects these too. The folder is bound to its place by the inode of the file of keys,
and when that last changed, and of the last document's own ``.place``: a copy of it, or a backup put back, is not gone
on with, for two of one site could seal one step twice. The keys alone would not do, because who puts back only what
differs leaves them untouched. A snapshot of the whole machine cannot be told from it; others see that where they saw
more (heads.py).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from ...governance.signing.envelope import write_time
from ...governance.signing.keys import SigningKey
from ...privacy.errors import KeyAgreementError
from ...privacy.keys.runkeys import RunKeys
from ..errors import CoreError, ProtocolError
from ..parties import make_private_folder, replace_file
from ..training.optimizer import OptimizerState
from .kept import Begun, Closed, Document, GoingOn, Opening
from .state import RunState

KEYS, BEGUN, OPENING, STATE, PLACE = ".keys", ".begun", ".opening", ".json", ".place"
BOX_LABEL, MAC_LABEL = b"sekisho/kept-run/box/v1/", b"sekisho/kept-run/mac/v1/"
DAMAGED, MOVED, NOT_KEPT = "RUN_STATE_DAMAGED", "RUN_STATE_MOVED", "RUN_STATE_MISSING"
MAX_DOCUMENT = 64 << 20  # bytes; the offer, 95 parts and a thousand steps are a few hundred thousand


class CannotResumeError(CoreError):
    """A run that cannot be gone on with; it is closed as any that a crash left open, and the log says the code."""


Kept = TypeVar("Kept", bound=Closed)


@dataclass(frozen=True)
class KeptRun:
    """A run as its files have it. ``keys``: None once the run is over."""

    begun: Begun
    document: Document
    keys: RunKeys | None
    opening: tuple[str, str]
    optimizer: OptimizerState
    accepted: OptimizerState | None

    @property
    def over(self) -> bool:
        """Whether nothing is left of it but its last answer, and its result where it ended well."""
        return self.document.going_on.finished or bool(self.document.going_on.ended)


class RunFiles:
    """The files of a site's runs in its ``folder``; ``key`` is the site's signing key."""

    def __init__(self, folder: Path, site: str, key: SigningKey) -> None:
        self._folder = folder
        self._site = site
        self._key = key

    # -- while a run goes on ---------------------------------------------------------------------------------------

    def begin(self, state: RunState, begun: Mapping[str, Any]) -> None:
        """Keys are agreed: keep them, and what is fixed; ``begun``: the fields of it that ``state`` does not hold."""
        make_private_folder(self._folder)
        h0 = state.transcript.h0
        keys = RunKeys(state.secret(), state.pair_keys)
        box = self._path(state.run, KEYS)
        replace_file(box, keys.to_box(self._key.derive(BOX_LABEL), h0=h0, site=self._site))
        fixed = Begun(
            run=state.run, started=write_time(state.started), parts=state.parts, h0=h0.hex(), keys_at=_place_of(box),
            **begun,
        )  # fmt: skip
        self._replace(fixed, BEGUN)
        for earlier in set(self.begun()) - {state.run}:  # over: nobody asks anything of them any more
            self.discard(earlier)

    def has_begun(self, run: str) -> bool:
        """Whether ``begin`` was done for the run."""
        return self._path(run, BEGUN).exists()

    def keep(self, state: RunState, going_on: GoingOn) -> None:
        """Where the run stands and what it answered last, durably. Raises ``BadInputError``: nothing was answered."""
        # 1. a place of its own, beside that of the document before: whichever document a kill leaves has one
        place = self._folder / f"{state.run}.{secrets.token_hex(4)}{PLACE}"
        replace_file(place, b"")
        more = {"going_on": going_on.model_dump(mode="json"), "place": place.name, "place_at": _place_of(place)}
        # 2. the document
        state.save(self._folder, more, self._mac_of(state.run))
        # 3. what was before can be put back, and its place cannot; a run that has ended needs none
        for earlier in self._places(state.run):
            if earlier != place or going_on.ended:
                earlier.unlink(missing_ok=True)

    def note_opening(self, run: str, place: str, message: str) -> None:
        """The sum of ``message`` is about to be opened at ``place``. Raises ``BadInputError``: then it must not be."""
        self._replace(Opening(run=run, place=place, message=message), OPENING)

    def drop_keys(self, run: str) -> None:
        """Overwrite and delete the keys, as far as the file system does what it is told."""
        box = self._path(run, KEYS)
        try:
            with box.open("r+b") as file:
                file.write(bytes(os.fstat(file.fileno()).st_size))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            pass  # a full or failing disk must not keep them from being deleted
        box.unlink(missing_ok=True)
        for place in self._places(run):
            place.unlink(missing_ok=True)

    def discard(self, run: str) -> None:
        """Nobody goes on with the run: only its state remains, as of every run."""
        self.drop_keys(run)
        for suffix in (BEGUN, OPENING):
            self._path(run, suffix).unlink(missing_ok=True)

    def begun(self) -> tuple[str, ...]:
        """The runs of which something is here to go on with, in order of their names."""
        found = self._folder.glob(f"*{BEGUN}") if self._folder.is_dir() else ()
        boxes = self._folder.glob(f"*{KEYS}") if self._folder.is_dir() else ()
        return tuple(sorted({path.name[: -len(path.suffix)] for path in (*found, *boxes)}))

    # -- after a kill ----------------------------------------------------------------------------------------------

    def read(self, run: str) -> KeptRun:
        """The run as it was kept with its last answer.

        Raises:
            CannotResumeError: RUN_STATE_MISSING (keys were not agreed yet), RUN_STATE_DAMAGED, RUN_STATE_MOVED.
        """
        begun = self._read(run, BEGUN, Begun)
        document = self._read(run, STATE, Document)
        opening = self._read(run, OPENING, Opening) if self._path(run, OPENING).exists() else None
        over = document.going_on.finished or bool(document.going_on.ended)
        optimizer = self._arrays(document.run, document.arrays, document.dimension, document.updates, document.digest)
        accepted, moves = None, document.going_on.accepted
        if (document.accepted is None) != (moves is None):
            raise _damaged(run)
        if document.accepted is not None:
            kept = document.accepted
            accepted = self._arrays(document.run, kept.arrays, document.dimension, kept.updates, kept.digest)
        return KeptRun(
            begun=begun,
            document=document,
            keys=None if over else self._keys(begun, document),
            opening=("", "") if opening is None else (opening.place, opening.message),
            optimizer=optimizer,
            accepted=accepted,
        )

    def _keys(self, begun: Begun, document: Document) -> RunKeys:
        path, place = self._path(begun.run, KEYS), self._folder / document.place
        try:
            if _place_of(path) != begun.keys_at or not place.exists() or _place_of(place) != document.place_at:
                raise CannotResumeError(MOVED, f"what was kept of the run '{begun.run}' is a copy, or was put back")
            return RunKeys.from_box(
                path.read_bytes(), self._key.derive(BOX_LABEL), h0=bytes.fromhex(begun.h0), site=self._site
            )
        except (OSError, KeyAgreementError):
            raise _damaged(begun.run) from None

    def _arrays(self, run: str, name: str, dimension: int, updates: int, digest: str) -> OptimizerState:
        path = self._folder / name
        try:
            if path.parent != self._folder or not name.startswith(f"{run}.") or path.stat().st_size != 24 * dimension:
                raise _damaged(run)
            vectors = np.fromfile(path, "<f8").astype(np.float64, copy=False).reshape(3, dimension)
            vector, velocity, reference = (one.copy() for one in vectors)
            state = OptimizerState(vector, velocity, reference, updates)
        except (OSError, ValueError, ProtocolError):
            raise _damaged(run) from None
        if state.digest() != digest:
            raise _damaged(run)
        return state

    # -- documents -------------------------------------------------------------------------------------------------

    def _path(self, run: str, suffix: str) -> Path:
        return self._folder / f"{run}{suffix}"

    def _places(self, run: str) -> Iterator[Path]:
        own = re.compile(re.escape(run) + r"\.[0-9a-f]{8}" + re.escape(PLACE))  # and not of a run whose name begins so
        found = tuple(self._folder.iterdir()) if self._folder.is_dir() else ()
        return (path for path in found if own.fullmatch(path.name))

    def _replace(self, value: Begun | Opening, suffix: str) -> None:
        document = value.model_dump(mode="json")
        document["mac"] = self._mac_of(value.run)(document)
        replace_file(self._path(value.run, suffix), json.dumps(document).encode("utf-8"))

    def _read(self, run: str, suffix: str, model: type[Kept]) -> Kept:
        path = self._path(run, suffix)
        try:
            if path.stat().st_size > MAX_DOCUMENT:
                raise _damaged(run)
            value = json.loads(path.read_bytes())
            mac = value["mac"]
            if value["run"] != run or not hmac.compare_digest(str(mac), self._mac_of(run)(value)):
                raise _damaged(run)
            return model.model_validate_json(json.dumps(value), strict=True)
        except FileNotFoundError:
            raise CannotResumeError(NOT_KEPT, f"the run '{run}' was cut off before its keys were agreed") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError):
            raise _damaged(run) from None

    def _mac_of(self, run: str) -> Any:
        key = self._key.derive(MAC_LABEL + run.encode("utf-8"))

        def mac(document: Mapping[str, Any]) -> str:
            told = {name: value for name, value in document.items() if name != "mac"}
            text = json.dumps(told, sort_keys=True, separators=(",", ":"))
            return hmac.new(key, text.encode("utf-8"), "sha256").hexdigest()

        return mac


def to_text(data: bytes) -> str:
    """Bytes as these documents hold them."""
    return base64.b64encode(data).decode("ascii")


def to_bytes(text: str) -> bytes:
    """The inverse of ``to_text``. Raises ``CannotResumeError`` RUN_STATE_DAMAGED."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise CannotResumeError(DAMAGED, "a kept message of the run cannot be read") from None


def _place_of(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, int(found.st_ctime)


def _damaged(run: str) -> CannotResumeError:
    return CannotResumeError(DAMAGED, f"what was kept of the run '{run}' is damaged")

