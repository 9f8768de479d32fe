"""Mistakes in going on after a kill at the coordinator, and in taking what its messages bring of stops."""

from __future__ import annotations

from .mutant import Edit, Mutant

COLLECTING = "core/coordinator/collecting.py"
WAITING_FOR = "core/coordinator/waiting.py"
COORDINATOR = "core/coordinator/coordinator.py"
STANDING = "core/coordinator/resuming.py"
COORDINATOR_WATCH = "core/coordinator/witnessing.py"
STOP_LIST = "governance/signing/stop_list.py"
TRAVEL = "governance/signing/stop_travel.py"

RESUMES = "tests/federation/test_coordinator_resumes.py"
ANY_WRITE = f"{RESUMES}::test_killed_after_any_durable_write_it_goes_on_as_if_nothing_had_been[quiet]"
# Sites were asked what they never were asked, or the coordinator itself noticed that its books do not agree.
DIVERGED = "assert refused.code == BEFORE_THE_FIRST_STEP"
BROUGHT = "tests/attacks/test_brought_stops.py"
TRAVELS = "tests/federation/test_stops_travel.py"
WAITING = "tests/core/test_waiting_for_sites.py"

RESUMING_MUTANTS = (
    Mutant(
        "a message that is posted before it is written down",
        (
            Edit(COLLECTING, "            self._files.keep(signed, phase, self._told)\n", ""),
            Edit(
                COLLECTING,
                "        del message  # the engine has it until the last site has heard it\n",
                "        if not self.has_asked(body, phase) or self._files.asked() is None:\n"
                "            self._files.keep(SignedMessage.from_bytes(message), phase, self._told)\n",
            ),
        ),
        (f"{RESUMES}::test_nothing_is_posted_before_it_is_written_down",),
        "assert RunFiles(self.runs, RUN).wire() == message",
        stopped="which says where the run stands, is damaged",
    ),
    Mutant(
        "a step that is counted before its sum is written down",
        (
            Edit(
                COORDINATOR,
                '            self._files.keep_sum(f"step {step}", forwarded, outcome.total)\n'
                "        state.outcomes.append(outcome)\n"
                "        self._save(state)\n",
                "            pass\n"
                "        state.outcomes.append(outcome)\n"
                "        self._save(state)\n"
                "        if forwarded:\n"
                '            self._files.keep_sum(f"step {step}", forwarded, outcome.total)\n',
            ),
        ),
        (ANY_WRITE,),
        "result = bench.resume()",
        stopped="which says where the run stands, is damaged",
    ),
    Mutant(
        "a count that is over before its sum is written down",
        (
            Edit(COORDINATOR, '            self._files.keep_sum(f"count {number}", parts, total)', "            pass"),
            Edit(
                COORDINATOR,
                "        state.judging = Judging(number, step, cohort, failed, total)\n        self._save(state)\n",
                "        state.judging = Judging(number, step, cohort, failed, total)\n        self._save(state)\n"
                '        self._files.keep_sum(f"count {number}", parts, total)\n',
            ),
        ),
        (ANY_WRITE,),
        "result = bench.resume()",
        stopped="which says where the run stands, is damaged",
    ),
    Mutant(
        "a log that says what the state does not say yet",
        (
            Edit(
                COORDINATOR,
                "        self._save(state)\n        self._record(of_step(outcome))\n",
                "        self._record(of_step(outcome))\n        self._save(state)\n",
            ),
        ),
        (ANY_WRITE,),
        DIVERGED,
    ),
    Mutant(
        "a second entry for one step",
        (
            Edit(COORDINATOR_WATCH, "        if any(Told(kind, refs, data).is_in(entry)", "        if any(False"),
            Edit(STANDING, "        due = [one for one in due if not one.is_in(entry)]\n", ""),
            Edit(STANDING, "    if len(due) > MOST_OWED:", "    if False:"),
        ),
        (ANY_WRITE,),
        DIVERGED,
    ),
    Mutant(
        "a second entry for one end",
        (Edit(COORDINATOR_WATCH, "        if any(Told(kind, refs, data).is_in(entry)", "        if any(False"),),
        (f"{RESUMES}::test_who_gives_a_run_up_that_can_go_on_stops_it_by_name_once",),
        'assert [entry["data"]["code"] for entry in told',
    ),
    Mutant(
        "an entry that a kill came before is never written",
        (Edit(COORDINATOR, "            for told in standing.owed:\n                self._record(told)\n", ""),),
        (ANY_WRITE,),
        DIVERGED,
    ),
    Mutant(
        "messages that are numbered from 1 again",
        (Edit(COORDINATOR_WATCH, "OwnPlace(after.number, head.size", "OwnPlace(0, head.size"),),
        (ANY_WRITE,),
        DIVERGED,
    ),
    Mutant(
        "what was asked already is asked anew",
        (Edit(COLLECTING, " = None if after is None else (after.phase, after.message.body)", " = None"),),
        (ANY_WRITE,),
        DIVERGED,
    ),
    Mutant(
        "a state that was put back goes on",
        (Edit(STANDING, "        if not any(one.is_in(entry) for one in due):", "        if False:"),),
        (f"{RESUMES}::test_a_state_that_was_put_back_does_not_go_on",),
        "assert bench.channel.posted == posted",
    ),
    Mutant(
        "a log that was put back goes on",
        (Edit(COORDINATOR_WATCH, "            self._own.check_has(self._post.party, head)\n", ""),),
        (f"{RESUMES}::test_a_log_that_was_put_back_does_not_go_on",),
        "assert bench.channel.posted == posted",
    ),
    Mutant(
        "a run in which keys were being agreed on goes on",
        (Edit(STANDING, "    if state.ended or not state.agreed:", "    if state.ended:"),),
        (ANY_WRITE,),
        "result = bench.resume()",
        stopped="which says where the run stands, is damaged",
    ),
    Mutant(
        "a site that stays out of reach is waited for as if it worked",
        (Edit(WAITING_FOR, "                del self._tickets[ticket]\n", "                pass\n"),),
        (f"{WAITING}::test_a_site_that_stays_away_is_missing_after_its_time_and_not_after_a_day",),
        "900 <= clock.now - 1000 < 960",
    ),
    Mutant(
        "a site that was out of reach twice was away all the time",
        (Edit(WAITING_FOR, "                self._away.pop(site, None)\n", "                pass\n"),),
        (f"{WAITING}::test_a_site_whose_network_comes_and_goes_is_waited_for_anew_each_time",),
        "assert gathered.missing == ()",
    ),
)
TRAVELLING = (
    Mutant(
        "a newer list may leave out what was named",
        (Edit(STOP_LIST, "    if lying.orders - {order for one in lists for order in one.orders}:", "    if False:"),),
        (f"{BROUGHT}::test_a_newer_list_that_leaves_out_what_was_named_is_refused",),
        "assert '' == 'STOP_ORDER_WITHHELD'",
    ),
    Mutant(
        "an older list takes the place of a newer one",
        (Edit(STOP_LIST, " or (lying.issued is not None and issued <= lying.issued):", ":"),),
        (f"{BROUGHT}::test_an_older_list_changes_nothing_whatever_it_leaves_out",),
        "assert away.take({LIST_PART: older}) ==",
    ),
    Mutant(
        "a list whose signer's clock is a second ahead is never taken",
        (
            Edit(
                STOP_LIST,
                "    issued = max((one.issued for one in lists if one.issued <= now + AHEAD and",
                "    issued = max((one.issued for one in lists if one.issued <= now and",
            ),
        ),
        (f"{BROUGHT}::test_a_list_of_a_clock_a_little_ahead_is_taken_and_has_no_age",),
        "assert ('STOP_LIST_AHEAD' == ''",
    ),
    Mutant(
        "an order that nobody has signed is laid down",
        (
            Edit(
                TRAVEL,
                "statement, _ = verify_envelope(envelope, keys)",
                "statement = Statement.from_bytes(envelope.payload)",
            ),
            Edit(TRAVEL, "PREDICATES, Envelope, read", "PREDICATES, Envelope, Statement, read"),
        ),
        (f"{BROUGHT}::test_what_is_forged_or_too_much_is_refused_by_name[a strangers order]",),
        "assert away.take(parts) == code and",
    ),
    Mutant(
        "an order under the signatures of strangers is another order",
        (Edit(TRAVEL, "return Envelope(envelope.payload_type, envelope.payload, tuple(signed))", "return envelope"),),
        (f"{BROUGHT}::test_one_order_under_many_signatures_of_strangers_is_one_order",),
        "assert list(away.lying().values())",
    ),
    Mutant(
        "what lies under an order's name is written over",
        (Edit("core/site/stops.py", "if name == LIST or not os.path.lexists(folder / name):", "if True:"),),
        (f"{BROUGHT}::test_what_lies_under_an_orders_name_is_not_written_over",),
        "assert not victim.exists() and",
    ),
    Mutant(
        "a site that does not look at what is brought",
        (Edit("core/site/stops.py", "    if not names:\n", "    if True:\n"),),
        (f"{TRAVELS}::test_a_site_elsewhere_has_the_list_from_the_offer_on",),
        "apart.run()",
        stopped="declined by clause",
    ),
)
