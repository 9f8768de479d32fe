"""An adapter that is to be gone: what a site deletes of it, whom it tells, and what it leaves for evidence.

For: ``destroy`` after a remedy, ``write_notices`` for recipients. Not for: deciding that (pilot/remedies.py), the
signed list of what is revoked, or copies that somebody made elsewhere: weights once handed over cannot be called back.

Provenance statement, release record and log stay: they say what was, and hold no weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...governance.language import LANGUAGES
from ..parties import make_private_folder, replace_file
from .folder import SiteFolder
from .reach import RunReach
from .withdrawal_statement import say

NOTICES = "notices"
WEIGHTS = "*.safetensors"


def destroy(folder: SiteFolder, run: str) -> int:
    """Delete every form of the run's adapter that this site's state holds; how many files went."""
    arrays = re.compile(re.escape(run) + r"\.[0-9]+\.arrays")
    found = [folder.runs / f"{run}.json", folder.personal / f"{run}.safetensors"]
    found += [path for path in _in(folder.runs) if arrays.fullmatch(path.name)]
    # released, or still waiting for its approvals
    found += [path for kept in (folder.releases, folder.candidates) for path in sorted((kept / run).rglob(WEIGHTS))]
    gone = [path for path in found if path.exists()]
    for path in gone:
        path.unlink()
    return len(gone)


def write_notices(folder: SiteFolder, run: RunReach, recipients: Sequence[str], *, revoked: bool) -> tuple[Path, ...]:
    """One notice for each recipient, English and Japanese; it says that somebody withdrew, not who or how many."""
    notices = folder.runs.parent / NOTICES
    make_private_folder(notices)
    written = []
    for recipient in recipients:
        parts = []
        for language in LANGUAGES:
            demand = say("demand-stop" if revoked else "demand-review", language, site=folder.site)
            parts.append(
                say("notice", language, recipient=recipient, adapter=run.adapter, run=run.run, study=folder.study.id,
                    demand=demand)
            )
        path = notices / f"{run.run}.{recipient}.txt"
        replace_file(path, ("\n\n".join(parts) + "\n").encode("utf-8"))
        written.append(path)
    return tuple(written)


def _in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
