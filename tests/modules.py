"""Networks as their users write them: nothing of this library is in them."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Convolutional(nn.Module):
    """Functional rectifiers, a residual sum, and dropout."""

    def __init__(self, outputs: int = 10) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(6 * 4 * 4, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = F.relu(x + self.second(x), inplace=True)
        return self.head(self.dropout(F.max_pool2d(x, 2)).flatten(1))


class Block(nn.Module):
    """A transformer block with a causal mask."""

    def __init__(self, width: int, causal: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        steps = x.shape[1]
        mask = torch.ones(steps, steps, dtype=torch.bool).triu(1) if self.causal else None
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.norms[1](x))


class Writer(nn.Module):
    """A small GPT: from symbols to scores of the next symbol at every step, as a mapping."""

    def __init__(self, symbols: int = 12, width: int = 8, steps: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.place = nn.Parameter(torch.randn(steps, width))
        self.blocks = nn.ModuleList([Block(width, True), Block(width, True)])
        self.head = nn.Linear(width, symbols)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        x = self.embed(tokens) + self.place[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return {"logits": self.head(x)}


class Reader(Writer):
    """The same, that gives the whole row a class."""

    def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(tokens)["logits"].mean(1)


class Bag(nn.Module):
    """The mean of the embeddings of a row's symbols, wherever they stand."""

    def __init__(self, symbols: int = 12, width: int = 8) -> None:
        super().__init__()
        self.bag, self.act, self.head = nn.EmbeddingBag(symbols, width), nn.Tanh(), nn.Linear(width, symbols)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.act(self.bag(tokens)))


class Patches(nn.Module):
    """A small transformer for pictures of 8 x 8."""

    def __init__(self, width: int = 8, outputs: int = 10) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, stride=2)
        self.place = nn.Parameter(torch.randn(17, width))
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.blocks = nn.ModuleList([Block(width, False), Block(width, False)])
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0])


@dataclasses.dataclass(frozen=True)
class Answer:
    """As libraries of transformers give them."""

    logits: Tensor
    hidden: Tensor


class Labelled(nn.Module):
    """A layer that is used again, places that are declared before the symbols, and an answer in a dataclass."""

    def __init__(self, symbols: int = 12, width: int = 8, steps: int = 16) -> None:
        super().__init__()
        self.place, self.embed = nn.Embedding(steps, width), nn.Embedding(symbols + steps, width)
        self.mix, self.act, self.head = nn.Linear(width, width), nn.ReLU(), nn.Linear(width, symbols)

    def forward(self, tokens: Tensor) -> Answer:
        x = self.embed(tokens) + self.place(torch.arange(tokens.shape[1]))
        for _ in range(2):
            x = x + self.act(self.mix(x))
        return Answer(self.head(x.mean(1)), x)


class Logarithm(nn.Module):
    """Its second layer answers NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 8)
        self.second = nn.Linear(8, 6)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.second(x.abs().neg().log())
