"""The audits of ``sekisho doctor --deep``: a right mechanism passes through engine, ledger and serialisation, and each
broken one of broken_mechanisms.py fails, for the reason that it is broken in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from sekisho.core.errors import ProtocolError
from sekisho.core.pilot import deep
from sekisho.core.pilot.canary_run import Opened, run_canaries
from sekisho.core.pilot.canary_study import Design
from sekisho.privacy.accounting.accountant import build_plan, certificate
from sekisho.privacy.auditing.gdp import Outcome, epsilon_of
from sekisho.privacy.budget import Unit

from . import broken_mechanisms as broken

QUICK = Design(epsilon="8", steps=3, canaries=600)  # every coalition's claim, with a power of 99 % or more
ROTATED = Design(epsilon="8", steps=3, canaries=600, spare=8000)  # of its size the rule makes 3x16-rotated
QUIET = Design(epsilon="3", steps=3, canaries=0, spare=20_000)


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as context:
        yield context


def noise_failures(opened: Opened, design: Design) -> set[str]:
    findings = dict(deep.noise_findings(opened, spare=design.spare))
    assert len(findings) == 5
    return {name.split()[-1] for name, finding in findings.items() if not finding.held}


def coalition_of(opened: Opened, shares: broken.Shares, size: int) -> Opened:
    """What ``size`` sites together see of another's canaries: the sum less all that they sent themselves."""
    # in order of a step's sites: keeper-a, keeper-b, observer
    own = sum((shares.of(place) for place in (2, 0)[:size]), start=np.zeros_like(opened.sums))
    sums, canaries = opened.sums - own, np.arange(opened.member.size)
    victims = canaries[canaries % 2 == 1] if size == 2 else canaries
    return replace(opened, sums=sums[:, victims], member=opened.member[victims])


# -- what leaks ----------------------------------------------------------------------------------------------------


