"""Which rows excite a unit most, as usual, and hardly at all?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Examples:
    """Rows to show for a unit, so that its strongest ones are not taken for what it usually does.

    Arguments:
        strongest, typical, weakest: Indices of rows: with its largest states, with states nearest to the median of those
            that switch it on, and with states nearest to 0. Each nearest first.
        states: The states of all those rows, by kind, in the same order.
        active: Share of the rows that switch it on: whose state is above a hundredth of its largest magnitude.
    """

    strongest: list[int]
    typical: list[int]
    weakest: list[int]
    states: dict[str, list[float]]
    active: float


def examples(states: Tensor, count: int = 8) -> Examples:
    """Strongest, typical and near-zero rows of one unit.

    Arguments:
        states: Of the unit, shape (n,).
        count: Rows of each kind at most.

    Raises:
        ValueError: If there are no rows.

    Example:
        >>> import torch
        >>> found = examples(torch.tensor([0.0, 5.0, 1.0, 2.0, 9.0]), count=1)
        >>> found.strongest, found.typical, found.weakest, found.active
        ([4], [3], [0], 0.8)
    """
    if not len(states):
        raise ValueError("There are no rows to show.")
    size = states.abs()
    on = states > 0.01 * size.max()
    middle = states[on].median() if on.any() else states.median()
    orders = {
        "strongest": states.argsort(descending=True, stable=True),
        "typical": (states - middle).abs().argsort(stable=True),
        "weakest": size.argsort(stable=True),
    }
    rows = {kind: order[:count].tolist() for kind, order in orders.items()}
    return Examples(
        **rows, states={kind: states[at].tolist() for kind, at in rows.items()}, active=int(on.sum()) / len(on)
    )
