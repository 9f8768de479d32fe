"""What can go wrong in governance: each with a stable code, a sentence and a hint.

    GovernanceError
    ├── Refused                 a rule says no (not named Error: it is the answer, not a fault)
    ├── BadDocumentError        a file that cannot be read as what it claims to be; has line and column
    ├── BadSignatureError       a signature, envelope, roster or approval that does not verify
    └── BrokenLogError          a log whose bytes and tree disagree

Codes are UPPER_SNAKE and never change meaning. Messages never contain record content.
"""

from __future__ import annotations


class GovernanceError(Exception):
    """Base of this house's errors: ``code`` is stable, ``str(error)`` is one sentence, ``hint`` says what to do."""

    def __init__(self, code: str, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.hint = hint


class Refused(GovernanceError):  # noqa: N818  a refusal is an answer, not a fault
    """A rule says no."""


class BadDocumentError(GovernanceError):
    """A document that cannot be read; ``line`` and ``column`` count from 1, 0 where unknown."""

    def __init__(
        self, code: str, sentence: str, hint: str = "", *, file: str = "", line: int = 0, column: int = 0
    ) -> None:
        super().__init__(code, sentence, hint)
        self.file = file
        self.line = line
        self.column = column

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return f"{place}: {self.sentence}" if place else self.sentence


class BadSignatureError(GovernanceError):
    """A signature that does not verify, or does not count."""


class BrokenLogError(GovernanceError):
    """A log whose bytes, tree and signed head disagree."""
