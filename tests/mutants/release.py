"""Mistakes in what a release depends on, and in what its use is held against."""

from __future__ import annotations

from .mutant import Edit, Mutant

RELEASE = "governance/provenance/release.py"
LICENCES = "governance/provenance/licences.py"
REVOCATION = "governance/provenance/revocation.py"
CONDITIONS = "governance/provenance/conditions.py"
APPROVALS = "governance/signing/approvals.py"
RELEASING = "core/site/releasing.py"
USE = "core/site/use.py"
UNIT = "tests/governance/test_release.py"
WHOLE = "tests/federation/test_release.py"
BY_SITE = f"{WHOLE}::test_each_missing_condition_refuses_the_release_by_its_own_code"

RELEASE_MUTANTS = (
    Mutant(
        "an expiry that nobody looks at",
        (Edit(RELEASE, "if now >= read_time(record.expires):", "if now < read_time(record.issued):"),),
        (f"{WHOLE}::test_what_has_expired_is_refused",),
        "DID NOT RAISE",
    ),
    Mutant(
        "a recipient that nobody looks at",
        (Edit(RELEASE, "if party not in record.parties:", "if not record.parties:"),),
        (f"{WHOLE}::test_the_wrong_recipient_is_refused",),
        "DID NOT RAISE",
    ),
    Mutant(
        "an unknown licence that passes",
        (
            Edit(
                LICENCES,
                '        return Conflict("LICENCE_UNKNOWN", unknown)',
                "        return None",
            ),
        ),
        (
            f"{UNIT}::test_a_licence_that_nobody_has_read_is_no_licence",
            f"{UNIT}::test_each_missing_condition_refuses_by_its_own_code[case16-RELEASE_LICENCE_UNKNOWN]",
        ),
        ("is not None", "DID NOT RAISE"),
    ),
    Mutant(
        "a stale list of revocations that is accepted",
        (Edit(REVOCATION, "if age is None or age > max_age_hours:", "if age is None:"),),
        (f"{WHOLE}::test_a_stale_list_is_refused_and_a_fresh_one_is_enough",),
        "DID NOT RAISE",
    ),
    Mutant(
        "an older list of revocations that is accepted",
        (
            Edit(
                REVOCATION,
                "if state.version < seen_version or seen - set(state.revoked):",
                "if seen_version < 0:",
            ),
        ),
        (f"{WHOLE}::test_an_older_list_is_refused",),
        "DID NOT RAISE",
    ),
    Mutant(
        "one person who approves twice",
        (
            Edit(
                APPROVALS,
                "    for pseudonym in {vote.person.pseudonym for vote in votes}:\n"
                "        own = [vote for vote in votes if vote.person.pseudonym == pseudonym]\n",
                "    for pseudonym in {str(vote.envelope) for vote in votes}:\n"
                "        own = [vote for vote in votes if str(vote.envelope) == pseudonym]\n",
            ),
        ),
        (f"{WHOLE}::test_two_signatures_of_one_person_are_one_approval",),
        "DID NOT RAISE",
    ),
    Mutant(
        "a last validation whose verdict nobody reads",
        (Edit(CONDITIONS, "    if not last.accepted:\n", "    if last.after_step < 0:\n"),),
        (f"{UNIT}::test_each_missing_condition_refuses_by_its_own_code[case6-RELEASE_VALIDATION_REJECTED]",),
        "DID NOT RAISE",
    ),
    Mutant(
        "a class drop without its noise",
        (Edit(CONDITIONS, " + ONE_SIDED * math.hypot(before[1], after[1])", ""),),
        (f"{UNIT}::test_a_fall_is_bounded_with_its_noise",),
        "assert 0.0 ==",
    ),
    Mutant(
        "an adapter that is handed over before the gate has told it",
        (
            Edit(
                RELEASING,
                "    gate.tell(ReleaseNotice(adapter=record.adapter, provenance=record.provenance), request=request)\n",
                "",
            ),
        ),
        (f"{WHOLE}::test_it_is_granted_when_all_hold_and_the_gate_has_told_it",),
        "assert 'control.told' in",
    ),
    Mutant(
        "a file beside the release that nobody signed",
        (Edit(USE, "for name in sorted(set(named) | (set(files) - {STATEMENT})):", "for name in sorted(named):"),),
        (f"{WHOLE}::test_a_file_more_or_less_is_noticed",),
        "DID NOT RAISE",
    ),
)
