"""What reaches a site from another thread while it is at work: a stop of its run, people's stop orders, its own end.

For: the process that serves a site's door. Not for: answering messages (site.py), or where work looks whether to go on
(training/going_on.py): between two batches, so that state and ledger are never left half changed.
"""

from __future__ import annotations

from ...governance.errors import GovernanceError
from ..errors import CoreError, ProtocolError
from ..messages import SignedMessage, Stop
from ..training.going_on import ORDERED
from ..training.tasks import Tasks
from .folder import SiteFolder
from .state import RunState
from .stops import read_stops


class Interruptible:
    """A site that can be told to end its work in hand; nothing here answers, charges or opens anything."""

    folder: SiteFolder
    state: RunState | None
    _tasks: Tasks

    def interrupt(self, message: bytes) -> None:
        """What came while another thread is in ``handle``: a stop of the open run ends the work in hand there, between
        two batches. Whatever else comes does nothing: it is not answered, and can be sent again.
        """
        state = self.state
        try:
            received = SignedMessage.from_bytes(message)
            self._check_sender(received)
        except (CoreError, GovernanceError):
            return
        if isinstance(received.body, Stop) and state is not None and received.header.run == state.run:
            self._tasks.going_on.stop(state.run)

    def interrupt_if_stopped(self) -> None:
        """From another thread while ``handle`` is at work: people's stop orders are honoured inside a step, too."""
        state, folder = self.state, self.folder
        if state is None or state.finished:
            return
        try:
            stops = read_stops(folder.study_folder, folder.roster, folder.study, folder.policy, now=folder.clock())
        except (CoreError, GovernanceError):
            return  # the next decision meets the same, and refuses by its code
        if stops.stopped:
            self._tasks.going_on.stop(state.run, ORDERED)

    def interrupt_all(self) -> None:
        """This process ends: the work in hand ends between two batches, and the run stays as it stands."""
        self._tasks.going_on.stop_all()

    def _check_sender(self, received: SignedMessage) -> None:
        coordinator = self.folder.roster.coordinator
        received.verify(coordinator.key)
        if received.header.sender != coordinator.id or received.header.study != self.folder.study.id:
            raise ProtocolError("MESSAGE_FOREIGN", "the message is not from this study's coordinator")
