"""The public rule that judges a block: what it rejects, how seldom it is wrong, and that it sees opened counts only."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.mechanism.counts import ValidationDomain, validation
from sekisho.privacy.mechanism.judged import JudgedCounts
from sekisho.privacy.mechanism.opened import OpenedCounts
from sekisho.privacy.mechanism.verdict import (
    CLASS_FELL,
    FAR,
    FELL,
    GREW,
    LABELS_FELL,
    LABELS_LOW,
    LOW,
    SPOILT,
    verdict_on,
)

DOMAIN = validation("negative", "positive")
ERROR = 4.0  # people; a sum of two cells has 5.7


def counts(*cells: float, error: float = ERROR, domain: ValidationDomain = DOMAIN, above: bool = True) -> JudgedCounts:
    """Both, one, neither of the negative class, then of the positive one; ``above``: where the middle lies."""
    return JudgedCounts(OpenedCounts(domain, tuple(map(float, cells)), error), above)


# Ordered rightly: 70 of 100 and 160 of 200. The middle is above the threshold, so "one" is a right order in the
# negative class and a right label in the positive one: labelled rightly 50 and 180, 77 of 100 people.
GOOD = counts(50, 20, 30, 160, 20, 20)


def reasons(now: JudgedCounts, before: JudgedCounts = GOOD, **given: object) -> tuple[str, ...]:
    return verdict_on(now, (before,), **{"least": 0.5, "trained": True, **given}).reasons  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (counts(51, 20, 29, 161, 20, 19), ()),
        (counts(46, 20, 34, 156, 20, 24), ()),  # three points: within tolerance and noise
        (counts(50, 0, 50, 135, 45, 20), (FELL,)),
        (counts(40, 0, 60, 130, 20, 50), (LOW, FELL, LABELS_FELL)),
        (counts(20, 0, 80, 195, 5, 0), (FELL, CLASS_FELL, LABELS_FELL)),  # one class given up for the other
        (counts(0, 0, 100, 200, 0, 0), (LOW, FELL, CLASS_FELL, LABELS_FELL)),  # always the larger class: two of three
        (counts(30, 0, 70, 60, 0, 140), (LOW, FELL, CLASS_FELL, LABELS_LOW, LABELS_FELL)),
        (counts(50, 20, 30, 260, 20, 20), (GREW,)),
    ],
    ids=[
        "better", "a little worse", "worse", "hardly better than a coin", "a class given up", "always the same answer",
        "worse than a coin", "people added",
    ],
)
def test_a_block_is_judged_by_all_and_by_class(now: JudgedCounts, expected: tuple[str, ...]) -> None:
    assert reasons(now) == expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        # down: 68 people's labels change sides with the threshold, and the middle is below it
        (counts(70, 30, 0, 40, 120, 40, above=False), (LABELS_LOW, LABELS_FELL)),
        # up: nobody is called negative, and two of three are right by that
        (counts(0, 70, 30, 160, 40, 0), (LABELS_FELL,)),
        # a little: within tolerance and noise
        (counts(45, 25, 30, 160, 25, 15), ()),
    ],
    ids=["towards the smaller class", "towards the larger class", "a little"],
)
def test_scores_that_are_all_shifted_alike_are_seen_by_their_labels(
    now: JudgedCounts, expected: tuple[str, ...]
) -> None:
    """The order of people is what it was: 70 of 100 and 160 of 200."""
    assert [now.counts.total(right) for right, _ in now.parts("order")] == [70.0, 160.0]
    assert reasons(now) == expected


def test_giving_up_the_smaller_class_is_seen_where_hardly_anybody_is_labelled_worse() -> None:
    """Of all people 68 % were labelled rightly and 67 % are; of the smaller class 35 of 100 and nobody."""
    before = counts(35, 35, 30, 160, 10, 30)
    assert reasons(counts(0, 70, 30, 160, 40, 0), before) == (LABELS_FELL,)


def test_a_sum_out_of_bounds_spoils_the_block_however_it_is_counted() -> None:
    assert reasons(GOOD, spoilt=True) == (SPOILT,)
    assert reasons(GOOD, far=True) == (FAR,)
    assert reasons(GOOD) == ()


def test_a_first_block_that_always_answers_the_same_is_not_accepted() -> None:
    """Whatever the classes' sizes: by the share of people it would be as good as two in three, or nine in ten."""
    start = counts(0, 0, 100, 200, 0, 0)
    assert reasons(start, start, trained=False) == (LOW,)
    small = counts(0, 0, 30, 270, 0, 0)
    assert reasons(small, small, trained=False) == (LOW,)


