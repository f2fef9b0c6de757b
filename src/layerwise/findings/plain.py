"""Findings as values that JSON can hold."""

from __future__ import annotations

import base64
import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Dataclasses and arrays as plain values.

    Example:
        >>> plain([1 / 3, float("nan"), np.array([1.0, 2.0])])
        [0.333333, None, [1.0, 2.0]]
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, np.ndarray) and value.dtype.itemsize == 1:
        return pack(value)
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def pack(pictures: np.ndarray) -> dict[str, Any]:
    """An array of bytes as its type, shape and base64.

    Example:
        >>> pack(np.zeros((1, 2), np.uint8))
        {'type': 'uint8', 'shape': [1, 2], 'base64': 'AAA='}
    """
    data = base64.b64encode(np.ascontiguousarray(pictures).tobytes()).decode("ascii")
    return {"type": str(pictures.dtype), "shape": list(pictures.shape), "base64": data}


def unpack(packed: dict[str, Any]) -> np.ndarray:
    """The array that `pack` packed.

    Example:
        >>> unpack(pack(np.array([[1, -2]], np.int8))).tolist()
        [[1, -2]]
    """
    return np.frombuffer(base64.b64decode(packed["base64"]), dtype=packed["type"]).reshape(packed["shape"])
