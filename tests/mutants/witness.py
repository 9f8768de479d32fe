"""Mistakes in witnessing: logs that nobody compares, proofs that convict the honest, proofs that nobody keeps."""

from __future__ import annotations

from .mutant import Edit, Mutant

COLLECTING = "core/coordinator/collecting.py"
MISBEHAVIOUR = "governance/log/misbehaviour.py"
SHOWN = "governance/log/shown.py"
SITE_WATCH = "core/site/witnessing.py"
WATCHING = "core/watching.py"
WITNESS = "governance/log/witness.py"

IN_RUNS = "tests/attacks/test_coordinator_log.py"
LIED_TO = f"{IN_RUNS}::test_a_coordinator_that_lies_to_one_site_about_its_log"
RULES = "tests/governance/test_misbehaviour.py"
DROPS = "tests/federation/test_drop.py"
KEPT = "assert len(kept) == 1"

HONEST = "tests/attacks/test_honest_is_not_convicted.py"

IN_THE_RUN = (
    Mutant(
        "a cohort with a part that nobody reads",
        (Edit("core/site/joining.py", "if {part.name for part in message.header.parts} - asked:", "if not asked:"),),
        (f"{HONEST}::test_a_join_of_nobody_in_the_cohort_convicts_no_site_of_disowning_a_head",),
        "assert both_convict(proof, VICTIM) == (False, False)",
    ),
    Mutant(
        "a proof that outsiders do not follow is kept",
        (Edit(WATCHING, " or not _is_followed(proof, self._post.key_of(party)):", ":"),),
        (f"{HONEST}::test_no_proof_is_kept_that_would_spoil_the_evidence_of_who_keeps_it",),
        "assert all(both_convict(proof, COORDINATOR) == (True, True)",
    ),
    Mutant(
        "a head that its owner cannot read is held against it",
        (Edit("governance/evidence/verifier.py", r"\u2014 ([!-*,-~]+) (", r"\u2014 ([^ \n]+) ("),),
        (f"{HONEST}::test_a_head_that_its_owner_cannot_read_is_not_held_against_it[a plus sign]",),
        "assert both_convict(proof, COORDINATOR) == (known, known)",
    ),
    Mutant(
        "two sites that do not compare what they were shown",
        (Edit(SITE_WATCH, 'if shown is not None and kind == "readies":', "if shown is None:"),),
        # of two histories of one length the victim convicts by itself, from the next message
        (f"{IN_RUNS}::test_two_heads_of_different_sizes_stop_the_run_and_convict_nobody",),
        "assert ongoing.refused is not None and",
    ),
    Mutant(
        "a log that became shorter within a run",
        (Edit(WATCHING, "        if shown.head.size < earlier.head.size:", "        if False:"),),
        (f"{LIED_TO}[an_earlier_head]",),
        "assert (finding.charge",
    ),
    Mutant(
        "an entry that is owed and not shown",
        (
            Edit(
                WATCHING,
                "if shown is None or not holds(shown, owed(said)):",
                "if shown is None:",
            ),
        ),
        (f"{LIED_TO}[a_head_without_the_entry]", f"{LIED_TO}[a_head_that_stands_still]"),
        ("assert ongoing.fired", "assert (finding.charge"),  # one that stands still is out of step in the next message
    ),
    Mutant(
        "an entry that is shown and is not in the log",
        (Edit(SHOWN, "        verify_inclusion(one.index", "        (one.index"),),
        (f"{LIED_TO}[a_proof_of_another_entry]",),
        "assert (finding.charge",  # the head is another log's, too, which the next message shows
    ),
    Mutant(
        "a head that does not continue the last message's, not convicted by the two",
        (Edit(WATCHING, "        if follows and _denies(earlier.head, shown):", "        if False:"),),
        (f"{LIED_TO}[a_rewritten_log]",),
        KEPT,
    ),
    Mutant(
        "a log that was put back between runs",
        (Edit(WATCHING, "if said.kind not in OPENING and _denies(seen, shown):", "if False:"),),
        (
            f"{IN_RUNS}::test_a_coordinator_that_rolls_its_log_back_between_runs",
            f"{IN_RUNS}::test_a_site_that_rolls_its_log_back_between_runs",
        ),
        "assert ongoing.refused is not None",
    ),
    Mutant(
        "one's own log that was put back",
        (Edit(WATCHING, "        self._check_claims(party)\n", ""),),
        (f"{IN_RUNS}::test_a_coordinator_whose_log_was_restored_stops_itself",),
        "federation.run(",
        stopped="a log never had this size",
    ),
    Mutant(
        "a message that is sent again shows the log anew",
        (Edit(COLLECTING, "        if self.has_asked(body, phase):", "        if False:"),),
        (f"{DROPS}::test_a_frame_lost_once_is_sent_again_unchanged_and_nothing_is_charged_twice[lost]",),
        "federation.run(",
        stopped="declined by clause log/coordinator",
    ),
    Mutant(
        "a coordinator that looks at no site's log",
        (Edit(COLLECTING, "        self._watch.hear(message)  #", "        pass  #"),),
        (f"{IN_RUNS}::test_a_site_that_rolls_its_log_back_in_a_run",),
        KEPT,
    ),
    Mutant(
        "sites that look at no other site's log",
        (Edit(SITE_WATCH, ', "readies": "ready"}', "}"),),
        (f"{IN_RUNS}::test_sites_see_it_too_where_the_coordinator_looks_away",),
        "assert ongoing.refused is not None",
    ),
    Mutant(
        "a proof that is not kept",
        (Edit(WATCHING, "        store(self._post.folder, proof)\n", ""),),
        (f"{LIED_TO}[an_earlier_head]",),
        KEPT,
    ),
    Mutant(
        "a head kept without a cosignature",
        (Edit(WATCHING, "proof, key, line))", "proof, key))"),),
        (f"{IN_RUNS}::test_honest_runs_convict_nobody_and_leave_cosigned_heads",),
        "assert log.root(head.size)",
    ),
)
CONVICTING = (
    Mutant(
        "messages in any order convict",
        (Edit(MISBEHAVIOUR, "    if earlier.number >= later.number:", "    if False:"),),
        (f"{RULES}::test_an_old_head_that_somebody_repeats_convicts_nobody",),
        "assert not accuse(Charge.ROLLBACK, late, early)",
    ),
    Mutant(
        "messages of two runs convict",
        (Edit(MISBEHAVIOUR, 'if messages[0].header["run"] != messages[1].header["run"]:', "if False:"),),
        (f"{RULES}::test_two_runs_have_no_order",),
        "assert not accuse(Charge.ROLLBACK, earlier",
    ),
    Mutant(
        "a message that was not forwarded convicts",
        (Edit(MISBEHAVIOUR, "    if later.number != earlier.number + 1:", "    if later.number <= earlier.number:"),),
        (f"{RULES}::test_a_message_that_was_not_forwarded_leaves_no_gap_to_be_convicted_of",),
        "assert not accuse(Charge.INCONSISTENT",
    ),
    Mutant(
        "what a party never read convicts it",
        (
            Edit(
                MISBEHAVIOUR,
                """ or cohort.part(f"join:{witness.header['sender']}") != digest_bytes(witness.raw):""",
                ":",
            ),
        ),
        (f"{RULES}::test_a_party_answers_for_nothing_but_the_joins_of_its_cohort",),
        "assert not accuse(Charge.DISOWNED, cohort(GROWN",
    ),
    Mutant(
        "a message of the version before convicts",
        (Edit(SHOWN, 'or header.get("version") != VERSION:', "or False:"),),
        (f"{RULES}::test_a_message_of_the_version_before_owes_nothing",),
        "assert not accuse(Charge.WITHHELD",
    ),
    Mutant(
        "two heads of different sizes convict",
        (Edit(MISBEHAVIOUR, "    if one.size != other.size or one.root == other.root:", "    if one == other:"),),
        (f"{RULES}::test_an_old_head_that_somebody_repeats_convicts_nobody",),
        "assert not accuse(Charge.FORK, SUMMED.note(), GROWN.note())",
    ),
    Mutant(
        "another's message convicts",
        (Edit(MISBEHAVIOUR, "    for said in messages:\n        said.verify(proof.origin, key)\n", ""),),
        (f"{RULES}::test_evidence_counts_only_under_the_accuseds_own_signature",),
        "assert not accuse(",
    ),
    Mutant(
        "a proof that others can read",
        (Edit(MISBEHAVIOUR, "MODE = 0o600", "MODE = 0o644"),),
        (f"{RULES}::test_a_stored_proof_is_private_whole_and_written_once",),
        "assert path.read_bytes()",
    ),
    Mutant(
        "a new key's log held against the old one's",
        (Edit(WITNESS, 'WHERE origin = ? AND key = ?", place)', 'WHERE origin = ?", place[:1])'),),
        ("tests/governance/test_witness.py::test_a_log_under_a_new_key_is_a_new_log",),
        "witness.check_and_persist(",
        stopped="another party's log shows less than it had shown before",
    ),
)
WITNESS_MUTANTS = (*IN_THE_RUN, *CONVICTING)