def test_a_first_block_that_orders_people_and_still_labels_all_alike_is_accepted() -> None:
    """Honest early states do: the larger class is learnt first. As good as always giving it is not below it."""
    assert reasons(counts(0, 70, 30, 160, 40, 0), counts(100, 0, 0, 0, 0, 200), trained=False) == ()
    # giving the smaller one is below it, however well people are ordered
    assert LABELS_LOW in reasons(counts(70, 30, 0, 0, 160, 40, above=False), trained=False)


def test_from_the_start_neither_a_class_nor_labels_can_fall() -> None:
    """Before training everybody is judged alike, and so one class all rightly."""
    start = counts(100, 0, 0, 0, 0, 200)
    assert reasons(counts(50, 10, 40, 150, 30, 20), start, trained=False) == ()
    assert CLASS_FELL in reasons(counts(50, 10, 40, 150, 30, 20), start, trained=True)
    best = counts(100, 0, 0, 200, 0, 0)
    assert LABELS_FELL in reasons(counts(50, 10, 40, 150, 30, 20), best, trained=True)
    assert LABELS_FELL not in reasons(counts(50, 10, 40, 150, 30, 20), best, trained=False)


def test_where_noise_hides_everything_nothing_is_accepted() -> None:
    loud = counts(*GOOD.counts.values, error=200.0)
    assert reasons(loud, loud) == (LOW,)


def noised(truth: NDArray[np.float64], rng: np.random.Generator, *, above: bool = True) -> JudgedCounts:
    return counts(*(truth + rng.normal(0, ERROR, 6)), above=above)


def test_as_good_a_block_is_rejected_as_seldom_as_is_written() -> None:
    """The bound in the module's text is six in a hundred; the tolerances make it far less."""
    rng, wrong, truth = np.random.default_rng(2), 0, np.array(GOOD.counts.values)
    for _ in range(2000):
        now, before = noised(truth, rng), noised(truth, rng)
        wrong += not verdict_on(now, (before,), least=0.5, trained=True).accept
    assert wrong < 0.03 * 2000


def test_who_always_gives_the_larger_class_is_below_it_in_one_case_of_a_hundred() -> None:
    rng, wrong, truth = np.random.default_rng(4), 0, np.array([0.0, 70.0, 30.0, 160.0, 40.0, 0.0])
    for _ in range(2000):
        now = noised(truth, rng)
        wrong += LABELS_LOW in verdict_on(now, (now,), least=0.5, trained=True).reasons
    assert wrong < 0.01 * 2000


@given(st.lists(st.floats(-50, 500), min_size=6, max_size=6), st.floats(0.5, 100), st.booleans())
def test_the_same_counts_are_no_fall_and_no_growth(cells: list[float], error: float, above: bool) -> None:
    same = counts(*cells, error=error, above=above)
    assert not set(reasons(same, same)) & {FELL, CLASS_FELL, LABELS_FELL, GREW}


