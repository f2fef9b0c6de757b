"""A recurrent net that reads a text symbol by symbol and tells the next one, and so can write: a language model.

It learns by truncated back-propagation through time (Williams & Peng, 1990): parallel streams read the text on and on, and
what the net remembers is carried from one window to the next, while gradients stop at its edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from layerwise.batches import Batches
from layerwise.starts import initialise

State = list[tuple[Tensor, Tensor]]  # per layer what it says and what it remembers, each (1, streams, units)

BLOCK = 1000  # symbols read at once where no gradient is wanted
STREAMS = 32  # that a quick look at held-out text is cut into at most
AHEAD = 16  # symbols that are written at once


class Reader(nn.Module):
    """LSTM layers (Hochreiter & Schmidhuber, 1997) between an embedding and a softmax over the next symbol.

    Arguments:
        vocabulary: Number of symbols.
        units: Of each LSTM layer, bottom first.
        embedding: Numbers that a symbol becomes.
        dropout: Of what each layer sends up, not of what it sends on in time (Zaremba et al., 2014).

    Example:
        >>> logits, state = Reader(9, (4,)).read(torch.ones(2, 5, dtype=torch.long))
        >>> logits.shape, state[0][1].shape
        (torch.Size([2, 5, 9]), torch.Size([1, 2, 4]))
    """

    def __init__(
        self, vocabulary: int, units: Sequence[int] = (512,), *, embedding: int = 64, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.units = tuple(units)
        self.input = nn.Embedding(vocabulary, embedding)
        for number, (below, wanted) in enumerate(zip((embedding, *units), units), start=1):
            self.add_module(f"layer{number}", nn.LSTM(below, wanted, batch_first=True))
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(self.units[-1], vocabulary)
        initialise(self)

    @property
    def layers(self) -> list[nn.LSTM]:
        """The recurrent layers, bottom first."""
        return [part for part in self.children() if isinstance(part, nn.LSTM)]

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the symbol after each, (n, steps, vocabulary), of ids, (n, steps); nothing is remembered before."""
        return self.read(ids)[0]

    def read(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The logits, and the state after the last step; None is the state before anything was read."""
        h, after = self.input(ids), State()
        for number, layer in enumerate(self.layers):
            h, kept = layer(h, None if state is None else state[number])
            h = self.dropout(h)
            after.append(kept)
        return self.output(h), after


class Carried(nn.Module):
    """A reader and what it remembers of each of the parallel streams: the module that `train` improves.

    The state is a buffer, so a checkpoint holds it, and a run taken up again reads on where it was.
    """

    def __init__(self, net: Reader, streams: int) -> None:
        super().__init__()
        self.net = net
        for number, units in enumerate(net.units, start=1):
            self.register_buffer(f"said{number}", torch.zeros(1, streams, units))
            self.register_buffer(f"kept{number}", torch.zeros(1, streams, units))

    def _pairs(self, streams: int) -> State:
        return [
            (self.get_buffer(f"said{number}")[:, :streams], self.get_buffer(f"kept{number}")[:, :streams])
            for number in range(1, len(self.net.units) + 1)
        ]

    def learn(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Leaves the gradient of the cross-entropy of one window, (streams, steps), and remembers; nats per symbol."""
        assert y is not None
        before = self._pairs(len(x))  # of several processes each has its share of the streams
        # Copies: the gradient still needs what the buffers held when they are written.
        logits, after = self.net.read(x, [(said.clone(), kept.clone()) for said, kept in before])
        loss = F.cross_entropy(logits.flatten(0, 1).float(), y.flatten())
        loss.backward()
        for old, new in zip(before, after):
            for buffer, value in zip(old, new):
                buffer.copy_(value.detach())
        return loss.detach()


class Streams(Batches):
    """A text for `size` readers who read it on and on, each from another place, `window` symbols at a time.

    The text is a ring: at its end a reader goes on at its beginning. An epoch is as many windows as there are in the text;
    where they begin depends on the number of the step only, so what is remembered stays true from one epoch to the next.

    Arguments:
        ids: Of the symbols, shape (n,), of which there are more than `window`.
        seed: Chooses where the first reader begins.

    Example:
        >>> x, y = next(iter(Streams(torch.arange(9), size=2, window=3).epoch(0)))
        >>> bool((y == (x + 1) % 9).all()), x.shape
        (True, torch.Size([2, 3]))
    """

    def __init__(
        self, ids: Tensor, *, size: int, window: int, seed: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(ids, size=size, seed=seed, device=device)
        self.window = window
        first = int(np.random.default_rng(seed).integers(len(ids)))
        self.starts = first + torch.arange(size) * len(ids) // size

    def __len__(self) -> int:
        return max(1, len(self.x) // (self.size * self.window))

    def _order(self, number: int, start: int) -> Iterator[Tensor]:
        for step in range(start, len(self)):
            yield self.starts + (number * len(self) + step) * self.window

    def __getitem__(self, starts: Tensor) -> tuple[Tensor, Tensor]:
        places = (starts[:, None] + torch.arange(self.window + 1)) % len(self.x)
        ids = self.x[places].to(self.device)
        return ids[:, :-1], ids[:, 1:]


@torch.inference_mode()
def surprise(net: Reader, ids: Tensor) -> Tensor:
    """Nats by which each symbol after the first surprises a reader of the whole text, shape (n - 1,), given ids, (n,)."""
    place, state, found = next(net.parameters()).device, None, []
    for start in range(0, len(ids) - 1, BLOCK):
        block = ids[start : start + BLOCK + 1].to(place)
        logits, state = net.read(block[None, :-1], state)
        found.append(F.cross_entropy(logits[0].float(), block[1:], reduction="none").cpu())
    return torch.cat(found)


@torch.inference_mode()
def glance(net: Reader, ids: Tensor, streams: int = STREAMS) -> float:
    """Nats per symbol of a text read by parallel readers, each of whom remembers nothing of what is before his part.

    Quicker than `surprise`, and a little higher.
    """
    parts = min(streams, max(1, len(ids) // BLOCK))
    rows = ids[: len(ids) // parts * parts].view(parts, -1).to(next(net.parameters()).device)
    state, total = None, 0.0
    for start in range(0, rows.shape[1] - 1, BLOCK):
        block = rows[:, start : start + BLOCK + 1]
        logits, state = net.read(block[:, :-1], state)
        total += F.cross_entropy(logits.flatten(0, 1).float(), block[:, 1:].flatten(), reduction="sum").item()
    return total / (parts * (rows.shape[1] - 1))


class Stepper:
    """A reader taken one symbol at a time, as fast as one core can: what `Reader.read` computes, in plain NumPy.

    A step is a product of a matrix with a vector per layer; calls of modules would take longer than that. The lowest
    layer's product with the embedding is a table with a line for each symbol, made once. The sigmoid is a tanh,
    1 / (1 + exp(-a)) = (1 + tanh(a / 2)) / 2, so that one call serves all gates: their halves are in the weights.
    It is `dot` and not @, which now and then warns of numbers beyond the end of a row that are no part of the product.

    Example:
        >>> Stepper(Reader(9, (4,)))(3).shape
        (9,)
    """

    def __init__(self, net: Reader) -> None:
        weights = {name: value.detach().cpu().float().numpy() for name, value in net.state_dict().items()}
        self.layers: list[tuple[np.ndarray, np.ndarray]] = []
        for number, units in enumerate(net.units, start=1):
            up, on, bias, more = (
                weights[f"layer{number}.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            half = np.repeat(
                np.array([0.5, 0.5, 1.0, 0.5], np.float32), units
            )  # input, forget, candidate and output gate
            bias = (bias + more) * half
            if number == 1:
                self.table = (weights["input.weight"] @ up.T) * half + bias
                self.layers.append((np.ascontiguousarray(on * half[:, None]), bias))
            else:
                self.layers.append((np.concatenate([up, on], 1) * half[:, None], bias))
        self.weight, self.bias = weights["output.weight"], weights["output.bias"]
        self.said = [np.zeros(units, np.float32) for units in net.units]
        self.kept = [np.zeros(units, np.float32) for units in net.units]

    def __call__(self, symbol: int) -> np.ndarray:
        """Reads one symbol; the logits of the next, shape (vocabulary,)."""
        for number, (weight, bias) in enumerate(self.layers):
            said, kept = self.said[number], self.kept[number]
            if number == 0:
                gates = weight.dot(said)
                gates += self.table[symbol]
            else:
                gates = weight.dot(np.concatenate([self.said[number - 1], said]))
                gates += bias
            np.tanh(gates, out=gates)
            enter, forget, candidate, leave = gates.reshape(4, -1)
            kept *= 0.5 * (1 + forget)
            kept += 0.5 * (1 + enter) * candidate
            np.multiply(np.tanh(kept), 0.5 * (1 + leave), out=said)
        return self.weight.dot(self.said[-1]) + self.bias


def continuation(
    stepper: Stepper, start: Sequence[int], length: int, temperature: float, seed: int, never: int = 0
) -> Iterator[int]:
    """`length` symbols that follow `start`, each drawn from softmax(logits / temperature); 0 takes the likeliest.

    The first `never` symbols are left out. It runs on one thread, as products this small take longer on two; because setting
    that takes as long as a quarter of a step, it is set for `AHEAD` symbols at once.
    """
    random, threads = np.random.default_rng(seed), ThreadpoolController()
    with threads.limit(limits=1):
        for symbol in start[:-1]:
            stepper(symbol)
    symbol = start[-1]
    for written in range(0, length, AHEAD):
        block = []
        with threads.limit(limits=1):
            for _ in range(min(AHEAD, length - written)):
                symbol = _drawn(stepper(symbol), temperature, random, never)
                block.append(symbol)
        yield from block


def _drawn(logits: np.ndarray, temperature: float, random: np.random.Generator, never: int) -> int:
    """One symbol; `continuation` says how."""
    wide = logits[never:].astype(np.float64)
    if temperature == 0:
        return never + int(wide.argmax())
    with np.errstate(over="ignore"):  # at temperatures near 0 all but the likeliest go to exp(-inf)
        odds = np.exp((wide - wide.max()) / temperature).cumsum()
    drawn = np.searchsorted(odds, random.random() * odds[-1], side="right")
    return never + min(int(drawn), len(odds) - 1)
