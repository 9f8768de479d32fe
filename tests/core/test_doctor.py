"""sekisho doctor, and with --deep: what holds ends with 0, what is broken with 1, a hint and its name.

The audits run at a smaller size here than on a user's machine; at full size they run in tests/federation/test_audits.py
(make proof).
"""

from __future__ import annotations

from types import MappingProxyType

import pytest

from sekisho.core.pilot import deep
from sekisho.core.pilot.canary_study import Design
from sekisho.core.pilot.doctor import run_checks

from ..federation import broken_mechanisms as broken
from ..federation.command import Ended, one_line, sekisho_here

Capture = pytest.CaptureFixture[str]
QUICK = 10  # checks without --deep


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep, "NOISE", Design(epsilon="3", steps=2, canaries=0, spare=20_000))
    monkeypatch.setattr(deep, "AUDITS", MappingProxyType({"8": Design(epsilon="8", steps=2, canaries=600)}))


def broken_checks(ended: Ended) -> set[str]:
    return {check["name"] for check in ended.told["checks"] if not check["held"]}


def test_the_quick_visit_stays_as_it_is(capsys: Capture) -> None:
    ended = sekisho_here(capsys, "doctor", "--json")
    assert (ended.exit, len(ended.told["checks"]), ended.told["held"]) == (0, QUICK, True)
    assert [check["name"] for check in ended.told["checks"]] == [check.name for check in run_checks()]


def test_a_deep_visit_says_of_each_audit_what_was_seen_and_its_false_alarm(capsys: Capture) -> None:
    ended = sekisho_here(capsys, "doctor", "--deep", "--json")
    assert (ended.exit, ended.told["held"]) == (0, True), broken_checks(ended)
    audits = ended.told["checks"][QUICK:]
    assert len(audits) == 9
    assert all("false alarm" in check["seen"] for check in audits if "charged" not in check["name"].split())
    leaks = next(check for check in audits if check["name"].startswith("what leaks"))
    assert "held" in leaks["seen"] and "weak" in leaks["seen"]
    assert "q = 1; no audit here is of a sampled run" in leaks["seen"]
    assert "and with 99% no smaller loss than noise divided by " in leaks["seen"]


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (
            broken.noise_halved,
            {
                "every share carries its noise",
                "the noise in an opened sum has the moments that were charged",
                "the noise in an opened sum has the shape of its shares' sum",
                "what leaks of a canary in a run of ε = 8 is what is claimed",
                "no site's share of the noise is missing in a run of ε = 8",
            },
        ),
        pytest.param(
            broken.clip_each_record,
            {
                "what leaks of a canary in a run of ε = 8 is what is claimed",
                "each subject is clipped and rounded as an oracle in exact fractions has it",
            },
            marks=pytest.mark.proof,
        ),
    ],
)
def test_a_broken_mechanism_ends_with_1_and_its_name(
    break_it: broken.Break, named: set[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch)
    ended = sekisho_here(capsys, "doctor", "--deep", "--json")
    assert (ended.exit, ended.told["code"], ended.told["held"]) == (1, "PROTECTION_BROKEN", False)
    assert broken_checks(ended) >= named
    assert one_line(ended.told)
    assert "do not run a study on this machine" in ended.told["hint"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # what is not clipped may not even fit an integer
def test_a_mechanism_that_refuses_to_run_is_broken_too(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told in prose: one line a check, the error with its hint, and progress apart from both."""
    monkeypatch.setattr(broken.clipping, "_clipped", lambda row, bound: row)
    monkeypatch.setattr(deep, "AUDITS", MappingProxyType({}))
    ended = sekisho_here(capsys, "doctor", "--deep")
    assert ended.exit == 1
    lines = [line for line in ended.out.splitlines() if line.startswith("BROKEN")]
    assert any("NORM_ABOVE_BOUND" in line for line in lines)
    assert "sekisho: hint: do not run a study on this machine" in ended.err
    assert "audits: " in ended.err
