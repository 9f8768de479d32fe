"""The example's public files as training data: five makers' reviews, whoever consents now, and the public test set.

Used by utility.py and by the example's own baselines. Reads examples/food-quality and nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sekisho.core.data.dataset import Dataset, TestSet
from sekisho.core.data.eligible import eligible_subjects
from sekisho.core.data.intake import BaseModelFacts, inspect, locate
from sekisho.core.study import Study
from sekisho.core.training.task import TrainingTask
from sekisho.core.training.training import TrainingData, load_training_data
from sekisho.governance.consent.consent import ConsentRegister

from .simulation import Federation

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "food-quality"


@dataclass(frozen=True)
class FoodReviews:
    """The study, its makers' records of consenting customers, and the test set."""

    study: Study
    base_model: BaseModelFacts
    sites: Mapping[str, Dataset]
    test: TestSet

    @classmethod
    def load(cls) -> FoodReviews:
        """Read the example as it is committed."""
        study = Study.parse((EXAMPLE / "study.yaml").read_bytes(), "study.yaml")
        sites = {site: _consenting(study, site) for site in study.sites}
        test = TestSet.load(EXAMPLE / study.test_set.file, labels=study.labels, digest=study.test_set.digest)
        return cls(study, inspect(locate(study.base_model, EXAMPLE)), MappingProxyType(sites), test)

    @property
    def federation(self) -> Federation:
        """The five makers as the study declares them."""
        study = self.study
        declared = tuple(study.subjects[site] for site in study.sites)
        return Federation(declared, study.minimum_sites, study.observers, study.records_per_subject)

    @property
    def positive(self) -> NDArray[np.bool_]:
        """bool [n]: which test reviews are satisfied."""
        return self.test.positive(self.study.labels[1])

    def data(self, task: TrainingTask[Any], sites: Sequence[str] = ()) -> list[TrainingData]:
        """Training data of these makers, or of all, in the study's order."""
        return [
            load_training_data(self.sites[site], self.sites[site].subjects, self.study.labels, task)
            for site in sites or self.study.sites
        ]


def share_of(dataset: Dataset, share: float) -> Dataset:
    """The first ``share`` of a maker's customers, in the order of their ids: a smaller maker, not another one."""
    kept = dataset.subjects[: max(1, round(share * len(dataset.subjects)))]
    return Dataset(MappingProxyType({subject: dataset.records[subject] for subject in kept}))


def _consenting(study: Study, site: str) -> Dataset:
    home = EXAMPLE / "sites" / site
    whole = Dataset.load(home / "records.jsonl.gz", labels=study.labels)
    with tempfile.TemporaryDirectory() as folder:
        register = ConsentRegister.open(Path(folder) / "consent.sqlite")
        register.import_jsonl(home / "consent.jsonl")
        found = eligible_subjects(
            whole.subjects, register, scope=study.legal_basis_scope, now=datetime.now(UTC), site=site
        )
        register.close()
    return Dataset(MappingProxyType({subject: whole.records[subject] for subject in found.subjects}))
