"""What do the units of a layer look for in the input?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def project(weights: Sequence[Tensor], units: Sequence[int] | None = None) -> Tensor:
    r"""Weights of a layer's units, brought down to the input: :math:`W_1 W_2 \cdots W_k`, one row per unit.

    The filters of the layer below, added up with the unit's weights (Lee, Ekanadham & Ng, 2008; Erhan et al., 2009,
    section 3.2). It leaves out what the activations between the layers do: it is the derivative of the unit by the input
    in a net without them. For the lowest layer it is its weights.

    Arguments:
        weights: Of the layers from the lowest up to the wanted one, each of shape (inputs, units).
        units: Which units of the last layer; None for all.

    Returns:
        Shape (units asked for, inputs of the lowest layer).

    Raises:
        ValueError: If there is no layer, or the sizes do not meet.

    Example:
        >>> project([torch.ones(3, 2), torch.tensor([[1.0, 0.0], [1.0, -1.0]])])
        tensor([[ 2.,  2.,  2.],
                [-1., -1., -1.]])
    """
    if not weights:
        raise ValueError("There is no layer to project: give the weights of at least one.")
    for number, (lower, upper) in enumerate(zip(weights, weights[1:], strict=False), start=1):
        if lower.shape[1] != upper.shape[0]:
            raise ValueError(
                f"Layer {number} has {lower.shape[1]} units, but the weights above it take {upper.shape[0]}. "
                "Give them bottom first, each of shape (inputs, units)."
            )
    picture = weights[-1] if units is None else weights[-1][:, list(units)]
    for weight in reversed(weights[:-1]):  # from the few units asked for downwards: never a product of two whole layers
        picture = weight @ picture
    return picture.T.contiguous()


def strongest_units(weight: Tensor, count: int) -> list[int]:
    """The `count` units (all, if there are fewer) with the longest vectors of incoming weights, longest first.

    Arguments:
        weight: Shape (inputs, units).

    Example:
        >>> strongest_units(torch.tensor([[1.0, -3.0, 2.0]]), 2)
        [1, 2]
    """
    return torch.argsort(weight.norm(dim=0), descending=True, stable=True)[:count].tolist()
