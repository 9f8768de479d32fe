"""Rows are each record's own gradient, and what cannot be told apart is refused by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.gradients.gradients import PerSampleGradients
from sekisho.privacy.gradients.separation import Places

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # pytest undoes the module's own filter


def made(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.5)
    return nn.Sequential(*layers).eval()


def batch(count: int, *shape: int) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(7))


def refusal(act: Callable[[], object]) -> BadParametersError:
    with pytest.raises(BadParametersError) as caught:
        act()
    return caught.value


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: made(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)), (5,)),
    "linear over tokens": (lambda: made(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), (6, 5)),
    "normalised": (lambda: made(nn.Linear(5, 4, bias=False), nn.LayerNorm(4), nn.Linear(4, 2)), (6, 5)),
    "convolution": (lambda: made(nn.Conv1d(3, 4, 2), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten()), (3, 7)),
}


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_those_of_one_record_at_a_time(name: str) -> None:
    build, shape = MODELS[name]
    model, records = build(), batch(9, *shape)
    gradients = PerSampleGradients(model)
    rows = gradients.rows(lambda places: (model(records[places]) ** 2).flatten(1).sum(dim=1))
    gradients.close()
    assert rows.shape == (9, gradients.dimension) and rows.dtype == torch.float32
    for record, row in zip(records, rows, strict=True):
        model.zero_grad()
        (model(record[None]) ** 2).sum().backward()
        alone = torch.cat([dict(model.named_parameters())[part].grad.flatten() for part in gradients.names])
        assert (row - alone).norm() <= 1e-6 * alone.norm()


def test_frozen_parts_are_in_no_row() -> None:
    model = made(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))
    model[0].requires_grad_(False)
    model[2].bias.requires_grad_(False)
    gradients = PerSampleGradients(model)
    records = batch(4, 5)
    assert gradients.names == ("2.weight",)
    assert gradients.rows(lambda places: model(records[places]).squeeze(1)).shape == (4, 4)


def test_no_record_gives_no_row() -> None:
    model = made(nn.Linear(5, 1))
    gradients = PerSampleGradients(model)
    assert gradients.rows(lambda places: model(batch(0, 5)[places]).squeeze(1)).shape == (0, 6)


def test_a_pass_leaves_nothing_behind_also_when_it_breaks_off() -> None:
    model = made(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))
    gradients, records = PerSampleGradients(model), batch(4, 5)
    expected = gradients.rows(lambda places: model(records[places]).squeeze(1))

    def broken(places: Places) -> Tensor:
        model(records[places])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gradients.rows(broken)
    assert not any(hasattr(layer, "activations") for layer in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(gradients.rows(lambda places: model(records[places]).squeeze(1)), expected)
    gradients.close()
    assert not any(layer._forward_hooks or layer._backward_hooks for layer in model.modules())


# --- refused when the model is looked at


class Doubled(nn.Linear):
    """A linear layer that computes something else: Opacus' rule for its parent would be wrong."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


@pytest.mark.parametrize("layer", [Doubled(4, 4), Scale(), nn.PReLU(), nn.Bilinear(4, 4, 4)], ids=repr)
def test_a_trainable_layer_without_a_rule_is_refused_by_name(layer: nn.Module) -> None:
    refused = refusal(lambda: PerSampleGradients(nn.Sequential(nn.Linear(4, 4), layer)))
    assert refused.code == "LAYER_WITHOUT_RULE"
    assert str(refused).startswith("1 trains") and type(layer).__name__ in str(refused)


def test_the_same_layer_frozen_is_no_matter() -> None:
    model = made(nn.Linear(4, 4), Scale().requires_grad_(False))
    records = batch(3, 4)
    assert PerSampleGradients(model).rows(lambda places: model(records[places]).sum(dim=1)).shape == (3, 20)


@pytest.mark.parametrize("train", [True, False], ids=["trainable", "frozen"])
@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), nn.BatchNorm1d(4, affine=False), nn.SyncBatchNorm(4)], ids=repr)
def test_batch_norm_is_refused_by_name(layer: nn.Module, train: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 4), layer.requires_grad_(train))
    refused = refusal(lambda: PerSampleGradients(model))
    assert refused.code == "LAYER_MIXES_RECORDS"
    assert str(refused).startswith("1 is a ") and type(layer).__name__ in str(refused)


def test_a_trainable_layer_that_keeps_figures_is_refused() -> None:
    model = nn.Sequential(nn.InstanceNorm1d(4, affine=True, track_running_stats=True))
    assert refusal(lambda: PerSampleGradients(model)).code == "LAYER_MIXES_RECORDS"


def test_tied_trainable_parameters_are_refused_by_both_names() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    refused = refusal(lambda: PerSampleGradients(model))
    assert refused.code == "PARAMETER_TIED"
    assert "2.weight" in str(refused) and "0.weight" in str(refused)
    model[0].weight.requires_grad_(False)
    PerSampleGradients(model)


def test_a_layer_in_two_places_is_refused() -> None:
    once = nn.Linear(4, 4)
    assert refusal(lambda: PerSampleGradients(nn.Sequential(once, nn.Tanh(), once))).code == "PARAMETER_TIED"


def test_a_model_in_which_nothing_trains_is_refused() -> None:
    assert refusal(lambda: PerSampleGradients(nn.Linear(4, 4).requires_grad_(False))).code == "NOTHING_TRAINABLE"


# --- refused when a batch has been through


