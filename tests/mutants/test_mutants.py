"""Every mistake in the tables is made in a copy of the product, and the tests that are named for it find it.

``make test`` looks at the tables alone: every edit still has its one place in the source. ``make proof`` makes the
mistakes, one file of tests for each group of tables.py. A mutant counts as caught if every test that is named for it
fails, by its own assertion (or where the product refuses to go on, by that very sentence), and says what the table
says; the same tests pass without it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .mutant import Edit, Mutant, sources
from .tables import GROUPS, MUTANTS, TABLES, nodes_of
from .workbench import Workbench

ROOT = Path(__file__).parents[2]

# What has to be among them, by the beginning of its name.
PROMISED = (
    "noise off", "noise halved", "T = 0", "share scaled with C instead of C_grid",
    "scaled by the minimum instead of the cohort", "clip off", "clip per record", "rounding after the sum",
    "shuffled batches", "truncated Poisson sample", "seed reuse across steps", "noise from the training seed",
    "dropout from the training seed", "length-sorted ragged micro-batches", "division by the realised batch",
    "empty step not charged", "charge after disclosure", "re-seal instead of re-send", "refund of a disclosed step",
    "sigma rounded down", "Gaussian PLD without the slack", "63-bit table",
    "rotation after rounding", "rotation not undone", "signs of another step", "scale left out of the rotation",
    "integers held against their bound before the rotation only", "block that overlaps forgotten",
    "held-out people train", "a count sealed under the transcript", "going back keeps the velocity",
    "a rejected block not counted", "a verdict on exact counts",
    "a shift of all scores that nobody sees", "a record counted in two cells", "a marginal that adds the wrong cells",
    "withdrawal effective only at the next run", "personal head kept", "erased subject's budget forgotten",
    "pseudonym in a log entry",
    "a withdrawal ignored at the next step", "an erasure that leaves the key", "a bad row skipped",
    "an objection outlived by a later grant",
    "edge verified without its signature", "changed adapter accepted",
    "consent commitment not under the site's key",
    "synchronous=NORMAL", "acknowledge before commit", "entries and nodes in two transactions",
    "an entry that is owed and not shown", "a log that was put back between runs",
)  # fmt: skip

# For the workbench's own tests: a quick test, and an edit of what it looks at that changes nothing.
STREAM = "privacy/mechanism/randomness.py"
STREAM_TEST = "tests/privacy/test_randomness.py::test_the_stream_is_chacha20"
ZERO_NONCE = "_COUNTER_AND_NONCE = bytes(16)"
IDLE = Mutant("nothing", (Edit(STREAM, ZERO_NONCE, ZERO_NONCE + "  # zero"),), (STREAM_TEST,), "assert stream.bytes")


# --- the tables


@pytest.mark.parametrize("name", MUTANTS)
def test_every_edit_has_its_one_place_and_leaves_python(name: str) -> None:
    for file, (right, wrong) in sources(ROOT, MUTANTS[name]).items():
        assert right != wrong
        if file.endswith(".py"):
            compile(wrong, file, "exec")


@pytest.mark.parametrize("node", nodes_of(TABLES))
def test_every_named_test_is_there(node: str) -> None:
    file, name = node.partition("[")[0].split("::")
    assert f"\ndef {name}(" in (ROOT / file).read_text("utf-8")


def test_names_are_not_used_twice_and_all_that_was_promised_is_there() -> None:
    assert len(MUTANTS) == len(TABLES)
    files = {path.name for path in Path(__file__).parent.glob("test_*_mutants.py")}
    assert files == {f"test_{group}_mutants.py" for group in GROUPS}
    assert [promised for promised in PROMISED if not any(name.startswith(promised) for name in MUTANTS)] == []
    assert all(mutant.caught_by for mutant in MUTANTS.values())
    # what any failed assertion says is no reason
    reasons = [(name, reason) for name, mutant in MUTANTS.items() for reason in mutant.reasons().values()]
    assert [name for name, reason in reasons if not reason.removeprefix("assert").strip()] == []


@pytest.mark.parametrize(
    "edit",
    [
        Edit(STREAM, "text that is nowhere", ""),
        Edit(STREAM, "return", ""),
        Edit(STREAM, ZERO_NONCE, ZERO_NONCE),
    ],
    ids=["nowhere", "in several places", "unchanged"],
)
def test_a_mutant_that_would_test_nothing_is_refused(edit: Edit) -> None:
    with pytest.raises(ValueError, match=STREAM):
        sources(ROOT, Mutant("", (edit,), (STREAM_TEST,), ""))


# --- the workbench: what it must not take for caught


@pytest.mark.proof
@pytest.mark.parametrize(
    ("wrong", "test", "says", "complaint"),
    [
        (IDLE.edits[0].wrong, STREAM_TEST, IDLE.says, "did not fail but passed"),
        ("_COUNTER_AND_NONCE = bytes(8)", STREAM_TEST, IDLE.says, "failed otherwise than by"),
        ("_COUNTER_AND_NONCE = b'1' * 16", STREAM_TEST, "assert something else", "failed for another reason than"),
        ("_COUNTER_AND_NONCE =", STREAM_TEST, IDLE.says, "did not fail but missing"),
        ("_COUNTER_AND_NONCE = b'1' * 16", STREAM_TEST + "s", IDLE.says, "did not fail but missing"),
    ],
    ids=["a test that passes", "an error", "another assertion", "a syntax error", "a test that is not there"],
)
def test_what_is_not_caught_is_not_taken_for_caught(
    bench: Workbench, wrong: str, test: str, says: str, complaint: str
) -> None:
    (said,) = bench.complaints(Mutant("", (Edit(STREAM, ZERO_NONCE, wrong),), (test,), says))
    assert complaint in said
    assert (bench.root / STREAM).read_text("utf-8") == (ROOT / STREAM).read_text("utf-8")


@pytest.mark.proof
def test_the_copy_is_what_is_tested(bench: Workbench) -> None:
    wrong = Edit(STREAM, ZERO_NONCE, "_COUNTER_AND_NONCE = b'1' * 16")
    assert bench.complaints(Mutant("", (wrong,), (STREAM_TEST,), IDLE.says)) == []
