"""Each record's own gradient of a model's trainable layers, from one backward pass over several records.

For: :class:`PerSampleGradients`. Not for: adding a subject's records up and clipping (``clipping.py``), deciding what
trains, batches or padding (core/training).

Order of calls: ``PerSampleGradients(model)``, which refuses what cannot be told apart → ``rows(losses)`` each batch.

The gradients are those of Opacus' hooks: it sits on the model unwrapped and keeps, for each trainable layer, what came
in and what came back. Nothing else of it is used: neither its sampler and noise nor its accountant. Where it
would fall back to a general method or to a best effort, this file refuses instead: a wrong gradient is no error that
anybody would see, it is a bound that does not hold.
Source: Yousefpour et al., "Opacus: user-friendly differential privacy library in PyTorch", 2021, section 3.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import BadParametersError

# Opacus gives the process a root log handler when it is imported; how this program logs is not its affair.
_handlers = list(logging.root.handlers)
from opacus.grad_sample import GradSampleHooks  # noqa: E402

logging.root.handlers[:] = _handlers
# Nothing is wrong where a trainable layer's input is data. Once for the process: torch's workers share the filters.
warnings.filterwarnings("ignore", message="Full backward hook is firing")

# Part of the longest row by which a record may be off what it is on its own: float32 is off by 1e-6, the weakest
# mixing in use (a balancing loss with weight 0.01) by 1e-3 and more.
SEPARATION_TOLERANCE = 1e-4


class PerSampleGradients:
    """Per-record gradients of ``model``'s trainable parameters. One thread at a time.

    ``names`` are the trainable parameters in the model's order, in which they lie in a row.

    Raises:
        BadParametersError: ``NOTHING_TRAINABLE``, ``LAYER_MIXES_RECORDS``, ``LAYER_WITHOUT_RULE``, ``PARAMETER_TIED``;
            the sentence names the layer.
    """

    def __init__(self, model: nn.Module) -> None:
        _refuse_unfit(model)
        self._layers = [layer for _, layer in _trainable_layers(model)]
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._separate = False
        self._hooks = GradSampleHooks(model, loss_reduction="sum", strict=True)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the trainable parameters, in the order of a row."""
        return tuple(self._parameters)

    @property
    def dimension(self) -> int:
        """d: numbers in a row."""
        return sum(parameter.numel() for parameter in self._parameters.values())

    def rows(self, losses: Callable[[], Tensor]) -> Tensor:
        """float32 [n, d]: row i is the gradient of ``losses()[i]``.

        Args:
            losses: runs the model on one batch and gives each record's own loss, [n], neither summed nor averaged. It
                is run twice until a batch of two records or more has shown that they are independent of each other.

        Raises:
            BadParametersError: ``LOSS_REDUCED`` when there is not one loss for each record, ``RECORDS_MIXED`` when a
                record's gradient depends on another or differs between two passes, ``GRADIENT_MISSING`` when a
                trainable layer was not used or was recomputed (checkpointing), ``GRADIENT_ROWS`` when a layer did not
                see one row for each record.
        """
        gradients = self._backward(losses, weighted=False)
        if not self._separate and len(gradients) > 1:
            self._separate = _separate(gradients, self._backward(losses, weighted=True))
        return gradients

    def close(self) -> None:
        """Take the hooks off; the model is as it was, but for its layers' ``training`` mark."""
        self._hooks.cleanup()

    def _backward(self, losses: Callable[[], Tensor], *, weighted: bool) -> Tensor:
        for layer in self._layers:
            layer.training = True  # Opacus records layers in training only; dropout and the like stay as they are
        try:
            with torch.enable_grad():
                value = losses()
                if not isinstance(value, Tensor) or value.dim() != 1 or not value.requires_grad:
                    raise BadParametersError(
                        "LOSS_REDUCED",
                        "the loss is not one number for each record",
                        "give each record's loss by itself: reduction='none', and nothing added over the batch",
                    )
                count = len(value)
                if count == 0:
                    return torch.zeros((0, self.dimension))
                torch.autograd.backward((value * _weights(count) if weighted else value).sum())
            return torch.cat([self._taken(name, count) for name in self._parameters], dim=1)
        finally:
            self._reset()

    def _taken(self, name: str, count: int) -> Tensor:
        found = getattr(self._parameters[name], "grad_sample", None)
        if not isinstance(found, Tensor):
            raise BadParametersError(
                "GRADIENT_MISSING",
                f"no gradient of each record reached {name}",
                "every trainable layer must be used once in a pass, and not under activation checkpointing",
            )
        if len(found) != count:
            raise BadParametersError(
                "GRADIENT_ROWS",
                f"{name} saw {len(found)} rows where the batch has {count} records",
                "freeze layers that do not have the record as their first axis, such as position embeddings",
            )
        return found.detach().reshape(count, -1).to(torch.float32)

    def _reset(self) -> None:
        """Leave nothing of a pass behind, also of one that broke off: records' activations least of all."""
        for layer in self._layers:
            for attribute in ("activations", "max_batch_len"):
                if hasattr(layer, attribute):
                    delattr(layer, attribute)
        for parameter in self._parameters.values():
            parameter.grad = None
            parameter.grad_sample = None  # type: ignore[attr-defined]
            parameter._forward_counter = 0  # type: ignore[attr-defined]
            if hasattr(parameter, "_current_grad_sample"):
                del parameter._current_grad_sample


