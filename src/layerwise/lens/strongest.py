"""Which rows excite a unit most?"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def strongest_rows(codes: Tensor, units: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """For each of `units` the rows with its largest states, largest first (equal ones in the order of the rows).

    Arguments:
        codes: Shape (n, units of the layer).
        units: Which of them.
        count: Rows per unit; all, if there are fewer.

    Returns:
        Indices and states, both of shape (len(units), min(count, n)).

    Example:
        >>> import torch
        >>> rows, states = strongest_rows(torch.tensor([[0.1], [0.9], [0.5]]), [0], 2)
        >>> rows.tolist(), states.tolist()
        ([[1, 2]], [[0.8999999761581421, 0.5]])
    """
    chosen = codes[:, list(units)].T
    order = chosen.argsort(dim=1, descending=True, stable=True)[:, :count]
    return order, chosen.gather(1, order)
