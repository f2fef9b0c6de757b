"""What did an answer hang on? One file per family of methods; each is called `Method(module).attribute(rows, target=...)`.

`gradients`: at the rows, along the way, around them. `occlusion`: covering parts. `gradcam`: a layer's channels, weighed.
`relevance`: LRP and DeepLift, by the rules in `rules` for the operations on a `tape`.
"""

from layerwise.lens.attribution.gradcam import GradCAM
from layerwise.lens.attribution.gradients import (
    ExpectedGradients,
    Gradient,
    InputXGradient,
    IntegratedGradients,
    SmoothGrad,
)
from layerwise.lens.attribution.method import Map, Method
from layerwise.lens.attribution.occlusion import Occlusion
from layerwise.lens.attribution.relevance import LRP, AlphaBeta, DeepLift, Epsilon, Gamma, ZPlus

__all__ = [
    "LRP",
    "AlphaBeta",
    "DeepLift",
    "Epsilon",
    "ExpectedGradients",
    "Gamma",
    "GradCAM",
    "Gradient",
    "InputXGradient",
    "IntegratedGradients",
    "Map",
    "Method",
    "Occlusion",
    "SmoothGrad",
    "ZPlus",
]
