"""The caps of the study's present stage, held against the facts of one request.

A policy says what a site permits in general; the stage says how much of it this study has asked for so far: legal and
IT signed the caps with the study, so going beyond them wants a stage that they sign anew.

    exceeded(study.current_stage, request, runs=...) -> () or one value per cap, each with code, allowed and observed

Not here: refusing and logging (gate.py), words (texts/stages.toml). Pure. A fact that is missing exceeds its cap.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ...governance.policy.request import Request
from ..study import Stage

FACTS = {"sites": "stage.sites", "subjects": "stage.subjects", "epsilon_per_run": "budget.run_epsilon"}
CODES = {
    "sites": "STAGE_SITES",
    "subjects": "STAGE_SUBJECTS",
    "runs": "STAGE_RUNS",
    "epsilon_per_run": "STAGE_EPSILON",
}


@dataclass(frozen=True)
class CapExceeded:
    """One cap of a stage that a request goes beyond; ``observed`` is None where the fact is not known."""

    stage: str
    cap: str
    code: str
    allowed: str
    observed: str | None


def exceeded(stage: Stage, request: Request, *, runs: int) -> tuple[CapExceeded, ...]:
    """The caps that the request goes beyond; ``runs`` counts those of this stage at this site, this one included."""
    observed: dict[str, int | Decimal | None] = {"runs": runs}
    for cap, name in FACTS.items():
        fact = request.get(name)
        known = fact is not None and isinstance(fact.value, int | Decimal) and not isinstance(fact.value, bool)
        observed[cap] = fact.value if fact is not None and known else None
    return tuple(
        CapExceeded(stage.name, cap, CODES[cap], f"{allowed}", None if value is None else f"{value}")
        for cap, allowed in stage.caps.ordered()
        if (value := observed[cap]) is None or value > allowed
    )
