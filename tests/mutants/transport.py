"""Mistakes in carrying messages between machines: doubled work, forged answers, doors and papers open to others."""

from __future__ import annotations

from .mutant import Edit, Mutant

ENGINES = "tests/core/test_engine_conformance.py"
ENDS = "tests/flare/test_relay_ends.py"
LAUNCHER = "core/flare/launcher.py"
DESCRIBED = "str(job_meta.get(JobMetaKey.JOB_ID.value))"
STARTED = "tests/flare/test_another_job_is_started.py"
KITS = "tests/flare/test_kits.py"

TRANSPORT_MUTANTS = (
    Mutant(
        "a doubled message that is worked on twice",
        (Edit("core/engines/door.py", "            if known:\n", "            if known and not known:\n"),),
        (f"{ENGINES}::test_a_doubled_message_is_worked_on_once",),
        'assert {reply.data for reply in found} == {b"STEP"}',
    ),
    Mutant(
        "replies read ahead of the coordinator",
        (Edit("core/engines/relayed.py", "lambda: self._asking or self._relay is not pipe", "lambda: True"),),
        (f"{ENGINES}::test_no_reply_is_read_before_it_is_asked_for",),
        "assert channel._reply is None",
    ),
    Mutant(
        "a socket in a folder that others can enter",
        (Edit("core/engines/pipe.py", " or stat.S_IMODE(found.st_mode) & 0o077", ""),),
        (f"{ENGINES}::test_a_folder_that_others_can_enter_is_refused",),
        "DID NOT RAISE",
    ),
    Mutant(
        "an answer from a site that was not asked",
        (Edit("core/flare/server_end.py", " or post.site != site", ""),),
        (f"{ENDS}::test_another_site_neither_reads_a_message_nor_answers_it",),
        "== GONE",
    ),
    Mutant(
        "a certificate of a site that is good for a server",
        (Edit("core/flare/certificates.py", "SERVER_AUTH if host else", "SERVER_AUTH if name else"),),
        (f"{KITS}::test_each_certificate_is_good_for_one_end",),
        "ExtendedKeyUsage).value) == [purpose]",
    ),
    Mutant(
        "a paper that anybody signed",
        (Edit("core/flare/enrolment.py", "        key.verify(signature, signed)\n", "        len(signed)\n"),),
        (
            f"{KITS}::test_a_request_that_the_site_did_not_sign_is_not_answered",
            f"{KITS}::test_a_bundle_of_another_coordinator_is_not_trusted",
        ),
        "DID NOT RAISE",
    ),
    Mutant(
        "a bundle of another study or site",
        (Edit("core/flare/kits.py", "if (told.study, told.site) != (study, site):", "if not told.study:"),),
        (f"{KITS}::test_papers_of_another_study_or_site_are_refused_at_both_ends",),
        "DID NOT RAISE",
    ),
    Mutant(
        "a job that says more than the pipe does",
        (Edit("core/flare/pipe_job.py", "        if said != ours[", "        if not said and said != ours["),),
        (f"{KITS}::test_a_job_that_differs_from_the_pipe_is_not_started[variable]",),
        "assert amiss(app, {}) == why",
    ),
    Mutant(
        "a job is started that goes by the pipe's name",
        (
            Edit(LAUNCHER, "str(fl_ctx.get_prop(FLContextKey.JOB_PROCESS_ARGS)[JobProcessArgs.JOB_ID][1])", DESCRIBED),
            Edit(LAUNCHER, f"{DESCRIBED} != job", "False"),
        ),
        (f"{STARTED}::test_a_job_is_not_started_in_the_name_of_the_pipe",),
        "DID NOT RAISE",
    ),
    Mutant(
        "a job takes the place of what lies there",
        (Edit(LAUNCHER, "there = Path(workspace.get_run_dir(job_id)).exists()", "there = False"),),
        (
            f"{STARTED}::test_a_job_is_not_exchanged_between_the_check_and_its_start",
            f"{STARTED}::test_a_job_does_not_take_the_place_of_the_sites_own_files[local]",
        ),
        "assert machine.deploy(",
    ),
)
