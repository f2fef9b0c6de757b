"""What do the layers of a module answer to rows of data? For any torch module, by forward hooks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def capture(module: nn.Module, names: Sequence[str], rows: Tensor, *, size: int = 500) -> dict[str, Tensor]:
    """Outputs of the named sub-modules, each of shape (n, units), float32 on the CPU.

    The module runs in evaluation mode, `size` rows at a time, on its own device, and is left as it was found.

    Arguments:
        module: Any module that takes rows.
        names: Of sub-modules, as `module.named_modules()` has them.
        rows: Shape (n, ...), n >= 1.

    Raises:
        ValueError: If there is no sub-module of that name, or one was not called or gave no tensor.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid())
        >>> capture(net, ["1"], torch.rand(4, 3))["1"].shape
        torch.Size([4, 2])
    """
    parts = dict(module.named_modules())
    if unknown := [name for name in names if name not in parts]:
        known = ", ".join(name for name in parts if name)
        raise ValueError(f"The module has no part {unknown[0]!r}. It has: {known}.")
    place = next((p.device for p in module.parameters()), torch.device("cpu"))
    seen: dict[str, list[Tensor]] = {name: [] for name in names}
    hooks = [parts[name].register_forward_hook(_keep_in(seen[name])) for name in names]
    training = module.training
    module.eval()
    try:
        for batch in rows.split(size):
            module(batch.to(place))
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    if silent := [name for name, outputs in seen.items() if not outputs]:
        raise ValueError(
            f"{silent[0]!r} gave no tensor when the module ran: it is not on the way up, or answers otherwise."
        )
    return {name: torch.cat(outputs) for name, outputs in seen.items()}


def _keep_in(outputs: list[Tensor]):  # type: ignore[no-untyped-def]  # torch's hook type is not public
    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            outputs.append(output.detach().flatten(1).float().cpu())

    return hook


def linear_weights(module: nn.Module) -> dict[str, Tensor]:
    """The weights, shape (inputs, units), of the stages of a net whose every child holds just one linear map.

    Raises:
        ValueError: If a stage holds none or several, so that "its" weights mean nothing.

    Example:
        >>> net = nn.Sequential(nn.Sequential(nn.Linear(3, 2), nn.Tanh()), nn.Linear(2, 1))
        >>> {name: tuple(weight.shape) for name, weight in linear_weights(net).items()}
        {'0': (3, 2), '1': (2, 1)}
    """
    found = {}
    for name, stage in module.named_children():
        linear = [part for part in stage.modules() if isinstance(part, nn.Linear)]
        if len(linear) != 1:
            raise ValueError(
                f"Stage {name!r} holds {len(linear)} linear maps. Group the net so that each stage holds one."
            )
        found[name] = linear[0].weight.detach().T
    return found
