"""Mistakes in how consent is kept and obeyed: each uses somebody who said no, or keeps what was to be forgotten."""

from __future__ import annotations

from .mutant import Edit, Mutant

ERASING = "governance/consent/erasing.py"
IMPORT = "governance/consent/consent_import.py"
RECORDING = "governance/consent/recording.py"
STANDING = "governance/consent/standing.py"
STEP = "core/site/step.py"

IN_RUN = "tests/federation/test_consent_in_run.py"
NOBODY_ENTERS = f"{IN_RUN}::test_nobody_enters_a_run_and_whoever_may_not_be_used_is_gone_at_the_next_step"
VAULT_TESTS = "tests/governance/test_vault.py"
INDEX = f"{VAULT_TESTS}::test_the_index_answers_what_the_rule_says_of_all_events"
FORMATS = "tests/governance/test_consent_formats.py"

CONSENT_MUTANTS = (
    Mutant(
        "a withdrawal ignored at the next step",
        (
            Edit(
                STEP,
                "still_eligible(among, folder.register, scope=folder.study.legal_basis_scope, now=folder.clock())",
                "among",
            ),
        ),
        (f"{IN_RUN}::test_who_withdraws_is_not_touched_from_the_next_step_on",),
        "assert GONE not in changed_run.offered",
    ),
    Mutant(
        "the record of who left a run is not asked",
        (Edit(STEP, "kept = folder.reach.stay(run, step, among, kept)", "pass"),),
        (NOBODY_ENTERS,),
        "somebody entered",
    ),
    Mutant(
        "who withdrew before the first step is read all the same",
        (Edit("core/site/site.py", "self._load(tools, tools.staying())", "self._load(tools, tools.admitted)"),),
        (f"{IN_RUN}::test_who_withdraws_between_the_join_and_the_first_step_is_never_read",),
        "assert EARLY not in changed_run.read",
    ),
    Mutant(
        "an erasure that leaves the key",
        (Edit(ERASING, 'connection.execute("DELETE FROM subject WHERE id = ?", row)', "pass"),),
        (
            "tests/governance/test_consent.py"
            "::test_erasure_leaves_no_byte_of_the_subject_in_file_journal_or_free_pages[400]",
        ),
        "in scrub",
        stopped="the rows are erased but the old journal still holds them",
    ),
    Mutant(
        "an erasure that does not look for what old pages hold",
        (Edit(ERASING, "if traces is None or _found(raw, traces):", "if traces is None:"),
         Edit(ERASING, "if traces and _found(raw, traces):", "if False:")),
        (f"{VAULT_TESTS}::test_a_copy_in_an_old_page_is_found_and_written_over",),
        "assert not any(trace in",
    ),
    Mutant(
        "an old file brings an erased person back",
        (Edit(RECORDING, "return at is not None and microseconds(event.at) <= at", "return False"),),
        (f"{VAULT_TESTS}::test_an_old_file_brings_nobody_back_and_a_new_consent_does",),
        "assert (again.recorded, again.known, again.erased)",
    ),
    Mutant(
        "a bad row skipped, not refused with its file",
        (Edit(IMPORT, "if not refused:\n                recording.add(row)", "recording.add(row)"),
         Edit(IMPORT, "recording.abandoned = True", "recording.abandoned = False")),
        (f"{FORMATS}::test_every_bad_row_of_a_table_is_named_by_its_line_and_nothing_is_recorded",),
        "assert register.eligible(",
    ),
    Mutant(
        "an objection outlived by a later grant",
        (Edit(STANDING, "return (standing.rank == OBJECTION, standing.at", "return (False, standing.at"),),
        (INDEX, f"{VAULT_TESTS}::test_a_later_grant_does_not_lift_an_objection"),
        ("assert set(answer.eligible) ==", "assert register.eligible("),
    ),
    Mutant(
        "an event that does not move the commitment",
        (Edit(RECORDING, "head = self._keys.chain(before[0] if before else EMPTY_CHAIN, fingerprints)",
              "head = before[0] if before else EMPTY_CHAIN"),),
        (f"{VAULT_TESTS}::test_the_commitment_moves_with_every_event_and_every_erasure_and_with_nothing_else",),
        "assert len(set(seen)) == len(seen)",
    ),
)  # fmt: skip
