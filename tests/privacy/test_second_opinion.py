"""Another accountant looks at every run: it agrees within its own error, and notices a certificate that is too low."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import pytest

from sekisho.privacy.accounting.accountant import build_plan, certificate
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.accounting.second_opinion import second_opinion
from sekisho.privacy.budget import Unit
from sekisho.privacy.errors import BadParametersError


def plan(epsilon: str, rate: str, steps: int) -> Plan:
    return build_plan(
        unit=Unit.SUBJECT,
        epsilon=Decimal(epsilon),
        delta=Decimal("0.00001"),
        steps=steps,
        allowance=5,
        sampling_rate=Decimal(rate),
        clipping_norm=Decimal("0.4"),
        dimension=385,
        sites=5,
        minimum_sites=3,
        observers=1,
        subjects=[300] * 5,
        records_per_subject=6,
    )


@pytest.mark.parametrize(("epsilon", "rate", "steps"), [("3", "1", 60), ("8", "0.1", 40), ("1", "0.5", 30)])
def test_both_accountants_agree_within_the_others_error(epsilon: str, rate: str, steps: int) -> None:
    made = plan(epsilon, rate, steps)
    for observers in (0, 1, 2):
        own = certificate(made, cohort=5, observers=observers)
        other = second_opinion(made, cohort=5, observers=observers)
        assert abs(other.epsilon - own) <= other.slack and not other.contradicts(own)


def test_a_certificate_that_forgot_a_tenth_of_the_steps_is_contradicted() -> None:
    made = plan("3", "1", 60)
    too_low = certificate(plan("3", "1", 60), cohort=5, observers=1) * (0.9**0.5)
    assert second_opinion(made, cohort=5, observers=1).contradicts(too_low)


def test_at_a_small_epsilon_a_fifth_too_little_is_contradicted() -> None:
    """The other accountant's error is a share of ε where that is below one; of one, it would hide a fifth of 0.1."""
    made = dataclasses.replace(plan("1", "0.5", 30), steps=1, allowance=0)
    own, other = certificate(made, cohort=5, observers=1), second_opinion(made, cohort=5, observers=1)
    assert own < 0.3
    assert other.contradicts(0.8 * own) and other.contradicts(0.97 * own) and not other.contradicts(own)
    assert other.slack <= 0.025 * own


def test_of_a_person_at_two_sites_it_speaks_only_where_it_can() -> None:
    """At full batch two vectors are one of twice the length; sampled, Opacus has no such mechanism."""
    made = dataclasses.replace(plan("3", "1", 60), sites_per_subject=2)
    own = certificate(made, cohort=5, observers=1)
    assert abs(second_opinion(made, cohort=5, observers=1).epsilon - own) <= 0.02 and own > 6.7
    with pytest.raises(BadParametersError) as caught:
        second_opinion(dataclasses.replace(plan("8", "0.1", 40), sites_per_subject=2), cohort=5, observers=1)
    assert caught.value.code == "NO_SECOND_OPINION"


def test_without_noise_there_is_no_opinion() -> None:
    with pytest.raises(BadParametersError) as caught:
        second_opinion(plan("3", "1", 60), cohort=5, observers=5)
    assert caught.value.code == "NOISE_TOO_SMALL"
