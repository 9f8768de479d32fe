"""``Sealed``: one signed message with its payload; the only type that may leave a site.

An engine accepts ``Sealed`` and nothing else, and ``Sealed(...)`` is written in ``gate.py`` alone
(held by ``tests/test_architecture.py``). What arrives from a peer is a ``SignedMessage``, never a ``Sealed``.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..messages import SignedMessage


@dataclass(frozen=True)
class Sealed:
    """A message that passed the gate. ``message`` is what travels; there is nothing else inside."""

    message: SignedMessage

    def to_bytes(self) -> bytes:
        """The wire form of the message."""
        return self.message.to_bytes()
