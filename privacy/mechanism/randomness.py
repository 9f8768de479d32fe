"""Secret random bits: ChaCha20 under a key from the operating system. Nothing else in the product draws
secrets for DP.

For: noise shares, stochastic rounding, Poisson sampling.
Not for: public randomness (initial weights come from the study's seed), signing or encryption keys.

Order of calls: ``SecretStream()`` once a step → ``derive(label)`` for each independent use → ``uint64(n)``
/ ``bytes(n)``. Two uses never share a stream: what one subject draws must not move what another draws.
"""

from __future__ import annotations

import builtins
import os
from typing import NoReturn

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from numpy.typing import NDArray

from ..errors import BadParametersError

KEY_BYTES = 32
# The block counter has 32 bits in RFC 8439, 64 bytes a block; a step draws a few megabytes.
MAXIMUM_BYTES = 64 * (2**32 - 1)

# Counter and nonce are zero: each key serves one stream only, so there is nothing to tell apart.
_COUNTER_AND_NONCE = bytes(16)
_DERIVE = b"sekisho/secret-stream/v1/"


class SecretStream:
    """A keystream (RFC 8439) read front to back, once. It can be neither copied nor pickled.

    Args:
        key: 32 bytes; ``None`` draws them from the operating system. Given keys are for derivation and tests.
    """

    def __init__(self, key: builtins.bytes | None = None) -> None:
        if key is None:
            key = os.urandom(KEY_BYTES)
        if len(key) != KEY_BYTES:
            raise BadParametersError("BAD_STREAM_KEY", "a stream key does not have 32 bytes")
        self._key = key
        self._left = MAXIMUM_BYTES
        self._cipher = Cipher(ChaCha20(key, _COUNTER_AND_NONCE), mode=None).encryptor()

    def bytes(self, count: int) -> builtins.bytes:
        """The next ``count`` bytes.

        Raises:
            BadParametersError: ``STREAM_EXHAUSTED`` past 256 GiB.
        """
        if not 0 <= count <= self._left:
            raise BadParametersError(
                "STREAM_EXHAUSTED", "a secret stream was asked for more than it may give"
            )
        self._left -= count
        return self._cipher.update(bytes(count))

    def uint64(self, count: int) -> NDArray[np.uint64]:
        """The next ``count`` uniform integers in [0, 2^64)."""
        return np.frombuffer(self.bytes(8 * count), dtype="<u8").astype(np.uint64, copy=False)

    def derive(self, label: builtins.bytes) -> SecretStream:
        """An independent stream for ``label`` (HKDF-Expand, RFC 5869); does not depend on what was read
        here."""
        return SecretStream(HKDFExpand(SHA256(), KEY_BYTES, _DERIVE + label).derive(self._key))

    def __reduce__(self) -> NoReturn:
        raise BadParametersError("STREAM_NOT_COPYABLE", "a secret stream is never copied, stored or sent")

    def __repr__(self) -> str:
        return "SecretStream(...)"
