"""The study's and legal's words for the exports of a run: what a statement does not say.

For: publish.py and ``sekisho compliance provenance``. Not for: deciding anything.
"""

from __future__ import annotations

from ...governance.provenance.about import About
from ...governance.provenance.disclosure import BaseModelRecord
from ..study import Study


def about(study: Study, base_model: BaseModelRecord) -> About:
    """Both papers as one value."""
    terms = study.release
    return About(
        title=study.title,
        question=study.question,
        task=study.task,
        labels=study.labels,
        licence=study.release_licence,
        recipients=tuple(sorted(study.recipients)),
        permitted=tuple(sorted(study.downstream_uses)),
        prohibited=(*(terms.prohibited_uses if terms is not None else ()), *base_model.use_restrictions),
        data_licences=dict(terms.data_licences) if terms is not None else {},
        base_model=base_model,
        disclaimer=study.disclaimer,
    )
