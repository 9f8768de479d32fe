"""A signer that is a command: for keys in hardware tokens, agents and key services that never give the key away.

For: asking a command that its user named for one signature, and believing nothing that it says. Not for: keys in files
(``keys``), or finding a command: it is named on the command line each time, never read from a study's folder, since
whoever can write that folder could then run anything.

Order of calls: ``CommandSigner.of(command, keys)`` -> ``sign(data)``, as with a ``SigningKey``.

The command gets the bytes to be signed (DSSE's pre-authentication encoding) on standard input, which is a regular file,
and prints the 64 bytes of the Ed25519 signature in base64. No shell reads the command. What it prints is used only if
it is a signature over these bytes by the key that the roster lists.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import selectors
import shlex
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from ..errors import BadSignatureError, Refused
from .keys import SIGNATURE_BYTES, PublicKey

SIGNER_SECONDS = 120.0   # a person may have to find the token, touch it and type its PIN
MAX_SIGNER_OUTPUT = 256  # a signature in base64 is 88 characters; nothing longer is one


@dataclass(frozen=True)
class CommandSigner:
    """Signs by running ``arguments`` (program first), for the key ``public``; gives up after ``seconds``."""

    arguments: tuple[str, ...]
    public: PublicKey
    seconds: float = SIGNER_SECONDS
    demo: bool = False

    @classmethod
    def of(cls, command: str, keys: Sequence[PublicKey], *, seconds: float = SIGNER_SECONDS) -> CommandSigner:
        """The signer of somebody whose ``keys`` the roster lists.

        Raises:
            Refused: SIGNER_COMMAND (cannot be split into words), SIGNER_KEY_UNKNOWN (no key, or more than one).
        """
        try:
            arguments = tuple(shlex.split(command))
        except ValueError:
            arguments = ()
        if not arguments or any("\0" in word for word in arguments):
            raise Refused(
                "SIGNER_COMMAND", "the signer's command cannot be split into words", "check its quotation marks"
            )
        if len(keys) != 1:
            raise Refused(
                "SIGNER_KEY_UNKNOWN", f"the roster lists {len(keys)} keys for this person, so which one signs is open",
                "a person who signs by a command has one key in the roster",
            )
        return cls(arguments, keys[0], seconds)

    def sign(self, data: bytes) -> bytes:
        """Ask the command, and check its answer.

        Raises:
            Refused: SIGNER_MISSING, SIGNER_TIMEOUT, SIGNER_FAILED (exit status), SIGNER_GARBAGE, SIGNER_WRONG_KEY.
        """
        # 1. It runs, ends in time and says that all went well.
        printed = self._ask(data)
        # 2. It printed one signature and nothing else.
        try:
            signature = base64.b64decode(printed.strip(), validate=True)
        except (binascii.Error, ValueError):
            signature = b""
        if len(printed) > MAX_SIGNER_OUTPUT or len(signature) != SIGNATURE_BYTES:
            raise Refused(
                "SIGNER_GARBAGE", "the signer did not print one Ed25519 signature in base64",
                "it prints the 64 bytes of the signature in base64, and nothing else, to standard output",
            )
        # 3. It is one of the key that the roster lists, over these very bytes.
        try:
            self.public.verify(signature, data)
        except BadSignatureError as error:
            raise Refused(
                "SIGNER_WRONG_KEY", "what the signer printed is not a signature by the key that the roster lists",
                "check which key the token uses; the bytes to sign are those on standard input, unhashed",
            ) from error
        return signature

    def _ask(self, data: bytes) -> bytes:
        deadline = time.monotonic() + self.seconds
        with tempfile.TemporaryFile() as given:  # a file: a command that does not read cannot make us wait
            given.write(data)
            given.seek(0)
            try:
                process = subprocess.Popen(self.arguments, stdin=given, stdout=subprocess.PIPE)  # noqa: S603  the user's own words
            except OSError as error:
                raise Refused(
                    "SIGNER_MISSING", f"the signer cannot be started ({error.strerror})",
                    "give the program's path, and check that it may be executed",
                ) from error
            assert process.stdout is not None
            with process.stdout as stdout:
                try:
                    printed = _read(stdout, deadline)
                    if len(printed) > MAX_SIGNER_OUTPUT:
                        return printed  # no signature, and it may go on for ever
                    status = process.wait(max(0.0, deadline - time.monotonic()))
                except (TimeoutError, subprocess.TimeoutExpired) as error:
                    raise Refused(
                        "SIGNER_TIMEOUT", f"the signer did not answer within {self.seconds:g} seconds",
                        "see whether the token waits for a touch or a PIN, and sign again",
                    ) from error
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    process.wait()
        if status != 0:
            raise Refused("SIGNER_FAILED", f"the signer ended with status {status}", "its own messages say why")
        return printed


def _read(stdout: IO[bytes], deadline: float) -> bytes:
    """What is printed until its end, or until it is too long to be a signature. Raises ``TimeoutError``."""
    printed = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while len(printed) <= MAX_SIGNER_OUTPUT:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            piece = os.read(stdout.fileno(), MAX_SIGNER_OUTPUT + 1)
            if not piece:
                return printed
            printed += piece
    return printed
