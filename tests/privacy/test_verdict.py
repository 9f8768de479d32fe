"""The public rule that judges a block: what it rejects, how seldom it is wrong, and that it sees opened counts only."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.mechanism.counts import CountDomain, validation
from sekisho.privacy.mechanism.opened import OpenedCounts
from sekisho.privacy.mechanism.verdict import CLASS_FELL, FELL, GREW, LOW, SPOILT, verdict_on

DOMAIN = validation("negative", "positive")
ERROR = 5.0  # people


def counts(*cells: float, error: float = ERROR, domain: CountDomain = DOMAIN) -> OpenedCounts:
    return OpenedCounts(domain, tuple(map(float, cells)), error)


GOOD = counts(70, 30, 160, 40)


def reasons(now: OpenedCounts, before: OpenedCounts = GOOD, **given: object) -> tuple[str, ...]:
    return verdict_on(now, before, **{"least": 0.5, "trained": True, **given}).reasons  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (counts(71, 29, 161, 39), ()),
        (counts(66, 34, 156, 44), ()),  # three points: within tolerance and noise
        (counts(50, 50, 135, 65), (FELL,)),
        (counts(40, 60, 130, 70), (LOW, FELL)),
        (counts(20, 80, 195, 5), (FELL, CLASS_FELL)),  # one class given up for the other
        (counts(0, 100, 200, 0), (LOW, FELL, CLASS_FELL)),  # always the larger class: two of three
        (counts(30, 70, 60, 140), (LOW, FELL, CLASS_FELL)),
        (counts(70, 30, 260, 40), (GREW,)),
    ],
    ids=[
        "better", "a little worse", "worse", "hardly better than a coin", "a class given up", "always the same answer",
        "worse than a coin", "people added",
    ],
)
def test_a_block_is_judged_by_all_and_by_class(now: OpenedCounts, expected: tuple[str, ...]) -> None:
    assert reasons(now) == expected


def test_a_sum_out_of_bounds_spoils_the_block_however_it_is_counted() -> None:
    assert reasons(GOOD, spoilt=True) == (SPOILT,)
    assert reasons(GOOD) == ()


def test_a_first_block_that_always_answers_the_same_is_not_accepted() -> None:
    """Whatever the classes' sizes: by the share of people it would be as good as two in three, or nine in ten."""
    start = counts(0, 100, 200, 0)
    assert reasons(start, start, trained=False) == (LOW,)
    assert reasons(counts(0, 30, 270, 0), counts(0, 30, 270, 0), trained=False) == (LOW,)


def test_from_the_start_no_class_can_fall() -> None:
    """Before training everybody is judged alike, and so one class all rightly."""
    start = counts(100, 0, 0, 200)
    assert reasons(counts(60, 40, 150, 50), start, trained=False) == ()
    assert CLASS_FELL in reasons(counts(60, 40, 150, 50), start, trained=True)


def test_where_noise_hides_everything_nothing_is_accepted() -> None:
    loud = dataclasses.replace(GOOD, standard_error=200.0)
    assert reasons(loud, loud) == (LOW,)


def test_as_good_a_block_is_rejected_as_seldom_as_is_written() -> None:
    """The bound in the module's text is three in a hundred; the tolerances make it far less."""
    rng, wrong = np.random.default_rng(2), 0
    truth = np.array(GOOD.values)
    for _ in range(2000):
        now, before = (counts(*(truth + rng.normal(0, ERROR, 4))) for _ in range(2))
        wrong += not verdict_on(now, before, least=0.5, trained=True).accept
    assert wrong < 0.03 * 2000


@given(st.lists(st.floats(-50, 500), min_size=4, max_size=4), st.floats(0.5, 100))
def test_the_same_counts_are_no_fall_and_no_growth(cells: list[float], error: float) -> None:
    same = counts(*cells, error=error)
    assert not set(reasons(same, same)) & {FELL, CLASS_FELL, GREW}


def test_a_fall_of_twice_the_noise_beyond_the_tolerance_is_caught_in_half_of_all_cases() -> None:
    """The power that is written down: tolerance + 2.33 standard errors of the difference."""
    rng, caught, shares, people = np.random.default_rng(1), 0, np.array([0.7, 0.8]), np.array([100, 200])
    deviation = np.sqrt(2 * np.sum((shares**2 + (1 - shares) ** 2) * (ERROR / people) ** 2)) / 2
    fall = 0.02 + 2.3263 * deviation
    truth = np.array(GOOD.values)
    moved = 300 * fall * np.array([-1, 1, -2, 2]) / 3
    for _ in range(2000):
        before, now = counts(*(truth + rng.normal(0, ERROR, 4))), counts(*(truth + moved + rng.normal(0, ERROR, 4)))
        caught += FELL in verdict_on(now, before, least=0.5, trained=True).reasons
    assert 0.4 < caught / 2000 < 0.6


def test_exact_counts_are_not_judged() -> None:
    """A verdict on what a site counted itself would be a disclosure of its own, and sites would not agree."""
    exact = SimpleNamespace(**{name: getattr(GOOD, name) for name in ("domain", "values", "standard_error")},
                            total=GOOD.total, share=GOOD.share, right=GOOD.right, digest=GOOD.digest)  # fmt: skip
    for now, before in ((exact, GOOD), (GOOD, exact)):
        with pytest.raises(BadParametersError) as refused:
            verdict_on(now, before, least=0.5, trained=True)  # type: ignore[arg-type]
        assert refused.value.code == "COUNTS_FOREIGN"
    with pytest.raises(BadParametersError):
        verdict_on(GOOD, dataclasses.replace(GOOD, domain=validation("no", "yes")), least=0.5, trained=True)
