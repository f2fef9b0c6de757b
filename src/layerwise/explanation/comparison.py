"""Which method is best, if any?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from layerwise import lens
from layerwise.findings import Method

KEYS = {"method", "errors", "error", "sd", "seconds", "note", "this"}


def of(methods: Sequence[Mapping[str, Any]]) -> list[Method]:
    """The methods, best first."""
    draws = [_draws(number, method) for number, method in enumerate(methods, start=1)]
    found = [
        Method(
            method=str(method["method"]), errors=errors, error=math.fsum(errors) / len(errors),
            sd=float(np.std(errors, ddof=1)) if len(errors) > 1 else method.get("sd"), seconds=method.get("seconds"),
            note=str(method.get("note", "")), verdict=ranked.verdict, behind=ranked.behind, doubt=ranked.doubt,
            this=bool(method.get("this", False)),
        )
        for method, errors, ranked in zip(methods, draws, lens.rank(draws) if draws else [], strict=True)
    ]  # fmt: skip
    return sorted(found, key=lambda method: method.error)


def _draws(number: int, method: Mapping[str, Any]) -> list[float]:
    if "method" not in method or not {"errors", "error"} & set(method) or set(method) - KEYS:
        raise ValueError(
            f"Method {number} of the comparison has the keys {sorted(map(str, method))}. It needs 'method' and 'errors' (or "
            f"'error'), and may have {sorted(KEYS - {'method', 'errors', 'error'})}."
        )
    errors = [float(error) for error in method.get("errors", ())] or [float(method.get("error", math.nan))]
    if not all(0 <= error <= 1 for error in errors):
        raise ValueError(
            f"Errors of {method['method']!r} are shares of wrong rows in [0, 1], but got {errors[:5]}. Divide per cent by 100."
        )
    return errors