# Of each class: who is counted, the share of them that is judged rightly, and how many cells are right and wrong.
PEOPLE = np.array([100, 200])
DEVIATIONS = {
    FELL: np.sqrt(2 * sum((r * (1 - p) ** 2 + w * p**2) * (ERROR / n) ** 2
                          for n, p, r, w in ((100, 0.7, 2, 1), (200, 0.8, 1, 2)))) / 2,
    LABELS_FELL: np.sqrt(2 * 3 * ((1 - 230 / 300) ** 2 + (230 / 300) ** 2)) * ERROR / 300,
}  # fmt: skip
MOVED = {
    # of each class alike, out of what is ordered rightly and nothing else
    FELL: 300 * np.array([0, -1, 1, -2, 2, 0]) / 3,
    # of all, out of what is labelled rightly and nothing else
    LABELS_FELL: 300 * np.array([-1, 1, 0, 0, -2, 2]) / 3,
}


@pytest.mark.parametrize("rule", [FELL, LABELS_FELL])
def test_a_fall_of_twice_the_noise_beyond_the_tolerance_is_caught_in_half_of_all_cases(rule: str) -> None:
    """The power that is written down: tolerance + 2.33 standard errors of the difference."""
    rng, caught, truth = np.random.default_rng(1), 0, np.array(GOOD.counts.values)
    moved = (0.02 + 2.3263 * DEVIATIONS[rule]) * MOVED[rule]
    for _ in range(2000):
        before, now = noised(truth, rng), noised(truth + moved, rng)
        caught += rule in verdict_on(now, (before,), least=0.5, trained=True).reasons
    # labels fall for all or as a mean: two looks find a little more than one
    assert 0.4 < caught / 2000 < (0.6 if rule == FELL else 0.7)


def test_more_states_before_make_a_fall_surer() -> None:
    """The mean of four counts has a quarter of one's variance, so a fall that one look misses more often is seen."""
    rng, truth, once, often = np.random.default_rng(5), np.array(GOOD.counts.values), 0, 0
    moved = (0.02 + 2.3263 * DEVIATIONS[FELL]) * MOVED[FELL]
    for _ in range(1000):
        before, now = [noised(truth, rng) for _ in range(4)], noised(truth + moved, rng)
        once += FELL in verdict_on(now, before[:1], least=0.5, trained=True).reasons
        often += FELL in verdict_on(now, before, least=0.5, trained=True).reasons
        assert verdict_on(now, before, least=0.5, trained=True).accept == verdict_on(
            now, [before[2], before[0], before[1], before[3]], least=0.5, trained=True
        ).accept
    assert often > once + 100
    with pytest.raises(BadParametersError):
        verdict_on(GOOD, (), least=0.5, trained=True)


def test_exact_counts_are_not_judged() -> None:
    """A verdict on what a site counted itself would be a disclosure of its own, and sites would not agree."""
    opened = GOOD.counts
    exact = SimpleNamespace(**{name: getattr(opened, name) for name in ("domain", "values", "standard_error")},
                            total=opened.total, share=opened.share, digest=opened.digest)  # fmt: skip
    judged = SimpleNamespace(counts=exact, domain=DOMAIN, parts=GOOD.parts, right=GOOD.right, middle_above=True)
    for now, before in ((judged, GOOD), (GOOD, judged)):
        with pytest.raises(BadParametersError) as refused:
            verdict_on(now, (before,), least=0.5, trained=True)  # type: ignore[arg-type]
        assert refused.value.code == "COUNTS_FOREIGN"
    with pytest.raises(BadParametersError):
        JudgedCounts(exact, True)  # type: ignore[arg-type]
    with pytest.raises(BadParametersError):
        verdict_on(GOOD, (counts(*opened.values, domain=validation("no", "yes")),), least=0.5, trained=True)


def test_the_counts_of_a_state_are_read_with_its_own_middle() -> None:
    """The same cells under a middle on the other side are another state's: order and labels change places."""
    other = dataclasses.replace(GOOD, middle_above=False)
    assert other.right("label") == GOOD.right("order") and other.right("order") == GOOD.right("label")
