"""Mistakes in what people read of evidence: what runs in a browser, whose figure it is, what is left out."""

from __future__ import annotations

from .mutant import Edit, Mutant

ACTS = "governance/evidence/views_acts.py"
BUDGET = "governance/evidence/views_budget.py"
MATERIAL = "governance/evidence/material.py"
PAGES = "governance/evidence/views_pages.py"
TABLE = "governance/evidence/views_table.py"

TESTS = "tests/governance/test_views.py"
INERT = f"{TESTS}::test_html_from_papers_is_inert_on_every_page"
FIRST = f"{TESTS}::test_the_first_table_says_what_each_makers_own_log_says"
COMPLETE = f"{TESTS}::test_nothing_that_a_view_answers_is_left_out"
HOLDS = f"{TESTS}::test_only_a_signature_that_holds_is_an_approval"
ALONE = f"{TESTS}::test_whatever_page_of_a_selection_is_filed_alone_says_that_it_is_one"
CSV = f"{TESTS}::test_no_cell_is_a_formula"

VIEW_MUTANTS = (
    Mutant(
        "a cell of a page is not escaped",
        (Edit(PAGES, "cell[language].split(LINE)", "[Svg(one) for one in cell[language].split(LINE)]"),),
        (INERT,),
        "assert {tag for tag, _ in page.tags} <= TAGS",
    ),
    Mutant(
        "epsilon of whichever party spoke last",
        (Edit(BUDGET, "for one in material.by_type[str(kind)] if one.party == maker)",
              "for one in material.by_type[str(kind)])"),),
        (FIRST,),
        'assert found["okashi"]["spent"] == "3.125"',
    ),
    Mutant(
        "refusals by the policy are left out",
        (Edit(ACTS, "    EntryType.DECISION_REFUSE, EntryType.RELEASE_REFUSED, EntryType.RUN_STOPPED,",
              "    EntryType.RELEASE_REFUSED, EntryType.RUN_STOPPED,"),),
        (f"{COMPLETE}[refusals-kinds0]",),
        "assert logged and shown == logged",
    ),
    Mutant(
        "an approval whose signature is somebody else's counts",
        (Edit(MATERIAL, "                continue  # nobody's signature: the verifier does not count it either\n",
              "                statement = Statement.from_bytes(envelope.payload)\n"
              "                signers = frozenset(one.key_id for one in envelope.signatures)\n"),),
        (HOLDS,),
        'assert [one.role for one in found',
    ),
    Mutant(
        "a formula stays a formula",
        (Edit(TABLE, "    return [INERT + cell if cell.lstrip()[:1] in tuple(FORMULA) else cell for cell in plain]",
              "    return list(plain)"),),
        (CSV,),
        "assert not any(cell.lstrip()[:1]",
    ),
    Mutant(
        "a page of a selection does not say that it is of one",
        (Edit(PAGES, "[Section(notices=self._selection(language)), _table_section(table, language)]",
              "[_table_section(table, language)]"),),
        (ALONE,),
        "assert said in data.decode()",
    ),
)
