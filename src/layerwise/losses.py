"""What networks are asked to make small: cross-entropy, focal loss, squared error, Huber."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.train import Learn, backprop


def cross_entropy(network: nn.Module, **how: float | Tensor) -> Learn:
    """Back-propagation of the cross-entropy in nats between the network's logits and the labels, for `train`.

    `how` goes to `classification_loss`.

    Example:
        >>> import torch
        >>> cross_entropy(nn.Linear(4, 2))(torch.zeros(3, 4), torch.tensor([0, 1, 0])).shape
        torch.Size([])
    """
    loss = classification_loss("cross-entropy", **how)  # type: ignore[arg-type]
    return backprop(lambda x, y: loss(network(x), y))


def classification_loss(
    kind: str = "cross-entropy", *, smoothing: float = 0.0, focus: float = 2.0, weights: Tensor | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """What is made small: a function of logits (n, classes) and classes (n,) or shares (n, classes), in nats where it can be.

    Arguments:
        kind: "cross-entropy", "focal" (Lin et al., 2017: rows that are right already count less) or "squared error"
            between probabilities and one-hot classes.
        smoothing: Share of a label that is spread over all classes (Szegedy et al., 2016), in [0, 1).
        focus: The exponent of the focal loss, at least 0.
        weights: Of the classes, shape (classes,); None weighs all alike.

    Raises:
        ValueError: If there is no such loss, or a number is out of its range.

    Example:
        >>> import torch
        >>> classification_loss("focal", focus=0.0)(torch.zeros(1, 2), torch.tensor([0])).item()  # log 2
        0.693...
    """
    if kind not in ("cross-entropy", "focal", "squared error"):
        raise ValueError(f"A classifier's loss is cross-entropy, focal or squared error, not {kind!r}.")
    if not 0 <= smoothing < 1 or focus < 0:
        raise ValueError(f"smoothing lies in [0, 1) and focus is at least 0; got {smoothing} and {focus}.")

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        logits = logits.float()  # logits of shorter numbers are too coarse
        if kind == "cross-entropy":
            return F.cross_entropy(logits, y, weights, label_smoothing=smoothing)
        shares = y if y.ndim == 2 else F.one_hot(y, logits.shape[1]).to(logits.dtype)
        shares = shares * (1 - smoothing) + smoothing / logits.shape[1]
        log_p = logits.log_softmax(1)
        if kind == "focal":
            each = -(shares * (1 - log_p.exp()) ** focus * log_p)
        else:
            each = (log_p.exp() - shares).square()
        return (each if weights is None else each * weights).sum(1).mean()

    return loss


def regression_loss(kind: str = "squared error", *, delta: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss "squared error", or "huber" (Huber, 1964): squared up to `delta` and linear beyond,
    for targets with outliers.

    Raises:
        ValueError: If there is no such loss.

    Example:
        >>> import torch
        >>> regression_loss("huber")(torch.tensor([[3.0]]), torch.tensor([[0.0]])).item()
        2.5
    """
    if kind not in ("squared error", "huber"):
        raise ValueError(f"A regressor's loss is squared error or huber, not {kind!r}.")
    if kind == "huber":
        return lambda guess, y: F.huber_loss(guess.float(), y, delta=delta)
    return lambda guess, y: F.mse_loss(guess.float(), y)
