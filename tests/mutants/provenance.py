"""Mistakes in provenance: an edge is called verified without the check, a commitment is under nobody's key."""

from __future__ import annotations

from .mutant import Edit, Mutant

MATERIAL = "governance/provenance/material.py"
HANDOVER = "governance/provenance/handover.py"
TRACING = "governance/provenance/tracing.py"
RECORDS = "governance/provenance/records.py"
LINEAGE = "tests/governance/test_lineage.py"
TRACED = "tests/federation/test_traced.py"
UNSIGNED = f"{LINEAGE}::test_nothing_of_a_statement_counts_that_no_site_signed"
EVERY_FILE = f"{LINEAGE}::test_every_file_has_an_edge_that_its_first_and_its_last_byte_decide"
NO_TRACE = f"{TRACED}::test_neither_data_nor_consent_that_stayed_the_same_show_that_they_did"

PROVENANCE_MUTANTS = (
    Mutant(
        "edge verified without its signature",
        (
            Edit(
                MATERIAL,
                "        statement, signers = verify_envelope(envelope, keys)\n",
                "        statement, signers = Statement.from_bytes(envelope.payload), set(keys)\n",
            ),
        ),
        (f"{UNSIGNED}[stranger]", f"{UNSIGNED}[hub]"),
        "assert [edge.code for edge in trace(forged).broken]",
    ),
    Mutant(
        "changed adapter accepted",
        (Edit(HANDOVER, 'return held() if digest_bytes(data) == named else broken("DIFFERS")', "return held()"),),
        (EVERY_FILE,),
        "assert after[edge_id].verdict is expected",
    ),
    Mutant(
        "signatures that a statement names are not looked for",
        (Edit(TRACING, "under = self.said.approvals.get(name)", "under = None"),),
        (f"{LINEAGE}::test_other_signatures_than_those_that_it_was_made_under_are_not_those",),
        '== "SIGNATURES_CHANGED"',
    ),
    Mutant(
        "a log is believed without the head that its party signed",
        (
            Edit(
                "governance/log/copy.py",
                "(head.size, head.root) != (len(copy.entries), root_of([leaf_hash(body) for body in copy.entries]))",
                "False",
            ),
        ),
        (f"{LINEAGE}::test_a_log_with_an_entry_less_or_more_is_not_the_one_that_was_signed",),
        '{"LOG_BROKEN"}',
    ),
    Mutant(
        "commitment to records not under the run's key",
        (Edit("core/site/folder.py", 'self.subject_key.fingerprint(f"run/{run}")', "bytes(32)"),),
        (NO_TRACE,),
        "assert len(set(told)) == len(told)",
    ),
    Mutant(
        "consent commitment not under the site's key",
        (Edit("core/site/consents.py", 'key.fingerprint(f"consent/{use}")', "bytes(32)"),),
        (NO_TRACE,),
        "assert len(set(told)) == len(told)",
    ),
    Mutant(
        "absence proven by leaves that are no neighbours",
        (Edit(RECORDS, "if low.index + 1 == high.index and low.mark < mark < high.mark:",
              "if low.mark < mark < high.mark:"),),
        ("tests/governance/test_records.py::test_two_leaves_that_are_no_neighbours_prove_no_absence",),
        "DID NOT RAISE",
    ),
)
