"""Mistakes in what the stand-alone verifier takes for one meaning, which the second verifier must notice."""

from __future__ import annotations

from .mutant import Edit, Mutant

VERIFIER = "governance/evidence/verifier.py"
TWO = "tests/verifier/test_two_verifiers.py"
VECTORS = "tests/verifier/test_vectors.py"

VERIFIER_MUTANTS = (
    Mutant(
        "keys sorted by code points and not as RFC 8785 sorts them",
        (Edit(VERIFIER, 'sorted(part, key=lambda key: str(key).encode("utf-16-be"))', "sorted(part)"),),
        (f"{VECTORS}::test_published_canonical_documents[testdata/weird.json]",),
        "assert verifier.canonical(verifier.parse(data)) ==",
    ),
    Mutant(
        "a key of small order stands in a roster",
        (Edit(VERIFIER, "y < 2**255 - 19 and y not in SMALL_ORDER", "y < 2**255 - 19"),),
        (f"{VECTORS}::test_edges_of_ed25519_are_accepted_by_all_or_refused_before[0]",),
        "assert strong is",
    ),
    Mutant(
        "members in any order are the same bundle",
        (Edit(VERIFIER, "if name <= before or ", "if "),),
        (f"{TWO}::test_every_way_to_pack_the_same_members_otherwise_is_caught_by_both[order]",),
        "assert (first.name, first.code) ==",
    ),
)
