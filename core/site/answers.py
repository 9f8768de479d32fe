"""What a site answered last, kept with the run that the answer is of; and where the run stood before a message.

For: ``Site``, which hands nothing out that is not kept here first, and undoes what a message moved that it could not
answer. Not for: files (keeping.py), going on after a kill (resuming.py).

Order of calls, for each message: ``told`` (the same message again?) -> ``Standing.of`` -> it is handled ->
``keep``; or ``Standing.again``, and ``keep_last`` where a refusal ended the run.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..gate.sealed import Sealed
from ..messages import SignedMessage
from ..watching import OwnPlace
from .folder import SiteFolder
from .keeping import to_bytes, to_text
from .kept import Answered
from .opening import Openings
from .resuming import fixed, moving
from .state import AGREEMENT, RunState
from .step import StepTools
from .witnessing import SiteWatch

# After these the state is another one: even where nobody will go on with the run, its result lies in the state.
MOVES = frozenset({"step", "count", "judge", "finish"})


@dataclass(frozen=True)
class Standing:
    """Where a run stood before a message: the state itself, a copy of it, and what was shown of the site's log."""

    state: RunState | None
    copy: RunState | None
    place: OwnPlace | None

    @classmethod
    def of(cls, state: RunState | None, watch: SiteWatch | None) -> Standing:
        """As it is now."""
        return cls(state, None if state is None else state.copy(), None if watch is None else watch.place)

    def again(self, state: RunState | None, watch: SiteWatch | None) -> None:
        """The message could not be answered, so it has moved nothing here; of another run nothing is undone."""
        if state is not None and state is self.state and self.copy is not None:
            state.become(self.copy)
            if watch is not None and self.place is not None:
                watch.go_back(self.place)


class Answers:
    """The last answer of one site. ``last`` is what an earlier process kept."""

    def __init__(self, folder: SiteFolder, last: Answered | None = None) -> None:
        self._folder = folder
        self._last = last

    def told(self, message: SignedMessage) -> bytes | None:
        """What this very message was answered; None for any other, and where it was a share: the ledger has that."""
        last = self._last
        return to_bytes(last.told) if last is not None and last.message == message.digest and last.told else None

    def keep(
        self,
        message: SignedMessage,
        sealed: Sealed,
        state: RunState | None,
        tools: StepTools | None,
        watch: SiteWatch | None,
        offer: SignedMessage | None,
    ) -> None:
        """The run as it stands, with its answer: durable where this site's runs outlive it, or the state has moved.

        Raises:
            BadInputError: the disk is full, or cannot be written; then nothing may be handed out.
        """
        folder = self._folder
        told = None if sealed.message.body.kind == "frame" else to_text(sealed.to_bytes())
        answered = Answered(message=message.digest, told=told)
        # before keys are agreed nothing is kept: a run that is cut off then has cost nothing, and another begins
        if state is not None and tools is not None and state.agreed == len(AGREEMENT) and state.run_secret is not None:
            if folder.resumes and watch is not None and offer is not None:
                if not folder.files.has_begun(state.run):
                    policy = folder.policy.bytes_digest
                    folder.files.begin(state, fixed(offer, tools.considered, policy, watch.own_join))
                folder.files.keep(state, moving(state, watch.kept(), answered, entries=folder.log.size))
            elif message.body.kind in MOVES:
                state.save(folder.runs)
            tools.acts.answered()
        self._last = answered

    def keep_last(
        self, message: SignedMessage, declined: Sealed, before: Standing, watch: SiteWatch | None, code: str
    ) -> None:
        """The run ended here by the refusal ``code``; this is what is answered should it be asked once more.

        An offer that is refused is of another run than the one that is kept, which has ended already: that stays.
        """
        self._last = Answered(message=message.digest, told=to_text(declined.to_bytes()))
        state, folder = before.copy, self._folder
        if state is None or state.run != message.header.run or state.finished:
            return
        if watch is not None and folder.resumes and folder.files.has_begun(state.run):
            ended = moving(state, watch.kept(), self._last, entries=folder.log.size, ended=code)
            folder.files.keep(state, ended)


def openings_of(folder: SiteFolder, run: str, noted: tuple[str, str] = ("", "")) -> Openings:
    """What the run opens here; durable where it outlives the process, for elsewhere its keys do not either."""
    if not folder.resumes:
        return Openings()
    return Openings(lambda place, message: folder.files.note_opening(run, place, message), noted)