def test_no_coalition_learns_more_of_a_canary_than_its_certificate_says(
    tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    """One run: an outsider who opens, one observer, and all but the victim's site; each held to its own ε."""
    shares = broken.Shares.recorded(patch, sites=3)
    opened = run_canaries(QUICK, tmp_path / "study")
    assert opened.charged and opened.sums.shape == (3, 601)
    # the gradients were far longer than C: each canary's shift is the bound, and not what its records say
    assert np.abs(opened.sums[:, :600][:, opened.member].mean() / opened.plan.grid - 1) < 0.2
    assert deep.check_beside(opened).held, deep.check_beside(opened).seen
    for size in (0, 1, 2):
        verdict = deep.audit(coalition_of(opened, shares, size), observers=size)
        assert verdict.outcome is Outcome.HELD, (size, verdict)
        claimed = certificate(opened.plan, cohort=3, observers=size)
        assert epsilon_of(verdict.claimed, 1e-5) == pytest.approx(claimed, rel=1e-6)
    assert certificate(opened.plan, cohort=3, observers=1) == pytest.approx(8, rel=0.01)


@pytest.mark.parametrize(
    "break_it",
    [
        broken.noise_off,
        # by default these two are shown through the command, in tests/core/test_doctor.py
        pytest.param(broken.noise_halved, marks=pytest.mark.proof),
        pytest.param(broken.clip_each_record, marks=pytest.mark.proof),
    ],
)
def test_a_mechanism_that_leaks_more_than_it_claims_fails_the_audit(
    break_it: broken.Break, tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    break_it(patch)
    verdict = deep.audit(run_canaries(QUICK, tmp_path / "study"))
    assert verdict.outcome is Outcome.BROKEN, verdict
    assert verdict.estimate.low > verdict.claimed or verdict.threshold_low > verdict.claimed
    assert verdict.epsilon_low > 8


def test_a_rotated_canary_is_bounded_like_any_other(tmp_path: Path) -> None:
    """Each canary is spread over thousands of coordinates, and gathered again after the sum was opened."""
    opened = run_canaries(ROTATED, tmp_path / "study")
    assert opened.plan.preset == "3x16-rotated" and opened.charged
    assert np.abs(opened.sums[:, :600][:, opened.member].mean() / opened.plan.grid - 1) < 0.2
    assert deep.check_beside(opened, spare=ROTATED.spare).held
    verdict = deep.audit(opened)
    assert verdict.outcome is Outcome.HELD, verdict
    with pytest.raises(ProtocolError) as refused:
        next(deep.noise_findings(opened, spare=ROTATED.spare))
    assert refused.value.code == "AUDIT_ROTATED"


@pytest.mark.proof
@pytest.mark.parametrize("break_it", [broken.noise_halved, broken.clip_at_twice_the_norm, broken.one_share_missing])
def test_a_broken_mechanism_is_found_through_the_rotation(
    break_it: broken.Break, tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    break_it(patch)
    opened = run_canaries(ROTATED, tmp_path / "study")
    assert opened.plan.rotated
    broken_for_persons = deep.audit(opened).outcome is Outcome.BROKEN
    assert broken_for_persons or not deep.check_beside(opened, spare=ROTATED.spare).held


def test_the_doctors_own_runs_are_not_rotated() -> None:
    """Their noise is judged to its last bits, and those a rotation does not leave."""
    for design in (deep.NOISE, *deep.AUDITS.values()):
        each = [sum(design.keeper_of(c) == keeper for c in range(design.canaries)) or 1 for keeper in design.keepers]
        plan = build_plan(
            unit=Unit.SUBJECT, epsilon=Decimal(design.epsilon), delta=Decimal("0.00001"), steps=design.steps,
            allowance=0, sampling_rate=Decimal(1), clipping_norm=Decimal(1), dimension=design.width + 1,
            sites=len(design.sites), minimum_sites=design.minimum_sites, observers=1, subjects=[*each, 1],
            records_per_subject=design.records,
        )  # fmt: skip
        assert not plan.rotated, design


@pytest.mark.parametrize(
    "design",
    [
        replace(QUICK, spare=1000),
        *(pytest.param(design, marks=pytest.mark.proof, id=epsilon) for epsilon, design in deep.AUDITS.items()),
    ],
)
def test_a_missing_share_is_found_beside_the_canaries_though_the_audit_may_hold(
    design: Design, tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    """Two shares of three are noise divided by √1.5: less than the canaries need to find, and said to be so."""
    broken.one_share_missing(patch)
    opened = run_canaries(design, tmp_path / "study")
    verdict, beside = deep.audit(opened), deep.check_beside(opened, spare=design.spare)
    print(f"{verdict.outcome}; {beside.seen}")
    assert verdict.outcome is not Outcome.WITHOUT_POWER
    assert np.sqrt(1.5) < verdict.least_loss < 2
    assert f"noise divided by {verdict.least_loss:.2f}" in deep.verdict_in_words(verdict, opened)
    assert not beside.held, beside.seen
    assert "of what was charged" in beside.seen and "without one of 3 shares it were 0.667" in beside.seen


@pytest.mark.proof
def test_an_audit_of_few_canaries_says_that_it_has_no_power(tmp_path: Path) -> None:
    opened = run_canaries(replace(QUICK, canaries=40, steps=2), tmp_path / "study")
    assert deep.audit(opened).outcome is Outcome.WITHOUT_POWER


@pytest.mark.proof
def test_canaries_that_did_not_arrive_are_no_proof(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    """All gradients lost on the way look like perfect privacy; the audit does not call that a pass."""
    patch.setattr(broken.clipping, "_clipped", lambda row, bound: np.zeros_like(row))
    assert deep.audit(run_canaries(QUICK, tmp_path / "study")).outcome is Outcome.WITHOUT_POWER


@pytest.mark.proof
@pytest.mark.parametrize("epsilon", ["1", "8"])
def test_at_full_size_every_coalition_is_held_to_its_certificate(
    epsilon: str, tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    shares = broken.Shares.recorded(patch, sites=3)
    opened = run_canaries(deep.AUDITS[epsilon], tmp_path / "study")
    for size in (0, 1, 2):
        verdict = deep.audit(coalition_of(opened, shares, size), observers=size)
        print(f"ε = {epsilon}, a = {size}: {deep.certificate(opened.plan, cohort=3, observers=size):.3f} claimed, "
              f"{verdict.epsilon_low:.3f} to {verdict.epsilon_high:.3f} found, {verdict.outcome}")  # fmt: skip
        assert verdict.outcome is Outcome.HELD, (size, verdict)


@pytest.mark.proof
@pytest.mark.parametrize("epsilon", ["1", "8"])
@pytest.mark.parametrize("break_it", [broken.noise_off, broken.noise_halved, broken.clip_at_twice_the_norm])
def test_at_full_size_a_mechanism_that_leaks_more_fails(
    epsilon: str, break_it: broken.Break, tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    break_it(patch)
    verdict = deep.audit(run_canaries(deep.AUDITS[epsilon], tmp_path / "study"))
    print(f"ε = {epsilon}, {break_it.__name__}: at least {verdict.epsilon_low:.3f}, {verdict.outcome}")
    assert verdict.outcome is Outcome.BROKEN, verdict


# -- noise alone ---------------------------------------------------------------------------------------------------


def test_opened_sums_of_nobody_hold_the_noise_that_was_charged(tmp_path: Path) -> None:
    opened = run_canaries(QUIET, tmp_path / "study")
    assert opened.charged
    assert noise_failures(opened, QUIET) == set()


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        pytest.param(broken.noise_halved, {"charged", "sum"}, marks=pytest.mark.proof),
        pytest.param(broken.one_share_missing, {"charged", "sum"}, marks=pytest.mark.proof),
        pytest.param(broken.noise_uniform, {"charged"}, marks=pytest.mark.proof),
        pytest.param(broken.noise_even, {"integers"}, marks=pytest.mark.proof),
        pytest.param(broken.one_key_for_all_sites, {"charged", "sum"}, marks=pytest.mark.proof),
        (broken.one_key_for_all_steps, {"step's"}),
    ],
)
def test_noise_that_is_broken_in_one_way_is_found_in_that_way(
    break_it: broken.Break, named: set[str], tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    break_it(patch)
    assert noise_failures(run_canaries(QUIET, tmp_path / "study"), QUIET) >= named


@pytest.mark.proof
def test_noise_scaled_for_the_smallest_cohort_is_not_what_was_charged(
    tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    """More noise than needed breaks no promise to persons; it is found all the same, because it is not the plan's."""
    four = replace(QUIET, keepers=("keeper-a", "keeper-b", "keeper-c"), minimum_sites=3)
    assert noise_failures(run_canaries(four, tmp_path / "right"), four) == set()
    broken.noise_of_the_smallest_cohort(patch)
    opened = run_canaries(four, tmp_path / "study")
    assert opened.plan.share_variance(3) > opened.plan.share_variance(4)
    assert noise_failures(opened, four) >= {"charged", "sum"}


# -- clipping ------------------------------------------------------------------------------------------------------


def test_subjects_are_clipped_and_rounded_as_the_oracle_has_it() -> None:
    (check,) = deep.clipping_checks()
    assert check.held, check.seen


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # what is not clipped may not even fit an integer
@pytest.mark.parametrize(
    "break_it", [broken.clip_off, broken.clip_at_twice_the_norm, broken.clip_each_record, broken.round_down]
)
def test_a_bound_that_is_not_kept_fails_the_oracle(break_it: broken.Break, patch: pytest.MonkeyPatch) -> None:
    break_it(patch)
    (check,) = deep.clipping_checks()
    assert not check.held, check.seen


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_the_product_itself_refuses_counts_as_not_held(patch: pytest.MonkeyPatch) -> None:
    """A vector longer than C_grid never reaches an audit: the mechanism refuses, and the doctor says so."""
    patch.setattr(broken.clipping, "_clipped", lambda row, bound: row)
    (check,) = deep._tried("clipping", deep.clipping_checks)
    assert not check.held and "NORM_ABOVE_BOUND" in check.seen
