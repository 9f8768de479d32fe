"""What can go wrong in privacy: each with a stable code, a sentence and a hint.

    PrivacyError
    ├── BudgetExceededError     the ledger's filter refuses: nobody's budget may be passed
    ├── BadParametersError      a plan, grid, field or preset that does not hold what it promises
    ├── LedgerError             the ledger is damaged, rolled back, or used out of order
    ├── KeyAgreementError       a key, a secret or a key-check value that does not fit
    └── CiphertextError         a frame, manifest or sum that is not what the step allows

Codes are UPPER_SNAKE and never change meaning. Messages never contain record content.
"""

from __future__ import annotations


class PrivacyError(Exception):
    """Base of this house's errors: ``code`` is stable, ``str(error)`` is one sentence, ``hint`` says what to do."""

    def __init__(self, code: str, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.hint = hint


class BudgetExceededError(PrivacyError):
    """The cost asked for does not fit into what is left."""


class BadParametersError(PrivacyError):
    """Parameters under which the promised guarantee would not hold."""


class LedgerError(PrivacyError):
    """The ledger is damaged, behind its witnessed head, or was asked for an impossible transition."""


class KeyAgreementError(PrivacyError):
    """Keys that do not agree, or a secret that does not authenticate."""


class CiphertextError(PrivacyError):
    """Bytes that are not the frame, manifest or sum that this step allows."""
