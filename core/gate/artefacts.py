"""What a plan's sums are in the words of a policy, and under which name the ledger is charged for them.

For: the request (what is to leave), the gate (is this what was decided and charged?), and a run's reservations.
Not here: deciding, charging. Pure.
"""

from __future__ import annotations

from ...privacy.accounting.plan import Plan
from ...privacy.accounting.reading import BESIDE
from ...privacy.mechanism.counts import votes
from .facts import ARTEFACT

COUNTS = "noised-counts"
VOTES = "validation-votes"


def artefact_of(plan: Plan) -> str:
    """The term of policies/terms/artefacts.toml for what leaves under ``plan``: taken from its cells, not its user."""
    if not plan.cells:
        return ARTEFACT
    return VOTES if plan.cells == votes().cells else COUNTS


def charge_of(run: str, plan: Plan) -> str:
    """The ledger's name for what ``plan`` costs in ``run``: the run's own for gradients, the plan's with it for counts.

    So a run can disclose under several plans, each charged and sealed once a step by itself, and a count that was
    reserved under another plan is not known to the ledger at all.
    """
    return run if not plan.cells else f"{run}{BESIDE}{plan.digest()}"


def run_of(charge: str) -> str:
    """The run that a name of ``charge_of`` belongs to: no run has a stroke in its name."""
    return charge.partition(BESIDE)[0]
