"""Mistakes in stopping long work, and in a site's service: stops that nobody hears, ends that look like refusals."""

from __future__ import annotations

from .mutant import Edit, Mutant

STOPPING = "tests/federation/test_stopping_work.py"
SERVICE = "tests/federation/test_site_service.py"
HEARD = f"{STOPPING}::test_a_stop_of_the_run_is_heard_inside_a_step_and_ends_it_before_the_next_batch"
INTERRUPTING = "core/site/interrupting.py"
ENDING = "            if interrupted.code == ENDING:"
NEVER = "            if not interrupted.code:"

SERVICE_MUTANTS = (
    Mutant(
        "a step that asks nobody whether to go on",
        (Edit("core/training/training.py", "        check()\n", ""),),
        (HEARD,),
        "assert len(at_work.batches) == BATCH",
    ),
    Mutant(
        "passes through a model that ask nobody whether to go on",
        (Edit("core/training/passes.py", "        check()\n", ""),),
        (f"{STOPPING}::test_passes_through_a_model_end_with_those_at_work",),
        "DID NOT RAISE",
    ),
    Mutant(
        "encryption that asks nobody whether to go on",
        (Edit("core/gate/gate.py", "        self._check()\n", "        return\n"),),
        (f"{STOPPING}::test_encryption_asks_between_blocks_and_seals_nothing_after_the_stop",),
        "assert codes.get(AT) == STOPPED",
    ),
    Mutant(
        "a stop that anybody may have signed",
        (Edit(INTERRUPTING, "            self._check_sender(received)\n", ""),),
        (f"{STOPPING}::test_whatever_else_comes_inside_a_step_ends_nothing",),
        "assert at_work.run(all_of_them, monkeypatch) is None",
    ),
    Mutant(
        "a stop of whichever run",
        (Edit(INTERRUPTING, " and received.header.run == state.run:", ":"),),
        (f"{STOPPING}::test_whatever_else_comes_inside_a_step_ends_nothing",),
        "assert at_work.run(all_of_them, monkeypatch) is None",
    ),
    Mutant(
        "a process that ends ends its run",
        (Edit("core/site/site.py", ENDING, NEVER),),
        (f"{STOPPING}::test_a_process_that_ends_leaves_the_run_as_it_stands_and_refuses_nothing",),
        'assert (books[0].started, books[0].disclosed, books[0].state) == (1, 0, "open")',
    ),
    Mutant(
        "a service that ends says that the site did not deliver",
        (Edit("core/site/agent.py", ENDING, NEVER),),
        (f"{SERVICE}::test_told_to_end_inside_a_step_it_ends_and_answers_nothing",),
        "assert together.channel.undelivered == []",
    ),
)
