"""What each site's own head is worth to it, as that site's report says it; it stays there.

Not here: training it (training/personal.py), whether it may be (site/personal.py).
"""

from __future__ import annotations

from ...governance.errors import GovernanceError
from ...privacy.errors import PrivacyError
from ..errors import CoreError
from ..site.personal import personalise
from ..training.evaluation import wilson_interval
from .federation import Federation
from .site_report import PersonalFacts


def personal_facts(federation: Federation, method: str) -> dict[str, PersonalFacts]:
    """Of every site that finished the run of ``method`` and has records enough; a site that refuses has none."""
    found: dict[str, PersonalFacts] = {}
    for name, site in federation.sites.items():
        if site.state is None or not site.state.finished:
            continue
        try:
            head = personalise(site)
        except (CoreError, GovernanceError, PrivacyError):
            continue  # the refusal is in the site's own log; nothing of the run depends on it
        if head is None:
            continue
        before = wilson_interval(head.correct_before, head.held_out)
        after = wilson_interval(head.correct_after, head.held_out)
        found[name] = PersonalFacts(
            method=method,
            held_out=head.held_out,
            accuracy_before=head.correct_before / head.held_out,
            before_low=before[0],
            before_high=before[1],
            accuracy_after=head.correct_after / head.held_out,
            after_low=after[0],
            after_high=after[1],
        )
    return found
