"""What a withdrawal touches, and what a policy says happens then: rules without I/O.

For: from a policy's term for adapters to the acts that it asks for; which of several sites' terms prevails for an
adapter that they trained together; the entries that a log gets, which name nobody. Not for: who may be used from now
on (``consent.py``: the next step leaves out whoever withdrew, whatever the policy says), carrying anything out
(core), or unlearning: nothing here takes a person out of an adapter that exists.

Order of calls: ``acts(effect, released=...)`` for one site; ``prevailing`` over the sites that ask; ``commitment_of``
for the log, with a ``case_key`` that is kept where the person can be forgotten.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ..canonical import digest
from ..provenance.provenance import commitment
from ..signing.envelope import write_time

CASE_KEY_BYTES = 32  # fresh for each case: without it nobody can test a guess of who it was


class Effect(StrEnum):
    """The terms of ``withdrawal_effects``, from the one that changes least to the one that changes most."""

    KEEP = "keep"
    NOTIFY = "notify-and-review"
    REVOKE = "revoke"
    RETRAIN = "retrain-from-base"


class Act(StrEnum):
    """What is done to one adapter."""

    NOTHING = "nothing"          # the bound is stated, and that is all
    NOTIFY = "notify"            # a notice for every recipient
    REVOKE = "revoke"            # put on the list of what nobody may use
    DESTROY = "destroy"          # deleted where it lies: nobody received it
    RETRAIN = "retrain"          # the run is done again from the base, without those who withdrew


class Reason(StrEnum):
    """Why somebody is used no more."""

    WITHDRAWAL = "withdrawal"
    OBJECTION = "objection"
    ERASURE = "erasure"


_RELEASED = {
    Effect.KEEP: (Act.NOTHING,),
    Effect.NOTIFY: (Act.NOTIFY,),
    Effect.REVOKE: (Act.REVOKE, Act.NOTIFY),
    Effect.RETRAIN: (Act.RETRAIN, Act.REVOKE, Act.NOTIFY),
}
# An adapter that nobody received needs no notice; where a released one would be revoked, it goes.
_UNRELEASED = {
    Effect.KEEP: (Act.NOTHING,),
    Effect.NOTIFY: (Act.NOTHING,),
    Effect.REVOKE: (Act.DESTROY,),
    Effect.RETRAIN: (Act.RETRAIN, Act.DESTROY),
}
# What is left to do where the run cannot be done again: the old adapter goes all the same.
FALLBACK = Effect.REVOKE


def acts(effect: Effect, *, released: bool) -> tuple[Act, ...]:
    """What the term asks for, in the order in which it is done."""
    return (_RELEASED if released else _UNRELEASED)[effect]


def prevailing(effects: Iterable[Effect]) -> Effect:
    """Of the terms of the sites that ask for a remedy of one adapter, the one that changes most."""
    order = tuple(Effect)
    return max(effects, key=order.index, default=Effect.KEEP)


@dataclass(frozen=True)
class Case:
    """One withdrawal as the site keeps it: ``name`` is drawn, and says nothing of the person."""

    name: str
    key: bytes
    at: datetime
    reason: Reason

    @classmethod
    def new(cls, at: datetime, reason: Reason) -> Case:
        """A fresh case."""
        return cls(secrets.token_hex(8), secrets.token_bytes(CASE_KEY_BYTES), at, reason)

    def commitment_of(self, subject: str) -> str:
        """What the log says of it: worthless to whoever lacks the key, and to everybody once the key is erased."""
        detail = {"case": self.name, "subject": subject, "at": write_time(self.at), "reason": str(self.reason)}
        return commitment(self.key, digest(detail))
