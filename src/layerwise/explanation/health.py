"""How healthy is the model?"""

from __future__ import annotations

from torch import Tensor

from layerwise import lens
from layerwise.explanation.look import Look
from layerwise.findings import Gradient, Health, LayerHealth
from layerwise.health import Activity
from layerwise.units import Bernoulli, Rectified, Units


def of(look: Look) -> Health:
    """Dead, saturated and constant units of every layer, and the gradients that tuning saw."""
    subject = look.subject
    layers = [
        _layer_health(*each)
        for each in zip(subject.labels, look.states, subject.units, subject.kinds, _moved(look), strict=True)
    ]  # fmt: skip
    return Health(len(look.chosen), layers, [Gradient(stage, *ends) for stage, ends in subject.gradients.items()])


def _moved(look: Look) -> list[float | None]:
    """How far tuning moved each hidden layer's weights from where pre-training left them, as a share of their length."""
    if look.subject.start is None:
        return [None] * len(look.codes)
    both = zip(look.subject.start, look.subject.chain(len(look.codes)), strict=False)
    return [float((after - before).norm() / before.norm().clamp_min(1e-12)) for before, after in both]


def _layer_health(label: str, codes: Tensor, units: Units, kind: str, moved: float | None) -> LayerHealth:
    seen = Activity.of(codes.split(500), units)
    spread = lens.spread(codes, units.low, units.high)
    return LayerHealth(
        label=label, units=int(codes.shape[1]), kind=kind, defined=isinstance(units, Bernoulli | Rectified),
        dead=int(seen.dead.sum()), saturated=int(seen.saturated.sum()), constant=int(seen.constant.sum()),
        mean=float(seen.mean.mean()), edges=spread.edges, counts=spread.counts, moved=moved, advice=seen.advice(label),
    )  # fmt: skip
