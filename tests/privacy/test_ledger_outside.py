"""What may be decided from a ledger where others see the answer: the same with and without any one person."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.privacy.accounting.ledger import Ledger
from sekisho.privacy.budget import Adjacency, Budget, Unit

CAP = 100
BUDGET = Budget(Decimal(8), Decimal("0.00001"), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)
PEOPLE = tuple(bytes([number]) * 32 for number in range(4))
SOMEBODY, *OTHERS = PEOPLE

# cost of a step, steps reserved, how many of them start, whether the run is closed, who is there besides
RUN = st.tuples(
    st.integers(1, 20),
    st.integers(1, 6),
    st.integers(0, 6),
    st.booleans(),
    st.sets(st.sampled_from(OTHERS), min_size=1),
)


@settings(max_examples=25, deadline=None)
@given(runs=st.lists(st.tuples(RUN, st.booleans()), max_size=6))
def test_what_all_runs_spent_depends_on_nobody_and_where_it_leaves_room_everybody_can_pay(
    runs: list[tuple[tuple[int, int, int, bool, set[bytes]], bool]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        worlds = [
            Ledger.open(Path(folder) / name, dataset="d", budget=BUDGET, order=4, cap=CAP, key=bytes(32))
            for name in ("with", "without")
        ]
        for number, ((cost, steps, started, closed, others), here) in enumerate(runs):
            answers = [ledger.balance().spent_by_all_runs + cost * steps <= CAP for ledger in worlds]
            assert answers[0] == answers[1]
            if not answers[0]:
                continue
            for ledger, asked in zip(worlds, (others | ({SOMEBODY} if here else set()), others), strict=True):
                run = f"r{number}"
                assert ledger.reserve(run, step_cost=cost, steps=steps, subjects=sorted(asked)) == asked
                for step in range(1, min(started, steps) + 1):
                    ledger.start(run, step)
                if closed:
                    ledger.close(run)
                balance = ledger.balance()
                assert balance.spent_max <= balance.spent_by_all_runs <= CAP
        for ledger in worlds:
            ledger.shut()
