"""`explain`: what the lens finds in a model, gathered for the report. The one place where the two meet.

One file per section, each with a function `of` from a `Look` to what the section says (`layerwise.findings`).
"""

from layerwise.explanation.gathering import explain, gather

__all__ = ["explain", "gather"]
