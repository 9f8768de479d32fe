"""Mistakes in a party's log: what an append waits for, what is told to whom, what is recomputed."""

from __future__ import annotations

from .mutant import Edit, Mutant

AUDITLOG = "governance/log/auditlog.py"
FSCK = "governance/log/fsck.py"
LOGFILE = "governance/log/logfile.py"

LOG_TESTS = "tests/governance/test_auditlog.py"
RETIRING = "tests/federation/test_retiring.py"
RETENTION = "tests/governance/test_retention.py"
POWER = "tests/faults/test_power_loss.py::test_power_loss_after_an_acknowledgement_loses_nothing"
ONE_APPEND = "tests/faults/test_log_faults.py::test_a_fault_anywhere_in_one_append_leaves_all_of_it_or_nothing"
CUT = "tests/faults/test_damaged_side_files.py::test_a_write_ahead_log_cut_anywhere"

BEGIN = '        execute("BEGIN IMMEDIATE")\n        try:\n'
COMMIT = '            execute("COMMIT")\n        except'
NODES = '            connection.executemany("INSERT INTO nodes'
APPENDED = "        append_rows(self._connection, first, bodies, created)\n"
SETTLE = '    connection.execute("PRAGMA busy_timeout = 0")'
TOLD = "        for one in taken:\n            one.first, first = first, first + len(one.bodies)\n"

LOG_MUTANTS = (
    Mutant(
        "synchronous=NORMAL",
        (Edit(LOGFILE, "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"),),
        (POWER,),
        "an acknowledged entry was lost",
    ),
    Mutant(
        "synchronous=OFF",
        (Edit(LOGFILE, "PRAGMA synchronous=FULL", "PRAGMA synchronous=OFF"),),
        (POWER,),
        "power lost after call",
    ),
    Mutant(
        "acknowledge before commit, to those who share it",
        (Edit(AUDITLOG, APPENDED, f"        now = first\n{TOLD}        first = now\n{APPENDED}"),),
        (f"{LOG_TESTS}::test_a_commit_that_fails_fails_everybody_who_waited_for_it",),
        "assert codes ==",
    ),
    Mutant(
        "acknowledge before commit: the next append commits this one",
        (
            Edit(LOGFILE, BEGIN, f'        if connection.in_transaction:\n            execute("COMMIT")\n{BEGIN}'),
            Edit(LOGFILE, COMMIT, "            pass\n        except"),
            Edit(LOGFILE, SETTLE, f'    if connection.in_transaction:\n        connection.execute("COMMIT")\n{SETTLE}'),
        ),
        (ONE_APPEND, POWER),
        ("assert {fault.call for fault in inside} ==", "an acknowledged entry was lost"),
    ),
    Mutant(
        "entries and nodes in two transactions",
        (Edit(LOGFILE, NODES, f'            execute("COMMIT")\n            execute("BEGIN IMMEDIATE")\n{NODES}'),),
        (ONE_APPEND,),
        "a log's stored tree has a hole",
    ),
    Mutant(
        "a log goes on after a commit that failed",
        (Edit(AUDITLOG, "self._failed, first = True, self.size", "self._failed, first = False, self.size"),),
        (ONE_APPEND,),
        "a log whose last commit failed was written again",
    ),
    Mutant(
        "a signed head stays in the write-ahead log",
        (Edit(AUDITLOG, "(head.size, note))\n                settle(self._connection)\n", "(head.size, note))\n"),),
        (CUT,),
        "silently shorter than the signed head",
    ),
    Mutant(
        "fsck believes the stored tree",
        (Edit(FSCK, "if stored.next_of(node.level) != (", "if stored.next_of(node.level) is ("),),
        (f"{LOG_TESTS}::test_tampering_anywhere_is_seen_by_fsck[UPDATE nodes SET hash = zeroblob(32) WHERE k = 2]",),
        "DID NOT RAISE",
    ),
    Mutant(
        "gaps that no notice explains",
        (Edit(FSCK, "    if gaps_digest(gaps) != explained:\n", "    if len(gaps) != explained[1]:\n"),),
        (f"{RETENTION}::test_another_entry_is_not_deleted_in_the_place_of_a_retired_one",),
        "Failed: DID NOT RAISE",
    ),
    Mutant(
        "a milestone let go of",
        (Edit("governance/log/retention.py", 'if entry["type"] in ROUTINE and', "if"),),
        (f"{RETENTION}::test_routine_entries_past_their_term_go_and_everything_else_stays",),
        "assert log.retire(TERM",
    ),
    Mutant(
        "steps of the last run let go of",
        (Edit(AUDITLOG, " if begins is None or index < begins]", "]"),),
        (f"{RETENTION}::test_of_the_last_run_every_entry_stays_however_old_it_is",),
        "assert log.retire(TERM",
    ),
    Mutant(
        "a term that nobody signed",
        (Edit("core/site/retiring.py", "            _check_signed(study_folder, study, roster)\n", ""),),
        (f"{RETIRING}::test_a_shorter_term_that_somebody_typed_into_the_study_lets_nothing_go[ame]",),
        "DID NOT RAISE",
    ),
)
