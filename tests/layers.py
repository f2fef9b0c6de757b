"""Every kind of layer, in one list: what holds for a layer is tested for all of them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from layerwise.autoencoder import Autoencoder
from layerwise.batches import Batches
from layerwise.convolution import ConvAutoencoder, ConvRBM
from layerwise.layer import Layer
from layerwise.rbm import RBM, LabelledRBM
from layerwise.train import Training, train
from layerwise.units import Softmax

# Both are legal for every kind of units: zeros and ones, and in each group of three exactly one unit on.
PATTERNS = torch.tensor([[1.0, 0, 0, 0, 1, 0], [0, 0, 1, 1, 0, 0]])


@dataclass(frozen=True)
class Case:
    """How to make a layer of 6 units below and 8 above."""

    make: Callable[[], Layer]
    name: str

    def __repr__(self) -> str:
        return self.name


def rbm(**settings: object) -> Callable[[], Layer]:
    return lambda: RBM(6, 8, **settings)  # type: ignore[arg-type]


def labelled(**settings: object) -> Callable[[], Layer]:
    return lambda: LabelledRBM(6, 2, 8, **settings)


def auto(**settings: object) -> Callable[[], Layer]:
    return lambda: Autoencoder(6, 8, **settings)  # type: ignore[arg-type]


LAYERS = [
    Case(rbm(), "rbm"),
    Case(rbm(steps=3), "rbm-cd3"),
    Case(rbm(chains=20), "rbm-pcd"),
    Case(rbm(sample_visible=True), "rbm-drawn"),
    Case(rbm(sparsity=0.3, sparsity_cost=0.1), "rbm-sparse"),
    Case(rbm(below="gaussian"), "rbm-gaussian-bernoulli"),
    Case(rbm(above="gaussian"), "rbm-bernoulli-gaussian"),
    Case(rbm(above="rectified"), "rbm-bernoulli-rectified"),
    Case(rbm(below="gaussian", above="rectified"), "rbm-gaussian-rectified"),
    Case(rbm(below="rectified"), "rbm-rectified-bernoulli"),
    Case(rbm(below="rectified", above="rectified"), "rbm-rectified-rectified"),
    Case(rbm(below=Softmax(3)), "rbm-softmax3-bernoulli"),
    Case(rbm(above="softmax"), "rbm-bernoulli-softmax"),
    Case(rbm(above=Softmax(2)), "rbm-bernoulli-softmax2"),
    Case(labelled(), "labelled"),
    Case(labelled(chains=20, steps=2), "labelled-pcd"),
    Case(labelled(below="gaussian"), "labelled-gaussian"),
    Case(labelled(above="rectified"), "labelled-rectified"),
    Case(auto(), "auto"),
    Case(auto(tied=False), "auto-untied"),
    Case(auto(noise="masking"), "auto-masking"),
    Case(auto(noise="salt-and-pepper", tied=False), "auto-salt"),
    Case(auto(noise="gaussian", amount=0.5), "auto-noisy"),
    Case(auto(sparsity=0.3), "auto-sparse"),
    Case(auto(l1=0.01), "auto-l1"),
    Case(auto(contraction=0.01), "auto-contractive"),
    Case(auto(below="gaussian"), "auto-gaussian"),
    Case(auto(below="gaussian", above="gaussian", tied=False), "auto-linear"),
    Case(auto(above="rectified"), "auto-rectified"),
    Case(auto(below="rectified"), "auto-rectified-bernoulli"),
    Case(auto(below=Softmax(3), above="softmax"), "auto-softmax"),
    Case(lambda: ConvRBM((1, 2, 3), 4, kernel=2, block=1, sparsity=None), "conv-rbm"),
    Case(lambda: ConvRBM((1, 2, 3), 4, kernel=2, block=1, steps=2, sparsity=0.3), "conv-rbm-sparse"),
    Case(lambda: ConvRBM((1, 2, 3), 4, kernel=2, block=1, below="gaussian", sparsity=None), "conv-rbm-gaussian"),
    Case(lambda: ConvAutoencoder((1, 2, 3), 8, kernel=3), "conv-auto"),
    Case(
        lambda: ConvAutoencoder((1, 2, 3), 8, kernel=3, below="gaussian", above="bernoulli", noise=None),
        "conv-auto-gaussian",
    ),
]


def width(layer: Layer) -> int:
    """How many values a row of data has."""
    return getattr(layer, "features", layer.visible)


def two_patterns(rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows that are one of two patterns, and which."""
    y = torch.randint(2, (rows,), generator=torch.Generator().manual_seed(seed))
    return PATTERNS[y], y


def randomise(module: nn.Module, scale: float = 1.0) -> nn.Module:
    """Random parameters, biases too: zeros hide mistakes."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=scale)
    return module


def taught(case: Case, x: Tensor, y: Tensor, epochs: int) -> Layer:
    """A layer that looked at the rows and then learned for so many epochs."""
    layer = case.make()
    layer.prepare([x])
    train(layer, layer.learn, Batches(x, y, size=16), Training(epochs=epochs, rate=0.05, optimizer="adam"))
    return layer