def _refuse_unfit(model: nn.Module) -> None:
    # 1. something trains
    layers = _trainable_layers(model)
    if not layers:
        raise BadParametersError("NOTHING_TRAINABLE", "no layer of the model trains")
    # 2. no layer takes statistics over a batch, frozen or not, or keeps some of its records
    for name, layer in model.named_modules():
        if isinstance(layer, _BatchNorm):
            raise BadParametersError(
                "LAYER_MIXES_RECORDS",
                f"{name} is a {type(layer).__name__}, which mixes the records of a batch",
                "take a model with group or layer normalisation",
            )
    for name, layer in layers:
        if any(True for _ in layer.buffers(recurse=False)):
            raise BadParametersError(
                "LAYER_MIXES_RECORDS",
                f"{name} trains and keeps figures from pass to pass",
                "freeze it, or take a layer that keeps none",
            )
    # 3. an exact rule for every layer that trains; a subclass may compute something else, so it has none
    for name, layer in layers:
        if type(layer) not in GradSampleHooks.GRAD_SAMPLERS:
            raise BadParametersError(
                "LAYER_WITHOUT_RULE",
                f"{name} trains and is a {type(layer).__name__}, for which there is no per-record rule",
                "freeze it; linear, normalisation, embedding and convolution layers have a rule",
            )
    # 4. no parameter in two places
    seen: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.requires_grad and seen.setdefault(id(parameter), name) != name:
            raise BadParametersError(
                "PARAMETER_TIED",
                f"{name} and {seen[id(parameter)]} are one trainable parameter",
                "untie or freeze it",
            )


def _trainable_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [
        (name or type(layer).__name__, layer)
        for name, layer in model.named_modules()
        if any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
    ]


def _weights(count: int) -> Tensor:
    return torch.arange(1, count + 1, dtype=torch.float32)


def _separate(gradients: Tensor, weighted: Tensor) -> bool:
    """Each record's loss was given a weight of its own: its row must grow by that weight, and by no other's.

    False where fewer than two rows are finite, which tells nothing; the next batch is looked at instead.
    """
    weights = _weights(len(gradients)).unsqueeze(1)
    finite = torch.isfinite(gradients).all(dim=1) & torch.isfinite(weighted).all(dim=1)
    if int(finite.sum()) < 2:
        return False
    expected = (gradients * weights)[finite]
    off = (weighted[finite] - expected).norm(dim=1).max()
    if off > SEPARATION_TOLERANCE * expected.norm(dim=1).max():
        raise BadParametersError(
            "RECORDS_MIXED",
            "a record's gradient depends on the records beside it, or differs from one pass to the next",
            "use a loss of each record by itself, no dropout, and no layer that compares records",
        )
    return True
