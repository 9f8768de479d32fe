"""What the handling of a run's messages writes into the site's log: each act once, however often it is begun.

For: acts that a message leads to (started, opened, finished, ...). A site that was killed while it handled a message
handles it again; what the log says already since the last answer is not said twice, so nobody who counts entries finds
a step charged or opened twice. Not for: decisions and what was told, which do happen again (the gate logs those).

Order of calls: ``record`` for each act; ``answered`` when a message was answered for good.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...governance.log.entries import Entry, Value
from .folder import SiteFolder


class Acts:
    """One run's acts at one site. ``since``: how many entries the log had when a message was last answered."""

    def __init__(self, folder: SiteFolder, run: str, *, since: int) -> None:
        self._folder = folder
        self.run = run
        self.since = since

    def record(self, kind: str, refs: Mapping[str, str] | None = None, data: Mapping[str, Value] | None = None) -> None:
        """Append the entry durably, unless one of the same type, references and figures came since the last answer."""
        folder = self._folder
        said = Entry(kind, folder.site, folder.clock(), {"run": self.run, **(refs or {})}, data or {})
        if not any(_same(Entry.from_bytes(body), said) for body in folder.log.entries(self.since)):
            folder.log.append(said)

    def said(self, kind: str) -> bool:
        """Whether an entry of this type says something of the run since the last answer."""
        entries = map(Entry.from_bytes, self._folder.log.entries(self.since))
        return any((entry.type, entry.refs.get("run")) == (kind, self.run) for entry in entries)

    def answered(self) -> None:
        """A message was answered, and the answer is kept: what comes from here on belongs to the next one."""
        self.since = self._folder.log.size


def _same(entry: Entry, other: Entry) -> bool:
    return (entry.type, entry.refs, entry.data) == (other.type, other.refs, other.data)
