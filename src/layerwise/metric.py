"""Losses by which an embedding learns to tell people, speakers or things apart, also those that it never met.

Each is a module: called with embeddings, shape (n, size), and codes of who they are, shape (n,), it gives the mean loss, shape
(). Two keep a direction per person while they learn, which is of no use afterwards; two compare the rows of a batch with
each other, and look only at rows whose person is in the batch more than once.
"""

from __future__ import annotations

import abc
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FAR = 1e4  # taken off what must not be chosen


class EmbeddingLoss(nn.Module, abc.ABC):
    """A mean loss of embeddings; computed in float32 whatever they come in: angles of shorter numbers are too coarse."""

    def forward(self, e: Tensor, y: Tensor) -> Tensor:
        """The loss, shape (), of embeddings, shape (n, size), of the people y, shape (n,), from 0."""
        with torch.autocast(e.device.type, enabled=False):
            return self.measure(e.float(), y)

    @abc.abstractmethod
    def measure(self, e: Tensor, y: Tensor) -> Tensor:
        """The same, of float32 embeddings."""


class Softmax(EmbeddingLoss):
    """Cross-entropy of a linear classifier of the people on the embedding.

    Arguments:
        size: Numbers of an embedding.
        people: How many there are.

    Example:
        >>> loss = Softmax(2, 3)
        >>> loss(torch.zeros(4, 2), torch.tensor([0, 1, 2, 0])).item()  # log 3: nothing is known yet
        1.098...
    """

    def __init__(self, size: int, people: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(people, size) / math.sqrt(size))

    def measure(self, e: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(e @ self.weight.T, y)


class ArcFace(EmbeddingLoss):
    """Cross-entropy of cosines between embedding and a direction per person, the own one `margin` further away
    (Deng et al., 2019, equation 3).

    Arguments:
        margin: Radians added to the angle to one's own direction, in [0, pi); 0 is the normalised softmax.
        scale: What cosines are multiplied with; above 0.

    Example:
        >>> loss = ArcFace(2, 2, margin=0.0, scale=1.0)
        >>> _ = loss.weight.data.copy_(torch.eye(2))
        >>> loss(torch.tensor([[9.0, 0.0]]), torch.tensor([0])).item()  # log(1 + exp(-1)): how long it is does not count
        0.313...
    """

    def __init__(self, size: int, people: int, margin: float = 0.4, scale: float = 10.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(people, size) / math.sqrt(size))
        self.margin, self.scale = margin, scale

    def measure(self, e: Tensor, y: Tensor) -> Tensor:
        cosine = F.normalize(e) @ F.normalize(self.weight).T
        angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos()  # at the ends the slope of acos is infinite
        own = F.one_hot(y, len(self.weight)).bool()
        further = (angle + self.margin).clamp(max=math.pi).cos()
        return F.cross_entropy(self.scale * torch.where(own, further, cosine), y)


class Prototypical(EmbeddingLoss):
    """Cross-entropy of cosines between an embedding and the mean of each person of the batch, its own mean without
    itself (Snell et al., 2017, section 2; with cosines, every row being a query once).

    Arguments:
        scale: What cosines are multiplied with; above 0.

    Example:
        >>> e = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
        >>> Prototypical(scale=1.0)(e, torch.tensor([0, 0, 1, 1])).item()  # log(1 + exp(-1))
        0.313...
    """

    def __init__(self, scale: float = 16.0) -> None:
        super().__init__()
        self.scale = scale

    def measure(self, e: Tensor, y: Tensor) -> Tensor:
        e = F.normalize(e)
        member = (y[:, None] == y.unique()[None]).to(e.dtype)
        others = member.sum(0) - member  # rows of each person, without this one
        sums = (member.T @ e)[None] - member[:, :, None] * e[:, None]
        logits = self.scale * (F.normalize(sums, dim=-1) * e[:, None]).sum(-1)
        logits = logits.masked_fill(others == 0, -FAR)
        asked = (others * member).sum(1) > 0
        return _mean(F.cross_entropy(logits, member.argmax(1), reduction="none"), asked)


class Triplet(EmbeddingLoss):
    """Of each row, the furthest of its own person must be nearer than the nearest of another, by a margin
    (Hermans et al., 2017, "batch hard", with a soft margin). Distances are those between embeddings of length 1.

    Arguments:
        margin: How much nearer, at least 0; distances are at most 2.
        scale: How sharply the margin is kept; above 0.

    Example:
        >>> e = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
        >>> Triplet(margin=0.0)(e, torch.tensor([0, 0, 1])).item() < 1e-6
        True
    """

    def __init__(self, margin: float = 0.2, scale: float = 16.0) -> None:
        super().__init__()
        self.margin, self.scale = margin, scale

    def measure(self, e: Tensor, y: Tensor) -> Tensor:
        e = F.normalize(e)
        apart = (2 - 2 * e @ e.T).clamp_min(1e-6).sqrt()
        same = y[:, None] == y[None]
        partner = same & ~torch.eye(len(y), dtype=torch.bool, device=y.device)
        furthest = apart.masked_fill(~partner, 0.0).amax(1)
        nearest = apart.masked_fill(same, FAR).amin(1)
        asked = partner.any(1) & ~same.all(1)
        return _mean(F.softplus(self.scale * (furthest - nearest + self.margin)) / self.scale, asked)


def _mean(each: Tensor, asked: Tensor) -> Tensor:
    """Mean over the rows asked; 0, with a gradient, where there are none."""
    return torch.where(asked, each, 0.0).sum() / asked.sum().clamp_min(1)


LOSSES: dict[str, type[EmbeddingLoss]] = {
    "softmax": Softmax, "arcface": ArcFace, "prototypical": Prototypical, "triplet": Triplet,
}  # fmt: skip


def embedding_loss(kind: str, size: int, people: int, **how: float) -> EmbeddingLoss:
    """The loss of that name for embeddings of `size` numbers and so many people; `how` goes to it (margin, scale).

    Raises:
        ValueError: If there is none, or it has no such setting.

    Example:
        >>> embedding_loss("arcface", 8, 3, margin=0.5).margin
        0.5
    """
    if kind not in LOSSES:
        raise ValueError(f"An embedding learns by one of {', '.join(LOSSES)}, not by {kind!r}.")
    if how.get("scale", 1.0) <= 0 or not 0 <= how.get("margin", 0.0) < math.pi:
        raise ValueError(f"scale is above 0 and margin in [0, pi), got {how}.")
    try:
        return LOSSES[kind](size, people, **how) if kind in ("softmax", "arcface") else LOSSES[kind](**how)
    except TypeError as error:
        raise ValueError(f"The loss {kind!r} has no such setting: {error}.") from error
