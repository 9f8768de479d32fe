"""Mistakes in going on after a kill: what is not kept, is done twice, or goes on where it must not."""

from __future__ import annotations

from .mutant import Edit, Mutant

ANSWERS = "core/site/answers.py"
KEEPING = "core/site/keeping.py"
OPENING = "core/site/opening.py"
RECORD = "core/site/record.py"
RESUMING = "core/site/resuming.py"
SITE = "core/site/site.py"
STEP = "core/site/step.py"

TESTS = "tests/federation/test_site_resumes.py"
AGAIN = f"{TESTS}::test_each_message_again_is_answered_with_the_same_bytes_also_after_a_restart"
ANOTHER_SUM = f"{TESTS}::test_after_a_restart_no_other_sum_of_the_step_is_opened"
EVERYWHERE = f"{TESTS}::test_killed_after_every_write_of_every_message_it_ends_as_if_it_never_was"
LEFT_ALONE = f"{TESTS}::test_another_command_of_the_site_leaves_a_run_that_can_go_on_alone"
KEPT = "                folder.files.keep(state, moving(state, watch.kept(), answered, entries=folder.log.size))\n"
PLACED = "if _place_of(path) != begun.keys_at or not place.exists() or _place_of(place) != document.place_at:"
GOES_ON = 'assert site.handle(message).message.body.kind == "frame"'

RESUME_MUTANTS = (
    Mutant(
        "an answer is handed out and was not kept",
        (Edit(ANSWERS, KEPT, "                pass\n"),),
        (AGAIN,),
        "assert federation.sites[site].handle(data).to_bytes() == answer, kind",
        stopped="the message is about a run that is not open here",
    ),
    Mutant(
        "a sum is opened, and which one was not noted",
        (Edit(OPENING, "            self._keep(place, message)\n", ""),),
        (ANOTHER_SUM,),
        "DID NOT RAISE",
    ),
    Mutant(
        "which sum was opened is forgotten with the process",
        (Edit(SITE, "opened=kept.opening,", 'opened=("", ""),'),),
        (ANOTHER_SUM,),
        "DID NOT RAISE",
    ),
    Mutant(
        "a run is closed as an orphan though it can go on",
        (Edit(RESUMING, "for other in sorted(opened - {run}):", "for other in sorted(opened):"),),
        (LEFT_ALONE,),
        GOES_ON,
    ),
    Mutant(
        "a run's keys stay when it has ended",
        (Edit(RESUMING, "    folder.files.drop_keys(acts.run)\n", ""),),
        (f"{TESTS}::test_keys_lie_on_the_disk_only_where_runs_outlive_the_process_only_while_they_do_and_in_no_clear",),
        "assert all(KEYS not in kept(study, name) for name in THREE)",
    ),
    Mutant(
        "a step that is computed anew is charged anew",
        (Edit(STEP, "if not folder.ledger.is_started(state.run, state.step):", "if True:"),),
        (LEFT_ALONE,),
        GOES_ON,
        stopped="a step that was started is never started again",
    ),
    Mutant(
        "an act that was cut off is logged twice",
        (Edit(RECORD, "if not any(_same(", "if folder and not any(folder is None and _same("),),
        (EVERYWHERE,),
        "federation.run(",
        stopped="this site's log tells of runs or steps that its privacy ledger does not know",
    ),
    Mutant(
        "a message that could not be answered has moved the run",
        (Edit(ANSWERS, "            state.become(self.copy)\n", ""),),
        (f"{TESTS}::test_what_could_not_be_kept_is_not_handed_out_and_has_moved_nothing",),
        "result = federation.run(",  # every message after it is one too many for this site
        stopped="2 sites are left and the study's minimum_sites is 3",
    ),
    Mutant(
        "a backup that left the keys where they were goes on",
        (Edit(KEEPING, PLACED, "if _place_of(path) != begun.keys_at:"),),
        (f"{TESTS}::test_a_backup_of_all_but_what_never_changed_does_not_seal_the_step_again",),
        "DID NOT RAISE",
    ),
    Mutant(
        "an offer that is refused ends the run before it once more",
        (Edit(ANSWERS, " or state.run != message.header.run or state.finished:", ":"),),
        (f"{TESTS}::test_a_refused_offer_leaves_what_the_run_before_it_came_to",),
        'len(told(site.folder, "run.finished"))',
    ),
    Mutant(
        "a copy of the folder goes on beside the site",
        (Edit(KEEPING, PLACED, "if False:"),),
        (f"{TESTS}::test_a_copy_of_the_folder_does_not_go_on_beside_the_site",),
        "DID NOT RAISE",
    ),
    Mutant(
        "a state that was put back by a step goes on",
        (Edit(RESUMING, "0 <= rows[name].started - starts <= 1", "rows[name].started >= 0"),),
        (f"{TESTS}::test_a_state_put_back_by_a_step_is_behind_the_ledger",),
        "assert site.state is None",
    ),
    Mutant(
        "a document that somebody wrote to is read",
        (Edit(KEEPING, "not hmac.compare_digest(str(mac), self._mac_of(run)(value))", "mac is None"),),
        (f"{TESTS}::test_what_is_damaged_is_not_read",),
        "DID NOT RAISE",
    ),
    Mutant(
        "another command closes a run that can go on",
        (Edit(RESUMING, "if found is not None and not found.over:", "if found is None:"),),
        (LEFT_ALONE,),
        """assert code == "RUN_INTERRUPTED" and""",
    ),
)
