"""What the pages of single answers say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answers:
    """Answers looked at one by one; `shown` are the numbers of all rows that their pages show."""

    shown: list[int]
