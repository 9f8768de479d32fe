"""Facts -> what the report says of each run's validations: shares judged rightly by noised counts, what followed.

Not for: the public test set (accuracy.py), the rule (privacy/mechanism/verdict.py).

Order of calls: ``validation_facts`` after a run, from what a site holds; ``validation_rows`` with the words of one
language.
"""

from __future__ import annotations

from ...governance.evidence.page import Words
from .federation import Federation
from .figures import bounds_text, known, score_text
from .findings import ValidationFacts
from .summary import Summary

# After which step; the share on the right side of the middle and its bounds; the share labelled rightly and its bounds;
# accepted or rolled back.
Row = tuple[str, str, str, str, str, str]


def validation_facts(federation: Federation, run: str) -> tuple[ValidationFacts, ...]:
    """Of ``run``, as the sites opened them: all that reached the end hold the same."""
    for _, site in sorted(federation.sites.items()):
        if site.state is not None and site.state.run == run:
            return tuple(
                ValidationFacts(
                    after_step=part.after_step,
                    right=float(part.right),
                    low=float(part.low),
                    high=float(part.high),
                    labels=float(part.labels),
                    labels_low=float(part.labels_low),
                    labels_high=float(part.labels_high),
                    accepted=part.accepted,
                )
                for part in site.state.validations
            )
    return ()


def validation_rows(summary: Summary, t: Words) -> list[tuple[str, list[Row]]]:
    """For each run that was judged: its rows."""
    return [
        (
            known(t, "method-short", run.method),
            [
                (
                    t("validation.start") if one.after_step == 0 else str(one.after_step),
                    score_text(one.right),
                    bounds_text(one.low, one.high),
                    score_text(one.labels),
                    bounds_text(one.labels_low, one.labels_high),
                    t("validation.accepted" if one.accepted else "validation.rejected"),
                )
                for one in run.validations
            ],
        )
        for run in summary.runs
        if run.validations
    ]
