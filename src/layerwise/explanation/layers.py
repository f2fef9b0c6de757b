"""Pages of the layers and of all their units."""

from __future__ import annotations

from urllib.parse import quote

from layerwise import lens
from layerwise.explanation.look import Look
from layerwise.findings import LayerPage

EXAMPLES = 6  # rows of a kind shown for a unit


def of(look: Look) -> list[LayerPage]:
    """One page per hidden layer, bottom first."""
    return [_page(look, at) for at in range(len(look.codes))]


def _page(look: Look, at: int) -> LayerPage:
    name, states = look.subject.stages[at], look.states[at]
    rows, values = lens.strongest_rows(states, range(states.shape[1]), EXAMPLES)
    return LayerPage(
        name=name, label=look.subject.labels[at], address=address(name), units=int(states.shape[1]),
        kind=look.subject.kinds[at], strongest=look.chosen[rows.numpy()], states=values.numpy(),
    )  # fmt: skip


def address(name: str) -> str:
    """A layer's place in addresses of pages: its name, marked where it is that of another page.

    Example:
        >>> address("layer3"), address("blocks.0"), address("answers")
        ('layer3', 'blocks.0', ':answers')
    """
    return quote(f":{name}" if name in ("answers", "answer", "") else name, safe=":.")
