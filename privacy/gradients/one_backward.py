"""Each record's gradient of a linear layer, made in the one backward pass that there is.

For: :class:`OneBackwardHooks`, a gradient mode of Opacus, and :func:`opacus_mode`, which makes it known there by name.
Not for: which models may be trained in this way (``gradients.py`` refuses the others), clipping, noise.

Order of calls: ``OneBackwardHooks(model)`` → forward and backward → ``parameter.grad_sample`` → ``cleanup()``.

A linear layer's own backward multiplies what came back by what came in and adds the records up. Here it does the same
product record by record and adds nothing up: the same number of multiplications, no second backward, no hook, and no
sum that nobody asked for. A hook counts passes through a layer and so loses its place when a forward is run again
(activation checkpointing); a node of the graph is run backward once, however often it is made.
Every other kind of layer keeps Opacus' hooks.
Source: Bu et al., "Differentially private optimization on large model at small cost", ICML 2023 (one backward);
Yousefpour et al., "Opacus: user-friendly differential privacy library in PyTorch", 2021 (hooks, modes).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..errors import BadParametersError

# Opacus gives the process a root log handler when it is imported; how this program logs is not its affair.
_handlers = list(logging.root.handlers)
from opacus.grad_sample import GradSampleHooks, utils  # noqa: E402

logging.root.handlers[:] = _handlers

MODE = "one_backward"


@dataclass(frozen=True)
class LinearRule:
    """What a layer needs to know of the mode: its name, for refusals, and whether the loss is a mean over the batch."""

    name: str
    of_mean: bool


class OneBackwardHooks(GradSampleHooks):  # type: ignore[misc]  # Opacus ships no types
    """Opacus' hooks on ``m``, but for its trainable linear layers, which get the rule of this file.

    Arguments as in Opacus. Leaves at each trainable parameter ``grad_sample``, [n, *its shape], as Opacus' own
    optimisers expect it. A subclass of ``nn.Linear`` may compute something else, so it keeps Opacus' hooks.

    Raises (in backward):
        BadParametersError: ``LAYER_USED_TWICE`` when a linear layer's rows are there already: the layer is used twice
            in a pass, or the rows of an earlier pass were not taken away. ``GRADIENT_ROWS`` when its input has no axis
            of records.
    """

    def __init__(
        self,
        m: nn.Module,
        *,
        batch_first: bool = True,
        loss_reduction: str = "mean",
        strict: bool = True,
        force_functorch: bool = False,
    ) -> None:
        if not batch_first:
            raise NotImplementedError("records are the first axis")
        self.linear = {
            name: layer
            for name, layer in m.named_modules()
            if type(layer) is nn.Linear and any(parameter.requires_grad for parameter in layer.parameters())
        }
        super().__init__(
            m, batch_first=True, loss_reduction=loss_reduction, strict=strict, force_functorch=force_functorch
        )
        # Last: whatever Opacus refuses leaves the model as it was.
        for name, layer in self.linear.items():
            layer.rule = LinearRule(name or "the layer", of_mean=loss_reduction == "mean")  # type: ignore[assignment]  # no module, and none is looked for
            layer.__class__ = _OneBackwardLinear

    def iterate_submodules(self, module: nn.Module) -> Iterable[nn.Module]:
        """The layers that get hooks."""
        ruled = set(map(id, self.linear.values()))
        return (layer for layer in super().iterate_submodules(module) if id(layer) not in ruled)

    def remove_hooks(self) -> None:
        """Make the linear layers what they were, and take the hooks off the others."""
        for layer in self.linear.values():
            layer.__class__ = nn.Linear
            if hasattr(layer, "rule"):
                del layer.rule
        super().remove_hooks()


@contextmanager
def opacus_mode() -> Iterator[str]:
    """Opacus knows the mode by the name that this yields, while it is asked to prepare a model.

    ``with opacus_mode() as mode: PrivacyEngine().make_private(..., grad_sample_mode=mode, wrap_model=False)``.
    Opacus has no register of modes, hence the exchange of the one function that looks them up.
    """
    known = utils.get_hooks_class
    utils.get_hooks_class = lambda mode: OneBackwardHooks if mode == MODE else known(mode)
    try:
        yield MODE
    finally:
        utils.get_hooks_class = known


class _OneBackwardLinear(nn.Linear):
    """What a linear layer becomes while the mode is on; it computes what it did before."""

    rule: LinearRule

    def forward(self, input: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return super().forward(input)
        found: Tensor = _LinearRows.apply(input, self.weight, self.bias, self.rule)  # type: ignore[no-untyped-call]  # torch's own
        return found


class _LinearRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rule: LinearRule) -> Tensor:
        ctx.save_for_backward(x, weight)
        # The parameters themselves: what checkpointing gives back for a saved one is another object.
        ctx.parameters = weight, bias
        ctx.rule = rule
        return nn.functional.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, back: Tensor) -> tuple[Tensor | None, None, None, None]:
        x, weight = ctx.saved_tensors
        rule = ctx.rule
        if x.dim() < 2:
            raise BadParametersError(
                "GRADIENT_ROWS",
                f"{rule.name} saw one vector, not one for each record",
                "keep the record as the first axis",
            )
        to_x, to_weight, to_bias, _ = ctx.needs_input_grad
        # As Opacus has it: the mean over a batch is undone, so that a row is the gradient of its own record's loss.
        own = (back * len(back) if rule.of_mean else back).reshape(len(back), -1, back.shape[-1])
        if to_weight:
            came_in = x.to(own.dtype).reshape(len(x), -1, x.shape[-1])
            _leave(ctx.parameters[0], torch.bmm(own.transpose(1, 2), came_in), rule)
        if to_bias:
            _leave(ctx.parameters[1], own.sum(dim=1), rule)
        return (back @ weight.to(back.dtype)).to(x.dtype) if to_x else None, None, None, None


def _leave(parameter: Any, rows: Tensor, rule: LinearRule) -> None:
    # Rows that are there already are of the same records' other use, or of other records: each would need another
    # treatment, and nothing here tells them apart.
    if getattr(parameter, "grad_sample", None) is not None:
        raise BadParametersError(
            "LAYER_USED_TWICE",
            f"{rule.name} has rows already",
            "use every trainable layer once in a pass, and take the rows away after it",
        )
    parameter.grad_sample = rows.to(parameter.dtype)
