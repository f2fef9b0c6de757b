"""How models look to the lens. A new kind of model needs a `Subject`, and nothing else."""

from layerwise.subject.estimators import of_estimator
from layerwise.subject.modules import of_module
from layerwise.subject.subject import WIDEST, Numbers, Subject, code_of, states_of

__all__ = ["WIDEST", "Numbers", "Subject", "code_of", "of_estimator", "of_module", "states_of"]
