"""The rule of linear layers gives what Opacus' hooks give where those work, and what a loop gives where not."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from opacus import PrivacyEngine
from opacus.grad_sample import GradSampleHooks, utils
from opacus.grad_sample.utils import prepare_module
from opacus.optimizers import DPOptimizer
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.utils import parametrizations, weight_norm
from torch.utils.checkpoint import checkpoint
from transformers import BertConfig, BertForSequenceClassification

from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.gradients import one_backward
from sekisho.privacy.gradients.gradients import PerSampleGradients
from sekisho.privacy.gradients.one_backward import MODE, OneBackwardHooks, opacus_mode
from sekisho.privacy.gradients.separation import Places

from .test_gradients import batch, made, refusal

pytestmark = [
    pytest.mark.filterwarnings("ignore:Full backward hook is firing"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated"),
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated"),
]

RECORDS, TOKENS = 6, 11
SAME = 1e-6  # part of a row's length; float32 adds up in another order


def lora(*, attention: str = "sdpa") -> nn.Module:
    """A small BERT with adapters in every layer and a classifier head, at a state where every part has a gradient."""
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=20, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        attn_implementation=attention, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=2,
    )  # fmt: skip
    adapters = LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"], modules_to_save=["classifier"])
    model = get_peft_model(BertForSequenceClassification(config), adapters)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return model.train()


def losses(model: nn.Module, places: Places = slice(None)) -> Tensor:
    draw = torch.Generator().manual_seed(2)
    ids = torch.randint(4, 20, (RECORDS, TOKENS), generator=draw)
    lengths = torch.tensor([11, 3, 7, 11, 1, 9])
    mask = (torch.arange(TOKENS) < lengths[:, None]).long()
    logits = model(input_ids=ids[places], attention_mask=mask[places]).logits
    return nn.functional.cross_entropy(logits.float(), torch.tensor([0, 1, 1, 0, 1, 0])[places], reduction="none")


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def rows_left(model: nn.Module) -> Tensor:
    return torch.cat([parameter.grad_sample.flatten(1) for parameter in trainable(model)], dim=1)


def looped(model: nn.Module) -> Tensor:
    """float32 [RECORDS, d]: an ordinary backward for each record's loss."""
    rows = []
    for place in range(RECORDS):
        model.zero_grad()
        losses(model)[place].backward()
        rows.append(torch.cat([parameter.grad.flatten() for parameter in trainable(model)]))
    model.zero_grad()
    return torch.stack(rows)


def off(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())


@pytest.fixture(scope="module")
def expected() -> Tensor:
    """By Opacus' hooks, which are the oracle here, and by a loop, which is theirs."""
    model = lora()
    by_loop = looped(model)
    GradSampleHooks(model, loss_reduction="sum")
    losses(model).sum().backward()
    by_hooks = rows_left(model)
    assert off(by_hooks, by_loop) < SAME
    return by_hooks


# --- the numbers


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_rows_are_those_of_opacus_hooks(attention: str, expected: Tensor) -> None:
    model = lora(attention=attention)
    assert off(PerSampleGradients(model).rows(lambda places: losses(model, places)), expected) < SAME


@pytest.mark.parametrize("reentrant", [True, False], ids=["reentrant", "not reentrant"])
def test_rows_are_the_same_under_transformers_own_checkpointing(reentrant: bool, expected: Tensor) -> None:
    model = lora()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    model.enable_input_require_grads()  # else a reentrant pass has nothing to run backward from
    runs: list[None] = []
    layer = model.base_model.model.bert.encoder.layer[1]
    layer.attention.register_forward_hook(lambda *_: runs.append(None))
    gradients = PerSampleGradients(model)
    assert off(gradients.rows(lambda places: losses(model, places)), expected) < SAME
    runs.clear()  # that was the first batch, which takes more passes
    gradients.rows(lambda places: losses(model, places))
    assert len(runs) == 2  # the pass ran forward twice: the checkpoint was one


def test_hooks_lose_count_under_checkpointing_which_is_why_there_is_another_rule() -> None:
    model = lora()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    GradSampleHooks(model, loss_reduction="sum")
    losses(model).sum().backward()
    assert any(parameter.grad_sample is None for parameter in trainable(model))


