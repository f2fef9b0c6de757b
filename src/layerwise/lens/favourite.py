"""Which input does a unit like best? Found by gradient ascent from several starts, which may or may not agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.lens.passes import check_units, frozen, in_graph

STEP = 0.15  # of the range, per step, as the root mean square of the change
MOMENTUM = 0.8
PLACES = 0.25  # of a layer's places count: over all of them the mean of a linear filter is highest in a flat picture
PIXELS = 0.4  # standard deviation of the blur of a picture after each step: it keeps single pixels from standing out


@dataclass(frozen=True)
class Favourite:
    """Inputs that a unit likes, one per start, best first.

    Arguments:
        inputs: Shape ``(starts, *shape)``.
        states: The unit's state for each, shape (starts,): for a layer with places the largest of them.
        agreement: Mean correlation of all pairs of inputs, in [-1, 1]: near 1 there is one favourite, near 0 each start found
            its own, and none of them is "the" input that the unit likes. For a layer with places pictures may be shifted to
            correlate most, as patterns that repeat may begin anywhere; 0 is what the random starts have then.
        random: The unit's largest state for as many random inputs of the same kind, so smooth as the starts.
        stuck: How many starts never moved, since no gradient came: a unit that is off, or flat, there.
    """

    inputs: Tensor
    states: Tensor
    agreement: float
    random: float
    stuck: int


@dataclass(frozen=True)
class Manner:
    """How pictures are kept legible. All lengths are shares of the picture, so that 28 x 28 looks like 224 x 224.

    Arguments:
        blur: Standard deviation of the blur that the gradient goes through, at the start; it falls to a half.
        jitter: How far the picture is shifted at random before each step, either way.
        variation: Weight of the total variation's gradient beside that of the unit, both of length 1.
        steps: Of gradient ascent.
    """

    blur: float = 0.04
    jitter: float = 0.05
    variation: float = 0.25
    steps: int = 120


PLAIN = Manner(blur=0.0, jitter=0.0, variation=0.0)


def favourites(
    module: nn.Module,
    layer: str,
    unit: int,
    shape: Sequence[int],
    *,
    low: float | None = None,
    high: float | None = None,
    norm: float | None = None,
    picture: Sequence[int] | None = None,
    manner: Manner | None = None,
    starts: int = 9,
    seed: int = 0,
) -> Favourite:
    """Gradient ascent on the input (Erhan et al., 2009, section 3.1), regularised where the input is a picture.

    Of a layer with places the mean over the quarter of them where the unit is most on is raised, so that a filter shows the
    pattern it answers to, over and over.

    Every step goes equally far along the unit's gradient, with momentum. For pictures the gradient of the total variation is
    taken off it (Mahendran & Vedaldi, 2015), the input is shifted at random before each step, and the gradient goes through a
    blur before its length is set (Olah et al., 2017: shifts, and coarse before fine). To blur the input itself after each step,
    as Yosinski et al. (2015) do, is kept to single pixels: more of it leaves nothing where the gradient is fine beside the
    picture, as in nets for 224 x 224.

    Arguments:
        module: Any module that takes rows.
        layer, unit: Which unit; one before its activation has a gradient everywhere.
        shape: Of one row, as the module takes it.
        low, high: The range of the data: the input stays inside. Together, or neither.
        norm: Length that the input is kept at, as in Erhan et al. (2009); at least one of range and norm is needed.
        picture: (H, W) or (C, H, W) that a row lays out; None if it is no picture.
        manner: How pictures are kept legible; None for the usual for pictures, and for plain ascent for other rows.
        starts: From how many random inputs, at least 2.
        seed: Of the starts and the jitter.

    Raises:
        ValueError: As `layerwise.lens.stream`, for no such unit, or a range, norm, picture or number of starts that makes no
            sense.

    Example:
        >>> net = nn.Linear(3, 1)
        >>> net.weight.data = torch.tensor([[0.0, 3.0, 4.0]])
        >>> found = favourites(net, "", 0, (3,), norm=1.0)
        >>> [round(abs(value), 2) for value in found.inputs[0].tolist()], found.agreement > 0.99
        ([0.0, 0.6, 0.8], True)
    """
    return favourites_of(
        module, layer, [unit], shape, low=low, high=high, norm=norm, picture=picture, manner=manner, starts=starts, seed=seed
    )[0]  # fmt: skip


def favourites_of(
    module: nn.Module,
    layer: str,
    units: Sequence[int],
    shape: Sequence[int],
    *,
    low: float | None = None,
    high: float | None = None,
    norm: float | None = None,
    picture: Sequence[int] | None = None,
    manner: Manner | None = None,
    starts: int = 9,
    seed: int = 0,
) -> list[Favourite]:
    """`favourites` of several units of a layer at once: each starts from the same inputs, as it would alone.

    Example:
        >>> net = nn.Linear(3, 2)
        >>> [len(each.inputs) for each in favourites_of(net, "", [0, 1], (3,), norm=1.0, starts=4)]
        [4, 4]
    """
    place = _Place.of(tuple(shape), low, high, norm, None if picture is None else tuple(picture))
    if starts < 2:
        raise ValueError(f"Whether starts agree takes at least 2 of them, got {starts}.")
    manner = manner or (PLAIN if picture is None else Manner())
    chance = torch.Generator().manual_seed(seed)
    begin = place.random(starts, chance).repeat(len(units), 1, 1, 1)
    score = _Units(module, layer, [unit for unit in units for _ in range(starts)], place)
    with frozen(module):
        x = _climb(score, begin, manner, chance)
        states, before = score(x), score(place.random(starts, chance).repeat(len(units), 1, 1, 1))
    parts = (values.split(starts) for values in (x, begin, states, before))
    shifted = place.pictured and score.places > 1
    return [_favourite(a, b, c, d, tuple(shape), shifted) for a, b, c, d in zip(*parts, strict=True)]


def _favourite(
    x: Tensor, begin: Tensor, states: Tensor, before: Tensor, shape: tuple[int, ...], shifted: bool
) -> Favourite:
    order = states.argsort(descending=True, stable=True)
    stuck = int((x == begin).flatten(1).all(1).sum())
    agreement, chance = (_agreement(each, shifted) for each in (x, begin))
    if shifted:
        agreement = max(0.0, (agreement - chance) / (1 - chance))
    return Favourite(x[order].view(len(x), *shape), states[order], agreement, float(before.max()), stuck)


@dataclass(frozen=True)
class _Place:
    """Where the inputs may be: a box, a sphere, or both; as pictures (n, channels, height, width), or rows (n, 1, 1, size)."""

    shape: tuple[int, ...]
    low: float
    high: float
    norm: float | None
    layout: tuple[int, int, int]
    pictured: bool

    @classmethod
    def of(
        cls,
        shape: tuple[int, ...],
        low: float | None,
        high: float | None,
        norm: float | None,
        picture: tuple[int, ...] | None,
    ) -> _Place:
        if (low is None) != (high is None) or (low is None and norm is None):
            raise ValueError(
                "Say where the input may be: low and high of the data, or its norm. Without it has no largest state."
            )
        if low is not None and high is not None and not low < high:
            raise ValueError(f"The range needs low < high, got [{low:g}, {high:g}].")
        if norm is not None and not norm > 0:
            raise ValueError(f"The norm must be above 0, got {norm:g}.")
        if picture is not None and (len(picture) not in (2, 3) or math.prod(picture) != math.prod(shape)):
            raise ValueError(f"A picture is (H, W) or (C, H, W) with as many values as a row {shape}, got {picture}.")
        channels, height, width = (1, 1, math.prod(shape)) if picture is None else (1, *picture)[-3:]
        box = (-math.inf, math.inf) if low is None or high is None else (low, high)
        return cls(shape, *box, norm, (channels, height, width), picture is not None)

    @property
    def span(self) -> float:
        """How far values may lie apart; on a sphere, their root mean square."""
        if math.isfinite(self.high):
            return self.high - self.low
        return (self.norm or 1.0) / math.sqrt(math.prod(self.shape))

    def random(self, count: int, chance: torch.Generator) -> Tensor:
        """Noise about the middle of the range; for pictures so smooth that a quarter of its pixels would hold it."""
        channels, height, width = self.layout
        if self.pictured:
            coarse = torch.randn(count, channels, math.ceil(height / 4), math.ceil(width / 4), generator=chance)
            noise = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
        else:
            noise = torch.randn(count, *self.layout, generator=chance)
        middle = (self.high + self.low) / 2 if math.isfinite(self.high) else 0.0
        return self.inside(middle + 0.15 * self.span * noise)

    def inside(self, x: Tensor) -> Tensor:
        """The nearest input that may be."""
        if self.norm is not None:
            x = x * (self.norm / x.flatten(1).norm(dim=1).clamp_min(1e-12))[:, None, None, None]
        return x.clamp(self.low, self.high)


class _Units:
    """The states of units, one per input, for inputs laid out by a place."""

    def __init__(self, module: nn.Module, layer: str, units: list[int], place: _Place) -> None:
        self.module, self.layer, self.units, self.place = module, layer, units, place
        self.places = 1

    def in_graph(self, x: Tensor) -> Tensor:
        """What is raised, shape (n,)."""
        states = self._states(x)
        return states.topk(math.ceil(PLACES * self.places), 1).values.mean(1)

    def __call__(self, x: Tensor) -> Tensor:
        return self._states(x).amax(1).detach().float().cpu()

    def _states(self, x: Tensor) -> Tensor:
        (found,) = in_graph(self.module, [self.layer], x.reshape(len(x), *self.place.shape))
        states = found.states
        check_units(self.units, states.shape[1], self.layer)
        self.places = states.shape[2]
        return states[torch.arange(len(states)), self.units]


def _climb(unit: _Units, x: Tensor, manner: Manner, chance: torch.Generator) -> Tensor:
    speed = torch.zeros_like(x)
    place = unit.place
    reach = [round(manner.jitter * size) for size in place.layout[1:]] if place.pictured else [0, 0]
    for step in range(manner.steps):
        shift = tuple(int(torch.randint(-far, far + 1, (), generator=chance)) for far in reach)
        seen = x.roll(shift, (2, 3)).requires_grad_()
        score = unit.in_graph(seen).sum()
        (up,) = torch.autograd.grad(score, seen, allow_unused=True) if score.requires_grad else (None,)
        if up is None:
            raise ValueError(f"No gradient leads from {unit.layer!r} to the rows, as where they are symbols.")
        moves = up.flatten(1).norm(dim=1) > 0
        share = step / manner.steps
        up = up.roll((-shift[0], -shift[1]), (2, 3))
        spreads = [manner.blur * (1 - 0.5 * share) * size for size in place.layout[1:]]
        if manner.blur and place.pictured:  # before its length is set to 1: what is fine must not use the length up
            up = _blurred(up, spreads)
        up = _of_length_one(up)
        if manner.variation and place.pictured:
            up = up - manner.variation * _of_length_one(_variation_slope(x))
        speed = MOMENTUM * speed + (1 - MOMENTUM) * up * math.sqrt(up[0].numel())
        ahead = x + STEP * place.span * (1 - share) * speed
        if manner.blur and place.pictured:
            ahead = _blurred(ahead, [PIXELS, PIXELS])
        x = torch.where(moves[:, None, None, None], place.inside(ahead), x)
    return x.detach()


def _of_length_one(x: Tensor) -> Tensor:
    return x / x.flatten(1).norm(dim=1).clamp_min(1e-20)[:, None, None, None]


def _variation_slope(x: Tensor) -> Tensor:
    """Gradient of the sum of squared differences of neighbours."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    around = padded[:, :, :-2, 1:-1] + padded[:, :, 2:, 1:-1] + padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:]
    return 4 * x - around