MIXING: dict[str, Callable[[Tensor], Tensor]] = {
    "against the mean": lambda found: (found - found.mean(dim=0)).squeeze(1) ** 2,
    "against the next": lambda found: (found * found.roll(1, 0)).squeeze(1),
    "against the one after next": lambda found: (found * found.roll(2, 0)).squeeze(1),
    "in-batch negatives": lambda found: -torch.diagonal(torch.log_softmax(found @ found.T, dim=1)),
    "a small balancing term": lambda found: found.squeeze(1) ** 2 + 0.01 * found.mean() ** 2,
    "statistics of the batch": lambda found: nn.functional.batch_norm(found, None, None, training=True)[:, 0],
    "dropout": lambda found: nn.functional.dropout(found, 0.5).squeeze(1),
}


@pytest.mark.parametrize("name", MIXING)
def test_a_loss_that_mixes_records_is_refused(name: str) -> None:
    model, records = made(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)), batch(8, 5)
    gradients = PerSampleGradients(model)
    refused = refusal(lambda: gradients.rows(lambda places: MIXING[name](model(records[places]))))
    assert refused.code == "RECORDS_MIXED"


@pytest.mark.parametrize("apart", [1, 31, 32, 64, 1024])
def test_no_two_records_of_a_large_batch_are_far_enough_apart_to_mix_unseen(apart: int) -> None:
    """Weights repeat after 32 records; what mixes records just so far apart is found all the same."""
    model, records = made(nn.Linear(5, 1)), batch(1030, 5)
    gradients = PerSampleGradients(model)

    def partners(places: Places) -> Tensor:
        found = model(records[places]).squeeze(1)
        mixed = found.clone()
        mixed[0] = found[0] * (1 + 0.01 * found[apart])
        return mixed

    assert refusal(lambda: gradients.rows(partners)).code == "RECORDS_MIXED"


@pytest.mark.parametrize(
    "reduced",
    [
        lambda loss: loss.mean(),
        lambda loss: loss.sum(),
        lambda loss: loss[:, None],
        lambda loss: loss.detach(),
        lambda loss: [1.0],
    ],
    ids=["mean", "sum", "two axes", "no gradient", "no tensor"],
)
def test_a_loss_that_is_not_one_number_a_record_is_refused(reduced: Callable[[Tensor], Tensor]) -> None:
    model, records = made(nn.Linear(5, 1)), batch(8, 5)
    gradients = PerSampleGradients(model)
    assert (
        refusal(lambda: gradients.rows(lambda places: reduced(model(records[places]).squeeze(1)))).code
        == "LOSS_REDUCED"
    )


def test_what_a_record_holds_raises_nothing() -> None:
    """A refusal would tell of the record; rows that are not finite are left out where subjects are summed."""
    model, records = made(nn.Linear(5, 1)), batch(8, 5)
    records[3] = torch.nan
    records[5] = torch.inf
    rows = PerSampleGradients(model).rows(lambda places: model(records[places]).squeeze(1) ** 2)
    assert [row for row in range(8) if not rows[row].isfinite().all()] == [3, 5]


def test_a_model_that_was_set_to_evaluation_meanwhile_gives_the_same_rows() -> None:
    model, records = made(nn.Linear(5, 4), nn.Dropout(0.5), nn.Linear(4, 1)), batch(8, 5)
    gradients = PerSampleGradients(model)
    expected = gradients.rows(lambda places: model(records[places]).squeeze(1))
    model.eval()
    assert torch.equal(gradients.rows(lambda places: model(records[places]).squeeze(1)), expected)


def test_a_batch_that_shows_nothing_leaves_the_next_to_be_looked_at() -> None:
    model, records = made(nn.Linear(5, 1)), torch.full((8, 5), torch.nan)
    gradients = PerSampleGradients(model)
    assert not gradients.rows(lambda places: model(records[places]).squeeze(1) ** 2).isfinite().any()
    gradients.rows(lambda places: model(batch(1, 5)[places]).squeeze(1))
    mixed = refusal(lambda: gradients.rows(lambda places: MIXING["against the mean"](model(batch(8, 5)[places]))))
    assert mixed.code == "RECORDS_MIXED"


def test_a_layer_that_no_record_reached_is_refused_by_name() -> None:
    model = made(nn.Linear(5, 1), nn.Linear(5, 1))
    gradients, records = PerSampleGradients(model), batch(8, 5)
    refused = refusal(lambda: gradients.rows(lambda places: model[1](records[places]).squeeze(1)))
    assert refused.code == "GRADIENT_MISSING" and "0.weight" in str(refused)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_layer_that_only_hooks_know_is_refused_under_activation_checkpointing_not_miscounted(reentrant: bool) -> None:
    model = made(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    gradients, records = PerSampleGradients(model), batch(8, 5).requires_grad_()
    try:
        rows = gradients.rows(lambda places: checkpoint(model, records[places], use_reentrant=reentrant).squeeze(1))
    except BadParametersError as refused:
        assert refused.code == "GRADIENT_MISSING" and "1.weight" in str(refused)
    else:
        assert torch.equal(rows, gradients.rows(lambda places: model(records[places]).squeeze(1)))


def test_position_embeddings_without_a_record_axis_are_refused_by_name() -> None:
    class Positioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position = nn.Embedding(6, 5)
            self.out = nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(x + self.position(torch.arange(6)[None])).sum(dim=(1, 2))

    model = Positioned()
    gradients, records = PerSampleGradients(model), batch(8, 6, 5)
    refused = refusal(lambda: gradients.rows(lambda places: model(records[places])))
    assert refused.code == "GRADIENT_ROWS" and "position.weight" in str(refused)


def test_importing_it_leaves_the_program_s_logging_as_it_was() -> None:
    program = "import logging, sekisho.privacy.gradients.gradients; raise SystemExit(len(logging.root.handlers))"
    environment = {"PYTHONPATH": str(ROOT / ".namespace")}
    assert subprocess.run([sys.executable, "-c", program], check=False, env=environment).returncode == 0