def test_half_precision_rounds_a_row_and_does_no_more(expected: Tensor) -> None:
    model = lora()
    gradients = PerSampleGradients(model)

    def half(places: Places) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return losses(model, places)

    rows = gradients.rows(half)
    assert rows.dtype == torch.float32
    # bfloat16 keeps 8 bits: a rounding is 2^-9, and a record goes through some dozens of them
    assert 1e-4 < off(rows, expected) < 3e-2


def test_a_loss_that_mixes_records_is_told_from_half_precision() -> None:
    model = lora()
    gradients = PerSampleGradients(model)

    def mixing(places: Places) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            own = losses(model, places)
        return own + 0.01 * own.mean() ** 2

    assert refusal(lambda: gradients.rows(mixing)).code == "RECORDS_MIXED"


def test_no_summed_gradient_is_made() -> None:
    model = made(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))
    OneBackwardHooks(model, loss_reduction="sum")
    model(batch(8, 5)).sum().backward()
    assert all(parameter.grad is None and len(parameter.grad_sample) == 8 for parameter in model.parameters())


def test_a_frozen_weight_or_bias_gets_no_rows() -> None:
    model = made(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))
    model[0].weight.requires_grad_(False)
    model[2].bias.requires_grad_(False)
    plain, gradients, records = copy.deepcopy(model), PerSampleGradients(model), batch(4, 5)
    assert gradients.names == ("0.bias", "2.weight")
    rows = gradients.rows(lambda places: model(records[places]).squeeze(1))
    for record, row in zip(records, rows, strict=True):
        alone = torch.autograd.grad(plain(record[None]).sum(), [plain[0].bias, plain[2].weight])
        assert torch.allclose(row, torch.cat([part.flatten() for part in alone]))


