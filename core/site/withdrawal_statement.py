"""What a person who withdraws is told: where their data have been, what is done about it, and what bounds the rest.

For: ``lines`` for the terminal, ``paper_text`` for the person's file, in English and Japanese. Neither names the
person: who it is knows the site, and the person. Not for: finding any of it out (remedy.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from ...governance.consent.withdrawal import Effect, Reason, acts
from ...governance.language import LANGUAGES, Catalogue, Language
from ...governance.signing.envelope import write_time
from ...governance.vocabulary import label
from .reach import RunReach

HOUSE = __name__.removesuffix(".site.withdrawal_statement")


@dataclass(frozen=True)
class ReachedRun:
    """A run, and the last step in which the person's records may have been used."""

    run: RunReach
    last_step: int


@dataclass(frozen=True)
class Found:
    """What a withdrawal found and did at one site.

    ``epsilon`` at ``delta``: of all ``runs`` together, by the ledger. ``logged`` False: the log is written later.
    """

    site: str
    study: str
    case: str
    at: datetime
    reason: Reason
    runs: tuple[ReachedRun, ...]
    heads: int
    effect: Effect
    policy: str
    policy_version: int
    epsilon: Decimal
    delta: Decimal
    paper: Path
    logged: bool = True

    def waiting(self) -> Found:
        """The same, with a log that is not written yet."""
        return replace(self, logged=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values; no pseudonym among them."""
        return {
            "site": self.site,
            "study": self.study,
            "case": self.case,
            "at": write_time(self.at),
            "reason": str(self.reason),
            "effect": str(self.effect),
            "heads_deleted": self.heads,
            "runs": [
                {
                    "run": one.run.run,
                    "method": one.run.method,
                    "last_step": one.last_step,
                    "epsilon": one.run.epsilon,
                    "delta": one.run.delta,
                    "adapter": one.run.adapter,
                    "released": one.run.released,
                    "recipients": list(one.run.recipients),
                    "acts": [str(act) for act in acts(self.effect, released=one.run.released)],
                }
                for one in self.runs
            ],
            "epsilon": str(self.epsilon),
            "delta": f"{self.delta:f}",
            "paper": str(self.paper),
            "logged": self.logged,
        }


@cache
def texts() -> Catalogue:
    """The texts of this house."""
    return Catalogue.load(HOUSE, "texts")


def say(key: str, language: Language, **values: object) -> str:
    """One text of withdrawal.toml with its values."""
    return texts().render(f"withdrawal.{key}", language, **{name: str(value) for name, value in values.items()})


def effect_text(effect: Effect, language: Language) -> str:
    """The policy's term in words."""
    return label("withdrawal_effects", str(effect))[language]


def lines(found: Found, language: Language) -> tuple[str, ...]:
    """The statement, line by line."""
    said = [
        say("next-step", language),
        say("heads", language, number=found.heads),
        say("reached", language, number=len(found.runs)) if found.runs else say("reached-none", language),
    ]
    for one in found.runs:
        run = one.run
        said.append(
            say("run", language, run=run.run, method=run.method, last=one.last_step, epsilon=run.epsilon,
                delta=run.delta)
        )
        if not run.adapter:
            said.append(say("run-open", language))
        elif run.released:
            said.append(say("run-released", language, adapter=run.adapter, recipients=", ".join(run.recipients)))
        else:
            said.append(say("run-unreleased", language, adapter=run.adapter))
        said += [say(f"act-{act}", language) for act in acts(found.effect, released=run.released)]
    if found.runs:
        effect = effect_text(found.effect, language)
        said.append(say("policy", language, policy=found.policy, version=found.policy_version, effect=effect))
        said.append(say("bound", language, epsilon=found.epsilon, delta=f"{found.delta:f}"))
    else:
        said.append(say("bound-none", language))
    return tuple(said)


def paper_text(found: Found) -> str:
    """The paper for the person's file: every language, one after the other."""
    parts = []
    for language in LANGUAGES:
        title = say("paper-title", language, site=found.site, study=found.study, case=found.case)
        received = say("at", language, at=write_time(found.at), reason=say(str(found.reason), language))
        parts.append("\n".join((title, received, "", *lines(found, language))))
    return "\n\n".join(parts) + "\n"
