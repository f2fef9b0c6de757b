"""What did single answers hang on?"""

from __future__ import annotations

from layerwise.explanation.look import Look
from layerwise.findings import Answers


def of(look: Look) -> Answers | None:
    """The pages of single answers; None where there are none."""
    return None
