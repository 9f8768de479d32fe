"""Mistakes in looking at a base model: what could run is let in, what nobody said is called said."""

from __future__ import annotations

from .mutant import Edit, Mutant

FILES = "core/data/files.py"
SOURCES = "core/data/sources.py"
INTAKE_TESTS = "tests/core/test_legal_intake.py"
UNDER_ANY_NAME = f"{INTAKE_TESTS}::test_a_pickle_or_a_program_is_refused_under_any_name_and_never_runs"
PROSE = f"{INTAKE_TESTS}::test_prose_is_partial_at_most_and_the_template_s_placeholders_say_nothing"

INTAKE_MUTANTS = (
    Mutant(
        "a suffix is believed: first bytes are not looked at",
        (Edit(FILES, "marked = None if weights else mark_of(head) or _written_pickle(path)", "marked = None"),),
        (f"{UNDER_ANY_NAME}[4-a pickle for a tokenizer]", f"{UNDER_ANY_NAME}[0-a pickle for a tokenizer]"),
        "assert (done.exit, done.told.get",
    ),
    Mutant(
        "a zip behind text is overlooked",
        (Edit(FILES, "if marked is None and _ends_a_zip(tail):", "if False:"),),
        (f"{UNDER_ANY_NAME}[4-the same behind text]",),
        "assert (done.exit, done.told.get",
    ),
    Mutant(
        "prose declares",
        (Edit(SOURCES, 'return Finding("partial", "section",', 'return Finding("declared", "section",'),),
        (PROSE,),
        "assert statuses.pop",
    ),
    Mutant(
        "a template's placeholder counts as an answer",
        (Edit(SOURCES, '_NOTHING_SAID.sub("", "\\n".join(text))', '"\\n".join(text)'),),
        (PROSE,),
        "DisclosureLevel.NONE",
    ),
    Mutant(
        "a model of other weights than its record's is not noticed",
        (Edit("core/paperwork/base_model.py", "if record.digest != model.facts.digest:", "if False:"),),
        (f"{INTAKE_TESTS}::test_a_model_of_another_digest_than_its_record_is_found",),
        "assert (done.exit, done.told.get",
    ),
)
