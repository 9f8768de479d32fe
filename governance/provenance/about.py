"""What a statement of a run does not say and a reader of its exports wants to know: the study's and legal's own words.

For: mlbom.py, modelcard.py, croissant.py. Not for: anything that is verified: these words are signed in study.yaml and
base-model.yaml, whose digests the statement names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ..language import Text
from .disclosure import BaseModelRecord


@dataclass(frozen=True)
class About:
    """``labels``: what the model tells apart, the positive one last. ``permitted``: terms; ``prohibited``: sentences.

    ``data_licences``: by site, what its owner says of its data; a site may be missing. ``expires``: of the release.
    """

    title: Text
    question: Text
    task: str
    labels: tuple[str, ...]
    licence: str
    recipients: tuple[str, ...]
    permitted: tuple[str, ...]
    prohibited: tuple[Text, ...]
    data_licences: Mapping[str, str]
    base_model: BaseModelRecord
    disclaimer: Text | None = None
    expires: datetime | None = None
