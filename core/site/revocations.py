"""A site that has released an adapter takes it back: on the signed list, in its own memory, and in its log.

For: remedies after a withdrawal, and a site's own command. Not for: the list itself (revoking.py), or people who revoke
with a key of their own (``sekisho legal revoke-adapter``).

Order of calls: ``revoke_released(folder, adapter=..., reason=...)`` with the site's folder open.
"""

from __future__ import annotations

from ...governance.log.entries import EntryType
from ...governance.provenance.revocation import ListState
from .folder import SiteFolder
from .revoking import remember, revoke


def revoke_released(folder: SiteFolder, *, adapter: str, reason: str) -> ListState:
    """A site revokes an adapter with its own key and logs RELEASE_REVOKED. Raises as ``revoke`` does."""
    state = revoke(
        folder.study_folder, folder.roster, folder.key, adapter=adapter, reason=reason, now=folder.clock(),
        site=folder.site,
    )  # fmt: skip
    remember(folder.study_folder, folder.site, state)
    folder.record(str(EntryType.RELEASE_REVOKED), refs={"adapter": adapter}, data={"reason": reason})
    return state
