"""Each record's own gradient of a model's trainable layers, from one backward pass over several records.

For: :class:`PerSampleGradients`. Not for: adding a subject's records up and clipping (``clipping.py``), deciding what
trains, batches or padding (core/training).

Order of calls: ``PerSampleGradients(model)``, which refuses what cannot be told apart → ``rows(losses)`` each batch.

Linear layers have the rule of ``one_backward.py``, other layers Opacus' hooks: it sits on the model unwrapped and
keeps, for each of them, what came in and what came back. Nothing else of it is used: neither its sampler and noise nor
its accountant. What the two get wrong in silence is refused: a wrong gradient is no error that anybody would see, it is
a bound that does not hold.
Source: Yousefpour et al., "Opacus: user-friendly differential privacy library in PyTorch", 2021, section 3.
"""

from __future__ import annotations

import warnings
from functools import partial

import torch
from torch import Tensor, nn

from ..errors import BadParametersError
from .one_backward import OneBackwardHooks
from .separation import Losses, Places, shown_separate
from .trainable import refuse_unfit, trainable_layers

WHOLE = slice(None)  # all places of a batch, without a copy of it

# Nothing is wrong where a trainable layer's input is data. Once for the process: torch's workers share the filters.
warnings.filterwarnings("ignore", message="Full backward hook is firing")


class PerSampleGradients:
    """Per-record gradients of ``model``'s trainable parameters. One thread at a time.

    ``names`` are the trainable parameters in the model's order, in which they lie in a row.

    Raises:
        BadParametersError: ``NOTHING_TRAINABLE``, ``LAYER_MIXES_RECORDS``, ``LAYER_WITHOUT_RULE``, ``PARAMETER_TIED``;
            the sentence names the layer.
    """

    def __init__(self, model: nn.Module) -> None:
        refuse_unfit(model)
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._separate = False
        self._hooks = OneBackwardHooks(model, loss_reduction="sum", strict=True)
        ruled = self._hooks.linear
        self._hooked = {name: layer for name, layer in trainable_layers(model) if layer not in ruled.values()}
        of_ruled = {id(parameter) for layer in ruled.values() for parameter in layer.parameters()}
        self._ruled = {name for name, parameter in self._parameters.items() if id(parameter) in of_ruled}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the trainable parameters, in the order of a row."""
        return tuple(self._parameters)

    @property
    def dimension(self) -> int:
        """d: numbers in a row."""
        return sum(parameter.numel() for parameter in self._parameters.values())

    def rows(self, losses: Losses) -> Tensor:
        """float32 [n, d]: row i is the gradient of the loss of record i of one batch.

        Args:
            losses: ``losses(places)`` runs the model on those records of the batch and gives each one's own loss, [m],
                neither summed nor averaged. ``places`` index the batch's tensors, ``inputs[places]``: first
                ``slice(None)``, all; then, until a batch of two records or more has shown that they are independent of
                each other (separation.py), int64 [m], some records perhaps twice: 2 + 2·log2(n) passes more. Let a
                batch of made-up records be the first, so that no real one decides about a refusal.

        Raises:
            BadParametersError: ``LOSS_REDUCED`` when there is not one loss for each record asked for, ``RECORDS_MIXED``
                when a record's gradient depends on another or differs between two passes, ``GRADIENT_MISSING`` when a
                trainable layer was not used, or is not linear and was run again (checkpointing), ``GRADIENT_ROWS`` when
                a layer did not see one row for each record, ``LAYER_USED_TWICE``, and ``PARAMETER_TIED`` when a
                parameter was used outside its layer as well.
        """
        gradients = self._backward(losses, WHOLE)
        if not self._separate and len(gradients) > 1:
            self._separate = shown_separate(gradients, partial(self._backward, losses))
        return gradients

    def close(self) -> None:
        """Take the hooks off; the model is as it was, but for its layers' ``training`` mark."""
        self._hooks.cleanup()

    def _backward(self, losses: Losses, places: Places, weights: Tensor | None = None) -> Tensor:
        self._reset()  # of what others may have left
        for layer in self._hooked.values():
            layer.training = True  # Opacus records layers in training only; dropout and the like stay as they are
        try:
            with torch.enable_grad():
                value = losses(places)
                if not isinstance(value, Tensor) or value.dim() != 1 or not value.requires_grad:
                    raise BadParametersError(
                        "LOSS_REDUCED",
                        "the loss is not one number for each record",
                        "give each record's loss by itself: reduction='none', and nothing added over the batch",
                    )
                count = len(value)
                if count == 0:
                    return torch.zeros((0, self.dimension))
                self._refuse_repeated()
                torch.autograd.backward((value if weights is None else value * weights).sum())
            return torch.cat([self._taken(name, count) for name in self._parameters], dim=1)
        finally:
            self._reset()

    def _refuse_repeated(self) -> None:
        """Opacus adds up what a layer saw in two uses; whether of one record or of two, it cannot know."""
        for name, layer in self._hooked.items():
            if len(getattr(layer, "activations", ())) > 1:
                raise BadParametersError(
                    "LAYER_USED_TWICE", f"{name} was used twice in a pass", "use every trainable layer once in a pass"
                )

    def _taken(self, name: str, count: int) -> Tensor:
        # The rule of linear layers leaves no gradient but rows: a gradient came by another way, and is in no row.
        if name in self._ruled and self._parameters[name].grad is not None:
            raise BadParametersError(
                "PARAMETER_TIED", f"{name} is used outside its layer as well", "use it there alone, or freeze it"
            )
        found = getattr(self._parameters[name], "grad_sample", None)
        if not isinstance(found, Tensor):
            raise BadParametersError(
                "GRADIENT_MISSING",
                f"no gradient of each record reached {name}",
                "use every trainable layer once in a pass; under activation checkpointing, train linear layers only",
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
        for layer in self._hooked.values():
            for attribute in ("activations", "max_batch_len"):
                if hasattr(layer, attribute):
                    delattr(layer, attribute)
        for parameter in self._parameters.values():
            parameter.grad = None
            parameter.grad_sample = None  # type: ignore[attr-defined]
            parameter._forward_counter = 0  # type: ignore[attr-defined]
            if hasattr(parameter, "_current_grad_sample"):
                del parameter._current_grad_sample
