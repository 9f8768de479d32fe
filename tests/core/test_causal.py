"""A record's gradient on a causal model is that of the model on that record alone, to the bit, and passes the gate."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    LlamaForCausalLM,
    MixtralConfig,
    PreTrainedTokenizerFast,
)

from sekisho.core.data.intake import inspect
from sekisho.core.errors import BadInputError, Refused
from sekisho.core.training import causal, passes
from sekisho.core.training.causal import CausalRows, CausalTask
from sekisho.core.training.causal_layout import FAMILIES, PLACES, CausalLayout
from sekisho.core.training.causal_model import CausalModel
from sekisho.core.training.features import BUCKETS, LONGEST, ROWS
from sekisho.core.training.lora_layout import ADAPTER_FILE, CONFIG_FILE, LoraSettings
from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.gradients.clipping import subject_sums
from sekisho.tests.oracles.causal_loop import CausalLoop

pytestmark = pytest.mark.filterwarnings(
    "ignore:Full backward hook is firing",  # pytest undoes the module's own filter
    "ignore:`is_gradient_checkpointing` is deprecated",  # peft and transformers, between themselves
    "ignore:The PEFT config's `base_model_name_or_path` was renamed",
)

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("cold", "coffee", "dog", "would", "not", "eat", "broken", "box", "苦い", "☕", "again")
END, START = 1, 2
NAME = "tiny-causal"
SUBJECTS = 9
SETTINGS = LoraSettings(seed=1, rank=3, alpha=6)
KINDS = ("gpt2", "llama")


def tokenizer(*, start: bool = False) -> PreTrainedTokenizerFast:
    """Words, and an end of text; some tokenizers begin a text with a token of its own."""
    special = ["[UNK]", "[END]", "[START]"]
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate((*special, *WORDS))}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    if start:
        words.post_processor = processors.TemplateProcessing(single="[START] $A", special_tokens=[("[START]", START)])
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="[END]")


def config_of(kind: str, **changed: Any) -> Any:
    """Three small layers; dropout in GPT-2's configuration, fewer keys than queries in the others'.

    Weights are as large as training leaves them at this width (0.02 at 768): float32 is then good to 1e-6.
    """
    small: dict[str, Any] = {"vocab_size": 20, "initializer_range": 0.1, "eos_token_id": END, "bos_token_id": START}
    if kind == "gpt2":
        small |= {"n_positions": 128, "n_embd": 32, "n_layer": 3, "n_head": 4}
    else:
        small |= {"hidden_size": 32, "num_hidden_layers": 3, "intermediate_size": 48, "max_position_embeddings": 256}
        small |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    if kind == "mistral":
        small |= {"sliding_window": 40}
    return AutoConfig.for_model(kind, **(small | changed))


def base(kind: str, *, attention: str = "sdpa", start: bool = False, **changed: Any) -> CausalModel:
    torch.manual_seed(11)
    model = AutoModelForCausalLM.from_config(config_of(kind, **changed), attn_implementation=attention)
    return CausalModel(model.eval().requires_grad_(False), tokenizer(start=start))


def texts(count: int, seed: int = 4) -> list[str]:
    """From one word to more than fit, and some that fill a public length to the last token with their end."""
    random = np.random.default_rng(seed)
    lengths = [*(bucket - 1 for bucket in BUCKETS), 200, *random.integers(1, 140, size=count)][:count]
    return [" ".join(random.choice(np.array(WORDS), size=int(length))) for length in lengths]


def state(layout: CausalLayout) -> NDArray[np.float64]:
    """A public state at which every part has a gradient; in numbers that float32 holds."""
    drawn = layout.initial() + 0.05 * np.random.default_rng(8).standard_normal(layout.dimension)
    return drawn.astype(np.float32).astype(np.float64)


def release(layout: CausalLayout, vector: NDArray[np.float64], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in layout.released(vector, base_model=NAME).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def task(request: pytest.FixtureRequest) -> CausalTask:
    return CausalTask(base(request.param), SETTINGS)


@pytest.fixture(scope="module")
def rows(task: CausalTask) -> CausalRows:
    return task.load(texts(30))


@pytest.fixture(scope="module")
def gradients(task: CausalTask, rows: CausalRows) -> NDArray[np.float64]:
    return task.gradients(rows, np.zeros(30), state(task.layout))


# --- the numbers


def said_of(settings: LoraSettings) -> str:
    layers = "+".join(map(str, settings.layers))
    return f"{' and '.join(settings.targets)} of {layers}{', A frozen' * settings.freeze_a}"


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("gpt2", SETTINGS),
        ("gpt2", LoraSettings(seed=1, layers=(1, 2, 3), freeze_a=True)),
        ("gpt2", LoraSettings(seed=1, layers=(3,))),
        ("llama", SETTINGS),
        ("llama", LoraSettings(seed=1, layers=(1, 2, 3), freeze_a=True)),
        ("llama", LoraSettings(seed=1, layers=(3, 1), targets=("value",))),
        ("mistral", LoraSettings(seed=2, layers=(1, 2, 3), targets=("value", "query"))),
        ("qwen2", LoraSettings(seed=2, layers=(3,), targets=("query",))),
        ("qwen2", LoraSettings(seed=2, layers=(1, 2, 3))),
    ],
    ids=lambda value: value if isinstance(value, str) else said_of(value),
)
def test_subject_sums_are_those_of_one_record_at_a_time(
    attention: str, kind: str, settings: LoraSettings, tmp_path: Path
) -> None:
    own = base(kind, attention=attention)
    task = CausalTask(own, settings)
    vector, given = state(task.layout), [*texts(24), ""]
    # every subject has records in several passes: lengths differ, and a pass takes no more than ROWS
    owner = np.arange(25, dtype=np.int64) % SUBJECTS
    found = subject_sums(task.gradients(task.load(given), np.zeros(25), vector), owner, SUBJECTS)

    loop = CausalLoop(base(kind, attention=attention).model, release(task.layout, vector, tmp_path))
    tokens = own.tokens(given, longest=BUCKETS[-1])
    names = [name for name, _ in task.layout.arrays]
    expected = loop.subject_sums(tokens, owner.tolist(), SUBJECTS, names)
    assert found.shape == (SUBJECTS, task.dimension)
    off = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert off.max() < 1e-6


def test_every_known_family_is_held_against_the_loop() -> None:
    (matrix,) = [
        mark
        for mark in test_subject_sums_are_those_of_one_record_at_a_time.pytestmark  # type: ignore[attr-defined]
        if mark.args[0] != "attention"
    ]
    assert {kind for kind, _ in matrix.args[1]} == set(FAMILIES)


def test_padding_is_in_play_and_subjects_are_split() -> None:
    """What the test above rests on: all three lengths, full ones, cut ones, and more than one pass of a length."""
    lengths = [len(own) for own in base("llama").tokens(texts(24), longest=BUCKETS[-1])]
    assert {passes.bucket(length) for length in lengths} == set(BUCKETS)
    assert set(BUCKETS) <= set(lengths) and max(len(text.split()) for text in texts(24)) > BUCKETS[-1]
    passed = list(passes.groups(lengths, ROWS))
    of_subject_0 = [group for _, group in passed if {0, 9, 18} & set(group)]
    assert len(passed) > len(BUCKETS) and len(of_subject_0) > 1


def test_a_record_s_gradient_is_its_own_row_of_the_loop_and_its_loss_the_mean_of_its_tokens(
    task: CausalTask, rows: CausalRows, gradients: NDArray[np.float64], tmp_path: Path
) -> None:
    vector = state(task.layout)
    kind = task._base.model.config.model_type
    loop = CausalLoop(base(kind).model, release(task.layout, vector, tmp_path))
    names = [name for name, _ in task.layout.arrays]
    expected = np.array([loop.gradient(own.tolist(), names) for own in rows.tokens])
    assert (np.linalg.norm(gradients - expected, axis=1) < 1e-6 * np.linalg.norm(expected, axis=1)).all()
    with torch.no_grad():
        losses = np.array([float(loop.loss(own.tolist())) for own in rows.tokens])
    assert np.abs(task.scores(rows, vector) + losses).max() < 1e-5 and np.ptp(losses) > 0.1


def test_gradients_are_those_of_the_score_by_finite_differences(task: CausalTask, rows: CausalRows) -> None:
    one, vector = rows[np.array([5])], state(task.layout)
    gradient = task.gradients(one, np.zeros(1), vector)[0]
    direction = np.random.default_rng(2).standard_normal(task.dimension)
    reach = 1e-2 / np.linalg.norm(direction)
    ahead, behind = (task.scores(one, vector + way * reach * direction)[0] for way in (1, -1))
    assert -(ahead - behind) / (2 * reach) == pytest.approx(float(gradient @ direction), rel=3e-2, abs=1e-3)


def test_an_empty_sample_has_no_rows_and_sums_to_nothing(task: CausalTask, rows: CausalRows) -> None:
    none = rows[np.empty(0, dtype=np.int64)]
    found = task.gradients(none, np.empty(0), state(task.layout))
    assert found.shape == (0, task.dimension)
    assert subject_sums(found, np.empty(0, dtype=np.int64), 0).shape == (0, task.dimension)
    assert len(task.load([])) == 0 and task.scores(task.load([]), state(task.layout)).shape == (0,)


def test_a_text_with_nothing_to_predict_adds_nothing(task: CausalTask) -> None:
    kept = task.load(["", "cold coffee", ""])
    assert [own.tolist()[-1:] for own in kept.tokens] == [[END]] * 3 and len(kept.tokens[0]) == 1
    found = task.gradients(kept, np.zeros(3), state(task.layout))
    assert not found[[0, 2]].any() and found[1].any()
    assert (task.scores(kept, state(task.layout))[[0, 2]] == 0).all()


def test_labels_are_not_looked_at(task: CausalTask, rows: CausalRows, gradients: NDArray[np.float64]) -> None:
    said = np.random.default_rng(5).random(30)
    assert task.gradients(rows, said, state(task.layout)).tobytes() == gradients.tobytes()


def test_at_the_start_the_model_is_the_base_model(task: CausalTask, rows: CausalRows) -> None:
    own = base(task._base.model.config.model_type).model
    with torch.no_grad():
        losses = [float(own(input_ids=(ids := torch.from_numpy(row)[None]), labels=ids).loss) for row in rows.tokens]
    assert np.abs(task.scores(rows, task.initial()) + np.array(losses)).max() < 1e-5
    parts = task.gradients(rows, np.zeros(30), task.initial())
    moving = np.concatenate([np.full(np.prod(shape), "lora_B" in name) for name, shape in task.layout.arrays])
    assert parts[:, moving].any(axis=1).all() and not parts[:, ~moving].any()


def test_a_step_along_the_gradient_makes_texts_likelier(task: CausalTask, rows: CausalRows) -> None:
    vector = task.initial()
    before = task.scores(rows, vector).mean()
    for _ in range(5):
        vector = vector - 0.02 * task.gradients(rows, np.zeros(30), vector).mean(axis=0)
    assert task.scores(rows, vector).mean() > before


# --- tokens


def test_a_text_ends_once_and_one_that_is_cut_does_not_end() -> None:
    plain, starting = base("llama"), base("llama", start=True)
    short, long = plain.tokens(["cold coffee", "dog " * 300], longest=128)
    assert short == [3, 4, END] and long == [5] * 128
    assert starting.tokens(["cold", ""], longest=128) == [[START, 3, END], [START, END]]
    ending = CausalModel(plain.model, tokenizer())
    ending.tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [END]", special_tokens=[("[END]", END)]
    )
    assert ending.tokens(["cold", ""], longest=128) == [[3, END], [END]]


# --- to the bit


def test_taking_records_away_changes_no_other_gradient_by_a_bit(
    task: CausalTask, rows: CausalRows, gradients: NDArray[np.float64]
) -> None:
    for gone in (0, 3, 13, 29):
        kept = np.array([row for row in range(30) if row != gone])
        found = task.gradients(rows[kept], np.zeros(29), state(task.layout))
        assert found.tobytes() == gradients[kept].tobytes()


def test_moving_records_changes_no_gradient_and_no_score_by_a_bit(
    task: CausalTask, rows: CausalRows, gradients: NDArray[np.float64]
) -> None:
    order = np.random.default_rng(9).permutation(30)
    vector = state(task.layout)
    assert task.gradients(rows[order], np.zeros(30), vector).tobytes() == gradients[order].tobytes()
    assert task.scores(rows[order], vector).tobytes() == task.scores(rows, vector)[order].tobytes()


def test_a_record_alone_has_the_gradient_that_it_has_at_any_place_among_others(
    task: CausalTask, rows: CausalRows, gradients: NDArray[np.float64]
) -> None:
    vector = state(task.layout)
    for row in (1, 3, 20):
        assert task.gradients(rows[np.array([row])], np.zeros(1), vector).tobytes() == gradients[row].tobytes()
    for place in range(ROWS):
        # among eight that fill the longest length to the last token
        among = np.array([3] * place + [2] + [3] * (ROWS - 1 - place))
        assert task.gradients(rows[among], np.zeros(ROWS), vector)[place].tobytes() == gradients[2].tobytes()


def test_neither_cores_nor_threads_nor_other_calls_change_a_bit(
    task: CausalTask, rows: CausalRows, gradients: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch
) -> None:
    vector, kind = state(task.layout), task._base.model.config.model_type
    for count in (1, 3):
        monkeypatch.setattr(causal, "cores", lambda count=count: count)
        monkeypatch.setattr(passes, "cores", lambda count=count: count)
        other = CausalTask(base(kind), SETTINGS)
        assert other.gradients(other.load(texts(30)), np.zeros(30), vector).tobytes() == gradients.tobytes()
    before = torch.get_num_threads()
    with ThreadPoolExecutor(2) as pool:
        disturbing = pool.submit(task.gradients, rows, np.zeros(30), -vector)
        assert pool.submit(task.gradients, rows, np.zeros(30), vector).result().tobytes() == gradients.tobytes()
        assert disturbing.result().tobytes() != gradients.tobytes()
    assert torch.get_num_threads() == before


def test_every_pass_has_one_of_the_public_shapes_however_many_records_there_are(
    task: CausalTask, rows: CausalRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[int, ...]] = set()
    forward = causal._Adapted.forward

    def watched(model: Any, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.add((*ids.shape, *targets.shape))
        return forward(model, ids, targets)

    monkeypatch.setattr(causal._Adapted, "forward", watched)
    monkeypatch.setattr(task, "_rows", ROWS)
    for count in (1, 3, 30):
        task.gradients(rows[np.arange(count)], np.zeros(count), state(task.layout))
        task.scores(rows[np.arange(count)], state(task.layout))
    assert seen == {(ROWS, length, ROWS, length - 1) for length in BUCKETS}


def test_a_machine_on_which_the_place_matters_is_noticed_and_gets_one_record_a_pass(
    rows: CausalRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = causal._gradients

    def odd(*given: Any) -> NDArray[np.float64]:
        found = real(*given)
        if given[-1] == len(found) == ROWS:
            found[-1] = found[-1] * 1.0001 + 0.1
        return found

    monkeypatch.setattr(causal, "_gradients", odd)
    task = CausalTask(base("gpt2"), SETTINGS)
    some = rows[np.arange(12)]
    whole = task.gradients(some, np.zeros(12), state(task.layout))
    turned = task.gradients(some[np.arange(12)[::-1]], np.zeros(12), state(task.layout))
    assert turned[::-1].tobytes() == whole.tobytes() and task._rows == 1


def test_a_large_vocabulary_gets_one_record_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal, "MOST_LOGITS", ROWS * BUCKETS[-1] * 20 - 1)
    assert CausalTask(base("gpt2"), SETTINGS)._rows == 1


# --- what is released


def test_peft_loads_the_released_folder_and_gives_the_same_scores(
    task: CausalTask, rows: CausalRows, tmp_path: Path
) -> None:
    own, vector = base(task._base.model.config.model_type), state(task.layout)
    folder = release(task.layout, vector, tmp_path)
    assert {file.name for file in folder.iterdir()} == {ADAPTER_FILE, CONFIG_FILE}
    model = PeftModel.from_pretrained(own.model, str(folder)).eval()
    with torch.no_grad():
        losses = [float(model(input_ids=(ids := torch.from_numpy(row)[None]), labels=ids).loss) for row in rows.tokens]
    found = task.scores(rows, vector)
    assert np.abs(found + np.array(losses)).max() < 1e-5
    assert np.abs(found - task.scores(rows, task.initial())).max() > 1e-2


@pytest.mark.parametrize("settings", [SETTINGS, LoraSettings(seed=1, layers=(3, 1), freeze_a=True)], ids=said_of)
@pytest.mark.parametrize("kind", FAMILIES)
def test_the_released_arrays_are_named_and_shaped_as_peft_does(
    kind: str, settings: LoraSettings, tmp_path: Path
) -> None:
    layout = CausalLayout.of(config_of(kind).to_dict(), settings)
    folder = release(layout, state(layout), tmp_path)
    model = get_peft_model(base(kind).model, LoraConfig.from_pretrained(str(folder)))
    expected = {name: tuple(array.shape) for name, array in get_peft_model_state_dict(model).items()}
    assert {name: tuple(array.shape) for name, array in load_file(folder / ADAPTER_FILE).items()} == expected
    said = json.loads((folder / CONFIG_FILE).read_bytes())
    assert said["task_type"] == "CAUSAL_LM" and said["base_model_name_or_path"] == NAME
    assert said["fan_in_fan_out"] == (kind == "gpt2")  # else peft merges with a warning, and other software wrongly


def test_the_start_follows_from_the_public_seed_and_a_frozen_a_stays_there() -> None:
    config = config_of("llama").to_dict()
    free, frozen = (CausalLayout.of(config, dataclasses.replace(SETTINGS, freeze_a=no)) for no in (False, True))
    assert free.adapted == frozen.adapted == (1, 2)
    assert free.dimension == 2 * 3 * (32 + 32 + 32 + 16) and frozen.dimension == 2 * 3 * (32 + 16)
    assert (free.initial() == CausalLayout.of(config, SETTINGS).initial()).all() and not frozen.initial().any()
    moved = frozen.whole(frozen.initial() + 1.0).named()
    for name, array in free.whole(free.initial()).named().items():
        assert (moved[name] == (array if "lora_A" in name else array + 1.0)).all()


# --- loading


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    own = base(request.param)
    own.model.save_pretrained(tmp_path / "model")
    own.tokenizer.save_pretrained(tmp_path / "model")
    yield tmp_path / "model"


def test_a_folder_that_passed_intake_is_loaded_and_is_the_model(folder: Path) -> None:
    facts = inspect(folder)
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    loaded, own = CausalModel.load(facts), base(kind)
    assert (facts.width, facts.inner, facts.depth) == (32, {"gpt2": 4 * 32, "llama": 48}[kind], 3)
    assert not any(part.requires_grad for part in loaded.model.parameters())
    for name, array in own.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], array), name
    one, other = CausalTask(loaded, SETTINGS), CausalTask(own, SETTINGS)
    given, vector = texts(5), state(one.layout)
    assert one.gradients(one.load(given), np.zeros(5), vector).tobytes() == (
        other.gradients(other.load(given), np.zeros(5), vector).tobytes()
    )


def test_weights_that_changed_since_intake_or_are_missing_are_not_loaded(folder: Path) -> None:
    facts = inspect(folder)
    weights = load_file(folder / "model.safetensors")
    # a layer's own, and the embedding, from which GPT-2's last matrix is taken, too
    for part in ("1.self_attn.q_proj.weight", "h.1.mlp.c_fc.weight", "embed_tokens.weight", "wte.weight"):
        left = {name: array for name, array in weights.items() if not name.endswith(part)}
        if len(left) == len(weights):
            continue  # the other family's
        save_file(left, folder / "model.safetensors")
        with pytest.raises(Refused) as changed:
            CausalModel.load(facts)
        assert changed.value.code == "BASE_MODEL_CHANGED"
        with pytest.raises(BadInputError) as missing:
            CausalModel.load(inspect(folder))
        assert missing.value.code == "BASE_MODEL_NOT_LOADABLE"


# --- refused


def refused(model: Any, settings: LoraSettings = SETTINGS, *, words: Any = None) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        CausalTask(CausalModel(model.eval().requires_grad_(False), words or tokenizer()), settings)
    return caught.value


def test_a_model_that_is_no_known_causal_model_is_refused_by_name() -> None:
    small = {"vocab_size": 20, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    encoder = BertModel(BertConfig(**small, intermediate_size=48))
    experts = AutoModelForCausalLM.from_config(
        MixtralConfig(**small, intermediate_size=48, num_key_value_heads=2, num_local_experts=4)
    )
    for model, kind in ((encoder, "bert"), (experts, "mixtral")):
        error = refused(model)
        assert error.code == "CAUSAL_ARCHITECTURE" and kind in error.sentence and "llama" in error.hint
    # the right family, and yet no causal model: it has no logits, and its layers stand elsewhere
    without_head = base("llama").model.model
    assert refused(without_head).code == "CAUSAL_ARCHITECTURE"


def test_an_encoder_s_folder_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=20, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
    BertModel(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(BadInputError) as caught:
        CausalModel.load(inspect(tmp_path))
    assert caught.value.code == "CAUSAL_ARCHITECTURE"


class _Balanced(LlamaForCausalLM):
    """As a router that balances its load does: what a record gets depends a little on those beside it."""

    def forward(self, *given: Any, **named: Any) -> Any:
        found = super().forward(*given, **named)
        found.logits = found.logits + 0.01 * found.logits.mean(dim=0, keepdim=True)
        return found


@pytest.mark.parametrize("most", [causal.MOST_LOGITS, 1], ids=["eight in a pass", "one in a pass"])
def test_a_model_that_mixes_records_is_refused_before_it_sees_one(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal, "MOST_LOGITS", most)
    mixing = CausalModel(_Balanced(config_of("llama")).eval().requires_grad_(False), tokenizer())
    with pytest.raises(BadParametersError) as caught:
        CausalTask(mixing, SETTINGS)
    assert caught.value.code == "RECORDS_MIXED"


def test_a_model_whose_configuration_lets_it_look_ahead_is_refused() -> None:
    error = refused(base("llama", is_causal=False).model)
    assert error.code == "CAUSAL_ARCHITECTURE" and "LlamaForCausalLM" in error.sentence


@pytest.mark.parametrize(
    ("kind", "changed", "code"),
    [
        ("gpt2", {"n_positions": 127}, "CAUSAL_ARCHITECTURE"),
        ("llama", {"max_position_embeddings": 64}, "CAUSAL_ARCHITECTURE"),
        ("llama", {"vocab_size": 13}, "CAUSAL_TOKENIZER"),
    ],
)
def test_a_model_too_small_for_what_it_will_read_is_refused(kind: str, changed: dict[str, int], code: str) -> None:
    with pytest.raises(BadInputError) as caught:
        CausalTask(base(kind, **changed), SETTINGS)
    assert caught.value.code == code


def test_a_tokenizer_without_an_end_is_refused() -> None:
    words = tokenizer()
    words.eos_token = None
    assert refused(base("gpt2").model, words=words).code == "CAUSAL_TOKENIZER"


def test_more_layers_than_there_are_are_refused() -> None:
    assert refused(base("gpt2").model, LoraSettings(seed=1, layers=(4,))).code == "LORA_SETTINGS"


@pytest.mark.parametrize(
    ("kind", "targets", "named"),
    [(kind, ("query", "value", "intermediate"), "intermediate") for kind in FAMILIES]
    + [("gpt2", ("query",), "one matrix"), ("gpt2", ("value",), "one matrix")],
)
def test_a_target_that_a_causal_model_has_not_is_refused_by_name(
    kind: str, targets: tuple[str, ...], named: str
) -> None:
    with pytest.raises(BadInputError) as caught:
        CausalLayout.of(config_of(kind).to_dict(), LoraSettings(seed=1, targets=targets))
    assert caught.value.code == "LORA_SETTINGS" and named in caught.value.sentence and "value" in caught.value.hint


@pytest.mark.parametrize("value", [None, "32", 0, True, 2**30])
def test_a_configuration_that_does_not_say_how_wide_the_model_is_is_refused(value: Any) -> None:
    for kind, field in (("gpt2", "n_embd"), ("llama", "hidden_size"), ("llama", "num_key_value_heads")):
        with pytest.raises(BadInputError) as caught:
            CausalLayout.of(config_of(kind).to_dict() | {field: value}, SETTINGS)
        assert caught.value.code == "CAUSAL_ARCHITECTURE" and field in caught.value.sentence


def test_rows_labels_and_vectors_that_do_not_belong_together_are_refused(task: CausalTask, rows: CausalRows) -> None:
    vector, said = state(task.layout), np.zeros(30)
    strange = [CausalRows((np.array(own, dtype=np.int64),)) for own in ([3, 20], [-1, 3], [], [3] * 129)]
    for given in ((rows, said[:-1], vector), (rows, said, vector[:-1]), *((row, said[:1], vector) for row in strange)):
        with pytest.raises(BadInputError) as caught:
            task.gradients(*given)
        assert caught.value.code == "CAUSAL_SHAPE"


def test_neither_the_base_model_nor_what_is_kept_of_texts_shows_or_changes(task: CausalTask) -> None:
    own = base(task._base.model.config.model_type)
    before = {name: array.clone() for name, array in own.model.state_dict().items()}
    other = CausalTask(own, SETTINGS)
    kept = other.load(["cold coffee"])
    other.gradients(kept, np.zeros(1), state(other.layout))
    after = own.model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert not any(part.requires_grad for part in own.model.parameters())
    assert repr(kept) == "CausalRows(...)"


# --- the page


def test_the_example_of_the_page_says_what_the_page_says() -> None:
    page = (ROOT / "docs" / "causal-lm.md").read_text("utf-8")
    (program,), (said,) = re.findall(r"```python\n(.*?)```", page, re.S), re.findall(r"```text\n(.*?)```", page, re.S)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".namespace")},
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout == said


def test_the_page_names_the_families_and_the_settings_that_there_are() -> None:
    page = (ROOT / "docs" / "causal-lm.md").read_text("utf-8")
    assert all(f"`{kind}`" in page for kind in FAMILIES)
    assert all(f"`{field.name}`" in page for field in dataclasses.fields(LoraSettings))
    assert all(f"`{name}`" in page and f"`{place}`" in page for name, place in PLACES.items())
    assert f"cut to {LONGEST}" in page and f"{causal.MOST_LOGITS // ROWS // LONGEST:,}" in page
