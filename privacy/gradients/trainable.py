"""Which models may be trained with a gradient for each record: every layer that trains has an exact rule.

For: :func:`refuse_unfit`, before anything is attached, and :func:`trainable_layers`. Not for: what only a pass shows (a
loss that mixes records, a layer that was not used; ``gradients.py``).

Where Opacus would fall back to a general method or to a best effort, this refuses by name: a wrong gradient is no error
that anybody would see, it is a bound that does not hold.
"""

from __future__ import annotations

from typing import NoReturn

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import BadParametersError
from .one_backward import OneBackwardHooks

OWN_PARTS = {"weight", "bias"}  # of a linear layer; what else it holds, it computes its weight from


def refuse_unfit(model: nn.Module) -> None:
    """Refuse what cannot be told apart.

    Raises:
        BadParametersError: ``NOTHING_TRAINABLE``, ``LAYER_MIXES_RECORDS``, ``LAYER_WITHOUT_RULE``, ``PARAMETER_TIED``;
            the sentence names the layer.
    """
    layers = trainable_layers(model)
    # 1. something trains
    if not layers:
        raise BadParametersError("NOTHING_TRAINABLE", "no layer of the model trains")
    # 2. no layer takes statistics over a batch, frozen or not, or keeps some of its records
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            raise BadParametersError(
                "LAYER_MIXES_RECORDS",
                f"{name} is a {type(module).__name__}, which mixes the records of a batch",
                "take a model with group or layer normalisation",
            )
    for name, layer in layers:
        if any(True for _ in layer.buffers(recurse=False)):
            raise BadParametersError(
                "LAYER_MIXES_RECORDS",
                f"{name} trains and keeps figures from pass to pass",
                "freeze it, or take a layer that keeps none",
            )
    # 3. an exact rule for every layer that trains
    for name, layer in layers:
        _refuse_without_rule(name, layer)
    for name, module in model.named_modules():
        compiled = getattr(module, "_compiled_call_impl", None) is not None or hasattr(module, "_orig_mod")
        if compiled and any(parameter.requires_grad for parameter in module.parameters()):
            _no_rule(name or "the model", "trains and is compiled")
    # 4. no parameter in two places
    seen: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.requires_grad and seen.setdefault(id(parameter), name) != name:
            raise BadParametersError(
                "PARAMETER_TIED",
                f"{name} and {seen[id(parameter)]} are one trainable parameter",
                "untie or freeze it",
            )


def trainable_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers that hold a trainable parameter themselves, by name."""
    return [
        (name or type(layer).__name__, layer)
        for name, layer in model.named_modules()
        if any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
    ]


def _refuse_without_rule(name: str, layer: nn.Module) -> None:
    kind = type(layer)
    # a subclass may compute something else, and so may a forward of the layer's own
    if kind not in OneBackwardHooks.GRAD_SAMPLERS or "forward" in vars(layer):
        _no_rule(name, f"trains and is a {kind.__name__}, for which there is no per-record rule")
    # quantised, sharded or otherwise not plain numbers
    if any(type(parameter) is not nn.Parameter for parameter in layer.parameters(recurse=False)):
        _no_rule(name, f"trains and is a {kind.__name__} of other than plain numbers")
    if kind is nn.Linear:
        if not {part for part, _ in layer.named_parameters(recurse=False)} <= OWN_PARTS:
            _no_rule(name, "trains and computes its weight from other parameters")
    elif layer._forward_hooks or layer._forward_pre_hooks:  # what they change, Opacus' rule does not know of
        _no_rule(name, f"trains and is a {kind.__name__} whose input or output is changed by hooks")


def _no_rule(name: str, is_so: str) -> NoReturn:
    raise BadParametersError(
        "LAYER_WITHOUT_RULE",
        f"{name} {is_so}",
        "freeze it; plain linear, normalisation, embedding and convolution layers have a rule",
    )
