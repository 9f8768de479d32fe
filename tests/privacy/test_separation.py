"""A row that depends on other records is refused, also where no gradient tells of it; ordinary models never are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sekisho.privacy.gradients.gradients import PerSampleGradients
from sekisho.privacy.gradients.separation import Places, _neighbours, _weights

from .test_gradients import batch, made, refusal
from .test_one_backward import RECORDS, TOKENS, lora

pytestmark = [
    pytest.mark.filterwarnings("ignore:Full backward hook is firing"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated"),
]


def squared(found: Tensor) -> Tensor:
    return found.squeeze(1) ** 2


# --- by values, along no gradient


class Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=0)


class DividedByTheLargest(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / x.detach().abs().max()


class Crowded(nn.Module):
    """Frozen experts, each of which takes two records and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(5, 2)
        self.experts = nn.ModuleList([nn.Linear(5, 5), nn.Linear(5, 5)])
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        scores, found = self.router(x), x.clone()
        for place, expert in enumerate(self.experts):
            wanting = torch.nonzero(scores.argmax(dim=1) == place).flatten()
            taken = wanting[scores[wanting, place].topk(min(2, len(wanting))).indices]
            found = found.index_add(0, taken, expert(x[taken]))
        return found


def with_the(distance: int) -> Callable[[Tensor], Tensor]:
    return lambda found: squared(found) * (1 + 0.001 * found.detach().squeeze(1).roll(distance))


VALUES: dict[str, tuple[Callable[[], nn.Module], Callable[[Tensor], Tensor]]] = {
    "a frozen layer that centres the batch": (lambda: made(Centred(), nn.Linear(5, 1)), squared),
    "divided by the largest": (lambda: made(nn.Linear(5, 6), DividedByTheLargest(), nn.Linear(6, 1)), squared),
    "a loss divided by its sum": (lambda: made(nn.Linear(5, 1)), lambda f: squared(f) / squared(f).detach().sum()),
    "frozen experts that are full": (lambda: made(nn.Linear(5, 5), Crowded(), nn.Linear(5, 1)), squared),
    "a loss divided by the number of records": (lambda: made(nn.Linear(5, 1)), lambda f: squared(f) / len(f)),
    **{f"the value of the one {d} away": (lambda: made(nn.Linear(5, 1)), with_the(d)) for d in range(1, 7)},
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("count", [7, 8])
def test_a_record_s_values_in_another_s_row_are_refused_at_the_first_batch(name: str, count: int) -> None:
    build, loss = VALUES[name]
    model, records = build(), batch(count, 5)
    gradients = PerSampleGradients(model)
    assert refusal(lambda: gradients.rows(lambda places: loss(model(records[places])))).code == "RECORDS_MIXED"


def test_losses_of_other_records_than_were_asked_for_are_refused() -> None:
    """Who gives the whole batch whatever is asked for would show nothing by it."""
    model, records = made(nn.Linear(5, 1)), batch(8, 5)
    gradients = PerSampleGradients(model)
    refused = refusal(lambda: gradients.rows(lambda places: squared(model(records))))
    assert refused.code == "LOSS_REDUCED" and "asked for" in str(refused)


def test_a_batch_of_two_is_enough_to_see_what_is_far_below_the_longest_row() -> None:
    """Rows are clipped one by one: what a long row may be off by is many times what a short one is long."""
    model, records = made(nn.Linear(5, 1)), batch(2, 5)
    records[1] *= 1e-3
    gradients = PerSampleGradients(model)

    def short_one_leans(places: Places) -> Tensor:
        own = squared(model(records[places]))
        return own + 1e-9 * own.sum()

    assert refusal(lambda: gradients.rows(short_one_leans)).code == "RECORDS_MIXED"


# --- what the passes look like


@given(st.integers(2, 70))
def test_any_two_records_are_told_apart_by_weights_and_by_who_is_there(count: int) -> None:
    everybody = torch.arange(count)
    apart, gone = torch.zeros(count, count, dtype=torch.bool), torch.eye(count, dtype=torch.bool)
    for weights in _weights(count):
        assert weights.min() == 1 and weights.max() <= 2.0**31
        apart |= weights[:, None] != weights[None, :]
    for places in _neighbours(count):
        assert places.shape == (count,) and places.min() >= 0 and places.max() < count
        absent = ~torch.isin(everybody, places)
        gone |= (places == everybody)[:, None] & absent[None, :]
    assert (apart | torch.eye(count, dtype=torch.bool)).all() and gone.all()


def test_weights_of_a_small_batch_are_as_far_apart_as_those_of_a_large_one() -> None:
    assert [weights.tolist() for weights in _weights(2)] == [[1.0, 2.0**31]]


# --- ordinary models


def texts(lengths: list[int]) -> tuple[Tensor, Tensor]:
    ids = torch.randint(4, 20, (len(lengths), TOKENS), generator=torch.Generator().manual_seed(2))
    return ids, (torch.arange(TOKENS) < torch.tensor(lengths)[:, None]).long()


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("how", ["sdpa", "eager", "checkpointing"])
@pytest.mark.parametrize(
    "lengths",
    [[11, 3, 7, 11, 1, 9], [11] * RECORDS, [11, 1, 11, 1, 11, 1, 11], [1, 11]],
    ids=["mixed", "full", "full or short", "two"],
)
def test_a_transformer_is_never_refused(half: bool, how: str, lengths: list[int]) -> None:
    model = lora(attention="eager" if how == "eager" else "sdpa")
    if how == "checkpointing":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    ids, mask = texts(lengths)
    labels = torch.arange(len(lengths)) % 2

    def losses(places: Places) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = model(input_ids=ids[places], attention_mask=mask[places]).logits
        return nn.functional.cross_entropy(logits.float(), labels[places], reduction="none")

    gradients = PerSampleGradients(model)
    assert gradients.rows(losses).isfinite().all() and gradients._separate


@settings(deadline=None, max_examples=40)
@given(
    values=st.lists(st.floats(width=32), min_size=10, max_size=60),
    deep=st.booleans(),
    half=st.booleans(),
)
def test_no_record_makes_an_ordinary_model_be_refused(values: list[float], deep: bool, half: bool) -> None:
    """Zeros, infinities, what is no number, the largest and the smallest there are: none decides about a refusal."""
    records = torch.tensor(values[: len(values) // 5 * 5]).view(-1, 5)
    model = made(nn.Linear(5, 4), nn.ReLU(), nn.LayerNorm(4), nn.Linear(4, 1)) if deep else made(nn.Linear(5, 1))
    gradients = PerSampleGradients(model)

    def losses(places: Places) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found = model(records[places])
        return squared(found.float())

    assert gradients.rows(losses).shape == (len(records), gradients.dimension)
    gradients.close()