def _blurred(x: Tensor, spreads: Sequence[float]) -> Tensor:
    """By a Gaussian of these standard deviations in pixels down and across, borders repeated."""
    for axis, spread in ((2, spreads[0]), (3, spreads[1])):
        reach = min(math.ceil(3 * spread), x.shape[axis] - 1)
        at = torch.arange(-reach, reach + 1, dtype=x.dtype)
        kernel = torch.exp(-(at**2) / (2 * max(spread, 1e-6) ** 2))
        size = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
        pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        weight = (
            (kernel / kernel.sum()).view(size).expand(x.shape[1], 1, *([len(at), 1] if axis == 2 else [1, len(at)]))
        )
        x = F.conv2d(F.pad(x, pad, mode="replicate"), weight, groups=x.shape[1])
    return x


def _agreement(x: Tensor, shifted: bool) -> float:
    """Mean correlation of all pairs of inputs, shape (n, channels, height, width); each shifted as suits it best, if it may."""
    x = x.double() - x.double().mean((1, 2, 3), keepdim=True)
    x = x / x.flatten(1).norm(dim=1).clamp_min(1e-300)[:, None, None, None]
    if shifted:
        waves = torch.fft.rfft2(x)
        across = (waves[:, None] * waves.conj()).sum(2)  # correlations of all shifts at once, round the ends
        pairs = torch.fft.irfft2(across, s=x.shape[2:]).flatten(2).amax(2)
    else:
        pairs = x.flatten(1) @ x.flatten(1).T
    count = len(x)
    return float((pairs.sum() - pairs.diagonal().sum()) / (count * (count - 1)))
