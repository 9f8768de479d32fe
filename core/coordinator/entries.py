"""What the coordinator's log says of a run after its state: one entry for each step, each count, and the end.

For: writing an entry after the state that it is of was saved, and writing the one that a kill came before. Not for:
entries about the beginning (agreeing.py), or who may read them.

Pure: the same state gives the same entries, to the byte but for their time. So an entry that is there already is known
again, and none is written twice (witnessing.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...governance.log.entries import Entry, EntryType, Value
from .state import FINISHED, CoordinatorState, CountOutcome, Outcome

# All that follow from the state: of one run the log has these and no others of these types.
OF_THE_STATE = frozenset(
    {
        EntryType.STEP_SUMMED,
        EntryType.STEP_ABANDONED,
        EntryType.VALIDATION_OPENED,
        EntryType.RUN_STOPPED,
        EntryType.RUN_FINISHED,
    }
)


@dataclass(frozen=True)
class Told:
    """An entry but for its party, run and time."""

    kind: str
    refs: Mapping[str, str]
    data: Mapping[str, Value]

    def is_in(self, entry: Entry) -> bool:
        """Whether ``entry`` says exactly this, of whichever run."""
        refs = {name: value for name, value in entry.refs.items() if name != "run"}
        return (entry.type, refs, dict(entry.data)) == (self.kind, dict(self.refs), dict(self.data))


def told_of(state: CoordinatorState) -> Iterator[Told]:
    """All entries that a run in this state has in the log; steps before counts, which is not the order of the log."""
    yield from map(of_step, state.outcomes)
    yield from map(of_count, state.counts)
    if state.ended:
        yield of_end(state)


def of_step(outcome: Outcome) -> Told:
    """How one step ended. One that was rolled back later had been summed."""
    if outcome.status == "abandoned":
        left = len(outcome.cohort) - len(outcome.missing)
        return Told(
            EntryType.STEP_ABANDONED, {}, {"step": outcome.step, "missing": list(outcome.missing), "cohort": left}
        )
    return Told(EntryType.STEP_SUMMED, {"sum": outcome.total}, {"step": outcome.step, "cohort": len(outcome.cohort)})


def of_count(count: CountOutcome) -> Told:
    """How one count ended."""
    data: dict[str, Value] = {
        "count": count.number,
        "step": count.step,
        "cohort": len(count.cohort),
        "verdict": count.verdict,
    }
    return Told(EntryType.VALIDATION_OPENED, {"sum": count.total} if count.total else {}, data)


def of_end(state: CoordinatorState) -> Told:
    """How the run ended."""
    if state.ended == FINISHED:
        return Told(EntryType.RUN_FINISHED, {}, {"completed": state.completed, "abandoned": state.abandoned})
    return Told(EntryType.RUN_STOPPED, {}, {"code": state.ended, "completed": state.completed})
