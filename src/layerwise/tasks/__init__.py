"""What the commands do: learn a run, test it, predict, dream. `cli` asks for these, and prints what comes back."""

from layerwise.tasks.answers import dream, predict, save_rows, write
from layerwise.tasks.learned import Learned
from layerwise.tasks.learning import check_new, describe, fit, learn, prepare, suit
from layerwise.tasks.plan import EMBEDDER, MODELS, NETWORKS, OPTIONS, Plan, locate, models_with, resumed, suited
from layerwise.tasks.testing import Rebuilding, Score, rebuilding, scores, surprises

__all__ = [
    "EMBEDDER",
    "MODELS",
    "NETWORKS",
    "OPTIONS",
    "Learned",
    "Plan",
    "Rebuilding",
    "Score",
    "check_new",
    "describe",
    "dream",
    "fit",
    "learn",
    "locate",
    "models_with",
    "predict",
    "prepare",
    "rebuilding",
    "resumed",
    "save_rows",
    "scores",
    "suit",
    "suited",
    "surprises",
    "write",
]
