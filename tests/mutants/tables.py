"""All mutants, in three groups that take about as long: each is a file of tests, which a process runs by itself."""

from __future__ import annotations

from .books import CHARGES, WITNESSES
from .consents import CONSENT_MUTANTS
from .counts import COUNT_MUTANTS
from .evidence import EVIDENCE_MUTANTS
from .figures import FIGURES
from .intake import INTAKE_MUTANTS
from .logs import LOG_MUTANTS
from .many import MANY_MUTANTS
from .mutant import Mutant
from .noise import NOISE
from .provenance import PROVENANCE_MUTANTS
from .records import RECORD_MUTANTS
from .release import RELEASE_MUTANTS
from .resumes import RESUME_MUTANTS
from .resuming import RESUMING_MUTANTS, TRAVELLING
from .rotation import ROTATION_MUTANTS
from .sealing import SEALING
from .service import SERVICE_MUTANTS
from .training import TRAINING_MUTANTS
from .transport import TRANSPORT_MUTANTS
from .validation import VALIDATION_MUTANTS
from .verifiers import VERIFIER_MUTANTS
from .views import VIEW_MUTANTS
from .withdrawal import WITHDRAWAL_MUTANTS
from .witness import WITNESS_MUTANTS

GROUPS: dict[str, tuple[Mutant, ...]] = {
    "privacy": (
        *NOISE, *RECORD_MUTANTS, *TRAINING_MUTANTS, *ROTATION_MUTANTS, *CHARGES, *FIGURES, *SEALING,
    ),
    "evidence": (
        *WITNESSES, *CONSENT_MUTANTS, *WITHDRAWAL_MUTANTS, *INTAKE_MUTANTS, *RELEASE_MUTANTS, *PROVENANCE_MUTANTS,
        *LOG_MUTANTS, *WITNESS_MUTANTS, *EVIDENCE_MUTANTS, *VIEW_MUTANTS, *VERIFIER_MUTANTS,
    ),
    "runs": (
        *COUNT_MUTANTS, *VALIDATION_MUTANTS, *RESUME_MUTANTS, *MANY_MUTANTS, *RESUMING_MUTANTS, *TRAVELLING,
        *SERVICE_MUTANTS, *TRANSPORT_MUTANTS,
    ),
}  # fmt: skip
TABLES = tuple(mutant for group in GROUPS.values() for mutant in group)
MUTANTS = {mutant.name: mutant for mutant in TABLES}
PORTION = 24  # tests at a time, so that none of the portions comes near the runner's limit of time


def nodes_of(group: tuple[Mutant, ...]) -> list[str]:
    """Every test that is named for one of the mutants, once."""
    return sorted({node for mutant in group for node in mutant.caught_by})


def portions_of(group: tuple[Mutant, ...]) -> list[list[str]]:
    """The same, so many at a time."""
    nodes = nodes_of(group)
    return [nodes[first : first + PORTION] for first in range(0, len(nodes), PORTION)]
