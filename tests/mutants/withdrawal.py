"""Mistakes in what a withdrawal and an erasure do: too late, too little, too much, or told to the wrong people."""

from __future__ import annotations

from .mutant import Edit, Mutant

DEPARTURES = "core/site/departures.py"
REACH = "core/site/reach.py"
REMEDY = "core/site/remedy.py"
REMEDIES = "core/pilot/remedies.py"
STEP = "core/site/step.py"

MIDDLE = "tests/federation/test_withdrawal.py::test_a_withdrawal_in_the_middle_of_a_run_from_the_step_to_the_remedy"
PUT_BACK = "tests/federation/test_consents_put_back.py"
TESTS = "tests/federation/test_withdrawal_remedies.py"
LOGGED = f"{TESTS}::test_the_log_says_that_somebody_withdrew_and_never_who_or_of_an_adapter_how_many"

WITHDRAWAL_MUTANTS = (
    Mutant(
        "withdrawal effective only at the next run",
        (Edit(STEP, "subjects = tools.usable(state.run, state.step, tools.admitted)", "subjects = tools.admitted"),),
        (MIDDLE,),
        "assert watched.steps_with() ==",
    ),
    Mutant(
        "personal head kept",
        (Edit(REMEDY, "            head.unlink(missing_ok=True)\n", ""),),
        (f"{TESTS}::test_heads_that_may_hold_the_person_go_at_once_and_the_paper_names_nobody",),
        'assert told["heads_deleted"] == 2',
    ),
    Mutant(
        "erased subject's budget forgotten",
        (
            Edit(
                REMEDY,
                "        # 4. that somebody was erased,",
                '        (desk.state / "subject.key").unlink()\n        # 4. that somebody was erased,',
            ),
        ),
        (f"{TESTS}::test_an_erased_person_who_returns_finds_the_budget_spent_and_the_ledger_unchanged",),
        "assert spent() == before > 0",
    ),
    Mutant(
        "pseudonym in a log entry",
        (Edit(REMEDY, '{"commitment": case.commitment_of(subject)}', '{"commitment": subject}'),),
        (LOGGED,),
        "assert not any(person in json.dumps(entry)",
    ),
    Mutant(
        "a register that was put back is believed",
        (Edit(DEPARTURES, "            _leave(register, subject, departure, scope)\n", ""),),
        (
            f"{PUT_BACK}::test_a_register_that_is_put_back_alone_brings_nobody_back[withdrawal]",
            f"{PUT_BACK}::test_an_erased_person_comes_back_neither_with_an_old_register_nor_with_an_old_file_later",
        ),
        "assert usable(folder) == {OTHER}",
    ),
    Mutant(
        "a case is closed though its person may still come back",
        (
            Edit(
                DEPARTURES,
                "    for subject, cases in back:\n",
                "    for cases in forgotten.values():\n        for departure in cases:\n"
                "            register.note(departure.name)\n    for subject, cases in back:\n",
            ),
        ),
        (f"{PUT_BACK}::test_an_erased_person_comes_back_neither_with_an_old_register_nor_with_an_old_file_later",),
        "assert folder.register.events(PERSON) and usable(folder) == {OTHER}",
    ),
    Mutant(
        "a record of withdrawals that is behind the log is believed",
        (Edit(DEPARTURES, "    if len(all_entries(", "    if False and len(all_entries("),),
        (f"{PUT_BACK}::test_what_cannot_be_taken_again_because_it_was_put_back_too_is_refused",),
        "assert list(federation.problems) == [ONE]",
    ),
    Mutant(
        "a remedy is noted once a person",
        (Edit(REACH, "        return due is None\n", "        return True\n"),),
        (LOGGED,),
        'if entry["type"] == "remedy.due"] == [run]',
    ),
    Mutant(
        "who left a run comes back into it",
        (Edit(REACH, "        if gone <= away.keys():", "        if gone is not None:"),),
        (f"{TESTS}::test_who_consents_again_in_a_run_waits_for_the_next",),
        "assert PERSON not in folder.reach.stay",
    ),
    Mutant(
        "an erasure is called finished while an import would bring the person back",
        (Edit(REMEDY, "    if holding:\n", "    if len(holding) > 5:\n"),),
        (f"{TESTS}::test_an_erasure_that_is_not_finished_withdraws_all_the_same_and_keeps_its_proof",),
        "assert refused.exit == 3",
    ),
    Mutant(
        "the adapter that a remedy replaces stays where it lies",
        (Edit(REMEDIES, "            destroy(folder, run.run)\n", "            pass\n"),),
        (f"{TESTS}::test_an_adapter_that_nobody_received_is_done_again_and_destroyed",),
        "assert left_of(study, run) == []",
    ),
)
