"""Who has signed a policy as it stands, and whose signature is missing: for people who read it.

For: ``sekisho legal show``. Not for: counting for a decision (site/papers.py does, at the site, each time), or signing
(signing.py). A file that lies in no study, and a roster that cannot be used yet, are said, not refused: a draft is read
long before anybody could sign it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ...governance.errors import GovernanceError, Refused
from ...governance.policy.policy import Policy
from ...governance.policy.reading import Signatures
from ..errors import BadInputError, CoreError
from ..errors import Refused as CoreRefused
from ..site.papers import read_roster
from .paper import approved, open_paper
from .standing import signers_of


def policy_signatures(path: Path, *, now: datetime) -> Signatures:
    """Whose signatures stand beside the policy at ``path`` and count. Raises the codes of the policy itself."""
    try:
        paper = open_paper(path)
    except BadInputError as error:
        if error.code != "NOT_A_PAPER":
            raise
        return Signatures(unknown="no-study")
    except (Refused, CoreRefused):
        return Signatures(unknown="no-earlier")  # of a later version whose predecessor is not here, as it was signed
    if not isinstance(paper.content, Policy):
        return Signatures(unknown="no-study")
    try:
        roster = read_roster(paper.folder, now=now)
        counted = approved(paper, roster, now=now)
    except (CoreError, GovernanceError):
        return Signatures(unknown="no-roster")
    ignored = tuple(sorted(one.code for one in counted.ignored))
    return Signatures(counted.people, counted.missing(signers_of(paper.name, roster)), ignored)
