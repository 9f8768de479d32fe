"""The BFV secret key of one step. Whoever holds it opens the sum of that step; this is the file to grep for.

For: ``encrypt.py`` and ``decrypt.py``, which alone import it.
Not for: the coordinator, storage, or more than one step.
Order of calls: ``StepSecret.derive(run_secret, H_t)`` → one ``encrypt`` or one ``open_sum`` → ``wipe``.

All sites derive the same key from the run secret and the step's transcript, so nothing has to be sent, and
sites whose transcripts differ hold unrelated keys. SEAL draws the key from a generator seeded with 64 derived
bytes and used for nothing else. How it samples belongs to a build of SEAL: a golden vector tells whether this
build draws the key that the others draw, and the key-check value in every header only tells that the *run
secret* is the same.

Wiping is best effort. ``wipe`` overwrites the seed that is kept for worker processes and lets go of SEAL's key,
which clears itself. Not reached: the bytes and integers that Python made on the seed's way to SEAL, and whatever
the operating system has swapped out.
"""

from __future__ import annotations

import functools
from typing import Final, NoReturn, Self

from ..encryption.bfv import SeededKey, seeded_key, seeded_key_digest
from ..encryption.presets import PRESETS, SEED_BYTES
from ..errors import KeyAgreementError
from .runkeys import RUN_SECRET_BYTES, TRANSCRIPT_BYTES, RunSecret

STEP_KEY_LABEL: Final = b"sekisho/step-secret-key/v1"
_RING: Final = PRESETS["2x24"]  # every preset has the same ring, hence the same key (``SeededKey.under``)

# SHA-256 of the key that SEAL 4 draws for a published run secret and transcript.
GOLDEN_RUN_SECRET: Final = bytes(range(RUN_SECRET_BYTES))
GOLDEN_TRANSCRIPT: Final = b"\x42" * TRANSCRIPT_BYTES
GOLDEN_DIGEST: Final = "c925e7751f7468ae47966cb57ebd77990bb66c73734e99915648827f7f9c2ab6"


class StepSecret:
    """An opaque secret key: nothing to read, print, compare, copy or pickle."""

    __slots__ = ("_key",)

    def __init__(self, key: SeededKey) -> None:
        self._key: SeededKey | None = key

    @classmethod
    def derive(cls, run_secret: RunSecret, h: bytes) -> Self:
        """The key of the step whose transcript hash (32 bytes) is ``h``; the same at every site of that step.

        Raises KeyAgreementError: GOLDEN_VECTOR, TRANSCRIPT_HASH, RUN_SECRET_WIPED.
        """
        if not golden_vector_holds():
            raise KeyAgreementError(
                "GOLDEN_VECTOR",
                "this build of TenSEAL draws another secret key than the other sites' builds do",
                "install the version of tenseal that the lock file names",
            )
        return cls(seeded_key(_RING, run_secret.derive(STEP_KEY_LABEL, h, length=SEED_BYTES)))

    def use(self) -> SeededKey:
        """The key itself, for ``encrypt.py`` and ``decrypt.py``; after ``wipe`` refused (SECRET_WIPED)."""
        if self._key is None:
            raise KeyAgreementError(
                "SECRET_WIPED", "the secret key of this step has been wiped", "the step is over"
            )
        return self._key

    def wipe(self) -> None:
        """Overwrite the seed and let go of the key; see above for what that reaches."""
        if self._key is not None:
            self._key.wipe()
        self._key = None

    def __repr__(self) -> str:
        return "StepSecret(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a step's secret key is not copied or stored")


@functools.cache
def golden_vector_holds() -> bool:
    """True if this build of SEAL draws the secret key that all sites must draw; computed once a process."""
    seed = RunSecret(GOLDEN_RUN_SECRET).derive(STEP_KEY_LABEL, GOLDEN_TRANSCRIPT, length=SEED_BYTES)
    return seeded_key_digest(_RING, seed) == GOLDEN_DIGEST
