"""What can go wrong in the federation: each with a stable code, a sentence and a hint.

    CoreError
    ├── Refused           policy, consent, approval or budget says no            exit 3
    ├── BadInputError     a file or argument that cannot be used                 exit 2
    ├── CheckFailedError  a check ran and found something                        exit 1
    ├── ProtocolError     a message that this state of the run does not allow
    └── Interrupted       work in hand was told to end; nothing was decided

Codes are UPPER_SNAKE and never change meaning. Messages never contain record content.
"""

from __future__ import annotations


class CoreError(Exception):
    """Base of this house's errors: ``code`` is stable, ``str(error)`` is one sentence, ``hint`` says what to do."""

    def __init__(self, code: str, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.hint = hint


class Refused(CoreError):  # noqa: N818  a refusal is an answer, not a fault
    """Policy, consent, approval or budget says no; ``site`` and ``clause`` say whose and which, where known."""

    def __init__(self, code: str, sentence: str, hint: str = "", *, site: str = "", clause: str = "") -> None:
        super().__init__(code, sentence, hint)
        self.site = site
        self.clause = clause


class BadInputError(CoreError):
    """A file or an argument that cannot be used as it is."""


class CheckFailedError(CoreError):
    """A check ran to its end and found something."""


class ProtocolError(CoreError):
    """A message that is forged, out of order, or not allowed in this state of the run."""


class Interrupted(CoreError):  # noqa: N818  no fault: somebody asked for it
    """Work in hand was told to end, between two batches; what was started stays charged."""
