"""Which layers of a module are meant by a name, a glob, or the layer itself?

A layer is written `block.conv`; with `:relu` the operation of that name that `block` runs itself, in its `forward`; with `#2`
only the second time in a pass that it ran; with `[0]` or `[key]` only that of several tensors that it gives. `*`, `?` and
`[...]` match as in file names: `layer3.*`, `*:relu`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from torch import nn

Layers = str | nn.Module | Sequence[str | nn.Module]


@dataclass(frozen=True)
class Wanted:
    """One way of naming layers, taken apart.

    Arguments:
        text: As it was written.
        module: Name or glob of sub-modules.
        operation: Name or glob of operations that these modules run themselves; None for the output of the module.
        call: Which of the times it runs, from 1; None for all.
        layer: The module, if that was given in place of a name.
        place: Which of several tensors, as `[0]` or `[1][0]`; empty for all.
        exact: Whether `module` is the name of a sub-module as it stands, whatever signs are in it.
    """

    text: str
    module: str
    operation: str | None = None
    call: int | None = None
    layer: nn.Module | None = None
    place: str = ""
    exact: bool = False

    @property
    def loose(self) -> bool:
        """Whether it is a glob, so that what answers nothing may be left out."""
        pattern = ("" if self.exact else self.module) + (self.operation or "")
        return not self.place and any(sign in pattern for sign in "*?[")

    def fits(self, module: str, operation: str | None, call: int, place: str = "") -> bool:
        """Whether this run of a module or operation is meant, and of what it gives the tensor at this place."""
        if place and self.place not in ("", place):
            return False
        if self.call not in (None, call) or (self.operation is None) != (operation is None):
            return False
        if self.exact:
            return self.module == module and (operation is None or _fits(self.operation or "", operation))
        if operation is None:  # a glob means parts, not the whole
            return _fits(self.module, module) and (module != "" or self.module == "")
        return _fits(self.module, module) and _fits(self.operation or "", operation)


def wanted(module: nn.Module, layers: Layers) -> list[Wanted]:
    """The layers meant, in the order they were given.

    Raises:
        ValueError: If a name matches no part (the nearest are offered), a module is no part of this one, or none is named.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid())
        >>> [each.module for each in wanted(net, ["0", net[1], "*:add#2"])]
        ['0', '1', '*']
        >>> wanted(nn.ModuleDict({"conv1": nn.Identity()}), "conv2")
        Traceback (most recent call last):
        ValueError: The module has no part 'conv2'. Near it: 'conv1'.
    """
    given = [layers] if isinstance(layers, str | nn.Module) else list(layers)
    if not given:
        raise ValueError("No layer was named. Give a name such as 'layer1', a glob such as 'layer*', or a module.")
    names = names_of(module)
    return [by_name(names, each) if isinstance(each, str) else _by_module(module, each) for each in given]


def names_of(module: nn.Module) -> list[str]:
    """All names of all parts: a part that stands in several places has several."""
    return [name for name, _ in module.named_modules(remove_duplicate=False)]


def by_name(names: Sequence[str], text: str) -> Wanted:
    """The layer that a text means, in a module with parts of these names. Errors as those of `wanted`."""
    for name in sorted(names, key=len, reverse=True):  # which may hold any sign but a dot: "user:id", "act#1", "x[0]"
        rest = REST.fullmatch(text, len(name)) if text.startswith(name) else None
        if rest:
            operation, number, place = rest.groups()
            return Wanted(text, name, operation, int(number) if number else None, place=place, exact=True)
    at = re.fullmatch(r"([^\[]*?)((?:\[\w+\])+)", text)
    if at and any(_fits(at[1].partition("#")[0].partition(":")[0], name) for name in names):
        return replace(by_name(names, at[1]), text=text, place=at[2])
    stem, _, number = text.partition("#")
    if "#" in text and not (number.isdecimal() and int(number) > 0):
        raise ValueError(f"{text!r} does not say which call is meant. Write '{stem}#1' for the first one in a pass.")
    part, colon, operation = stem.partition(":")
    if not any(_fits(part, name) for name in names):
        raise ValueError(f"The module has no part {part!r}. {_nearest(part, [name for name in names if name])}")
    return Wanted(text, part, operation if colon else None, int(number) if number else None)


REST = re.compile(r"(?::([^#\[]+))?(?:#([1-9]\d*))?((?:\[\w+\])*)")  # what may follow the name of a part


def part_of(module: nn.Module, layer: str) -> nn.Module | None:
    """The part that gives a layer, by any name of one of its runs or tensors; None if it is an operation of a part.

    Raises:
        ValueError: If there is none.

    Example:
        >>> net = nn.Sequential(nn.LSTM(3, 2), nn.Identity())
        >>> type(part_of(net, "0[1][0]")).__name__, type(part_of(net, "1#2")).__name__, part_of(net, ":add")
        ('LSTM', 'Identity', None)
    """
    parts = dict(module.named_modules(remove_duplicate=False))
    found = by_name(list(parts), layer)
    return parts.get(found.module) if found.operation is None else None


def _by_module(module: nn.Module, part: nn.Module) -> Wanted:
    for name, each in module.named_modules():
        if each is part:
            return Wanted(name, name, layer=part, exact=True)
    raise ValueError(f"This {type(part).__name__} is no part of the {type(module).__name__} that is looked into.")


def _fits(pattern: str, name: str) -> bool:
    return pattern == name or fnmatchcase(name, pattern)


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"Near it: {', '.join(map(repr, near))}."
    return (
        f"It has: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}." if names else "It has no parts at all."
    )
