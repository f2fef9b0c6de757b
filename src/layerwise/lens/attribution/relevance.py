"""Maps made by handing relevance down, operation by operation: LRP and DeepLift, for any network that has rules for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from layerwise.lens.attribution import linear, nonlinear  # noqa: F401  (their rules join the table)
from layerwise.lens.attribution.layers import Convolution, Layer
from layerwise.lens.attribution.method import Found, Method, parts
from layerwise.lens.attribution.norms import factor_and_shift
from layerwise.lens.attribution.rules import Way, back
from layerwise.lens.attribution.tape import Operation, Path, Tape, record
from layerwise.lens.question import Question

GATES = ("softmax", "_softmax", "_safe_softmax", "sigmoid", "hardsigmoid", "rsqrt", "reciprocal", "sqrt", "std",
         "linalg_vector_norm")  # fmt: skip
MOVES = (
    "view", "_unsafe_view", "reshape", "expand", "permute", "transpose", "t", "squeeze", "unsqueeze", "select",
    "slice", "split", "split_with_sizes", "unsafe_split", "unbind", "clone", "alias", "detach", "index", "repeat",
)  # fmt: skip
PASSES = (  # what is made of gates only is a gate again
    *MOVES, "add", "sub", "mul", "div", "neg", "clamp", "clamp_min", "where", "masked_fill", "native_dropout",
)  # fmt: skip


# -- LRP ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """Relevance shared out in proportion to contributions :math:`x_i w_{ij}` with other weights.

    Arguments:
        relevance: To share out, in the shape of the layer's output.
        rising: Weights where x is positive.
        falling: Weights where x is negative.
        bias: Its contribution, one number per unit; None for none.
    """

    relevance: Tensor
    rising: Tensor
    falling: Tensor
    bias: Tensor | None


class Rule:
    """How a layer with weights shares the relevance of its units out among what goes into it."""

    stabiliser = 1e-9

    def shares(self, layer: Layer, relevance: Tensor) -> list[Share]:
        """The shares, which add up to the relevance."""
        raise NotImplementedError


@dataclass(frozen=True)
class Epsilon(Rule):
    r"""In proportion to the contributions, :math:`x_i w_{ij} / (y_j + \epsilon\,\mathrm{sign}\,y_j)` (Bach et al., 2015).

    Arguments:
        epsilon: Absorbs relevance where contributions cancel; 0 makes it gradient times input in a ReLU net.
    """

    epsilon: float = 1e-6


@dataclass(frozen=True)
class Gamma(Rule):
    """As `Epsilon`, but contributions of the sign of the unit count 1 + gamma times (Montavon et al., 2019; Andéol et al.,
    2023, for inputs and units of both signs).
    """

    gamma: float = 0.25

    def shares(self, layer: Layer, relevance: Tensor) -> list[Share]:
        """One for units above zero, one for those below."""
        w, b, g = layer.weight, layer.bias, self.gamma
        more, less = w + g * w.clamp_min(0), w + g * w.clamp_max(0)
        rise = None if b is None else b + g * b.clamp_min(0)
        fall = None if b is None else b + g * b.clamp_max(0)
        above = layer.y > 0
        return [Share(relevance * above, more, less, rise), Share(relevance * ~above, less, more, fall)]


@dataclass(frozen=True)
class ZPlus(Rule):
    """In proportion to the contributions above zero only (Montavon et al., 2017)."""

    def shares(self, layer: Layer, relevance: Tensor) -> list[Share]:
        """One."""
        w, b = layer.weight, layer.bias
        return [Share(relevance, w.clamp_min(0), w.clamp_max(0), None if b is None else b.clamp_min(0))]


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """alpha times in proportion to contributions above zero, less alpha - 1 times to those below (Bach et al., 2015)."""

    alpha: float = 2.0

    def shares(self, layer: Layer, relevance: Tensor) -> list[Share]:
        """One for each sign."""
        (plus,), w, b = ZPlus().shares(layer, self.alpha * relevance), layer.weight, layer.bias
        fall = None if b is None else b.clamp_max(0)
        return [plus, Share((1 - self.alpha) * relevance, w.clamp_max(0), w.clamp_min(0), fall)]


class LRP(Method):
    """Layer-wise relevance propagation (Bach et al., 2015): the score is handed down, each operation keeping the sum.

    Sums share out in proportion to their summands, activations pass relevance on, of a maximum the winner takes all. What is
    only a weight for something else, such as attention or a gate, is held constant, and so is the divisor of a norm (Arras et
    al., 2017; Ali et al., 2022); of another product each factor gets half. A batch norm is taken into the layer below it.

    `Map.absorbed` is what biases, other constants and stabilisers keep: values and absorbed add up to the score.

    Arguments:
        rule: Of layers with weights: `Epsilon`, `Gamma`, `ZPlus` or `AlphaBeta`; or one for each of "convolution" and
            "linear", as {"convolution": Gamma(), "linear": Epsilon()}.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> found = LRP(net).attribute(torch.rand(5, 3), target=0)
        >>> torch.allclose(found.values.sum(1) + found.absorbed, found.scores, atol=1e-6)
        True
    """

    def __init__(
        self, module: nn.Module, *, layer: str | nn.Module | None = None, rule: Rule | Mapping[str, Rule] = Epsilon()
    ) -> None:
        super().__init__(module, layer=layer)
        self.rule = rule
        if unknown := set(rule) - {"convolution", "linear"} if isinstance(rule, Mapping) else set():
            raise ValueError(f"There are rules for 'convolution' and 'linear', but not for {sorted(unknown)}.")

    def explain(self, question: Question, base: Tensor, size: int) -> Found:
        """Rows, `size` at a time."""
        values, scores, lost = [], [], 0.0
        for points, index in parts(question, size):
            tape = record(lambda start, index=index: question(start, index), points)  # type: ignore[misc]
            way = _FromZero(tape, self.rule)
            with torch.no_grad():
                found = back(tape, way) * points
            values.append(found)
            scores.append(tape.scores)
            lost += float(tape.scores.double().sum() - found.double().sum()) - way.total()
        every, asked = torch.cat(values), torch.cat(scores)
        return Found(every, asked, absorbed=asked - every.flatten(1).sum(1), lost=lost)


class _FromZero(Way):
    """LRP: differences from zero; constants keep their share."""

    name = "LRP"

    def __init__(self, tape: Tape, rule: Rule | Mapping[str, Rule]) -> None:
        self.rule = rule
        self.kept: list[Tensor] = []
        self.gates = _made(tape, GATES, (-0.5, 0.5, -1), PASSES)
        self.makers = {number: each for each in tape.operations for number in each.outputs if number is not None}
        uses = Counter(number for each in tape.operations for number in each.inputs.values())
        self.once = {number for number, count in uses.items() if count == 1}
        self.folded: dict[int, tuple[Tensor, Tensor, Tensor]] = {}  # batch norms, by the value that goes into them

    def reference(self, operation: Operation) -> Operation | None:
        return None

    def absorb(self, relevance: Tensor) -> None:
        self.kept.append(relevance.sum(dtype=torch.float64))

    def total(self) -> float:
        """All that was absorbed."""
        return float(torch.stack(self.kept).sum()) if self.kept else 0.0

    def is_gate(self, operation: Operation, path: Path) -> bool:
        return operation.inputs[path] in self.gates

    def fold(self, operation: Operation) -> bool:
        """Whether a batch norm is taken into the layer below, which then hands down what reaches the norm."""
        number = operation.inputs[(0,)]
        below = self.makers.get(number)
        fits = below is not None and below.name in ("aten.convolution", "aten.addmm", "aten.mm") and number in self.once
        if fits:
            self.folded[number] = (*factor_and_shift(operation), operation.result)
        return fits

    def weighted(self, operation: Operation, layer: Layer, multiplier: Tensor) -> Tensor:
        norm = self.folded.pop(operation.outputs[0] or -1, None)
        if norm is not None:
            layer.scaled(*norm)
        rule = self.rule
        if isinstance(rule, Mapping):
            rule = rule.get("convolution" if isinstance(layer, Convolution) else "linear", Epsilon())
        if isinstance(rule, Epsilon):
            return self._in_proportion(layer, multiplier, rule.epsilon)
        total = torch.zeros_like(layer.x)
        for share in rule.shares(layer, multiplier * layer.y):
            total = total + self._share(layer, share, rule.stabiliser)
        return total

    def _in_proportion(self, layer: Layer, m: Tensor, epsilon: float) -> Tensor:
        if epsilon:
            y = layer.y
            held = torch.where(y < 0, y.new_tensor(-epsilon), y.new_tensor(epsilon)).add_(y)
            torch.div(y, held, out=held).mul_(m)
            self.absorb((m - held).mul_(y))
            m = held
        if layer.bias is not None:
            self.absorb(m * layer.spread(layer.bias))
        return layer.down(m, layer.weight)

    def _share(self, layer: Layer, share: Share, stabiliser: float) -> Tensor:
        up = (layer.x > 0).to(layer.x)
        z = layer.up(layer.x * up, share.rising)
        signed = bool((layer.x < 0).any())
        if signed:
            z = z + layer.up(layer.x * (1 - up), share.falling)
        if share.bias is not None:
            z = z + layer.spread(share.bias)
        m = share.relevance / (z + torch.where(z < 0, -stabiliser, stabiliser))
        self.absorb(share.relevance - m * z)
        if share.bias is not None:
            self.absorb(m * layer.spread(share.bias))
        down = up * layer.down(m, share.rising)
        return down + (1 - up) * layer.down(m, share.falling) if signed else down


def _made(tape: Tape, makers: Sequence[str], powers: Sequence[float], passes: Sequence[str]) -> set[int]:
    """Numbers of the values that operations of these names made, or powers with these exponents, and that others passed on."""
    found: set[int] = set()
    for operation in tape.operations:
        name = operation.name.removeprefix("aten.").rstrip("_")
        made = name in makers or (name == "pow" and operation.arguments[-1] in powers)
        if made or (name in passes and found.issuperset(operation.inputs.values())):
            found.update(number for number in operation.outputs if number is not None)
    return found


# -- DeepLift ----------------------------------------------------------------------------------------------------------


class DeepLift(Method):
    """DeepLIFT with the rescale rule (Shrikumar et al., 2017): the difference to the baseline's score is handed down.

    Of an activation relevance passes in proportion to the differences; of products, norms and softmax each difference is
    accounted for exactly. Values add up to f(x) - f(baseline).

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> found = DeepLift(net).attribute(torch.rand(5, 3), target=0)
        >>> torch.allclose(found.values.sum(1), found.scores - found.reference, atol=1e-6)
        True
    """

    def explain(self, question: Question, base: Tensor, size: int) -> Found:
        """Rows, `size` at a time, in two passes: at the rows and at the baselines."""
        values, scores, reference = [], [], []
        for points, index in parts(question, size):
            at: Callable[[Tensor], Tensor] = lambda start, index=index: question(start, index)  # type: ignore[misc]  # noqa: E731
            start = base[index]
            tape, other = record(at, points), record(at, start)
            with torch.no_grad():
                values.append(back(tape, _FromBaseline(tape, other)) * (points - start))
            scores.append(tape.scores)
            reference.append(other.scores)
        return Found(torch.cat(values), torch.cat(scores), torch.cat(reference))


class _FromBaseline(Way):
    """DeepLift: differences from a second pass, in which constants cancel."""

    name = "DeepLift"

    def __init__(self, tape: Tape, other: Tape) -> None:
        if [each.kind for each in tape.operations] != [each.kind for each in other.operations]:
            raise ValueError("The module does other operations at the baseline than at the rows, so that DeepLift cannot "
                             "compare them. Take IntegratedGradients, or a baseline that goes the same way.")  # fmt: skip
        self.others = dict(zip(tape.operations, other.operations, strict=True))
        self.inverses = _made(tape, ("rsqrt", "reciprocal"), (-0.5, -1), MOVES)

    def reference(self, operation: Operation) -> Operation | None:
        return self.others[operation]

    def absorb(self, relevance: Tensor) -> None:
        """Nothing is ever absorbed."""

    def is_gate(self, operation: Operation, path: Path) -> bool:
        return False

    def is_inverse(self, operation: Operation, path: Path) -> bool:
        return operation.inputs[path] in self.inverses

    def weighted(self, operation: Operation, layer: Layer, multiplier: Tensor) -> Tensor:
        return layer.down(multiplier, layer.weight)
