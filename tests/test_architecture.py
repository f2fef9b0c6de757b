"""Imports go one way only: the order is the one that docs/architecture.md states, read from there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import layerwise

SOURCE = Path(layerwise.__file__).parent
DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"
MODULES = {".".join(file.relative_to(SOURCE).with_suffix("").parts): file for file in sorted(SOURCE.rglob("*.py"))}


def stated(text: str) -> dict[str, list[str]]:
    """The files of each folder ("" is the library's own) in their order, lowest first: of tables, and of sentences."""
    sections = re.split(r"^## ", text, flags=re.MULTILINE)
    order = {"": next(part for part in sections if part.startswith("Layout"))}
    order |= {match[1]: part for part in sections if (match := re.match(r"The files of `(\w+)/`", part))}
    found = {}
    for folder, part in order.items():
        cells = re.findall(r"^\| (`.*?) \|", part, flags=re.MULTILINE)
        found[folder] = [name for cell in cells for name in re.findall(r"`(\w+)(?:\.py|/)`", cell)]
    for folder, names in re.findall(r"Inside `(\w+)/` the order is:(.*?)\.\n", text, flags=re.DOTALL):
        found[folder] = re.findall(r"`(\w+)/?`", names)
    return found


ORDER = stated(DOCUMENT.read_text()) if DOCUMENT.exists() else {}
pytestmark = pytest.mark.skipif(not ORDER, reason="the documentation is not here")


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, name inside layerwise) of all that a file imports from it, at its top or in a function, but for types alone."""
    tree = ast.parse(file.read_text())
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    for_types = {node for block in blocks for part in block.body for node in ast.walk(part)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports by dots; write layerwise.NAME"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("layerwise.") and node not in for_types:
                inside = name.removeprefix("layerwise.")
                yield node.lineno, layerwise._HOME.get(inside, inside)


def places(module: str, folder: str) -> str | None:
    """Which file or folder right below `folder` a module, or a name in one, lies in; None if it is not below it."""
    rest = module if not folder else module.removeprefix(f"{folder}.") if module.startswith(f"{folder}.") else ""
    first = rest.partition(".")[0]
    inside = f"{folder}.{first}" if folder else first
    return first if inside in MODULES or f"{inside}.__init__" in MODULES else None


@pytest.mark.parametrize("folder", ORDER)
def test_every_file_has_its_place(folder: str) -> None:
    there = {place for module in MODULES if (place := places(module, folder)) and not place.startswith("__")}
    assert sorted(ORDER[folder]) == sorted(there), "docs/architecture.md lists other files than there are"


@pytest.mark.parametrize("folder", ORDER)
def test_no_file_imports_one_below_it_in_the_list(folder: str) -> None:
    rank = {name: number for number, name in enumerate(ORDER[folder])}
    wrong = []
    for module, file in MODULES.items():
        mine = places(module, folder)
        if mine in rank:
            for line, name in imports(file):
                other = places(name, folder)
                if other in rank and rank[other] > rank[mine]:
                    wrong.append(f"{module}:{line} imports {folder or 'layerwise'}.{other}, which comes after {mine}")
    assert not wrong, "\n".join(wrong)
