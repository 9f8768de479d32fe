"""Mistakes that only many sites would notice: sums of more ciphertexts than decrypt for certain."""

from __future__ import annotations

from .mutant import Edit, Mutant

PLAN = "privacy/accounting/plan.py"
ROUNDING = "privacy/mechanism/rounding.py"
MESSAGES = "core/messages.py"

MANY_MUTANTS = (
    Mutant(
        "packing chosen whatever the number of sites",
        (Edit(ROUNDING, "if sites > MOST_SITES[preset] or (rotated", "if (rotated"),),
        ("tests/privacy/test_rounding.py::test_every_preset_is_somebodys_choice",),
        "assert chosen == list(FIELD_WIDTHS)",
    ),
    Mutant(
        "a plan of more sites than its packing adds up",
        (Edit(PLAN, "and self.sites > MOST_SITES[self.preset]", "and self.sites > MAXIMUM_SITES"),),
        ("tests/privacy/test_plan.py::test_no_plan_has_more_sites_than_its_packing_adds_up[3x16-95]",),
        "with pytest.raises(BadParametersError) as refused:",
    ),
    Mutant(
        "shares kept beside what everybody hears",
        (Edit(MESSAGES, " and len(data) == 8 + int.from_bytes(data[4:8], \"little\") + SIGNATURE_BYTES", ""),),
        ("tests/core/test_messages.py::test_nothing_with_a_payload_is_kept",),
        "assert SignedMessage.from_bytes(whole.to_bytes()) is not",
    ),
)