def test_taking_it_off_leaves_the_model_as_it_was() -> None:
    model = lora()
    before = {name: (type(layer), set(vars(layer))) for name, layer in model.named_modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = PerSampleGradients(model)
    assert model.state_dict().keys() == state.keys()
    gradients.rows(lambda places: losses(model, places))
    gradients.close()
    assert {name: (type(layer), set(vars(layer))) for name, layer in model.named_modules()} == before
    assert not any(hasattr(parameter, "grad_sample") for parameter in model.parameters())
    losses(model).sum().backward()
    assert all(parameter.grad is not None for parameter in trainable(model))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_copy_of_the_model_has_rows_of_its_own() -> None:
    model = made(nn.Linear(5, 1))
    OneBackwardHooks(model, loss_reduction="sum")
    other = copy.deepcopy(model)
    other(batch(8, 5)).sum().backward()
    assert model[0].weight.grad_sample is None and len(other[0].weight.grad_sample) == 8


# --- mutants of the rule


def left_by(change: Callable[[Tensor], Tensor]) -> Callable[..., None]:
    real = one_backward._leave
    return lambda parameter, rows, rule: real(parameter, change(rows), rule)


@pytest.mark.parametrize(
    "change",
    [lambda rows: rows.roll(1, 0), lambda rows: rows.flip(0), lambda rows: rows + 0.01 * rows.mean(dim=0)],
    ids=["the next record's", "from the end", "with a part of all"],
)
def test_a_rule_that_gives_a_record_what_is_another_s_is_refused_at_the_first_batch(
    change: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_backward, "_leave", left_by(change))
    model = lora()
    assert refusal(lambda: PerSampleGradients(model).rows(lambda places: losses(model, places))).code == "RECORDS_MIXED"


@pytest.mark.parametrize(
    "change", [lambda rows: rows * RECORDS, lambda rows: rows.to(torch.bfloat16)], ids=["a mean not undone", "rounded"]
)
def test_a_rule_that_is_wrong_for_each_record_alike_is_seen_by_the_oracle(
    change: Callable[[Tensor], Tensor], expected: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_backward, "_leave", left_by(change))
    model = lora()
    assert off(PerSampleGradients(model).rows(lambda places: losses(model, places)), expected) > 100 * SAME


def test_rows_left_at_a_copy_of_the_parameter_are_missing_not_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = one_backward._LinearRows.backward

    def at_a_copy(ctx: object, back: Tensor) -> object:
        weight, bias = ctx.parameters  # type: ignore[attr-defined]  # autograd's own object
        ctx.parameters = weight.detach().clone(), bias  # type: ignore[attr-defined]  # as checkpointing gives it back
        return real(ctx, back)

    monkeypatch.setattr(one_backward._LinearRows, "backward", staticmethod(at_a_copy))
    model = lora()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    refused = refusal(lambda: PerSampleGradients(model).rows(lambda places: losses(model, places)))
    assert refused.code == "GRADIENT_MISSING"


# --- as a mode of Opacus


def steps_of_opacus(mode: str, reduction: str) -> tuple[Tensor, ...]:
    """Two steps of Opacus' own optimiser, with noise from a fixed seed, as its engine puts them together."""
    model = made(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 2)).train()
    records, labels = batch(8, 3, 5), torch.arange(8) % 2
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(records, labels), batch_size=8)
    inner = torch.optim.SGD(model.parameters(), lr=0.5)
    with opacus_mode():
        hooks, optimizer, _ = PrivacyEngine().make_private(
            module=model, optimizer=inner, data_loader=loader, noise_multiplier=0.7, max_grad_norm=0.3,
            poisson_sampling=False, loss_reduction=reduction, grad_sample_mode=mode, wrap_model=False,
            noise_generator=torch.Generator().manual_seed(4),
        )  # fmt: skip
    assert type(optimizer) is DPOptimizer
    for _ in range(2):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(records).mean(dim=1), labels, reduction=reduction)
        loss.backward()
        optimizer.step()
    hooks.cleanup()
    return tuple(parameter.detach().clone() for parameter in model.parameters())


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.filterwarnings("ignore:Secure RNG turned off", "ignore:.*grad_sample_mode")
def test_opacus_own_engine_and_optimiser_train_with_it_unmodified(reduction: str) -> None:
    """A layer that the rule does not know (here a normalisation) keeps Opacus' hooks beside it."""
    for found, wanted in zip(steps_of_opacus(MODE, reduction), steps_of_opacus("hooks", reduction), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_opacus_knows_the_mode_only_while_it_is_asked_to() -> None:
    known = utils.get_hooks_class
    with opacus_mode() as mode:
        assert isinstance(prepare_module(made(nn.Linear(5, 1)), mode, wrap_model=False), OneBackwardHooks)
        assert type(prepare_module(made(nn.Linear(5, 1)), "hooks", wrap_model=False)) is GradSampleHooks
    assert utils.get_hooks_class is known
    with pytest.raises(ValueError, match="grad_sample_mode"):
        prepare_module(made(nn.Linear(5, 1)), mode, wrap_model=False)


def test_rows_of_an_earlier_pass_are_never_added_to() -> None:
    """Opacus' user who forgets to clear them would have two records clipped as one."""
    model = made(nn.Linear(5, 1))
    OneBackwardHooks(model)
    model(batch(8, 5)).sum().backward()
    refused = refusal(lambda: model(batch(8, 5)).sum().backward())
    assert refused.code == "LAYER_USED_TWICE" and "0 has rows already" in str(refused)


# --- refused


class Twice(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.tanh(self.layer(x)))


@pytest.mark.parametrize("layer", [nn.Linear(5, 5), nn.LayerNorm(5)], ids=repr)
@pytest.mark.parametrize("how", ["plain", "checkpointed"])
def test_a_layer_that_is_used_twice_in_a_pass_is_refused_by_name(layer: nn.Module, how: str) -> None:
    model = nn.Sequential(nn.Linear(5, 5), Twice(copy.deepcopy(layer)))
    gradients, records = PerSampleGradients(model), batch(8, 5)

    def once(places: Places) -> Tensor:
        found = (
            checkpoint(model, records[places], use_reentrant=False) if how == "checkpointed" else model(records[places])
        )
        return found.sum(dim=1)

    refused = refusal(lambda: gradients.rows(once))
    assert refused.code == "LAYER_USED_TWICE" and "1.layer" in str(refused)
    assert all(parameter.grad_sample is None for parameter in model.parameters())


class Borrowing(nn.Module):
    """Uses its layer's weight once more, and not by calling the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.layer(x), self.layer.weight.T)


def test_a_weight_that_is_used_outside_its_layer_is_refused_by_name() -> None:
    """Its rows would lack a part of the gradient, and the clipping would bound the rest."""
    model = Borrowing()
    gradients = PerSampleGradients(model)
    refused = refusal(lambda: gradients.rows(lambda places: model(batch(8, 5)[places]).sum(dim=1)))
    assert refused.code == "PARAMETER_TIED" and "layer.weight" in str(refused)


def quantised() -> nn.Module:
    class Narrow(Tensor):
        pass

    layer = nn.Linear(5, 5)
    layer.weight = nn.Parameter(torch.randn(5, 5).as_subclass(Narrow))
    return layer


def with_forward_of_its_own() -> nn.Module:
    layer = nn.Linear(5, 5)
    layer.forward = lambda x: 2 * nn.functional.linear(x, layer.weight, layer.bias)  # type: ignore[method-assign]
    return layer


def with_hook() -> nn.Module:
    layer = nn.LayerNorm(5)
    layer.register_forward_hook(lambda module, given, found: 2 * found)
    return layer


def compiled_in_place() -> nn.Module:
    layer = nn.Linear(5, 5)
    layer.compile(backend="eager")
    return layer


ODD: dict[str, Callable[[], nn.Module]] = {
    "a parametrised weight": lambda: parametrizations.spectral_norm(nn.Linear(5, 5)),
    "a weight of two parameters": lambda: weight_norm(nn.Linear(5, 5)),
    "numbers of another kind": quantised,
    "a forward of its own": with_forward_of_its_own,
    "a normalisation that a hook changes": with_hook,
    "compiled": lambda: torch.compile(nn.Linear(5, 5), backend="eager"),
    "compiled in place": compiled_in_place,
}


@pytest.mark.parametrize("name", ODD)
def test_a_layer_that_is_no_plain_one_is_refused_by_name(name: str) -> None:
    refused = refusal(lambda: PerSampleGradients(nn.Sequential(nn.Linear(5, 5), ODD[name]())))
    assert refused.code in ("LAYER_WITHOUT_RULE", "LAYER_MIXES_RECORDS") and str(refused).startswith("1")


def test_a_linear_layer_may_have_hooks_for_its_rule_is_a_part_of_the_graph() -> None:
    model = made(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))
    model[0].register_forward_hook(lambda module, given, found: 3 * found)
    plain, gradients, records = copy.deepcopy(model), PerSampleGradients(model), batch(4, 5)
    for record, row in zip(records, gradients.rows(lambda places: model(records[places]).squeeze(1)), strict=True):
        alone = torch.autograd.grad(plain(record[None]).sum(), list(plain.parameters()))
        assert torch.allclose(row, torch.cat([part.flatten() for part in alone]))


def test_a_model_that_was_compiled_as_a_whole_beside_it_gives_the_same_rows_or_is_refused() -> None:
    """From outside the model nothing can be seen of it; a row that lacks something must not come of it."""
    model, records = made(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)), batch(8, 5)
    gradients = PerSampleGradients(model)
    expected = gradients.rows(lambda places: model(records[places]).squeeze(1))
    compiled = torch.compile(model, backend="aot_eager")
    try:
        assert torch.allclose(gradients.rows(lambda places: compiled(records[places]).squeeze(1)), expected)
    except BadParametersError as refused:
        assert refused.code == "GRADIENT_MISSING"


def test_one_vector_for_all_records_is_refused_by_name() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.out = nn.Linear(5, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(x + self.shared(torch.ones(5))).squeeze(1)

    model = Shared()
    gradients = PerSampleGradients(model)
    refused = refusal(lambda: gradients.rows(lambda places: model(batch(8, 5)[places])))
    assert refused.code == "GRADIENT_ROWS" and "shared" in str(refused)


def test_tokens_in_the_place_of_records_are_refused_by_name() -> None:
    model = made(nn.Linear(5, 1))
    gradients = PerSampleGradients(model)
    refused = refusal(
        lambda: gradients.rows(lambda places: model(batch(8, 3, 5)[places].flatten(0, 1)).view(-1, 3).sum(dim=1))
    )
    assert refused.code == "GRADIENT_ROWS" and "24 rows where the batch has 8" in str(refused)
