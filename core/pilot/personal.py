"""What each site's own head is worth to it, as that site's report says it; it stays there.

Not here: training it (training/personal.py), whether it may be (site/personal.py), one site by itself (at_site.py).
"""

from __future__ import annotations

from ...governance.errors import GovernanceError
from ...privacy.errors import PrivacyError
from ..errors import CoreError
from .at_site import personal_facts_at
from .federation import Federation
from .site_report import PersonalFacts


def personal_facts(federation: Federation, method: str) -> dict[str, PersonalFacts]:
    """Of every site that finished the run of ``method`` and has records enough; a site that refuses has none."""
    found: dict[str, PersonalFacts] = {}
    for name, site in federation.sites.items():
        if site.state is None or not site.state.finished:
            continue
        try:
            facts = personal_facts_at(site, method)
        except (CoreError, GovernanceError, PrivacyError):
            continue  # the refusal is in the site's own log; nothing of the run depends on it
        if facts is not None:
            found[name] = facts
    return found
