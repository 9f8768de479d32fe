"""Mistakes in evidence: a selection without its proofs, a witness nobody asks, a part that passes for the whole."""

from __future__ import annotations

from .mutant import Edit, Mutant

VERIFIER = "governance/evidence/verifier.py"
SELECTION = "governance/evidence/selection.py"
SELECTED = "tests/governance/test_verifier_selected.py"
RULES = "tests/governance/test_selection.py"
PROVEN = f"{SELECTED}::test_an_entry_counts_only_where_it_is_proven_to_be"
NOT_CHANGED = 'assert judged(with_lines(selected, lie(lines(selected))))[0] == "changed", name'

EVIDENCE_MUTANTS = (
    Mutant(
        "an entry of a selection counts without its proof",
        (Edit(VERIFIER, "    return last == 0 and node == root\n", "    return True\n"),),
        (f"{PROVEN}[a hash changed-<lambda>]", f"{PROVEN}[another entry-<lambda>]"),
        NOT_CHANGED,
    ),
    Mutant(
        "an entry of a selection counts twice",
        (Edit(VERIFIER, "        if index <= last or not is_included(", "        if not is_included("),),
        (f"{PROVEN}[one twice-<lambda>]",),
        NOT_CHANGED,
    ),
    Mutant(
        "a witnessed head is not compared with the log",
        (
            Edit(VERIFIER, "    if proof is None and logs.roots[one.party, head.size] != head.root:\n",
                 "    if proof is None and not head.root:\n"),
        ),
        (f"{SELECTED}::test_a_log_that_is_not_what_a_witness_saw_convicts_its_party",),
        'assert name == "changed" and "hub signed both',
    ),
    Mutant(
        "a witnessed head needs no proof in a selection",
        (
            Edit(VERIFIER, "    if proof is not None and not is_consistent(head, here, proof):\n",
                 "    if proof is not None and head.size > here.size:\n"),
        ),
        (f"{SELECTED}::test_in_a_selection_the_log_is_proven_to_go_on_from_what_was_seen",),
        '[0] == "changed", forged',
    ),
    Mutant(
        "a log shorter than a witness saw it is accepted",
        (
            Edit(VERIFIER, "    if head.size > here.size:\n",
                 "    if head.size > here.size:\n        return ''\n    if False:\n"),
        ),
        (f"{SELECTED}::test_a_log_cut_short_with_a_head_of_its_own_is_found_by_the_witness",),
        'assert judged(members, {"kind": "all"})[0] == "changed"',
    ),
    Mutant(
        "a partial log passes for a whole one",
        (Edit(VERIFIER, "if (tree.size, logs.roots[party, tree.size]) != (head.size, head.root):", "if False:"),),
        (f"{SELECTED}::test_a_partial_log_cannot_pass_for_a_whole_one",),
        'assert name == "changed" and "whose size and root" in detail',
    ),
    Mutant(
        "the scope that was signed is not read",
        (Edit(VERIFIER, '_read_scope(manifest["scope"])', '_read_scope({"kind": "run", "of": "run-1"})'),),
        (f"{SELECTED}::test_a_partial_log_cannot_pass_for_a_whole_one",),
        'assert judged(selected, everything)[0] == "changed"',
    ),
    Mutant(
        "a proof of misbehaviour is believed unchecked",
        (
            Edit(VERIFIER, 'convicts(proof["kind"], origin, raw, proof["evidence"]) for raw in owned[accused])',
                 "raw for raw in owned[accused])"),
        ),
        (f"{SELECTED}::test_a_proof_that_does_not_hold_is_refused",),
        '[0] == "changed", forged',
    ),
    Mutant(
        "any conviction excuses every log",
        (Edit(VERIFIER, "if problem and one.note.head.origin not in convicted:", "if problem and not convicted:"),),
        (f"{SELECTED}::test_a_witness_who_saw_the_other_history_is_told_beside_the_proof",),
        'assert judged(with_it, {"kind": "all"})[0] == "changed"',
    ),
    Mutant(
        "whoever did not show its log is excused for two of them",
        (Edit(VERIFIER, """        if proof["kind"] != "withheld": ""","""        if proof["kind"]: """),),
        (f"{SELECTED}::test_a_witness_who_saw_the_other_history_is_told_beside_the_proof",),
        'assert judged(with_it, {"kind": "all"})[0] == "changed"',
    ),
    Mutant(
        "a name in a roster may be a sentence",
        (Edit(VERIFIER, "    if not all(HOLDER.fullmatch(one) for holder, _", "    if not all(True for holder, _"),),
        ("tests/verifier/test_what_is_printed.py::test_a_party_of_a_forged_roster_cannot_say_so_by_its_name[0]",),
        "DID NOT RAISE",
    ),
    Mutant(
        "what a bundle holds is printed as it is",
        (Edit(VERIFIER, "tuple(map(plain_line, details))", "tuple(details)"),
         Edit(VERIFIER, "{plain_name(name)} is not the member", "{name} is not the member")),
        ("tests/verifier/test_what_is_printed.py::test_a_member_that_the_manifest_lists_cannot_say_that_all_is_verified[0]",),
        "assert is_silent",
    ),
    Mutant(
        "members that nobody knows are let in",
        (Edit(VERIFIER, "if not any(known.fullmatch(name) for known in KNOWN) and", "if not name and"),),
        (f"{SELECTED}::test_a_member_that_no_bundle_holds_is_refused_but_below_views",),
        '[0] == "changed", name',
    ),
    Mutant(
        "a run without the policy that it ran under",
        (Edit(SELECTION, "            chosen |= set(before.values())\n", "            chosen |= set()\n"),),
        (f"{RULES}::test_a_run_brings_what_it_rests_on_and_nothing_of_another",),
        'assert chosen(Scope(ScopeKind.RUN, "run-1"), rows)',
    ),
    Mutant(
        "a period that cuts runs in two",
        (Edit(SELECTION, "        chosen |= one.touched\n", "        chosen |= set()\n"),),
        (f"{RULES}::test_a_period_takes_the_runs_that_it_touches_whole_and_how_things_stood",),
        "assert chosen(scope, rows)",
    ),
)  # fmt: skip
