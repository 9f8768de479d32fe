"""Whatever can sign: a key in a file, or a command that never gives its key away.

For: everything that signs without asking where the key is (``envelope``). Not for: keys themselves (``keys``), or
running commands (``signer_command``).
"""

from __future__ import annotations

from typing import Protocol

from .keys import PublicKey


class Signer(Protocol):
    """Whatever signs for one public key; ``demo`` says that the whole world knows its private half."""

    @property
    def public(self) -> PublicKey:
        """The key under which signatures verify."""

    @property
    def demo(self) -> bool:
        """Whether the key is published."""

    def sign(self, data: bytes) -> bytes:
        """The 64-byte signature of ``data``."""
