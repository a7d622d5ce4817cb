"""The state of a model and its optimizer, taken apart into tensors and JSON, and put back bit for bit."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

OptimizerState = tuple[dict[str, Tensor], dict[str, Any]]
"""An optimizer's tensors, and its facts for JSON, as `dump_optimizer` returns them."""


def dump_optimizer(optimizer: Optimizer) -> OptimizerState:
    """Split an optimizer's state into tensors, named `<parameter index>.<name>`, and facts for JSON.

    Parameters are counted through all groups. The facts are the optimizer's class, the groups, the state that is no
    tensor, and the parameters' shapes.
    """
    state_dict = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, state in state_dict["state"].items():
        tensors |= {f"{index}.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
        scalars[str(index)] = {name: value for name, value in state.items() if not isinstance(value, Tensor)}
    shapes = [list(param.shape) for group in optimizer.param_groups for param in group["params"]]
    groups = state_dict["param_groups"]
    return tensors, {"class": _class_name(optimizer), "param_groups": groups, "scalars": scalars, "shapes": shapes}


def restore(
    model: nn.Module,
    model_state: dict[str, Tensor],
    optimizer: Optimizer | None,
    optimizer_state: OptimizerState | None,
    *,
    source: str,
) -> None:
    """Check that everything fits, and only then change the model and the optimizer.

    Raises:
        ValueError: A tensor is missing, left over, or of another shape; the message names it and `source`.
    """
    _check_model(model, model_state, source)
    if optimizer is not None:
        assert optimizer_state is not None, "callers pass both"
        _check_optimizer(optimizer, optimizer_state[1], source)
        _load_optimizer(optimizer, *optimizer_state)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(_placed_like(tensor, model_state[name]))


def _check_model(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    expected = model.state_dict()
    for complaint, names in (("lacks", expected.keys() - state.keys()), ("also holds", state.keys() - expected.keys())):
        if names:
            raise ValueError(
                f"{source} {complaint} {', '.join(sorted(names)[:3])}{' ...' if len(names) > 3 else ''} "
                f"({len(names)} of {len(expected)} tensors of the model); build the model with the checkpoint's config"
            )
    for name, tensor in expected.items():
        if tensor.shape != state[name].shape:
            raise ValueError(
                f"{source}: {name} has shape {tuple(state[name].shape)} in the checkpoint and "
                f"{tuple(tensor.shape)} in the model; build the model with the checkpoint's config"
            )


def _check_optimizer(optimizer: Optimizer, facts: dict[str, Any], source: str) -> None:
    if facts.get("class") != _class_name(optimizer):
        raise ValueError(
            f"{source} holds the state of {facts.get('class')}, not of {_class_name(optimizer)}; "
            "build the optimizer as it was when saved"
        )
    expected = [len(group["params"]) for group in optimizer.param_groups]
    found = [len(group["params"]) for group in facts["param_groups"]]
    if found != expected:
        raise ValueError(
            f"{source}: the optimizer's groups have {found} parameters in the checkpoint and {expected} here; "
            "build the optimizer as it was when saved"
        )
    params = [param for group in optimizer.param_groups for param in group["params"]]
    for index, (param, shape) in enumerate(zip(params, facts["shapes"], strict=True)):
        if list(param.shape) != shape:
            raise ValueError(
                f"{source}: the optimizer's parameter {index} has shape {tuple(shape)} in the checkpoint and "
                f"{tuple(param.shape)} here; build the optimizer as it was when saved"
            )


def _load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Set the state as it was. `Optimizer.load_state_dict` would cast fp32 moments of a bf16 parameter to bf16."""
    params: list[Tensor] = []
    counted_on_cpu: set[Tensor] = set()  # where PyTorch's own optimizers keep `step`, unless told otherwise
    for group, saved in zip(optimizer.param_groups, facts["param_groups"], strict=True):
        params += group["params"]
        if not (saved.get("capturable") or saved.get("fused")):
            counted_on_cpu.update(group["params"])
        for name in saved.keys() - {"params"}:
            was_tuple = isinstance(group.get(name), tuple)  # JSON knows lists only
            group[name] = tuple(saved[name]) if was_tuple else saved[name]
    optimizer.state.clear()
    for index, scalars in facts["scalars"].items():
        optimizer.state[params[int(index)]] = dict(scalars)
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        param = params[int(index)]
        on_cpu = key == "step" and param in counted_on_cpu
        placed = tensor if on_cpu or tensor.shape != param.shape else _placed_like(param, tensor)
        optimizer.state[param][key] = placed.to("cpu" if on_cpu else param.device, copy=True)


def _placed_like(target: Tensor, tensor: Tensor) -> Tensor:
    """Return a whole tensor as the share of it that this rank holds of the target."""
    if not isinstance(target, DTensor) or isinstance(tensor, DTensor):
        return tensor
    # every rank has read the same file: each takes its share, and nothing is sent
    tensor = tensor.to(target.device_mesh.device_type)
    return distribute_tensor(tensor, target.device_mesh, target.placements, src_data_rank=None)


def _class_name(optimizer: Optimizer) -> str:
    return f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"
